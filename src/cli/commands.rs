//! Every command, as data.

/// What a flag's value is made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A JSON string.
    Text,
    /// A JSON number, as it is written.
    Number,
    /// A JSON list of the texts between commas.
    List,
    /// JSON.
    Json,
    /// Nothing follows the flag: `true`.
    Switch,
}

/// A flag that goes to the gateway as a field.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) field: &'static str,
    pub(super) value: Value,
    pub(super) doc: &'static str,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Login,
    Logout,
    /// GET, and a table of what is under this name in the answer; `""`: of the answer itself.
    List(&'static str, &'static str, &'static [Column]),
    /// GET of one thing, which this field names.
    Show(&'static str, &'static str),
    /// POST of the flags, and of the word that names what it is about in this field.
    Do(&'static str, Option<&'static str>),
    /// The same of a list of words.
    DoAll(&'static str, &'static str),
    Usage,
    Logs,
    Audit,
    /// The keys, whole.
    Keys,
    /// What is left of the limits of a key that is not the administrator's.
    Balance,
    /// GET of what is set beside the configuration, which is in this field.
    Setting(&'static str, &'static str),
    /// PUT of a file, in this field.
    Put(&'static str, &'static str),
    AddAdmin,
}

/// A column: its head, and the field that it shows.
pub(super) type Column = (&'static str, &'static str);

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    /// Its words: `keys create`.
    pub(super) words: &'static [&'static str],
    /// What else it takes, for the help: `KEY`.
    pub(super) takes: &'static str,
    /// How many words at least and at most.
    pub(super) count: (usize, usize),
    pub(super) about: &'static str,
    pub(super) flags: &'static [&'static [Flag]],
    pub(super) act: Act,
}

const fn flag(name: &'static str, field: &'static str, value: Value, doc: &'static str) -> Flag {
    Flag { name, field, value, doc }
}

static ALLOWANCE: [Flag; 8] = [
    flag("budget", "max_budget", Value::Number, "the most dollars in a period"),
    flag("soft-budget", "soft_budget", Value::Number, "above so many dollars it warns"),
    flag(
        "period",
        "budget_duration",
        Value::Text,
        "the period of the budget and the quota: `30d`, `1mo`; none: for ever",
    ),
    flag("tokens", "token_quota", Value::Number, "the most tokens in a period"),
    flag("rpm", "rpm_limit", Value::Number, "requests a minute"),
    flag("tpm", "tpm_limit", Value::Number, "tokens a minute"),
    flag("parallel", "max_parallel_requests", Value::Number, "requests at one time"),
    flag("shards", "shards", Value::Number, "over how many items its counts are spread in DynamoDB"),
];
static KEY: [Flag; 12] = [
    flag("alias", "key_alias", Value::Text, "a name of yours"),
    flag("user", "user_id", Value::Text, "whose it is"),
    flag("team", "team_id", Value::Text, "its team's id"),
    flag("models", "models", Value::List, "models that it may use, with commas between; `*` for any text"),
    flag("lasts", "duration", Value::Text, "for how long it is valid from now on: `90d`"),
    flag("expires", "expires", Value::Text, "until when it is valid: `2026-12-31`, all of that day in UTC"),
    flag("tags", "tags", Value::List, "tags of its requests"),
    flag("endpoints", "allowed_routes", Value::List, "endpoints that it may call: `/v1/messages,/v1/chat/*`"),
    flag("ips", "allowed_ips", Value::List, "addresses and ranges that it may be used from"),
    flag("system-prompt", "system_prompt", Value::Text, "a system prompt for its requests"),
    flag("arn", "iam_arn", Value::Text, "the AWS identity that uses it without sending it"),
    flag("metadata", "metadata", Value::Json, "anything, as a JSON object"),
];
static TEAM: [Flag; 3] = [
    flag("alias", "team_alias", Value::Text, "a name of yours"),
    flag("models", "models", Value::List, "models that its keys may use, if they may themselves"),
    flag("metadata", "metadata", Value::Json, "anything, as a JSON object"),
];
static LIST: [Flag; 7] = [
    flag("user", "user_id", Value::Text, "those of this user"),
    flag("team", "team_id", Value::Text, "those of this team"),
    flag("search", "search", Value::Text, "those whose alias holds this text"),
    flag("status", "status", Value::Text, "`active`, `expired` or `revoked`"),
    flag("sort", "sort_by", Value::Text, "`created_at`, `updated_at`, `key_alias`, `user_id` or `team_id`"),
    flag("page", "page", Value::Number, "which page, from 1"),
    flag("size", "size", Value::Number, "keys on a page, 100 at most"),
];
static USAGE: [Flag; 6] = [
    flag("by", "by", Value::Text, "`model` (if nothing is said), `key`, `team`, `upstream` or `day`"),
    flag("since", "from", Value::Text, "for how long back: `7d`; or a day; 30 days before the end if nothing is said"),
    flag("until", "to", Value::Text, "the last day, which counts; or so long ago"),
    flag("key", "key", Value::Text, "of this key only"),
    flag("team", "team_id", Value::Text, "of this team only"),
    flag("model", "model", Value::Text, "of this model only"),
];
static LOGS: [Flag; 11] = [
    flag("key", "key", Value::Text, "of this key only"),
    flag("team", "team_id", Value::Text, "of this team only"),
    flag("model", "model", Value::Text, "of this model only"),
    flag("end-user", "end_user", Value::Text, "for this end user only"),
    flag("request", "request_id", Value::Text, "the one with this id"),
    flag("since", "from", Value::Text, "for how long back: `1h`; or a moment"),
    flag("until", "to", Value::Text, "the last day; or so long ago, or a moment"),
    flag("limit", "limit", Value::Number, "how many, 1000 at most"),
    flag("before", "before", Value::Text, "those before this entry"),
    flag("failed", "failed", Value::Switch, "those that failed only"),
    flag("follow", "", Value::Switch, "go on with what comes, until it is stopped"),
];
static LOGIN: [Flag; 2] = [
    flag("key", "", Value::Text, "the private key: OpenSSH's without a passphrase, or PKCS #8 in PEM"),
    flag("lasts", "duration", Value::Text, "how long the session lasts, `15m` to `1h`"),
];
static ADMIN: [Flag; 2] = [
    flag("name", "name", Value::Text, "whose it is"),
    flag("key", "", Value::Text, "the file with the public key: a line of OpenSSH's"),
];
static PAGE: [Flag; 3] = [
    flag("limit", "limit", Value::Number, "how many, 1000 at most"),
    flag("before", "before", Value::Text, "those before this entry"),
    flag("full", "", Value::Switch, "each field that changed, with what was before and after"),
];

