"""Requests against the published types of the three providers, and against what those types do not say.

    validate.py [requests.jsonl]

First the recorded requests themselves (`FEATHERGATE_RECORDINGS`): a provider took them, so the validator has to. Then the
requests that the replay converted. Fails on every invalid one that is not an exception, and on every exception that no longer
occurs although its recording is there: the lists only shrink.
"""

import collections
import json
import os
import pathlib
import sys

import anthropic.types.beta
import google.genai.types
import openai.types.chat.completion_create_params
import typing_extensions
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaParams
from anthropic.types.message_create_params import MessageCreateParamsBase as Params

import rules
import strict

# (beginning of the id, beginning of the model, part of the fault, reason)
ORIGINAL_EXCEPTIONS = [
    ("anthropic-anthropic_messages-b-2b9d2246d128", "", "blank text", "blank text between a search and its citations: taken"),
    ("anthropic-anthropic_messages-b-78812f8b5051", "", "no image/png", "the picture was replaced when it was recorded"),
    ("gemini-gemini_generate-b-0fa4000ff3ca", "", "any_of", "snake_case within a schema"),
    ("openai-openai_chat-b-82141fd77cdb", "", ".name:", "a name on a tool's message, which OpenAI ignores"),
    ("openai-openai_chat-b-a3322cafa6e7", "", ".name:", "the same"),
    ("openai-openai_chat-b-b4280af254c0", "", ".name:", "the same"),
    ("vertex-gemini_generate-b-433d3d9298f2", "", "no Type", "a number for an enum within a schema"),
    ("vertex-gemini_generate-b-701943574740", "", "modelArmorConfig", "Vertex only"),
    ("vertex-gemini_generate-b-cb087849085e", "", "imageConfig", "in the API, not in this type yet"),
]
CONVERTED_EXCEPTIONS = []

# Refusals by which a validator of the body cannot be measured.
ELSEWHERE = ("API key not valid", "downloading http", "Cannot fetch content", "too complex for compilation")


class GeminiRequest(typing_extensions.TypedDict, total=False):
    """The body of `generateContent`: google-genai has no type for the whole of it."""

    model: str
    contents: typing_extensions.Required[list[google.genai.types.Content]]
    systemInstruction: google.genai.types.Content
    tools: list[google.genai.types.Tool]
    toolConfig: google.genai.types.ToolConfig
    generationConfig: google.genai.types.GenerationConfig
    safetySettings: list[google.genai.types.SafetySetting]
    cachedContent: str
    labels: dict[str, str]
    serviceTier: google.genai.types.ServiceTier
    store: bool


class Sampling(typing_extensions.TypedDict, total=False):
    """Settings that the newest types leave out, since the newest models refuse them. Older models take them."""

    temperature: float
    top_p: float
    top_k: int


class AnthropicBeta(Sampling, BetaParams, total=False):
    """The older spelling of structured output, which clients still send, is in none of the types."""

    output_format: anthropic.types.beta.BetaJSONOutputFormatParam
    stream: bool


class AnthropicRequest(Sampling, Params, total=False):
    stream: bool


PUBLISHED = {
    "openai": [openai.types.chat.completion_create_params.CompletionCreateParams],
    "anthropic": [AnthropicRequest, AnthropicBeta],
    "gemini": [GeminiRequest],
}


def judge(wire, body, model, converted):
    if wire == "gemini" and not converted:
        body = strict.proto(GeminiRequest, body)
    # Betas are for clients that ask for them; what a conversion makes needs none.
    kinds = PUBLISHED[wire][:1] if converted else PUBLISHED[wire]
    typed = min((strict.faults(kind, body) for kind in kinds), key=len)
    if typed:
        return typed
    return getattr(rules, wire)(body, model, converted)


# What servers with OpenAI's API take beyond its types.
BEYOND = {
    "mistral": {"random_seed", "safe_prompt", "prompt_mode", "reasoning_effort"},
    "deepseek": {"thinking", "top_k"},
    "groq": {"reasoning_format", "include_reasoning"},
    "openrouter": {"reasoning", "top_k", "provider", "include_reasoning"},
}


def without(value, name):
    """`value` without a field of this name anywhere."""
    if isinstance(value, list):
        return [without(item, name) for item in value]
    if isinstance(value, dict):
        return {key: without(item, name) for key, item in value.items() if key != name}
    return value


