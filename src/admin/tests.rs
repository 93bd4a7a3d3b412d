//! Every route against the memory store.

use std::sync::Arc;

use futures::executor::block_on;
use serde_json::{Value, json};

use super::*;
use crate::store::memory::Memory;
use crate::store::{Keep, token};

mod bad;
mod keys;
mod login;
mod reports;

/// 2026-11-21T01:00:00Z.
pub(super) const NOW: u64 = 1_795_222_800_000;

/// A catalog with two models and a wildcard.
struct Models;

impl Catalog for Models {
    fn groups(&self) -> Vec<GroupInfo> {
        let mut price = Price::default();
        price.set((crate::meter::Kind::Input, None), 2_500_000);
        let (upstream, model) = ("openai".to_owned(), "gpt-hidden".to_owned());
        let deployment = DeploymentInfo { id: "hidden-id".into(), upstream, model, price, rpm: Some(7), tpm: None };
        let group = GroupInfo { mode: "chat".into(), supports: vec!["supports_vision"], ..GroupInfo::default() };
        ["fast", "smart"]
            .map(|name| GroupInfo { name: name.into(), deployments: vec![deployment.clone()], ..group.clone() })
            .into()
    }

    fn knows(&self, model: &str) -> bool {
        ["fast", "smart"].contains(&model) || model.starts_with("openai/")
    }

    fn takes(&self, pattern: &str) -> bool {
        ["fast", "smart", "openai/x"].iter().any(|name| crate::route::table::fits(pattern, name))
    }

    fn prices(&self, name: &str) -> bool {
        ["gpt-hidden", "openai/gpt-hidden"].iter().any(|model| crate::route::table::fits(name, model))
    }

    fn serves(&self, endpoint: &str) -> bool {
        endpoint.starts_with("/v1/")
    }
}

/// An administration with a store in memory.
pub(super) struct World {
    pub(super) admin: Admin,
    pub(super) store: Arc<Memory>,
    /// Where requests come from.
    pub(super) address: Option<IpAddr>,
}

pub(super) struct Said {
    pub(super) status: u16,
    pub(super) json: Value,
    pub(super) text: String,
    pub(super) changed: bool,
    pub(super) cut: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let store = Arc::new(Memory::new(Keep::default()));
        Self { admin: Admin::new(Arc::clone(&store) as Arc<dyn Store>), store, address: None }
    }

    /// A request as it comes.
    pub(super) fn raw(&self, actor: &Actor, method: &str, target: &str, body: &[u8], now: u64) -> Said {
        let method: Method = method.parse().unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let request =
            Request { method: &method, path, query, body, actor, address: self.address, now, catalog: &Models };
        let reply = block_on(self.admin.handle(request));
        let text = String::from_utf8(reply.body).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        if reply.status.is_success() {
            if let Some(table::Found::Route(spec, _)) = table::find(&method, path) {
                conforms(spec.reply, &json, target);
            }
        } else {
            let error = &json["error"];
            assert_eq!(error["code"], reply.status.as_str(), "{text}");
            assert!(error["message"].as_str().unwrap().len() > 10 && error["type"].is_string(), "{text}");
        }
        Said { status: reply.status.as_u16(), json, text, changed: reply.changed, cut: reply.cut }
    }

    pub(super) fn get(&self, target: &str) -> Said {
        self.raw(&Actor::Master, "GET", target, b"", NOW)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Said {
        self.raw(&Actor::Master, "POST", path, body.to_string().as_bytes(), NOW)
    }

    /// The same where nothing may go wrong.
    pub(super) fn done(&self, path: &str, body: &Value) -> Value {
        let said = self.post(path, body);
        assert_eq!(said.status, 200, "{path} {body}: {}", said.text);
        said.json
    }

    pub(super) fn told(&self, target: &str) -> Value {
        let said = self.get(target);
        assert_eq!(said.status, 200, "{target}: {}", said.text);
        said.json
    }

    pub(super) fn audit(&self) -> Vec<crate::store::Audit> {
        let mut all = block_on(self.store.audit(None, 1000)).unwrap();
        all.reverse();
        all
    }
}

/// Whether an answer is what the table says.
pub(super) fn conforms(of: &shape::Type, value: &Value, at: &str) {
    use shape::{Need, Type};
    let text = || value.as_str().unwrap_or_else(|| panic!("{at}: {value} is no text"));
    match of {
        Type::Named(_, of) => conforms(of, value, at),
        Type::Text(most) | Type::Prose(most) => assert!(text().chars().count() <= *most, "{at}: {value}"),
        Type::Form(form) => assert!((form.check)(text()), "{at}: {value} is not {}", form.wants),
        Type::Choice(words) => assert!(words.contains(&text()), "{at}: {value}"),
        Type::Plain => {
            text();
        }
        Type::Flag => assert!(value.is_boolean(), "{at}: {value}"),
        Type::Count(least, most) => {
            assert!(value.as_u64().is_some_and(|count| (*least..=*most).contains(&count)), "{at}: {value}");
        }
        Type::Dollars | Type::Number => assert!(value.as_f64().is_some_and(|number| number >= 0.0), "{at}: {value}"),
        Type::Object => assert!(value.is_object(), "{at}: {value}"),
        Type::Any => {}
        Type::List(of, most) => {
            let all = value.as_array().unwrap_or_else(|| panic!("{at}: {value}"));
            assert!(all.len() <= *most, "{at}: {value}");
            for one in all {
                conforms(of, one, &format!("{at}[]"));
            }
        }
        Type::Map(of, _) => {
            let all = value.as_object().unwrap_or_else(|| panic!("{at}: {value}"));
            for (name, one) in all {
                conforms(of, one, &format!("{at}.{name}"));
            }
        }
        Type::Struct(fields) => {
            let all = value.as_object().unwrap_or_else(|| panic!("{at}: {value}"));
            let known = || fields.iter().flat_map(|fields| fields.iter());
            for name in all.keys() {
                assert!(known().any(|field| field.name == name), "{at}: `{name}` is not in the table");
            }
            for field in known() {
                let at = format!("{at}.{}", field.name);
                match all.get(field.name) {
                    None => assert!(field.need == Need::May, "{at} is missing"),
                    Some(Value::Null) => assert!(field.need != Need::Must, "{at} is null"),
                    Some(value) => conforms(&field.of, value, &at),
                }
            }
        }
    }
}

/// A key that was made with these fields: its secret, its hash, its id.
#[expect(clippy::needless_pass_by_value, reason = "most are written where it is called")]
pub(super) fn key(world: &World, fields: Value) -> (String, String, String) {
    let made = world.done("/key/generate", &fields);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("key"), text("token"), text("id"))
}
