//! What a request says of a key or a team, put into it.

use super::context::Context;
use super::problem::{Problem, shown};
use super::read::Input;
use super::shape;
use crate::meter::period::Period;
use crate::route::nearest;
use crate::store::key::{ALL_MODELS, Allowance, Key};

/// The last moment that is taken: the year 9999 is the last that all readers of dates know.
const LATEST: u64 = 253_402_300_799_999;

/// Puts what a request says into a key.
pub(super) fn apply(input: &Input, key: &mut Key, context: &Context<'_>) -> Result<(), Problem> {
    input.set("key_alias", &mut key.alias);
    input.set("user_id", &mut key.user);
    input.set("team_id", &mut key.team);
    input.set("metadata", &mut key.metadata);
    input.set("blocked", &mut key.blocked);
    input.set("tags", &mut key.tags);
    input.set("allowed_routes", &mut key.endpoints);
    input.set("allowed_ips", &mut key.ips);
    input.set("system_prompt", &mut key.system_prompt);
    input.set("iam_arn", &mut key.arn);
    if input.came("models") {
        key.models = models(input, context)?;
    }
    expiry(input, key, context.now)?;
    allowance(input, (&mut key.allowance, &mut key.anchor), context.now)
}

fn expiry(input: &Input, key: &mut Key, now: u64) -> Result<(), Problem> {
    let (lasts, ends) = (input.text("duration"), input.text("expires"));
    if lasts.is_some() && ends.is_some() {
        return Err(Problem::field("duration", "must not stand beside `expires`: say one of them"));
    }
    if input.came("duration") || input.came("expires") {
        key.expires = None;
    }
    if let Some(lasts) = lasts {
        let end = Period::parse(lasts).and_then(|period| after(period, now));
        let end = end.ok_or_else(|| Problem::field("duration", format!("must be {}", shape::PERIOD.wants)))?;
        key.expires = Some(end);
    }
    if let Some(ends) = ends {
        // The last moment of a day, so that the day itself is told as it was said.
        let end = if shape::day(ends).is_some() { shape::end(ends).map(|end| end - 1) } else { shape::moment(ends) };
        let end = end.filter(|end| (now + 1..=LATEST).contains(end));
        key.expires = Some(end.ok_or_else(|| Problem::field("expires", "must be a moment that is still to come"))?);
    }
    Ok(())
}

/// The moment after a period from now on. Months are those of the calendar; who has no 31st ends on the last day.
fn after(period: Period, now: u64) -> Option<u64> {
    const DAY: u64 = 86_400_000;
    let end = match period {
        Period::Forever => return None,
        Period::Seconds(seconds) => now.checked_add(seconds.checked_mul(1000)?)?,
        Period::Months(months) => {
            let (year, month, day) = crate::calendar::date(i64::try_from(now / DAY).ok()?);
            let month = year * 12 + month - 1 + i64::from(months);
            let first = |month: i64| crate::calendar::days(month.div_euclid(12), month.rem_euclid(12) + 1, 1);
            let days = (first(month) + day - 1).min(first(month + 1) - 1);
            u64::try_from(days).ok()?.checked_mul(DAY)?.checked_add(now % DAY)?
        }
    };
    Some(end).filter(|end| *end <= LATEST)
}

/// Puts what a request says into an allowance. Another period begins now.
pub(super) fn allowance(
    input: &Input,
    (allowance, anchor): (&mut Allowance, &mut u64),
    now: u64,
) -> Result<(), Problem> {
    let before = allowance.budget_duration.clone();
    input.set("max_budget", &mut allowance.max_budget);
    input.set("soft_budget", &mut allowance.soft_budget);
    input.set("budget_duration", &mut allowance.budget_duration);
    input.set("token_quota", &mut allowance.max_tokens);
    input.set("tpm_limit", &mut allowance.tpm_limit);
    input.set("rpm_limit", &mut allowance.rpm_limit);
    input.set("max_parallel_requests", &mut allowance.max_parallel_requests);
    if input.came("shards") {
        allowance.shards = input.get::<Option<u64>>("shards").and_then(|shards| u32::try_from(shards).ok());
    }
    if let (Some(soft), Some(most)) = (allowance.soft_budget, allowance.max_budget)
        && soft > most
    {
        return Err(Problem::field("soft_budget", format!("must not be above `max_budget`, which is {most}")));
    }
    // `24h` is `1d`.
    let period = |text: &Option<String>| text.as_deref().and_then(Period::parse);
    if period(&allowance.budget_duration) != period(&before) {
        *anchor = now;
    }
    Ok(())
}

/// What of a request is without effect as things are, though it may not be for ever: patterns that take no model, endpoints that
/// are not here.
pub(super) fn warnings(input: &Input, context: &Context<'_>) -> Vec<String> {
    let all = |name: &'static str| input.get::<Vec<String>>(name).into_iter().enumerate();
    let models = all("models").filter(|(_, model)| model.contains('*') && !context.catalog.takes(model));
    let models = models.map(|(place, model)| {
        format!("`models[{place}]`: `{}` takes no model that is configured here now", shown(&model))
    });
    let endpoints = all("allowed_routes").filter(|(_, endpoint)| !context.catalog.serves(endpoint));
    let endpoints = endpoints.map(|(place, endpoint)| {
        format!(
            "`allowed_routes[{place}]`: `{}` is no endpoint for models here, as `/v1/messages` is",
            shown(&endpoint)
        )
    });
    models.chain(endpoints).collect()
}

/// The models that a request names, each of which has to be one.
pub(super) fn models(input: &Input, context: &Context<'_>) -> Result<Vec<String>, Problem> {
    let mut models: Vec<String> = input.get("models");
    for (place, model) in models.iter().enumerate() {
        let at = format!("models[{place}]");
        if model == "no-default-models" {
            return Err(Problem::field(&at, "is no model: set `blocked` to allow none"));
        }
        if ALL_MODELS.contains(&model.as_str()) || model.contains('*') || context.catalog.knows(model) {
            continue;
        }
        let groups = context.catalog.groups();
        let near = nearest(model, groups.iter().map(|group| group.name.as_str()));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(Problem::field(
            &at,
            format!("must be a model that is configured here, and `{}` is not{hint}", shown(model)),
        ));
    }
    if models.iter().any(|model| ALL_MODELS.contains(&model.as_str())) {
        models.clear();
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lasts_as_long_as_it_is_said() {
        // 2026-01-31T12:00:00Z.
        let now = 1_769_860_800_000;
        for (text, want) in [
            ("30s", "2026-01-31T12:00:30.000Z"),
            ("30d", "2026-03-02T12:00:00.000Z"),
            ("1mo", "2026-02-28T12:00:00.000Z"),
            ("25mo", "2028-02-29T12:00:00.000Z"),
        ] {
            let end = after(Period::parse(text).unwrap(), now).unwrap();
            assert_eq!(crate::observe::clock::rfc3339(end), want, "{text}");
        }
    }
}
