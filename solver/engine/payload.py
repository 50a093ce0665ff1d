"""Commands as bytes: one MessagePack array for a whole group, quick to write and to read.

It holds two arrays: the names that come again and again, each once, and a row per command:
its kind, then its fields in the order of the class; a signed document in it is a row of its
own. Kinds are said by their place among the names, and so are the accounts, resources, assets
and keys of the frequent ones. Intents that were signed together follow each other: of the
signature and the proof, only what the intent before does not have is said. Fields may be added
at the end of a class, with a default, and are missing in older rows. The frequent kinds are
read without checking patterns and ranges again: whoever reads a journal has just verified that
these are the bytes which were admitted and written. What does not fit its kind is refused all
the same. A name is one string in the whole process: the market looks it up sooner and keeps it
once.
"""

from collections.abc import Callable, Sequence
from sys import intern
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import astuple

from intents.document import Document, Intent, Mandate, Offer
from intents.place import NODE_CHARS, Place
from solver.core.command import (
    CancelDocument,
    Command,
    EndLeases,
    FinishCall,
    Outcome,
    StartCall,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
    Tick,
)
from solver.core.document import IntentState, seconds

Row = list[Any]
Names = list[str]
Reader = Callable[[Row, Names], Command]
_KINDS: Final[dict[str, type[Command]]] = {kind.__name__: kind for kind in get_args(Command)}
_INTENT: Final = SubmitIntent.__name__
_SIGNED: Final[dict[type, tuple[str, type[Document]]]] = {
    SubmitIntent: ("intent", Intent),
    SubmitOffer: ("offer", Offer),
    SubmitMandate: ("mandate", Mandate),
}
"""The kinds that carry a signed document, second of their fields: its name, and what it is."""
_NAMED: Final[dict[type, tuple[int, ...]]] = {
    kind: tuple(kind.__struct_fields__.index(field) for field in fields)
    for kind, fields in (
        (SubmitIntent, ("signer",)),
        (SubmitOffer, ("signer",)),
        (CancelDocument, ("account",)),
        (EndLeases, ("account",)),
        (Intent, ("account", "resource", "asset")),
        (Offer, ("account", "resource", "asset", "key")),
    )
}
"""Which fields are said by their place among the names."""
_OUTCOMES: Final = {str(outcome): outcome for outcome in Outcome}
_SIGNATURE: Final = 6
_PROOF: Final = 7
"""Where a row has an intent's signature and proof."""
_INDEX_CHARS: Final = 6
"""A proof is "0x" and its index, then siblings from the leaf up: neighbours share the upper."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Names, list[Row]])


UNREADABLE: Final = (ValueError, TypeError, LookupError)
"""What is raised by reading what is no row of this version."""


class PayloadUnreadable(Exception):
    """These bytes are no group of commands that this version knows."""


def encode(entries: Sequence[Command | IntentState], times_ms: Sequence[int] = ()) -> bytes:
    """The bytes of a group; where an intent's record is among them, each one's time is said."""
    places: dict[str, int] = {}
    rows: list[Row] = []
    signature: str = ""
    proof: str | Place = ""
    for number, entry in enumerate(entries):
        if isinstance(entry, IntentState):
            row = _record_row(entry, times_ms[number], places)
            signature, proof = _shorten(row, signature, proof)
        else:
            row = _row(entry, places)
            if type(entry) is SubmitIntent:
                signature, proof = _shorten(row, signature, proof)
        rows.append(row)
    return _ENCODER.encode((list(places), rows))


def decode(payload: bytes) -> list[Command]:
    """The commands of a group. Raises PayloadUnreadable."""
    try:
        names, rows = rows_of(payload)
        return [command_of(row, names) for row in rows]
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error


def rows_of(payload: bytes) -> tuple[Names, list[Row]]:
    """The names of a group and its rows, each with its whole signature. Raises UNREADABLE."""
    said, rows = _DECODER.decode(payload)
    names = [intern(name) for name in said]
    _lengthen(rows, names)
    return names, rows


def command_of(row: Row, names: Names) -> Command:
    """The command that a row says. Raises UNREADABLE."""
    reader = _READERS.get(names[row[0]])
    if reader is not None:
        try:
            return reader(row, names)
        except ValueError:
            """It has more or fewer fields than this version writes."""
    return _read(row, names)


def _row(command: Command, places: dict[str, int]) -> Row:
    kind = type(command)
    row: Row = [places.setdefault(kind.__name__, len(places))]
    row += _fields(command, places)
    if kind in _SIGNED:
        row[2] = _fields(row[2], places)
    return row


def _record_row(intent: IntentState, at_ms: int, places: dict[str, int]) -> Row:
    """What the SubmitIntent would be that has this record's fields."""
    return [
        places.setdefault(_INTENT, len(places)),
        at_ms,
        [
            places.setdefault(intent.account, len(places)),
            places.setdefault(intent.resource, len(places)),
            places.setdefault(intent.asset, len(places)),
            intent.units,
            intent.units_min,
            intent.limit,
            seconds(intent.starts_ms),
            seconds(intent.until_ms),
            intent.immediate,
            intent.epoch,
            intent.nonce,
        ],
        intent.digest,
        places.setdefault(intent.signer, len(places)),
        intent.authority,
        intent.signature,
        intent.proof_or_place,
    ]


