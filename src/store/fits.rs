//! Whether a change of documents fits what is stored.

use super::Change;

/// What is stored where a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    /// The document's version.
    pub(super) version: u64,
    /// Its unique name.
    pub(super) unique: Option<&'a str>,
    /// When it ends.
    pub(super) ends: Option<u64>,
}

/// Whether a change fits what is `there`. `taken` says that another document has its unique name.
pub(super) fn fits(change: &Change, there: Option<Seen<'_>>, taken: bool, now: u64) -> bool {
    let there = there.filter(|there| there.ends.is_none_or(|ends| ends > now));
    let is = |version: Option<u64>, unique: &Option<String>| {
        there.is_some_and(|there| Some(there.version) == version && there.unique == unique.as_deref())
    };
    match change {
        Change::Create(_) => there.is_none() && !taken,
        Change::Replace { document, before } => is(document.version.checked_sub(1), before) && !taken,
        Change::Remove(document) => is(Some(document.version), &document.unique),
    }
}
