//! The models that are configured, in litellm's words.

use serde::Serialize;

use super::context::{Answer, Context};
use super::problem::Problem;
use super::{Actor, Admin, DeploymentInfo, GroupInfo};
use crate::meter::Money;
use crate::store::Kind;
use crate::store::key::{Team, allows};

#[derive(Serialize)]
struct Data<T> {
    data: Vec<T>,
}

#[derive(Serialize)]
struct ModelView<'a> {
    model_name: &'a str,
    litellm_params: Params,
    model_info: Info<'a>,
}

#[derive(Serialize)]
struct Params {
    model: String,
    rpm: Option<u64>,
    tpm: Option<u64>,
}

#[derive(Serialize)]
struct Info<'a> {
    id: &'a str,
    mode: &'a str,
    litellm_provider: Option<&'a str>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    supports: &'a [&'static str],
    #[serde(flatten)]
    cost: Cost,
}

#[derive(Default, Serialize)]
struct Cost {
    input_cost_per_token: Option<Money>,
    output_cost_per_token: Option<Money>,
}

#[derive(Serialize)]
struct GroupView<'a> {
    model_group: &'a str,
    providers: Vec<&'a str>,
    mode: &'a str,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    tpm: Option<u64>,
    rpm: Option<u64>,
    supports_vision: bool,
    supports_function_calling: bool,
    supports_parallel_function_calling: bool,
    supports_reasoning: bool,
    supports_web_search: bool,
    #[serde(flatten)]
    cost: Cost,
}

impl Cost {
    fn of(deployment: &DeploymentInfo) -> Self {
        let rates = &deployment.price.base;
        Self { input_cost_per_token: rates.input.map(Money), output_cost_per_token: rates.output.map(Money) }
    }

    /// The dearest of a group's, as litellm has it; nothing where one of them is not known.
    fn most(deployments: &[DeploymentInfo]) -> Self {
        let most = |rate: fn(&DeploymentInfo) -> Option<u64>| {
            let rates: Option<Vec<u64>> = deployments.iter().map(rate).collect();
            rates?.into_iter().max().map(Money)
        };
        Self {
            input_cost_per_token: most(|deployment| deployment.price.base.input),
            output_cost_per_token: most(|deployment| deployment.price.base.output),
        }
    }
}

impl Admin {
    /// The groups that the caller may use, and whether he may know what is behind them.
    async fn groups(&self, context: &Context<'_>) -> Result<(Vec<GroupInfo>, bool), Problem> {
        let mut groups = context.catalog.groups();
        let Actor::Key { record } = context.actor else { return Ok((groups, true)) };
        groups.retain(|group| allows(&record.models, &[&group.name]));
        if let Some(team) = &record.team
            && let Some(team) = self.stored::<Team>(Kind::Team, team, context.now).await?
        {
            groups.retain(|group| allows(&team.value.models, &[&group.name]));
        }
        Ok((groups, false))
    }

    pub(super) async fn model_info(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let (groups, open) = self.groups(context).await?;
        let wanted = context.query.text("litellm_model_id");
        let mut data = Vec::new();
        for group in &groups {
            if open {
                data.extend(group.deployments.iter().map(|deployment| row(group, Some(deployment))));
            } else {
                data.push(row(group, None));
            }
        }
        if let Some(wanted) = wanted {
            data.retain(|row| row.model_info.id == wanted);
            if data.is_empty() {
                return Err(Problem::unknown("litellm_model_id", "`litellm_model_id`: there is no such model"));
            }
        }
        Answer::of(&Data { data })
    }

    pub(super) async fn group_info(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let (mut groups, open) = self.groups(context).await?;
        if let Some(wanted) = context.query.text("model_group") {
            groups.retain(|group| group.name == wanted);
            if groups.is_empty() {
                return Err(Problem::unknown("model_group", "`model_group`: there is no such model group"));
            }
        }
        let data = groups.iter().map(|group| {
            let sum = |limit: fn(&DeploymentInfo) -> Option<u64>| {
                let limits: Vec<u64> = group.deployments.iter().filter_map(limit).collect();
                (!limits.is_empty()).then(|| limits.into_iter().fold(0, u64::saturating_add))
            };
            let mut providers: Vec<&str> = Vec::new();
            for deployment in group.deployments.iter().filter(|_| open) {
                if !providers.contains(&deployment.upstream.as_str()) {
                    providers.push(&deployment.upstream);
                }
            }
            let can = |what: &str| group.supports.contains(&what);
            GroupView {
                model_group: &group.name,
                providers,
                mode: &group.mode,
                max_input_tokens: group.max_input_tokens,
                max_output_tokens: group.max_output_tokens,
                tpm: sum(|deployment| deployment.tpm),
                rpm: sum(|deployment| deployment.rpm),
                supports_vision: can("supports_vision"),
                supports_function_calling: can("supports_function_calling"),
                supports_parallel_function_calling: can("supports_parallel_function_calling"),
                supports_reasoning: can("supports_reasoning"),
                supports_web_search: can("supports_web_search"),
                cost: Cost::most(&group.deployments),
            }
        });
        Answer::of(&Data { data: data.collect() })
    }
}

/// A row about a deployment, or about a group as a client knows it.
fn row<'a>(group: &'a GroupInfo, deployment: Option<&'a DeploymentInfo>) -> ModelView<'a> {
    let model = deployment
        .map_or_else(|| group.name.clone(), |deployment| format!("{}/{}", deployment.upstream, deployment.model));
    let cost = deployment.map_or_else(|| Cost::most(&group.deployments), Cost::of);
    ModelView {
        model_name: &group.name,
        litellm_params: Params {
            model,
            rpm: deployment.and_then(|deployment| deployment.rpm),
            tpm: deployment.and_then(|deployment| deployment.tpm),
        },
        model_info: Info {
            id: deployment.map_or(&group.name, |deployment| &deployment.id),
            mode: &group.mode,
            litellm_provider: deployment.map(|deployment| deployment.upstream.as_str()),
            max_input_tokens: group.max_input_tokens,
            max_output_tokens: group.max_output_tokens,
            supports: &group.supports,
            cost,
        },
    }
}
