"""What the three vendors share: ids, signatures, schemas, pictures, and the parts of an answer that are not JSON."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
from typing import Any

from .brain import Rejected

# A step of a stream: bytes to send, or the milliseconds to wait first, or the connection's end.
Step = bytes | int
NUMBERS = itertools.count(1)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def unique(prefix: str, length: int) -> str:
    """A fresh id of the vendor's form."""
    return f"{prefix}{next(NUMBERS):0{length}d}"


def seal(vendor: str, *content: str) -> str:
    """A signature over the content: base64 with the signs that break careless code, and checkable without a memory."""
    digest = hashlib.sha256("\0".join((vendor, *content)).encode()).digest()
    return base64.b64encode(b"\xfb\xff" + digest + vendor.encode()).decode()


def order(value: Any) -> Any:
    """JSON with sorted keys, for comparing."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"%PDF": "application/pdf"}


def media_type(data: str, claimed: str, path: str) -> str:
    """The media type, once the bytes agree with it."""
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error:
        raise Rejected(f"{path}: invalid base64 data") from None
    found = next((kind for magic, kind in MAGIC.items() if raw.startswith(magic)), None)
    if found and found != claimed and not claimed.startswith("audio/"):
        raise Rejected(
            f"{path}: The image was specified using the {claimed} media type, but the image appears to be a {found} image"
        )
    return claimed


def objects(schema: Any, path: str = "") -> list[tuple[str, dict]]:
    """Every object schema within, with its path."""
    found: list[tuple[str, dict]] = []
    if isinstance(schema, dict):
        if schema.get("type") == "object" or "properties" in schema:
            found.append((path, schema))
        for key, value in schema.items():
            inner = value.items() if key in ("properties", "$defs", "definitions") and isinstance(value, dict) else None
            if inner is not None:
                found += [one for name, entry in inner for one in objects(entry, f"{path}.{key}.{name}")]
            elif key not in ("enum", "const", "default", "examples"):
                found += objects(value, f"{path}.{key}")
    elif isinstance(schema, list):
        found += [one for index, entry in enumerate(schema) for one in objects(entry, f"{path}.{index}")]
    return found
