//! Routes about what is set beside the configuration, about models, and the document of all this.

use http::Method;

use super::keys::WARNED;
use super::{Access, Act, NOTHING, Spec};
use crate::admin::openapi;
use crate::admin::read::Takes;
use crate::admin::shape::{Field, MOST, Type, may, must, null};

const PRICE: Type = Type::Map(&Type::Dollars, 50);
static PRICES: [Field; 1] = [must(
    "prices",
    Type::Map(&PRICE, 2000),
    "By `vendor/model` or `model`, each with `*` for any text, the first that fits holds: what a token costs, under litellm's \
     names such as `input_cost_per_token`, 0.01 at most.",
)];
static REDIRECTS: [Field; 1] = [must(
    "redirects",
    Type::Map(&Type::Text(200), 1000),
    "From a name to that of the model that it stands for. They win over models of the same name.",
)];
static VERSION: [Field; 1] = [may(
    "version",
    Type::Count(0, MOST),
    "The version that this is to replace, so that nobody else's change is lost; any, where it is not said.",
)];
static VERSIONED: [Field; 1] = [must("version", Type::Count(0, MOST), "Counts the changes; 0 where nothing was set.")];
static PRICED: Type = Type::Struct(&[&PRICES, &VERSIONED, &WARNED]);
static REDIRECTED: Type = Type::Struct(&[&REDIRECTS, &VERSIONED]);

static COST: [Field; 2] = [
    null("input_cost_per_token", Type::Dollars, "Dollars for an input token; null where it is not known."),
    null("output_cost_per_token", Type::Dollars, "Dollars for an output token; null where it is not known."),
];
static MODELS: Type = Type::Struct(&[&[must(
    "data",
    Type::List(
        &Type::Struct(&[&[
            must("model_name", Type::Plain, "The model group."),
            must(
                "litellm_params",
                Type::Struct(&[&[
                    must("model", Type::Plain, "The model; for holders of keys the model group."),
                    null("rpm", Type::Number, "Requests a minute that the deployment may take."),
                    null("tpm", Type::Number, "Tokens a minute that the deployment may take."),
                ]]),
                "How it is called.",
            ),
            must(
                "model_info",
                Type::Struct(&[
                    &[
                        must("id", Type::Plain, "The deployment's id; for holders of keys the model group."),
                        must("mode", Type::Plain, "What it is for: `chat`."),
                        null("litellm_provider", Type::Plain, "The upstream's vendor; not for holders of keys."),
                        null("max_input_tokens", Type::Number, "The most input tokens."),
                        null("max_output_tokens", Type::Number, "The most output tokens."),
                        must("supports", Type::List(&Type::Plain, 50), "What it can do: `supports_vision`."),
                    ],
                    &COST,
                ]),
                "What is known of it.",
            ),
        ]]),
        100_000,
    ),
    "A row for each deployment; for holders of keys one for each model group that they may use.",
)]]);
static GROUPS: Type = Type::Struct(&[&[must(
    "data",
    Type::List(
        &Type::Struct(&[
            &[
                must("model_group", Type::Plain, "Its name."),
                must("providers", Type::List(&Type::Plain, 1000), "The upstreams' vendors; none for holders of keys."),
                must("mode", Type::Plain, "What it is for: `chat`."),
                null("max_input_tokens", Type::Number, "The most input tokens."),
                null("max_output_tokens", Type::Number, "The most output tokens."),
                null("tpm", Type::Number, "Tokens a minute that its deployments may take together."),
                null("rpm", Type::Number, "Requests a minute that its deployments may take together."),
                must("supports_vision", Type::Flag, "Whether it takes pictures."),
                must("supports_function_calling", Type::Flag, "Whether it calls tools."),
                must("supports_parallel_function_calling", Type::Flag, "Whether it calls several at a time."),
                must("supports_reasoning", Type::Flag, "Whether it reasons."),
                must("supports_web_search", Type::Flag, "Whether it searches."),
            ],
            &COST,
        ]),
        100_000,
    ),
    "The model groups; for holders of keys those that they may use.",
)]]);

const fn get(
    (path, access, tag): (&'static str, Access, &'static str),
    summary: &'static str,
    query: Takes,
    reply: &'static Type,
    act: Act,
) -> Spec {
    Spec { method: Method::GET, path, access, tag, summary, query, body: NOTHING, reply, act }
}

const fn put(path: &'static str, summary: &'static str, body: Takes, reply: &'static Type, act: Act) -> Spec {
    let access = Access::Admin;
    Spec { method: Method::PUT, path, access, tag: TAG, summary, query: NOTHING, body, reply, act }
}

const TAG: &str = "settings";

/// litellm's filter of `/model/info` and `/model_group/info`.
static ONE_MODEL: [Field; 1] = [may("litellm_model_id", Type::Text(500), "The deployment of this id only.")];
static ONE_GROUP: [Field; 1] = [may("model_group", Type::Text(500), "The group of this name only.")];

pub(super) static ROUTES: &[Spec] = &[
    get(("/admin/prices", Access::Admin, TAG), "The prices that were set here.", NOTHING, &PRICED, |admin, context| {
        Box::pin(admin.prices(context))
    }),
    put(
        "/admin/prices",
        "Sets prices of tokens, in place of all that were set here. They win over the table; what an entry of the configuration \
         says wins over them. Names that no deployment has are set as well and told in `warnings`.",
        Takes { fields: &[&PRICES, &VERSION], refused: &[] },
        &PRICED,
        |admin, context| Box::pin(admin.set_prices(context)),
    ),
    get(
        ("/admin/redirects", Access::Admin, TAG),
        "The redirects that were set here.",
        NOTHING,
        &REDIRECTED,
        |admin, context| Box::pin(admin.redirects(context)),
    ),
    put(
        "/admin/redirects",
        "Sets redirects, in place of all that were set here.",
        Takes { fields: &[&REDIRECTS, &VERSION], refused: &[] },
        &REDIRECTED,
        |admin, context| Box::pin(admin.set_redirects(context)),
    ),
    get(
        ("/model/info", Access::Caller, "models"),
        "The models that are configured.",
        Takes { fields: &[&ONE_MODEL], refused: &[] },
        &MODELS,
        |admin, context| Box::pin(admin.model_info(context)),
    ),
    get(
        ("/v1/model/info", Access::Caller, "models"),
        "The models that are configured.",
        Takes { fields: &[&ONE_MODEL], refused: &[] },
        &MODELS,
        |admin, context| Box::pin(admin.model_info(context)),
    ),
    get(
        ("/model_group/info", Access::Caller, "models"),
        "The model groups.",
        Takes { fields: &[&ONE_GROUP], refused: &[] },
        &GROUPS,
        |admin, context| Box::pin(admin.group_info(context)),
    ),
    get(("/openapi.json", Access::Public, "models"), "This document.", NOTHING, &Type::Object, |_, _| {
        Box::pin(async { Ok(openapi::answer()) })
    }),
];
