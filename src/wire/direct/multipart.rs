//! The first look at a form (RFC 7578): the few parts that routing needs, found without touching the rest. Files within it are
//! searched for the boundary and not looked at.

use std::ops::Range;

use memchr::memmem::Finder;

use crate::wire::envelope::DecodeError;

/// What routing needs of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form<'a> {
    boundary: &'a str,
    /// The value of `model`, without space around it; `None` where it is empty or not there.
    pub(super) model: Option<&'a str>,
    /// Where that value stands; without such a part, where one can be put in.
    pub(super) model_span: Range<usize>,
    /// There is a part for it.
    named: bool,
    /// Whether `stream` is `true`.
    pub(super) stream: bool,
}

impl Form<'_> {
    /// What has to stand at `model_span`, so that the form names `model`.
    pub(super) fn with_model(&self, model: &str) -> String {
        if self.named {
            return model.to_owned();
        }
        format!("--{}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n", self.boundary)
    }
}

/// Looks into `body`, which came as `content_type`.
pub(super) fn read<'a>(content_type: &'a str, body: &'a [u8]) -> Result<Form<'a>, DecodeError> {
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    let boundary = boundary.ok_or_else(|| wrong("its content-type has no boundary"))?;
    let mut form = Form { boundary, model: None, model_span: 0..0, named: false, stream: false };
    let mut start: Option<usize> = None;
    for delimiter in delimiters(body, boundary) {
        match start {
            None => form.model_span = delimiter.at..delimiter.at,
            Some(start) => {
                let span = content(body, start, before(body, delimiter.at));
                match span.and_then(|(header, span)| Some((field(header)?, span))) {
                    Some(("model", span)) => {
                        if form.named {
                            let message = "`model` stands twice in the form; send it once".to_owned();
                            return Err(DecodeError { message, field: Some("model".to_owned()) });
                        }
                        let value = std::str::from_utf8(body.get(span.clone()).unwrap_or_default());
                        let value = value.map_err(|_| wrong("its `model` is not UTF-8"))?.trim();
                        form.model = Some(value).filter(|value| !value.is_empty());
                        (form.model_span, form.named) = (span, true);
                    }
                    Some(("stream", span)) => {
                        let value = body.get(span).unwrap_or_default().trim_ascii();
                        form.stream = value.eq_ignore_ascii_case(b"true") || value == b"1";
                    }
                    _ => {}
                }
            }
        }
        if delimiter.last {
            return Ok(form);
        }
        start = Some(delimiter.end);
    }
    Err(wrong(match start {
        None => "its boundary does not stand in it",
        Some(_) => "it ends before its last boundary",
    }))
}

fn wrong(what: &str) -> DecodeError {
    DecodeError { message: format!("the body is not valid multipart/form-data: {what}"), field: None }
}

struct Delimiter {
    at: usize,
    /// Where the next part begins.
    end: usize,
    last: bool,
}

/// The lines that separate parts. The same text within a line is none.
fn delimiters<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = Delimiter> + use<'a> {
    let marker = Finder::new(&format!("--{boundary}")).into_owned();
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let at = from + marker.find(body.get(from..)?)?;
            let after = at + marker.needle().len();
            from = after;
            let begins = at == 0 || body.get(at - 1) == Some(&b'\n');
            let rest = body.get(after..).unwrap_or_default();
            if !begins {
                continue;
            }
            if rest.starts_with(b"--") {
                return Some(Delimiter { at, end: after + 2, last: true });
            }
            let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let line = rest.get(space..).unwrap_or_default();
            let ending = if line.starts_with(b"\r\n") { 2 } else { usize::from(line.starts_with(b"\n")) };
            if ending > 0 {
                return Some(Delimiter { at, end: after + space + ending, last: false });
            }
        }
    })
}

/// The end of what stands before a delimiter: its line end belongs to the delimiter.
fn before(body: &[u8], at: usize) -> usize {
    let text = body.get(..at).unwrap_or_default();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text).len()
}

/// A part's header lines, and where its content stands.
fn content(body: &[u8], start: usize, end: usize) -> Option<(&str, Range<usize>)> {
    let part = body.get(start..end)?;
    // No header of a part is longer, and a file must not be searched for one.
    let head = part.get(..part.len().min(4096))?;
    let (length, gap) = match (memchr::memmem::find(head, b"\r\n\r\n"), memchr::memmem::find(head, b"\n\n")) {
        (Some(wide), narrow) if narrow.is_none_or(|narrow| wide < narrow) => (wide, 4),
        (_, Some(narrow)) => (narrow, 2),
        _ => return None,
    };
    let header = std::str::from_utf8(head.get(..length)?).ok()?;
    Some((header, start + length + gap..end))
}

