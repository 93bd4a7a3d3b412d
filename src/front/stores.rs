//! Which store a configuration means, here.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::secret::{Text, describe};
use crate::config::settings::{Settings, StorePlace, StoreSettings};
use crate::gateway::Keeper;
use crate::gateway::secrets::SecretSource;
use crate::observe::clock;
use crate::store::{Keep, Store};

/// The file that a server makes with its first key, where nothing is said of a store.
const FILE: &str = "feathergate.db";

/// What a store may need of the program.
pub struct Means<'a> {
    /// This process is a Lambda instance.
    pub lambda: bool,
    /// `FEATHERGATE_TABLE`: the table that the template made.
    pub table: Option<String>,
    /// The program's HTTP client.
    pub http: &'a reqwest::Client,
    /// Parameter Store.
    pub secrets: Option<&'a Arc<dyn SecretSource>>,
    /// Where AWS is.
    #[cfg(feature = "dynamodb")]
    pub place: crate::upstream::aws::Place,
}

/// Finds the store. `None` where there is none: no virtual keys then.
///
/// # Errors
/// Where the configuration names one that this program cannot use, or needs one and there is none.
pub async fn keeper(settings: &Settings, means: Means<'_>) -> Result<Option<Arc<Keeper>>, String> {
    let said = &settings.store;
    let shares = !(said.gateway.limits.none() && said.models.is_empty());
    let keep = Keep { requests: clock::millis(said.keep_requests), days: clock::millis(said.keep_days) };
    let (store, dormant): (Arc<dyn Store>, bool) = match &said.place {
        StorePlace::None => return Ok(None),
        StorePlace::Memory => (memory(keep)?, false),
        StorePlace::Sqlite(path) => (sqlite(path.clone(), keep)?, false),
        StorePlace::Dynamo(table) => (dynamo(table.clone(), &means, keep)?, false),
        StorePlace::Postgres(url) => (postgres(url, &means, keep).await?, false),
        StorePlace::Unsaid => match &means.table {
            Some(table) => (dynamo(table.clone(), &means, keep)?, false),
            None if means.lambda && shares => {
                return Err("`feathergate.shared_limits` need a store: set FEATHERGATE_TABLE, or `feathergate.store`"
                    .to_owned());
            }
            None if means.lambda || !cfg!(feature = "sqlite") => return Ok(None),
            // Whoever uses no keys has no file.
            None => (sqlite(PathBuf::from(FILE), keep)?, !shares),
        },
    };
    Ok(Some(Keeper::new(store, dormant)))
}

/// What a new configuration says of the store otherwise than the one with which it was opened, and what becomes of that: a store
/// that is open stays as it is.
#[must_use]
pub fn stays(opened: &StoreSettings, said: &StoreSettings) -> Vec<&'static str> {
    let place = (place(&opened.place) != place(&said.place)).then_some(
        "`feathergate.store` is another one now; the store that was opened at the start stays in use until the program is \
         started anew",
    );
    let times = |store: &StoreSettings| (store.keep_requests, store.keep_days);
    let times = (times(opened) != times(said)).then_some(
        "`keep_requests` and `keep_days` of `feathergate.store` have changed; those of the start hold until the program is \
         started anew",
    );
    place.into_iter().chain(times).collect()
}

/// What tells one place from another.
fn place(place: &StorePlace) -> (u8, &std::ffi::OsStr) {
    match place {
        StorePlace::Unsaid => (0, "".as_ref()),
        StorePlace::None => (1, "".as_ref()),
        StorePlace::Memory => (2, "".as_ref()),
        StorePlace::Sqlite(path) => (3, path.as_os_str()),
        StorePlace::Dynamo(table) => (4, table.as_ref()),
        StorePlace::Postgres(Text::Known(url)) => (5, url.expose().as_ref()),
        StorePlace::Postgres(Text::Parameter(name)) => (6, name.as_str().as_ref()),
        StorePlace::Postgres(Text::Unset(name)) => (7, name.as_ref()),
    }
}

#[cfg(feature = "server")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn memory(keep: Keep) -> Result<Arc<dyn Store>, String> {
    Ok(Arc::new(crate::store::memory::Memory::new(keep)))
}

