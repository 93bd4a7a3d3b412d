//! The real client: reqwest with the one TLS stack of the program (rustls, ring, Mozilla's roots).

use std::collections::HashMap;
use std::error::Error as _;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use http::Uri;
use http_body::{Frame, SizeHint};
use http_body_util::BodyDataStream;
use reqwest::Url;

use super::{ByteStream, Leave, SendError, Upstream};

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

impl HttpUpstream {
    async fn execute(
        &self,
        request: http::Request<Bytes>,
        body: impl FnOnce(Bytes) -> reqwest::Body,
    ) -> Result<http::Response<ByteStream>, SendError> {
        let (head, bytes) = request.into_parts();
        let mut request = reqwest::Request::new(head.method, self.url(head.uri)?);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body(bytes));
        let response = self.client.execute(request).await.map_err(sentence)?;
        let response: http::Response<reqwest::Body> = response.into();
        Ok(response.map(|body| -> ByteStream { Box::pin(BodyDataStream::new(body).map_err(sentence)) }))
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<ByteStream>, SendError>> {
        self.execute(request, Bytes::into).boxed()
    }

    fn send_with(
        &self,
        request: http::Request<Bytes>,
        leave: Leave,
    ) -> BoxFuture<'_, Result<http::Response<ByteStream>, SendError>> {
        self.execute(request, |bytes| reqwest::Body::wrap(Withheld { leave: Some(leave), bytes: Some(bytes) })).boxed()
    }
}

/// A body that waits for leave: the connection is opened and the head goes out meanwhile, which nobody answers.
struct Withheld {
    leave: Option<Leave>,
    bytes: Option<Bytes>,
}

impl http_body::Body for Withheld {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        if let Some(leave) = &mut self.leave {
            let given = ready!(leave.poll_unpin(cx));
            self.leave = None;
            if given.is_err() {
                self.bytes = None;
                return Poll::Ready(Some(Err(SendError::Broken("it was not allowed to go".to_owned()))));
            }
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
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

#[cfg(test)]
mod tests {
    use futures::channel::oneshot;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What arrives until `end` is there.
    async fn until(socket: &mut TcpStream, end: &str) -> String {
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).ends_with(end) {
            let mut buffer = [0; 1024];
            let count = socket.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(got).unwrap()
    }

    #[tokio::test]
    async fn the_way_is_made_before_there_is_leave_and_the_body_comes_after() {
        for allowed in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/v1/x", listener.local_addr().unwrap());
            let upstream = HttpUpstream::new(http_client().unwrap());
            let request = http::Request::post(url).body(Bytes::from_static(b"a body")).unwrap();
            let (give, leave) = oneshot::channel();
            let server = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                let head = until(&mut socket, "\r\n\r\n").await;
                assert!(head.contains("content-length: 6") && !head.contains("a body"), "{head}");
                if !allowed {
                    drop(give);
                    assert_eq!(until(&mut socket, "a body").await, "", "it closes and says no more");
                    return;
                }
                give.send(()).unwrap();
                assert_eq!(until(&mut socket, "a body").await, "a body");
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            };
            let (answer, ()) = futures::future::join(upstream.send_with(request, leave.shared()), server).await;
            assert_eq!(answer.is_ok(), allowed);
        }
    }
}
