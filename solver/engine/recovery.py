"""From a journal back to the state it describes: replay, compare, check, then go on."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from intents.reject import Reject
from solver.core.check import Violation, check
from solver.core.command import DECODER, Command, FinishCall, Outcome
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.engine.feed import Feed


class RecordedCommand(Protocol):
    """A journal's record, as far as replay reads it."""

    @property
    def seq(self) -> int: ...  # noqa: D102

    @property
    def payload(self) -> bytes: ...  # noqa: D102


def replay(
    market: Market,
    feed: Feed,
    records: Iterable[RecordedCommand],
    checkpoints: Mapping[int, str],
) -> int:
    """Apply every record; returns how many. The journal verifies its own chain.

    Raises a Violation where a record was accepted then and is refused now, where a
    checkpoint's state hash differs, or where an invariant does not hold at the end.
    """
    count = 0
    for record in records:
        command = _decode(record)
        events = market.apply(command)
        if isinstance(events, Reject):
            raise Violation("replay_accepts_what_was_accepted", seq=record.seq, code=events.code)
        feed.append(command.at_ms, events)
        count += 1
        expected = checkpoints.get(record.seq)
        if expected is not None:
            check(market.state.hash() == expected, "replay_equal", seq=record.seq)
    check_all(market.state)
    return count


def lost_calls(market: Market) -> list[FinishCall]:
    """What a restart says of calls that were in flight: nobody knows what became of them.

    Capacity counts as used and the buyer is not charged (the third outcome).
    """
    return [
        FinishCall(call=call_id, outcome=Outcome.UNKNOWN, units=call.units)
        for call_id, call in market.state.calls.items()
    ]


def _decode(record: RecordedCommand) -> Command:
    try:
        return DECODER.decode(record.payload)
    except msgspec.ValidationError as error:
        raise Violation("journal_holds_commands", seq=record.seq, error=str(error)) from error
