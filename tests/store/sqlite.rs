//! SQLite: the kit, and what only a file can have wrong.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use feathergate::store::sqlite::Sqlite;
use feathergate::store::{Keep, Store, StoreError};
use futures::FutureExt as _;

use crate::kit::Kit;

static MADE: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// The file for a name, removed where it is a former run's.
fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("store");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.db"));
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.get_or_insert_default().insert(name.to_owned()) {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", path.display()));
        }
    }
    path
}

pub fn kit() -> Kit {
    Kit {
        make: |name, keep| async move { Arc::new(Sqlite::new(path(&name), keep)) as Arc<dyn Store> }.boxed(),
        lasts: true,
        sweeps: true,
        age: |name| {
            async move {
                let connection = rusqlite::Connection::open(path(&name)).unwrap();
                connection.pragma_update(None, "user_version", 99).unwrap();
            }
            .boxed()
        },
    }
}

async fn refusal(path: PathBuf) -> String {
    match Sqlite::new(path, Keep::default()).open().await {
        Err(StoreError::Setup(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_said_to_be_so() {
    let missing = path("missing").join("below.db");
    let why = refusal(missing).await;
    assert!(why.starts_with("there is no folder /") && why.ends_with("missing.db"), "{why}");
    let folder = path("folder").parent().unwrap().to_owned();
    assert!(refusal(folder).await.ends_with("is a folder, and should be a file"));
    let text = path("text");
    fs::write(&text, "model_list:\n  - model_name: a\n".repeat(100)).unwrap();
    assert!(refusal(text.clone()).await.ends_with("text.db is not an SQLite database"));
    assert!(fs::read_to_string(text).unwrap().starts_with("model_list"), "and is left as it is");
    let other = path("other");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    assert!(refusal(other).await.ends_with("other.db is the database of another program"));
}

#[tokio::test]
async fn nothing_is_done_before_it_is_open() {
    let store = Sqlite::new(path("unopened"), Keep::default());
    let refused = store.find(feathergate::store::Kind::Key, "a", 0).await.unwrap_err();
    assert_eq!(refused, StoreError::Unavailable("it is not open".into()));
}
