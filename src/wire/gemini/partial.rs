//! Arguments that come a value at a time: `{"jsonPath":"$.a[0].b","stringValue":"…","willContinue":true}`.

use super::types::PartialArg;
use crate::wire::text::{Json, Writer};

/// The arguments so far.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    root: Vec<(String, Node)>,
}

#[derive(Debug)]
enum Node {
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Text(String),
    /// A number, a boolean or `null`, as it was written.
    Plain(String),
}

/// Deeper paths are cut: writing is recursive.
const DEEPEST: usize = 64;
/// So many of an object's last keys are searched for a path's: pieces of one value follow each other.
const SEARCHED: usize = 64;

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Arguments {
    /// Takes a piece.
    pub(super) fn take(&mut self, piece: &PartialArg<'_>) {
        let value = if let Some(text) = &piece.string_value {
            Node::Text(text.to_string())
        } else if let Some(number) = &piece.number_value {
            Node::Plain(number.get().to_owned())
        } else if let Some(flag) = piece.bool_value {
            Node::Plain(flag.to_string())
        } else if piece.null_value.0 {
            Node::Plain("null".to_owned())
        } else {
            return;
        };
        let steps = steps(piece.json_path.as_deref().unwrap_or_default());
        let Some((Step::Key(first), rest)) = steps.split_first() else { return };
        if let Some(node) = entry(&mut self.root, first) {
            put(node, rest, value);
        }
    }

    /// All of it as JSON; `None` where nothing came.
    pub(super) fn json(&self) -> Option<Json<'static>> {
        let mut out = Writer::default();
        write_object(&self.root, &mut out);
        (!self.root.is_empty()).then(|| out.into_json())
    }
}

fn entry<'n>(object: &'n mut Vec<(String, Node)>, key: &str) -> Option<&'n mut Node> {
    let first = object.len().saturating_sub(SEARCHED);
    let found = object.iter().skip(first).position(|(name, _)| name == key).map(|at| at + first);
    let at = found.unwrap_or_else(|| {
        object.push((key.to_owned(), Node::Plain("null".to_owned())));
        object.len() - 1
    });
    object.get_mut(at).map(|(_, node)| node)
}

fn put(node: &mut Node, steps: &[Step<'_>], value: Node) {
    match steps.split_first() {
        None => match (node, value) {
            // A string comes in pieces.
            (Node::Text(text), Node::Text(more)) => text.push_str(&more),
            (node, value) => *node = value,
        },
        Some((Step::Key(key), rest)) => {
            if !matches!(node, Node::Object(_)) {
                *node = Node::Object(Vec::new());
            }
            if let Node::Object(object) = node
                && let Some(node) = entry(object, key)
            {
                put(node, rest, value);
            }
        }
        Some((Step::Index(index), rest)) => {
            if !matches!(node, Node::Array(_)) {
                *node = Node::Array(Vec::new());
            }
            if let Node::Array(items) = node {
                // Items come in order; a far index must not make us allocate.
                let at = (*index).min(items.len());
                if at == items.len() {
                    items.push(Node::Plain("null".to_owned()));
                }
                if let Some(item) = items.get_mut(at) {
                    put(item, rest, value);
                }
            }
        }
    }
}

/// The steps of `$.a[0]['b c'].d`.
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let mut out = Vec::new();
    while !rest.is_empty() && out.len() < DEEPEST {
        if let Some(inner) = rest.strip_prefix('[') {
            let quote = inner.chars().next().filter(|c| matches!(c, '\'' | '"'));
            let (word, after) = match quote {
                Some(quote) => {
                    let inner = inner.get(1..).unwrap_or_default();
                    let (word, after) = inner.split_once(quote).unwrap_or((inner, ""));
                    (Step::Key(word), after.strip_prefix(']').unwrap_or(after))
                }
                None => {
                    let (word, after) = inner.split_once(']').unwrap_or((inner, ""));
                    (word.trim().parse().map_or(Step::Key(word), Step::Index), after)
                }
            };
            out.push(word);
            rest = after;
        } else {
            let from = rest.strip_prefix('.').unwrap_or(rest);
            let end = from.find(['.', '[']).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            if !word.is_empty() {
                out.push(Step::Key(word));
            }
            // `..` and a lone `.` have to come to an end too.
            rest = after;
        }
    }
    out
}

fn write(node: &Node, out: &mut Writer) {
    match node {
        Node::Object(object) => write_object(object, out),
        Node::Array(items) => {
            out.open('[');
            for item in items {
                write(item, out);
            }
            out.close(']');
        }
        Node::Text(text) => {
            out.string(text);
        }
        Node::Plain(json) => {
            out.raw(json);
        }
    }
}

fn write_object(object: &[(String, Node)], out: &mut Writer) {
    out.open('{');
    for (key, node) in object {
        out.foreign_key(key);
        write(node, out);
    }
    out.close('}');
}
