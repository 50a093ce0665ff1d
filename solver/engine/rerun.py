"""A group carried out again: from its bytes to what its commands lead to.

As `payload.decode` and `Market.apply` do one after the other, but for what a busy journal is made
of: of intents' and offers' columns come the records that the market keeps, of cancellations
nothing, and no command in between. A group of an older version is read as its commands.
"""

from collections.abc import Sequence
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
        self._accounts: list[str] = [names[account] for account in accounts]
        self._next = 0

    def carry_out(self, market: Market, at_ms: int) -> list[Event] | Reject:
        try:
            account: str = self._accounts[self._next]
            digest: str = self._digests[self._next]
        except UNREADABLE as error:
            raise PayloadUnreadable(str(error)) from error
        self._next += 1
        return market.cancel(account, digest, at_ms)


class _Records(_Commands):
    """Documents as the market keeps them, all of them made at once."""

    _records: Sequence[IntentState | OfferState]

    def carry_out(self, market: Market, at_ms: int) -> list[Event] | Reject:
        record = self._records[self._next]
        self._next += 1
        return market.admit(record, at_ms)


class _Intents(_Records):
    def __init__(self, block: Block, names: Names) -> None:
        (accounts, resources, assets, units, units_min, limits, starts, ends) = block.columns[:8]
        (immediate, epochs, nonces, digests, signers, authorities) = block.columns[8:14]
        signatures, proofs = block.columns[14:]
        self._records = [
            IntentState(
                names[accounts[place]],
                names[resources[place]],
                names[assets[place]],
                units[place],
                units_min[place],
                limits[place],
                starts[place],
                ends[place],
                immediate[place],
                epochs[place],
                nonces[place],
                digests[place],
                names[signers[place]],
                _AUTHORITIES[authorities[place]],
                signatures[place],
                proofs[place],
            )
            for place in range(block.count)
        ]
        self._next = 0


class _Offers(_Records):
    def __init__(self, block: Block, names: Names) -> None:
        (accounts, resources, assets, keys, units, limits) = block.columns[:6]
        (window_units, window_seconds, starts, ends, epochs, nonces) = block.columns[6:12]
        digests, signers, authorities, signatures = block.columns[12:]
        self._records = [
            OfferState(
                names[accounts[place]],
                names[resources[place]],
                names[assets[place]],
                names[keys[place]],
                units[place],
                limits[place],
                window_units[place],
                window_seconds[place],
                starts[place],
                ends[place],
                epochs[place],
                nonces[place],
                digests[place],
                names[signers[place]],
                _AUTHORITIES[authorities[place]],
                signatures[place],
            )
            for place in range(block.count)
        ]
        self._next = 0


_READERS: Final[dict[str, tuple[type[_Commands], int]]] = {
    SubmitIntent.__name__: (_Intents, 16),
    SubmitOffer.__name__: (_Offers, 16),
    CancelDocument.__name__: (_Cancels, 2),
}
"""Kinds that no command is made of, and how many columns each has in this version."""


def _commands(block: Block, names: Names) -> _Commands:
    reader, columns = _READERS.get(block.kind, (_Commands, -1))
    return (reader if len(block.columns) == columns else _Commands)(block, names)