/// Flags of every command.
pub(super) static COMMON: [Flag; 2] = [
    flag(
        "url",
        "",
        Value::Text,
        "the gateway; else $FEATHERGATE_URL, else that of the session, else http://127.0.0.1:8080",
    ),
    flag("json", "", Value::Switch, "the gateway's answer as it is, rather than a table"),
];

pub(super) const KEY_COLUMNS: &[Column] = &[
    ("alias", "key_alias"),
    ("id", "id"),
    ("key", "key_name"),
    ("status", "status"),
    ("user", "user_id"),
    ("team", "team_id"),
    ("spend $", "spend"),
    ("budget $", "max_budget"),
    ("period", "budget_duration"),
    ("models", "models"),
];
const TEAM_COLUMNS: &[Column] = &[
    ("id", "team_id"),
    ("alias", "team_alias"),
    ("blocked", "blocked"),
    ("spend $", "spend"),
    ("budget $", "max_budget"),
    ("period", "budget_duration"),
    ("models", "models"),
];
const ADMIN_COLUMNS: &[Column] =
    &[("name", "name"), ("fingerprint", "fingerprint"), ("registered", "created_at"), ("by", "created_by")];
const SESSION_COLUMNS: &[Column] =
    &[("session", "session"), ("fingerprint", "fingerprint"), ("began", "created_at"), ("ends", "expires_at")];

const fn command(
    words: &'static [&'static str],
    (takes, least, most): (&'static str, usize, usize),
    about: &'static str,
    flags: &'static [&'static [Flag]],
    act: Act,
) -> Command {
    Command { words, takes, count: (least, most), about, flags, act }
}

const ONE_KEY: (&str, usize, usize) = ("KEY", 1, 1);
const NOTHING: (&str, usize, usize) = ("", 0, 0);
const MANY: usize = 25;

