"""What the clients' tests have in common: a script for the model, the tools that it calls, and what must come of it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from support import UPSTREAMS, WIRES
from vendors.brain import TEXT

ALL = list(UPSTREAMS)

# Thinks, says something, calls two tools at once (one without arguments), then a third, then reports.
SCRIPT = (
    '<<think>> <<say One moment.>> <<call weather {"city":"Zürich"}>> <<call time>> <<then>> <<call weather {"city":"Ōsaka"}>>'
)
CALLED = [("weather", {"city": "Zürich"}), ("time", {}), ("weather", {"city": "Ōsaka"})]
REPORT = "weather: sunny in Zürich; time: noon; weather: sunny in Ōsaka"

CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}, "required": ["city"]}

# 1 × 1 pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

ADDRESS = '<<json {"name":"Zoë","address":{"city":"Zürich","zip":null},"tags":["a","b"],"age":7}>>'


def run(name: str, arguments: dict) -> str:
    """The tools."""
    return f"sunny in {arguments['city']}" if name == "weather" else "noon"


class Address(BaseModel):
    city: str
    zip: str | None


class Person(BaseModel):
    """With what schemas of today are made of: a reference, a nullable field, a list, a bound."""

    name: str = Field(description="of the person")
    address: Address
    tags: list[str]
    age: int = Field(ge=0, le=150)


PERSON = Person(name="Zoë", address=Address(city="Zürich", zip=None), tags=["a", "b"], age=7)

__all__ = ["ADDRESS", "ALL", "CALLED", "CITY", "PERSON", "PNG", "REPORT", "SCRIPT", "TEXT", "WIRES", "Address", "Person", "run"]
