//! The way to the upstreams: the trait that the gateway calls ([`Upstream`]), the request head for each vendor ([`host`]),
//! and the real client ([`client`]), which the AWS SDK uses too (`aws`).

#[cfg(feature = "aws")]
pub mod aws;
pub mod client;
pub mod host;

use std::pin::Pin;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, Stream};

/// The body of an upstream's answer, as it arrives.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, SendError>> + Send>>;

/// Why no answer came, or why it broke off. The text names no URL and no credential.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection: refused, no such host, TLS failed.
    #[error("cannot connect to the upstream: {0}")]
    Connect(String),
    /// The connection broke.
    #[error("the connection to the upstream broke: {0}")]
    Broken(String),
}

/// Something that answers requests. Timeouts are the caller's: dropping the future or the stream gives the call up.
pub trait Upstream: Send + Sync {
    /// Sends a request and gives the answer's head as soon as it is there. Redirects are answers, they are not followed.
    ///
    /// # Errors
    /// [`SendError`] where there is no answer at all; an answer with a failure status is none.
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<ByteStream>, SendError>>;

    /// The same, but nothing that could be answered goes out before there is `leave` to send it. The way there may be made
    /// meanwhile, up to the head of the request.
    ///
    /// # Errors
    /// As [`send`](Self::send)'s, and [`SendError::Broken`] where leave is refused.
    fn send_with(
        &self,
        request: http::Request<Bytes>,
        leave: Leave,
    ) -> BoxFuture<'_, Result<http::Response<ByteStream>, SendError>> {
        async move {
            leave.await.map_err(|_| SendError::Broken("it was not allowed to go".to_owned()))?;
            self.send(request).await
        }
        .boxed()
    }
}

/// Leave to send a request: given with a message, refused by dropping the sender.
pub type Leave = Shared<oneshot::Receiver<()>>;
