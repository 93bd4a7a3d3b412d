//! Routes about teams.

use http::Method;

use super::keys::{self, ALLOWANCE, NO_ENTITY, NO_LIMIT, WARNED};
use super::{Access, Act, NOTHING, Spec};
use crate::admin::read::Takes;
use crate::admin::shape::{Field, ID, MOMENT, MOST, PERIOD, Type, may, must, null};

/// What is settable of a team beside its allowance.
static TEAMS: [Field; 4] = [
    may("team_alias", Type::Text(100), "A name of yours, which no other team may have."),
    may(
        "models",
        keys::MODELS,
        "Model groups that its keys may use, if they may themselves; all where the list is empty.",
    ),
    may("metadata", Type::Object, "Anything."),
    may("blocked", Type::Flag, "Whether all its keys are switched off."),
];

/// What litellm has and we do not.
static REFUSED: [(&str, &str); 46] = [
    ("access_group_ids", NO_ENTITY),
    ("admins", NO_ENTITY),
    ("allowed_passthrough_routes", NO_LIMIT),
    ("allowed_vector_store_indexes", NO_LIMIT),
    ("budget_limits", "is not known here: a team has one `max_budget` with one `budget_duration`"),
    ("default_estimated_output_tokens", NO_LIMIT),
    ("default_estimated_output_tokens_per_model", NO_LIMIT),
    ("default_team_member_models", NO_ENTITY),
    ("denied_passthrough_routes", NO_LIMIT),
    ("disable_global_guardrails", NO_LIMIT),
    ("enforced_batch_output_expires_after", NO_LIMIT),
    ("enforced_file_expires_after", NO_LIMIT),
    ("guardrails", NO_LIMIT),
    ("mcp_rpm_limit", NO_LIMIT),
    ("members", NO_ENTITY),
    ("members_with_roles", NO_ENTITY),
    ("model_aliases", "is not known here: `/admin/redirects` gives models other names, for all keys"),
    ("model_max_budget", "is not known here: a budget holds for all models of a team"),
    ("model_rpm_limit", "is not known here: a limit holds for all models of a team"),
    ("model_tpm_limit", "is not known here: a limit holds for all models of a team"),
    ("object_permission", NO_LIMIT),
    ("organization_id", NO_ENTITY),
    ("policies", NO_LIMIT),
    ("prompts", NO_LIMIT),
    ("require_trace_id", NO_LIMIT),
    ("router_settings", "is not known here: routing is set in the configuration, for all teams"),
    ("rpm_limit_type", NO_LIMIT),
    ("secret_manager_settings", NO_LIMIT),
    ("spend", "is what was counted and cannot be set"),
    ("tags", "is not known here: tags belong to keys"),
    ("team_member_budget", NO_MEMBER),
    ("team_member_budget_duration", NO_MEMBER),
    ("team_member_key_duration", NO_MEMBER),
    ("team_member_model_max_budget", NO_MEMBER),
    ("team_member_permissions", NO_MEMBER),
    ("team_member_rpm_limit", NO_MEMBER),
    ("team_member_tpm_limit", NO_MEMBER),
    ("tpd_limit", "is not known here: use `token_quota` with `budget_duration: 1d`"),
    ("tpm_limit_type", NO_LIMIT),
    ("user_id", NO_ENTITY),
    ("budget_id", NO_LIMIT),
    ("max_tokens", "is not known here: use `token_quota`"),
    ("duration", "is not known here: a team has no end; its keys may"),
    ("expires", "is not known here: a team has no end; its keys may"),
    ("allowed_routes", "is not known here: set it for each key"),
    ("allowed_ips", "is not known here: set it for each key"),
];
const NO_MEMBER: &str = "is not known here: a team has keys, and each key has limits of its own";

static MAYBE: [Field; 1] = [may("team_id", Type::Form(&ID), "Its id; one is made where it is not said.")];
static ONE: [Field; 1] = [must("team_id", Type::Form(&ID), "The team's id.")];

