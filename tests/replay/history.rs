//! What a request tells of the conversation so far, whatever dialect it is in: the common ground of a history and what a
//! conversion made of it.

use crate::json::Json;
use crate::said::{arguments, short};

/// One thing that was said. Texts are without white space: the wires join and split them in different ways.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    System(String),
    User(String),
    Assistant(String),
    Call { id: String, name: String, arguments: String },
    Result { id: String, name: String, text: String },
}

/// A history.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) items: Vec<Item>,
    pub(crate) media: usize,
    /// Documents of plain text, which are text on some wires.
    pub(crate) documents: usize,
}

fn bare(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).collect()
}

/// A tool's output: JSON in one spelling, since some wires take it as JSON.
fn output(text: &str) -> String {
    match Json::parse(text) {
        Ok(json) if json.is_object() || json.is_array() => bare(&json.to_string()),
        _ => bare(text),
    }
}

impl History {
    fn say(&mut self, item: Item) {
        match (self.items.last_mut(), &item) {
            (_, Item::System(text) | Item::User(text) | Item::Assistant(text)) if text.is_empty() => {}
            (Some(Item::User(before)), Item::User(text)) | (Some(Item::Assistant(before)), Item::Assistant(text)) => {
                before.push_str(text);
            }
            _ => self.items.push(item),
        }
    }

    fn parts(&mut self, content: &Json) -> String {
        if let Some(text) = content.as_str() {
            return bare(text);
        }
        let mut text = String::new();
        for part in content.items() {
            match part["type"].text() {
                "text" | "refusal" | "input_text" => {
                    text.push_str(part["text"].text());
                    text.push_str(part["refusal"].text());
                }
                "document" if part["source"]["type"].text() == "text" => {
                    self.documents += 1;
                    text.push_str(part["source"]["data"].text());
                }
                "document" if part["source"]["type"].text() == "content" => {
                    let inner = self.parts(&part["source"]["content"]);
                    text.push_str(&inner);
                }
                "image_url" | "input_audio" | "file" | "image" | "document" | "video_url" | "file_url"
                | "document_url" => {
                    self.media += 1;
                    let text = part["file_url"]["url"].as_str().or_else(|| part["file"]["file_data"].as_str());
                    let plain = text.is_some_and(|it| !it.starts_with("http") && !it.contains("JVBERi"));
                    self.documents += usize::from(plain);
                }
                _ => {}
            }
        }
        bare(&text)
    }

    pub(crate) fn openai(body: &Json) -> Self {
        let mut history = Self::default();
        for message in body["messages"].items() {
            let text = history.parts(&message["content"]);
            match message["role"].text() {
                "system" | "developer" => history.say(Item::System(text)),
                "assistant" => {
                    history.say(Item::Assistant(text + &bare(message["refusal"].text())));
                    let old = &message["function_call"];
                    if old.is_object() {
                        history.call("", old["name"].text(), old["arguments"].text());
                    }
                    for call in message["tool_calls"].items() {
                        let function = if call.has("custom") { &call["custom"] } else { &call["function"] };
                        let text = match &function["arguments"] {
                            Json::String(text) => text.clone(),
                            Json::Null => function["input"].text().to_owned(),
                            other => other.to_string(),
                        };
                        history.call(call["id"].text(), function["name"].text(), &text);
                    }
                }
                "tool" | "function" => {
                    let text = message["content"].as_str().map_or(text, output);
                    let (id, name) = (message["tool_call_id"].text().to_owned(), message["name"].text().to_owned());
                    history.say(Item::Result { id, name, text });
                }
                _ => history.say(Item::User(text)),
            }
        }
        history
    }

    fn call(&mut self, id: &str, name: &str, text: &str) {
        self.say(Item::Call { id: id.to_owned(), name: name.to_owned(), arguments: arguments(text) });
    }

