"""The model behind the three vendors: what it answers is said in the user's own text, so any client can be driven through it.

    <<call weather {"city":"Zürich"}>>   calls a tool, if it is offered; several are parallel
    <<then>>                             what follows is for the next step, after the results
    <<think>>                            thinks first, if the request switched thinking on
    <<say words>>                        says that instead of `TEXT`; with a call: before it
    <<json {…}>>                         answers with this JSON, by whatever way the request asks for it
    <<refuse>> <<length>>                stops for that reason
    <<error>> <<cut>> <<eof>>            after some text: an error in the stream, a reset, an end without the last event

Without a step left it reports the results, each with the name of its tool: that they came home, to the right call, in order.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Literal

TEXT = "Hello, wörld 🦉"
HALF = "Half a sent"
THOUGHT = "Let me think about “that”."
REFUSAL = "I can't help with that."
DIRECTIVE = re.compile(r"<<(call|then|think|say|json|refuse|length|error|cut|eof)\b ?(.*?)>>", re.DOTALL)


class Rejected(Exception):
    """The request is refused, in the vendor's own words."""

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code


@dataclass
class Said:
    """A text in the conversation."""

    text: str


@dataclass
class Call:
    """A call of a tool, in the conversation or in the answer."""

    id: str
    name: str
    arguments: dict


@dataclass
class Result:
    """What a tool answered, with the name of the tool that it belongs to."""

    name: str
    text: str
    error: bool = False


@dataclass
class Seen:
    """A picture, a document or sound."""

    mime: str


@dataclass
class Turn:
    """One message as a vendor understood it."""

    role: Literal["system", "user", "assistant"]
    items: list[Said | Call | Result | Seen] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(item.text for item in self.items if isinstance(item, Said))


@dataclass
class Asked:
    """A request as a vendor understood it."""

    turns: list[Turn]
    tools: list[str] = field(default_factory=list)
    # The one that must be called.
    forced: str | None = None
    # Some tool must be called.
    required: bool = False
    forbidden: bool = False
    # An answer in JSON is asked for natively.
    structured: bool = False
    thinking: bool = False


@dataclass
class Answer:
    """What to say, in the order thought, text, calls."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    thought: bool = False
    end: Literal["stop", "tools", "length", "refusal"] = "stop"
    fault: Literal["", "error", "cut", "eof"] = ""


def answer(asked: Asked) -> Answer:
    """What the model says next."""
    start, script = last_script(asked.turns)
    if script is None:
        return finished(asked, asked.turns, False)
    since = asked.turns[start + 1 :]
    done = sum(turn.role == "assistant" for turn in since)
    steps = re.split(r"<<then>>", script)
    thought = asked.thinking and "<<think>>" in script
    if done >= len(steps):
        return finished(asked, since, thought)
    return step(asked, since, DIRECTIVE.findall(steps[done]), thought, done)


def last_script(turns: list[Turn]) -> tuple[int, str | None]:
    for index in range(len(turns) - 1, -1, -1):
        if turns[index].role == "user" and DIRECTIVE.search(turns[index].text):
            return index, turns[index].text
    return 0, None


def step(asked: Asked, since: list[Turn], directives: list[tuple[str, str]], thought: bool, number: int) -> Answer:
    words = {kind: rest for kind, rest in directives}
    said = Answer(words.get("say", ""), thought=thought)
    for kind, rest in directives:
        if kind == "call":
            name, _, arguments = rest.partition(" ")
            if name in asked.tools and not asked.forbidden and asked.forced in (None, name):
                said.calls.append(Call(f"{number}{len(said.calls)}", name, json.loads(arguments or "{}")))
    if said.calls:
        return replace(said, end="tools")
    if "json" in words:
        return structured(asked, words["json"], said)
    for end in ("refuse", "length"):
        if end in words:
            # Some part of an answer stands before a limit, none before a refusal.
            return Answer(REFUSAL, end="refusal") if end == "refuse" else replace(said, text=said.text or HALF, end="length")
    for fault in ("error", "cut", "eof"):
        if fault in words:
            return replace(said, text=HALF, fault=fault)
    return said if said.text else finished(asked, since, thought)


def structured(asked: Asked, text: str, said: Answer) -> Answer:
    """By the format where the request has one, by the tool that it forces, or as text."""
    forced = asked.forced or (asked.tools[0] if asked.required and len(asked.tools) == 1 else None)
    if forced and not asked.structured:
        return replace(said, calls=[Call("json", forced, json.loads(text))], end="tools")
    return replace(said, text=text)


def finished(asked: Asked, turns: list[Turn], thought: bool) -> Answer:
    if (asked.forced or asked.required) and not asked.forbidden and asked.tools:
        # A forced model calls, whatever it would rather say.
        return Answer(calls=[Call("forced", asked.forced or asked.tools[0], {})], thought=thought, end="tools")
    results = [item for turn in turns for item in turn.items if isinstance(item, Result)]
    return Answer(report(results) if results else TEXT, thought=thought)


def report(results: list[Result]) -> str:
    """What is said once the results are in."""
    return "; ".join(f"{result.name}{' failed' if result.error else ''}: {result.text}" for result in results)


def pieces(text: str, size: int = 5) -> list[str]:
    """The text as a stream brings it."""
    return [text[start : start + size] for start in range(0, len(text), size)]
