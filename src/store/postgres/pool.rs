//! Connections, each used by one task at a time.

use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error};

use super::tls::{self, Tls};
use crate::config::secret::Secret;
use crate::store::StoreError;

/// How many connections a process has at most. Whoever holds one does so for two round trips.
const MOST: usize = 10;
/// How long a connection may take to be made, and how long one may be waited for.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all else may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// What every connection begins with. A process that is stopped with rows locked (Lambda freezes them) must not keep them.
const SETTINGS: &str = "SET search_path TO feathergate; SET client_min_messages TO warning; SET statement_timeout TO '10s'; \
    SET lock_timeout TO '5s'; SET idle_in_transaction_session_timeout TO '5s'";

/// The connections.
pub(super) struct Pool {
    config: Config,
    tls: Tls,
    idle: Mutex<Vec<Arc<Client>>>,
    permits: Semaphore,
}

/// Why something was not done, and whether it may be tried once more: nothing came of it, and it was not its own fault.
pub(super) struct Failed {
    pub(super) error: StoreError,
    pub(super) again: bool,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error, again: false }
    }
}

impl Pool {
    /// Reads an address; connects to nothing yet.
    pub(super) fn new(address: &Secret) -> Result<Self, StoreError> {
        // What the client says of an address that it cannot read might be part of it.
        let expected = "postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require";
        let odd = |why: String| StoreError::Setup(format!("the address of PostgreSQL cannot be used: {why}"));
        let (address, wish) = tls::wish(address.expose()).map_err(odd)?;
        let config = address.parse::<Config>().ok().filter(|config| !config.get_hosts().is_empty());
        let Some(mut config) = config else { return Err(odd(format!("it should be {expected}"))) };
        let mut tls = Tls::new(&wish).map_err(odd)?;
        if config.get_ssl_negotiation() == SslNegotiation::Direct {
            tls = tls.direct();
        }
        config.ssl_mode(wish.mode).keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(PATIENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("feathergate");
        }
        Ok(Self { config, tls, idle: Mutex::default(), permits: Semaphore::new(MOST) })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Client>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that nobody else has. It goes back by [`Lease::done`] only: one that was left in the middle of something is
    /// closed, upon which the server undoes what was begun.
    pub(super) async fn take(&self) -> Result<Lease<'_>, StoreError> {
        let waited = timeout(CONNECT, self.permits.acquire()).await;
        let permit = waited
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| StoreError::Unavailable("all connections have been in use for too long".into()))?;
        let idle = {
            let mut idle = self.idle();
            idle.retain(|client| !client.is_closed());
            idle.pop()
        };
        let client = match idle {
            Some(client) => client,
            None => timeout(CONNECT * 2, self.connect()).await.map_err(|_| late())??,
        };
        Ok(Lease { pool: self, client, _permit: permit })
    }

    async fn connect(&self) -> Result<Arc<Client>, StoreError> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(|error| setup(&error))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it only carries bytes, and is of no use to anybody while frozen"
        )]
        tokio::spawn(connection.map(drop));
        client.batch_execute(SETTINGS).await.map_err(|error| setup(&error))?;
        Ok(Arc::new(client))
    }

    /// Does something on a connection, and once more on a new one where that cannot do harm: the server may have been started
    /// anew meanwhile, or have undone one of two transactions that waited for each other.
    pub(super) async fn with<T, F: Future<Output = Result<T, Failed>>>(
        &self,
        work: impl Fn(Arc<Client>) -> F,
    ) -> Result<T, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let lease = self.take().await?;
            match timeout(PATIENCE, work(Arc::clone(&lease.client))).await {
                Ok(Ok(done)) => {
                    lease.done();
                    return Ok(done);
                }
                Ok(Err(failed)) if failed.again && tries < 3 => {
                    if lease.client.is_closed() {
                        // The others are as old.
                        self.idle().clear();
                    }
                }
                Ok(Err(failed)) => return Err(failed.error),
                Err(_) => return Err(late()),
            }
        }
    }
}

