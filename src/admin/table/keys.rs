//! Routes about virtual keys.

use http::Method;

use super::{Access, NOTHING, Spec};
use crate::admin::read::Takes;
use crate::admin::shape::{ARN, ENDPOINT, Field, ID, KEY, MOMENT, MOST, PERIOD, RANGE, Type, WHEN, may, must, null};

/// What is settable of a key's and a team's allowance.
pub(super) static ALLOWANCE: [Field; 8] = [
    may("max_budget", Type::Dollars, "The most dollars that may be spent in a `budget_duration`."),
    may("soft_budget", Type::Dollars, "Above so many dollars answers and the log warn."),
    may(
        "budget_duration",
        Type::Form(&PERIOD),
        "The period of `max_budget` and `token_quota`; without one they are for ever. A change begins a new period.",
    ),
    may("token_quota", Type::Count(0, MOST), "The most tokens in a `budget_duration`."),
    may("tpm_limit", Type::Count(0, MOST), "Tokens a minute."),
    may("rpm_limit", Type::Count(0, MOST), "Requests a minute."),
    may("max_parallel_requests", Type::Count(0, 1_000_000), "Requests at one time."),
    may("shards", Type::Count(1, 64), "Over how many items the counts are spread in DynamoDB; 1 where it is not said."),
];

const MODEL: Type = Type::Text(200);
pub(super) const MODELS: Type = Type::List(&MODEL, 500);
const ENDPOINTS: Type = Type::List(&Type::Form(&ENDPOINT), 100);
const RANGES: Type = Type::List(&Type::Form(&RANGE), 200);
const TAGS: Type = Type::List(&Type::Text(100), 50);

/// What is settable of a key beside its allowance.
static KEYS: [Field; 13] = [
    may("key_alias", Type::Text(100), "A name of yours, which no other key may have."),
    may("user_id", Type::Text(200), "Whose it is."),
    may("team_id", Type::Form(&ID), "The team whose limits bind it as well."),
    may(
        "models",
        MODELS,
        "Model groups that it may use, by name or by a pattern with `*`; all where the list is empty.",
    ),
    may("metadata", Type::Object, "Anything."),
    may("duration", Type::Form(&PERIOD), "For how long it is valid from now on; null: for ever. Not beside `expires`."),
    may("expires", Type::Form(&WHEN), "Until when it is valid, of a day until its end in UTC; null: for ever."),
    may("blocked", Type::Flag, "Whether it is switched off."),
    may("tags", TAGS, "Tags of its requests, for records and for routing by tags."),
    may("allowed_routes", ENDPOINTS, "Endpoints that it may call, as paths; all where the list is empty."),
    may("allowed_ips", RANGES, "Addresses and ranges that it may be used from; all where the list is empty."),
    may("system_prompt", Type::Prose(32_768), "A system prompt that is put before its requests' own."),
    may("iam_arn", Type::Form(&ARN), "Callers that AWS has identified by this ARN use the key without sending it."),
];

