"""What the providers refuse although their types allow it, as recorded traffic and their documents say."""

import re

from strict import base64_of

MAGIC = {
    "image/png": (b"\x89PNG",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF8",),
    "image/webp": (b"RIFF",),
    "application/pdf": (b"%PDF",),
}


def blank(text):
    return not isinstance(text, str) or not text.strip()


def walk(schema):
    """A schema and all schemas within it; what stands in `default`, `enum` and the like is none."""
    if isinstance(schema, list):
        for item in schema:
            yield from walk(item)
    if not isinstance(schema, dict):
        return
    yield schema
    for name, inner in schema.items():
        if name in ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"):
            for item in (inner.values() if isinstance(inner, dict) else []):
                yield from walk(item)
        elif name in ("items", "anyOf", "oneOf", "allOf", "not", "prefixItems", "additionalProperties", "if", "then", "else"):
            yield from walk(inner)


def objects(schema):
    return [one for one in walk(schema) if one.get("type") == "object" or "properties" in one]


class Rules:
    """Collects what is wrong with one request."""

    def __init__(self, body, model, converted):
        self.body, self.model, self.converted, self.out = body, model, converted, []

    def must(self, good, what):
        if not good:
            self.out.append(what)


def numbers(rules, body, limits):
    for name, (least, most) in limits.items():
        value = body.get(name)
        if isinstance(value, (int, float)):
            rules.must(least <= value <= most, f"{name}: {value} is not within {least} and {most}")


# --- Anthropic ---------------------------------------------------------------------------------------------------------------

ADAPTIVE = ("opus-4-7", "opus-4-8", "opus-5", "sonnet-5", "fable-5", "mythos-5")
EITHER = ("opus-4-6", "sonnet-4-6")
BUDGET = ("opus-4-5", "sonnet-4-5", "haiku-4-5", "opus-4-1", "opus-4", "sonnet-4", "3-7-sonnet")
SYSTEM_TURNS = ("opus-4-8", "opus-5", "fable-5", "mythos-5")
EFFORTS = {"opus-4-6": "low medium high max", "sonnet-4-6": "low medium high max", "opus-4-5": "low medium high"}
FORMATS = ("opus-4-1", "-4-5", "-4-6", "-4-7", "-4-8", "-5")
CEILINGS = {
    "3-5-": 8192, "3-7-": 64000, "claude-3-opus": 4096, "claude-3-haiku": 4096, "claude-3-sonnet": 4096, "opus-4-5": 64000,
    "sonnet-4-5": 64000, "haiku-4-5": 64000, "opus-4-1": 32000, "opus-4-2": 32000, "sonnet-4-2": 64000,
}


def is_one(model, families):
    return any(family in model for family in families)


def anthropic(body, model, converted):
    rules = Rules(body, model, converted)
    anthropic_messages(rules)
    anthropic_tools(rules)
    anthropic_settings(rules)
    return rules.out


def blocks_of(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def anthropic_messages(rules):
    must, body = rules.must, rules.body
    messages = body.get("messages", [])
    must(messages, "messages: none")
    before, open_calls, ids = None, [], set()
    for at, message in enumerate(messages):
        role, place = message.get("role"), f"messages[{at}]"
        blocks = blocks_of(message.get("content"))
        if rules.converted:
            must(role != before or role == "system", f"{place}: roles do not alternate")
            must(before or role == "user", f"{place}: the first turn is not the user's")
        must(blocks, f"{place}: no content")
        if role == "system":
            must(is_one(rules.model, SYSTEM_TURNS), f"{place}: `{rules.model}` refuses or ignores the role system")
        results = [block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"]
        if role != "system":
            must(sorted(results) == sorted(open_calls), f"{place}: results {results} for calls {open_calls}")
            leading = [block.get("type") for block in blocks[: len(results)]]
            must(all(kind == "tool_result" for kind in leading), f"{place}: results do not stand first")
            open_calls = []
        for number, block in enumerate(blocks):
            anthropic_block(rules, role, block, f"{place}.content[{number}]")
            # Calls that code made at the vendor are answered there.
            if block.get("type") == "tool_use" and block.get("caller", {}).get("type", "direct") == "direct":
                must(block["id"] not in ids, f"{place}: the id {block['id']} again")
                ids.add(block["id"])
                open_calls.append(block["id"])
        before = role
    if before == "assistant":
        last = blocks_of(messages[-1].get("content"))[-1:]
        modern = is_one(rules.model, ADAPTIVE + EITHER)
        must(not modern, "messages: the model continues no assistant's turn")
        must(not open_calls, "messages: calls without results")
        for block in last:
            if block.get("type") == "text":
                must(block["text"] == block["text"].rstrip(), "messages: the last turn ends with white space")
    system = body.get("system")
    for at, block in enumerate(blocks_of(system) if system is not None else []):
        must(not blank(block.get("text")), f"system[{at}]: blank")
    marks = str(body).count("'cache_control': {")
    must(marks <= 4, f"{marks} cache marks")


def anthropic_block(rules, role, block, place):
    must, kind = rules.must, block.get("type")
    if kind == "text":
        must(not blank(block.get("text")), f"{place}: blank text")
    elif kind == "tool_use":
        must(role == "assistant", f"{place}: a call of the {role}'s")
        must(re.fullmatch(r"[a-zA-Z0-9_-]+", block.get("id", "")), f"{place}: the id {block.get('id')!r}")
        must(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", block.get("name", "")), f"{place}: the name {block.get('name')!r}")
        must(isinstance(block.get("input"), dict), f"{place}: input is no object")
    elif kind == "tool_result":
        must(role == "user", f"{place}: a result of the {role}'s")
        for number, inner in enumerate(blocks_of(block["content"]) if block.get("content") else []):
            if isinstance(block["content"], list):
                anthropic_block(rules, role, inner, f"{place}.content[{number}]")
    elif kind in ("image", "document"):
        source = block.get("source", {})
        must(role == "user", f"{place}: media of the {role}'s")
        if source.get("type") == "base64":
            media(rules, source.get("media_type"), source.get("data"), place)
        if source.get("type") == "url":
            must(re.match(r"https?://", source.get("url", "")), f"{place}: the URL {source.get('url', '')[:40]!r}")
    elif kind == "thinking":
        must(role == "assistant", f"{place}: a thought of the {role}'s")
        signature = block.get("signature", "")
        must(signature and not signature.startswith("fg1:"), f"{place}: a thought that Anthropic did not sign")
    if kind in ("thinking", "redacted_thinking"):
        must("cache_control" not in block, f"{place}: a cache mark on a thought")


def media(rules, mime, data, place):
    raw = base64_of(data or "")
    rules.must(raw, f"{place}: no base64")
    if raw and mime in MAGIC:
        rules.must(raw.startswith(MAGIC[mime]), f"{place}: the bytes are no {mime}")


def anthropic_tools(rules):
    must, body = rules.must, rules.body
    tools = body.get("tools", [])
    names = [tool.get("name") for tool in tools if tool.get("name")]
    must(len(names) == len(set(names)), f"tools: a name stands twice: {names}")
    for at, tool in enumerate(tools):
        must(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool.get("name", "x")), f"tools[{at}]: the name {tool.get('name')!r}")
        schema = tool.get("input_schema")
        if schema is not None:
            must(isinstance(schema, dict) and schema.get("type") == "object", f"tools[{at}]: the root is no object")
            for word in ("anyOf", "oneOf", "allOf", "$ref"):
                must(word not in schema, f"tools[{at}]: `{word}` at the root")
            if tool.get("strict"):
                must(all(one.get("additionalProperties") is False for one in objects(schema)), f"tools[{at}]: strict, yet open")
    strict = [one for tool in tools if tool.get("strict") for one in objects(tool.get("input_schema", {}))]
    optional = sum(len(set(one.get("properties", {})) - set(one.get("required", []))) for one in strict)
    unions = sum(
        isinstance(inner, dict) and ("anyOf" in inner or isinstance(inner.get("type"), list))
        for one in strict
        for inner in one.get("properties", {}).values()
    )
    must(sum(bool(tool.get("strict")) for tool in tools) <= 20, "tools: more than 20 strict ones")
    must(optional <= 24, f"tools: {optional} optional parameters of strict tools")
    must(unions <= 16, f"tools: {unions} parameters of strict tools with a union")
    choice = body.get("tool_choice")
    if choice:
        must(tools or choice.get("type") in ("none", "auto"), "tool_choice without tools")
        if choice.get("type") == "tool":
            must(choice.get("name") in names, f"tool_choice: `{choice.get('name')}` is no tool")
        thinking = (body.get("thinking") or {}).get("type")
        must(not (thinking == "enabled" and choice["type"] in ("any", "tool")), "tool_choice: forced while it thinks in a budget")
        must(not (is_one(rules.model, ("fable", "mythos")) and choice["type"] in ("any", "tool")), "tool_choice: forced")
    used = any(
        block.get("type") in ("tool_use", "tool_result")
        for message in body.get("messages", [])
        for block in blocks_of(message.get("content"))
    )
    if rules.converted:
        must(tools or not used, "a history with calls, and no tools")


def anthropic_settings(rules):
    must, body, model = rules.must, rules.body, rules.model
    numbers(rules, body, {"temperature": (0, 1), "top_p": (0, 1), "top_k": (0, 10**9)})
    limit = body.get("max_tokens") or 0
    ceiling = next((most for family, most in CEILINGS.items() if family in model), 128000)
    must(0 <= limit <= ceiling, f"max_tokens: {limit}, the model's most are {ceiling}")
    must("max_tokens" in body, "no max_tokens")
    for text in body.get("stop_sequences", []):
        must(not blank(text), "stop_sequences: a blank one")
    thinking = body.get("thinking") or {}
    kind, budget = thinking.get("type"), thinking.get("budget_tokens", 0)
    adaptive, either, old = is_one(model, ADAPTIVE), is_one(model, EITHER), is_one(model, BUDGET)
    if kind == "enabled":
        must(old or either, "thinking: the model takes no budget")
        must(1024 <= budget < limit, f"thinking: a budget of {budget} within {limit}")
    if kind == "adaptive":
        must(adaptive or either, "thinking: the model is not adaptive")
    if kind == "disabled":
        must(adaptive or either or old, "thinking: the model knows no thinking")
    sampled = [name for name in ("temperature", "top_p", "top_k") if name in body]
    must(not (adaptive and sampled), f"{sampled}: refused by this model")
    if kind in ("enabled", "adaptive"):
        must(body.get("temperature", 1) == 1, "temperature while it thinks")
        must("top_k" not in body, "top_k while it thinks")
        must(body.get("top_p", 1) >= 0.95, "top_p while it thinks")
    if rules.converted and is_one(model, ("opus-4-1", "-4-5", "-4-6")):
        must(len({"temperature", "top_p"} & set(sampled)) < 2, "temperature and top_p together")
    output = body.get("output_config") or {}
    effort = output.get("effort")
    if effort:
        known = next((words for family, words in EFFORTS.items() if family in model), "low medium high xhigh max" if adaptive else "")
        must(effort in known.split(), f"effort: {effort} is none of {known!r}")
    form = output.get("format")
    if form:
        must(is_one(model, FORMATS), "output_config.format: the model has none")
        for one in objects(form.get("schema", {})):
            must(one.get("additionalProperties") is False, "output_config.format: an open object")
        for one in walk(form.get("schema", {})):
            refused = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
                       "oneOf", "not", "if", "maxItems"} & set(one)
            must(not refused, f"output_config.format: {sorted(refused)}")
    user = (body.get("metadata") or {}).get("user_id")
    must(user is None or 0 < len(user) <= 256, "metadata.user_id: its length")


# --- OpenAI ------------------------------------------------------------------------------------------------------------------

REASONING = re.compile(r"^(o\d|gpt-[5-9])")
NONE_ALLOWED = re.compile(r"^gpt-5\.[1-9]")


def openai(body, model, converted):
    rules = Rules(body, model, converted)
    openai_messages(rules)
    openai_tools(rules)
    openai_settings(rules)
    return rules.out


def openai_messages(rules):
    must, messages = rules.must, rules.body.get("messages", [])
    must(messages, "messages: none")
    open_calls = []
    for at, message in enumerate(messages):
        role, place, content = message.get("role"), f"messages[{at}]", message.get("content")
        if role == "tool":
            identity = message.get("tool_call_id")
            must(identity in open_calls, f"{place}: a result for no call ({identity})")
            open_calls = [one for one in open_calls if one != identity]
            continue
        must(not open_calls, f"{place}: calls without results {open_calls}")
        open_calls = []
        must(content != [], f"{place}: an empty list")
        if role == "assistant":
            said = content is not None or message.get("refusal") or message.get("function_call") or message.get("audio")
            calls = message.get("tool_calls")
            must(said or calls, f"{place}: neither content nor calls")
            must(calls is None or calls, f"{place}: an empty list of calls")
            for call in calls or []:
                must(0 < len(call.get("id", "")) <= 40, f"{place}: the id {call.get('id')!r}")
                name = call.get("function", call.get("custom", {})).get("name", "")
                must(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name), f"{place}: the name {name!r}")
                open_calls.append(call.get("id"))
        elif role != "function":
            must(content is not None, f"{place}: no content")
        if role in ("system", "developer", "user") and rules.converted:
            must(content != "", f"{place}: empty")
        for part in content if isinstance(content, list) else []:
            audio = part.get("type") == "input_audio"
            must(not audio or "audio" in rules.model, f"{place}: sound for a model that does not hear")
            url = part.get("image_url", {}).get("url", "https:")
            data = re.fullmatch(r"data:([^;,]+);base64,(.*)", url, re.S)
            must(data or url.startswith("http"), f"{place}: the URL {url[:40]!r}")
            if data:
                media(rules, data[1], data[2], place)
                must(data[1] in ("image/png", "image/jpeg", "image/gif", "image/webp"), f"{place}: an image that is {data[1]}")
    must(not open_calls, f"messages: calls without results {open_calls}")


def openai_schema(rules, schema, strict, place):
    if schema is None:
        return
    rules.must(isinstance(schema, dict) and schema.get("type") == "object", f"{place}: the root is no object")
    if strict:
        for one in objects(schema):
            rules.must(one.get("additionalProperties") is False, f"{place}: strict, yet open")
            missing = set(one.get("properties", {})) - set(one.get("required", []))
            rules.must(not missing, f"{place}: strict, yet {sorted(missing)} need not be there")


def openai_tools(rules):
    must, body = rules.must, rules.body
    tools = body.get("tools")
    must(tools is None or tools, "tools: an empty list")
    for at, tool in enumerate(tools or []):
        function = tool.get("function", tool.get("custom", {}))
        must(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", function.get("name", "")), f"tools[{at}]: the name {function.get('name')!r}")
        openai_schema(rules, function.get("parameters"), function.get("strict"), f"tools[{at}]")
    names = [tool.get("function", tool.get("custom", {})).get("name") for tool in tools or []]
    choice = body.get("tool_choice")
    must(choice in (None, "none", "auto") or tools, "tool_choice without tools")
    if isinstance(choice, dict) and choice.get("type") == "function":
        must(choice["function"]["name"] in names, "tool_choice: no such tool")
    must("web_search_options" not in body or "search" in rules.model, "web_search_options on a model that does not search")
    must("parallel_tool_calls" not in body or tools, "parallel_tool_calls without tools")
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        described = form["json_schema"]
        must(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", described.get("name", "")), f"response_format: the name {described.get('name')!r}")
        openai_schema(rules, described.get("schema"), described.get("strict"), "response_format")
    if form.get("type") == "json_object":
        must("json" in str(body.get("messages")).lower(), "response_format: json_object, and no word of JSON in the messages")


def openai_settings(rules):
    must, body, model = rules.must, rules.body, rules.model
    numbers(rules, body, {
        "temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2), "top_logprobs": (0, 20),
        "n": (1, 128),
    })
    stop = body.get("stop")
    stops = stop if isinstance(stop, list) else [stop] if stop is not None else []
    must(len(stops) <= 4 and all(stops), f"stop: {stops}")
    must("stream_options" not in body or body.get("stream"), "stream_options without stream")
    must("top_logprobs" not in body or body.get("logprobs"), "top_logprobs without logprobs")
    for name in ("user", "safety_identifier"):
        must(not rules.converted or len(body.get(name) or "x") <= 64, f"{name}: too long")
    must(not {"max_tokens", "max_completion_tokens"} <= set(body), "max_tokens and max_completion_tokens")
    effort = body.get("reasoning_effort")
    if REASONING.match(model):
        must(body.get("max_tokens") is None, "max_tokens on a reasoning model")
        if effort != "none" and not NONE_ALLOWED.match(model) or model.startswith("gpt-5.5") and effort != "none":
            for name in ("temperature", "top_p"):
                must(body.get(name, 1) == 1, f"{name} on a reasoning model")
            refused = {"presence_penalty", "frequency_penalty", "logprobs", "logit_bias"} & {key for key in body if body[key]}
            must(not refused, f"{refused} on a reasoning model")
        if re.match(r"^(o1|o3|o4)", model):
            must("stop" not in body, "stop on this model")
        words = "none low medium high xhigh" if NONE_ALLOWED.match(model) else "minimal low medium high"
        must(effort is None or effort in words.split(), f"reasoning_effort: {effort}")
    elif model.startswith(("gpt-4", "gpt-3")):
        must(effort is None, "reasoning_effort on a model that does not reason")
        must("verbosity" not in body or not rules.converted, "verbosity on an older model")
        if model.startswith("gpt-4o"):
            most = max(body.get("max_tokens") or 0, body.get("max_completion_tokens") or 0)
            must(most <= 16384, f"max_tokens: {most}, the model's most are 16384")


# --- Gemini ------------------------------------------------------------------------------------------------------------------

BODIES = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
          "toolCall", "toolResponse")
BUDGETS = {"2.5-flash-lite": (512, 24576), "2.5-flash": (0, 24576), "2.5-pro": (128, 32768)}


def gemini(body, model, converted):
    rules = Rules(body, model, converted)
    gemini_contents(rules)
    gemini_tools(rules)
    gemini_settings(rules)
    return rules.out


def gemini_contents(rules):
    must, contents = rules.must, rules.body.get("contents", [])
    must(contents, "contents: none")
    last_user = max((at for at, it in enumerate(contents) if it.get("role") != "model" and
                     any("functionResponse" not in part for part in it.get("parts", []))), default=-1)
    before, calls = None, []
    for at, content in enumerate(contents):
        role, place, parts = content.get("role", "user"), f"contents[{at}]", content.get("parts", [])
        must(role in ("user", "model"), f"{place}: the role {role!r}")
        must(parts, f"{place}: no parts")
        if rules.converted:
            must(role != before, f"{place}: roles do not alternate")
            must(before or role == "user", f"{place}: the first turn is not the user's")
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        must(len(responses) == len(calls), f"{place}: {len(responses)} responses for {len(calls)} calls")
        for call, response in zip(calls, responses):
            must(call.get("name") == response.get("name"), f"{place}: {response.get('name')} answers {call.get('name')}")
            must(call.get("id") == response.get("id"), f"{place}: the id {response.get('id')} answers {call.get('id')}")
        kinds = ["functionResponse" in part for part in parts]
        must(sorted(kinds, reverse=True) == kinds or not rules.converted, f"{place}: responses do not stand first")
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        for number, part in enumerate(parts):
            gemini_part(rules, role, part, f"{place}.parts[{number}]")
        if rules.converted and "gemini-3" in rules.model and at > last_user and calls:
            first = next(part for part in parts if "functionCall" in part)
            must(first.get("thoughtSignature"), f"{place}: a call of the current turn without a signature")
        before = role
    must(not calls, "contents: calls without responses")
    system = rules.body.get("systemInstruction")
    if system:
        must(system.get("parts"), "systemInstruction: no parts")
        for part in system.get("parts", []):
            said = set(part) - {"thought"} == {"text"} and (part["text"] or not rules.converted)
            must(said, "systemInstruction: a part without text")


def gemini_part(rules, role, part, place):
    must = rules.must
    bodies = [name for name in BODIES if name in part]
    # A signature may stand alone.
    must(len(bodies) == 1 or not bodies and "thoughtSignature" in part, f"{place}: holds {bodies}")
    if rules.converted:
        must(part.get("text") != "" or "thoughtSignature" in part, f"{place}: empty text")
        must(not part.get("thought"), f"{place}: a thought is sent back as text")
    if "functionCall" in part:
        must(role == "model", f"{place}: a call of the {role}'s")
        must(isinstance(part["functionCall"].get("args", {}), dict), f"{place}: args are no object")
    if "functionResponse" in part:
        must(role == "user", f"{place}: a response of the {role}'s")
        response = part["functionResponse"].get("response")
        must(isinstance(response, dict), f"{place}: response is no object")
        if rules.converted and isinstance(response, dict):
            must(set(response) in ({"output"}, {"error"}), f"{place}: response holds {sorted(response)}")
    if "inlineData" in part:
        data = part["inlineData"]
        must(data.get("mimeType"), f"{place}: no media type")
        media(rules, data.get("mimeType"), data.get("data"), place)


def gemini_tools(rules):
    must, body = rules.must, rules.body
    tools = body.get("tools", [])
    declared = [one for tool in tools for one in tool.get("functionDeclarations", [])]
    names = [one.get("name", "") for one in declared]
    must(len(names) == len(set(names)), f"tools: a name stands twice: {names}")
    for one in declared:
        name = one.get("name", "")
        must(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", name), f"tools: the name {name!r}")
        must(not ("parameters" in one and "parametersJsonSchema" in one), f"tools.{name}: two schemas")
        schema = one.get("parametersJsonSchema")
        must(schema is None or isinstance(schema, dict), f"tools.{name}: the schema is no object")
        if rules.converted and isinstance(schema, dict):
            must(schema.get("type", "object") == "object", f"tools.{name}: the root is no object")
    for tool in tools:
        must(len(tool) >= 1, "tools: an empty one")
    others = [name for tool in tools for name in tool if name != "functionDeclarations"]
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if rules.converted:
        must(not config or declared, "toolConfig without functions")
        must("gemini-3" in rules.model or not (others and declared), f"{others} beside functions")
        form = body.get("generationConfig", {}).get("responseMimeType")
        must("gemini-3" in rules.model or not (form == "application/json" and declared), "a JSON answer beside functions")
    allowed = config.get("allowedFunctionNames", [])
    must(set(allowed) <= set(names), f"allowedFunctionNames: {allowed}")
    must(not allowed or str(config.get("mode")).upper() in ("ANY", "VALIDATED"), "allowedFunctionNames without ANY or VALIDATED")


def gemini_settings(rules):
    must, model = rules.must, rules.model
    config = rules.body.get("generationConfig", {})
    numbers(rules, config, {
        "temperature": (0, 2), "topP": (0, 1), "candidateCount": (1, 8), "seed": (-(2**31), 2**31 - 1), "logprobs": (0, 20),
        "presencePenalty": (-2, 2), "frequencyPenalty": (-2, 2), "maxOutputTokens": (1, 65536), "topK": (1, 10**6),
    })
    stops = config.get("stopSequences", [])
    must(len(stops) <= 5 and all(stops), f"stopSequences: {stops}")
    must(not ("logprobs" in config and not config.get("responseLogprobs")), "logprobs without responseLogprobs")
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if name in config]
    must(len(schemas) < 2, "two schemas for the answer")
    must(not schemas or config.get("responseMimeType") in ("application/json", "text/x.enum"), "a schema without JSON")
    if "responseJsonSchema" in config and rules.converted:
        for one in walk(config["responseJsonSchema"]):
            must("$ref" not in one or len(one) == 1, f"responseJsonSchema: $ref beside {sorted(one)}")
            known = {"$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems",
                     "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties",
                     "required", "propertyOrdering"}
            must(set(one) <= known, f"responseJsonSchema: {sorted(set(one) - known)}")
    thinking = config.get("thinkingConfig") or {}
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    must(level is None or budget is None, "thinkingLevel and thinkingBudget")
    must(level is None or "gemini-3" in model, "thinkingLevel before Gemini 3")
    if budget is not None and budget != -1:
        bounds = next((bounds for family, bounds in BUDGETS.items() if family in model), None)
        if bounds:
            must(bounds[0] <= budget <= bounds[1] or (budget == 0 and "lite" in model), f"thinkingBudget: {budget}")
        must("gemini-3" not in model or not rules.converted, "thinkingBudget for Gemini 3")
