//! Calls of the gateway.

use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::session::Session;
use super::{Outside, warn};
use crate::upstream::client::http_client;

/// How long a call may take. Reports look at many records.
const PATIENCE: Duration = Duration::from_mins(2);
const DEFAULT: &str = "http://127.0.0.1:8080";

/// A gateway, and the right to ask it.
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) url: String,
    secret: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

impl Client {
    /// The gateway that is named by a flag, the environment or the session. With the master key, if there is one, else with the
    /// session, if it is of this gateway.
    pub(super) fn new(named: Option<&str>, outside: &Outside<'_>) -> Result<Self, String> {
        let session = Session::load(outside);
        let url = named.map(str::to_owned).or_else(|| (outside.env)("FEATHERGATE_URL"));
        let url = url.or_else(|| Some(session.as_ref()?.url.clone())).unwrap_or_else(|| DEFAULT.to_owned());
        let url = url.trim_end_matches('/').to_owned();
        let plain = url.strip_prefix("http://");
        if plain.is_none() && !url.starts_with("https://") {
            return Err(format!("`{url}` is no URL of a gateway; write it like `https://gateway.example.com`"));
        }
        let own = |host: &str| {
            ["127.0.0.1", "localhost", "[::1]"]
                .iter()
                .any(|own| host.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
        };
        if plain.is_some_and(|host| !own(host)) {
            warn("warning: this goes over the network unencrypted; use https://");
        }
        let session = session.filter(|session| session.url == url).map(|session| session.token);
        let secret = (outside.env)("FEATHERGATE_MASTER_KEY").or(session);
        Ok(Self { http: http_client()?, url, secret })
    }

    /// The same with another right.
    pub(super) fn with(self, secret: Option<String>) -> Self {
        Self { secret, ..self }
    }

    /// The answer to a GET.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<String, String> {
        let pairs =
            query.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        let pairs: Vec<String> = pairs.collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        self.call(Method::GET, &format!("{path}{mark}{}", pairs.join("&")), None).await
    }

    /// The answer to a POST of JSON.
    pub(super) async fn post(&self, path: &str, body: String) -> Result<String, String> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The answer to a PUT of JSON.
    pub(super) async fn put(&self, path: &str, body: String) -> Result<String, String> {
        self.call(Method::PUT, path, Some(body)).await
    }

    async fn call(&self, method: Method, target: &str, body: Option<String>) -> Result<String, String> {
        let mut request = self.http.request(method, format!("{}{target}", self.url)).timeout(PATIENCE);
        if let Some(secret) = &self.secret {
            request = request.header(AUTHORIZATION, format!("Bearer {secret}"));
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let unreachable = |error: reqwest::Error| format!("{} does not answer: {}", self.url, cause(&error));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(text);
        }
        let said = serde_json::from_str::<Failed>(&text).map(|failed| failed.error.message);
        let said =
            said.unwrap_or_else(|_| "nothing that a gateway of this kind would say; is the URL right?".to_owned());
        let hint = match status.as_u16() {
            401 if self.secret.is_none() => "\nset FEATHERGATE_MASTER_KEY, or log in: `feathergate admin login --help`",
            401 => "\nthe master key is wrong, or the session is over: `feathergate admin login --help`",
            _ => "",
        };
        Err(format!("the gateway answers {}: {said}{hint}", status.as_u16()))
    }
}

/// The innermost reason of a failure: the others repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
