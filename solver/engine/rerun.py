"""A group carried out again: from its bytes to what its commands lead to.

As `payload.decode` and `Market.apply` do one after the other, but for what a busy journal is made
of: of intents' and offers' columns come the records that the market keeps, of cancellations
nothing, and no command in between. A group of an older version is read as its commands.
"""

from typing import Final

from intents.reject import Reject
from solver.core.check import Violation
from solver.core.command import Authority, CancelDocument, SubmitIntent, SubmitOffer
from solver.core.document import IntentState, OfferState
from solver.core.event import Event
from solver.core.market import Market
from solver.engine.payload import (
    UNREADABLE,
    Block,
    Column,
    Names,
    PayloadUnreadable,
    Said,
    command_of,
)

_AUTHORITIES: Final = {int(authority): authority for authority in Authority}


def rerun(market: Market, payload: bytes, first_seq: int) -> tuple[list[int], list[list[Event]]]:
    """The time of each command, and its events.

    Raises PayloadUnreadable, or a Violation where a command is refused.
    """
    try:
        said = Said(payload)
        kinds = [_commands(block, said.names) for block in said.blocks]
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error
    times_ms = said.times_ms
    told: list[list[Event]] = []
    for place, at_ms in zip(said.order, times_ms, strict=True):
        events = kinds[place].carry_out(market, at_ms)
        if not isinstance(events, list):
            seq = first_seq + len(told)
            raise Violation("replay_accepts_what_was_accepted", seq=seq, code=events.code)
        told.append(events)
    return times_ms, told


class _Commands:
    """Those of one kind in a group, each carried out when its turn comes."""

    def __init__(self, block: Block, names: Names) -> None:
        self._kind = block.kind
        self._names = names
        self._rows = block.rows()
        self._next = 0

    def carry_out(self, market: Market, at_ms: int) -> list[Event] | Reject:
        """Carry out the next of them. Raises PayloadUnreadable."""
        try:
            command = command_of(self._kind, self._rows[self._next], at_ms, self._names)
        except UNREADABLE as error:
            raise PayloadUnreadable(str(error)) from error
        self._next += 1
        return market.apply(command)


class _Cancels(_Commands):
    def __init__(self, block: Block, names: Names) -> None:
        accounts, self._digests = block.columns
        self._accounts = _named(accounts, names)
        self._next = 0

    def carry_out(self, market: Market, at_ms: int) -> list[Event] | Reject:
        try:
            account: str = self._accounts[self._next]
            digest: str = self._digests[self._next]
        except UNREADABLE as error:
            raise PayloadUnreadable(str(error)) from error
        self._next += 1
        return market.cancel(account, digest, at_ms)


class _Intents(_Commands):
    def __init__(self, block: Block, names: Names) -> None:
        columns = block.columns
        self._accounts = _named(columns[0], names)
        self._resources = _named(columns[1], names)
        self._assets = _named(columns[2], names)
        self._units, self._units_min, self._limits = columns[3:6]
        self._starts, self._ends = columns[6:8]
        self._immediate, self._epochs, self._nonces = columns[8:11]
        self._digests = columns[11]
        self._signers = _named(columns[12], names)
        self._authorities = [_AUTHORITIES[authority] for authority in columns[13]]
        self._signatures, self._proofs = columns[14:]
        self._next = 0

    def carry_out(self, market: Market, at_ms: int) -> list[Event] | Reject:
        try:
            record = self._record(self._next)
        except UNREADABLE as error:
            raise PayloadUnreadable(str(error)) from error
        self._next += 1
        return market.admit(record, at_ms)

    def _record(self, place: int) -> IntentState:
        return IntentState(
            self._accounts[place],
            self._resources[place],
            self._assets[place],
            self._units[place],
            self._units_min[place],
            self._limits[place],
            self._starts[place],
            self._ends[place],
            self._immediate[place],
            self._epochs[place],
            self._nonces[place],
            self._digests[place],
            self._signers[place],
            self._authorities[place],
            self._signatures[place],
            self._proofs[place],
        )


class _Offers(_Commands):
    def __init__(self, block: Block, names: Names) -> None:
        columns = block.columns
        self._accounts = _named(columns[0], names)
        self._resources = _named(columns[1], names)
        self._assets = _named(columns[2], names)
        self._keys = _named(columns[3], names)
        self._units, self._limits = columns[4:6]
        self._window_units, self._window_seconds = columns[6:8]
        self._starts, self._ends = columns[8:10]
        self._epochs, self._nonces, self._digests = columns[10:13]
        self._signers = _named(columns[13], names)
        self._authorities = [_AUTHORITIES[authority] for authority in columns[14]]
        self._signatures = columns[15]
        self._next = 0

    def carry_out(self, market: Market, at_ms: int) -> list[Event] | Reject:
        try:
            record = self._record(self._next)
        except UNREADABLE as error:
            raise PayloadUnreadable(str(error)) from error
        self._next += 1
        return market.admit(record, at_ms)

    def _record(self, place: int) -> OfferState:
        return OfferState(
            self._accounts[place],
            self._resources[place],
            self._assets[place],
            self._keys[place],
            self._units[place],
            self._limits[place],
            self._window_units[place],
            self._window_seconds[place],
            self._starts[place],
            self._ends[place],
            self._epochs[place],
            self._nonces[place],
            self._digests[place],
            self._signers[place],
            self._authorities[place],
            self._signatures[place],
        )


def _named(places: Column, names: Names) -> list[str]:
    """The names that a column says by their places."""
    return [names[place] for place in places]


_READERS: Final[dict[str, tuple[type[_Commands], int]]] = {
    SubmitIntent.__name__: (_Intents, 16),
    SubmitOffer.__name__: (_Offers, 16),
    CancelDocument.__name__: (_Cancels, 2),
}
"""Kinds that no command is made of, and how many columns each has in this version."""


def _commands(block: Block, names: Names) -> _Commands:
    reader, columns = _READERS.get(block.kind, (_Commands, -1))
    return (reader if len(block.columns) == columns else _Commands)(block, names)
