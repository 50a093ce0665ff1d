"""Commands as bytes: one MessagePack array for a whole group, quick to write and to read.

A command is a row: its kind, then its fields in the order of the class; a signed document
in it is a row of its own. Fields may be added at the end of a class, with a default, and
are missing in older rows. The frequent kinds are read without checking patterns and ranges
again: whoever reads a journal has just verified that these are the bytes which were
admitted and written. What does not fit its kind is refused all the same. Names that come
again and again are one string each: the market looks them up sooner and keeps them once.
"""

from collections.abc import Callable, Sequence
from sys import intern
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import astuple

from intents.document import Document, Intent, Offer
from solver.core.command import (
    Authority,
    CancelDocument,
    Command,
    EndLeases,
    FinishCall,
    Outcome,
    StartCall,
    SubmitIntent,
    SubmitOffer,
    Tick,
)

Row = list[Any]
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Row])
_KINDS: Final[dict[str, type[Command]]] = {kind.__name__: kind for kind in get_args(Command)}
_SIGNED: Final[dict[type, tuple[str, type[Document]]]] = {
    kind: (field.name, field.type)
    for kind in _KINDS.values()
    for field in msgspec.structs.fields(kind)
    if isinstance(field.type, type) and issubclass(field.type, Document)
}
"""The kinds that carry a signed document: the field's name and what it holds."""
_AUTHORITIES: Final = {int(authority): authority for authority in Authority}
_OUTCOMES: Final = {str(outcome): outcome for outcome in Outcome}


class PayloadUnreadable(Exception):
    """These bytes are no group of commands that this version knows."""


def encode(commands: Sequence[Command]) -> bytes:
    """The bytes of a group."""
    return _ENCODER.encode([_row(command) for command in commands])


def decode(payload: bytes) -> list[Command]:
    """The commands of a group. Raises PayloadUnreadable."""
    try:
        return [_command(row) for row in _DECODER.decode(payload)]
    except (ValueError, TypeError, LookupError) as error:
        raise PayloadUnreadable(str(error)) from error


def _row(command: Command) -> tuple[Any, ...]:
    kind = type(command)
    if kind in _SIGNED:
        at_ms, document, *rest = astuple(command)
        return (kind.__name__, at_ms, astuple(document), *rest)
    return (kind.__name__, *astuple(command))


def _command(row: Row) -> Command:
    reader = _READERS.get(row[0])
    if reader is not None:
        try:
            return reader(row)
        except ValueError:
            """It has more or fewer fields than this version writes."""
    return _read(row)


def _read(row: Row) -> Command:
    """Any kind of this version or an earlier one, checked field by field."""
    kind = _KINDS[row[0]]
    values = _named(kind, row[1:])
    if kind in _SIGNED:
        name, document = _SIGNED[kind]
        values[name] = _named(document, values[name])
    read: Command = msgspec.convert(values, kind)
    return read


def _named(kind: type[msgspec.Struct], values: Row) -> dict[str, Any]:
    names = kind.__struct_encode_fields__
    if len(values) > len(names):
        raise ValueError(f"{kind.__name__} has {len(values)} fields")
    return dict(zip(names, values, strict=False))


def _read_intent(row: Row) -> SubmitIntent:
    _, at_ms, document, digest, signer, authority, signature, proof = row
    account, resource, asset, units, units_min, limit, start, end, immediate, epoch, nonce = (
        document
    )
    intent = Intent(
        account=intern(account),
        resource=intern(resource),
        asset=intern(asset),
        units=units,
        units_min=units_min,
        limit=limit,
        valid_from=start,
        valid_until=end,
        immediate=immediate,
        epoch=epoch,
        nonce=nonce,
    )
    return SubmitIntent(
        at_ms=at_ms,
        intent=intent,
        digest=digest,
        signer=intern(signer),
        authority=_AUTHORITIES[authority],
        signature=signature,
        proof=proof,
    )


def _read_offer(row: Row) -> SubmitOffer:
    _, at_ms, document, digest, signer, authority, signature = row
    account, resource, asset, key, units, limit, window_units, window_seconds, *rest = document
    start, end, epoch, nonce = rest
    offer = Offer(
        account=intern(account),
        resource=intern(resource),
        asset=intern(asset),
        key=intern(key),
        units=units,
        limit=limit,
        window_units=window_units,
        window_seconds=window_seconds,
        valid_from=start,
        valid_until=end,
        epoch=epoch,
        nonce=nonce,
    )
    return SubmitOffer(
        at_ms=at_ms,
        offer=offer,
        digest=digest,
        signer=intern(signer),
        authority=_AUTHORITIES[authority],
        signature=signature,
    )


def _read_tick(row: Row) -> Tick:
    _, at_ms = row
    return Tick(at_ms=at_ms)


def _read_cancel(row: Row) -> CancelDocument:
    _, at_ms, account, digest = row
    return CancelDocument(at_ms=at_ms, account=intern(account), digest=digest)


def _read_start(row: Row) -> StartCall:
    _, at_ms, lease, call, units = row
    return StartCall(at_ms=at_ms, lease=lease, call=call, units=units)


def _read_finish(row: Row) -> FinishCall:
    _, at_ms, call, outcome, units = row
    return FinishCall(at_ms=at_ms, call=call, outcome=_OUTCOMES[outcome], units=units)


def _read_end(row: Row) -> EndLeases:
    _, at_ms, account, intent = row
    return EndLeases(at_ms=at_ms, account=account, intent=intent)


_READERS: Final[dict[str, Callable[[Row], Command]]] = {
    "SubmitIntent": _read_intent,
    "SubmitOffer": _read_offer,
    "Tick": _read_tick,
    "CancelDocument": _read_cancel,
    "StartCall": _read_start,
    "FinishCall": _read_finish,
    "EndLeases": _read_end,
}
"""The kinds that a busy journal is made of; a test holds each against `_read`."""
