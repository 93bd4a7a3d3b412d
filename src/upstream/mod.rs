//! The way to the upstreams: the trait that the gateway calls ([`Upstream`]), the request head for each vendor ([`host`]),
//! and the real client ([`client`]), which the AWS SDK uses too (`aws`).

#[cfg(feature = "aws")]
pub mod aws;
pub mod client;
pub mod host;

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;

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
}
