"""Checks JSON against the request types of an official SDK, as its API does: nothing missing, unknown or of a wrong type."""

from __future__ import annotations

import typing
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union

# Those of `typing` do not know the forms that the SDKs take from here on older Pythons.
from typing_extensions import Annotated, Literal, NotRequired, Required, get_args, get_origin, get_type_hints, is_typeddict

# What tells the members of a union apart.
DISCRIMINATORS = ("role", "type")


class Mismatch(Exception):
    """The value is not of the type. `path` says where."""

    def __init__(self, path: str, text: str, unknown: bool = False) -> None:
        super().__init__(f"{path}: {text}")
        self.path, self.text, self.unknown = path, text, unknown


@cache
def hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def check(value: object, kind: Any, path: str = "", also: dict[str, Any] | None = None) -> None:
    """Raises `Mismatch` unless `value` is of the typing form `kind`; `also` are more fields of the outermost object."""
    while get_origin(kind) in (Required, NotRequired, Annotated):
        kind = get_args(kind)[0]
    origin = get_origin(kind)
    if kind in (object, Any):
        return
    if is_typeddict(kind):
        check_object(value, kind, path, also or {})
    elif origin in (Union, UnionType):
        check_union(value, get_args(kind), path, also)
    elif origin is Literal:
        if value not in get_args(kind):
            raise Mismatch(path, f"input should be one of {get_args(kind)}, not {value!r}")
    elif origin is dict:
        expect(isinstance(value, dict), path, "an object", value)
        for key, entry in typing.cast(dict, value).items():
            check(entry, get_args(kind)[1], f"{path}.{key}")
    elif origin is not None and not isinstance(value, (str, dict)) or kind is list:
        expect(isinstance(value, list), path, "an array", value)
        for index, entry in enumerate(typing.cast(list, value)):
            check(entry, get_args(kind)[0], f"{path}.{index}")
    elif kind is float:
        expect(isinstance(value, (int, float)) and not isinstance(value, bool), path, "a number", value)
    elif kind is int:
        expect(isinstance(value, int) and not isinstance(value, bool), path, "an integer", value)
    elif kind in (str, bool, NoneType):
        expect(isinstance(value, kind), path, kind.__name__, value)
    else:
        # Iterable[…] of a string, or a form that JSON cannot have (files).
        raise Mismatch(path, f"input should be a valid {kind}")


def expect(holds: bool, path: str, wanted: str, value: object) -> None:
    if not holds:
        raise Mismatch(path, f"input should be {wanted}, not {value!r:.100}")


def check_object(value: object, kind: type, path: str, also: dict[str, Any]) -> None:
    expect(isinstance(value, dict), path, "an object", value)
    fields, prefix = typing.cast(dict, value), f"{path}." if path else ""
    known = hints(kind) | also
    for name, entry in fields.items():
        if name not in known:
            raise Mismatch(f"{prefix}{name}", "extra inputs are not permitted", unknown=True)
        check(entry, known[name], f"{prefix}{name}")
    # With postponed annotations a TypedDict does not see `Required`; its hints with extras do.
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name not in fields and get_origin(hint) is Required:
            raise Mismatch(f"{prefix}{name}", "field required")


def check_union(value: object, members: tuple, path: str, also: dict[str, Any] | None) -> None:
    problems: list[Mismatch] = []
    for member in members:
        try:
            check(value, member, path, also)
        except Mismatch as problem:
            problems.append(problem)
            # A JSON Schema may be any object as well.
            if (
                isinstance(value, dict)
                and dict not in map(get_origin, members)
                and is_typeddict(member)
                and same_kind(value, member)
            ):
                # This is the one that was meant: its complaint is the helpful one.
                problems = [problem]
                break
        else:
            return
    raise max(problems, key=lambda problem: len(problem.path))


def same_kind(value: dict, member: type) -> bool:
    tagged = False
    for name in DISCRIMINATORS:
        hint = hints(member).get(name)
        if get_origin(hint) is Literal:
            if value.get(name) not in get_args(hint):
                return False
            tagged = True
    return tagged