/// The name of a field, by its header lines. A file is none.
fn field(header: &str) -> Option<&str> {
    let line = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    if parameter(line, "filename").is_some() {
        return None;
    }
    parameter(line, "name")
}

/// A parameter of a header value: `form-data; name="model"`.
fn parameter<'a>(value: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim();
        let after = after.trim_start();
        let (text, left) = match after.strip_prefix('"') {
            // A quote within is escaped with a backslash, or, by browsers, as `%22`.
            Some(quoted) => {
                let end = quoted
                    .char_indices()
                    .scan(false, |escaped, (at, c)| {
                        let ends = c == '"' && !*escaped;
                        *escaped = c == '\\' && !*escaped;
                        Some((at, ends))
                    })
                    .find(|(_, ends)| *ends)?
                    .0;
                (quoted.get(..end)?, quoted.get(end + 1..)?)
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after.get(..end)?.trim_end(), after.get(end..)?)
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; charset=utf-8; boundary=\"x y\"";
    const FILE: &str = "--x y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n\u{0}--x y\r\n--x yz\r\nRIFF\r\n";

    fn field(name: &str, value: &str) -> String {
        format!("--x y\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    #[test]
    fn the_model_is_found_and_replaced_wherever_it_stands() {
        let model = field("model", "whisper-1");
        let stream = field("stream", "true");
        let other = field("prompt", "name=\"model\"\r\n\r\nnone");
        for parts in [[FILE, &model, &stream, &other], [&model, &stream, &other, FILE], [&other, FILE, &stream, &model]]
        {
            for (preamble, end) in [("", "--x y--\r\n"), ("to be ignored\r\n", "--x y--")] {
                let body = [preamble, &parts.concat(), end].concat();
                let form = read(KIND, body.as_bytes()).unwrap();
                assert_eq!((form.model, form.stream), (Some("whisper-1"), true), "{body}");
                assert_eq!(&body[form.model_span.clone()], "whisper-1");
            }
        }
        let lines = [FILE, &model, "--x y--\r\n"].concat().replace("\r\n", "\n");
        assert_eq!(read(KIND, lines.as_bytes()).unwrap().model, Some("whisper-1"), "bare line feeds");
        let unquoted = "--b  \r\ncontent-disposition:form-data;filename*=x; NAME=model\r\ncontent-type: text/plain\r\n\r\n m \r\n--b--";
        assert_eq!(read("Multipart/Form-Data; boundary=b", unquoted.as_bytes()).unwrap().model, Some("m"));
    }

    #[test]
    fn a_form_without_a_model_has_room_for_one() {
        for (form, want) in [
            ([FILE, "--x y--"].concat(), [&field("model", "up"), FILE, "--x y--"].concat()),
            ([FILE, &field("model", " "), "--x y--"].concat(), [FILE, &field("model", "up"), "--x y--"].concat()),
        ] {
            let read = read(KIND, form.as_bytes()).unwrap();
            assert_eq!((read.model, read.stream), (None, false));
            let mut made = form.clone();
            made.replace_range(read.model_span.clone(), &read.with_model("up"));
            assert_eq!(made, want);
        }
    }

    #[test]
    fn what_is_no_form_is_told() {
        let model = field("model", "m");
        for (kind, body, why) in [
            ("multipart/form-data", model.clone(), "has no boundary"),
            ("multipart/form-data; boundary=", model.clone(), "has no boundary"),
            ("multipart/form-data; boundary=other", model.clone(), "does not stand in it"),
            (KIND, String::new(), "does not stand in it"),
            (KIND, model.clone(), "ends before its last boundary"),
            (KIND, [model.as_str(), &model, "--x y--"].concat(), "stands twice"),
        ] {
            let error = read(kind, body.as_bytes()).unwrap_err();
            assert!(error.message.contains(why), "{}", error.message);
        }
        let broken =
            [b"--x y\r\nContent-Disposition: form-data; name=model\r\n\r\n\xff\r\n--x y--".as_slice()].concat();
        assert!(read(KIND, &broken).unwrap_err().message.contains("not UTF-8"));
    }

    #[test]
    fn any_cut_of_a_form_is_an_error_or_a_form() {
        let body = [FILE, &field("model", "m"), "--x y--\r\n"].concat();
        for end in 0..body.len() {
            let read = read(KIND, &body.as_bytes()[..end]);
            assert_eq!(read.is_ok(), end >= body.len() - 2, "{end}");
        }
    }
}
