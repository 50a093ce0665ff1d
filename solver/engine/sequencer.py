"""One line of commands: stamp, apply, make durable, then answer.

Commands are applied in memory and their group is written in one transaction; nobody is
answered, and no event is published, before that write is on disk. A crash in between
forgets what nobody was told. While one group is written the next one gathers: that is
the group commit. Rejected commands change nothing and are not journaled.

A Violation or a journal failure ends `run`: in doubt the process stops (P8).
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.core.command import ENCODER, Command, Tick
from solver.core.event import Event
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.runtime.clock import Clock

INBOX_MAX: Final = 10_000
GROUP_MAX: Final = 512
CHECKPOINT_EVERY: Final = 10_000
TICK_INTERVAL_S: Final = 0.02


class JournalPort(Protocol):
    """What the sequencer needs of a journal; both calls block until durable."""

    def append(self, payloads: Sequence[bytes]) -> int: ...  # noqa: D102

    def checkpoint(self, state_hash: str) -> None: ...  # noqa: D102


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted, durable command: its time, and what happened."""

    at_ms: int
    events: list[Event]


Result = Applied | Reject
_Waiting = tuple[Command, "asyncio.Future[Result]"]


class SequencerStopped(Exception):
    """It takes no more commands, and what it applied last may never be on disk."""


class _Group:
    """What one durable write carries, and what is published once it is durable."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.published: list[tuple[int, list[Event]]] = []


class Sequencer:
    """Owns the market: the only task that applies commands to it."""

    def __init__(self, market: Market, journal: JournalPort, clock: Clock, feed: Feed) -> None:
        self.market: Final = market
        self.feed: Final = feed
        self._journal = journal
        self._clock = clock
        self._inbox: asyncio.Queue[_Waiting] = asyncio.Queue(INBOX_MAX)
        # A thread of its own, so that no other work delays a sync.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._group: asyncio.Task[None] | None = None
        """The newest group, from its first command to its last answer; older ones are on disk."""
        self._since_checkpoint = 0
        self._stopped = False

    def now_ms(self) -> int:
        """The market's time: the clock's, but never before what was already applied."""
        return max(self._clock.now_ms(), self.market.state.now_ms)

    async def submit(self, command: Command) -> Result:
        """Have a command applied. The answer comes when it is durable.

        Rejects of its own: busy (the inbox is full), shutting_down.
        """
        if self._stopped:
            return reject(RejectCode.SHUTTING_DOWN)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._inbox.put_nowait((command, future))
        except asyncio.QueueFull:
            return reject(RejectCode.BUSY, retry_after_ms=1_000)
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
                waiting = [await self._inbox.get()]
                while len(waiting) < GROUP_MAX and not self._inbox.empty():
                    waiting.append(self._inbox.get_nowait())
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

    async def _carry_out(self, waiting: list[_Waiting]) -> None:
        group = _Group()
        results = [self._apply(command, group) for command, _ in waiting]
        if group.payloads:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._journal.append, group.payloads)
            await self._checkpoint_if_due(len(group.payloads))
        for at_ms, events in group.published:
            self.feed.append(at_ms, events)
        for (_, future), result in zip(waiting, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _apply(self, command: Command, group: "_Group") -> Result:
        now_ms = self.now_ms()
        if self.market.is_due(now_ms) and not isinstance(command, Tick):
            self._apply_at(Tick(), now_ms, group)
        return self._apply_at(command, now_ms, group)

    def _apply_at(self, command: Command, now_ms: int, group: "_Group") -> Result:
        stamped = msgspec.structs.replace(command, at_ms=now_ms)
        events = self.market.apply(stamped)
        if isinstance(events, Reject):
            return events
        group.payloads.append(ENCODER.encode(stamped))
        group.published.append((now_ms, events))
        return Applied(at_ms=now_ms, events=events)

    async def _checkpoint_if_due(self, records: int) -> None:
        self._since_checkpoint += records
        if self._since_checkpoint >= CHECKPOINT_EVERY:
            self._since_checkpoint = 0
            state_hash = self.market.state.hash()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._journal.checkpoint, state_hash)

    def _stop(self, waiting: list[_Waiting]) -> None:
        """Leave nobody waiting for an answer that will not come."""
        self._stopped = True
        while not self._inbox.empty():
            waiting.append(self._inbox.get_nowait())
        for _, future in waiting:
            if not future.done():
                future.set_result(reject(RejectCode.SHUTTING_DOWN))
        self._writer.shutdown(wait=True)


async def _to_its_end(task: "asyncio.Task[None]") -> None:
    """Await a task; if cancelled meanwhile, still finish it: what was begun is answered."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
