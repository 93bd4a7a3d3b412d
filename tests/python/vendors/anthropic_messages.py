"""Anthropic Messages and its token count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams as BetaCountTokensParams
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaCreateParams
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase

from . import shapes
from .brain import THOUGHT, Answer, Asked, Call, Rejected, Result, Said, Seen, Turn, pieces
from .common import Step, compact, media_type, objects, seal, unique

# Input 120 of which 100 were read from the cache and 15 written to it.
INPUT = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 15,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
}
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
ADAPTIVE = re.compile(r"claude-(opus-4-[78]|(opus|sonnet|haiku|fable|mythos)-5)")
EITHER = re.compile(r"claude-(opus|sonnet)-4-6")
SYSTEM_TURNS = re.compile(r"claude-(opus-4-8|(opus|fable|mythos)-5)")
THREADS = "message-threads-2026-08-12"
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ID = re.compile(r"[a-zA-Z0-9_-]+")
# JSON Schema that structured output does not take.
UNSUPPORTED = {
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "not",
    "if",
}


class AnthropicMessages:
    """One request."""

    def __init__(
        self, request: dict, model: str | None, headers: dict[str, str], counting: bool = False, threads: dict | None = None
    ) -> None:
        self.threads = {} if threads is None else threads
        self.id = unique("msg_", 24)
        self.request, self.headers, self.counting = self.continued(request, headers), headers, counting
        self.model = str(request.get("model"))
        self.adaptive, self.either = bool(ADAPTIVE.match(self.model)), bool(EITHER.match(self.model))
        self.budget = (request.get("thinking") or {}).get("type") == "enabled"

    @staticmethod
    def error(status: int, message: str, param: str | None = None, code: str | None = None) -> dict:
        kind = ERRORS.get(status, "api_error")
        details = {"details": {"error_code": code}} if code else {}
        return {"type": "error", "error": {"type": kind, "message": message} | details, "request_id": "req_fake"}

    # --- Conversations that the API holds (`message-threads-2026-08-12`) ----------------------------------------------

    def continued(self, request: dict, headers: dict[str, str]) -> dict:
        """The request with all that went before: the SDK's tool runner sends what is new only."""
        thread = request.get("thread")
        if thread is None:
            return request
        if THREADS not in headers.get("anthropic-beta", ""):
            raise Rejected("thread: Extra inputs are not permitted")
        if thread["type"] == "create":
            return request
        before = self.threads.get(thread["previous_message_id"])
        if before is None:
            raise Rejected("The thread was not found.", 404, code="thread_not_found")
        if again := before.keys() & request.keys() - {"messages"}:
            raise Rejected(f"{sorted(again)} are the thread's own")
        return before | request | {"messages": [*before["messages"], *request["messages"]]}

    def keep(self, content: list[dict]) -> None:
        if self.request.get("thread"):
            reply = {"role": "assistant", "content": [{k: v for k, v in block.items() if k != "caller"} for block in content]}
            held = {name: self.request[name] for name in ("system", "tools") if name in self.request}
            self.threads[self.id] = held | {"messages": [*self.request["messages"], reply]}

    # --- What is refused ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", self.headers.get("anthropic-version", "")):
            raise Rejected("anthropic-version: header is required")
        # Sampling left the SDK with the models that take it; the older models and the API still know it.
        also: dict[str, Any] = {"stream": bool, "temperature": float, "top_p": float, "top_k": int}
        beta = "anthropic-beta" in self.headers
        kind: Any = BetaCreateParams if beta else MessageCreateParamsBase
        if self.counting:
            also, kind = {}, BetaCountTokensParams if beta else MessageCountTokensParams
        try:
            shapes.check(self.request, kind, also=also)
        except shapes.Mismatch as problem:
            raise Rejected(f"{problem.path}: {problem.text}") from None
        self.check_settings()
        self.check_thinking()
        self.check_tools()
        self.check_format()
        self.check_cache()
        self.check_messages()

    def check_settings(self) -> None:
        request = self.request
        limit = 128000 if self.adaptive or self.either else 64000
        if not self.counting and not 0 <= request["max_tokens"] <= limit:
            raise Rejected(
                f"max_tokens: {request['max_tokens']} > {limit}, which is the maximum of output tokens for {self.model}"
            )
        sampling = [name for name in ("temperature", "top_p", "top_k") if name in request]
        if sampling and self.adaptive:
            raise Rejected(f"{sampling[0]}: `{sampling[0]}` is deprecated for this model.")
        if not 0 <= request.get("temperature", 0) <= 1:
            raise Rejected("temperature: range: 0..1")
        if {"temperature", "top_p"} <= set(sampling):
            raise Rejected("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
        if any(not stop.strip() for stop in request.get("stop_sequences", [])):
            raise Rejected("stop_sequences: each stop sequence must contain non-whitespace")
        effort = (request.get("output_config") or {}).get("effort")
        if effort and not (self.adaptive or self.either or "opus-4-5" in self.model):
            raise Rejected("This model does not support the effort parameter.")
        if effort == "xhigh" and not self.adaptive:
            raise Rejected("output_config.effort: `xhigh` is not supported by this model.")

    def check_thinking(self) -> None:
        request, thinking = self.request, self.request.get("thinking") or {}
        kind = thinking.get("type")
        if kind == "enabled":
            if self.adaptive:
                raise Rejected('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".')
            if thinking["budget_tokens"] < 1024:
                raise Rejected("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
            if not self.counting and thinking["budget_tokens"] >= request["max_tokens"]:
                raise Rejected("`max_tokens` must be greater than `thinking.budget_tokens`.")
            if request.get("temperature", 1) != 1:
                raise Rejected("`temperature` may only be set to 1 when thinking is enabled.")
            if "top_k" in request or request.get("top_p", 1) < 0.95:
                raise Rejected("`top_k` must be unset when thinking is enabled.")
            if (request.get("tool_choice") or {}).get("type") in ("any", "tool"):
                raise Rejected("Thinking may not be enabled when tool_choice forces tool use.")
        if kind == "adaptive" and not (self.adaptive or self.either):
            raise Rejected("adaptive thinking is not supported on this model")

    def check_tools(self) -> None:
        tools = self.request.get("tools") or []
        choice = self.request.get("tool_choice")
        if choice and not tools:
            raise Rejected("tool_choice may only be specified while providing tools.")
        if choice and choice["type"] == "none" and "disable_parallel_tool_use" in choice:
            raise Rejected("tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted")
        names = [tool["name"] for tool in tools if "name" in tool]
        if len(names) != len(set(names)):
            raise Rejected("tools: Tool names must be unique.")
        for index, tool in enumerate(tools):
            if tool.get("type", "custom") != "custom":
                continue
            path = f"tools.{index}.custom"
            if not NAME.fullmatch(tool["name"]):
                raise Rejected(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
            schema = tool["input_schema"]
            if schema.get("type") != "object":
                raise Rejected(f"{path}.input_schema.type: Field required")
            if {"oneOf", "allOf", "anyOf"} & schema.keys():
                raise Rejected(f"{path}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level")
            if tool.get("strict"):
                self.check_closed(schema, f"{path}.input_schema")
        if choice and choice["type"] == "tool" and choice["name"] not in names:
            raise Rejected(f"Tool '{choice['name']}' not found in provided tools")

    def check_format(self) -> None:
        form = (self.request.get("output_config") or {}).get("format")
        if not form:
            return
        if re.match(r"claude-(3|sonnet-4-2|opus-4-2)", self.model):
            raise Rejected("output_config.format: structured outputs are not supported by this model")
        self.check_closed(form["schema"], "output_config.format.schema")
        for path, one in objects(form["schema"]):
            for name, entry in one.get("properties", {}).items():
                if wrong := UNSUPPORTED & entry.keys():
                    text = f"For '{entry.get('type')}' type, properties {sorted(wrong)} are not supported"
                    raise Rejected(f"output_config.format.schema: {text} ({path}.{name})")

    @staticmethod
    def check_closed(schema: dict, where: str) -> None:
        for _, one in objects(schema):
            if one.get("additionalProperties") is not False:
                raise Rejected(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")

    def check_cache(self) -> None:
        marks = compact(self.request).count('"cache_control":{')
        if marks > 4:
            raise Rejected(f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")

    def check_messages(self) -> None:
        messages = self.request["messages"]
        if not messages:
            raise Rejected("messages: at least one message is required")
        for block in self.request["system"] if isinstance(self.request.get("system"), list) else []:
            check_text(block, "system")
        for index, message in enumerate(messages):
            self.check_message(message, f"messages.{index}", index == len(messages) - 1)
        # Neighbours of one role are one turn to the API.
        turns: list[tuple[str, list[dict]]] = []
        for message in messages:
            if message["role"] == "system":
                continue
            if turns and turns[-1][0] == message["role"]:
                turns[-1][1].extend(blocks(message))
            else:
                turns.append((message["role"], blocks(message)))
        if not turns or (turns[0][0] != "user" and not self.adaptive):
            raise Rejected('messages: first message must use the "user" role')
        check_pairs(turns)
        self.check_last(turns)

    def check_message(self, message: dict, path: str, last: bool) -> None:
        if message["role"] == "system":
            if not SYSTEM_TURNS.match(self.model):
                raise Rejected("role 'system' is not supported on this model")
        if not message["content"] and not (last and message["role"] == "assistant"):
            raise Rejected(f"{path}: all messages must have non-empty content except for the optional final assistant message")
        if isinstance(message["content"], str) and message["content"] and not message["content"].strip():
            raise Rejected(f"{path}: text content blocks must contain non-whitespace text")
        ordinary = False
        for index, block in enumerate(blocks(message)):
            self.check_block(block, message["role"], f"{path}.content.{index}")
            if block["type"] == "tool_result" and ordinary:
                raise Rejected(f"{path}.content.{index}: `tool_result` blocks must come before other content")
            ordinary = ordinary or block["type"] != "tool_result"

    def check_block(self, block: dict, role: str, path: str) -> None:
        kind = block["type"]
        if kind == "text":
            check_text(block, path)
        elif kind == "image" and block["source"]["type"] == "base64":
            media_type(block["source"]["data"], block["source"]["media_type"], path)
        elif kind in ("tool_use", "tool_result"):
            if role != ("assistant" if kind == "tool_use" else "user"):
                raise Rejected(f"{path}: `{kind}` blocks can not be in {role} messages")
            name = "id" if kind == "tool_use" else "tool_use_id"
            if not ID.fullmatch(block[name]):
                raise Rejected(f"{path}.{kind}.{name}: String should match pattern '^[a-zA-Z0-9_-]+$'")
            for inner in block["content"] if isinstance(block.get("content"), list) else []:
                self.check_block(inner, "user", f"{path}.content")
        elif kind == "thinking":
            if role != "assistant" or block["signature"] != seal("anthropic", block["thinking"]):
                raise Rejected(f"{path}: Invalid `signature` in `thinking` block")
        elif kind == "redacted_thinking" and block["data"] != seal("anthropic", "redacted"):
            raise Rejected(f"{path}: Invalid `data` in `redacted_thinking` block")

    def check_last(self, turns: list[tuple[str, list[dict]]]) -> None:
        role, content = turns[-1]
        if role == "assistant":
            if self.adaptive or self.either:
                raise Rejected(
                    "This model does not support assistant message prefill. The conversation must end with a user message."
                )
            if content and content[-1].get("text", "").endswith((" ", "\n")):
                raise Rejected("messages: final assistant content cannot end with trailing whitespace")
        # An open loop of tools under a budget has to begin with its thinking.
        if self.budget and role == "user" and any(block["type"] == "tool_result" for block in content) and len(turns) > 1:
            first = turns[-2][1][0]["type"]
            if first not in ("thinking", "redacted_thinking"):
                text = f"Expected `thinking` or `redacted_thinking`, but found `{first}`."
                raise Rejected(f"messages.{len(turns) - 2}.content.0.type: {text}")

    # --- What is understood ------------------------------------------------------------------------------------------

    def read(self) -> Asked:
        request = self.request
        names: dict[str, str] = {}
        turns: list[Turn] = []
        for message in [{"role": "system", "content": request.get("system") or ""}, *request["messages"]]:
            turn = Turn(message["role"])
            for block in blocks(message):
                if block["type"] == "tool_use":
                    names[block["id"]] = block["name"]
                turn.items += read_block(block, names)
            if turns and turns[-1].role == turn.role:
                turns[-1].items += turn.items
            else:
                turns.append(turn)
        choice = request.get("tool_choice") or {}
        return Asked(
            turns,
            tools=[tool["name"] for tool in request.get("tools") or [] if tool.get("type", "custom") == "custom"],
            forced=choice.get("name"),
            required=choice.get("type") == "any",
            forbidden=choice.get("type") == "none",
            structured="format" in (request.get("output_config") or {}),
            thinking=(request.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
        )

    # --- What is said ------------------------------------------------------------------------------------------------

    def output(self, answer: Answer) -> dict:
        details = {"output_tokens_details": {"thinking_tokens": 7}} if answer.thought else {}
        return {"output_tokens": 25} | details

    def stop(self, answer: Answer) -> dict:
        reason = {"stop": "end_turn", "tools": "tool_use", "length": "max_tokens", "refusal": "refusal"}[answer.end]
        details = {"type": "refusal", "category": "cyber", "explanation": answer.text} if reason == "refusal" else None
        return {"stop_reason": reason, "stop_sequence": None, "stop_details": details}

    def content(self, answer: Answer) -> list[dict]:
        found: list[dict] = []
        if answer.thought:
            # Models of today show nothing of their thoughts unless told to.
            shown = self.budget or self.request["thinking"].get("display") == "summarized"
            text = THOUGHT if shown else ""
            found.append({"type": "thinking", "thinking": text, "signature": seal("anthropic", text)})
        if answer.text and answer.end != "refusal":
            found.append({"type": "text", "text": answer.text})
        for call in answer.calls:
            id = unique("toolu_", 24)
            found.append(
                {"type": "tool_use", "id": id, "name": call.name, "input": call.arguments, "caller": {"type": "direct"}}
            )
        self.keep(found)
        return found

    def message(self, content: list[dict], stop: dict, usage: dict) -> dict:
        head = {"id": self.id, "type": "message", "role": "assistant", "model": self.model}
        return head | {"content": content} | stop | {"usage": usage}

    def whole(self, answer: Answer) -> dict:
        return self.message(self.content(answer), self.stop(answer), INPUT | self.output(answer))

    def stream(self, answer: Answer) -> Iterator[Step]:
        none = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        yield event({"type": "message_start", "message": self.message([], none, INPUT | {"output_tokens": 1})})
        yield event({"type": "ping"})
        for index, block in enumerate(self.content(answer)):
            yield from streamed(block, index, bool(answer.fault))
        if answer.fault:
            if answer.fault == "error":
                yield event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
            return
        usage = {k: v for k, v in INPUT.items() if k.endswith("input_tokens")} | self.output(answer)
        yield event({"type": "message_delta", "delta": self.stop(answer), "usage": usage})
        yield event({"type": "message_stop"})


def event(body: dict) -> bytes:
    # The padding is the API's own.
    return f"event: {body['type']}\ndata: {compact(body)}{' ' * (len(body) % 5)}\n\n".encode()


def streamed(block: dict, index: int, open_end: bool) -> Iterator[Step]:
    def delta(kind: str, name: str, value: str) -> bytes:
        return event({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: value}})

    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    yield event(
        {"type": "content_block_start", "index": index, "content_block": block | {k: v for k, v in empty.items() if k in block}}
    )
    match block["type"]:
        case "thinking":
            yield from (delta("thinking_delta", "thinking", piece) for piece in pieces(block["thinking"]))
            yield delta("signature_delta", "signature", block["signature"])
        case "text":
            yield from (delta("text_delta", "text", piece) for piece in pieces(block["text"]))
        case "tool_use":
            # A call without arguments brings nothing but an empty string.
            arguments = compact(block["input"]) if block["input"] else ""
            yield from (delta("input_json_delta", "partial_json", piece) for piece in ["", *pieces(arguments)])
    if not open_end:
        yield event({"type": "content_block_stop", "index": index})


def blocks(message: dict) -> list[dict]:
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def check_text(block: dict, path: str) -> None:
    if not block["text"]:
        raise Rejected(f"{path}: text content blocks must be non-empty")
    if not block["text"].strip():
        raise Rejected(f"{path}: text content blocks must contain non-whitespace text")


def check_pairs(turns: list[tuple[str, list[dict]]]) -> None:
    """Every call is answered in the next turn, once, and nothing else is."""
    seen: set[str] = set()
    for index, (role, content) in enumerate(turns):
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        if seen & set(calls) or len(calls) != len(set(calls)):
            raise Rejected("messages: `tool_use` ids must be unique")
        seen |= set(calls)
        after = turns[index + 1][1] if index + 1 < len(turns) else []
        results = [block["tool_use_id"] for block in after if block["type"] == "tool_result"]
        if role == "assistant" and (missing := [call for call in calls if call not in results]):
            text = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}."
            raise Rejected(f"messages.{index}: {text}")
        if len(results) != len(set(results)):
            raise Rejected("each tool_use must have a single result. Found multiple `tool_result` blocks with one id")
        before = [] if index == 0 else [block["id"] for block in turns[index - 1][1] if block["type"] == "tool_use"]
        own = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        if stray := [id for id in own if id not in before]:
            text = f"unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(stray)}."
            raise Rejected(f"messages.{index}.content.0: {text}")


def read_block(block: dict, names: dict[str, str]) -> list[Said | Call | Result | Seen]:
    match block["type"]:
        case "text":
            return [Said(block["text"])]
        case "tool_use":
            return [Call(block["id"], block["name"], block["input"])]
        case "tool_result":
            inner = blocks({"content": block.get("content") or ""})
            text = "".join(one["text"] for one in inner if one["type"] == "text")
            media = [one for other in inner if other["type"] != "text" for one in read_block(other, names)]
            return [Result(names[block["tool_use_id"]], text, bool(block.get("is_error"))), *media]
        case "image" | "document":
            return [Seen(block["source"].get("media_type") or f"{block['type']}/url")]
    return []