def _fields(struct: msgspec.Struct, places: dict[str, int]) -> Row:
    fields = list(astuple(struct))
    for index in _NAMED.get(type(struct), ()):
        fields[index] = places.setdefault(fields[index], len(places))
    return fields


def _shorten(row: Row, signature: str, proof: str | Place) -> tuple[str, str | Place]:
    """Say of an intent's row what the one before, with these, does not have; what it had itself.

    A bulk's intent takes 250 bytes instead of 630, all of them to be hashed and synced.
    """
    signed: tuple[str, str | Place] = (row[_SIGNATURE], row[_PROOF])
    if signed[0] == signature:
        row[_SIGNATURE] = None
    row[_PROOF] = _said_after(proof, signed[1])
    return signed


def _said_after(before: str | Place, proof: str | Place) -> str | tuple[str, int]:
    """A proof as it is said behind another one: how it begins, and how much it shares."""
    if isinstance(proof, Place):
        if isinstance(before, Place) and before.nodes is proof.nodes:
            own, shared = proof.proof_after(before)
            return (own, shared) if shared else own
        return proof.proof()
    if isinstance(before, Place):
        before = before.proof()
    for cut in range(_INDEX_CHARS + NODE_CHARS, len(proof), NODE_CHARS):
        if before.endswith(proof[cut:]):
            return proof[:cut], len(proof) - cut
    return proof


def _lengthen(rows: list[Row], names: Names) -> None:
    """Undo `_shorten`; a row that says all is left as it is."""
    signature = proof = ""
    for row in rows:
        if names[row[0]] != _INTENT or len(row) <= _PROOF:
            continue
        if row[_SIGNATURE] is None:
            row[_SIGNATURE] = signature
        if isinstance(row[_PROOF], list):
            row[_PROOF] = _joined(proof, *row[_PROOF])
        signature, proof = row[_SIGNATURE], row[_PROOF]


def _joined(before: str, own: str, shared: int) -> str:
    """A proof that ends in as many characters as the one before it."""
    if not 0 < shared <= len(before):
        raise ValueError(f"{shared} characters of a proof of {len(before)}")
    return own + before[-shared:]


def _read(row: Row, names: Names) -> Command:
    """Any kind of this version or an earlier one, checked field by field."""
    kind = _KINDS[names[row[0]]]
    values = _named(kind, row[1:], names)
    if kind in _SIGNED:
        name, document = _SIGNED[kind]
        values[name] = _named(document, values[name], names)
    read: Command = msgspec.convert(values, kind)
    return read


def _named(kind: type[msgspec.Struct], row: Row, names: Names) -> dict[str, Any]:
    """Fields by their names; those that an older row does not have yet are left out."""
    fields = kind.__struct_encode_fields__
    if len(row) > len(fields):
        raise ValueError(f"{kind.__name__} has {len(row)} fields")
    values = list(row)
    for index in _NAMED.get(kind, ()):
        if index < len(values):
            values[index] = names[values[index]]
    return dict(zip(fields, values, strict=False))


def _read_tick(row: Row, _names: Names) -> Tick:
    _, at_ms = row
    return Tick(at_ms=at_ms)


def _read_start(row: Row, _names: Names) -> StartCall:
    _, at_ms, lease, call, units = row
    return StartCall(at_ms=at_ms, lease=lease, call=call, units=units)


def _read_finish(row: Row, _names: Names) -> FinishCall:
    _, at_ms, call, outcome, units = row
    return FinishCall(at_ms=at_ms, call=call, outcome=_OUTCOMES[outcome], units=units)


def _read_end(row: Row, names: Names) -> EndLeases:
    _, at_ms, account, intent = row
    return EndLeases(at_ms=at_ms, account=names[account], intent=intent)


_READERS: Final[dict[str, Reader]] = {
    "Tick": _read_tick,
    "StartCall": _read_start,
    "FinishCall": _read_finish,
    "EndLeases": _read_end,
}
"""Frequent kinds, but for those that replay makes no command of; a test holds each to `_read`."""
