//! The real client: reqwest with the one TLS stack of the program (rustls, ring, Mozilla's roots).

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use http_body_util::BodyDataStream;

use super::{ByteStream, SendError, Upstream};

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept. Providers close theirs after a minute or so, and a Lambda that wakes up would
/// write into a socket that is closed already: shorter is safer, and long enough to save handshakes within a burst.
const IDLE: Duration = Duration::from_secs(25);

/// Makes the HTTP client that upstream calls and AWS calls share.
///
/// # Errors
/// One sentence, where the TLS stack cannot be set up.
pub fn http_client() -> Result<reqwest::Client, String> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let builder = reqwest::Client::builder();
    builder
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("cannot set up the HTTP client: {error}"))
}

/// [`Upstream`] over the network.
#[derive(Clone, Debug)]
pub struct HttpUpstream(reqwest::Client);

impl HttpUpstream {
    /// Takes the shared client.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        Self(client)
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<ByteStream>, SendError>> {
        async move {
            let request = reqwest::Request::try_from(request).map_err(sentence)?;
            let response = self.0.execute(request).await.map_err(sentence)?;
            let response: http::Response<reqwest::Body> = response.into();
            Ok(response.map(|body| -> ByteStream { Box::pin(BodyDataStream::new(body).map_err(sentence)) }))
        }
        .boxed()
    }
}

/// The innermost cause in words: the outer ones repeat the URL.
#[expect(clippy::needless_pass_by_value, reason = "used with `map_err`")]
fn sentence(error: reqwest::Error) -> SendError {
    let mut cause = String::new();
    let mut source = error.source();
    while let Some(inner) = source {
        cause = inner.to_string();
        source = inner.source();
    }
    if cause.is_empty() {
        "no answer".clone_into(&mut cause);
    }
    if error.is_connect() { SendError::Connect(cause) } else { SendError::Broken(cause) }
}
