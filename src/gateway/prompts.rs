//! The operator's system prompts in a client's request, before it goes anywhere.

use bytes::Bytes;
use http::HeaderMap;

use crate::prompt::{Prompts, Values, injections};
use crate::wire::inject::inject;
use crate::wire::text::Str;
use crate::wire::{DecodeError, Envelope};

/// What is known of a request beside its body.
pub(super) struct Facts<'a> {
    /// The client's headers.
    pub(super) headers: &'a HeaderMap,
    /// The request's id.
    pub(super) request_id: &'a str,
    /// When it came, in Unix milliseconds: one time for all attempts.
    pub(super) now: u64,
}

/// The body with what `prompts` add to requests for the model group `group`; `None` where that is nothing. `envelope` is what was
/// peeked from the client's own `body`, also when a fallback leads to another group, whose prompts are others.
///
/// # Errors
/// For the client, where its system part is none.
pub(super) fn applied(
    prompts: &Prompts,
    group: &str,
    (envelope, body): (&Envelope<'_>, &Bytes),
    facts: &Facts<'_>,
) -> Result<Option<Bytes>, DecodeError> {
    let those = prompts.of(group);
    if those.is_empty() {
        return Ok(None);
    }
    let user = envelope.user();
    let header = |name: &str| facts.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let values = Values {
        now: facts.now,
        zone: &prompts.zone,
        model: &envelope.model,
        request_id: facts.request_id,
        user: user.as_ref().map_or("", Str::as_str),
        key_alias: "",
        header: &header,
    };
    let changed = inject(envelope, body, &injections(&those, &values))?;
    // With nothing but blank texts it is the same memory.
    Ok((changed.as_ptr() != body.as_ptr()).then_some(changed))
}
