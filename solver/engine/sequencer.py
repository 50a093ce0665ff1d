"""One line of commands: stamp, apply, make durable, then answer.

Commands are applied in memory and their group is written in one transaction; nobody is
answered, and no event is published, before that write is on disk. A crash in between
forgets what nobody was told. While one group is written the next one gathers: that is
the group commit. Rejected commands change nothing and are not journaled.

A Violation or a journal failure ends `run`: in doubt the process stops (P8). A disk that
is nearly full is no such doubt: the journal says so before anything is applied, and then
only what brings begun work to its end is taken, until there is room again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
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
from solver.core.event import Event
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.group import Group, JournalPort
from solver.engine.outcome import NOTHING_YET, outcome_after
from solver.engine.payload import encode
from solver.runtime.clock import Clock

INBOX_MAX: Final = 10_000
"""Commands that wait; more are refused as busy."""
GROUP_MAX: Final = 512
"""Commands of one write, and of one `submit_many`."""
TICK_INTERVAL_S: Final = 0.02
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


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted, durable command: its time, and what happened."""

    at_ms: int
    events: list[Event]


Result = Applied | Reject
_Waiting = tuple[Sequence[Command], "asyncio.Future[list[Result]]"]
"""Commands that came together, and who waits for their results."""


class SequencerStopped(Exception):
    """It takes no more commands, and what it applied last may never be on disk."""