#[cfg(not(feature = "server"))]
fn memory(_: Keep) -> Result<Arc<dyn Store>, String> {
    Err("`feathergate.store: memory` is for servers: on Lambda each instance would count for itself".to_owned())
}

#[cfg(feature = "sqlite")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn sqlite(path: PathBuf, keep: Keep) -> Result<Arc<dyn Store>, String> {
    Ok(Arc::new(crate::store::sqlite::Sqlite::new(path, keep)))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: PathBuf, _: Keep) -> Result<Arc<dyn Store>, String> {
    Err(absent("sqlite"))
}

#[cfg(feature = "dynamodb")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn dynamo(table: String, means: &Means<'_>, keep: Keep) -> Result<Arc<dyn Store>, String> {
    Ok(Arc::new(crate::store::dynamodb::Dynamo::new(means.place.clone(), means.http.clone(), table, keep)))
}

#[cfg(not(feature = "dynamodb"))]
fn dynamo(_: String, means: &Means<'_>, _: Keep) -> Result<Arc<dyn Store>, String> {
    let _ = means.http;
    Err(absent("dynamodb"))
}

#[cfg(feature = "postgres")]
async fn postgres(url: &Text, means: &Means<'_>, keep: Keep) -> Result<Arc<dyn Store>, String> {
    let url = match url {
        Text::Known(url) => url.clone(),
        Text::Unset(_) => return Err(format!("the store's URL, {}, is not set", describe(url))),
        Text::Parameter(name) => {
            let source = means.secrets.ok_or("this build cannot read SSM parameters (feature `ssm`)")?;
            let (_, found) = source.fetch(std::slice::from_ref(name)).await.pop().ok_or("no answer")?;
            found.map_err(|error| format!("the store's URL, {}, {error}", describe(url)))?
        }
    };
    let store = crate::store::postgres::Postgres::new(&url, keep).map_err(|error| error.to_string())?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "with the feature it may have to fetch the URL")]
async fn postgres(url: &Text, means: &Means<'_>, _: Keep) -> Result<Arc<dyn Store>, String> {
    let _ = (describe(url), means.secrets);
    Err(absent("postgres"))
}

#[cfg(not(all(feature = "sqlite", feature = "dynamodb", feature = "postgres")))]
fn absent(feature: &str) -> String {
    format!("this build has no such store (feature `{feature}`)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Document;
    use crate::config::resolve::resolve;

    #[test]
    fn what_an_open_store_does_not_follow_is_told() {
        let said = |store: &str| {
            let entry = "- {model_name: m, litellm_params: {model: openai/gpt-5, api_key: k}}";
            let yaml = format!("model_list:\n{entry}\nfeathergate: {{store: {store}}}\n");
            resolve(&Document::parse("a.yaml", &yaml).unwrap(), &|_| None).unwrap().settings.store
        };
        for (before, after, want) in [
            ("null", "null", ""),
            ("null", "false", "`feathergate.store`"),
            ("sqlite:a.db", "{url: 'sqlite:a.db', strict_pricing: true, on_error: open, store_bodies: true}", ""),
            ("sqlite:a.db", "sqlite:b.db", "`feathergate.store`"),
            ("memory", "none", "`feathergate.store`"),
            ("'dynamodb:one'", "'dynamodb:two'", "`feathergate.store`"),
            ("'postgres://u:one@h/d'", "'postgres://u:two@h/d'", "`feathergate.store`"),
            ("'postgres://u:one@h/d'", "'postgres://u:one@h/d'", ""),
            ("'ssm:/one'", "'ssm:/two'", "`feathergate.store`"),
            ("'ssm:/one'", "'postgres://u:one@h/d'", "`feathergate.store`"),
            ("memory", "{url: memory, keep_requests: 7d}", "`keep_requests`"),
            ("memory", "{url: memory, keep_days: 7d}", "`keep_requests`"),
            ("memory", "{url: none, keep_days: 7d}", "`feathergate.store` `keep_requests`"),
        ] {
            let told = stays(&said(before), &said(after));
            let told: Vec<&str> = told.into_iter().filter_map(|told| told.split(' ').next()).collect();
            assert_eq!(told.join(" "), want, "{before} {after}");
        }
    }
}
