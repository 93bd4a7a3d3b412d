//! Which deployments of a group can take a request, and why the others cannot.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;

use super::pipeline::{Looked, Refused};
use super::refusal::Refusal;
use super::wishes::Own;
use crate::config::settings::{Deployment, Group, Routing};
use crate::route::Match;
use crate::wire::direct::Path;
use crate::wire::needs::{Needs, Size};
use crate::wire::{FailureKind, Operation, Wire};

/// What a name came to: the deployments among which one is chosen.
pub(super) struct Members<'g> {
    /// Its deployments, with what a wildcard's `*`s stand for. Their places are those in the group.
    pub(super) all: Cow<'g, [Arc<Deployment>]>,
    /// The one that was asked for by its id.
    pub(super) only: Option<usize>,
}

impl<'g> Members<'g> {
    /// Those of `group`, to which a name resolved as `found`.
    pub(super) fn of(group: &'g Group, found: &Match) -> Self {
        let all = if found.captured.is_empty() {
            Cow::Borrowed(group.deployments.as_slice())
        } else {
            Cow::Owned(group.deployments.iter().map(|deployment| deployment.concrete(&found.captured)).collect())
        };
        Self { all, only: found.deployment }
    }
}

/// Deployments that can take a request, as places in their group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Able {
    /// Those that suit best, then those that are for when nothing else is left.
    pub(super) places: Vec<usize>,
    /// How many of them suit best: at least one.
    pub(super) best: usize,
}

impl Able {
    /// For each of so many deployments, whether it is one of those that suit best.
    pub(super) fn best(&self, count: usize) -> Vec<bool> {
        let mut may = vec![false; count];
        for place in self.places.iter().take(self.best) {
            may.get_mut(*place).into_iter().for_each(|may| *may = true);
        }
        may
    }

    /// The others.
    pub(super) fn rest(&self) -> impl Iterator<Item = usize> {
        self.places.iter().skip(self.best).copied()
    }
}

/// Which of `members` can take the request. `last`: there is no fallback, so that what a profile says cannot be is tried where
/// it could pass through all the same: vendors know better than profiles.
///
/// # Errors
/// Why none can. Where another group may take it the refusal says as what kind of failure that is to count.
pub(super) fn able(
    routing: &Routing,
    own: &Own,
    looked: &Looked<'_>,
    members: &Members<'_>,
    last: bool,
) -> Result<Able, Refused> {
    Demands::of(looked, own, routing)?.able(members, last)
}

/// What a request demands of the deployment that takes it.
struct Demands<'r> {
    looked: &'r Looked<'r>,
    own: &'r Own,
    routing: &'r Routing,
    needs: Needs,
    /// Counted when it matters first, and as exactly as it matters.
    size: Option<Size>,
}

impl<'r> Demands<'r> {
    /// Looks at what is asked.
    ///
    /// # Errors
    /// A refusal, whatever the group, where the request is longer than the operator allows.
    fn of(looked: &'r Looked<'r>, own: &'r Own, routing: &'r Routing) -> Result<Self, Refused> {
        let needs = match looked {
            Looked::Chat(envelope, _) => Needs::of(envelope),
            Looked::Direct(asked, _) => asked.needs(),
        };
        let mut demands = Self { looked, own, routing, needs, size: None };
        if let Some(most) = routing.max_request_tokens
            && let Some(size) = demands.size(most, false)
            && !size.within(most)
        {
            return Err(Box::new(demands.too_long(size, most, "this gateway takes no more")));
        }
        if matches!(looked, Looked::Direct(_, Path::Completions)) {
            // That was all of its prompts, of which each has a context of its own.
            demands.size = None;
        }
        Ok(demands)
    }

