"""OpenAI Chat Completions and Embeddings, with the compatible server that shows its reasoning (models `deepseek…`)."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.embedding_create_params import EmbeddingCreateParams

from . import shapes
from .brain import THOUGHT, Answer, Asked, Call, Rejected, Result, Said, Seen, Turn, pieces
from .common import Step, compact, media_type, objects, unique

# Input 120 of which 100 were cached; output 25 of which 7 were reasoning.
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 25,
    "total_tokens": 145,
    "prompt_tokens_details": {"cached_tokens": 100, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ERRORS = {401: "invalid_request_error", 404: "invalid_request_error", 429: "requests"}


class OpenAiChat:
    """One request."""

    def __init__(self, request: dict, model: str | None, headers: dict[str, str]) -> None:
        self.request, self.headers = request, headers
        self.model = str(request.get("model"))
        self.reasons = re.match(r"(gpt-[56]|o\d)", self.model) is not None
        self.deepseek = self.model.startswith("deepseek")

    @staticmethod
    def error(status: int, message: str, param: str | None = None, code: str | None = None) -> dict:
        kind = "invalid_request_error" if status == 400 else ERRORS.get(status, "server_error")
        return {"error": {"message": message, "type": kind, "param": param, "code": code}}

    # --- What is refused ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        also: dict[str, Any] = {"stream": bool}
        try:
            shapes.check(self.plain(), CompletionCreateParamsBase, also=also)
        except shapes.Mismatch as problem:
            if problem.unknown and "." not in problem.path:
                raise Rejected(f"Unrecognized request argument supplied: {problem.path}", param=problem.path) from None
            raise Rejected(f"Invalid value for '{problem.path}': {problem.text}", param=problem.path) from None
        self.check_settings()
        self.check_tools()
        self.check_format()
        self.check_messages()

    def plain(self) -> dict:
        """The request without what the SDK's types do not say: answers may come back as they were, and what only the compatible
        server knows.
        """
        more = {"assistant": {"annotations"} | ({"reasoning_content"} if self.deepseek else set()), "tool": {"name"}}
        messages = self.request.get("messages")
        if not isinstance(messages, list):
            return self.request
        plain = [{k: v for k, v in one.items() if k not in more.get(one.get("role"), ())} for one in messages]
        return {k: v for k, v in self.request.items() if k != "thinking" or not self.deepseek} | {"messages": plain}

    def check_settings(self) -> None:
        request = self.request
        if self.reasons:
            if "max_tokens" in request:
                text = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
                raise Rejected(f"Unsupported parameter: {text}", param="max_tokens", code="unsupported_parameter")
            for name, only in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
                if request.get(name, only) not in (only, None):
                    raise Rejected(f"Unsupported value: '{name}'", param=name, code="unsupported_value")
            if "stop" in request and self.model.startswith("o"):
                raise Rejected("Unsupported parameter: 'stop'", param="stop", code="unsupported_parameter")
        elif "reasoning_effort" in request and not self.deepseek:
            raise Rejected("Unrecognized request argument supplied: reasoning_effort", param="reasoning_effort")
        if not 0 <= (request.get("temperature") or 0) <= 2:
            raise Rejected("Invalid 'temperature': decimal above maximum value", param="temperature")
        if isinstance(request.get("stop"), list) and len(request["stop"]) > 4:
            raise Rejected("Invalid 'stop': array too long. Expected an array with maximum length 4", param="stop")
        if "stream_options" in request and not request.get("stream"):
            raise Rejected("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
        for name in ("user", "safety_identifier"):
            if len(request.get(name) or "") > 64:
                raise Rejected(f"Invalid '{name}': string too long. Expected a string with maximum length 64", param=name)
        for name in ("max_tokens", "max_completion_tokens"):
            if (request.get(name) or 1) < 1:
                raise Rejected(f"Invalid '{name}': integer below minimum value", param=name)
        if self.deepseek and self.thinks() and self.choice() not in (None, "auto", "none"):
            raise Rejected("deepseek-reasoner does not support this tool_choice")

    def choice(self) -> object:
        return self.request.get("tool_choice")

    def check_tools(self) -> None:
        tools = self.request.get("tools")
        if tools == []:
            raise Rejected("Invalid 'tools': empty array. Expected an array with minimum length 1", param="tools")
        if not tools:
            for name in ("tool_choice", "parallel_tool_calls"):
                if name in self.request:
                    raise Rejected(f"'{name}' is only allowed when 'tools' are specified.", param=name)
            return
        names = []
        for index, tool in enumerate(tools):
            if tool["type"] != "function":
                continue
            function = tool["function"]
            names.append(function["name"])
            if not NAME.fullmatch(function["name"]):
                raise Rejected(f"Invalid 'tools[{index}].function.name': string does not match pattern", param="tools")
            schema = function.get("parameters")
            if schema is not None and schema.get("type") != "object":
                text = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
                raise Rejected(f"Invalid schema for function '{function['name']}': {text}", code="invalid_function_parameters")
            if function.get("strict"):
                check_strict(schema or {}, f"function '{function['name']}'")
        choice = self.choice()
        if isinstance(choice, dict) and choice["type"] == "function" and choice["function"]["name"] not in names:
            raise Rejected(f"Tool choice '{choice['function']['name']}' not found in 'tools' parameter.", param="tool_choice")

    def check_format(self) -> None:
        form = self.request.get("response_format") or {}
        if form.get("type") == "json_schema":
            named = form["json_schema"]
            if not NAME.fullmatch(named["name"]):
                raise Rejected("Invalid 'response_format.json_schema.name'", param="response_format.json_schema.name")
            if named.get("strict"):
                check_strict(named.get("schema") or {}, f"response_format '{named['name']}'")
        if form.get("type") == "json_object" and "json" not in compact(self.request["messages"]).lower():
            raise Rejected(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )

    def check_messages(self) -> None:
        messages = self.request["messages"]
        if not messages:
            raise Rejected("Invalid 'messages': empty array", param="messages")
        open_calls: list[str] = []
        for index, message in enumerate(messages):
            path = f"messages.[{index}]"
            if message["role"] == "tool":
                if message["tool_call_id"] not in open_calls:
                    text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                    raise Rejected(f"Invalid parameter: {text}", param=f"{path}.role")
                open_calls.remove(message["tool_call_id"])
                continue
            self.check_answered(open_calls, path)
            if message["role"] == "assistant":
                open_calls = self.check_assistant(message, path)
            elif message.get("content") in (None, []):
                raise Rejected("Invalid value for 'content': expected a string, got null.", param=f"{path}.content")
            elif isinstance(message["content"], list):
                check_parts(message["content"], path)
        self.check_answered(open_calls, "messages")

    @staticmethod
    def check_answered(open_calls: list[str], path: str) -> None:
        if open_calls:
            text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
            raise Rejected(
                f"{text} The following tool_call_ids did not have response messages: {', '.join(open_calls)}", param=path
            )

    def check_assistant(self, message: dict, path: str) -> list[str]:
        calls = message.get("tool_calls")
        if calls == []:
            raise Rejected(f"Invalid '{path}.tool_calls': empty array.", param=f"{path}.tool_calls")
        if message.get("content") is None and not calls and not message.get("refusal"):
            raise Rejected("Invalid value for 'content': expected a string, got null.", param=f"{path}.content")
        if self.deepseek and calls and not message.get("reasoning_content") and self.thinks():
            raise Rejected("Missing `reasoning_content` field in the assistant message")
        for call in calls or []:
            if not 1 <= len(call["id"]) <= 40:
                raise Rejected(
                    f"Invalid '{path}.tool_calls[0].id': string too long. Expected maximum length 40",
                    code="string_above_max_length",
                )
            if not NAME.fullmatch(call["function"]["name"]):
                raise Rejected(f"Invalid '{path}.tool_calls[0].function.name'")
            json.loads(call["function"]["arguments"] or "{}")
        return [call["id"] for call in calls or []]

    # --- What is understood ------------------------------------------------------------------------------------------

    def thinks(self) -> bool:
        if self.deepseek:
            return (self.request.get("thinking") or {}).get("type") != "disabled"
        return self.reasons and self.request.get("reasoning_effort") != "none"

    def read(self) -> Asked:
        names: dict[str, str] = {}
        turns: list[Turn] = []
        for message in self.request["messages"]:
            role, content = message["role"], message.get("content")
            if role == "tool":
                # The results of one step are one turn, as they are elsewhere.
                turns.append(Turn("user", [Result(names[message["tool_call_id"]], text_of(content))]))
                continue
            turn = Turn("system" if role in ("system", "developer") else role)
            turn.items += [Said(content)] if isinstance(content, str) else [read_part(part) for part in content or []]
            for call in message.get("tool_calls") or []:
                names[call["id"]] = call["function"]["name"]
                turn.items.append(Call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"] or "{}")))
            turns.append(turn)
        choice = self.choice()
        forced = choice["function"]["name"] if isinstance(choice, dict) and choice["type"] == "function" else None
        return Asked(
            turns,
            tools=[tool["function"]["name"] for tool in self.request.get("tools") or [] if tool["type"] == "function"],
            forced=forced,
            required=choice == "required",
            forbidden=choice == "none",
            structured=(self.request.get("response_format") or {}).get("type") in ("json_schema", "json_object"),
            thinking=self.thinks(),
        )

    # --- What is said ------------------------------------------------------------------------------------------------

    def shows(self, answer: Answer) -> bool:
        """Its reasoning is shown, and wanted back with the calls that it led to."""
        return self.deepseek and self.thinks() and (answer.thought or bool(answer.calls))

    def usage(self, answer: Answer) -> dict:
        thought = {"reasoning_tokens": 7 if answer.thought else 0, "audio_tokens": 0}
        return USAGE | {"completion_tokens_details": thought}

    @staticmethod
    def finish(answer: Answer) -> str:
        return {"stop": "stop", "tools": "tool_calls", "length": "length", "refusal": "stop"}[answer.end]

    def envelope(self, kind: str) -> dict:
        common = {"object": kind, "created": 1700000000, "model": f"{self.model}-2026-01-01"}
        return {"id": unique("chatcmpl-", 24)} | common | {"service_tier": "default", "system_fingerprint": "fp_1"}

    def whole(self, answer: Answer) -> dict:
        refusal = answer.text if answer.end == "refusal" else None
        content = None if refusal else answer.text or (None if answer.calls else "")
        message: dict = {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}
        if self.shows(answer):
            message["reasoning_content"] = THOUGHT
        if answer.calls:
            message["tool_calls"] = [
                {"id": unique("call_", 24), "type": "function", "function": written(call)} for call in answer.calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish(answer)}
        return self.envelope("chat.completion") | {"choices": [choice], "usage": self.usage(answer)}

    def stream(self, answer: Answer) -> Iterator[Step]:
        head = self.envelope("chat.completion.chunk")
        with_usage = bool((self.request.get("stream_options") or {}).get("include_usage"))

        def chunk(delta: dict, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            rest = {"usage": None} if with_usage else {}
            return f"data: {compact(head | {'choices': [choice]} | rest | {'obfuscation': 'x9'})}\n\n".encode()

        only_calls = bool(answer.calls) and not answer.text
        yield chunk({"role": "assistant", "content": None if only_calls else "", "refusal": None})
        if self.shows(answer):
            yield from (chunk({"reasoning_content": piece}) for piece in pieces(THOUGHT))
        field = "refusal" if answer.end == "refusal" else "content"
        yield from (chunk({field: piece}) for piece in pieces(answer.text))
        for index, call in enumerate(answer.calls):
            function = {"name": call.name, "arguments": ""}
            yield chunk({"tool_calls": [{"index": index, "id": unique("call_", 24), "type": "function", "function": function}]})
            for piece in pieces(compact(call.arguments)):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        if answer.fault:
            if answer.fault == "error":
                yield f"data: {compact(self.error(500, 'The server had an error while processing your request'))}\n\n".encode()
            return
        yield chunk({}, self.finish(answer))
        if with_usage:
            yield f"data: {compact(head | {'choices': [], 'usage': self.usage(answer)})}\n\n".encode()
        yield b"data: [DONE]\n\n"


class OpenAiEmbeddings:
    """One request for vectors."""

    def __init__(self, request: dict, model: str | None, headers: dict[str, str]) -> None:
        self.request, self.headers, self.model = request, headers, str(request.get("model"))

    error = staticmethod(OpenAiChat.error)

    def answer(self) -> dict:
        try:
            shapes.check(self.request, EmbeddingCreateParams)
        except shapes.Mismatch as problem:
            raise Rejected(f"Invalid value for '{problem.path}': {problem.text}", param=problem.path) from None
        texts = [self.request["input"]] if isinstance(self.request["input"], str) else self.request["input"]
        if not texts or "" in texts:
            raise Rejected("Invalid 'input': input cannot be an empty string.", param="input")
        size = self.request.get("dimensions", 4)
        vectors = [vector(text, size) for text in texts]
        if self.request.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{size}f", *one)).decode() for one in vectors]
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
        return {"object": "list", "data": data, "model": self.model, "usage": {"prompt_tokens": 9, "total_tokens": 9}}


def vector(text: str, size: int) -> list[float]:
    """Of length one unless shortened, and another for another text."""
    seed = sum(text.encode())
    raw = [(seed * (place + 3)) % 17 - 8.5 for place in range(size)]
    length = sum(one * one for one in raw) ** 0.5
    return [one / length for one in raw]


def written(call: Call) -> dict:
    return {"name": call.name, "arguments": compact(call.arguments)}


def check_strict(schema: dict, where: str) -> None:
    for path, one in objects(schema):
        if one.get("additionalProperties") is not False:
            text = "'additionalProperties' is required to be supplied and to be false."
            raise Rejected(f"Invalid schema for {where}: In context=({path}), {text}", code="invalid_json_schema")
        missing = set(one.get("properties", {})) - set(one.get("required", []))
        if missing:
            text = "'required' is required to be supplied and to be an array including every key in properties."
            raise Rejected(
                f"Invalid schema for {where}: In context=({path}), {text} Missing {missing}", code="invalid_json_schema"
            )


def check_parts(parts: list[dict], path: str) -> None:
    for index, part in enumerate(parts):
        if part["type"] == "image_url":
            url = part["image_url"]["url"]
            if data := re.fullmatch(r"data:([^;,]+);base64,(.*)", url, re.DOTALL):
                media_type(data[2], data[1], f"{path}.content[{index}].image_url")
            elif not re.match(r"https?://", url):
                raise Rejected("Invalid 'image_url'. Expected a valid URL", param=f"{path}.content[{index}].image_url")


def read_part(part: dict) -> Said | Seen:
    if part["type"] in ("text", "refusal"):
        return Said(part.get("text") or part.get("refusal") or "")
    if part["type"] == "image_url":
        url = part["image_url"]["url"]
        return Seen(url[5:].split(";")[0] if url.startswith("data:") else "image/url")
    return Seen("application/pdf" if part["type"] == "file" else part["type"])


def text_of(content: object) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
