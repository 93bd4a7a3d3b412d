//! What is set beside the configuration: shown to people, and as files that can be set again.

use std::io::IsTerminal as _;

use super::call::Client;
use super::parse::Line;
use super::work::{file, json, object, raw, warned};
use super::{print, show};

/// Tells what is set: a table for a person, and whatever is no terminal gets what `set` takes.
pub(super) async fn show(line: &Line, client: &Client, path: &str, field: &str) -> Result<(), String> {
    let answer = client.get(path, &[]).await?;
    if line.flag("json").is_some() || !std::io::stdout().is_terminal() {
        return raw(&answer);
    }
    print(&table(&answer, field));
    Ok(())
}

/// Sets what a file holds.
pub(super) async fn put(line: &Line, client: &Client, path: &str, field: &str) -> Result<(), String> {
    let text = file(line.names.first().map(String::as_str).unwrap_or_default())?;
    let text = json(&text).ok_or("the file is not JSON")?;
    let answer = client.put(path, body(&text, field)).await?;
    if line.flag("json").is_some() {
        return raw(&answer);
    }
    print(&table(&answer, field));
    warned(&answer);
    Ok(())
}

/// What is sent of a file, which holds what is to be set, or all that `show` gave, with the version that it was.
fn body(text: &str, field: &str) -> String {
    let object_or_text = |raw: &str| raw.starts_with(['{', '"']);
    // Under a model's name there are prices, which are numbers, or a name.
    let whole = show::field(text, field)
        .filter(|inner| inner.starts_with('{') && show::fields(inner).iter().all(|(_, raw)| object_or_text(raw.get())));
    match (whole, show::field(text, "version")) {
        (Some(inner), None) => object(&[(field, inner.to_owned())]),
        (Some(inner), Some(version)) => object(&[(field, inner.to_owned()), ("version", version.to_owned())]),
        (None, _) => object(&[(field, text.to_owned())]),
    }
}

/// A table of it, and its version.
fn table(answer: &str, field: &str) -> String {
    let mut heads = vec!["name", "model"];
    let mut rows = Vec::new();
    for (name, raw) in show::fields(show::field(answer, field).unwrap_or("{}")) {
        let name = show::plain(&name);
        if !raw.get().starts_with('{') {
            rows.push(vec![name, show::cell(raw.get())]);
            continue;
        }
        heads = vec!["model", "price", "$ a token"];
        rows.extend(
            show::fields(raw.get())
                .into_iter()
                .map(|(kind, rate)| vec![name.clone(), show::plain(&kind), show::cell(rate.get())]),
        );
    }
    let table = if rows.is_empty() { "there are none\n".to_owned() } else { show::table(&heads, &rows) };
    format!("{table}\nversion {}\n", show::field(answer, "version").unwrap_or("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_is_to_be_set_or_what_was_shown() {
        let prices = r#"{"a/b":{"input_cost_per_token":0.000000000001}}"#;
        for (text, field, want) in [
            (prices.to_owned(), "prices", format!(r#"{{"prices":{prices}}}"#)),
            (
                format!(r#"{{"prices":{prices},"version":3}}"#),
                "prices",
                format!(r#"{{"prices":{prices},"version":3}}"#),
            ),
            (format!(r#"{{"prices":{prices}}}"#), "prices", format!(r#"{{"prices":{prices}}}"#)),
            (r#"{"prices":{},"version":0}"#.to_owned(), "prices", r#"{"prices":{},"version":0}"#.to_owned()),
            // A model of that name.
            (
                r#"{"prices":{"input_cost_per_token":1}}"#.to_owned(),
                "prices",
                r#"{"prices":{"prices":{"input_cost_per_token":1}}}"#.to_owned(),
            ),
            (
                r#"{"redirects":"fast","version":"x"}"#.to_owned(),
                "redirects",
                r#"{"redirects":{"redirects":"fast","version":"x"}}"#.to_owned(),
            ),
            (
                r#"{"redirects":{"a":"fast"},"version":2}"#.to_owned(),
                "redirects",
                r#"{"redirects":{"a":"fast"},"version":2}"#.to_owned(),
            ),
            ("[]".to_owned(), "prices", r#"{"prices":[]}"#.to_owned()),
        ] {
            assert_eq!(body(&text, field), want);
        }
    }

    #[test]
    fn prices_and_redirects_are_tables() {
        let prices = r#"{"prices":{"a":{"x":0.000001,"y":2}},"version":3}"#;
        assert_eq!(
            table(prices, "prices"),
            "model  price  $ a token\na      x       0.000001\na      y              2\n\nversion 3\n"
        );
        let redirects = r#"{"redirects":{"a":"fast"},"version":1}"#;
        assert_eq!(table(redirects, "redirects"), "name  model\na     fast\n\nversion 1\n");
        assert_eq!(table(r#"{"prices":{},"version":0}"#, "prices"), "there are none\n\nversion 0\n");
    }
}
