"""From a journal back to the state it describes: replay, compare at every group, check."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from intents.reject import Reject
from solver.core.check import Violation, check
from solver.core.command import Command, FinishCall, Outcome
from solver.core.event import Event
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.engine.feed import KEPT_MAX, Feed
from solver.engine.group import RecordedGroup
from solver.engine.outcome import NOTHING_YET, outcome_after
from solver.engine.payload import PayloadUnreadable, decode


class Recovered(msgspec.Struct, kw_only=True):
    """A market that was brought back, with all that the sequencer goes on from."""

    market: Market
    feed: Feed
    outcome: bytes = NOTHING_YET
    seq: int = 0
    """Number of the last command that is in it."""
    last_seq: int = 0
    """Number of the last command there is, if that is known: see `_tell`."""


def replay(
    recovered: Recovered, groups: Iterable[RecordedGroup], checkpoints: Mapping[int, str]
) -> Recovered:
    """Apply every group to a market that stands just before the first of them.

    The journal verifies its own chain. Raises a Violation where a command was accepted
    then and is refused now, where a group leads to anything else than was noted with it,
    where a checkpoint's state hash differs, or where an invariant does not hold at the end.
    """
    for group in groups:
        apply_group(recovered, group)
        expected = checkpoints.get(recovered.seq)
        if expected is not None:
            state_hash = recovered.market.state.hash()
            check(state_hash == expected, "replay_equal", seq=recovered.seq)
    check_all(recovered.market.state)
    return recovered


def apply_group(
    recovered: Recovered, group: RecordedGroup
) -> tuple[list[Command], list[list[Event]]]:
    """Apply the group that comes next; its commands, and the events of each.

    Raises a Violation like `replay`.
    """
    check(group.seq == recovered.seq + 1, "replay_goes_on_where_it_stopped", seq=group.seq)
    try:
        commands = decode(group.payload)
    except PayloadUnreadable as error:
        raise Violation("journal_holds_commands", seq=group.seq, error=str(error)) from error
    check(len(commands) == group.commands, "group_is_whole", seq=group.seq)
    apply = recovered.market.apply
    told: list[list[Event]] = []
    for seq, command in enumerate(commands, group.seq):
        events = apply(command)
        if isinstance(events, Reject):
            raise Violation("replay_accepts_what_was_accepted", seq=seq, code=events.code)
        told.append(events)
    _tell(recovered, group, commands, told)
    recovered.outcome = outcome_after(recovered.outcome, told)
    noted = group.outcome or recovered.outcome
    check(recovered.outcome == noted, "replay_equal", seq=group.seq)
    recovered.seq += group.commands
    return commands, told


def _tell(
    recovered: Recovered,
    group: RecordedGroup,
    commands: Sequence[Command],
    told: Sequence[Sequence[Event]],
) -> None:
    """Have the feed keep what the newest `KEPT_MAX` commands told: nearly all that it would.

    What came before is let go of at once: the next group's events take its place in memory,
    and in the processor's cache.
    """
    last = group.seq + group.commands - 1
    if last <= recovered.last_seq - KEPT_MAX:
        recovered.feed.start_after(told)
    else:
        recovered.feed.extend([command.at_ms for command in commands], told)


def lost_calls(market: Market) -> list[FinishCall]:
    """What a restart says of calls that were in flight: nobody knows what became of them.

    Capacity counts as used and the buyer is not charged (the third outcome).
    """
    return [
        FinishCall(call=call_id, outcome=Outcome.UNKNOWN, units=call.units)
        for call_id, call in market.state.calls.items()
    ]
