"""What is applied for one durable write, and who waits for that."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from intents.reject import Reject, RejectCode, reject
from solver.core.command import (
    ApplyBlocks,
    CancelDocument,
    Command,
    CutBatch,
    EndLeases,
    FinishCall,
    RetireKey,
    Tick,
)
from solver.core.document import IntentState
from solver.core.event import Event
from solver.engine.group import Applied, Result

GROUP_MAX: Final = 512
"""Commands of one write, and of one `submit_many`."""
ENDING: Final = (
    Tick,
    FinishCall,
    EndLeases,
    CancelDocument,
    RetireKey,
    CutBatch,
    ApplyBlocks,
)
"""What a nearly full disk still takes: each brings something to its end, and ends itself."""

# Bound once: compiled code looks a class of another module up each time.
_applied: Final = Applied

Entry = Command | IntentState
"""A command; or the record of an intent, in place of the SubmitIntent that has its fields."""
Waiting = tuple[Sequence[Entry], "asyncio.Future[list[Result]]"]
"""Commands that came together, and who waits for their results."""


class MarketPort(Protocol):
    """What is asked of the market here: `solver.core.market`, or who watches one."""

    def apply(self, command: Command) -> list[Event] | Reject: ...  # noqa: D102

    def admit(self, intent: IntentState, at_ms: int) -> list[Event] | Reject: ...  # noqa: D102


class Batch:
    """Commands of one group, applied in their order."""

    def __init__(self, market: MarketPort) -> None:
        self._market = market
        self.has_room = True
        """Whether the disk takes new work: asked before the first command."""
        self.waiting: Final[list[Waiting]] = []
        self.taken = 0
        """How many commands of theirs there are."""
        self.applied: Final[list[Entry]] = []
        self.times_ms: Final[list[int]] = []
        self.told: Final[list[list[Event]]] = []
        self._results: Final[list[list[Result]]] = []
        self.ended: Final = asyncio.Event()
        """Set once everyone was answered, or nobody will be."""
        self.is_answered = False

    def takes(self, commands: Sequence[Entry]) -> bool:
        """Whether that many more fit into one group."""
        return not self.waiting or self.taken + len(commands) <= GROUP_MAX

    def carry_out(self, waiting: Waiting, now_ms: int) -> None:
        """Apply commands for who waits for their results."""
        commands, _ = waiting
        self.waiting.append(waiting)
        self.taken += len(commands)
        self._results.append(self.apply(commands, now_ms))

    def apply(self, commands: Sequence[Entry], now_ms: int) -> list[Result]:
        """Apply commands in their order; a result for each."""
        before = len(self.applied)
        results = [self._result(command, now_ms) for command in commands]
        # At once, as each would otherwise keep an integer of its own.
        self.times_ms.extend([now_ms] * (len(self.applied) - before))
        return results

    def answer(self) -> None:
        """Tell everyone: it is on disk."""
        self.is_answered = True
        for (_, future), results in zip(self.waiting, self._results, strict=True):
            if not future.done():
                future.set_result(results)

    def _result(self, command: Entry, now_ms: int) -> Result:
        if not self.has_room and not isinstance(command, ENDING):
            return _no_room()
        events: list[Event] | Reject
        if isinstance(command, IntentState):
            events = self._market.admit(command, now_ms)
        else:
            command = replace(command, at_ms=now_ms)
            events = self._market.apply(command)
        # To ask of a list whether it is a Reject would take five times as long.
        if not isinstance(events, list):
            return events
        self.applied.append(command)
        self.told.append(events)
        return _applied(at_ms=now_ms, events=events)


def _no_room() -> Reject:
    return reject(
        RejectCode.BUSY,
        "the market's disk is nearly full",
        hint="What is open goes on and can be finished. Retry new work later.",
        retry_after_ms=30_000,
    )
