//! Requests read by the table: whatever is wrong is told with the name of its field.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::decimal::{self, Bad};
use super::problem::{Problem, shown};
use super::shape::{Field, Form, MOST_DOLLARS, Need, Type};
use crate::meter::Money;
use crate::route::nearest;

/// The largest free object, in bytes.
const OBJECT: usize = 16_384;
/// How deep a free object may go: what is stored must stay readable.
const DEPTH: usize = 16;

/// A value that was read.
#[derive(Clone, Debug)]
pub(super) enum Val {
    Null,
    Text(String),
    Flag(bool),
    Count(u64),
    Money(Money),
    Object(Map<String, Value>),
    List(Vec<Val>),
    Map(Vec<(String, Val)>),
}

/// The fields that came.
#[derive(Clone, Debug, Default)]
pub(super) struct Input(Vec<(&'static str, Val)>);

/// What a field's value can be put into.
pub(super) trait Slot: Default {
    fn of(val: &Val) -> Option<Self>;
}

impl Slot for Option<String> {
    fn of(val: &Val) -> Option<Self> {
        if let Val::Text(text) = val { Some(Some(text.clone())) } else { None }
    }
}

impl Slot for Option<u64> {
    fn of(val: &Val) -> Option<Self> {
        if let Val::Count(count) = val { Some(Some(*count)) } else { None }
    }
}

impl Slot for Option<Money> {
    fn of(val: &Val) -> Option<Self> {
        if let Val::Money(amount) = val { Some(Some(*amount)) } else { None }
    }
}

impl Slot for bool {
    fn of(val: &Val) -> Option<Self> {
        if let Val::Flag(flag) = val { Some(*flag) } else { None }
    }
}

impl Slot for Map<String, Value> {
    fn of(val: &Val) -> Option<Self> {
        if let Val::Object(map) = val { Some(map.clone()) } else { None }
    }
}

impl Slot for Vec<String> {
    fn of(val: &Val) -> Option<Self> {
        let Val::List(all) = val else { return None };
        all.iter().map(|one| if let Val::Text(text) = one { Some(text.clone()) } else { None }).collect()
    }
}

impl Input {
    /// What came for a field, null included.
    pub(super) fn val(&self, name: &str) -> Option<&Val> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, val)| val)
    }

    /// Whether a field came.
    pub(super) fn came(&self, name: &str) -> bool {
        self.val(name).is_some()
    }

    /// A field's value; its type's default where it is missing or null.
    pub(super) fn get<T: Slot>(&self, name: &str) -> T {
        self.val(name).and_then(T::of).unwrap_or_default()
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Val::Text(text) = self.val(name)? { Some(text) } else { None }
    }

    /// Puts a field's value where it belongs: nothing is done where it is missing, and null clears.
    pub(super) fn set<T: Slot>(&self, name: &str, slot: &mut T) {
        if self.came(name) {
            *slot = self.get(name);
        }
    }
}

/// What a route takes, and what it refuses with a word of explanation.
pub(super) struct Takes {
    pub(super) fields: &'static [&'static [Field]],
    /// Names that litellm knows, and why they are refused. Null and nothing are no demand.
    pub(super) refused: &'static [&'static [(&'static str, &'static str)]],
}

impl Takes {
    fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().flat_map(|fields| fields.iter()).find(|field| field.name == name)
    }

    fn refused(&self, name: &str) -> Option<&'static (&'static str, &'static str)> {
        self.refused.iter().flat_map(|refused| refused.iter()).find(|(refused, _)| *refused == name)
    }

    fn unknown(&self, name: &str) -> Problem {
        let near = nearest(name, self.fields.iter().flat_map(|fields| fields.iter()).map(|field| field.name));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Problem::field(&shown(name), format!("is nothing that is known here{hint}"))
    }

    fn complete(&self, input: Input) -> Result<Input, Problem> {
        let fields = self.fields.iter().flat_map(|fields| fields.iter());
        match fields.into_iter().find(|field| field.need == Need::Must && !input.came(field.name)) {
            Some(field) => Err(Problem::field(field.name, format!("is missing; it must be {}", wants(&field.of)))),
            None => Ok(input),
        }
    }

    /// Reads a body.
    pub(super) fn body(&self, body: &[u8]) -> Result<Input, Problem> {
        let text = std::str::from_utf8(body).map_err(|_| Problem::request("the body must be UTF-8"))?;
        let text = if text.trim().is_empty() { "{}" } else { text };
        let mut input = Input::default();
        for (name, raw) in object(text).map_err(|error| broken(&error))?.0 {
            let raw = raw.get().trim();
            match self.field(&name) {
                Some(field) if input.came(field.name) => return Err(Problem::field(field.name, "comes twice")),
                Some(field) if raw == "null" && field.need == Need::Must => {
                    return Err(Problem::field(field.name, format!("is null; it must be {}", wants(&field.of))));
                }
                Some(field) => input.0.push((field.name, read(&field.of, raw, field.name)?)),
                None => match self.refused(&name) {
                    Some(_) if matches!(raw, "null" | "{}" | "[]") => {}
                    Some((refused, why)) => return Err(Problem::field(refused, *why)),
                    None => return Err(self.unknown(&name)),
                },
            }
        }
        self.complete(input)
    }

    /// Reads a query.
    pub(super) fn query(&self, query: Option<&str>) -> Result<Input, Problem> {
        let mut input = Input::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = plain(name).ok_or_else(|| Problem::request("a name in the query is not UTF-8"))?;
            let value = plain(value).ok_or_else(|| Problem::field(&shown(&name), "must be UTF-8"))?;
            match self.field(&name) {
                Some(field) if input.came(field.name) => return Err(Problem::field(field.name, "comes twice")),
                Some(field) => input.0.push((field.name, parameter(&field.of, &value, field.name)?)),
                None => match self.refused(&name) {
                    Some((refused, why)) => return Err(Problem::field(refused, *why)),
                    None => return Err(self.unknown(&name)),
                },
            }
        }
        self.complete(input)
    }
}

