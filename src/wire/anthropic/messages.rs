//! A client's messages, read: who says what. What is said is read in [`parts`](super::parts).

use serde::Deserialize;
use serde::de::Deserializer;

use super::parts::Content;
use super::read::{each, missing};
use crate::wire::chat::{At, Foreign, Part, Request, Rest, Role, Text, Turn};
use crate::wire::envelope::DecodeError;
use crate::wire::fields::fields;
use crate::wire::text::{Json, Str};

/// Takes over `system`.
pub(super) fn system<'a>(content: Content<'a>, request: &mut Request<'a>) -> Result<(), DecodeError> {
    if let Some(fault) = content.fault {
        return Err(missing(format!("system[{}].{}", fault.block, fault.field), fault.want));
    }
    for (index, part) in content.parts.into_iter().enumerate() {
        let Part::Text(text) = part else {
            let path = format!("system[{index}].type");
            let message = format!("`{path}` must be `text`");
            return Err(DecodeError { message, field: Some(path) });
        };
        request.system.push(text);
    }
    if content.there {
        return Ok(());
    }
    let message = "`system` is an object; it must be a string or an array of text blocks".to_owned();
    Err(DecodeError { message, field: Some("system".into()) })
}

#[derive(Default)]
struct Message<'a> {
    role: Option<Str<'a>>,
    content: Content<'a>,
}
fields!(Message<'a> { role, content });

/// `messages`, read.
#[derive(Default)]
pub(super) struct Messages<'a> {
    system: Vec<Text<'a>>,
    turns: Vec<Turn<'a>>,
    cited: Option<Json<'a>>,
    fault: Option<DecodeError>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Messages<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut messages = Messages::default();
        let mut index = 0;
        each(deserializer, |message: Message<'de>| {
            if messages.fault.is_none() {
                messages.fault = messages.take(message, index).err();
            }
            index += 1;
        })?;
        Ok(messages)
    }
}

impl<'a> Messages<'a> {
    /// Gives the request what was read.
    pub(super) fn into_request(mut self, request: &mut Request<'a>) -> Result<(), DecodeError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        request.system.append(&mut self.system);
        request.turns = self.turns;
        if let Some(value) = self.cited {
            request.rest.push(Rest { name: "citations".into(), value, content: false });
        }
        Ok(())
    }

    fn take(&mut self, message: Message<'a>, index: usize) -> Result<(), DecodeError> {
        let role = match message.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(other) => {
                let path = format!("messages[{index}].role");
                let message = format!("`{path}` is `{other}`; it must be `user`, `assistant` or `system`");
                return Err(DecodeError { message, field: Some(path) });
            }
            None => return Err(missing(format!("messages[{index}].role"), "`user`, `assistant` or `system`")),
        };
        let content = message.content;
        if let Some(fault) = content.fault {
            let at = At { message: index, part: fault.block };
            return Err(missing(format!("{at}.{}", fault.field), fault.want));
        }
        if !content.there {
            return Err(missing(format!("messages[{index}].content"), "a string or an array of content blocks"));
        }
        self.cited = self.cited.take().or(content.cited);
        let mut parts = content.parts;
        for part in &mut parts {
            placed(part, role, index);
        }
        let mut rest = parts.into_iter();
        let mut done = 0;
        for (before, inner) in content.between {
            self.push(role, rest.by_ref().take(before.saturating_sub(done)).collect());
            self.push(Role::System, inner);
            done = before;
        }
        self.push(role, rest.collect());
        Ok(())
    }

    fn push(&mut self, role: Role, mut parts: Vec<Part<'a>>) {
        if role == Role::System && self.turns.is_empty() {
            let texts = parts.extract_if(.., |part| matches!(part, Part::Text(_)));
            self.system.extend(texts.filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }));
        }
        if !parts.is_empty() {
            self.turns.push(Turn { role, parts });
        }
    }
}

/// Tells a part where it stands, and makes a stranger of one that its role cannot have.
fn placed(part: &mut Part<'_>, role: Role, message: usize) {
    let stranger = match part {
        Part::Call(_) if role != Role::Assistant => "tool_use",
        Part::Thought(_) if role != Role::Assistant => "thinking",
        Part::Outcome(_) if role != Role::User => "tool_result",
        Part::Outcome(outcome) => {
            for inner in &mut outcome.content {
                // A result holds text and media.
                placed(inner, Role::System, message);
            }
            return;
        }
        Part::Media(media) => {
            media.at.message = message;
            return;
        }
        Part::Foreign(foreign) => {
            foreign.at.message = message;
            foreign.droppable = role == Role::Assistant;
            return;
        }
        Part::Call(_) | Part::Thought(_) | Part::Text(_) => return,
    };
    let at = At { message, part: 0 };
    *part = Part::Foreign(Foreign { kind: stranger.into(), droppable: role == Role::Assistant, at });
}
