//! The operator's system prompts in a client's request, before it goes anywhere.

use bytes::Bytes;
use http::HeaderMap;

use super::caller::Principal;
use super::pipeline::Looked;
use super::refusal::Refusal;
use crate::prompt::{Mode, Prompt, Prompts, Template, Values, injections};
use crate::wire::Envelope;
use crate::wire::inject::inject;
use crate::wire::text::Str;

/// What is known of a request beside its body.
pub(super) struct Facts<'a> {
    /// The client's headers.
    pub(super) headers: &'a HeaderMap,
    /// The request's id.
    pub(super) request_id: &'a str,
    /// When it came, in Unix milliseconds: one time for all attempts.
    pub(super) now: u64,
    /// The virtual key that it came with.
    pub(super) principal: Option<&'a Principal>,
}

/// The body with what `prompts` add to requests for the model group `group`; `None` where that is nothing, as it is where a request
/// has no system part. `looked` has looked into the client's own `body`, also when a fallback leads to another group, whose prompts
/// are others.
///
/// # Errors
/// For the client, where its system part is none; for the administrator, where the prompt of a key refers to what is not there.
pub(super) fn applied(
    prompts: &Prompts,
    group: &str,
    (looked, body): (&Looked<'_>, &Bytes),
    facts: &Facts<'_>,
) -> Result<Option<Bytes>, Refusal> {
    if let Looked::Direct(_, path) = looked
        && !path.takes_instructions()
    {
        return Ok(None);
    }
    let mut those = prompts.of(group);
    let of_key = facts.principal.map(|principal| own(principal, prompts)).transpose()?.flatten();
    those.extend(&of_key);
    if those.is_empty() {
        return Ok(None);
    }
    let user = looked.fields().and_then(Envelope::user);
    let header = |name: &str| facts.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let values = Values {
        now: facts.now,
        zone: &prompts.zone,
        model: looked.model(),
        request_id: facts.request_id,
        user: user.as_ref().map_or("", Str::as_str),
        key_alias: facts.principal.and_then(|principal| principal.key.alias.as_deref()).unwrap_or_default(),
        header: &header,
    };
    let injections = injections(&those, &values);
    let changed = match looked {
        Looked::Chat(envelope, _) => inject(envelope, body, &injections)?,
        Looked::Direct(asked, _) => asked.instructed(body, &injections)?,
    };
    // With nothing but blank texts it is the same memory.
    Ok((changed.as_ptr() != body.as_ptr()).then_some(changed))
}

/// The prompt of a key, behind those of the configuration. It is read for each request: few have one, and what it may refer to is the
/// configuration's affair, which can change.
fn own(principal: &Principal, prompts: &Prompts) -> Result<Option<Prompt>, Refusal> {
    let Some(text) = &principal.key.system_prompt else { return Ok(None) };
    let template = Template::parse(text, &prompts.words).map_err(|problems| {
        Refusal::setup(format!("the system prompt of this API key cannot be used: {}", problems.join("; ")))
    })?;
    Ok(Some(Prompt { mode: Mode::Prepend, models: None, template }))
}