/// What litellm has and we do not: refused, since who sends it relies on it.
static REFUSED: [(&str, &str); 45] = [
    ("agent_id", NO_ENTITY),
    ("access_group_ids", NO_ENTITY),
    ("aliases", "is not known here: `/admin/redirects` gives models other names, for all keys"),
    ("allowed_cache_controls", NO_LIMIT),
    ("allowed_passthrough_routes", "is not known here: use `allowed_routes`"),
    ("allowed_vector_store_indexes", NO_LIMIT),
    ("auto_rotate", NO_ROTATION),
    ("budget_fallbacks", NO_LIMIT),
    ("budget_id", "is not known here: give the key its own `max_budget` and limits, or those of a team"),
    ("budget_limits", "is not known here: a key has one `max_budget` with one `budget_duration`"),
    ("config", NO_LIMIT),
    ("default_estimated_output_tokens", NO_LIMIT),
    ("default_estimated_output_tokens_per_model", NO_LIMIT),
    ("denied_passthrough_routes", "is not known here: use `allowed_routes`"),
    ("disable_global_guardrails", NO_LIMIT),
    ("enable_prompt_caching", NO_LIMIT),
    ("end_user_budget_id", NO_ENTITY),
    ("enforced_params", NO_LIMIT),
    ("grace_period", "is not known here: the old secret ends at once; make a second key to move over slowly"),
    ("guardrails", NO_LIMIT),
    ("key_type", "is not known here: use `allowed_routes`"),
    ("mcp_rpm_limit", NO_LIMIT),
    ("model_max_budget", "is not known here: a budget holds for all models of a key; make a key for each model"),
    ("model_rpm_limit", "is not known here: a limit holds for all models of a key; make a key for each model"),
    ("model_tpm_limit", "is not known here: a limit holds for all models of a key; make a key for each model"),
    ("new_key", NO_CHOICE),
    ("new_master_key", "is not known here: the master key is set in the configuration"),
    ("object_permission", NO_LIMIT),
    ("organization_id", NO_ENTITY),
    ("permissions", NO_LIMIT),
    ("policies", NO_LIMIT),
    ("project_id", NO_ENTITY),
    ("prompts", NO_LIMIT),
    ("rotation_interval", NO_ROTATION),
    ("router_settings", "is not known here: routing is set in the configuration, for all keys"),
    ("rpm_limit_type", NO_LIMIT),
    ("send_invite_email", "is not known here: no mail is sent"),
    ("spend", "is what was counted and cannot be set"),
    ("tag_rpm_limit", NO_LIMIT),
    ("temp_budget_expiry", NO_LIMIT),
    ("temp_budget_increase", "is not known here: change `max_budget`"),
    ("throttle_on_budget_exceeded", NO_LIMIT),
    ("tpd_limit", "is not known here: use `token_quota` with `budget_duration: 1d`"),
    ("tpm_limit_type", NO_LIMIT),
    ("user_email", NO_ENTITY),
];
pub(super) const NO_LIMIT: &str = "is not known here, and would be without effect";
pub(super) const NO_ENTITY: &str = "is not known here: there are keys, their users and teams";
const NO_ROTATION: &str = "is not known here: `/key/regenerate` gives a key another secret";
const NO_CHOICE: &str = "cannot be chosen: a secret is made here, of 142 random bits";

/// A new key's secret cannot be chosen.
static REFUSED_NEW: [(&str, &str); 1] = [("key", NO_CHOICE)];

static ONE: [Field; 1] = [must("key", Type::Form(&KEY), "The key: its secret, the hash of that, or its id.")];
static MAYBE_ONE: [Field; 1] = [may("key", Type::Form(&KEY), "The key: its secret, the hash of that, or its id.")];

