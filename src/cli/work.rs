//! What each command does.

use std::time::Duration;

use super::call::Client;
use super::commands::{Act, Column, Flag, Value};
use super::keyfile::Signer;
use super::parse::Line;
use super::session::Session;
use super::{Outside, print, show, warn};
use crate::admin::{fingerprint, signed_text};
use crate::meter::period::Period;
use crate::observe::clock;
use crate::store::usage::day;

/// How often `logs --follow` asks.
const PAUSE: Duration = Duration::from_secs(2);

/// Does what a command line asks for.
pub(super) async fn run(line: &Line, outside: &Outside<'_>) -> Result<(), String> {
    let client = Client::new(line.flag("url"), outside)?;
    match line.command.act {
        Act::Login => login(line, client, outside).await,
        Act::Logout => logout(client, outside).await,
        Act::List(path, field, columns) => list(line, client, (path, field, columns), outside).await,
        Act::Show(path, field) => tell(line, &client, path, field).await,
        Act::Do(path, field) => {
            let mut body = said(line)?;
            if let (Some(field), Some(name)) = (field, line.names.first()) {
                let name = if field == "key" { key(&client, name).await? } else { name.clone() };
                body.push((field, quoted(&name)));
            }
            told(line, &client.post(path, object(&body)).await?)
        }
        Act::DoAll(path, field) => {
            let mut names = Vec::with_capacity(line.names.len());
            for name in &line.names {
                names.push(if field == "keys" { key(&client, name).await? } else { name.clone() });
            }
            told(line, &client.post(path, object(&[(field, listed(&names))])).await?)
        }
        Act::Usage => usage(line, &client).await,
        Act::Logs => logs(line, &client).await,
        Act::Put(path, field) => {
            let text = file(line.names.first().map(String::as_str).unwrap_or_default())?;
            let text = json(&text).ok_or("the file is not JSON")?;
            told(line, &client.put(path, object(&[(field, text)])).await?)
        }
        Act::AddAdmin => {
            let public_key = file(line.flag("key").ok_or("`--key` is missing: the file with the public key")?)?;
            let mut body = said(line)?;
            body.push(("public_key", quoted(public_key.trim())));
            told(line, &client.post("/admin/admins", object(&body)).await?)
        }
    }
}

async fn login(line: &Line, client: Client, outside: &Outside<'_>) -> Result<(), String> {
    let path = line.flag("key").ok_or("`--key` is missing: the file with your Ed25519 private key")?;
    let signer = Signer::read(&file(path)?).map_err(|error| format!("cannot use {path}: {error}"))?;
    let client = client.with(None);
    let fingerprint = quoted(&fingerprint(signer.public_key()));
    let begun = client.post("/admin/login/challenge", object(&[("fingerprint", fingerprint.clone())])).await?;
    let challenge = show::text(&begun, "challenge").ok_or("the gateway gave no challenge")?;
    let mut body = said(line)?;
    body.push(("fingerprint", fingerprint));
    body.push(("signature", quoted(&signer.sign(&signed_text(&challenge)))));
    body.push(("challenge", quoted(&challenge)));
    let answer = client.post("/admin/login", object(&body)).await?;
    let token = show::text(&answer, "token").ok_or("the gateway gave no token")?;
    let expires_at = show::text(&answer, "expires_at").unwrap_or_default();
    let session = Session { url: client.url.clone(), token, expires_at };
    let path = session.save(outside)?;
    if (outside.env)("FEATHERGATE_MASTER_KEY").is_some() {
        warn("warning: FEATHERGATE_MASTER_KEY is set and goes before the session");
    }
    print(&format!("logged in at {} until {}; kept in {}\n", session.url, session.expires_at, path.display()));
    Ok(())
}

async fn logout(client: Client, outside: &Outside<'_>) -> Result<(), String> {
    let session = Session::load(outside).ok_or("nobody is logged in")?;
    // Of another gateway's session this one need not know.
    if session.url != client.url {
        return Err(format!("the session is one at {}: add `--url {}`", session.url, session.url));
    }
    let ended = client.with(None).post("/admin/logout", object(&[("token", quoted(&session.token))])).await;
    match ended {
        Err(error) if !error.contains(" 401:") => Err(error),
        Ok(_) | Err(_) => {
            Session::forget(outside);
            print("logged out\n");
            Ok(())
        }
    }
}

