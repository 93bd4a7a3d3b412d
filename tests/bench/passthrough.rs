//! The yardstick: the least that a proxy on hyper can do. One thread, a pooled client, `TCP_NODELAY` on both sides;
//! method, path and body go up as they come, and the answer comes back frame by frame.
//!
//! `bench-passthrough UPSTREAM [BIND]`, both as `127.0.0.1:PORT`.

use std::error::Error;
use std::io::{Write, stderr};
use std::net::SocketAddr;

use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Pool = Client<HttpConnector, Incoming>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let upstream: Authority = arguments.next().ok_or("usage: bench-passthrough UPSTREAM [BIND]")?.parse()?;
    let bind: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;

    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);

    let listener = TcpListener::bind(bind).await?;
    writeln!(stderr(), "passthrough listening on http://{}", listener.local_addr()?)?;
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (pool, upstream) = (pool.clone(), upstream.clone());
        let service = service_fn(move |request| forward(pool.clone(), upstream.clone(), request));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    pool: Pool,
    upstream: Authority,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(upstream);
    head.uri = Uri::from_parts(uri)?;
    head.headers.remove(header::HOST);
    Ok(pool.request(Request::from_parts(head, body)).await?)
}