/// A key as it is told of.
pub(super) const VIEW: Type = Type::Named("Key", &Type::Struct(&[&VIEWED]));
static VIEWED: [Field; 30] = [
    must("id", Type::Text(50), "Names the key in records, also when its secret is replaced."),
    null("token", Type::Text(64), "The hash of its secret; null for its holder."),
    must("key_name", Type::Text(20), "The end of its secret."),
    null("key_alias", Type::Text(100), "The administrator's name for it."),
    must("spend", Type::Dollars, "What was spent in the present period, or ever where there is none."),
    null("tokens_used", Type::Number, "The tokens of the present period, where there is a quota of them."),
    null("max_budget", Type::Dollars, "See the request."),
    null("soft_budget", Type::Dollars, "See the request."),
    null("budget_duration", Type::Form(&PERIOD), "See the request."),
    null("budget_reset_at", Type::Form(&MOMENT), "When the next period begins."),
    null("token_quota", Type::Count(0, MOST), "See the request."),
    null("tpm_limit", Type::Count(0, MOST), "See the request."),
    null("rpm_limit", Type::Count(0, MOST), "See the request."),
    null("max_parallel_requests", Type::Count(0, MOST), "See the request."),
    must("shards", Type::Count(1, 64), "See the request."),
    must("models", MODELS, "See the request."),
    null("user_id", Type::Text(200), "See the request."),
    null("team_id", Type::Text(100), "See the request."),
    must("metadata", Type::Object, "See the request."),
    null("expires", Type::Form(&MOMENT), "Until when it is valid."),
    must("blocked", Type::Flag, "Whether it is switched off."),
    must("status", Type::Choice(&["active", "expired", "revoked"]), "`revoked` where it is switched off."),
    must("tags", TAGS, "See the request."),
    must("allowed_routes", ENDPOINTS, "See the request."),
    must("allowed_ips", RANGES, "See the request."),
    null("system_prompt", Type::Prose(32_768), "See the request."),
    null("iam_arn", Type::Text(500), "See the request."),
    must("created_at", Type::Form(&MOMENT), "When it was made."),
    must("created_by", Type::Text(200), "By whom: `master key`, or an administrator's fingerprint."),
    must("updated_at", Type::Form(&MOMENT), "When it was last changed."),
];
static SECRET: [Field; 2] = [
    must("key", Type::Text(64), "The secret, which is told this once."),
    must("token_id", Type::Text(64), "The hash of the secret, as in `token`."),
];
/// What is told with a change that was made although it may not be what is meant.
pub(super) static WARNED: [Field; 1] = [may(
    "warnings",
    Type::List(&Type::Plain, 10_000),
    "What of the request is without effect as things are, for a person; missing where there is nothing to say.",
)];
static WITH_SECRET: Type = Type::Struct(&[&SECRET, &VIEWED, &WARNED]);
static HASH: [Field; 1] = [must("key", Type::Text(64), "The hash of its secret.")];
static WITH_HASH: Type = Type::Struct(&[&HASH, &VIEWED, &WARNED]);
static INFO: Type = Type::Struct(&[&[
    null("key", Type::Text(64), "The hash of its secret; null for its holder."),
    must("info", VIEW, "The key."),
]]);
static DELETED: Type = Type::Struct(&[&[must(
    "deleted_keys",
    Type::List(&Type::Text(64), 25),
    "The hashes of the secrets of the keys that are gone.",
)]]);
static LISTED: Type = Type::Struct(&[&[
    must("keys", Type::List(&Type::Any, 100), "Hashes, or whole keys with `return_full_object`."),
    must("total_count", Type::Count(0, MOST), "How many there are that were asked for."),
    must("current_page", Type::Count(1, MOST), "This page."),
    must("total_pages", Type::Count(0, MOST), "How many pages there are."),
]]);
static LIST: [Field; 12] = [
    may("page", Type::Count(1, 1_000_000), "Which page; the first where it is not said."),
    may("size", Type::Count(1, 100), "Keys on a page; 10 where it is not said."),
    may("user_id", Type::Text(200), "Of this user only."),
    may("team_id", Type::Form(&ID), "Of this team only."),
    may("key_hash", Type::Form(&KEY), "This one only: its secret, the hash of that, or its id."),
    may("key_alias", Type::Text(100), "The one with this alias only."),
    may("search", Type::Text(100), "Those whose alias holds this text, or whose hash or id it is."),
    may("status", Type::Choice(&["active", "expired", "revoked"]), "Those in this state only."),
    may("return_full_object", Type::Flag, "Whole keys rather than hashes."),
    may(
        "include_team_keys",
        Type::Choice(&["false", "False"]),
        "For litellm's client; there are no administrators of teams.",
    ),
    may(
        "sort_by",
        Type::Choice(&["created_at", "updated_at", "key_alias", "user_id", "team_id"]),
        "`created_at` where it is not said.",
    ),
    may("sort_order", Type::Choice(&["asc", "desc"]), "`desc` where it is not said."),
];
static BALANCE: Type = Type::Struct(&[&[
    must("key", Type::Text(50), "The key's id."),
    must("key_name", Type::Text(20), "The end of its secret."),
    null("key_alias", Type::Text(100), "Its name."),
    null("team_id", Type::Text(100), "Its team."),
    null("expires", Type::Form(&MOMENT), "Until when it is valid."),
    must("models", MODELS, "Model groups that it may use; all where the list is empty."),
    must("spend", Type::Dollars, "What it has spent in the present period, or ever where there is none."),
    must("limits", Type::List(&LIMIT, 10), "What is left of each limit of the key and of its team."),
]]);
static LIMIT: Type = Type::Named(
    "Limit",
    &Type::Struct(&[&[
        must("scope", Type::Choice(&["key", "team"]), "Whose limit it is."),
        must(
            "limit",
            Type::Choice(&["max_budget", "token_quota", "rpm_limit", "tpm_limit", "max_parallel_requests"]),
            "Which limit it is: `max_budget` counts in dollars.",
        ),
        must("allowed", Type::Number, "What it allows."),
        must("used", Type::Number, "What is used."),
        must("remaining", Type::Number, "What is left."),
        null("resets_at", Type::Form(&MOMENT), "When all of it is there again; null where nobody can tell."),
    ]]),
);