def compatible(body, vendor):
    """`body` as OpenAI would take it, and what the vendor would not take."""
    body = {name: value for name, value in body.items() if name not in BEYOND[vendor]}
    faults = []
    if vendor == "openrouter":
        body = without(body, "cache_control")
    if vendor == "mistral" and body.get("tool_choice") == "any":
        body["tool_choice"] = "required"
    messages = []
    for at, message in enumerate(body.get("messages", [])):
        if vendor == "mistral":
            ids = [call.get("id", "") for call in message.get("tool_calls") or []] + [message.get("tool_call_id", "123456789")]
            faults += [f"messages[{at}]: the id {one!r}" for one in ids if len(one) != 9 or not one.isalnum()]
        # Groq refuses every name that it does not know.
        beyond = {"reasoning_content", "reasoning", "reasoning_details"} if vendor in ("deepseek", "openrouter") else set()
        messages.append({name: value for name, value in message.items() if name not in beyond})
    return {**body, "messages": messages}, faults


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"a key stands twice: {names}")
    return dict(pairs)


class Tables:
    """Counts, and what no exception covers."""

    def __init__(self, title, exceptions):
        self.title, self.exceptions = title, exceptions
        self.counts = collections.defaultdict(collections.Counter)
        self.met, self.left, self.names, self.faulty = collections.Counter(), [], set(), 0

    def add(self, row, name, model, faults):
        outcome = "valid"
        self.names.add(name)
        for fault in faults:
            for number, (start, of, part, _) in enumerate(self.exceptions):
                if name.startswith(start) and model.startswith(of) and part in fault:
                    self.met[number] += 1
                    outcome = "excepted" if outcome == "valid" else outcome
                    break
            else:
                outcome = "INVALID"
                self.left.append(f"{row} | {name} | {fault}")
        self.faulty += outcome == "INVALID"
        self.counts[row][outcome] += 1

    def settle(self, theirs):
        """Prints the table, and says how much is wrong. Of what providers took (`theirs`) a little may be judged wrongly all the
        same, since a folder may hold recordings that the list does not know.
        """
        print(f"\nvalidate: {self.title}")
        for row, counts in sorted(self.counts.items()):
            print(f"  {row:42} " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
        gone = 0
        for number, (start, of, part, reason) in enumerate(self.exceptions):
            print(f"  exception, {self.met[number]} times: {start} {of} {part!r}: {reason}")
            if not self.met[number] and start in self.names:
                print(f"  INVALID {start} {part!r} is no exception any more: take it off the list")
                gone += 1
        for line in self.left:
            print(f"  INVALID {line}")
        total = sum(sum(counts.values()) for counts in self.counts.values())
        return gone + (0 if theirs and self.faulty <= total // 20 else self.faulty)


APIS = {"openai.chat": "openai", "anthropic.messages": "anthropic", "gemini.generate": "gemini", "gemini.stream": "gemini"}
OWN = {"openai": ("openai",), "anthropic": ("anthropic",), "gemini": ("gemini", "vertex")}


def originals(folder):
    tables = Tables("recorded requests that the provider itself took", ORIGINAL_EXCEPTIONS)
    refused = collections.Counter()
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        exchange = json.loads(path.read_text())
        wire = APIS.get(exchange["api"])
        request, response = exchange["request"], exchange["response"]
        if not wire or not request or not isinstance(request.get("body"), dict) or exchange["provider"] not in OWN[wire]:
            continue
        body = request["body"]
        model = body.get("model") or request.get("path", "").rpartition("models/")[2].partition(":")[0]
        faults = judge(wire, body, model, False)
        status = response.get("status") or 200
        if status == 200:
            tables.add(f"{wire} {exchange['provider']}", exchange["id"], model, faults)
        elif status == 400 and not any(part in str(response["body"]) for part in ELSEWHERE):
            refused[f"{wire}, {'found' if faults else 'not found'}"] += 1
    wrong = tables.settle(True)
    print("  refused by the provider: " + ", ".join(f"{count} {what}" for what, count in sorted(refused.items())))
    return wrong


def converted(path):
    tables = Tables("converted requests", CONVERTED_EXCEPTIONS)
    seen = 0
    with open(path) as lines:
        for line in lines:
            entry = json.loads(line, object_pairs_hook=unique)
            body, faults = entry["body"], []
            if entry["to"] == "openai" and entry["vendor"] != "openai":
                body, faults = compatible(body, entry["vendor"])
            faults += judge(entry["to"], body, entry["model"], True)
            # What the vendor itself refused may stay as bad as it was.
            taken = entry["status"] < 400
            tables.add(f"{entry['from']} > {entry['model']}", entry["id"], entry["model"], faults if taken else [])
            seen += 1
    wrong = tables.settle(False)
    if not seen:
        print("validate: no request was converted")
        wrong += 1
    return wrong


def main():
    folder = os.environ.get("FEATHERGATE_RECORDINGS")
    if not folder:
        print("validate: SKIPPED, FEATHERGATE_RECORDINGS is not set")
        return 0
    wrong = originals(folder)
    if len(sys.argv) > 1:
        wrong += converted(sys.argv[1])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