/// A team as it is told of.
const VIEW: Type = Type::Named("Team", &Type::Struct(&[&VIEWED]));
static VIEWED: [Field; 19] = [
    must("team_id", Type::Text(100), "Its id."),
    null("team_alias", Type::Text(100), "The administrator's name for it."),
    must("spend", Type::Dollars, "What its keys have spent in the present period, or ever where there is none."),
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
    must("models", keys::MODELS, "See the request."),
    must("metadata", Type::Object, "See the request."),
    must("blocked", Type::Flag, "See the request."),
    must("created_at", Type::Form(&MOMENT), "When it was made."),
    must("created_by", Type::Text(200), "By whom."),
    must("updated_at", Type::Form(&MOMENT), "When it was last changed."),
];
static WITH_KEYS: Type = Type::Struct(&[&[
    must("team_id", Type::Text(100), "Its id."),
    must("team_info", VIEW, "The team."),
    must("keys", Type::List(&keys::VIEW, 100_000), "Its keys."),
    must("team_memberships", Type::List(&Type::Any, 0), "Empty: litellm's clients ask for it."),
]]);
static MADE: Type = Type::Struct(&[&VIEWED, &WARNED]);
static UPDATED: Type =
    Type::Struct(&[&[must("team_id", Type::Text(100), "Its id."), must("data", VIEW, "The team.")], &WARNED]);
static DELETED: Type = Type::Struct(&[&[
    must("deleted_teams", Type::List(&Type::Text(100), 20), "The teams that are gone."),
    must(
        "deleted_keys",
        Type::List(
            &Type::Struct(&[&[
                must("token", Type::Text(64), "The hash of its secret."),
                must("id", Type::Text(50), "Its id, as in records."),
                null("key_alias", Type::Text(100), "Its alias."),
                must("team_id", Type::Text(100), "Its team."),
            ]]),
            100_000,
        ),
        "The keys that went with them.",
    ),
]]);
static LISTED: Type = Type::List(&VIEW, 100_000);

const fn post(path: &'static str, summary: &'static str, body: Takes, reply: &'static Type, act: Act) -> Spec {
    Spec { method: Method::POST, path, access: Access::Admin, tag: "teams", summary, query: NOTHING, body, reply, act }
}

const fn get(path: &'static str, summary: &'static str, query: Takes, reply: &'static Type, act: Act) -> Spec {
    Spec { method: Method::GET, path, access: Access::Admin, tag: "teams", summary, query, body: NOTHING, reply, act }
}

pub(super) static ROUTES: &[Spec] = &[
    post(
        "/team/new",
        "Makes a team.",
        Takes { fields: &[&MAYBE, &TEAMS, &ALLOWANCE], refused: &[&REFUSED] },
        &MADE,
        |admin, context| Box::pin(admin.team_new(context)),
    ),
    post(
        "/team/update",
        "Changes what is named of a team; null clears.",
        Takes { fields: &[&ONE, &TEAMS, &ALLOWANCE], refused: &[&REFUSED] },
        &UPDATED,
        |admin, context| Box::pin(admin.team_update(context)),
    ),
    post(
        "/team/delete",
        "Deletes teams with all their keys. What they spent stays on record.",
        Takes {
            fields: &[&[must("team_ids", Type::List(&Type::Form(&ID), 20), "The ids of the teams.")]],
            refused: &[],
        },
        &DELETED,
        |admin, context| Box::pin(admin.team_delete(context)),
    ),
    get(
        "/team/info",
        "Tells of a team and its keys.",
        Takes { fields: &[&ONE], refused: &[] },
        &WITH_KEYS,
        |admin, context| Box::pin(admin.team_info(context)),
    ),
    get(
        "/team/list",
        "Lists all teams.",
        Takes { fields: &[], refused: &[&[("user_id", NO_ENTITY), ("organization_id", NO_ENTITY)]] },
        &LISTED,
        |admin, context| Box::pin(admin.team_list(context)),
    ),
];