/// What a value of a type has to be, in words.
fn wants(of: &Type) -> String {
    match of {
        Type::Text(most) | Type::Prose(most) => format!("a text of 1 to {most} characters"),
        Type::Form(form) => form.wants.to_owned(),
        Type::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(" or ")
        }
        Type::Flag => "true or false".to_owned(),
        Type::Count(least, most) => format!("a whole number from {least} to {most}"),
        Type::Dollars => format!("an amount of dollars from 0 to {MOST_DOLLARS}, with no more than 12 decimals"),
        Type::Number => "a number".to_owned(),
        Type::Plain => "a text".to_owned(),
        Type::Object | Type::Map(..) | Type::Struct(_) => "an object".to_owned(),
        Type::List(of, most) => format!("a list of no more than {most}, each {}", wants(of)),
        Type::Named(_, of) => wants(of),
        Type::Any => "JSON".to_owned(),
    }
}

fn wrong(of: &Type, at: &str) -> Problem {
    Problem::field(at, format!("must be {}", wants(of)))
}

/// A JSON value of some type. `at` is the name for errors.
fn read(of: &Type, raw: &str, at: &str) -> Result<Val, Problem> {
    if raw == "null" {
        return Ok(Val::Null);
    }
    let first = raw.bytes().next().unwrap_or_default();
    match of {
        Type::Named(_, of) => read(of, raw, at),
        Type::Text(_) | Type::Prose(_) | Type::Form(_) | Type::Choice(_) => {
            let text: String = Some(raw)
                .filter(|_| first == b'"')
                .and_then(|raw| serde_json::from_str(raw).ok())
                .ok_or_else(|| wrong(of, at))?;
            textual(of, text, at)
        }
        Type::Flag => match raw {
            "true" => Ok(Val::Flag(true)),
            "false" => Ok(Val::Flag(false)),
            _ => Err(wrong(of, at)),
        },
        Type::Count(..) if matches!(first, b'-' | b'0'..=b'9') => number(of, raw, at),
        Type::Dollars if matches!(first, b'-' | b'0'..=b'9') => dollars(of, raw, at),
        Type::Count(..) | Type::Dollars | Type::Number | Type::Plain | Type::Struct(_) | Type::Any => {
            Err(wrong(of, at))
        }
        Type::Object => {
            if first != b'{' {
                return Err(wrong(of, at));
            }
            if raw.len() > OBJECT {
                return Err(Problem::field(at, format!("must be no longer than {OBJECT} bytes")));
            }
            if let Some(number) = inexact(raw) {
                let message = format!("holds {}, which does not fit a number; write it as a text", shown(number));
                return Err(Problem::field(at, message));
            }
            let value: Value = serde_json::from_str(raw).map_err(|_| wrong(of, at))?;
            if depth(&value) > DEPTH {
                return Err(Problem::field(at, format!("must not go deeper than {DEPTH} levels")));
            }
            if let Value::Object(map) = value { Ok(Val::Object(map)) } else { Err(wrong(of, at)) }
        }
        Type::List(inner, most) => {
            let all: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong(of, at))?;
            if all.len() > *most {
                return Err(wrong(of, at));
            }
            let each = all.into_iter().enumerate().map(|(place, one)| {
                let at = format!("{at}[{place}]");
                if one.get() == "null" { Err(wrong(inner, &at)) } else { read(inner, one.get(), &at) }
            });
            Ok(Val::List(each.collect::<Result<_, _>>()?))
        }
        Type::Map(inner, most) => {
            let all = Some(raw).filter(|_| first == b'{').and_then(|raw| object(raw).ok());
            let all = all.ok_or_else(|| wrong(of, at))?.0;
            if all.len() > *most {
                return Err(Problem::field(at, format!("must have no more than {most} entries")));
            }
            let mut out: Vec<(String, Val)> = Vec::with_capacity(all.len());
            for (name, one) in all {
                let at = format!("{at}.{}", shown(&name));
                if !line(&name, 200) || one.get() == "null" {
                    return Err(wrong(inner, &at));
                }
                if out.iter().any(|(other, _)| *other == name) {
                    return Err(Problem::field(&at, "comes twice"));
                }
                let val = read(inner, one.get(), &at)?;
                out.push((name, val));
            }
            Ok(Val::Map(out))
        }
    }
}

