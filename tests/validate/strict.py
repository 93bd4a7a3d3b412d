"""Values against published types, strictly: no key that the type does not name, no literal that it does not list.

Reads `TypedDict`s (the official SDKs of OpenAI and Anthropic) and pydantic models (google-genai, by their camelCase names).
A validator of our own, since pydantic coerces and reads unions leniently, and says of a union only that nothing fits.
"""

import base64
import binascii
import collections.abc
import enum
import functools
import io
import os
import types
import typing

import pydantic
import typing_extensions

# What an SDK takes from a program, and never stands in JSON.
NOT_JSON = (bytes, os.PathLike, io.IOBase)


@functools.cache
def fields_of(kind):
    """Name in JSON, type, whether required."""
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        kind.model_rebuild()
        return {
            field.alias or pydantic.alias_generators.to_camel(name): (field.annotation, field.is_required())
            for name, field in kind.model_fields.items()
        }
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    required = kind.__required_keys__
    fields = {}
    for name, hint in hints.items():
        while typing_extensions.get_origin(hint) in (typing_extensions.Required, typing_extensions.NotRequired):
            hint = typing_extensions.get_args(hint)[0]
        alias = name
        if typing_extensions.get_origin(hint) is typing_extensions.Annotated:
            for mark in typing_extensions.get_args(hint)[1:]:
                alias = getattr(mark, "alias", None) or alias
        fields[alias] = (hint, name in required)
    return fields


def is_record(kind):
    return typing_extensions.is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel))


def tags(kind):
    """The literals of a record by which a union tells its variants apart."""
    return {
        name: typing_extensions.get_args(hint)
        for name, (hint, _) in fields_of(kind).items()
        if name in ("type", "role", "mode") and typing_extensions.get_origin(hint) is typing_extensions.Literal
    }


def faults(kind, value, path="$"):
    """What is wrong with `value` as a `kind`: a list of sentences, empty where nothing is."""
    origin, args = typing_extensions.get_origin(kind), typing_extensions.get_args(kind)
    if origin in (typing_extensions.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        return faults(args[0], value, path)
    if isinstance(kind, typing_extensions.TypeAliasType):
        return faults(kind.__value__, value, path)
    if kind in (object, typing.Any) or isinstance(kind, typing.TypeVar):
        return []
    if origin in (typing.Union, types.UnionType):
        return of_union(args, value, path)
    if origin is typing_extensions.Literal:
        fits = any(value == one and type(value) is type(one) for one in args)
        return [] if fits else [f"{path}: {value!r} is none of {args}"]
    if is_record(kind):
        return of_record(kind, value, path)
    if origin in (list, collections.abc.Iterable, collections.abc.Sequence) or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return [f"{path}: no list"]
        return [fault for at, item in enumerate(value) for fault in faults(args[0], item, f"{path}[{at}]")]
    if origin in (dict, collections.abc.Mapping) or kind is dict:
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        of = args[1] if args else object
        return [fault for name, item in value.items() for fault in faults(of, item, f"{path}.{name}")]
    return of_scalar(kind, value, path)


def of_record(kind, value, path):
    if not isinstance(value, dict):
        return [f"{path}: no object, as {kind.__name__} is"]
    fields = fields_of(kind)
    out = [f"{path}.{name}: {kind.__name__} has no such field" for name in value if name not in fields]
    out += [f"{path}: {kind.__name__} lacks `{name}`" for name, (_, need) in fields.items() if need and name not in value]
    for name, item in value.items():
        if name in fields:
            out += faults(fields[name][0], item, f"{path}.{name}")
    return out


def of_union(variants, value, path):
    best = None
    for variant in variants:
        found = faults(variant, value, path)
        if not found:
            return []
        # The variant that is meant is the one whose type it names; of several the one with the fewest faults.
        record = is_record(variant) and isinstance(value, dict)
        named = record and bool(tags(variant)) and all(value.get(tag) in of for tag, of in tags(variant).items())
        rank = (not named, not record, len(found))
        if best is None or rank < best[0]:
            best = (rank, found)
    return best[1]


def of_scalar(kind, value, path):
    if kind is type(None):
        return [] if value is None else [f"{path}: not null"]
    if kind is bool:
        return [] if isinstance(value, bool) else [f"{path}: no boolean"]
    if kind is int:
        good = isinstance(value, int) and not isinstance(value, bool)
        return [] if good else [f"{path}: no whole number: {value!r}"]
    if kind is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        return [] if good else [f"{path}: no number: {value!r}"]
    if kind is str:
        return [] if isinstance(value, str) else [f"{path}: no string: {str(value)[:40]!r}"]
    if kind is bytes:
        return [] if isinstance(value, str) and base64_of(value) is not None else [f"{path}: no base64"]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        # Google's enums are read without regard to case, by the SDK and by the API.
        known = [str(one.value).upper() for one in kind]
        return [] if isinstance(value, str) and value.upper() in known else [f"{path}: {value!r} is no {kind.__name__}"]
    if isinstance(kind, type) and issubclass(kind, NOT_JSON):
        return [f"{path}: no JSON"]
    return [f"{path}: nothing for JSON ({kind})"]


def proto(kind, value):
    """`value` in the one spelling that we hold conversions to. Google's API reads several: keys in snake_case, null for a field
    that is not there, one item for a list of it, numbers for enums.
    """
    origin, args = typing_extensions.get_origin(kind), typing_extensions.get_args(kind)
    if origin in (typing_extensions.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        return proto(args[0], value)
    if origin in (typing.Union, types.UnionType):
        for variant in args:
            wanted = proto(variant, value)
            if not faults(variant, wanted):
                return wanted
        return proto(next(one for one in args if one is not type(None)), value)
    if origin is list:
        items = value if isinstance(value, list) else [value]
        return [proto(args[0], item) for item in items]
    if is_record(kind) and isinstance(value, dict):
        fields, out = fields_of(kind), {}
        for name, item in value.items():
            name = name if name in fields else pydantic.alias_generators.to_camel(name)
            if item is not None:
                out[name] = proto(fields[name][0], item) if name in fields else item
        return out
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(value, int):
        return list(kind)[0].value
    return value


def base64_of(text):
    """The bytes, of the usual alphabet or the one for URLs; nothing where it is no base64."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
