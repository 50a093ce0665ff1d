"""What a call sends on: its names are read and written anew, what they hold goes on as it came.

A body of a megabyte can be a quarter of a million numbers, and to make each of them a value of
Python's would hold every other call up for a tenth of a second. What a lease covers is decided
by names at the top level, so only these are read. All of it is checked to be JSON.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from solver.vault.template import Operation, PerCall, Resource, UsageTokens

DEPTH_MAX: Final = 256
NAMES_MAX: Final = 1_024
"""At the top level."""

_WHOLE: Final = re.compile(rb"[1-9][0-9]{0,17}")
_NULL: Final = b"null"
_MARKS: Final = b'"[{]}'
_UNMARKED: Final = bytes(set(range(256)) - set(_MARKS))
_STEPS: Final = bytes.maketrans(_MARKS, bytes([0, 1, 1, 255, 255]))
"""One deeper, one higher (-1 as a byte), and 0 for where text begins or ends."""


class Body(NamedTuple):
    """The body to send, and the most units that it can take."""

    raw: bytes
    units_max: int


class _Name(str):
    """A name at the top level: `msgspec` asks a hook about each, also about a repeated one."""

    __slots__ = ()


def check_body(resource: Resource, operation: Operation, raw: bytes, units_left: int) -> Body | str:
    """The body of a call under `resource`, or what is wrong with it.

    Output that it does not bound is bounded so that `units_left` suffice.
    """
    try:
        return _checked(resource, operation, raw, units_left)
    except (msgspec.MsgspecError, UnicodeError) as error:
        return f"the body is not plain JSON: {error}"
    except RecursionError:
        return "the body is nested too deeply"


def _checked(resource: Resource, operation: Operation, raw: bytes, units_left: int) -> Body | str:
    if not raw and isinstance(resource.metering, PerCall) and not operation.require:
        return Body(b"", 1)
    raw.decode()  # msgspec does not look at the text that it passes over
    fields = _read_object(raw)
    if _is_deeper(raw, DEPTH_MAX):
        return f"the body is nested more than {DEPTH_MAX} deep"
    for name, wanted in operation.require.items():
        if _text(fields.get(name, _NULL)) != wanted:
            return f"this lease is for {name} = {wanted}"
    if isinstance(resource.metering, PerCall):
        return Body(_write_object(fields), 1)
    return _bounded(resource.metering, fields, len(raw), units_left)


def _read_object(raw: bytes) -> dict[str, bytes]:
    """A JSON object without names that another parser could take for each other.

    Raises msgspec.MsgspecError, RecursionError.
    """
    kind = dict[_Name, msgspec.Raw]
    members = msgspec.json.decode(raw, type=kind, dec_hook=_distinct_names())
    return {str(name): bytes(value) for name, value in members.items()}


def _distinct_names() -> Callable[[type, Any], _Name]:
    """A hook that takes each name once. What it raises ends the decoding there."""
    known: set[str] = set()

    def take(_: type, name: Any) -> _Name:  # noqa: ANN401  a hook of msgspec's
        if name.lower() in known:
            raise ValueError("a name came twice")
        if len(known) == NAMES_MAX:
            raise ValueError(f"more than {NAMES_MAX} names")
        known.add(name.lower())
        return _Name(name)

    return take


def _write_object(fields: dict[str, bytes]) -> bytes:
    """Names in one spelling, as some could be read differently with their escapes."""
    members = (msgspec.json.encode(name) + b":" + value for name, value in fields.items())
    return b"{" + b",".join(members) + b"}"


def _is_deeper(raw: bytes, depth_max: int) -> bool:
    """Whether JSON has more objects and arrays within each other."""
    if raw.count(b"[") + raw.count(b"{") <= depth_max:
        return False
    unescaped = raw.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in raw else raw
    steps = np.frombuffer(unescaped.translate(_STEPS, _UNMARKED), np.int8)
    # Sums of 32 bits: numpy adds these up five times as fast as narrower ones.
    outside = (steps == 0).cumsum(dtype=np.int32) & 1 == 0
    depths = (steps * outside).cumsum(dtype=np.int32)
    return bool(depths.max() > depth_max)


def _text(value: bytes) -> str | None:
    """A JSON text; None for any other value."""
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else None


def _whole(value: bytes) -> int:
    """A JSON number that is written as a whole one; 0 for any other value."""
    return int(value) if _WHOLE.fullmatch(value) else 0


def _bounded(
    metering: UsageTokens, fields: dict[str, bytes], size: int, units_left: int
) -> Body | str:
    """Bounds the output, asks for usage at the end of a stream, and adds it all up."""
    prompt = -(-size // metering.prompt_bytes_per_token)
    given = {name: fields.get(name, _NULL) for name in (*metering.output_fields, "n")}
    numbers = {name: _whole(value) for name, value in given.items() if value != _NULL}
    if not all(1 <= number <= metering.output_max for number in numbers.values()):
        return f"token bounds and n are whole numbers from 1 to {metering.output_max}"
    choices = numbers.pop("n", 1)
    room = max(1, (units_left - prompt) // choices)
    output = max(numbers.values(), default=min(metering.output_default, room))
    forced = _reporting(fields)
    if not numbers and metering.output_fields:
        forced[metering.output_fields[0]] = b"%d" % output
    return Body(_write_object(fields | forced), prompt + output * choices)


def _reporting(fields: dict[str, bytes]) -> dict[str, bytes]:
    """What makes a stream end with its usage."""
    if fields.get("stream") != b"true":
        return {}
    options = fields.get("stream_options", _NULL)
    kept = _read_object(options) if options.startswith(b"{") else {}
    return {"stream_options": _write_object(kept | {"include_usage": b"true"})}
