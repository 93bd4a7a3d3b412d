//! Every route: its path, who may take it, what it takes and answers, and who does it.

mod access;
mod keys;
mod reports;
mod settings;
mod teams;

use futures::future::BoxFuture;
use http::Method;

use super::Admin;
use super::context::{Answer, Context};
use super::problem::Problem;
use super::read::Takes;
use super::shape::Type;

/// Who may take a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: no credential is looked at.
    Public,
    /// Administrators and holders of keys.
    Caller,
    /// Administrators: the master key, or a session.
    Admin,
    /// The master key only.
    Master,
}

/// What does a route's work.
type Act = for<'a> fn(&'a Admin, &'a Context<'a>) -> BoxFuture<'a, Result<Answer, Problem>>;

/// A route.
pub(super) struct Spec {
    pub(super) method: Method,
    /// The path. One part of it may be `{key}`.
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// What it belongs to, for the document.
    pub(super) tag: &'static str,
    /// What it does, in a sentence.
    pub(super) summary: &'static str,
    pub(super) query: Takes,
    /// What the body holds; a body is not looked at where the method is GET.
    pub(super) body: Takes,
    pub(super) reply: &'static Type,
    pub(super) act: Act,
}

/// Nothing is taken.
pub(super) const NOTHING: Takes = Takes { fields: &[], refused: &[] };

/// All routes.
pub(super) fn all() -> impl Iterator<Item = &'static Spec> + Clone {
    [keys::ROUTES, teams::ROUTES, reports::ROUTES, settings::ROUTES, access::ROUTES].into_iter().flatten()
}

/// What is under a path.
pub(super) enum Found<'a> {
    /// A route, and what stands for `{key}` in its path.
    Route(&'static Spec, Option<&'a str>),
    /// The methods that the path takes.
    Methods(&'static str),
}

/// Finds the route. A trailing slash is overlooked, and HEAD is taken for GET.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Option<Found<'a>> {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut here = all().filter_map(|spec| fits(spec.path, path).map(|part| (spec, part)));
    if let Some((spec, part)) = here.clone().find(|(spec, _)| spec.method == *method) {
        return Some(Found::Route(spec, Some(part).filter(|part| !part.is_empty())));
    }
    let has = |method: Method| here.clone().any(|(spec, _)| spec.method == method);
    let methods = match (has(Method::GET), has(Method::PUT)) {
        (true, true) => "GET, HEAD, OPTIONS, PUT",
        (true, false) if has(Method::POST) => "GET, HEAD, OPTIONS, POST",
        (true, false) => "GET, HEAD, OPTIONS",
        (false, _) => "OPTIONS, POST",
    };
    here.next().map(|_| Found::Methods(methods))
}

/// What stands for `{key}` in the path of a route, nothing where it has none. `None`: it is another path.
fn fits<'a>(spec: &str, path: &'a str) -> Option<&'a str> {
    match spec.split_once("{key}") {
        None => (spec == path).then_some(""),
        Some((start, end)) => {
            let part = path.strip_prefix(start)?.strip_suffix(end)?;
            (!part.is_empty() && !part.contains('/')).then_some(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_routes_are_the_same_and_every_one_is_found() {
        for (place, spec) in all().enumerate() {
            assert!(!all().skip(place + 1).any(|other| other.path == spec.path && other.method == spec.method));
            let path = spec.path.replace("{key}", "abc") + "/";
            let Some(Found::Route(found, part)) = find(&spec.method, &path) else { panic!("{path}") };
            assert!(std::ptr::eq(found, spec), "{path}");
            assert_eq!(part, spec.path.contains("{key}").then_some("abc"));
            assert!(
                matches!(find(&Method::PATCH, &path), Some(Found::Methods(allow)) if allow.contains(spec.method.as_str()))
            );
            for fields in [spec.query.fields, spec.body.fields] {
                let names: Vec<&str> = fields.iter().flat_map(|fields| fields.iter()).map(|field| field.name).collect();
                for (place, name) in names.iter().enumerate() {
                    assert!(!names.iter().skip(place + 1).any(|other| other == name), "{path}: `{name}` twice");
                }
            }
        }
        assert!(find(&Method::GET, "/key").is_none() && find(&Method::POST, "/key//regenerate").is_none());
    }
}
