//! What tokens cost, by entry, by `feathergate.prices` and by the built-in table.

use feathergate::config::vendor::VENDORS;
use feathergate::meter::{Money, Price};
use feathergate::wire::Usage;

use super::*;

/// What a token of a kind costs, in 1e-12 dollars: input, output, read and written with the cache.
fn each(price: &Price) -> Option<[u64; 4]> {
    let none = Usage { input: Some(0), ..Usage::default() };
    let kinds = [
        Usage { input: Some(1), ..none },
        Usage { output: Some(1), ..none },
        Usage { cache_read: Some(1), ..none },
        Usage { cache_write: Some(1), ..none },
    ];
    let costs: Option<Vec<u64>> = kinds.iter().map(|usage| price.cost(usage).map(|Money(units)| units)).collect();
    costs?.try_into().ok()
}

fn price(yaml: &str) -> Option<[u64; 4]> {
    each(&first(&settings(yaml, &|name| (name == "PRICE").then(|| "5e-6".to_owned()))).price)
}

const SONNET: Option<[u64; 4]> = Some([3_000_000, 15_000_000, 300_000, 3_750_000]);

#[test]
fn an_entry_a_file_and_the_table() {
    let sonnet = "anthropic/claude-sonnet-4-5, api_key: k";
    for (params, rest, want) in [
        (sonnet, "", SONNET),
        ("openai/x, api_key: k", "", None),
        ("openai/x, api_key: k", "  model_info: {base_model: claude-sonnet-4-5}", SONNET),
        // The price of input is that of all input; output stays.
        (
            "anthropic/claude-sonnet-4-5, api_key: k, input_cost_per_token: 1e-6",
            "",
            Some([1_000_000, 15_000_000, 1_000_000, 1_000_000]),
        ),
        (
            "anthropic/claude-sonnet-4-5, api_key: k, cache_read_input_token_cost: '1e-6'",
            "",
            Some([3_000_000, 15_000_000, 1_000_000, 3_750_000]),
        ),
        // `litellm_params` win key by key.
        (
            "openai/x, api_key: k, input_cost_per_token: os.environ/PRICE",
            "  model_info: {input_cost_per_token: 1, output_cost_per_token: 7e-6, cache_read_input_token_cost: 2e-6}",
            Some([5_000_000, 7_000_000, 2_000_000, 5_000_000]),
        ),
        (
            sonnet,
            "feathergate: {prices: {claude-*: {cache_read_input_token_cost: 0}, claude-sonnet-4-5: {}}}",
            Some([3_000_000, 15_000_000, 0, 3_750_000]),
        ),
        (
            "openai/x, api_key: k, output_cost_per_token: 3e-6",
            "feathergate: {prices: {openai/x: {input_cost_per_token: 2e-6, output_cost_per_token: 9e-6}}}",
            Some([2_000_000, 3_000_000, 2_000_000, 2_000_000]),
        ),
    ] {
        let yaml = format!("{}{rest}\n", entry(&format!("model: {params}")));
        assert_eq!(price(&yaml), want, "{yaml}");
    }
}

#[test]
fn a_pattern_has_the_price_of_what_it_is_filled_to() {
    let yaml = "model_list:\n- model_name: '*'\n  litellm_params: {model: anthropic/*, api_key: k}\n";
    let found = settings(yaml, &|_| None);
    let pattern = &found.groups[0].deployments[0];
    assert_eq!(each(&pattern.price), None);
    assert_eq!(each(&pattern.concrete(&["claude-sonnet-4-5".to_owned()]).price), SONNET);
    assert_eq!(each(&pattern.concrete(&["claude-unheard-of".to_owned()]).price), None);
}

#[test]
fn check_says_which_prices_are_missing() {
    for (rest, want) in [
        ("openai/gpt-4o, api_key: k}", ""),
        ("openai/*, api_key: k}", ""),
        ("openai/x, api_key: k}", "no price is known of this model, so its cost is not either"),
        ("openai/x, api_key: k, mock_response: hi}", ""),
        (
            "openai/x, api_key: k, input_cost_per_token: 1e-6}",
            "no price is known of this model's output, so its cost is not either",
        ),
        ("openai/x, api_key: k, input_cost_per_token: 1e-6}\n  model_info: {mode: embedding}", ""),
        (
            "openai/x, api_key: k, output_cost_per_token: 1e-6}",
            "no price is known of this model's input, so its cost is not either",
        ),
    ] {
        let yaml = format!("model_list:\n- model_name: 'm*'\n  litellm_params: {{model: {rest}\n");
        let report = check::report(&Document::parse("x.yaml", &yaml).unwrap(), &|_| None);
        let row = report.rows.iter().find(|row| row.path.ends_with("litellm_params.model")).unwrap();
        assert_eq!((row.note.as_str(), report.loses()), (want, false), "{yaml}");
    }
}

#[test]
fn wrong_prices_are_told() {
    let yaml = "model_list:\n- model_name: m\n  litellm_params: {model: openai/x, api_key: k, input_cost_per_token: -1,\n\
                \x20   cache_read_input_token_cost: many}\n\
                feathergate:\n  prices:\n    a: {input_cost_per_tokens: 1}\n    b: {output_cost_per_token: 1001}\n    c: 1\n";
    let Err(problems) = resolved(yaml, &|_| None) else { panic!("it is wrong") };
    let told = problems.to_string();
    for line in [
        "x.yaml:3: model_list[0].litellm_params.input_cost_per_token: must be the dollars for one token, such as `0.0000025`",
        "x.yaml:7: feathergate.prices.a.input_cost_per_tokens: `input_cost_per_tokens` is no price of a token that is known \
         here; did you mean `input_cost_per_token`?",
        "x.yaml:8: feathergate.prices.b.output_cost_per_token: must be the dollars for one token, such as `0.0000025`",
    ] {
        assert!(told.lines().any(|got| got == line), "{line}\nin\n{told}");
    }
    assert_eq!(told.lines().count(), 5, "{told}");
}

#[test]
fn streams_tell_their_cost_only_when_asked() {
    let yaml = entry("model: openai/x, api_key: k");
    assert!(!settings(&yaml, &|_| None).stream_cost);
    let yaml = format!("{yaml}litellm_settings: {{include_cost_in_streaming_usage: true}}\n");
    assert!(settings(&yaml, &|_| None).stream_cost);
}

#[test]
fn the_table_is_of_vendors_that_are_served() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prices.json")).unwrap();
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (name, value) in table.as_object().unwrap() {
        assert!(value.is_string() || VENDORS.iter().any(|vendor| vendor.name == name), "{name}");
    }
}