    /// The field that holds what is asked.
    fn field(&self) -> &'static str {
        match self.looked {
            Looked::Chat(..) => "messages",
            Looked::Direct(_, Path::Completions) => "prompt",
            Looked::Direct(..) => "input",
        }
    }

    /// In words by which clients know a full context, and compact the conversation.
    fn too_long(&self, size: Size, limit: u64, whose: &str) -> Refusal {
        let message = format!("prompt is too long: {} tokens > {limit} maximum (estimated; {whose})", size.tokens());
        Refusal::new(StatusCode::BAD_REQUEST, FailureKind::TooLong.label(), message)
            .param(self.field())
            .code("context_length_exceeded")
    }

    /// See [`able`].
    fn able(&mut self, members: &Members<'_>, last: bool) -> Result<Able, Refused> {
        let mut places = Vec::with_capacity(members.all.len());
        let asked = |place: usize| members.only.is_none_or(|only| only == place);
        let fit = (0..).zip(&*members.all).filter(|(place, deployment)| asked(*place) && self.fits(deployment));
        places.extend(fit.map(|(place, _)| place));
        if places.is_empty() {
            return Err(self.unable(members));
        }
        if let Some(region) = &self.own.region {
            within(region, self.looked.model(), members, &mut places)?;
        }
        // Who names a deployment has chosen.
        if self.routing.tag_filtering && members.only.is_none() {
            tagged((&self.own.tags, self.looked.model()), members, &mut places, !self.routing.tag_match_all)?;
        }
        if self.needs.any() {
            self.takers(members, &mut places, last)?;
        }
        let best = self.sized(members, &mut places)?;
        Ok(Able { places, best })
    }

    fn fits(&self, deployment: &Deployment) -> bool {
        match self.looked {
            Looked::Chat(..) => true,
            Looked::Direct(asked, _) => deployment.mock.is_none() && asked.fits(deployment.wire),
        }
    }

    fn unable(&self, members: &Members<'_>) -> Refused {
        let group = self.looked.model();
        let Looked::Direct(_, path) = self.looked else {
            return Box::new(Refusal::setup(format!("model `{group}` has no deployment")));
        };
        let mock = members.all.iter().any(|deployment| deployment.mock.is_some());
        let wire = members.all.first().map_or(Wire::OpenAiChat, |deployment| deployment.wire);
        let served = if mock { "made up here" } else { wire.title() };
        let message = format!(
            "model `{group}` ({served}) cannot be called at `/v1{}`; use `/v1/chat/completions` or `/v1/messages`, or a model \
             at an OpenAI-compatible upstream",
            path.path()
        );
        Box::new(Refusal::bad_request(message).param("model").code("unsupported_endpoint"))
    }

    /// Leaves those that can take what the request holds; those that can do all that it asks for come first.
    fn takers(&self, members: &Members<'_>, places: &mut Vec<usize>, last: bool) -> Result<(), Refused> {
        let refused = |place: usize| members.all.get(place).and_then(|it| self.needs.refused_by(&it.profile));
        if places.iter().any(|place| refused(*place).is_none()) {
            places.retain(|place| refused(*place).is_none());
            return Ok(());
        }
        let what = places.first().and_then(|place| refused(*place)).unwrap_or_default();
        places.retain(|place| last && members.all.get(*place).is_some_and(|it| self.passes(it)));
        if !places.is_empty() {
            return Ok(());
        }
        let key = match what {
            "images" => "supports_vision",
            "documents" => "supports_pdf_input",
            "audio" => "supports_audio_input",
            "video" => "supports_video_input",
            _ => "supports_function_calling",
        };
        let field = if what == "tools" { "tools" } else { self.field() };
        let message = format!(
            "`{field}` has {what}, and model `{}` takes none; if it does, the operator of this gateway can say so with \
             `model_info: {{{key}: true}}`",
            self.looked.model()
        );
        let refusal = Refusal::bad_request(message).param(field).code("unsupported_value");
        // A plain 400 does not fall back; that a group has nobody for it does.
        Err(Box::new(refusal.counts_as(FailureKind::NotFound)))
    }

    /// Whether a conversation reaches this deployment as the client wrote it.
    fn passes(&self, deployment: &Deployment) -> bool {
        match self.looked {
            Looked::Chat(envelope, _) => deployment.mock.is_some() || envelope.wire() == deployment.wire,
            Looked::Direct(..) => true,
        }
    }

    /// Leaves those whose context may take the request. First come those that suit best, of which it says how many there are:
    /// that do all that is asked, and whose context takes it by our guess.
    fn sized(&mut self, members: &Members<'_>, places: &mut Vec<usize>) -> Result<usize, Refused> {
        let limit = |place: &usize| members.all.get(*place).and_then(|it| room(it));
        let size = match places.iter().filter_map(limit).min() {
            Some(least) => self.size(least, true).filter(|size| !size.within(least)).map(|size| (size, least)),
            None => None,
        };
        if let Some((size, _)) = size {
            let may = |place: &usize| limit(place).is_none_or(|limit| !size.surely_above(limit));
            if places.iter().any(may) {
                places.retain(may);
            } else {
                // There is none without a limit.
                let most = places.iter().filter_map(limit).max().unwrap_or_default();
                if self.routing.pre_call_checks {
                    let refusal = self.too_long(size, most, &format!("model `{}` takes no more", self.looked.model()));
                    return Err(Box::new(refusal.counts_as(FailureKind::TooLong)));
                }
                places.retain(|place| limit(place) == Some(most));
            }
        }
        if size.is_none() && !self.needs.any() {
            return Ok(places.len());
        }
        let suits = |place: &usize| {
            let fits = size.is_none_or(|(size, _)| limit(place).is_none_or(|limit| size.within(limit)));
            fits && members.all.get(*place).is_some_and(|it| self.needs.met_by(&it.profile))
        };
        // As few as there are, a sort that keeps their order.
        places.sort_by_key(|place| !suits(place));
        let best = places.iter().filter(|place| suits(place)).count();
        Ok(if best == 0 { places.len() } else { best })
    }

    /// The size of the request, exact enough to be compared with limits of `least` and more; `longest`: of several prompts only
    /// the longest. `None` where there is none: where tokens are only counted, for what is no text, and for what cannot be read,
    /// which is told by whoever has to.
    fn size(&mut self, least: u64, longest: bool) -> Option<Size> {
        match self.size {
            Some(size @ Size::About(_)) => return Some(size),
            Some(size @ Size::Below(_)) if size.within(least) => return Some(size),
            Some(Size::Below(_)) | None => {}
        }
        self.size = match self.looked {
            Looked::Chat(_, Operation::CountTokens) => None,
            Looked::Chat(envelope, Operation::Generate) => Size::of(envelope, &self.needs, least).ok(),
            Looked::Direct(asked, _) => asked.size(&self.needs, least, longest),
        };
        self.size
    }
}

