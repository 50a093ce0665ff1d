"""From a journal back to the state it describes: replay, compare at every group, check."""

from collections.abc import Iterable, Sequence

import msgspec

from solver.core.check import Violation, check
from solver.core.command import FinishCall, Outcome
from solver.core.event import Event
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.engine.feed import KEPT_MAX, Feed
from solver.engine.group import RecordedGroup
from solver.engine.outcome import NOTHING_YET, outcome_after
from solver.engine.payload import PayloadUnreadable
from solver.engine.rerun import rerun


class Recovered(msgspec.Struct, kw_only=True):
    """A market that was brought back, with all that the sequencer goes on from."""

    market: Market
    feed: Feed
    outcome: bytes = NOTHING_YET
    seq: int = 0
    """Number of the last command that is in it."""
    last_seq: int = 0
    """Number of the last command there is, if that is known: see `_tell`."""


def replay(recovered: Recovered, groups: Iterable[RecordedGroup]) -> Recovered:
    """Apply every group to a market that stands just before the first of them.

    The journal verifies its own chain. Raises a Violation where a command was accepted
    then and is refused now, where a group leads to anything else than was noted with it,
    where the state has another hash than was noted, or where an invariant does not hold at
    the end.
    """
    for group in groups:
        apply_group(recovered, group)
    check_all(recovered.market.state)
    return recovered


def apply_group(recovered: Recovered, group: RecordedGroup) -> list[list[Event]]:
    """Apply the group that comes next; the events of each of its commands.

    One without commands is compared with the state. Raises a Violation like `replay`.
    """
    check(group.seq == recovered.seq + 1, "replay_goes_on_where_it_stopped", seq=group.seq)
    if not group.commands:
        noted_hash = group.payload.decode(errors="replace")
        check(recovered.market.state.hash() == noted_hash, "replay_equal", seq=recovered.seq)
        return []
    try:
        times_ms, told = rerun(recovered.market, group.payload, group.seq)
    except PayloadUnreadable as error:
        raise Violation("journal_holds_commands", seq=group.seq, error=str(error)) from error
    check(len(told) == group.commands, "group_is_whole", seq=group.seq)
    recovered.seq += group.commands
    _tell(recovered, times_ms, told)
    recovered.outcome = outcome_after(recovered.outcome, told)
    noted = group.outcome or recovered.outcome
    check(recovered.outcome == noted, "replay_equal", seq=group.seq)
    return told


def _tell(recovered: Recovered, times_ms: Sequence[int], told: Sequence[Sequence[Event]]) -> None:
    """Have the feed keep what the newest `KEPT_MAX` commands told: nearly all that it would.

    What came before is let go of at once: the next group's events take its place in memory,
    and in the processor's cache.
    """
    if recovered.seq <= recovered.last_seq - KEPT_MAX:
        recovered.feed.start_after(told)
    else:
        recovered.feed.extend(times_ms, told)


def lost_calls(market: Market) -> list[FinishCall]:
    """What a restart says of calls that were in flight: nobody knows what became of them.

    Capacity counts as used and the buyer is not charged (the third outcome).
    """
    return [
        FinishCall(call=call_id, outcome=Outcome.UNKNOWN, units=call.units)
        for call_id, call in market.state.calls.items()
    ]