/// A connection in use.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    pub(super) client: Arc<Client>,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Gives it back, with no transaction open.
    pub(super) fn done(self) {
        self.pool.idle().push(self.client);
    }
}

fn late() -> StoreError {
    StoreError::Unavailable("PostgreSQL takes too long".into())
}

/// A failure after which nothing has changed.
#[expect(clippy::needless_pass_by_value, reason = "used with `map_err`")]
pub(super) fn harmless(error: Error) -> Failed {
    let again = match error.code() {
        Some(code) => {
            let states =
                [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::ADMIN_SHUTDOWN];
            states.contains(code)
        }
        None => true,
    };
    Failed { error: words(&error), again }
}

/// A failure to write and commit. What PostgreSQL refuses it has undone; where it does not answer, nobody knows.
pub(super) fn doubtful(error: Error) -> Failed {
    let known = error.code().is_some();
    let failed = harmless(error);
    Failed { again: failed.again && known, ..failed }
}

/// What a failure is called. Never the server's own words, which may hold names, addresses and values.
fn words(error: &Error) -> StoreError {
    let text = match error.code() {
        Some(code) if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => return late(),
        Some(code) if *code == SqlState::DISK_FULL => "PostgreSQL's disk is full".into(),
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => "PostgreSQL only lets us read".into(),
        Some(code) => format!("PostgreSQL's error {}", code.code()),
        None => "the connection to PostgreSQL broke".into(),
    };
    StoreError::Unavailable(text)
}

/// What a failure is called while connecting and setting up: much of it waiting does not mend.
pub(super) fn setup(error: &Error) -> StoreError {
    let Some(code) = error.code() else {
        let cause = error.source();
        // A certificate that is refused comes as an error of reading and writing.
        let carried = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
        let refused = carried.and_then(std::io::Error::get_ref);
        if let Some(rustls::Error::InvalidCertificate(_)) = refused.and_then(|error| error.downcast_ref()) {
            return StoreError::Setup("PostgreSQL's certificate is not one to trust, or another server's".into());
        }
        let why = error.to_string();
        return match why.as_str() {
            "authentication error" | "invalid configuration" => StoreError::Setup(format!(
                "PostgreSQL cannot be logged in to: {}",
                cause.map_or(why, ToString::to_string)
            )),
            // What rustls itself refuses comes as invalid data; else the connection broke in the middle of it.
            "error performing TLS handshake" if carried.is_none_or(|error| error.kind() == ErrorKind::InvalidData) => {
                StoreError::Setup("PostgreSQL has no TLS, and sslmode asks for it".into())
            }
            _ => StoreError::Unavailable("PostgreSQL cannot be reached".into()),
        };
    };
    let known = [
        (SqlState::INVALID_PASSWORD, "PostgreSQL refuses the user or the password"),
        (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "PostgreSQL refuses the user, or wants TLS"),
        (SqlState::INVALID_CATALOG_NAME, "PostgreSQL has no database of this name"),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "the user of PostgreSQL may not set up the schema `feathergate`, or write to it",
        ),
        (SqlState::READ_ONLY_SQL_TRANSACTION, "this PostgreSQL only lets us read"),
    ];
    match known.iter().find(|(known, _)| known == code) {
        Some((_, why)) => StoreError::Setup((*why).into()),
        None => words(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_handshake_that_breaks_is_nothing_to_be_mended() {
        // What the server says to the wish for TLS before it goes away.
        for (says, to_be_mended) in [("S", false), ("", false), ("N", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("postgres://u:p@{}/d?sslmode=require", listener.local_addr().unwrap());
            let server = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                socket.read_exact(&mut [0; 8]).await.unwrap();
                socket.write_all(says.as_bytes()).await.unwrap();
            };
            let pool = Pool::new(&Secret::new(&address)).unwrap();
            let (taken, ()) = futures::join!(pool.take(), server);
            let error = taken.err().unwrap();
            assert_eq!(matches!(error, StoreError::Setup(_)), to_be_mended, "{says}: {error}");
        }
    }
}