    pub(crate) fn anthropic(body: &Json) -> Self {
        let mut history = Self::default();
        let system = &body["system"];
        match system.as_str() {
            Some(text) => history.say(Item::System(bare(text))),
            None => system.items().iter().for_each(|block| history.say(Item::System(bare(block["text"].text())))),
        }
        for message in body["messages"].items() {
            let blocks = match &message["content"] {
                Json::String(text) => vec![text_block(text)],
                content => content.items().to_vec(),
            };
            for block in blocks {
                match block["type"].text() {
                    "tool_use" => history.call(block["id"].text(), block["name"].text(), &block["input"].to_string()),
                    "tool_result" => {
                        let text = history.parts(&block["content"]);
                        let text = block["content"].as_str().map_or(text, output);
                        let text = match block["content"].items() {
                            [only] if only["type"].text() == "text" => output(only["text"].text()),
                            _ => text,
                        };
                        history.say(Item::Result {
                            id: block["tool_use_id"].text().to_owned(),
                            name: String::new(),
                            text,
                        });
                    }
                    _ => {
                        let text = history.parts(&Json::Array(vec![block]));
                        history.say(match message["role"].text() {
                            "assistant" => Item::Assistant(text),
                            "system" => Item::System(text),
                            _ => Item::User(text),
                        });
                    }
                }
            }
        }
        history
    }

    pub(crate) fn gemini(body: &Json) -> Self {
        let mut history = Self::default();
        for part in body["systemInstruction"]["parts"].items() {
            history.say(Item::System(bare(part["text"].text())));
        }
        for content in body["contents"].items() {
            for part in content["parts"].items() {
                if let Some(call) = part.get("functionCall") {
                    history.call(call["id"].text(), call["name"].text(), &call["args"].to_string());
                } else if let Some(result) = part.get("functionResponse") {
                    let response = &result["response"];
                    let value = response.get("output").or_else(|| response.get("error")).unwrap_or(response);
                    let text = value.as_str().map_or_else(|| output(&value.to_string()), output);
                    history.media += result["parts"].items().len();
                    let (id, name) = (result["id"].text().to_owned(), result["name"].text().to_owned());
                    history.say(Item::Result { id, name, text });
                } else if part.has("inlineData") || part.has("fileData") {
                    history.media += 1;
                } else if part["thought"] != Json::Bool(true) {
                    let text = bare(part["text"].text());
                    let model = content["role"].text() == "model";
                    history.say(if model { Item::Assistant(text) } else { Item::User(text) });
                }
            }
        }
        history
    }

    /// Every call is answered by somebody, and nobody answers what was not called.
    pub(crate) fn paired(&self) -> bool {
        let mut open: Vec<&str> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for item in &self.items {
            match item {
                Item::Call { id, .. } if seen.contains(&id.as_str()) => return false,
                Item::Call { id, .. } => {
                    open.push(id);
                    seen.push(id);
                }
                Item::Result { id, .. } => match open.iter().position(|open| open == id) {
                    Some(at) => drop(open.remove(at)),
                    None => return false,
                },
                _ => {}
            }
        }
        open.is_empty()
    }

    /// The form in which two histories are compared: later system messages as the user's words, results in the order of their
    /// calls and directly behind them, neighbours joined.
    fn settled(&self) -> Vec<Item> {
        let mut out = Self::default();
        let leading = self.items.iter().take_while(|item| matches!(item, Item::System(_))).count();
        let alone = leading == self.items.len();
        for (at, item) in self.items.iter().enumerate() {
            match item {
                Item::System(text) if at >= leading || (alone && at + 1 == leading) => {
                    out.say(Item::User(text.clone()));
                }
                Item::User(text) => out.say(Item::User(plain_words(text))),
                other => out.say(other.clone()),
            }
        }
        let mut sorted = Self::default();
        let mut at = 0;
        while at < out.items.len() {
            if !matches!(out.items[at], Item::Call { .. }) {
                sorted.say(out.items[at].clone());
                at += 1;
                continue;
            }
            let calls = out.items[at..].iter().take_while(|item| matches!(item, Item::Call { .. })).count();
            let mut behind = at + calls;
            while behind < out.items.len() && matches!(out.items[behind], Item::Result { .. } | Item::User(_)) {
                behind += 1;
            }
            let (group, rest) = (&out.items[at..at + calls], &out.items[at + calls..behind]);
            for call in group {
                sorted.say(call.clone());
            }
            let of = |item: &Item| match item {
                Item::Result { id, .. } => {
                    group.iter().position(|call| matches!(call, Item::Call { id: own, .. } if own == id)).unwrap_or(99)
                }
                _ => 100,
            };
            let mut rest: Vec<&Item> = rest.iter().collect();
            rest.sort_by_key(|item| of(item));
            for item in rest {
                sorted.say(item.clone());
            }
            at = behind;
        }
        sorted.items
    }
}