/// The most input tokens that a deployment takes, where that is known.
pub(super) fn room(deployment: &Deployment) -> Option<u64> {
    deployment.max_input_tokens.or(deployment.profile.max_input)
}

/// Leaves the deployments in `region`: those whose `region_name` is it, or lies within it (`eu-west-1` in `eu`, `europe-west4` in
/// `europe`). Where one runs whose region nobody named, nobody knows.
fn within(region: &str, asked: &str, members: &Members<'_>, places: &mut Vec<usize>) -> Result<(), Refused> {
    let lies = |own: &str| {
        own.strip_prefix(region).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    };
    places.retain(|place| members.all.get(*place).and_then(|it| it.region.as_deref()).is_some_and(lies));
    if !places.is_empty() {
        return Ok(());
    }
    let region: String = region.chars().filter(|c| !c.is_control()).take(100).collect();
    let message = format!(
        "`allowed_model_region` is `{region}`, and model `{asked}` has no deployment there; the operator of this gateway \
         says where one is with `region_name`"
    );
    let refusal = Refusal::bad_request(message).param("allowed_model_region").code("no_deployment_in_region");
    // A plain 400 does not fall back; that a group has nobody for it does.
    Err(Box::new(refusal.counts_as(FailureKind::NotFound)))
}

/// Leaves the deployments that the request's tags choose (litellm 1.109's `tag_based_routing.py`): `a` is one of those that are
/// wanted, `&a` has to be there, `!a` must not. Where they choose none, and for requests without tags, those tagged `default`;
/// without tags and such deployments all of them.
fn tagged(
    (tags, asked): (&[String], &str),
    members: &Members<'_>,
    places: &mut Vec<usize>,
    any: bool,
) -> Result<(), Refused> {
    let has = |place: &usize, tag: &str| {
        members.all.get(*place).is_some_and(|deployment| deployment.tags.iter().any(|own| own == tag))
    };
    let marked = |mark: char| tags.iter().filter_map(move |tag| tag.strip_prefix(mark));
    let wanted: Vec<&str> = tags.iter().map(String::as_str).filter(|tag| !tag.starts_with(['&', '!'])).collect();
    let known = places.iter().any(|place| wanted.iter().any(|tag| has(place, tag)));
    places.retain(|place| marked('&').all(|tag| has(place, tag)) && !marked('!').any(|tag| has(place, tag)));
    if !wanted.is_empty() {
        let chosen = |place: &usize| {
            if any { wanted.iter().any(|tag| has(place, tag)) } else { wanted.iter().all(|tag| has(place, tag)) }
        };
        if places.iter().any(chosen) {
            places.retain(chosen);
            return Ok(());
        }
        // A tag that stands here, but not for this request, is no reason for the default.
        places.retain(|place| !known && has(place, "default"));
    } else if places.iter().any(|place| has(place, "default")) {
        places.retain(|place| has(place, "default"));
    }
    if !places.is_empty() {
        return Ok(());
    }
    let shown: String = tags.join(", ").chars().filter(|c| !c.is_control()).take(200).collect();
    let message = format!(
        "Not allowed to access model due to tags configuration: no deployment of model `{asked}` has the tags `{shown}`"
    );
    Err(Box::new(Refusal::bad_request(message).param("tags").code("no_deployment_with_tags")))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::config::raw::Document;
    use crate::config::resolve::resolve;
    use crate::wire::direct;
    use crate::wire::peek;

    const PICTURE: &str =
        r#","x":1,"messages":[{"role":"user","content":[{"type":"image_url","image_url":"https://h/a"}]}]"#;

    /// A deployment of `vendor/model`, with its limit and its tags.
    type Row<'a> = (&'a str, Option<u64>, &'a [&'a str]);

    fn group(rows: &[Row<'_>]) -> Group {
        let entries = rows.iter().map(|(model, ..)| {
            format!("- model_name: g\n  litellm_params: {{model: {model}, api_key: sk-upstream}}\n")
        });
        let document = Document::parse("a.yaml", &format!("model_list:\n{}", entries.collect::<String>())).unwrap();
        let mut resolved = resolve(&document, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        let mut group = resolved.settings.groups.remove(0);
        for (deployment, (_, limit, tags)) in group.deployments.iter_mut().zip(rows) {
            let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
            let own = Deployment::clone(deployment);
            *deployment = Arc::new(Deployment { max_input_tokens: *limit, tags, ..own });
        }
        group
    }

    fn chat(more: &str) -> String {
        let messages = if more.contains("messages") { "" } else { r#","messages":[]"# };
        format!(r#"{{"model":"g"{messages}{more}}}"#)
    }

    /// Who takes a chat request, those that suit best before the bar; or what is wrong.
    fn able(rows: &[Row<'_>], routing: &Routing, body: &str, headers: &HeaderMap, last: bool) -> String {
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        takers(rows, routing, &Looked::Chat(envelope, Operation::Generate), headers, last)
    }

    /// The same of a request that passes through.
    fn direct_able(rows: &[Row<'_>], routing: &Routing, (path, body): (Path, &str), last: bool) -> String {
        let asked = direct::look(path, None, body.as_bytes()).unwrap();
        takers(rows, routing, &Looked::Direct(asked, path), &HeaderMap::new(), last)
    }

    fn takers(rows: &[Row<'_>], routing: &Routing, looked: &Looked<'_>, headers: &HeaderMap, last: bool) -> String {
        let group = group(rows);
        let found = Match { group: 0, deployment: None, captured: Vec::new() };
        let own = Own::read(headers, looked.fields(), true).unwrap();
        match super::able(routing, &own, looked, &Members::of(&group, &found), last) {
            Ok(Able { places, best }) => {
                let show = |places: &[usize]| places.iter().map(ToString::to_string).collect::<String>();
                format!("{}|{}", show(&places[..best]), show(&places[best..]))
            }
            Err(refusal) => format!("{:?}: {}", refusal.kind(), refusal.message),
        }
    }

    #[test]
    fn a_request_goes_to_those_that_can_take_it() {
        let schema = r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}}"#;
        let old: Row<'_> = ("openai/gpt-3.5-turbo", None, &[]);
        let seeing: Row<'_> = ("openai/gpt-4o", None, &[]);
        let claude: Row<'_> = ("anthropic/claude-3-haiku-20240307", None, &[]);
        let own: Row<'_> = ("openai/my-own", None, &[]);
        for (rows, body, last, want) in [
            (&[old, seeing, claude][..], "", false, "012|"),
            (&[old, seeing, claude], PICTURE, false, "12|"),
            (&[old, own], PICTURE, false, "1|"),
            (&[old, seeing], schema, false, "1|0"),
            // The other can do something like it.
            (&[old], schema, false, "0|"),
            (&[old], PICTURE, true, "0|"),
            (
                &[old],
                PICTURE,
                false,
                "Some(NotFound): `messages` has images, and model `g` takes none; if it does, the operator of this gateway \
                 can say so with `model_info: {supports_vision: true}`",
            ),
        ] {
            assert_eq!(able(rows, &Routing::default(), &chat(body), &HeaderMap::new(), last), want, "{rows:?} {body}");
        }
        let sound = r#","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"","format":"wav"}}]}]"#;
        let found = able(&[claude], &Routing::default(), &chat(sound), &HeaderMap::new(), true);
        assert!(found.starts_with("Some(NotFound): `messages` has audio"), "{found}");
    }

    #[test]
    fn a_long_request_goes_to_those_with_room() {
        let words =
            |count: usize| chat(&format!(r#","messages":[{{"role":"user","content":"{}"}}]"#, "word ".repeat(count)));
        let of = |limit| ("openai/gpt-4o", limit, &[][..]);
        let strict = Routing { pre_call_checks: true, ..Routing::default() };
        let capped = Routing { max_request_tokens: Some(2000), ..Routing::default() };
        let (short, long) = (words(20), words(1000));
        for (limits, routing, body, want) in [
            (&[Some(500), Some(5000)][..], &strict, &short, "01|"),
            (&[Some(500), Some(5000)], &Routing::default(), &long, "1|"),
            (&[Some(500), None, Some(600)], &Routing::default(), &long, "1|"),
            // It may be less than our guess.
            (&[Some(900), Some(5000)], &Routing::default(), &long, "1|0"),
            (&[Some(900)], &strict, &long, "0|"),
            (&[Some(500), Some(600), Some(600)], &Routing::default(), &long, "12|"),
            (
                &[Some(500), Some(600)],
                &strict,
                &long,
                "Some(TooLong): prompt is too long: 1019 tokens > 600 maximum (estimated; model `g` takes no more)",
            ),
            (&[None], &capped, &long, "0|"),
            (
                &[None],
                &capped,
                &words(3000),
                "None: prompt is too long: 3043 tokens > 2000 maximum (estimated; this gateway takes no more)",
            ),
        ] {
            let rows: Vec<Row<'_>> = limits.iter().map(|limit| of(*limit)).collect();
            assert_eq!(able(&rows, routing, body, &HeaderMap::new(), false), want, "{limits:?}");
        }
    }

    #[test]
    fn a_response_goes_to_those_that_can_take_it() {
        let picture =
            r#"{"model":"g","input":[{"role":"user","content":[{"type":"input_image","image_url":"https://h/a"}]}]}"#;
        let schema = r#"{"model":"g","input":"x","text":{"format":{"type":"json_schema","name":"n","schema":{}}}}"#;
        let plain = r#"{"model":"g","input":"x"}"#;
        let reasons =
            r#"{"model":"g","input":"x","reasoning":{"effort":"low"},"tools":[{"type":"function","name":"f"}]}"#;
        let old: Row<'_> = ("openai/gpt-3.5-turbo", None, &[]);
        let seeing: Row<'_> = ("openai/gpt-4o", None, &[]);
        // Over chat completions it does not reason beside tools.
        let new: Row<'_> = ("openai/gpt-5.4", None, &[]);
        for (rows, body, last, want) in [
            (&[old, seeing][..], plain, false, "01|"),
            (&[old, seeing], picture, false, "1|"),
            (&[old, seeing], schema, false, "1|0"),
            (&[old, seeing, new], reasons, false, "2|01"),
            (&[old], picture, true, "0|"),
            (
                &[old],
                picture,
                false,
                "Some(NotFound): `input` has images, and model `g` takes none; if it does, the operator of this gateway can say \
                 so with `model_info: {supports_vision: true}`",
            ),
        ] {
            let found = direct_able(rows, &Routing::default(), (Path::Responses, body), last);
            assert_eq!(found, want, "{rows:?} {body}");
        }
    }

    #[test]
    fn long_responses_and_prompts_go_to_those_with_room() {
        let of = |limit| ("openai/gpt-4o", limit, &[][..]);
        let strict = Routing { pre_call_checks: true, ..Routing::default() };
        let capped = Routing { max_request_tokens: Some(2000), ..Routing::default() };
        let words = |count: usize| "word ".repeat(count);
        let response = |count: usize| format!(r#"{{"model":"g","input":"{}"}}"#, words(count));
        let prompt = |count: usize| format!(r#"{{"model":"g","prompt":"{}"}}"#, words(count));
        let batch = |count: usize| format!(r#"{{"model":"g","prompt":["{}","{0}","{0}"]}}"#, words(count));
        let (whole, parts) = (Path::Responses, Path::Completions);
        for (limits, routing, path, body, want) in [
            (&[Some(500), Some(5000)][..], &strict, whole, response(20), "01|"),
            (&[Some(500), Some(5000)], &strict, whole, response(1000), "1|"),
            (&[Some(500), Some(5000)], &strict, Path::ResponsesInputTokens, response(1000), "01|"),
            (&[Some(500), Some(5000)], &strict, parts, prompt(1000), "1|"),
            // Each has the context to itself.
            (&[Some(500), Some(5000)], &strict, parts, batch(400), "01|"),
            (&[Some(500), Some(5000)], &strict, parts, batch(1000), "1|"),
            (&[None], &capped, whole, response(1000), "0|"),
            (&[None], &capped, parts, batch(600), "0|"),
            (
                &[Some(500)],
                &strict,
                whole,
                response(1000),
                "Some(TooLong): prompt is too long: 1019 tokens > 500 maximum (estimated; model `g` takes no more)",
            ),
            (
                &[None],
                &capped,
                whole,
                response(3000),
                "None: prompt is too long: 3043 tokens > 2000 maximum (estimated; this gateway takes no more)",
            ),
            (
                &[None],
                &capped,
                parts,
                batch(1000),
                "None: prompt is too long: 3035 tokens > 2000 maximum (estimated; this gateway takes no more)",
            ),
        ] {
            let rows: Vec<Row<'_>> = limits.iter().map(|limit| of(*limit)).collect();
            assert_eq!(direct_able(&rows, routing, (path, &body), false), want, "{limits:?} {path:?}");
        }
    }

    #[test]
    fn one_count_serves_all_groups() {
        let body = chat(&format!(r#","messages":[{{"role":"user","content":"{}"}}]"#, "word ".repeat(100)));
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        let routing = Routing { pre_call_checks: true, ..Routing::default() };
        let looked = Looked::Chat(envelope, Operation::Generate);
        let own = Own::default();
        let mut demands = Demands::of(&looked, &own, &routing).unwrap();
        let found = Match { group: 0, deployment: None, captured: Vec::new() };
        for (limit, counted, fits) in [
            (None, None, true),
            (Some(9000), Some(true), true),
            (Some(300), Some(false), true),
            (Some(9000), Some(false), true),
            (Some(10), Some(false), false),
        ] {
            let group = group(&[("openai/my-own", limit, &[])]);
            assert_eq!(demands.able(&Members::of(&group, &found), false).is_ok(), fits, "{limit:?}");
            assert_eq!(demands.size.map(|size| matches!(size, Size::Below(_))), counted, "{limit:?}");
        }
        let looked = Looked::Chat(peek(Wire::OpenAiChat, body.as_bytes()).unwrap(), Operation::CountTokens);
        let own = Own::default();
        let mut demands = Demands::of(&looked, &own, &routing).unwrap();
        let group = group(&[("openai/my-own", Some(10), &[])]);
        assert!(demands.able(&Members::of(&group, &found), false).is_ok(), "clients count to find out");
    }

    #[test]
    fn tags_choose() {
        let free: Row<'_> = ("openai/my-own", None, &["free"]);
        let paid: Row<'_> = ("openai/my-own", None, &["paid", "eu"]);
        let plain: Row<'_> = ("openai/my-own", None, &[]);
        let default: Row<'_> = ("openai/my-own", None, &["default"]);
        let none = |tags: &str| {
            format!(
                "None: Not allowed to access model due to tags configuration: no deployment of model `g` has the \
                 tags `{tags}`"
            )
        };
        for (rows, tags, any, want) in [
            (&[free, paid, plain][..], "paid", true, "1|".to_owned()),
            (&[free, paid, plain], "", true, "012|".to_owned()),
            (&[free, paid, default, plain], "", true, "2|".to_owned()),
            (&[free, paid, default], "other", true, "2|".to_owned()),
            (&[free, paid, plain], "other", true, none("other")),
            (&[free, paid], "free,paid", true, "01|".to_owned()),
            (&[free, paid], " eu , paid,", false, "1|".to_owned()),
            (&[free, paid, default], "free,eu", false, none("free, eu")),
            (&[free, paid, plain], "!free", true, "12|".to_owned()),
            (&[free, paid, plain], "&eu", true, "1|".to_owned()),
            (&[free, paid], "free,&eu", true, none("free, &eu")),
        ] {
            let routing = Routing { tag_filtering: true, tag_match_all: !any, ..Routing::default() };
            let mut headers = HeaderMap::new();
            headers.insert("x-litellm-tags", tags.parse().unwrap());
            assert_eq!(able(rows, &routing, &chat(""), &headers, false), want, "{rows:?} {tags}");
            let list = tags.split(',').map(|tag| format!("\"{}\"", tag.trim())).collect::<Vec<_>>().join(",");
            for field in [format!(r#","tags":[{list}]"#), format!(r#","metadata":{{"a":"b","tags":[{list}]}}"#)] {
                assert_eq!(able(rows, &routing, &chat(&field), &HeaderMap::new(), false), want, "{field}");
            }
            assert_eq!(able(rows, &Routing::default(), &chat(""), &headers, false), {
                let all: String = (0..rows.len()).map(|place| place.to_string()).collect();
                all + "|"
            });
        }
    }

    #[test]
    fn what_passes_through_goes_where_it_can() {
        let group = group(&[
            ("anthropic/claude-opus-4-8", None, &[]),
            ("gemini/gemini-2.5-pro", None, &[]),
            ("openai/x", None, &[]),
        ]);
        let body = br#"{"model":"g","input":"a"}"#;
        for (path, want) in [(Path::Embeddings, vec![1, 2]), (Path::Responses, vec![2])] {
            let asked = direct::look(path, None, body).unwrap();
            let routing = Routing::default();
            let looked = Looked::Direct(asked, path);
            let own = Own::default();
            let mut demands = Demands::of(&looked, &own, &routing).unwrap();
            let mut found = Match { group: 0, deployment: None, captured: Vec::new() };
            let able = demands.able(&Members::of(&group, &found), false).unwrap();
            assert_eq!((able.best, able.places), (want.len(), want));
            found.deployment = Some(2);
            assert_eq!(demands.able(&Members::of(&group, &found), false).unwrap().places, [2]);
            found.deployment = Some(0);
            let unfit = demands.able(&Members::of(&group, &found), false).unwrap_err();
            assert!(unfit.message.contains("cannot be called at `/v1/"), "{}", unfit.message);
        }
    }

    #[test]
    fn a_wildcard_is_judged_by_the_model_it_takes() {
        let mut group = group(&[("openai/x", None, &[])]);
        let own = Deployment::clone(&group.deployments[0]);
        group.deployments = vec![Arc::new(Deployment { model: "*".to_owned(), ..own })];
        let body = chat(PICTURE);
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        let routing = Routing::default();
        let looked = Looked::Chat(envelope, Operation::Generate);
        let own = Own::default();
        let mut demands = Demands::of(&looked, &own, &routing).unwrap();
        for (model, takes) in [("gpt-4o", true), ("gpt-3.5-turbo", false)] {
            let found = Match { group: 0, deployment: None, captured: vec![model.to_owned()] };
            let members = Members::of(&group, &found);
            assert_eq!(members.all[0].model, model);
            assert_eq!(demands.able(&members, false).is_ok(), takes, "{model}");
        }
    }
}
