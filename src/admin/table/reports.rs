//! Routes about what was used and spent.

use http::Method;

use super::{Access, Act, NOTHING, Spec};
use crate::admin::read::Takes;
use crate::admin::shape::{CURSOR, DAY, Field, ID, KEY, MOMENT, Type, WHEN, may, must, null};

const FROM: Field = must("start_date", Type::Form(&DAY), "The first day, in UTC.");
const TO: Field = must("end_date", Type::Form(&DAY), "The last day.");

static SPEND_LOGS: [Field; 6] = [
    may("api_key", Type::Form(&KEY), "Of this key only."),
    may("user_id", Type::Text(200), "Of the keys of this user only."),
    may("request_id", Type::Text(500), "This request only."),
    may("start_date", Type::Form(&DAY), "The first day, in UTC."),
    may("end_date", Type::Form(&DAY), "The last day."),
    may("summarize", Type::Flag, "With both days: sums by day, which is what comes where it is not said, or requests."),
];

/// A request, or the sums of a day.
static SPEND_ROWS: Type = Type::List(&Type::Object, 1000);

static REPORT: [Field; 7] = [
    FROM,
    TO,
    may("group_by", Type::Choice(&["team", "customer", "api_key"]), "`team` where it is not said."),
    may("api_key", Type::Form(&KEY), "Of this key only."),
    may("internal_user_id", Type::Text(200), "Of the keys of this user only."),
    may("team_id", Type::Form(&ID), "Of this team only."),
    may("customer_id", Type::Text(500), "Of this end user only; then by `customer`."),
];
const DETAIL: Type = Type::Struct(&[&[
    must("model", Type::Plain, "The model group."),
    must("api_key", Type::Plain, "The key's id; empty with the master key."),
    must("spend", Type::Dollars, "What it cost, as far as that is known."),
    must("total_tokens", Type::Number, "All tokens."),
    UNPRICED,
]]);
const UNPRICED: Field =
    must("unpriced_requests", Type::Number, "Requests whose cost is not known, which the sum of dollars lacks.");
static REPORTED: Type = Type::List(
    &Type::Struct(&[&[
        may("group_by_day", Type::Form(&DAY), "The day."),
        may(
            "teams",
            Type::List(
                &Type::Struct(&[&[
                    must("team_name", Type::Plain, "The team's alias, or its id; empty where there was none."),
                    must("team_id", Type::Plain, "The team's id."),
                    must("total_spend", Type::Dollars, "What its keys spent."),
                    UNPRICED,
                    must("metadata", Type::List(&DETAIL, 1_000_000), "The same by model and key."),
                ]]),
                1_000_000,
            ),
            "By team.",
        ),
        may(
            "customers",
            Type::List(
                &Type::Struct(&[&[
                    must("customer", Type::Plain, "The end user; empty where none was named."),
                    must("total_spend", Type::Dollars, "What was spent for him."),
                    UNPRICED,
                    must("metadata", Type::List(&DETAIL, 1_000_000), "The same by model and key."),
                ]]),
                1_000_000,
            ),
            "By end user.",
        ),
        may("api_key", Type::Plain, "The key's id."),
        may("total_cost", Type::Dollars, "What it spent."),
        may("total_input_tokens", Type::Number, "Its input tokens."),
        may("total_output_tokens", Type::Number, "Its output tokens."),
        may("unpriced_requests", Type::Number, "Its requests whose cost is not known."),
        may(
            "model_details",
            Type::List(
                &Type::Struct(&[&[
                    must("model", Type::Plain, "The model group."),
                    must("total_cost", Type::Dollars, "What it cost."),
                    must("total_input_tokens", Type::Number, "Input tokens."),
                    must("total_output_tokens", Type::Number, "Output tokens."),
                    UNPRICED,
                ]]),
                1_000_000,
            ),
            "The same by model.",
        ),
    ]]),
    1_000_000,
);

const METRICS: Type = Type::Named("Metrics", &Type::Struct(&[&METRIC]));
static METRIC: [Field; 11] = [
    must("spend", Type::Dollars, "What it cost, as far as that is known."),
    must("prompt_tokens", Type::Number, "Input tokens, those of the cache among them."),
    must("completion_tokens", Type::Number, "Output tokens."),
    must("cache_read_input_tokens", Type::Number, "Input tokens that were read from the cache."),
    must("cache_creation_input_tokens", Type::Number, "Input tokens that were written to the cache."),
    must("reasoning_tokens", Type::Number, "Output tokens that were reasoning."),
    must("total_tokens", Type::Number, "All tokens."),
    must("successful_requests", Type::Number, "Requests that were answered."),
    must("failed_requests", Type::Number, "Requests that were not."),
    must("api_requests", Type::Number, "All requests."),
    UNPRICED,
];

