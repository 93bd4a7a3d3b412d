"""Gemini: `generateContent`, `streamGenerateContent`, `countTokens` and `batchEmbedContents`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.genai import types
from pydantic import ValidationError

from .brain import THOUGHT, Answer, Asked, Call, Rejected, Result, Said, Seen, Turn, pieces
from .common import Step, compact, media_type, order, seal, unique
from .openai_chat import vector

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
SKIP = "skip_thought_signature_validator"
BODY = {
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "serviceTier",
}
CONFIG = {
    "candidateCount", "frequencyPenalty", "logprobs", "maxOutputTokens", "mediaResolution", "presencePenalty",
    "responseJsonSchema", "responseLogprobs", "responseMimeType", "responseModalities", "responseSchema", "seed",
    "speechConfig", "stopSequences", "temperature", "thinkingConfig", "topK", "topP",
}  # fmt: skip
# The subset of OpenAPI that `parameters` and `responseSchema` take.
SCHEMA = {
    "type", "format", "title", "description", "nullable", "enum", "items", "maxItems", "minItems", "properties", "required",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering", "default",
    "minimum", "maximum",
}  # fmt: skip
CALLING = {"mode", "allowedFunctionNames"}
THINKING = {"includeThoughts", "include_thoughts", "thinkingBudget", "thinkingLevel"}
PART = {"thought", "thoughtSignature", "mediaResolution", "videoMetadata"}
DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult")
COUNTS = "Please ensure that the number of function response parts is equal to the number of function call parts."


class Gemini:
    """One request."""

    def __init__(self, request: dict, model: str | None, headers: dict[str, str], counting: bool = False) -> None:
        self.request, self.headers, self.counting = request, headers, counting
        self.model = str(model)
        self.third = self.model.startswith("gemini-3")
        self.config = request.get("generationConfig") or {}
        # Google's own SDK writes this one in snake case.
        self.shown = any(
            (self.config.get("thinkingConfig") or {}).get(name) for name in ("includeThoughts", "include_thoughts")
        )

    @staticmethod
    def error(status: int, message: str, param: str | None = None, code: str | None = None) -> dict:
        return {"error": {"code": status, "message": message, "status": STATUSES.get(status, "INTERNAL")}}

    # --- What is refused ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        unknown(self.request, BODY, "")
        unknown(self.config, CONFIG, "generation_config")
        self.check_shapes()
        self.check_settings()
        self.check_tools()
        self.check_contents()

    def check_shapes(self) -> None:
        request = self.request
        parts = [("generation_config", types.GenerationConfig, self.config)]
        parts += [(f"contents[{index}]", types.Content, one) for index, one in enumerate(request.get("contents") or [])]
        parts += [(f"tools[{index}]", types.Tool, one) for index, one in enumerate(request.get("tools") or [])]
        parts += [("system_instruction", types.Content, request[name]) for name in ["systemInstruction"] if name in request]
        parts += [("tool_config", types.ToolConfig, request[name]) for name in ["toolConfig"] if name in request]
        for path, kind, value in parts:
            try:
                kind.model_validate(value)
            except ValidationError as problem:
                first = problem.errors()[0]
                name = ".".join(str(step) for step in first["loc"])
                said = "Unknown name" if first["type"] == "extra_forbidden" else "Invalid value at"
                raise Rejected(f"Invalid JSON payload received. {said} \"{name}\" at '{path}': {first['msg']}") from None
        # The SDK's types take snake case as well, as the API does; a gateway has no reason to write it.
        unknown((request.get("toolConfig") or {}).get("functionCallingConfig") or {}, CALLING, "tool_config")
        unknown(self.config.get("thinkingConfig") or {}, THINKING, "generation_config.thinking_config")

    def check_settings(self) -> None:
        config = self.config
        if not 0 <= config.get("temperature", 0) <= 2:
            raise Rejected("Unable to submit request because it has a temperature value out of range 0..2")
        if len(config.get("stopSequences", [])) > 5:
            raise Rejected("The maximum number of stop sequences is 5.")
        if config.get("maxOutputTokens", 1) < 1:
            raise Rejected("max_output_tokens must be positive.")
        if not -(2**31) <= config.get("seed", 0) < 2**31:
            raise Rejected("Invalid value at 'generation_config.seed' (TYPE_INT32)")
        json_wanted = config.get("responseMimeType") == "application/json"
        if ("responseSchema" in config or "responseJsonSchema" in config) and not json_wanted:
            raise Rejected("response_schema is only allowed with response mime type application/json")
        if {"responseSchema", "responseJsonSchema"} <= config.keys():
            raise Rejected("Only one of response_schema and response_json_schema may be set.")
        if "responseSchema" in config:
            check_subset(config["responseSchema"], "generation_config.response_schema")
        if json_wanted and self.request.get("tools") and not self.third:
            raise Rejected("Function calling with a response mime type: 'application/json' is unsupported")
        thinking = config.get("thinkingConfig") or {}
        level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
        if level is not None and budget is not None:
            raise Rejected("You can only set only one of thinking budget and thinking level.")
        if level is not None and not self.third:
            raise Rejected("Thinking level is not supported for this model.")
        if level is not None and str(level).lower() not in ("minimal", "low", "medium", "high"):
            raise Rejected(f"Invalid value at 'generation_config.thinking_config.thinking_level', \"{level}\"")
        if level is not None and str(level).lower() == "minimal" and "pro" in self.model:
            raise Rejected("Thinking level MINIMAL is not supported for this model.")
        if budget is not None and not -1 <= budget <= (32768 if "pro" in self.model else 24576):
            raise Rejected(f"The thinking budget {budget} is invalid. Please choose a value between 0 and 24576.")
        if budget == 0 and "pro" in self.model:
            raise Rejected("Budget 0 is invalid. This model only works in thinking mode.")

    def check_tools(self) -> None:
        functions = [one for tool in self.request.get("tools") or [] for one in tool.get("functionDeclarations", [])]
        names = [one["name"] for one in functions]
        if len(names) != len(set(names)):
            raise Rejected("Duplicate function declaration found")
        for index, one in enumerate(functions):
            path = f"tools[0].function_declarations[{index}]"
            if not NAME.fullmatch(one["name"]):
                raise Rejected(f"Invalid value at '{path}.name': Must start with a letter or an underscore")
            if {"parameters", "parametersJsonSchema"} <= one.keys():
                raise Rejected(f"{path}: only one of parameters and parameters_json_schema may be set")
            if "parameters" in one:
                check_subset(one["parameters"], f"{path}.parameters")
        chosen = (self.request.get("toolConfig") or {}).get("functionCallingConfig") or {}
        if chosen and not functions:
            raise Rejected("Function calling config is set without function_declarations.")
        allowed = chosen.get("allowedFunctionNames")
        if allowed is not None and chosen.get("mode") not in ("ANY", "VALIDATED"):
            raise Rejected("Allowed function names should only be set when the mode is ANY or VALIDATED.")
        if missing := [name for name in allowed or [] if name not in names]:
            raise Rejected(f"Allowed function names {missing} are not in function declarations")

    def check_contents(self) -> None:
        contents = self.request.get("contents") or []
        if not contents:
            raise Rejected("* GenerateContentRequest.contents: contents is not specified")
        if "systemInstruction" in self.request and not self.request["systemInstruction"].get("parts"):
            raise Rejected("* GenerateContentRequest.system_instruction.parts: parts must not be empty.")
        for index, content in enumerate(contents):
            path = f"GenerateContentRequest.contents[{index}]"
            if content.get("role") not in ("user", "model"):
                raise Rejected("Please use a valid role: user, model.")
            if not content.get("parts"):
                raise Rejected(f"* {path}.parts: contents.parts must not be empty.")
            for place, part in enumerate(content["parts"]):
                self.check_part(part, content["role"], f"{path}.parts[{place}]")
        self.check_calls(contents)

    def check_part(self, part: dict, role: str, path: str) -> None:
        unknown(part, PART | set(DATA), path)
        if len([name for name in DATA if name in part]) != 1:
            raise Rejected(f"* {path}.data: required oneof field 'data' must have one initialized field")
        if "inlineData" in part:
            media_type(part["inlineData"]["data"], part["inlineData"]["mimeType"], path)
        if "functionCall" in part and role != "model" or "functionResponse" in part and role != "user":
            raise Rejected(f"* {path}: wrong role {role}")
        signature = part.get("thoughtSignature")
        # A streamed text is signed on an empty part behind it.
        behind = seal("gemini", "") if "text" in part else SKIP
        # Google's own SDK sends it back in the alphabet for URLs.
        plain = signature and (signature if signature == SKIP else signature.replace("-", "+").replace("_", "/"))
        if plain is not None and plain not in (SKIP, behind, self.signature(part)):
            raise Rejected("Thought signature is not valid.")
        if signature == SKIP and "functionCall" not in part:
            raise Rejected(f"* {path}: a placeholder is for calls")

    def check_calls(self, contents: list[dict]) -> None:
        current = max((i for i, one in enumerate(contents) if one["role"] == "user" and responses(one) == []), default=-1)
        for index, content in enumerate(contents):
            before = contents[index - 1] if index else {"role": "none", "parts": []}
            after = contents[index + 1] if index + 1 < len(contents) else {"role": "none", "parts": []}
            wanted, given = calls(content), responses(content)
            if wanted and before["role"] != "user":
                raise Rejected("Please ensure that function call turn comes immediately after a user turn.")
            if wanted and len(responses(after)) != len(wanted):
                raise Rejected(COUNTS)
            if given and len(calls(before)) != len(given):
                text = "Please ensure that function response turn comes immediately after a function call turn."
                raise Rejected(text if not calls(before) else COUNTS)
            for call, response in zip(calls(before), given):
                if call["name"] != response["name"] or call.get("id") != response.get("id"):
                    raise Rejected(f"The function response {response} does not belong to the function call {call}.")
            if given and any("functionResponse" in later and "functionResponse" not in former
                             for former, later in zip(content["parts"], content["parts"][1:])):  # fmt: skip
                raise Rejected(COUNTS)
            if wanted and self.third and index > current:
                first = next(part for part in content["parts"] if "functionCall" in part)
                if "thoughtSignature" not in first:
                    text = "Function call is missing a thought_signature in functionCall parts."
                    raise Rejected(f"{text} Function call `{first['functionCall']['name']}`, position {index + 1}.")

    def signature(self, part: dict) -> str:
        """What this model signs such a part with."""
        if "functionCall" in part:
            return seal("gemini", part["functionCall"]["name"], order(part["functionCall"].get("args") or {}))
        return seal("gemini", part.get("text", ""))

    # --- What is understood ------------------------------------------------------------------------------------------

    def read(self) -> Asked:
        request = self.request
        turns = [Turn("system", [Said(part["text"]) for part in (request.get("systemInstruction") or {}).get("parts", [])])]
        for content in request["contents"]:
            turn = Turn("assistant" if content["role"] == "model" else "user", [read_part(part) for part in content["parts"]])
            turns.append(turn)
        chosen = (request.get("toolConfig") or {}).get("functionCallingConfig") or {}
        tools = [one["name"] for tool in request.get("tools") or [] for one in tool.get("functionDeclarations", [])]
        allowed = chosen.get("allowedFunctionNames") or tools
        return Asked(
            turns,
            tools=[name for name in tools if name in allowed],
            forced=allowed[0]
            if chosen.get("mode") == "ANY" and len(allowed) == 1 and "allowedFunctionNames" in chosen
            else None,
            required=chosen.get("mode") == "ANY",
            forbidden=chosen.get("mode") == "NONE",
            structured=self.config.get("responseMimeType") == "application/json",
            # It thinks unless told not to, and shows it when asked.
            thinking=(self.config.get("thinkingConfig") or {}).get("thinkingBudget") != 0,
        )

    # --- What is said ------------------------------------------------------------------------------------------------

    def usage(self, answer: Answer, done: bool = True) -> dict:
        """Cumulative; nothing of the candidates while there are none."""
        counts = {"promptTokenCount": 120, "cachedContentTokenCount": 100, "totalTokenCount": 145 if done else 120}
        if done:
            counts |= {"candidatesTokenCount": 18 if answer.thought else 25} | (
                {"thoughtsTokenCount": 7} if answer.thought else {}
            )
        return counts | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 120}], "serviceTier": "standard"}

    def parts(self, answer: Answer) -> list[dict]:
        found: list[dict] = []
        if answer.thought and self.shown:
            found.append({"text": THOUGHT, "thought": True})
        if answer.text and answer.end != "refusal":
            found.append({"text": answer.text})
        for call in answer.calls:
            entry: dict = {"functionCall": {"name": call.name, "args": call.arguments}}
            if self.third:
                entry["functionCall"]["id"] = unique("", 8)
                # Of parallel calls only the first is signed.
                if call is answer.calls[0]:
                    entry["thoughtSignature"] = self.signature(entry)
            found.append(entry)
        return found

    def frame(self, candidate: dict | None, usage: dict, rest: dict | None = None) -> dict:
        candidates = {"candidates": [candidate | {"index": 0}]} if candidate else {}
        return (
            candidates | (rest or {}) | {"usageMetadata": usage, "modelVersion": self.model, "responseId": "0123456789abcdef"}
        )

    @staticmethod
    def finish(answer: Answer) -> dict:
        reason = {"stop": "STOP", "tools": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}[answer.end]
        return {"finishReason": reason}

    def whole(self, answer: Answer) -> dict:
        if answer.end == "refusal":
            # No content at all, not even an empty one.
            return self.frame({"finishReason": "SAFETY", "safetyRatings": []}, self.usage(answer, done=False))
        parts = self.parts(answer)
        if self.third and not answer.calls and parts:
            parts[-1]["thoughtSignature"] = self.signature(parts[-1])
        content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        return self.frame({"content": content} | self.finish(answer), self.usage(answer))

    def stream(self, answer: Answer) -> Iterator[Step]:
        def chunk(parts: list[dict], finish: dict | None = None, done: bool = False) -> bytes:
            content = {"content": {"parts": parts, "role": "model"}} if parts else {}
            return f"data: {compact(self.frame(content | (finish or {}), self.usage(answer, done)))}\r\n\r\n".encode()

        if answer.end == "refusal":
            yield chunk([], self.finish(answer))
            return
        for part in self.parts(answer):
            if "text" in part:
                rest = {"thought": True} if "thought" in part else {}
                yield from (chunk([{"text": piece} | rest]) for piece in pieces(part["text"], 9))
            else:
                # Parallel calls come one by one, the end in a chunk of its own.
                yield chunk([part])
        if answer.fault:
            if answer.fault == "error":
                yield f"data: {compact(self.error(503, 'The model is overloaded. Please try again later.'))}\r\n\r\n".encode()
            return
        signed = {"thoughtSignature": self.signature({"text": ""})} if self.third and not answer.calls else {}
        yield chunk([{"text": ""} | signed], self.finish(answer), done=True)

    def count(self) -> dict:
        return {"totalTokens": 42, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42}]}


class GeminiEmbeddings:
    """One request for vectors."""

    def __init__(self, request: dict, model: str | None, headers: dict[str, str]) -> None:
        self.request, self.headers, self.model = request, headers, str(model)

    error = staticmethod(Gemini.error)

    def answer(self) -> dict:
        unknown(self.request, {"requests"}, "")
        if not self.request["requests"]:
            raise Rejected("* BatchEmbedContentsRequest.requests: requests must not be empty")
        found = []
        for index, one in enumerate(self.request["requests"]):
            unknown(one, {"model", "content", "taskType", "title", "outputDimensionality"}, f"requests[{index}]")
            if one.get("model") != f"models/{self.model}":
                raise Rejected(f"* BatchEmbedContentsRequest.requests[{index}].model: model does not match the parent")
            text = "".join(part["text"] for part in one["content"]["parts"])
            size = one.get("outputDimensionality", 4)
            # A shortened vector is not of length one.
            found.append({"values": [value * (2 if "outputDimensionality" in one else 1) for value in vector(text, size)]})
        return {"embeddings": found}


def unknown(value: dict, known: set[str], path: str) -> None:
    for name in value:
        if name not in known:
            at = f" at '{path}'" if path else ""
            raise Rejected(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')


def check_subset(schema: object, path: str) -> None:
    if not isinstance(schema, dict):
        raise Rejected(f"Invalid value at '{path}' (Schema), {schema!r}")
    unknown(schema, SCHEMA, path)
    if not isinstance(schema.get("type", ""), str):
        raise Rejected(f"Proto field is not repeating, cannot start list. at '{path}.type'")
    if str(schema.get("type", "")).upper() == "OBJECT" and not schema.get("properties"):
        raise Rejected(f"* {path}.properties: should be non-empty for OBJECT type")
    if any(not isinstance(one, str) for one in schema.get("enum", [])):
        raise Rejected(f"Invalid value at '{path}.enum' (TYPE_STRING)")
    for name, inner in schema.get("properties", {}).items():
        check_subset(inner, f"{path}.properties[{name}]")
    for inner in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
        check_subset(inner, f"{path}.items")


def calls(content: dict) -> list[dict]:
    return [part["functionCall"] for part in content["parts"] if "functionCall" in part]


def responses(content: dict) -> list[dict]:
    return [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]


def read_part(part: dict) -> Said | Call | Result | Seen:
    if "functionCall" in part:
        return Call("", part["functionCall"]["name"], part["functionCall"].get("args") or {})
    if "functionResponse" in part:
        given = part["functionResponse"]["response"]
        if len(given) != 1 or not given.keys() <= {"output", "error"}:
            raise Rejected(f"a gateway says output or error, not {given}")
        value = next(iter(given.values()))
        return Result(part["functionResponse"]["name"], value if isinstance(value, str) else compact(value), "error" in given)
    if "text" in part:
        return Said("" if part.get("thought") else part["text"])
    data = part.get("inlineData") or part.get("fileData") or {}
    return Seen(data.get("mimeType", "unknown"))
