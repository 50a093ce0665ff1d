"""Bytes from outside become typed values, or a Reject; nothing in between.

JSON is taken strictly: UTF-8, no repeated names, no NaN or infinity, no lone surrogates,
no unknown fields. Hex in the fields that name accounts and hashes may be of either case
and is lower-cased here, so that the core knows one spelling only.

`decode_json` does all of it by the book. `Strict` comes to the same answer in a tenth of
the time for what most clients send, and asks `decode_json` about all else.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from intents.reject import Reject, RejectCode, reject

T = TypeVar("T")

MESSAGE_CHARS_MAX: Final = 200
DEPTH_MAX: Final = 32
CONTAINERS_MAX: Final = 65_536
"""Objects and arrays, or brackets in text, of one body: each costs as much as a hundred bytes."""
_KEY: Final = re.compile(rb'"([A-Za-z]+)"[ \t\r\n]*:')
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
_NESTED_FIELDS: Final = ("document", "domain", "attestation", "intents", "offers")


def decode_json(
    raw: bytes | str, kind: type[T], *, containers_max: int = CONTAINERS_MAX
) -> T | Reject:
    """Strict JSON as a `kind`. Rejects: malformed."""
    if _opened(raw) > containers_max:
        return reject(RejectCode.MALFORMED, f"this has at most {containers_max} objects and arrays")
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


class Strict(Generic[T]):
    """Decodes one kind of body, as `decode_json` would.

    All names of a body must be distinct at every depth of `kind`, so that a name that comes
    twice is a repeated one. `canonical` gives the bytes that clients mostly send for a value:
    a body that is just these repeats nothing, which saves looking. `read` decodes in place of
    msgspec; it may raise what msgspec does, or answer None for what it leaves to `decode_json`.
    That takes its time over many small values, so it is given no more than a `kind` can have.
    """

    def __init__(
        self,
        kind: type[T],
        canonical: Callable[[T], bytes],
        read: Callable[[bytes], T | None] | None = None,
        *,
        containers_max: int = CONTAINERS_MAX,
    ) -> None:
        self._kind = kind
        self._decode = read or msgspec.json.Decoder(kind).decode
        self._canonical = canonical
        self._containers_max = containers_max

    def decode(self, raw: bytes) -> T | Reject:
        """Strict JSON as a `kind`. Rejects: malformed."""
        value = self._read(raw)
        if value is not None and (self._canonical(value) == raw or _repeats_nothing(raw)):
            return value
        return decode_json(raw, self._kind, containers_max=self._containers_max)

    def canonical(self, raw: bytes) -> T | None:
        """The value of a body that is just what clients mostly send; None for any other."""
        value = self._read(raw)
        return value if value is not None and self._canonical(value) == raw else None

    def _read(self, raw: bytes) -> T | None:
        try:
            return self._decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None


def _repeats_nothing(raw: bytes) -> bool:
    """Whether no name comes twice. False where that is not plain to see."""
    if b"\\" in raw:
        return False
    names = _KEY.findall(raw)
    return len(set(names)) == len(names)


def malformed(message: str) -> Reject:
    """A Reject that quotes at most a little of what was sent."""
    printable = message.encode("ascii", "backslashreplace").decode()
    return reject(RejectCode.MALFORMED, printable[:MESSAGE_CHARS_MAX])


def lower(text: str) -> str:
    """An account or hash in lower case; other text as it is."""
    return text.lower() if _HEX.fullmatch(text) else text


def _opened(raw: bytes | str) -> int:
    """How many objects and arrays there are at most: strings may hold brackets, too."""
    if isinstance(raw, bytes):
        return raw.count(b"{") + raw.count(b"[")
    return raw.count("{") + raw.count("[")


def _lower_hex(value: Any) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                _lower_hex(item)
    if not isinstance(value, dict):
        return value
    for name in _HEX_FIELDS:
        if isinstance(value.get(name), str):
            value[name] = lower(value[name])
    for name in _NESTED_FIELDS:
        if isinstance(value.get(name), dict | list):
            _lower_hex(value[name])
    return value


def _depth_exceeds(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    inner = [item for item in items if isinstance(item, dict | list)]
    return not depth or any(_depth_exceeds(item, depth - 1) for item in inner)


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
