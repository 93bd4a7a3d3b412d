//! What each command does.

use super::call::Client;
use super::commands::{Act, Column, Flag, KEY_COLUMNS, LIMIT_COLUMNS, Value};
use super::keyfile::Signer;
use super::parse::Line;
use super::session::Session;
use super::{Outside, print, reports, settings, show, warn};
use crate::admin::{fingerprint, public_key, signed_text};
use crate::meter::period::Period;
use crate::observe::clock;
use crate::store::token;
use crate::store::usage::day;

/// Does what a command line asks for.
pub(super) async fn run(line: &Line, outside: &Outside<'_>) -> Result<(), String> {
    let client = Client::new(line.flag("url"), outside)?;
    match line.command.act {
        Act::Login => login(line, client, outside).await,
        Act::Logout => logout(client, outside).await,
        Act::List(path, field, columns) => {
            list(line, &client, (path, queried(line, &client).await?), (field, columns)).await
        }
        Act::Keys => {
            let mut query = queried(line, &client).await?;
            query.push(("return_full_object", "true".to_owned()));
            if line.flag("size").is_none() {
                query.push(("size", "100".to_owned()));
            }
            list(line, &client, ("/key/list", query), ("keys", KEY_COLUMNS)).await
        }
        Act::Balance => {
            let key = (outside.env)("FEATHERGATE_KEY");
            let client = client.with(Some(key.ok_or("set FEATHERGATE_KEY to the virtual key that is asked about")?));
            list(line, &client, ("/v1/token/balance", Vec::new()), ("limits", LIMIT_COLUMNS)).await
        }
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
        Act::Usage => reports::usage(line, &client).await,
        Act::Logs => reports::logs(line, &client).await,
        Act::Audit => reports::audit(line, &client).await,
        Act::Setting(path, field) => settings::show(line, &client, path, field).await,
        Act::Put(path, field) => settings::put(line, &client, path, field).await,
        Act::AddAdmin => {
            let path = line.flag("key").ok_or("`--key` is missing: the file with the public key")?;
            let text = file(path)?;
            let mut body = said(line)?;
            body.push(("public_key", quoted(public(path, &text)?)));
            told(line, &client.post("/admin/admins", object(&body)).await?)
        }
    }
}