/// The user's words without those of ours around system messages and around media of tools.
fn plain_words(text: &str) -> String {
    let text = text.replace("<system>", "").replace("</system>", "");
    match text.strip_prefix("Fromtheresultoftoolcall").and_then(|rest| rest.split_once(':')) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    }
}

fn text_block(text: &str) -> Json {
    Json::Object(vec![
        ("type".to_owned(), Json::String("text".to_owned())),
        ("text".to_owned(), Json::String(text.to_owned())),
    ])
}

/// What we say to a model that cannot be told a form of answers, without white space.
const INSTRUCTIONS: [&str; 2] = ["AnswerwithoneJSONobject", "Giveyourfinalanswerbycallingthetool"];

/// What differs between a history and what became of it. `ids` says whether a call's id has to stay.
pub(crate) fn differences(was: &History, is: &History, ids: impl Fn(&str) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    let (was_items, mut is_items) = (was.settled(), is.settled());
    let first = |items: &[Item]| items.iter().position(|item| !matches!(item, Item::System(_)));
    let speaks = |items: &[Item], at: Option<usize>| {
        at.is_some_and(|at| matches!(items[at], Item::User(_) | Item::Result { .. }))
    };
    // Where a wire has no form of answers, it is asked for in words.
    for item in &mut is_items {
        if let Item::System(text) = item {
            let end = INSTRUCTIONS.iter().find_map(|words| text.find(words));
            text.truncate(end.unwrap_or(text.len()));
        }
    }
    is_items.retain(|item| !matches!(item, Item::System(text) if text.is_empty()));
    // A conversation that the model begins or ends gets a word of the user's where the wire demands it.
    if !speaks(&was_items, first(&was_items)) && speaks(&is_items, first(&is_items)) {
        is_items.remove(first(&is_items).unwrap());
    }
    if is_items.len() == was_items.len() + 1 && matches!(was_items.last(), Some(Item::Assistant(_))) {
        is_items.pop();
    }
    let (mut calls, mut others): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for at in 0..was_items.len().max(is_items.len()) {
        let (Some(a), Some(b)) = (was_items.get(at), is_items.get(at)) else {
            out.push(format!("item {at}: {} became {}", told(was_items.get(at)), told(is_items.get(at))));
            break;
        };
        let same = match (a, b) {
            (
                Item::Call { id, name, arguments },
                Item::Call { id: other_id, name: other_name, arguments: other_arguments },
            ) => {
                calls.push(id.clone());
                others.push(other_id.clone());
                let id_stays = id == other_id || !ids(id) || other_id.is_empty();
                id_stays && (name == other_name || name.len() > 64 || !plain(name)) && arguments == other_arguments
            }
            (Item::Result { id, text, .. }, Item::Result { id: other_id, text: other_text, .. }) => {
                let place = |list: &[String], id: &str| list.iter().rposition(|known| known == id);
                let paired = other_id.is_empty() || place(&calls, id) == place(&others, other_id);
                // A mark of failure or of media may stand around it.
                paired && other_text.contains(text.as_str())
            }
            (Item::User(a), Item::User(b)) if was.documents + is.documents > 0 => a.contains(b) || b.contains(a),
            _ => a == b,
        };
        if !same {
            out.push(format!("item {at}: {} became {}", told(Some(a)), told(Some(b))));
            break;
        }
    }
    if was.media != is.media && was.documents + is.documents == 0 {
        out.push(format!("{} media became {}", was.media, is.media));
    }
    out
}

fn plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn told(item: Option<&Item>) -> String {
    match item {
        None => "nothing".to_owned(),
        Some(Item::System(text)) => format!("system {:?}", short(text)),
        Some(Item::User(text)) => format!("user {:?}", short(text)),
        Some(Item::Assistant(text)) => format!("assistant {:?}", short(text)),
        Some(Item::Call { id, name, arguments }) => format!("call {id} {name}({})", short(arguments)),
        Some(Item::Result { id, text, .. }) => format!("result of {id}: {:?}", short(text)),
    }
}