static ACTIVITY: [Field; 8] = [
    FROM,
    TO,
    may("model", Type::Text(200), "Of this model group only."),
    may("api_key", Type::Form(&KEY), "Of this key only."),
    may("user_id", Type::Text(200), "Of the keys of this user only."),
    may("page", Type::Count(1, 1_000_000), "All is on the first page."),
    may("page_size", Type::Count(1, 1000), "All is on the first page."),
    may("timezone", Type::Choice(&["0"]), "Days are those of UTC."),
];
const KEY_METRICS: Type = Type::Struct(&[&[
    must("metrics", METRICS, "The sums."),
    must(
        "metadata",
        Type::Struct(&[&[
            null("key_alias", Type::Plain, "The key's name."),
            null("team_id", Type::Plain, "Its team."),
            null("user_id", Type::Plain, "Its user."),
        ]]),
        "What is known of the key; nothing, where it is gone.",
    ),
]]);
const BY_KEY: Type = Type::Map(&KEY_METRICS, 1_000_000);
const PART: Type = Type::Struct(&[&[
    must("metrics", METRICS, "The sums."),
    must("metadata", Type::Object, "Nothing, for now."),
    must("api_key_breakdown", BY_KEY, "By the key's id."),
]]);
const PARTS: Type = Type::Map(&PART, 1_000_000);
static ACTIVE: Type = Type::Struct(&[&[
    must(
        "results",
        Type::List(
            &Type::Struct(&[&[
                must("date", Type::Form(&DAY), "The day, in UTC."),
                must("metrics", METRICS, "Its sums."),
                must(
                    "breakdown",
                    Type::Struct(&[&[
                        must("models", PARTS, "By model group."),
                        must("model_groups", PARTS, "The same."),
                        must("providers", PARTS, "By the upstream's vendor."),
                        must("entities", PARTS, "By team."),
                        must("api_keys", BY_KEY, "By the key's id."),
                        must("mcp_servers", Type::Object, "Nothing: litellm's clients ask for it."),
                        must("endpoints", Type::Object, "Nothing: litellm's clients ask for it."),
                    ]]),
                    "The same, by several things.",
                ),
            ]]),
            10_000,
        ),
        "The newest day first.",
    ),
    must(
        "metadata",
        Type::Struct(&[&[
            must("total_spend", Type::Dollars, "See `metrics`."),
            must("total_prompt_tokens", Type::Number, "See `metrics`."),
            must("total_completion_tokens", Type::Number, "See `metrics`."),
            must("total_cache_read_input_tokens", Type::Number, "See `metrics`."),
            must("total_cache_creation_input_tokens", Type::Number, "See `metrics`."),
            must("total_tokens", Type::Number, "See `metrics`."),
            must("total_successful_requests", Type::Number, "See `metrics`."),
            must("total_failed_requests", Type::Number, "See `metrics`."),
            must("total_api_requests", Type::Number, "See `metrics`."),
            must("page", Type::Number, "This page."),
            must("total_pages", Type::Number, "How many there are: one."),
            must("has_more", Type::Flag, "Whether there is another page: no."),
        ]]),
        "The sums of all days.",
    ),
]]);

static SERIES: [Field; 7] = [
    may(
        "by",
        Type::Choice(&["model", "key", "team", "upstream", "day"]),
        "What each series is of; `model` where it is not said.",
    ),
    may(
        "interval",
        Type::Choice(&["day", "hour"]),
        "What each point is of; hours are counted from the requests themselves, for a week at most.",
    ),
    may(
        "from",
        Type::Form(&DAY),
        "The first day, in UTC; 30 days before `to` where it is not said, `to` itself for hours.",
    ),
    may("to", Type::Form(&DAY), "The last day, all of it; today where it is not said."),
    may("key", Type::Form(&KEY), "Of this key only."),
    may("team_id", Type::Form(&ID), "Of this team only."),
    may("model", Type::Text(200), "Of this model group only."),
];
static MEASURED: Type = Type::Struct(&[&[
    must("from", Type::Form(&DAY), "The first day."),
    must("to", Type::Form(&DAY), "The last day."),
    must("totals", METRICS, "The sums of all."),
    must(
        "series",
        Type::List(
            &Type::Struct(&[&[
                must(
                    "name",
                    Type::Plain,
                    "The model group, the key's id, the team's id, the upstream's vendor or the day.",
                ),
                null("alias", Type::Plain, "A key's alias."),
                must("totals", METRICS, "The sums of its points."),
                must(
                    "points",
                    Type::List(
                        &Type::Struct(&[
                            &[must("time", Type::Plain, "The day, or the beginning of the hour.")],
                            &METRIC,
                        ]),
                        10_000,
                    ),
                    "The oldest first; there is none where nothing was used.",
                ),
            ]]),
            1_000_000,
        ),
        "What spent most first; days in their order.",
    ),
]]);

