//! Administration: keys, teams, usage, the audit log. JSON in, JSON out; it knows nothing of the gateway.
//!
//! One table (`table`) says which paths there are, who may call them, which fields they take and what they answer. It drives
//! routing, the check of every request and the `OpenAPI` document, so that none of them can be wrong about the others.
//!
//! Whoever serves it finds the [`Route`] of a request, finds out who asks ([`Actor`]) as far as the route's [`Access`] demands,
//! and gives both to [`Admin::handle`].

mod activity;
mod admins;
mod context;
mod decimal;
mod keyform;
mod keys;
mod login;
mod models;
mod openapi;
mod problem;
mod read;
pub mod settings;
mod shape;
mod spend;
mod table;
mod teams;
#[cfg(test)]
mod tests;
mod usage;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Method, StatusCode};

use crate::meter::Price;
use crate::store::Store;
use crate::store::key::Key;
pub use admins::{fingerprint, public_key};
use context::{Answer, Context};
pub use login::signed_text;
use problem::Problem;
use read::Input;
#[cfg(feature = "server")]
pub(crate) use read::object;
pub use table::Access;

/// The administration of a store.
pub struct Admin {
    store: Arc<dyn Store>,
    challenges: login::Rate,
}

/// Who asks: decided by the gateway's authentication.
#[derive(Clone, Debug)]
pub enum Actor {
    /// Who has the master key.
    Master,
    /// An administrator who has logged in.
    Session {
        /// The fingerprint of the public key: what [`Admin::session`] says.
        fingerprint: String,
    },
    /// The holder of a virtual key that is valid.
    Key {
        /// The key.
        record: Arc<Key>,
    },
    /// Somebody, or nobody was asked for.
    Nobody,
}

/// A request for [`Admin::handle`].
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, as it came.
    pub path: &'a str,
    /// What stands behind the `?`, as it came.
    pub query: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
    /// Who asks.
    pub actor: &'a Actor,
    /// From where, as far as it is known.
    pub address: Option<IpAddr>,
    /// The time, in Unix milliseconds.
    pub now: u64,
    /// The models that the configuration has.
    pub catalog: &'a dyn Catalog,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status. With a 405 the route's [`Route::WrongMethod`] has the `Allow` header.
    pub status: StatusCode,
    /// JSON.
    pub body: Vec<u8>,
    /// Whether keys, teams or settings were changed: what is remembered of them must be forgotten.
    pub changed: bool,
    /// Whether there is more than it tells, which its body has no place to say.
    pub cut: bool,
}

/// What the configuration in use knows of models.
pub trait Catalog: Sync {
    /// The model groups that have a name of their own.
    fn groups(&self) -> Vec<GroupInfo>;

    /// Whether a request could name this model: a group, an alias, a deployment, or what a wildcard takes.
    fn knows(&self, model: &str) -> bool;

    /// Whether a pattern with `*` takes the name of a model, or could: of a wildcard any name may be asked for.
    fn takes(&self, pattern: &str) -> bool;

    /// Whether a price of this name, which may hold `*`, is that of a deployment, or could be.
    fn prices(&self, name: &str) -> bool;

    /// Whether an endpoint that a key may call, with or without `*` at its end, is here.
    fn serves(&self, endpoint: &str) -> bool;
}

/// A model group.
#[derive(Clone, Debug, Default)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// What it is for, in litellm's words: `chat`, `embedding`.
    pub mode: String,
    /// The most input tokens that it takes.
    pub max_input_tokens: Option<u64>,
    /// The most output tokens that it gives.
    pub max_output_tokens: Option<u64>,
    /// What it can do, in litellm's words: `supports_vision`.
    pub supports: Vec<&'static str>,
    /// Its deployments.
    pub deployments: Vec<DeploymentInfo>,
}

/// A deployment of a group.
#[derive(Clone, Debug, Default)]
pub struct DeploymentInfo {
    /// Its id.
    pub id: String,
    /// The upstream's vendor: `openai`.
    pub upstream: String,
    /// The model's name there.
    pub model: String,
    /// What its tokens cost.
    pub price: Price,
    /// Requests a minute that it may take.
    pub rpm: Option<u64>,
    /// Tokens a minute that it may take.
    pub tpm: Option<u64>,
}

/// What is under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A route.
    Found {
        /// Who may take it.
        access: Access,
        /// Its name for logs and metrics, such as `/key/generate`.
        label: &'static str,
    },
    /// The path takes other methods.
    WrongMethod {
        /// For the header `Allow`: `GET, PUT`.
        allow: &'static str,
    },
}

/// What is under a path, if it is one of administration.
#[must_use]
pub fn route(method: &Method, path: &str) -> Option<Route> {
    Some(match table::find(method, path)? {
        table::Found::Route(spec, _) => Route::Found { access: spec.access, label: spec.path },
        table::Found::Methods(allow) => Route::WrongMethod { allow },
    })
}

impl Admin {
    /// The administration of this store, which has been opened.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, challenges: login::Rate::default() }
    }

    /// Answers a request. Never fails: what is wrong is in the answer.
    pub fn handle<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Reply> {
        Box::pin(async move { self.answer(request).await.unwrap_or_else(|problem| problem.reply()) })
    }

    async fn answer(&self, request: Request<'_>) -> Result<Reply, Problem> {
        let (spec, part) = match table::find(request.method, request.path).ok_or_else(Problem::not_here)? {
            table::Found::Methods(allow) => return Err(Problem::method(allow)),
            table::Found::Route(spec, part) => (spec, part),
        };
        may(spec.access, request.actor)?;
        let query = spec.query.query(request.query)?;
        let body = if spec.method == Method::GET { Input::default() } else { spec.body.body(request.body)? };
        let Request { actor, address, now, catalog, .. } = request;
        let context = Context { body, query, part, actor, address, now, catalog };
        match (spec.act)(self, &context).await {
            Ok(Answer { status, body, changed, cut }) => Ok(Reply { status, body, changed, cut }),
            Err(problem) => {
                let mut reply = problem.reply();
                // Some of it may have been done.
                reply.changed = spec.method != Method::GET
                    && (reply.status.is_server_error() || reply.status == StatusCode::CONFLICT);
                Ok(reply)
            }
        }
    }
}

/// Whether somebody may take a route.
fn may(access: Access, actor: &Actor) -> Result<(), Problem> {
    match (access, actor) {
        (Access::Public, _)
        | (Access::Caller, Actor::Master | Actor::Session { .. } | Actor::Key { .. })
        | (Access::Admin, Actor::Master | Actor::Session { .. })
        | (Access::Master, Actor::Master) => Ok(()),
        (Access::Caller | Access::Admin | Access::Master, Actor::Nobody) => {
            Err(Problem::unauthenticated("this needs a key: send it as `Authorization: Bearer …`"))
        }
        (Access::Admin, Actor::Key { .. }) => {
            Err(Problem::forbidden("a virtual key may not do this: use the master key, or log in"))
        }
        (Access::Master, Actor::Session { .. } | Actor::Key { .. }) => {
            Err(Problem::forbidden("this needs the master key"))
        }
    }
}