/// A parameter of a query of some type.
fn parameter(of: &Type, text: &str, at: &str) -> Result<Val, Problem> {
    match of {
        Type::Named(_, of) => parameter(of, text, at),
        Type::Text(_) | Type::Prose(_) | Type::Form(_) | Type::Choice(_) => textual(of, text.to_owned(), at),
        // Python's `str(True)` among them.
        Type::Flag => match text {
            "true" | "True" | "1" => Ok(Val::Flag(true)),
            "false" | "False" | "0" => Ok(Val::Flag(false)),
            _ => Err(wrong(of, at)),
        },
        Type::Count(..) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => number(of, text, at),
        Type::Count(..)
        | Type::Dollars
        | Type::Number
        | Type::Plain
        | Type::Object
        | Type::List(..)
        | Type::Map(..)
        | Type::Struct(_)
        | Type::Any => Err(wrong(of, at)),
    }
}

fn textual(of: &Type, text: String, at: &str) -> Result<Val, Problem> {
    let good = match of {
        Type::Text(most) => line(&text, *most),
        Type::Prose(most) => {
            let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
            !text.is_empty() && text.chars().count() <= *most && !text.contains(control)
        }
        Type::Form(Form { most, check, .. }) => text.chars().count() <= *most && check(&text),
        Type::Choice(words) => words.contains(&text.as_str()),
        _ => false,
    };
    if good { Ok(Val::Text(text)) } else { Err(wrong(of, at)) }
}

/// Whether it is a text of one line, of 1 to so many characters.
fn line(text: &str, most: usize) -> bool {
    !text.is_empty() && text.chars().count() <= most && !text.contains(char::is_control)
}

fn number(of: &Type, raw: &str, at: &str) -> Result<Val, Problem> {
    let Type::Count(least, most) = of else { return Err(wrong(of, at)) };
    match decimal::whole(raw) {
        Ok(count) if (*least..=*most).contains(&count) => Ok(Val::Count(count)),
        Ok(_) | Err(Bad::Negative | Bad::Fine | Bad::Large) => Err(wrong(of, at)),
    }
}

fn dollars(of: &Type, raw: &str, at: &str) -> Result<Val, Problem> {
    match decimal::units(raw) {
        Ok(units) if units <= MOST_DOLLARS * Money::DOLLAR => Ok(Val::Money(Money(units))),
        Ok(_) | Err(Bad::Negative | Bad::Fine | Bad::Large) => Err(wrong(of, at)),
    }
}

/// A whole number in JSON that would lose digits.
fn inexact(raw: &str) -> Option<&str> {
    let mut rest = raw;
    while let Some(start) = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        let (_, from) = rest.split_at_checked(start)?;
        if let Some(text) = from.strip_prefix('"') {
            let mut escaped = false;
            let end = text.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            rest = text.get(end + 1..)?;
        } else {
            let end = from.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(from.len());
            let (number, behind) = from.split_at_checked(end)?;
            let whole = !number.contains(['.', 'e', 'E']);
            if whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                return Some(number);
            }
            rest = behind;
        }
    }
    None
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
    }
}

/// Percent-decoded, with `+` for a space, as forms and most clients write queries.
fn plain(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The fields of a JSON object with their text, in their order.
pub(crate) struct Object<'a>(pub(crate) Vec<(String, &'a RawValue)>);

/// Reads them.
pub(crate) fn object(text: &str) -> serde_json::Result<Object<'_>> {
    struct Reader;

    impl<'de> Visitor<'de> for Reader {
        type Value = Object<'de>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
            let mut all = Vec::new();
            while let Some(entry) = map.next_entry()? {
                all.push(entry);
            }
            Ok(Object(all))
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let object = reader.deserialize_map(Reader)?;
    reader.end()?;
    Ok(object)
}

/// Why a body is no JSON object. What stands there is not repeated: it may be a secret.
fn broken(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        return Problem::request("the body must be a JSON object");
    }
    let (line, column) = (error.line(), error.column());
    Problem::request(format!("the body is not JSON: it goes wrong at line {line}, column {column}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_that_lose_digits_are_found() {
        for (raw, want) in [
            (r#"{"a": 18446744073709551615, "b": -9223372036854775808, "c": 1.5e300}"#, None),
            (r#"{"a": "18446744073709551616", "b\"\\": "x\\"}"#, None),
            (r#"{"a": [1, {"b": 18446744073709551616}]}"#, Some("18446744073709551616")),
            (r#"{"a\"": -9223372036854775809}"#, Some("-9223372036854775809")),
        ] {
            assert_eq!(inexact(raw), want, "{raw}");
        }
    }
}