static LOGS: [Field; 11] = [
    may("key", Type::Form(&KEY), "Of this key only."),
    may("team_id", Type::Form(&ID), "Of this team only."),
    may("model", Type::Text(200), "Of this model group only."),
    may("end_user", Type::Text(500), "For this end user only."),
    may("request_id", Type::Text(500), "With this id only."),
    may("failed", Type::Flag, "Those that failed only, or those that did not."),
    may(
        "from",
        Type::Form(&WHEN),
        "The first moment, of a day its beginning in UTC; 30 days before `to` where it is not said.",
    ),
    may("to", Type::Form(&WHEN), "The first moment that is too late, or the last day; none where it is not said."),
    may("before", Type::Form(&CURSOR), "The `next` of the page before."),
    may("limit", Type::Count(1, 1000), "How many; 100 where it is not said."),
    may("bodies", Type::Flag, "Whether to tell bodies as well, where they are kept."),
];
static LOGGED: Type = Type::Struct(&[&[
    must(
        "logs",
        Type::List(
            &Type::Struct(&[&[
                must("id", Type::Plain, "Sorts by time."),
                must("time", Type::Form(&MOMENT), "When it came."),
                must("request_id", Type::Plain, "The request's id, as the client knows it."),
                null("key", Type::Plain, "The key's id; null with the master key."),
                null("key_alias", Type::Plain, "The key's alias at that time."),
                null("team_id", Type::Plain, "The team."),
                null("end_user", Type::Plain, "Whom the request said it was for."),
                must("endpoint", Type::Plain, "The endpoint."),
                must("model", Type::Plain, "The model group that answered, or was tried last."),
                must("requested_model", Type::Plain, "What the request called it."),
                null("deployment", Type::Plain, "The deployment that answered, or was tried last."),
                null("upstream", Type::Plain, "Its vendor."),
                null("upstream_model", Type::Plain, "The model's name there."),
                must(
                    "tokens",
                    Type::Struct(&[&[
                        must("input", Type::Number, "Input that the cache had nothing to do with."),
                        must("output", Type::Number, "Output, reasoning included."),
                        must("cache_read", Type::Number, "Input read from the cache."),
                        must("cache_write", Type::Number, "Input written to the cache."),
                        must("reasoning", Type::Number, "The part of the output that was reasoning."),
                        must("audio_input", Type::Number, "The part of the input that was audio."),
                        must("audio_output", Type::Number, "The part of the output that was audio."),
                    ]]),
                    "Its tokens.",
                ),
                must("estimated", Type::Flag, "Whether the tokens are an estimate."),
                null("cost", Type::Dollars, "What it cost; null where that is not known."),
                null("first_byte_ms", Type::Number, "The time to the first byte."),
                must("total_ms", Type::Number, "The whole time."),
                must("status", Type::Number, "The status of the answer."),
                must("stream", Type::Flag, "Whether it was a stream."),
                must("attempts", Type::Number, "Calls of upstreams that it took."),
                null("error", Type::Plain, "The class of its error."),
                must("tags", Type::List(&Type::Plain, 1_000_000), "Its tags."),
                may("request_body", Type::Plain, "The request's body, where bodies are kept and asked for."),
                may("response_body", Type::Plain, "The answer's body."),
            ]]),
            1000,
        ),
        "The newest first.",
    ),
    null(
        "next",
        Type::Form(&CURSOR),
        "For `before`, to go on; null where there are no more. A page may be short all the same.",
    ),
]]);

const fn get(path: &'static str, summary: &'static str, query: Takes, reply: &'static Type, act: Act) -> Spec {
    Spec { method: Method::GET, path, access: Access::Admin, tag: "usage", summary, query, body: NOTHING, reply, act }
}

pub(super) static ROUTES: &[Spec] = &[
    get(
        "/spend/logs",
        "What was spent: sums by day between two days, or else the last 1000 requests, in litellm's words. Where there are more \
         requests the answer has the header `x-feathergate-truncated`.",
        Takes { fields: &[&SPEND_LOGS], refused: &[] },
        &SPEND_ROWS,
        |admin, context| Box::pin(admin.spend_logs(context)),
    ),
    get(
        "/global/spend/report",
        "What was spent, by day and team or end user, or by key.",
        Takes { fields: &[&REPORT], refused: &[] },
        &REPORTED,
        |admin, context| Box::pin(admin.spend_report(context)),
    ),
    get(
        "/user/daily/activity",
        "What was used day by day, in litellm's words.",
        Takes {
            fields: &[&ACTIVITY],
            refused: &[&[("include_current_utc_day", "is not known here: days are those of UTC")]],
        },
        &ACTIVE,
        |admin, context| Box::pin(admin.activity(context)),
    ),
    get(
        "/admin/metrics",
        "What was used, as series over time.",
        Takes { fields: &[&SERIES], refused: &[] },
        &MEASURED,
        |admin, context| Box::pin(admin.metrics(context)),
    ),
    get(
        "/admin/logs",
        "Requests, the newest first.",
        Takes { fields: &[&LOGS], refused: &[] },
        &LOGGED,
        |admin, context| Box::pin(admin.logs(context)),
    ),
];