/// The text of a file, which has to be a public key: nothing else may leave this machine.
fn public<'a>(path: &str, text: &'a str) -> Result<&'a str, String> {
    if text.contains("PRIVATE KEY") {
        return Err(format!("{path} is the private key; name the public one, {path}.pub; nothing was sent"));
    }
    let text = text.trim();
    let wants = "a line such as `ssh-ed25519 AAAA… name`";
    public_key(text)
        .map(|_| text)
        .ok_or_else(|| format!("{path} holds no Ed25519 public key, {wants}; nothing was sent"))
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
    client: &Client,
    (path, query): (&str, Vec<(&'static str, String)>),
    (field, columns): (&str, &[Column]),
) -> Result<(), String> {
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
    Ok(())
}

/// Says how to go on with what goes on.
pub(super) fn more(answer: &str) {
    if let Some(next) = show::text(answer, "next") {
        warn(&format!("there may be more: `--before {next}` shows them"));
    }
}

/// Says what the gateway warns of.
pub(super) fn warned(answer: &str) {
    for warning in show::elements(show::field(answer, "warnings").unwrap_or("[]")) {
        warn(&format!("warning: {}", show::cell(warning)));
    }
}

/// Tells of one thing.
async fn tell(line: &Line, client: &Client, path: &str, field: &str) -> Result<(), String> {
    let name = line.names.first().map(String::as_str).unwrap_or_default();
    let name = if field == "key" { key(client, name).await? } else { name.to_owned() };
    let answer = client.get(path, &[(field, &name)]).await?;
    if line.flag("json").is_some() {
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
    if let Some(keys) = show::field(answer, "deleted_keys").filter(|keys| keys.starts_with("[{")) {
        print("\nwith these keys:\n");
        print(&show::objects(&show::elements(keys), &[("key", "key_alias"), ("id", "id"), ("team", "team_id")]));
    }
    warned(answer);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "what else is told ends the same way")]
pub(super) fn raw(answer: &str) -> Result<(), String> {
    print(answer);
    print("\n");
    Ok(())
}

/// Whether a word names a key by itself: whoever calls a key `key_prod` or `sk-bob` means its alias. What is as long as a secret
/// is taken for one, be it mistyped: it does not belong into a query, nor into an error.
fn names_itself(name: &str) -> bool {
    let plain = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let hash = plain(name, 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = name.strip_prefix("key_").is_some_and(|id| plain(id, 20));
    hash || id || token::well_formed(token::KEY_PREFIX, name) || (name.starts_with("sk-") && name.len() > 20)
}

/// The key that a word names: an alias is looked up.
async fn key(client: &Client, name: &str) -> Result<String, String> {
    if names_itself(name) {
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
    let creates = line.command.words.last() == Some(&"create");
    let open = |flag: &Flag| ["models", "allowed_routes", "allowed_ips"].contains(&flag.field);
    // An empty variable in a script must not open what it was to narrow.
    let nothing = |value: &str| value.split(',').all(|name| name.trim().is_empty());
    if let Some((flag, _)) = own.clone().find(|(flag, value)| open(flag) && nothing(value)) {
        let name = flag.name;
        return Err(format!(
            "`--{name}` names nothing; where all {name} are to be allowed, {}",
            if creates { "leave it out" } else { "write `none`" }
        ));
    }
    if let Some((flag, _)) = own.clone().find(|(flag, value)| creates && value == "none" && open(flag)) {
        let name = flag.name;
        return Err(format!(
            "`--{name} none` would allow all {name}, as nothing is what it clears: leave it out for that, name some, or see \
             `keys block` for a key that may do nothing"
        ));
    }
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
pub(super) async fn queried(line: &Line, client: &Client) -> Result<Vec<(&'static str, String)>, String> {
    let mut query = Vec::new();
    for (flag, value) in line.flags.iter().filter(|(flag, _)| !flag.field.is_empty()) {
        let value = match flag.field {
            "key" => key(client, value).await?,
            "from" | "to" => since(flag.name, value, line.command.act == Act::Usage)?,
            _ => value.clone(),
        };
        query.push((flag.field, value));
    }
    Ok(query)
}

/// The moment, or the day, that lies so long back; what is none of that the gateway may judge.
fn since(flag: &str, text: &str, days: bool) -> Result<String, String> {
    let seconds = match Period::parse(text) {
        None | Some(Period::Forever) => return Ok(text.to_owned()),
        Some(Period::Seconds(seconds)) => seconds,
        Some(Period::Months(months)) => u64::from(months) * 30 * 86_400,
    };
    let then = clock::unix_millis().checked_sub(seconds.saturating_mul(1000));
    let then = then.ok_or_else(|| format!("`--{flag} {text}` is before all records"))?;
    Ok(if days { day(then) } else { clock::rfc3339(then) })
}

pub(super) fn pairs<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    query.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

pub(super) fn file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// The text, if it is JSON.
pub(super) fn json(text: &str) -> Option<String> {
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok().map(|raw| raw.get().to_owned())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn listed(all: &[String]) -> String {
    serde_json::Value::from(all).to_string()
}

pub(super) fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_a_secret_a_hash_or_an_id_is_one() {
        let secret = token::generate(token::KEY_PREFIX).unwrap();
        let mistyped = secret.replace(char::is_numeric, "x") + "y";
        for own in [&secret, &mistyped, &"a1".repeat(32), "key_0123456789abcdefGHIJ", "sk-0123456789abcdef0123"] {
            assert!(names_itself(own), "{own}");
        }
        for alias in ["key_prod", "sk-bob", "sk-fg-bob", "key_0123456789abcdefGHI-", &"g".repeat(64), "app", ""] {
            assert!(!names_itself(alias), "{alias}");
        }
    }

    #[test]
    fn only_a_public_key_is_sent() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea me\n";
        assert_eq!(public("id.pub", line), Ok(line.trim()));
        for (text, want) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", "id.pub; nothing was sent"),
            ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0", "id is the private key"),
            ("c2VjcmV0", "no Ed25519 public key"),
            ("", "nothing was sent"),
        ] {
            let told = public("id", text).unwrap_err();
            assert!(told.contains(want) && !told.contains("c2VjcmV0"), "{told}");
        }
    }

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