const fn post(path: &'static str, summary: &'static str, body: Takes, reply: &'static Type, act: super::Act) -> Spec {
    Spec { method: Method::POST, path, access: Access::Admin, tag: "keys", summary, query: NOTHING, body, reply, act }
}

static ONE_ONLY: [&[Field]; 1] = [&ONE];

const fn one() -> Takes {
    Takes { fields: &ONE_ONLY, refused: &[] }
}

pub(super) static ROUTES: &[Spec] = &[
    post(
        "/key/generate",
        "Makes a key. Its secret is told in this answer and never again.",
        Takes { fields: &[&KEYS, &ALLOWANCE], refused: &[&REFUSED_NEW, &REFUSED] },
        &WITH_SECRET,
        |admin, context| Box::pin(admin.key_generate(context)),
    ),
    post(
        "/key/update",
        "Changes what is named of a key; null clears.",
        Takes { fields: &[&ONE, &KEYS, &ALLOWANCE], refused: &[&REFUSED] },
        &WITH_HASH,
        |admin, context| Box::pin(admin.key_update(context)),
    ),
    post(
        "/key/delete",
        "Deletes keys, all of them or none. What they spent stays on record.",
        Takes {
            fields: &[&[
                may("keys", Type::List(&Type::Form(&KEY), 25), "Keys: secrets, hashes or ids."),
                may("key_aliases", Type::List(&Type::Text(100), 25), "The same by their aliases."),
            ]],
            refused: &[],
        },
        &DELETED,
        |admin, context| Box::pin(admin.key_delete(context)),
    ),
    post("/key/block", "Switches a key off.", one(), &VIEW, |admin, context| Box::pin(admin.key_block(context, true))),
    post("/key/unblock", "Switches a key on again.", one(), &VIEW, |admin, context| {
        Box::pin(admin.key_block(context, false))
    }),
    post(
        "/key/regenerate",
        "Gives a key another secret; the old one ends at once. Fields that are named are changed, too.",
        Takes { fields: &[&ONE, &KEYS, &ALLOWANCE], refused: &[&REFUSED] },
        &WITH_SECRET,
        |admin, context| Box::pin(admin.key_regenerate(context)),
    ),
    post(
        "/key/{key}/regenerate",
        "Gives a key another secret; the old one ends at once. Fields that are named are changed, too.",
        Takes { fields: &[&MAYBE_ONE, &KEYS, &ALLOWANCE], refused: &[&REFUSED] },
        &WITH_SECRET,
        |admin, context| Box::pin(admin.key_regenerate(context)),
    ),
    Spec {
        method: Method::GET,
        path: "/key/info",
        access: Access::Caller,
        tag: "keys",
        summary: "Tells of a key. A key's holder may ask for that one only, and need not name it.",
        query: Takes { fields: &[&MAYBE_ONE], refused: &[] },
        body: NOTHING,
        reply: &INFO,
        act: |admin, context| Box::pin(admin.key_info(context)),
    },
    Spec {
        method: Method::GET,
        path: "/key/list",
        access: Access::Admin,
        tag: "keys",
        summary: "Lists keys.",
        query: Takes {
            fields: &[&LIST],
            refused: &[&[
                ("organization_id", NO_ENTITY),
                ("project_id", NO_ENTITY),
                ("agent_id", NO_ENTITY),
                ("access_group_id", NO_ENTITY),
                ("substring_matching", "is not known here: use `search`"),
                ("expires", "is not known here: use `status`"),
            ]],
        },
        body: NOTHING,
        reply: &LISTED,
        act: |admin, context| Box::pin(admin.key_list(context)),
    },
    Spec {
        method: Method::GET,
        path: "/v1/token/balance",
        access: Access::Caller,
        tag: "keys",
        summary: "What is left of the limits of the key that asks, and of its team's.",
        query: NOTHING,
        body: NOTHING,
        reply: &BALANCE,
        act: |admin, context| Box::pin(admin.balance(context)),
    },
];
