"""Groups as format 2 wrote them: a row for each command. Only migration reads these.

A group held the names that come again and again, and a row per command: its kind, then its fields
in the order of the class, a signed document as a row of its own. Of intents that were signed
together, signature and proof were said as far as the one before did not have them.
"""

from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from intents.document import Intent, Mandate, Offer
from solver.core.command import CancelDocument, Command, EndLeases, SubmitIntent, SubmitOffer
from solver.engine.payload import UNREADABLE, PayloadUnreadable

Row = list[Any]
Names = list[str]
_KINDS: Final[dict[str, type[Command]]] = {kind.__name__: kind for kind in get_args(Command)}
_SIGNED: Final[dict[str, tuple[str, type[msgspec.Struct]]]] = {
    "SubmitIntent": ("intent", Intent),
    "SubmitOffer": ("offer", Offer),
    "SubmitMandate": ("mandate", Mandate),
}
_NAMED: Final[dict[type, tuple[str, ...]]] = {
    SubmitIntent: ("signer",),
    SubmitOffer: ("signer",),
    CancelDocument: ("account",),
    EndLeases: ("account",),
    Intent: ("account", "resource", "asset"),
    Offer: ("account", "resource", "asset", "key"),
}
"""Which fields were said by their place among the names."""
_SIGNATURE: Final = 6
_PROOF: Final = 7
"""Where a row had an intent's signature and proof."""
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Names, list[Row]])


def decode(payload: bytes) -> list[Command]:
    """The commands of a group. Raises PayloadUnreadable."""
    try:
        names, rows = _DECODER.decode(payload)
        _lengthen(rows, names)
        return [_command(row, names) for row in rows]
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error


def _lengthen(rows: list[Row], names: Names) -> None:
    """Give each intent its whole signature and proof."""
    signature = proof = ""
    for row in rows:
        if names[row[0]] != "SubmitIntent" or len(row) <= _PROOF:
            continue
        if row[_SIGNATURE] is None:
            row[_SIGNATURE] = signature
        if isinstance(row[_PROOF], list):
            own, shared = row[_PROOF]
            if not 0 < shared <= len(proof):
                raise ValueError(f"{shared} characters of a proof of {len(proof)}")
            row[_PROOF] = own + proof[-shared:]
        signature, proof = row[_SIGNATURE], row[_PROOF]


def _command(row: Row, names: Names) -> Command:
    name = names[row[0]]
    kind = _KINDS[name]
    values = _fields(kind, row[1:], names)
    if name in _SIGNED:
        field, document = _SIGNED[name]
        values[field] = _fields(document, values[field], names)
    command: Command = msgspec.convert(values, kind)
    return command


def _fields(kind: type[msgspec.Struct], row: Sequence[Any], names: Names) -> dict[str, Any]:
    """Fields by their names; those that a row does not have yet are left out."""
    fields = kind.__struct_encode_fields__
    if len(row) > len(fields):
        raise ValueError(f"{kind.__name__} has {len(row)} fields")
    values = dict(zip(fields, row, strict=False))
    for field in _NAMED.get(kind, ()):
        if field in values:
            values[field] = names[values[field]]
    return values
