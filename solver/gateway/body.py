"""Bytes from outside become typed values, or a Reject; nothing in between.

JSON is taken strictly: UTF-8, no repeated names, no NaN or infinity, no lone surrogates,
no unknown fields. Hex in the fields that name accounts and hashes may be of either case
and is lower-cased here, so that the core knows one spelling only.
"""

import asyncio
import json
import math
import re
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from intents.reject import Reject, RejectCode, reject

T = TypeVar("T")

MESSAGE_CHARS_MAX: Final = 200
DEPTH_MAX: Final = 32
_HEX: Final = re.compile(r"0[xX](?:[0-9a-fA-F]{40}|[0-9a-fA-F]{64})")
_HEX_FIELDS: Final = (
    "account",
    "asset",
    "intent",
    "key",
    "offer",
    "snapshot",
    "verifyingContract",
)
_NESTED_FIELDS: Final = ("document", "domain", "attestation")


async def read_body(request: web.Request, bytes_max: int, seconds_max: float) -> bytes | Reject:
    """The whole body. Rejects: unsupported_media_type (encoded), too_large, malformed."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return reject(RejectCode.UNSUPPORTED_MEDIA_TYPE, "send the body without an encoding")
    if (request.content_length or 0) > bytes_max:
        return reject(RejectCode.TOO_LARGE, f"a body has at most {bytes_max} bytes")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds_max):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > bytes_max:
                    return reject(RejectCode.TOO_LARGE, f"a body has at most {bytes_max} bytes")
                parts.append(chunk)
    except TimeoutError:
        return reject(RejectCode.MALFORMED, f"the body did not come within {seconds_max:g} s")
    except web.RequestPayloadError:
        return reject(RejectCode.MALFORMED, "the body ended early or was framed wrongly")
    return b"".join(parts)


def is_json(request: web.Request) -> bool:
    """Whether the request says that its body is JSON."""
    return request.content_type == "application/json"


def decode_json(raw: bytes | str, kind: type[T]) -> T | Reject:
    """Strict JSON as a `kind`. Rejects: malformed."""
    value = parse_json(raw)
    if isinstance(value, Reject):
        return value
    return convert(_lower_hex(value), kind)


def parse_json(raw: bytes | str) -> Any:  # noqa: ANN401  any JSON value, or a Reject
    """Strict JSON as plain values, or a Reject (malformed)."""
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        if "\\u" in text:
            msgspec.json.encode(value)  # a lone surrogate does not encode
    except UnicodeError:
        return reject(RejectCode.MALFORMED, "not UTF-8 text")
    except RecursionError:
        return reject(RejectCode.MALFORMED, "nested too deeply")
    except ValueError as error:
        return malformed(f"not JSON: {error}")
    if _depth_exceeds(value, DEPTH_MAX):
        return reject(RejectCode.MALFORMED, f"nested more than {DEPTH_MAX} deep")
    return value


def convert(value: object, kind: type[T], *, lax: bool = False) -> T | Reject:
    """Plain values as a `kind`; `lax` also reads numbers from text. Rejects: malformed."""
    try:
        return msgspec.convert(value, kind, strict=not lax)
    except msgspec.ValidationError as error:
        return malformed(str(error))


def decode_query(request: web.Request, kind: type[T]) -> T | Reject:
    """The query's parameters as a `kind`. Rejects: malformed (repeated ones too)."""
    query = request.query
    values = {name: _lower(value) for name, value in query.items()}
    if len(values) != len(query):
        return reject(RejectCode.MALFORMED, "a query parameter came twice")
    return convert(values, kind, lax=True)


def malformed(message: str) -> Reject:
    """A Reject that quotes at most a little of what was sent."""
    printable = message.encode("ascii", "backslashreplace").decode()
    return reject(RejectCode.MALFORMED, printable[:MESSAGE_CHARS_MAX])


def _lower(text: str) -> str:
    return text.lower() if _HEX.fullmatch(text) else text


def _lower_hex(value: Any) -> Any:  # noqa: ANN401  any JSON value
    if not isinstance(value, dict):
        return value
    for name in _HEX_FIELDS:
        if isinstance(value.get(name), str):
            value[name] = _lower(value[name])
    for name in _NESTED_FIELDS:
        if isinstance(value.get(name), dict):
            _lower_hex(value[name])
    return value


def _depth_exceeds(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return not depth or any(_depth_exceeds(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return not depth or any(_depth_exceeds(item, depth - 1) for item in value)
    return False


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name came twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
