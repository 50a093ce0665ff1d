"""A group carried out again: from its bytes to what its commands lead to.

As `payload.decode` and `Market.apply` do one after the other, but for what a busy journal is made
of: of intents' and offers' rows come the records that the market keeps, of cancellations nothing,
and no command in between. A row of another version is read as its command.
"""

from typing import Final

from intents.reject import Reject
from solver.core.check import Violation
from solver.core.command import Authority, CancelDocument, Command, SubmitIntent, SubmitOffer
from solver.core.document import IntentState, OfferState
from solver.core.event import Event
from solver.core.market import Market
from solver.engine.payload import UNREADABLE, Names, PayloadUnreadable, Row, command_of, rows_of

_INTENT: Final = SubmitIntent.__name__
_INTENT_FIELDS: Final = 8
_OFFER: Final = SubmitOffer.__name__
_OFFER_FIELDS: Final = 7
_CANCEL: Final = CancelDocument.__name__
_CANCEL_FIELDS: Final = 4
"""How long their rows are, kind and all."""
_AUTHORITIES: Final = {int(authority): authority for authority in Authority}


def rerun(market: Market, payload: bytes, first_seq: int) -> tuple[list[int], list[list[Event]]]:
    """The time of each command, and its events.

    Raises PayloadUnreadable, or a Violation where a command is refused.
    """
    try:
        names, rows = rows_of(payload)
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error
    times_ms: list[int] = []
    told: list[list[Event]] = []
    for row in rows:
        events = _carried_out(market, row, names)
        if not isinstance(events, list):
            seq = first_seq + len(told)
            raise Violation("replay_accepts_what_was_accepted", seq=seq, code=events.code)
        times_ms.append(row[1])
        told.append(events)
    return times_ms, told


def _carried_out(market: Market, row: Row, names: Names) -> list[Event] | Reject:
    account = digest = ""
    record: IntentState | OfferState | None = None
    command: Command | None = None
    try:
        at_ms: int = row[1]
        kind = names[row[0]]
        if kind == _INTENT and len(row) == _INTENT_FIELDS:
            record = _intent(row, names)
        elif kind == _OFFER and len(row) == _OFFER_FIELDS:
            record = _offer(row, names)
        elif kind == _CANCEL and len(row) == _CANCEL_FIELDS:
            account, digest = names[row[2]], row[3]
        else:
            command = command_of(row, names)
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error
    if record is not None:
        return market.admit(record, at_ms)
    if command is not None:
        return market.apply(command)
    return market.cancel(account, digest, at_ms)


def _intent(row: Row, names: Names) -> IntentState:
    _, _, document, digest, signer, authority, signature, proof = row
    signed: Row = document
    account, resource, asset, units, units_min, limit, start, end, immediate, epoch, nonce = signed
    return IntentState(
        names[account],
        names[resource],
        names[asset],
        units,
        units_min,
        limit,
        start,
        end,
        immediate,
        epoch,
        nonce,
        digest,
        names[signer],
        _AUTHORITIES[authority],
        signature,
        proof,
    )


def _offer(row: Row, names: Names) -> OfferState:
    _, _, document, digest, signer, authority, signature = row
    signed: Row = document
    (
        account,
        resource,
        asset,
        key,
        units,
        limit,
        window_units,
        window_seconds,
        start,
        end,
        epoch,
        nonce,
    ) = signed
    return OfferState(
        names[account],
        names[resource],
        names[asset],
        names[key],
        units,
        limit,
        window_units,
        window_seconds,
        start,
        end,
        epoch,
        nonce,
        digest,
        names[signer],
        _AUTHORITIES[authority],
        signature,
    )