async fn list(
    line: &Line,
    client: Client,
    (path, field, columns): (&str, &str, &[Column]),
    outside: &Outside<'_>,
) -> Result<(), String> {
    let own = path == "/v1/token/balance";
    let client = if own {
        let key =
            (outside.env)("FEATHERGATE_KEY").ok_or("set FEATHERGATE_KEY to the virtual key that is asked about")?;
        client.with(Some(key))
    } else {
        client
    };
    let mut query = queried(line, &client).await?;
    if path == "/key/list" {
        query.push(("return_full_object", "true".to_owned()));
        if line.flag("size").is_none() {
            query.push(("size", "100".to_owned()));
        }
    }
    let answer = client.get(path, &pairs(&query)).await?;
    if line.flag("json").is_some() {
        return raw(&answer);
    }
    let rows = if field.is_empty() { Some(answer.as_str()) } else { show::field(&answer, field) };
    let rows = show::elements(rows.unwrap_or("[]"));
    print(&show::objects(&rows, columns));
    let number = |name: &str| show::field(&answer, name).and_then(|number| number.parse::<u64>().ok());
    if let (Some(page), Some(pages)) = (number("current_page"), number("total_pages"))
        && page < pages
    {
        warn(&format!("page {page} of {pages}: `--page {}` shows the next", page + 1));
    }
    if let Some(next) = show::text(&answer, "next") {
        warn(&format!("there may be more: `--before {next}` shows them"));
    }
    Ok(())
}

/// Tells of one thing.
async fn tell(line: &Line, client: &Client, path: &str, field: &str) -> Result<(), String> {
    let name = line.names.first().map(String::as_str).unwrap_or_default();
    let name = if field == "key" { key(client, name).await? } else { name.to_owned() };
    let query: &[(&str, &str)] = if field.is_empty() { &[] } else { &[(field, &name)] };
    let answer = client.get(path, query).await?;
    if line.flag("json").is_some() || field.is_empty() {
        return raw(&answer);
    }
    let whole = show::field(&answer, "info").or_else(|| show::field(&answer, "team_info"));
    print(&show::lines(whole.unwrap_or(&answer)));
    if let Some(keys) = show::field(&answer, "keys").filter(|keys| *keys != "[]") {
        print("\n");
        print(&show::objects(
            &show::elements(keys),
            &[("key", "key_alias"), ("id", "id"), ("status", "status"), ("spend $", "spend")],
        ));
    }
    Ok(())
}

/// Tells what was done.
fn told(line: &Line, answer: &str) -> Result<(), String> {
    if line.flag("json").is_some() {
        return raw(answer);
    }
    print(&show::lines(show::field(answer, "data").unwrap_or(answer)));
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "what else is told ends the same way")]
fn raw(answer: &str) -> Result<(), String> {
    print(answer);
    print("\n");
    Ok(())
}

const USED: [Column; 7] = [
    ("requests", "api_requests"),
    ("failed", "failed_requests"),
    ("tokens in", "prompt_tokens"),
    ("from cache", "cache_read_input_tokens"),
    ("tokens out", "completion_tokens"),
    ("$", "spend"),
    ("no price", "unpriced_requests"),
];

async fn usage(line: &Line, client: &Client) -> Result<(), String> {
    let query = queried(line, client).await?;
    let answer = client.get("/admin/metrics", &pairs(&query)).await?;
    if line.flag("json").is_some() {
        return raw(&answer);
    }
    let by = line.flag("by").unwrap_or("model");
    let mut heads = vec![by];
    heads.extend(USED.iter().map(|(head, _)| *head));
    let row = |name: String, of: &str| {
        let mut row = vec![name];
        row.extend(USED.iter().map(|(_, name)| show::field(of, name).unwrap_or_default().to_owned()));
        row
    };
    let mut rows = Vec::new();
    for series in show::elements(show::field(&answer, "series").unwrap_or("[]")) {
        let name = show::text(series, "alias").or_else(|| show::text(series, "name")).unwrap_or_default();
        let name = if name.is_empty() { "(none)".to_owned() } else { name.replace(char::is_control, " ") };
        rows.push(row(name, show::field(series, "totals").unwrap_or("{}")));
    }
    rows.push(row("all".to_owned(), show::field(&answer, "totals").unwrap_or("{}")));
    print(&show::table(&heads, &rows));
    Ok(())
}

const LOGGED: [Column; 10] = [
    ("time", "time"),
    ("status", "status"),
    ("model", "model"),
    ("deployment", "deployment"),
    ("key", "key_alias"),
    ("in", "in"),
    ("out", "out"),
    ("$", "cost"),
    ("ms", "total_ms"),
    ("error", "error"),
];

