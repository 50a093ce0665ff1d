"""Counts what a call used, from the answer as it passes.

Counting comes before relaying, so that at any moment at least what the client has got
is counted. A stream that ends without usage is estimated from below by what it carried.
"""

from typing import Any, Final, Protocol

import msgspec

from intents.bound import UNITS_MAX
from solver.vault.template import PerCall, UsageTokens

LINE_BYTES_MAX: Final = 256 * 1024
"""A longer event-stream line is counted by its size and not parsed."""
BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""A longer body is counted by its size and not parsed."""
BYTES_PER_TOKEN: Final = 4
EVENT_STREAM: Final = "text/event-stream"


class Meter(Protocol):
    """Counts one answer: `feed` each chunk, then read `units` at any time."""

    def feed(self, chunk: bytes) -> None:
        """Count a chunk that is about to be relayed."""
        ...

    @property
    def units(self) -> int:
        """What was used up to now."""
        ...


class CallMeter:
    """One unit, whatever came."""

    def feed(self, chunk: bytes) -> None:
        """Nothing to see here."""

    @property
    def units(self) -> int:
        """One."""
        return 1


class BodyMeter:
    """Tokens of a JSON answer: its `usage`, or an estimate by size."""

    def __init__(self, prompt_bytes: int) -> None:
        self._prompt = _tokens(prompt_bytes)
        self._body = bytearray()
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Keep the body while it is short enough to parse."""
        self._bytes += len(chunk)
        if self._bytes <= BODY_BYTES_MAX:
            self._body += chunk
        else:
            self._body.clear()

    @property
    def units(self) -> int:
        """What the body says, once it is whole."""
        reported = usage_of(bytes(self._body))
        return self._prompt + _tokens(self._bytes) if reported is None else reported


class StreamMeter:
    """Tokens of an event stream: the greatest `usage`, or an estimate by events and size."""

    def __init__(self, prompt_bytes: int) -> None:
        self._prompt = _tokens(prompt_bytes)
        self._line = bytearray()
        self._too_long = False
        self._after_return = False
        self._events = 0
        self._text_bytes = 0
        self._reported: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Take in a chunk, wherever it was cut."""
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r") or (self._after_return and not chunk)
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for position, line in enumerate(lines):
            if position:
                self._end_line()
            self._extend(line)

    @property
    def units(self) -> int:
        """What the stream reported, or at least what it carried so far."""
        carried = max(self._events, _tokens(self._text_bytes + len(self._line)))
        if self._reported is not None:
            return self._reported + carried
        return self._prompt + carried if carried else 0

    def _extend(self, piece: bytes) -> None:
        if self._too_long or len(self._line) + len(piece) > LINE_BYTES_MAX:
            self._too_long = True
            self._text_bytes += len(self._line) + len(piece)
            self._line.clear()
        else:
            self._line += piece

    def _end_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        self._too_long = False
        field, _, value = line.partition(b":")
        if field == b"data" and value.strip() != b"[DONE]":
            self._count(value)

    def _count(self, data: bytes) -> None:
        fields = _object(data)
        reported = _usage(fields)
        if reported is not None:
            # It covers all that came before, and this event.
            self._reported = max(reported, self._reported or 0)
            self._events = self._text_bytes = 0
            return
        size = _text_bytes(fields) if fields else len(data)
        if size:
            self._events += 1
            self._text_bytes += size


def meter_for(metering: PerCall | UsageTokens, content_type: str, prompt_bytes: int) -> Meter:
    """The meter for an answer of this type to a request of this size."""
    if isinstance(metering, PerCall):
        return CallMeter()
    if content_type.partition(";")[0].strip().lower() == EVENT_STREAM:
        return StreamMeter(prompt_bytes)
    return BodyMeter(prompt_bytes)


def usage_of(body: bytes) -> int | None:
    """`usage.total_tokens` of a JSON object, or None if it has no usable one."""
    return _usage(_object(body))


def _object(raw: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _usage(fields: dict[str, Any]) -> int | None:
    usage = fields.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if type(total) is int and 0 <= total <= UNITS_MAX else None


def _text_bytes(value: object) -> int:
    """The bytes of every text below `choices`: all that a client can make use of."""
    if isinstance(value, str):
        return len(value.encode(errors="surrogatepass"))
    if isinstance(value, list):
        return sum(map(_text_bytes, value))
    if isinstance(value, dict):
        carried = value.get("choices", value)
        inner = carried.values() if isinstance(carried, dict) else [carried]
        return sum(map(_text_bytes, inner))
    return 0


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