/// Every command. A KEY is its secret, its hash, its id or its alias.
pub(super) static COMMANDS: [Command; 29] = [
    command(&["login"], NOTHING, "logs in with an Ed25519 key; the session is kept", &[&LOGIN], Act::Login),
    command(&["logout"], NOTHING, "ends the session", &[], Act::Logout),
    command(&["keys", "list"], NOTHING, "lists keys", &[&LIST], Act::Keys),
    command(&["keys", "show"], ONE_KEY, "tells of a key", &[], Act::Show("/key/info", "key")),
    command(
        &["keys", "create"],
        NOTHING,
        "makes a key; its secret is shown this once",
        &[&KEY, &ALLOWANCE],
        Act::Do("/key/generate", None),
    ),
    command(
        &["keys", "update"],
        ONE_KEY,
        "changes a key; the value `none` clears",
        &[&KEY, &ALLOWANCE],
        Act::Do("/key/update", Some("key")),
    ),
    command(&["keys", "block"], ONE_KEY, "switches a key off", &[], Act::Do("/key/block", Some("key"))),
    command(&["keys", "unblock"], ONE_KEY, "switches a key on again", &[], Act::Do("/key/unblock", Some("key"))),
    command(
        &["keys", "rotate"],
        ONE_KEY,
        "gives a key another secret, which is shown this once; the old one ends at once",
        &[],
        Act::Do("/key/regenerate", Some("key")),
    ),
    command(&["keys", "delete"], ("KEY…", 1, MANY), "deletes keys", &[], Act::DoAll("/key/delete", "keys")),
    command(&["teams", "list"], NOTHING, "lists teams", &[], Act::List("/team/list", "", TEAM_COLUMNS)),
    command(&["teams", "show"], ("TEAM", 1, 1), "tells of a team", &[], Act::Show("/team/info", "team_id")),
    command(
        &["teams", "create"],
        ("[TEAM]", 0, 1),
        "makes a team, with this id if one is said",
        &[&TEAM, &ALLOWANCE],
        Act::Do("/team/new", Some("team_id")),
    ),
    command(
        &["teams", "update"],
        ("TEAM", 1, 1),
        "changes a team; the value `none` clears",
        &[&TEAM, &ALLOWANCE],
        Act::Do("/team/update", Some("team_id")),
    ),
    command(
        &["teams", "delete"],
        ("TEAM…", 1, 20),
        "deletes teams with all their keys",
        &[],
        Act::DoAll("/team/delete", "team_ids"),
    ),
    command(&["usage"], NOTHING, "what was used and spent", &[&USAGE], Act::Usage),
    command(&["logs"], NOTHING, "requests, the newest last", &[&LOGS], Act::Logs),
    command(&["audit"], NOTHING, "what administrators did, the newest first", &[&PAGE], Act::Audit),
    command(
        &["admins", "list"],
        NOTHING,
        "lists administrators",
        &[],
        Act::List("/admin/admins", "admins", ADMIN_COLUMNS),
    ),
    command(
        &["admins", "add"],
        NOTHING,
        "registers an administrator's public key; with the master key",
        &[&ADMIN],
        Act::AddAdmin,
    ),
    command(
        &["admins", "remove"],
        ("FINGERPRINT", 1, 1),
        "removes an administrator and ends his sessions; with the master key",
        &[],
        Act::Do("/admin/admins/delete", Some("fingerprint")),
    ),
    command(
        &["sessions", "list"],
        NOTHING,
        "lists sessions",
        &[],
        Act::List("/admin/sessions", "sessions", SESSION_COLUMNS),
    ),
    command(
        &["sessions", "end"],
        ("SESSION", 1, 1),
        "ends a session",
        &[],
        Act::Do("/admin/sessions/delete", Some("session")),
    ),
    command(
        &["prices", "show"],
        NOTHING,
        "prices that are set beside the configuration: a table on a terminal, else what `set` takes",
        &[],
        Act::Setting("/admin/prices", "prices"),
    ),
    command(
        &["prices", "set"],
        ("FILE", 1, 1),
        "sets prices: JSON, by `vendor/model` and litellm's names, or what `show` gave; in place of all that were set",
        &[],
        Act::Put("/admin/prices", "prices"),
    ),
    command(
        &["redirects", "show"],
        NOTHING,
        "other names of models that are set beside the configuration: a table on a terminal, else what `set` takes",
        &[],
        Act::Setting("/admin/redirects", "redirects"),
    ),
    command(
        &["redirects", "set"],
        ("FILE", 1, 1),
        "sets redirects: JSON, from a name to a model, or what `show` gave; in place of all that were set",
        &[],
        Act::Put("/admin/redirects", "redirects"),
    ),
    command(&["models"], NOTHING, "lists models", &[], Act::List("/model_group/info", "data", MODEL_COLUMNS)),
    command(
        &["balance"],
        NOTHING,
        "what is left of a key's limits: with a virtual key in $FEATHERGATE_KEY",
        &[],
        Act::Balance,
    ),
];

const MODEL_COLUMNS: &[Column] = &[
    ("model", "model_group"),
    ("mode", "mode"),
    ("upstreams", "providers"),
    ("input tokens", "max_input_tokens"),
    ("output tokens", "max_output_tokens"),
    ("$ a token in", "input_cost_per_token"),
    ("$ a token out", "output_cost_per_token"),
];
pub(super) const LIMIT_COLUMNS: &[Column] = &[
    ("of", "scope"),
    ("limit", "limit"),
    ("allowed", "allowed"),
    ("used", "used"),
    ("left", "remaining"),
    ("resets", "resets_at"),
];
