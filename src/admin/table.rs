//! Every route: its path, who may take it, what it takes and answers. Data only.

use http::Method;

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

/// A route.
pub(super) struct Spec {
    pub(super) path: &'static str,
    pub(super) method: Method,
    pub(super) access: Access,
}

pub(super) enum Found<'a> {
    Route(&'static Spec, Option<&'a str>),
    Methods(&'static str),
}

pub(super) fn find<'a>(method: &Method, path: &'a str) -> Option<Found<'a>> {
    let _ = (method, path);
    None
}
