//! The real client: reqwest with the one TLS stack of the program (rustls, ring, Mozilla's roots).

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use http::Uri;
use http_body_util::BodyDataStream;
use reqwest::Url;

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
        // It would try again over HTTP/2 only, and copies the head of every request for that.
        .retry(reqwest::retry::never().max_retries_per_request(0))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("cannot set up the HTTP client: {error}"))
}

/// The most URLs that are kept. There are a few for each deployment; only wildcards can make more.
const MOST_URLS: usize = 1000;

/// [`Upstream`] over the network.
#[derive(Debug)]
pub struct HttpUpstream {
    client: reqwest::Client,
    /// In reqwest's form: to read one takes longer than to find it.
    urls: Mutex<HashMap<Uri, Url>>,
}

impl HttpUpstream {
    /// Takes the shared client.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        Self { client, urls: Mutex::default() }
    }

    fn url(&self, uri: Uri) -> Result<Url, SendError> {
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = urls.get(&uri) {
            return Ok(url.clone());
        }
        let url = Url::parse(&uri.to_string()).map_err(|error| SendError::Broken(error.to_string()))?;
        if urls.len() >= MOST_URLS {
            urls.clear();
        }
        urls.insert(uri, url.clone());
        Ok(url)
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<ByteStream>, SendError>> {
        async move {
            let (head, body) = request.into_parts();
            let mut request = reqwest::Request::new(head.method, self.url(head.uri)?);
            *request.headers_mut() = head.headers;
            *request.body_mut() = Some(body.into());
            let response = self.client.execute(request).await.map_err(sentence)?;
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
