"""Events as the feed tells them: one wire type per event class, made from the class."""

from collections import OrderedDict
from typing import Any, Final

import msgspec

from intents.reject import Reject
from solver.core.event import Event, SolutionAccepted
from solver.engine.feed import Entry
from solver.gateway.wire import LineTold

LINES_KEPT_MAX: Final = 4_096


class JudgedFor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why something did not count."""

    code: str
    message: str
    hint: str


def _line_type(kind: type[Event]) -> type[msgspec.Struct]:
    """An event class as a line of the feed: camelCase, numbered, scores as text.

    What an event says only sometimes need not be there.
    """
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [("seq", int), ("at_ms", int)]
    for field in msgspec.structs.fields(kind):
        told: Any = field.type
        if field.name == "score":
            told = str
        elif field.name == "lines":
            told = tuple[LineTold, ...]
        elif field.name == "reason" and field.default is None:
            told = JudgedFor | None
        is_left_out = field.default is msgspec.UNSET
        fields.append((field.name, told, field.default) if is_left_out else (field.name, told))
    return msgspec.defstruct(
        kind.__name__,
        fields,
        frozen=True,
        kw_only=True,
        rename="camel",
        tag_field="event",
        tag=kind.__name__,
        namespace={"__doc__": kind.__doc__},
    )


LINE_TYPES: Final = {
    kind: _line_type(kind) for kind in Event.__subclasses__() if kind is not SolutionAccepted
}
"""Every event class as the feed tells it; sealed bids are told by `SolutionJudged` first."""


def line_of(entry: Entry) -> msgspec.Struct:
    """An entry as the feed tells it."""
    values = {name: _told(name, value) for name, value in _fields(entry.event)}
    return LINE_TYPES[type(entry.event)](seq=entry.seq, at_ms=entry.at_ms, **values)


class Lines:
    """Encoded lines, each encoded once for all readers while it is new."""

    def __init__(self) -> None:
        self._lines: OrderedDict[int, str] = OrderedDict()

    def encode(self, entry: Entry) -> str:
        """The JSON of an entry."""
        line = self._lines.get(entry.seq)
        if line is None:
            line = msgspec.json.encode(line_of(entry)).decode()
            self._lines[entry.seq] = line
            if len(self._lines) > LINES_KEPT_MAX:
                self._lines.popitem(last=False)
        return line


def _fields(event: Event) -> list[tuple[str, Any]]:
    return list(msgspec.structs.asdict(event).items())


def _told(name: str, value: Any) -> Any:  # noqa: ANN401  any field of an event
    if name == "score":
        return str(value)
    if name == "lines":
        return tuple(LineTold(**msgspec.structs.asdict(line)) for line in value)
    if isinstance(value, Reject):
        return JudgedFor(code=value.code, message=value.message, hint=value.hint)
    return value
