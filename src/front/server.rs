//! The local server: HTTP/1.1 and h2c, a graceful end on SIGTERM, a new configuration on SIGHUP and when its files change.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::gateway::{Call, Exposure, Gateway};

/// How long a client may take to send the first head of a connection.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long a connection may wait for its next request: longer than the minute that proxies keep theirs.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long a client may leave unread what was sent to it.
const UNREAD_TIME: Duration = Duration::from_mins(1);
/// The largest head.
const HEAD_SIZE: u32 = 64 * 1024;
/// Requests that one HTTP/2 connection may have open.
const STREAMS: u32 = 256;
/// How often the configuration's files are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How often what is past its time is deleted from the store.
const SWEEP: Duration = Duration::from_hours(1);
/// How long the accounts of the last requests may take.
const SETTLE: Duration = Duration::from_secs(25);
/// How long open requests may take to finish after SIGTERM. A second signal ends at once.
const DRAIN: Duration = Duration::from_mins(10);

/// Reads the configuration anew.
pub trait Reload: Send + 'static {
    /// Whether a file of it is not what it was when it was read.
    fn changed(&mut self) -> bool;

    /// Puts a new configuration into use, or says in the log why the last one stays.
    fn reload(&mut self, gateway: &Gateway);
}

/// Serves on `listener` until a signal ends it.
///
/// # Errors
/// When signals cannot be received.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    exposure: Exposure,
    mut reload: impl Reload,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut watch = interval(WATCH);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Each connection holds a receiver: it hears of the end, and is known to be open.
    let (closing, open) = watch::channel(false);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    // A stream's small frames must not wait for each other.
                    let _ = socket.set_nodelay(true);
                    unread(&socket);
                    connection(&gateway, exposure, open.clone(), (socket, peer.ip()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give some time to close.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            _ = hangup.recv() => reload.reload(&gateway),
            _ = watch.tick() => if reload.changed() {
                reload.reload(&gateway);
            },
            _ = sweep.tick() => self::sweep(&gateway),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop((listener, open));
    let _ = closing.send(true);
    tracing::info!("finishing the open requests; a second signal ends at once");
    tokio::select! {
        () = ended(&gateway, &closing) => {}
        _ = terminate.recv() => tracing::warn!("ended with open requests or accounts"),
        _ = interrupt.recv() => tracing::warn!("ended with open requests or accounts"),
    }
    Ok(())
}

/// Waits for the open requests, and then for their accounts, each for so long.
async fn ended(gateway: &Gateway, closing: &watch::Sender<bool>) {
    if timeout(DRAIN, closing.closed()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
    if let Some(keeper) = gateway.keeper()
        && timeout(SETTLE, keeper.settled()).await.is_err()
    {
        tracing::warn!("some requests could not be settled; they stay charged at their estimates");
    }
}

/// Deletes what is past its time, beside everything else.
fn sweep(gateway: &Arc<Gateway>) {
    let gateway = Arc::clone(gateway);
    #[expect(clippy::disallowed_methods, reason = "a server is not frozen")]
    tokio::spawn(async move {
        if let Some(keeper) = gateway.keeper() {
            keeper.sweep().await;
        }
    });
}

/// How HTTP/2 begins without TLS (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The kernel drops a connection whose client reads nothing for a while: the body behind it is not asked for more meanwhile,
/// so no limit of ours would end it.
fn unread(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).set_tcp_user_timeout(Some(UNREAD_TIME));
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, UNREAD_TIME);
}

/// Whether a connection speaks HTTP/2, known once its first head, or a good part of it, is there: looks at the bytes and takes
/// none. `None` if they do not come.
///
/// hyper-util's `auto` builder does nearly the same, for 0.14 MB more: it compiles both protocols a second time.
async fn speaks_http2(socket: &TcpStream) -> Option<bool> {
    let decide = async {
        let mut seen = [0; 2048];
        let (mut before, mut pause) = (0, Duration::from_millis(2));
        loop {
            let count = socket.peek(&mut seen).await.ok().filter(|count| *count > 0)?;
            let begun = seen.get(..count)?;
            if begun.starts_with(PREFACE) {
                return Some(true);
            }
            let whole = count == seen.len() || memchr::memmem::find(begun, b"\r\n\r\n").is_some();
            if whole && !PREFACE.starts_with(begun) {
                return Some(false);
            }
            if count == before {
                // `peek` returns at once as long as there is something.
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(250));
            }
            before = count;
        }
    };
    timeout(HEAD_TIME, decide).await.ok()?
}

fn connection(
    gateway: &Arc<Gateway>,
    exposure: Exposure,
    mut open: watch::Receiver<bool>,
    (socket, peer): (TcpStream, IpAddr),
) {
    let gateway = Arc::clone(gateway);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let gateway = Arc::clone(&gateway);
        let peer = Some(peer);
        let call =
            Call { invocation_id: None, deadline: None, exposure, signed: false, signer: None, peer, after: None };
        async move { Ok::<_, Infallible>(gateway.handle(request, call).await) }
    });
    #[expect(clippy::disallowed_methods, reason = "a server has a task for each connection; nothing here is frozen")]
    tokio::spawn(async move {
        let http2 = tokio::select! {
            http2 = speaks_http2(&socket) => http2,
            _ = open.changed() => None,
        };
        let Some(http2) = http2 else { return };
        let io = TokioIo::new(socket);
        let ended = if http2 {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_SIZE)
                .max_concurrent_streams(STREAMS)
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(20));
            finish(server.serve_connection(io, service), open, http2::Connection::graceful_shutdown).await
        } else {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).max_buf_size(HEAD_SIZE as usize);
            finish(server.serve_connection(io, service), open, http1::Connection::graceful_shutdown).await
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Serves a connection; when the server ends, `stop` asks it to finish what is open and to take nothing new.
async fn finish<C, E>(connection: C, mut open: watch::Receiver<bool>, stop: impl Fn(Pin<&mut C>)) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = open.changed() => stop(connection.as_mut()),
    }
    connection.await
}

/// Whether others can reach an address.
#[must_use]
pub fn exposure(address: SocketAddr) -> Exposure {
    if address.ip().to_canonical().is_loopback() { Exposure::Loopback } else { Exposure::Public }
}

/// What tells that files were changed. One that is gone for a moment, as editors have it, is changed as well.
pub type Stamps = Vec<Option<(SystemTime, u64)>>;

/// The stamps of `files` now.
#[must_use]
pub fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    files.iter().map(stamp).collect()
}
