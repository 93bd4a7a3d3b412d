//! PostgreSQL: the kit, and what only a server can do to us. `tests/store/postgres.sh cargo test …` brings one.

use std::collections::HashSet;
use std::sync::Arc;

use feathergate::config::secret::Secret;
use feathergate::store::postgres::Postgres;
use feathergate::store::{Keep, Kind, Store, StoreError};
use futures::FutureExt as _;
use tokio::sync::Mutex;

use crate::kit::{Case, Kit, NOW, asks, claim, document, held, save, server};

static MADE: Mutex<Option<HashSet<String>>> = Mutex::const_new(None);

fn address() -> Option<String> {
    server("FEATHERGATE_TEST_POSTGRES")
}

/// The address with another database.
fn database(name: &str) -> String {
    let address = address().unwrap();
    let (start, query) = address.split_once('?').unwrap_or((&address, ""));
    format!("{}/{name}?{query}", start.rsplit_once('/').unwrap().0)
}

/// Runs statements as a user beside the store would.
async fn run(address: &str, statements: &[&str]) {
    // The suite's own client does without TLS.
    let plain = format!("{}?sslmode=disable", address.split('?').next().unwrap());
    let (client, connection) = tokio_postgres::connect(&plain, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    for statement in statements {
        client.batch_execute(statement).await.unwrap();
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

/// The database for a name, made anew where it is a former run's.
async fn made(name: &str) -> String {
    let name = format!("feathergate_test_{name}").chars().take(63).collect::<String>();
    let mut made = MADE.lock().await;
    if made.get_or_insert_default().insert(name.clone()) {
        let [drop, create] =
            [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")];
        run(&address().unwrap(), &[&drop, &create]).await;
    }
    database(&name)
}

fn store(address: &str, keep: Keep) -> Postgres {
    Postgres::new(&Secret::new(address), keep).unwrap()
}

pub fn kit() -> Option<Kit> {
    address().map(|_| Kit {
        make: |name, keep| async move { Arc::new(store(&made(&name).await, keep)) as Arc<dyn Store> }.boxed(),
        lasts: true,
        sweeps: true,
        age: |name| {
            async move { run(&made(&name).await, &["INSERT INTO feathergate.migrations (version) VALUES (99)"]).await }
                .boxed()
        },
    })
}

#[tokio::test]
async fn connections_that_break_are_replaced() {
    let Some(kit) = kit() else { return };
    let case = Case::new(kit, "broken");
    let store = case.store().await;
    save(&*store, &[feathergate::store::Change::Create(document(Kind::Key, "a", 1, None))]).await.unwrap();
    for round in 0..3 {
        // Several idle ones, as many as are in use at one time.
        let finds = (0..6).map(|_| store.find(Kind::Key, "a", NOW));
        futures::future::join_all(finds).await.into_iter().for_each(|found| assert!(found.unwrap().is_some()));
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'feathergate_test_broken'";
        run(&address().unwrap(), &[others]).await;
        let limits = feathergate::meter::ledger::Limits { rpm: Some(9), ..Default::default() };
        held(&*store, &claim(&format!("h{round}"), &[("key:a", &limits)], asks(1, 1)), NOW).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_said_without_the_address() {
    for (address, want) in [
        ("", "postgres://USER"),
        ("postgres://u:hunter2@h/d?sslmode=yes", "sslmode should be"),
        ("postgres://u:hunter2@h/d?hunter2=1", "it should be postgres://USER"),
        ("postgres://u:hunter2@h:99999/d", "it should be postgres://USER"),
        ("hunter2", "it should be postgres://USER"),
        ("mysql://u:hunter2@h/d", "it should be postgres://USER"),
        ("postgres://u:hunter2@h/d?sslrootcert=/not/there", "sslrootcert /not/there cannot be read"),
        ("postgres://u:hunter2@h/d?sslrootcert=Cargo.toml", "sslrootcert Cargo.toml has no certificate"),
    ] {
        let Err(StoreError::Setup(why)) = Postgres::new(&Secret::new(address), Keep::default()) else {
            panic!("{address} is taken")
        };
        assert!(why.contains(want) && !why.contains("hunter2"), "{address}: {why}");
    }
    let nobody = store("postgres://u:hunter2@127.0.0.1:1/d", Keep::default());
    assert_eq!(nobody.open().await, Err(StoreError::Unavailable("PostgreSQL cannot be reached".into())));
}

#[tokio::test]
async fn what_a_server_refuses_is_said() {
    let Some(address) = address() else { return };
    let (start, query) = address.split_once('?').unwrap();
    let plain = format!("{start}?sslmode=disable");
    let elsewhere = |from: &str, to: &str| format!("{}?{query}", start.replace(from, to));
    let password = start.split([':', '@']).nth(2).unwrap();
    let mut wrong = vec![
        (format!("{}/nowhere?{query}", start.strip_suffix("/postgres").unwrap()), "no database of this name"),
        (elsewhere(password, "hunter2"), "refuses the user or the password"),
        (elsewhere("/postgres:", "/nobody:"), "refuses the user or the password"),
    ];
    for mode in ["disable", "prefer", "require"] {
        let open = store(&format!("{start}?sslmode={mode}"), Keep::default()).open().await;
        assert!(open.is_ok() || !query.contains("verify-full") && mode == "require", "{mode}: {open:?}");
    }
    if query.contains("verify-full") {
        wrong.push((format!("{start}?sslmode=verify-full"), "certificate is not one to trust"));
        wrong.push((elsewhere("127.0.0.1", "localhost"), "certificate is not one to trust"));
        // As little as libpq: nobody is bound to a session that is not there.
        wrong.push((format!("{plain}&channel_binding=require"), "cannot be logged in"));
    } else {
        wrong.push((format!("{start}?sslmode=require"), "has no TLS"));
    }
    for (address, want) in wrong {
        match store(&address, Keep::default()).open().await {
            Err(StoreError::Setup(why)) => assert!(why.contains(want) && !why.contains(password), "{why}"),
            other => panic!("{want}: {other:?}"),
        }
    }
    run(&address, &["DROP SCHEMA IF EXISTS feathergate CASCADE"]).await;
}