async fn logs(line: &Line, client: &Client) -> Result<(), String> {
    let follows = line.flag("follow").is_some();
    let mut query = queried(line, client).await?;
    let mut seen: Vec<String> = Vec::new();
    loop {
        let answer = client.get("/admin/logs", &pairs(&query)).await?;
        let logs = show::elements(show::field(&answer, "logs").unwrap_or("[]"));
        let id = |log: &str| show::text(log, "id").unwrap_or_default();
        let new: Vec<&str> = logs.iter().rev().copied().filter(|log| !seen.contains(&id(log))).collect();
        if line.flag("json").is_some() && !follows {
            return raw(&answer);
        }
        if line.flag("json").is_some() {
            for log in new {
                print(&format!("{log}\n"));
            }
        } else if !(new.is_empty() && follows) {
            print(&log_table(&new));
        }
        if !follows {
            return Ok(());
        }
        if let Some(newest) = logs.first().map(|log| id(log)) {
            seen = logs.iter().map(|log| id(log)).collect();
            // What is written late may carry an earlier time: a minute is looked at again.
            let time = newest.split('-').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            query.retain(|(name, _)| !["from", "limit"].contains(name));
            query.extend([("from", clock::rfc3339(time.saturating_sub(60_000))), ("limit", "1000".to_owned())]);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn log_table(logs: &[&str]) -> String {
    let rows: Vec<String> = logs
        .iter()
        .map(|log| {
            let tokens = show::field(log, "tokens").unwrap_or("{}");
            let count = |name: &str| show::field(tokens, name).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            let all = count("input").saturating_add(count("cache_read")).saturating_add(count("cache_write"));
            let inner = log.trim().strip_suffix('}').unwrap_or_default();
            format!("{inner},\"in\":{all},\"out\":{}}}", count("output"))
        })
        .collect();
    show::objects(&rows.iter().map(String::as_str).collect::<Vec<_>>(), &LOGGED)
}

/// The key that a word names: an alias is looked up.
async fn key(client: &Client, name: &str) -> Result<String, String> {
    let hash = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hash || name.starts_with("sk-") || name.starts_with("key_") {
        return Ok(name.to_owned());
    }
    let answer = client.get("/key/list", &[("key_alias", name)]).await?;
    let keys: Vec<String> =
        show::field(&answer, "keys").and_then(|keys| serde_json::from_str(keys).ok()).unwrap_or_default();
    keys.into_iter().next().ok_or_else(|| format!("there is no key with the alias `{name}`"))
}

/// The fields that the flags say, as JSON.
fn said(line: &Line) -> Result<Vec<(&'static str, String)>, String> {
    let own = line.flags.iter().filter(|(flag, _)| !flag.field.is_empty());
    own.map(|(flag, value)| Ok((flag.field, value_of(flag, value)?))).collect()
}

fn value_of(flag: &Flag, value: &str) -> Result<String, String> {
    let bad = |what: &str| format!("`--{}` must be {what}", flag.name);
    if value == "none" {
        return Ok("null".to_owned());
    }
    match flag.value {
        Value::Text => Ok(quoted(value)),
        Value::Switch => Ok("true".to_owned()),
        Value::Number => {
            let number = json(value).filter(|text| text.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
            number.ok_or_else(|| bad("a number"))
        }
        Value::Json => json(value).ok_or_else(|| bad("JSON")),
        Value::List => {
            let all: Vec<String> = value.split(',').map(|one| one.trim().to_owned()).collect();
            Ok(listed(&all.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>()))
        }
    }
}

/// The parameters that the flags say.
async fn queried(line: &Line, client: &Client) -> Result<Vec<(&'static str, String)>, String> {
    let mut query = Vec::new();
    for (flag, value) in line.flags.iter().filter(|(flag, _)| !flag.field.is_empty()) {
        let value = match flag.field {
            "key" => key(client, value).await?,
            "from" => since(value, line.command.act == Act::Usage)?,
            _ => value.clone(),
        };
        query.push((flag.field, value));
    }
    Ok(query)
}

/// The moment, or the day, that lies so long back; what is none of that the gateway may judge.
fn since(text: &str, days: bool) -> Result<String, String> {
    let seconds = match Period::parse(text) {
        None | Some(Period::Forever) => return Ok(text.to_owned()),
        Some(Period::Seconds(seconds)) => seconds,
        Some(Period::Months(months)) => u64::from(months) * 30 * 86_400,
    };
    let then = clock::unix_millis().checked_sub(seconds.saturating_mul(1000));
    let then = then.ok_or_else(|| format!("`--since {text}` is before all records"))?;
    Ok(if days { day(then) } else { clock::rfc3339(then) })
}

fn pairs<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    query.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// The text, if it is JSON.
fn json(text: &str) -> Option<String> {
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok().map(|raw| raw.get().to_owned())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn listed(all: &[String]) -> String {
    serde_json::Value::from(all).to_string()
}

fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json_and_keep_their_digits() {
        let flag = |value| Flag { name: "x", field: "x", value, doc: "" };
        for (value, text, want) in [
            (Value::Text, "a\"b", Some(r#""a\"b""#)),
            (Value::Text, "none", Some("null")),
            (Value::Number, "0.000000000001", Some("0.000000000001")),
            (Value::Number, "ten", None),
            (Value::Number, "\"1\"", None),
            (Value::List, "a, b,,c", Some(r#"["a","b","c"]"#)),
            (Value::List, "", Some("[]")),
            (Value::Json, "{\"a\": 1}", Some("{\"a\": 1}")),
            (Value::Json, "{a}", None),
            (Value::Switch, "true", Some("true")),
        ] {
            assert_eq!(value_of(&flag(value), text).ok().as_deref(), want, "{text}");
        }
        assert_eq!(object(&[("a", "1".into()), ("b", "[]".into())]), r#"{"a":1,"b":[]}"#);
    }
}
