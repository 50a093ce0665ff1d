"""Commands as bytes: one MessagePack array for a whole group, quick to write and to read.

Commands of one kind stand together as columns, one for each field, in the order of the class; a
signed document's fields stand in its place. A column that has one value throughout says it
once: a group's intents mostly share a resource, an asset, an epoch. Beside the columns stand the
names that come again and again, each once, the kinds, each command's kind in order, and the
times. Accounts, resources, assets and keys of the frequent kinds are said by their place among
the names. What is signed together follows each other: of the signature and the proof, only what
the one before does not have is said.

Fields may be added at the end of a command's class, with a default, and are missing in older
groups. The frequent kinds are read without checking patterns and ranges again: whoever reads a
journal has just verified that these are the bytes which were admitted and written. What does not
fit its kind is refused all the same. A name is one string in the whole process: the market looks
it up sooner and keeps it once.
"""

from collections.abc import Callable, Iterable, Sequence
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
from solver.core.document import IntentState, intent_record, seconds
from solver.engine.batch import Entry

Column = list[Any]
Names = list[str]
Row = Sequence[Any]
Reader = Callable[[Row, int, Names], Command]
INTENT: Final = SubmitIntent.__name__
_KINDS: Final[dict[str, type[Command]]] = {kind.__name__: kind for kind in get_args(Command)}
_SIGNED: Final[dict[type[Command], tuple[str, type[Document]]]] = {
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
_SIGNATURES: Final = {
    kind.__name__: len(document.__struct_fields__) + kind.__struct_fields__.index("signature") - 2
    for kind, (_, document) in _SIGNED.items()
}
"""Which column has the signatures; behind it an intent has its proof."""
_OUTCOMES: Final = {str(outcome): outcome for outcome in Outcome}
_INDEX_CHARS: Final = 6
"""A proof is "0x" and its index, then siblings from the leaf up: neighbours share the upper."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(
    tuple[Names, list[str], bytes, list[int], list[list[Column]]]
)


UNREADABLE: Final = (ValueError, TypeError, LookupError)
"""What is raised by reading what is no group of this version."""


class PayloadUnreadable(Exception):
    """These bytes are no group of commands that this version knows."""


class Block:
    """The commands of one kind in a group: a column for each field but the time."""

    __slots__ = ("columns", "count", "kind")

    def __init__(self, kind: str, columns: list[Column], count: int) -> None:
        self.kind = kind
        self.count = count
        signatures = _SIGNATURES.get(kind, len(columns))
        self.columns = [
            _whole(column if place < signatures else _lengthened(column), count)
            for place, column in enumerate(columns)
        ]

    def rows(self) -> list[Row]:
        """The fields of each command."""
        if not self.columns:
            return [()] * self.count
        return list(zip(*self.columns, strict=True))


class Said:
    """A group as it was read. Raises UNREADABLE."""

    __slots__ = ("blocks", "names", "order", "times_ms")

    def __init__(self, payload: bytes) -> None:
        names, kinds, order, times_ms, blocks = _DECODER.decode(payload)
        self.names: Names = [intern(name) for name in names]
        self.order: bytes = order
        """The place of each command's kind among the blocks."""
        self.times_ms: list[int] = _whole(times_ms, len(order))
        self.blocks: list[Block] = []
        for kind, columns in zip(kinds, blocks, strict=True):
            self.blocks.append(Block(kind, columns, order.count(len(self.blocks))))
        if sum([block.count for block in self.blocks]) != len(order):
            raise ValueError("a command of a kind that is not there")


def encode(entries: Sequence[Entry], times_ms: Sequence[int] = ()) -> bytes:
    """The bytes of a group; where an intent's record is among them, each one's time is said."""
    names: dict[str, int] = {}
    kinds: dict[str, int] = {}
    parts: list[list[Entry]] = []
    order = bytearray()
    times: Column = []
    for number, entry in enumerate(entries):
        if isinstance(entry, IntentState):
            kind = INTENT
            times.append(times_ms[number])
        else:
            kind = type(entry).__name__
            times.append(entry.at_ms)
        place = kinds.get(kind)
        if place is None:
            place = kinds[kind] = len(kinds)
            parts.append([])
        parts[place].append(entry)
        order.append(place)
    blocks = [_columns(kind, parts[place], names) for kind, place in kinds.items()]
    return _ENCODER.encode((list(names), list(kinds), order, _said(times), blocks))


def decode(payload: bytes) -> list[Command]:
    """The commands of a group. Raises PayloadUnreadable."""
    try:
        said = Said(payload)
        kinds = [block.kind for block in said.blocks]
        rows = [iter(block.rows()) for block in said.blocks]
        return [
            command_of(kinds[place], next(rows[place]), at_ms, said.names)
            for place, at_ms in zip(said.order, said.times_ms, strict=True)
        ]
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error


def command_of(kind: str, row: Row, at_ms: int, names: Names) -> Command:
    """The command of this kind that has these fields. Raises UNREADABLE."""
    reader = _READERS.get(kind)
    if reader is not None:
        try:
            return reader(row, at_ms, names)
        except ValueError:
            """It has more or fewer fields than this version writes."""
    return _read(kind, row, at_ms, names)


def _row(command: Entry, places: dict[str, int]) -> Column:
    assert not isinstance(command, IntentState)
    row = _fields(command, places)
    if type(command) in _SIGNED:
        row[1:2] = _fields(row[1], places)
    return row[1:]


def _record(entry: Entry) -> IntentState:
    """An intent's record, made of its command if need be."""
    if isinstance(entry, IntentState):
        return entry
    _, document, digest, signer, authority, signature, proof = astuple(entry)
    return intent_record(
        document,
        digest=digest,
        signer=signer,
        authority=authority,
        signature=signature,
        proof=proof,
    )


def _intent_columns(intents: list[IntentState], places: dict[str, int]) -> list[Column]:
    """What the SubmitIntents would be that have these records' fields, column by column."""
    return [
        _placed([intent.account for intent in intents], places),
        _placed([intent.resource for intent in intents], places),
        _placed([intent.asset for intent in intents], places),
        [intent.units for intent in intents],
        [intent.units_min for intent in intents],
        [intent.limit for intent in intents],
        [seconds(intent.starts_ms) for intent in intents],
        [seconds(intent.until_ms) for intent in intents],
        [intent.immediate for intent in intents],
        [intent.epoch for intent in intents],
        [intent.nonce for intent in intents],
        [intent.digest for intent in intents],
        _placed([intent.signer for intent in intents], places),
        [intent.authority for intent in intents],
        [intent.signature for intent in intents],
        [intent.proof_or_place for intent in intents],
    ]


def _placed(names: Names, places: dict[str, int]) -> Column:
    """Each name's place; most often a name is the one before it."""
    column: Column = []
    before, place = "", -1
    for name in names:
        if name is not before or place < 0:
            before, place = name, places.setdefault(name, len(places))
        column.append(place)
    return column


def _fields(struct: msgspec.Struct, places: dict[str, int]) -> Column:
    fields = list(astuple(struct))
    for index in _NAMED.get(type(struct), ()):
        fields[index] = places.setdefault(fields[index], len(places))
    return fields


def _columns(kind: str, entries: list[Entry], places: dict[str, int]) -> list[Row]:
    whole: Iterable[Row]
    if kind == INTENT:
        whole = _intent_columns([_record(entry) for entry in entries], places)
    else:
        whole = zip(*[_row(entry, places) for entry in entries], strict=True)
    columns = [_said(column) for column in whole]
    signatures = _SIGNATURES.get(kind, len(columns))
    for place in range(signatures, len(columns)):
        columns[place] = _shortened(columns[place])
    return columns


def _said(column: Row) -> Row:
    """A column as it is said: once, if it has one value throughout."""
    if column and column[0] == column[-1] and column.count(column[0]) == len(column):
        return column[:1]
    return column


def _whole(column: Column, count: int) -> Column:
    """A column with a value for each command."""
    if len(column) == 1:
        return column * count
    if len(column) != count:
        raise ValueError(f"a column of {len(column)} for {count} commands")
    return column


def _shortened(column: Row) -> Row:
    """Signatures or proofs, of each what the one before does not have."""
    said: Column = []
    before: str | Place = ""
    for whole in column:
        said.append(None if whole == before else _said_after(before, whole))
        before = whole
    return said


def _said_after(before: str | Place, proof: str | Place) -> str | tuple[str, int]:
    """A proof as it is said behind another: how it begins, and how much of the end it shares."""
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


def _lengthened(column: Column) -> Column:
    """Signatures or proofs, each as it was before `_shortened`."""
    whole: Column = []
    before: str = ""
    for said in column:
        if isinstance(said, str):
            before = said
        elif said is not None:
            own, shared = said
            before = _joined(before, own, shared)
        whole.append(before)
    return whole


def _joined(before: str, own: str, shared: int) -> str:
    """A proof that ends in as many characters as the one before it."""
    if not 0 < shared <= len(before):
        raise ValueError(f"{shared} characters of a proof of {len(before)}")
    return own + before[-shared:]


def _read(name: str, row: Row, at_ms: int, names: Names) -> Command:
    """Any kind of this version or an earlier one, checked field by field."""
    kind = _KINDS[name]
    if kind in _SIGNED:
        field, document = _SIGNED[kind]
        width = len(document.__struct_fields__)
        signed = _named(document, row[:width], names)
        values = _named(kind, (at_ms, None, *row[width:]), names)
        values[field] = signed
    else:
        values = _named(kind, (at_ms, *row), names)
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


def _read_tick(row: Row, at_ms: int, _names: Names) -> Tick:
    () = row
    return Tick(at_ms=at_ms)


def _read_start(row: Row, at_ms: int, _names: Names) -> StartCall:
    lease, call, units = row
    return StartCall(at_ms=at_ms, lease=lease, call=call, units=units)


def _read_finish(row: Row, at_ms: int, _names: Names) -> FinishCall:
    call, outcome, units, sellers_fault = row
    return FinishCall(
        at_ms=at_ms,
        call=call,
        outcome=_OUTCOMES[outcome],
        units=units,
        sellers_fault=sellers_fault,
    )


def _read_end(row: Row, at_ms: int, names: Names) -> EndLeases:
    account, intent = row
    return EndLeases(at_ms=at_ms, account=names[account], intent=intent)


_READERS: Final[dict[str, Reader]] = {
    "Tick": _read_tick,
    "StartCall": _read_start,
    "FinishCall": _read_finish,
    "EndLeases": _read_end,
}
"""Frequent kinds, but for those that replay makes no command of; a test holds each to `_read`."""