class Sequencer:
    """Owns the market: the only task that applies commands to it.

    `outcome` is what the commands that `market` came from led to: see `solver.engine.outcome`.
    """

    def __init__(
        self,
        market: Market,
        journal: JournalPort,
        clock: Clock,
        feed: Feed,
        outcome: bytes = NOTHING_YET,
    ) -> None:
        self.market: Final = market
        self.feed: Final = feed
        self._journal = journal
        self._clock = clock
        self._outcome = outcome
        self._inbox: deque[_Waiting] = deque()
        self._inbox_commands = 0
        self._arrived = asyncio.Event()
        # A thread of its own, so that no other work delays a sync.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._group: asyncio.Task[None] | None = None
        """The newest group, from its first command to its last answer; older ones are on disk."""
        self._has_room = True
        self._seq = 0
        self._stopped = False

    @property
    def seq(self) -> int:
        """Number of the last command that is on disk; 0 before this process wrote one."""
        return self._seq

    def now_ms(self) -> int:
        """The market's time: the clock's, but never before what was already applied."""
        return max(self._clock.now_ms(), self.market.state.now_ms)

    async def submit(self, command: Command) -> Result:
        """Have a command applied. The answer comes when it is durable.

        Rejects of its own: busy (the inbox or the disk is full), shutting_down.
        """
        (result,) = await self.submit_many((command,))
        return result

    async def submit_many(self, commands: Sequence[Command]) -> list[Result]:
        """Have commands applied in their order, in one group; a result for each, when durable.

        Each is judged on its own: a refused one does not hold up those after it. The
        sequence must not change while it waits. Rejects of its own: too_large (more than
        `GROUP_MAX`), busy (the inbox or the disk is full), shutting_down.
        """
        if refused := self._refusal(len(commands)):
            return [refused] * len(commands)
        if not commands:
            return []
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._inbox.append((commands, future))
        self._inbox_commands += len(commands)
        self._arrived.set()
        return await future

    async def durable(self) -> None:
        """Return once everything applied so far is on disk.

        `market.state` is ahead of the journal while a group is written. Whoever acts on it
        outside this process reads it first, then waits here. Raises SequencerStopped.
        """
        group = self._group
        if group is not None:
            await asyncio.wait([group])
        if self._stopped or (group is not None and group.exception() is not None):
            raise SequencerStopped

    async def run(self) -> None:
        """Apply commands until cancelled. Raises Violation or JournalFault."""
        waiting: list[_Waiting] = []
        ended_cleanly = False
        try:
            while True:
                await self._arrived.wait()
                waiting = self._take()
                self._group = asyncio.create_task(self._carry_out(waiting))
                await _to_its_end(self._group)
        except asyncio.CancelledError:
            ended_cleanly = True
            raise
        finally:
            self._stop(waiting)
            if ended_cleanly:
                # The writer is done: all that was applied is journaled.
                self._journal.checkpoint(self.market.state.hash())

    async def run_timer(self) -> None:
        """Tick whenever something fell due. Runs beside `run`, until cancelled."""
        while True:
            if self.market.is_due(self.now_ms()):
                await self.submit(Tick())
            await asyncio.sleep(TICK_INTERVAL_S)

    def _refusal(self, commands: int) -> Reject | None:
        if self._stopped:
            return reject(RejectCode.SHUTTING_DOWN)
        if commands > GROUP_MAX:
            return reject(RejectCode.TOO_LARGE, f"at most {GROUP_MAX} commands at once")
        if self._inbox_commands + commands > INBOX_MAX:
            return reject(RejectCode.BUSY, retry_after_ms=1_000)
        return None

    def _take(self) -> list[_Waiting]:
        """What goes into the next group: all that waits, as far as whole batches fit."""
        taken = [self._inbox.popleft()]
        room = GROUP_MAX - len(taken[0][0])
        while self._inbox and len(self._inbox[0][0]) <= room:
            taken.append(self._inbox.popleft())
            room -= len(taken[-1][0])
        self._inbox_commands -= GROUP_MAX - room
        if not self._inbox:
            self._arrived.clear()
        return taken

    async def _carry_out(self, waiting: list[_Waiting]) -> None:
        batch = _Batch(self.market, self.now_ms(), has_room=self._journal.has_room())
        if self.market.is_due(batch.now_ms) and not isinstance(waiting[0][0][0], Tick):
            batch.apply((Tick(),))
        results = [batch.apply(commands) for commands, _ in waiting]
        if batch.applied:
            await self._write(batch)
        self.feed.extend([batch.now_ms] * len(batch.told), batch.told)
        for (_, future), result in zip(waiting, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _write(self, batch: "_Batch") -> None:
        self._outcome = outcome_after(self._outcome, batch.told)
        payload = encode(batch.applied)
        group = Group(commands=len(batch.applied), payload=payload, outcome=self._outcome)
        loop = asyncio.get_running_loop()
        self._seq = await loop.run_in_executor(self._writer, self._journal.append, group)

    def _stop(self, waiting: list[_Waiting]) -> None:
        """Leave nobody waiting for an answer that will not come."""
        self._stopped = True
        for commands, future in [*waiting, *self._inbox]:
            if not future.done():
                future.set_result([reject(RejectCode.SHUTTING_DOWN)] * len(commands))
        self._inbox.clear()
        self._writer.shutdown(wait=True)


class _Batch:
    """What is applied for one write: all of it at one time, so that nothing falls due within."""

    def __init__(self, market: Market, now_ms: int, *, has_room: bool) -> None:
        self._market = market
        self._has_room = has_room
        self.now_ms: Final = now_ms
        self.applied: Final[list[Command]] = []
        self.told: Final[list[list[Event]]] = []

    def apply(self, commands: Sequence[Command]) -> list[Result]:
        """Apply commands in their order; a result for each."""
        apply, now_ms = self._market.apply, self.now_ms
        results: list[Result] = []
        for command in commands:
            if not self._has_room and not isinstance(command, ENDING):
                results.append(_no_room())
                continue
            stamped = replace(command, at_ms=now_ms)
            events = apply(stamped)
            if isinstance(events, Reject):
                results.append(events)
                continue
            self.applied.append(stamped)
            self.told.append(events)
            results.append(Applied(at_ms=now_ms, events=events))
        return results


async def _to_its_end(task: "asyncio.Task[None]") -> None:
    """Await a task; if cancelled meanwhile, still finish it: what was begun is answered."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _no_room() -> Reject:
    return reject(
        RejectCode.BUSY,
        "the market's disk is nearly full",
        hint="What is open goes on and can be finished. Retry new work later.",
        retry_after_ms=30_000,
    )
