//! From YAML text to [`Node`]s, and from YAML text to the line of each of them. The only file that names the YAML crate.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Node;

/// More nodes than any configuration has: a bound for files whose aliases multiply.
const MOST_NODES: u32 = 200_000;
pub(super) const TOO_MANY: &str = "the aliases of this file multiply to more than 200,000 values";
const BAD_KEY: &str = "the key of a map is a list or a map; it must be a name";
const BAD_TAG: &str = "`!` tags have no meaning here; quote the value if it starts with `!`";

/// Parses; in case of an error the line and one sentence that holds nothing of the text.
pub(super) fn parse(text: &str) -> Result<Node, (usize, String)> {
    let budget = Cell::new(MOST_NODES);
    match (Reader { budget: &budget }).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(node) => Ok(node),
        Err(error) => {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            Err((line, format!("column {column}: {}", sentence(&error.to_string()))))
        }
    }
}

/// The parser's complaint in plain words. The parser's own text is never passed on: it could quote the file.
fn sentence(complaint: &str) -> &'static str {
    const SENTENCES: &[(&str, &str)] = &[
        (TOO_MANY, TOO_MANY),
        (BAD_KEY, BAD_KEY),
        (BAD_TAG, BAD_TAG),
        ("more than one document", "there is a second document after `---`; only one can stand in a file"),
        ("recursion limit", "lists and maps are nested more than 100 levels deep"),
        ("repetition limit", TOO_MANY),
        ("unknown anchor", "an alias (`*name`) has no anchor (`&name`) before it"),
        ("tab character", "there is a tab in the indentation; use spaces"),
        (
            "found character that cannot start any token",
            "a value cannot start like this (a tab, `@`, `` ` `` or `%`); quote it, or use spaces",
        ),
        (
            "mapping values are not allowed",
            "there is a `:` where none can be; is a quote missing, or the indentation off?",
        ),
        ("did not find expected key", "the indentation does not fit the lines above it, or a quote is missing"),
        ("could not find expected ':'", "a `:` is missing after a key, or the indentation does not fit"),
        (
            "did not find expected '-' indicator",
            "this line is no `-` element of the list it stands in; check the indentation",
        ),
        ("block sequence entries are not allowed", "a list with `-` cannot begin here; put it on its own line"),
        ("expected ',' or ']'", "a list that began with `[` is not closed with `]`"),
        ("expected ',' or '}'", "a map that began with `{` is not closed with `}`"),
        ("found unexpected end of stream", "a quoted string is not closed"),
        ("unknown escape character", "a string in double quotes has an unknown `\\` escape; use single quotes"),
        ("control characters are not allowed", "there is a control character in the text"),
        (
            "did not find expected alphabetic",
            "`*` and `&` start aliases and anchors; quote the value if it begins with one",
        ),
    ];
    SENTENCES
        .iter()
        .find(|(part, _)| complaint.contains(part))
        .map_or("this is not valid YAML", |(_, sentence)| sentence)
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    budget: &'a Cell<u32>,
}

impl Reader<'_> {
    fn spend<E: de::Error>(self) -> Result<(), E> {
        match self.budget.get().checked_sub(1) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => Err(E::custom(TOO_MANY)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    // An empty file.
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        #[expect(clippy::cast_precision_loss, reason = "more than 9e18 is no setting of ours, and JSON rounds it too")]
        Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(self)? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key_seed(self)? {
            let key = match key {
                Node::Text(key) => key,
                Node::Null => "null".to_owned(),
                Node::Bool(key) => key.to_string(),
                Node::Int(key) => key.to_string(),
                Node::Float(key) => key.to_string(),
                Node::List(_) | Node::Map(_) => return Err(de::Error::custom(BAD_KEY)),
            };
            entries.push((key, access.next_value_seed(self)?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(de::Error::custom(BAD_TAG))
    }
}

/// The line of a value (in a map: of its key), and those of its parts in the order of the text.
#[derive(Default)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) children: Vec<Line>,
}

/// The lines of a text that has been parsed before.
pub(super) fn lines(text: &str) -> Line {
    let tree = Lines.deserialize(serde_yaml::Deserializer::from_str(text)).unwrap_or_default();
    Line { number: 1, ..tree }
}

/// The crate gives positions only with errors: so every scalar is answered with one, which is caught a level above, read
/// for its position and forgotten.
#[derive(Clone, Copy)]
struct Lines;

const HERE: &str = "here";

impl Lines {
    /// The line of a part, from what its parse gave.
    fn caught<E: de::Error>(parsed: Result<Option<Line>, E>) -> Result<Option<Line>, E> {
        let error = match parsed {
            Ok(line) => return Ok(line),
            Err(error) => error,
        };
        let text = error.to_string();
        let Some((_, place)) = text.rsplit_once(HERE) else { return Err(error) };
        // ` at line 3 column 5`; nothing for the very first character.
        let number = place.split(' ').skip_while(|word| *word != "line").nth(1).and_then(|word| word.parse().ok());
        Ok(Some(Line { number: number.unwrap_or(1), children: Vec::new() }))
    }
}

impl<'de> DeserializeSeed<'de> for Lines {
    type Value = Line;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Line, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lines {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Line, E> {
        Err(E::custom(HERE))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Line, E> {
        Err(E::custom(HERE))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Line, E> {
        Err(E::custom(HERE))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Line, E> {
        Err(E::custom(HERE))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Line, E> {
        Err(E::custom(HERE))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Line, E> {
        Err(E::custom(HERE))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Line, A::Error> {
        let mut children = Vec::new();
        while let Some(line) = Self::caught(access.next_element_seed(self))? {
            children.push(line);
        }
        Ok(Line { number: children.first().map_or(0, |child: &Line| child.number), children })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Line, A::Error> {
        let mut children = Vec::new();
        let mut first = 0;
        while let Some(key) = Self::caught(access.next_key_seed(self))? {
            let value = Self::caught(access.next_value_seed(self).map(Some))?.unwrap_or_default();
            first = if first == 0 { key.number } else { first };
            children.push(Line { number: key.number, children: value.children });
        }
        Ok(Line { number: first, children })
    }
}
