"""One line of commands: stamp, apply, make durable, then answer.

Commands are applied in memory and their group is written whole; nobody is
answered, and no event is published, before that write is on disk. A crash in between
forgets what nobody was told. While one group is written the next one is applied, as far as
it comes: that is the group commit. A busy market writes every millisecond, or as soon as
a write is worth it: more writes would only take the processor from what they wait for. Groups
are written and answered in their order, one at a time. Rejected commands change nothing and
are not journaled.

A Violation or a journal failure ends `run`: in doubt the process stops (P8). A disk that
is nearly full is no such doubt: the journal says so before anything is applied, and then
only what brings begun work to its end is taken, until there is room again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from intents.reject import Reject, RejectCode, reject
from solver.core.command import Tick
from solver.core.market import Market
from solver.engine.batch import GROUP_MAX, Batch, Entry, Waiting
from solver.engine.feed import Feed
from solver.engine.group import Applied, Group, JournalPort, Result
from solver.engine.outcome import NOTHING_YET, outcome_after
from solver.engine.payload import encode
from solver.engine.writer import Writer
from solver.runtime.clock import Clock

__all__ = ["GROUP_MAX", "INBOX_MAX", "Applied", "Result", "Sequencer", "SequencerStopped"]

INBOX_MAX: Final = 10_000
"""Commands that wait to be written; more are refused as busy."""
TICK_INTERVAL_S: Final = 0.02
PAUSE_SECONDS: Final = 0.001
"""From one write of a busy market to the next, if little waits."""
BUSY_MIN: Final = 4
"""Commands of one write, from which on the market is busy: with fewer, nobody waits longer."""
WORTH_MIN: Final = 256
"""Commands that are worth a write of their own at once: it costs as much as four intents that
come alone, or as forty that come together, whatever is in it."""


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
        *,
        writer: Writer | None = None,
    ) -> None:
        self.market: Final = market
        self.feed: Final = feed
        self._journal = journal
        self._clock = clock
        self._outcome = outcome
        self._inbox: deque[Waiting] = deque()
        self._commands_waiting = 0
        """In the inbox, or applied and not being written yet."""
        self._stirred = asyncio.Event()
        """Set when commands arrive, and when a write has ended."""
        self._writer: Final = writer or Writer()
        self._open = Batch(market)
        """What is applied and not being written yet."""
        self._written = Batch(market)
        """The newest batch that was given to the writer; older ones are on disk."""
        self._writing: asyncio.Task[None] | None = None
        self._pauses = False
        """Whether a write has just begun, and the next one waits for more."""
        self._seq = 0
        self._stopped = False

    @property
    def seq(self) -> int:
        """Number of the last command that is on disk; 0 before this process wrote one."""
        return self._seq

    def now_ms(self) -> int:
        """The market's time: the clock's, but never before what was already applied."""
        return max(self._clock.now_ms(), self.market.state.now_ms)

    async def submit(self, command: Entry) -> Result:
        """Have a command applied, or an intent's record. The answer comes when it is durable.

        Rejects of its own: busy (the inbox or the disk is full), shutting_down.
        """
        (result,) = await self.submit_many((command,))
        return result

    async def submit_many(self, commands: Sequence[Entry]) -> list[Result]:
        """Have commands applied in their order, in one group; a result for each, when durable.

        Each is judged on its own: a refused one does not hold up those after it. The
        sequence must not change while it waits. Rejects of its own: too_large (more than
        `GROUP_MAX`), busy (the inbox or the disk is full), shutting_down.
        """
        return await self.enter(commands)

    def enter(self, commands: Sequence[Entry]) -> "asyncio.Future[list[Result]]":
        """The same for who cannot wait here."""
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        if refused := self._refusal(len(commands)):
            future.set_result([refused] * len(commands))
        elif commands:
            self._inbox.append((commands, future))
            self._commands_waiting += len(commands)
            self._stirred.set()
        else:
            future.set_result([])
        return future

    async def durable(self) -> None:
        """Return once everything applied so far is on disk.

        `market.state` is ahead of the journal by what is written and what waits for that.
        Whoever acts on it outside this process reads it first, then waits here. Raises
        SequencerStopped.
        """
        newest = self._open if self._open.waiting else self._written
        if newest.waiting:
            await newest.ended.wait()
        if self._stopped or (newest.waiting and not newest.is_answered):
            raise SequencerStopped

    async def run(self) -> None:
        """Apply commands until cancelled. Raises Violation or JournalFault."""
        ended_cleanly = False
        try:
            await self._serve()
        except asyncio.CancelledError:
            await self._finish()
            ended_cleanly = True
            raise
        finally:
            self._stop()
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
        if self._commands_waiting + commands > INBOX_MAX:
            return reject(RejectCode.BUSY, retry_after_ms=1_000)
        return None

    async def _serve(self) -> None:
        try:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                self._go_on()
        except Exception:
            if self._writing is not None:
                # What it writes was right, whatever came after: it gets its true answers.
                await asyncio.wait({self._writing})
            raise

    def _go_on(self) -> None:
        """Apply what waits; have it written as soon as the write before it has ended."""
        if self._writing is not None and self._writing.done():
            self._writing.result()
            self._writing = None
        self._apply_waiting()
        if self._writing is not None or not self._open.waiting:
            return
        if not self._pauses or self._open.taken >= WORTH_MIN:
            self._begin_write()

    def _begin_write(self) -> None:
        batch = self._next_batch()
        self._writing = asyncio.create_task(self._carry_out(batch))
        self._writing.add_done_callback(lambda _: self._stirred.set())
        if batch.taken >= BUSY_MIN and not self._pauses:
            self._pauses = True
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._end_pause)

    def _end_pause(self) -> None:
        self._pauses = False
        self._stirred.set()

    def _apply_waiting(self) -> None:
        """Apply what waits in the inbox, as far as whole batches fit into one group.

        All of it at one time, so that nothing falls due within.
        """
        batch = self._open
        if not self._inbox or not batch.takes(self._inbox[0][0]):
            return
        now_ms = self.now_ms()
        if not batch.waiting:
            batch.has_room = self._journal.has_room()
        if self.market.is_due(now_ms) and not isinstance(self._inbox[0][0][0], Tick):
            batch.apply((Tick(),), now_ms)
        while self._inbox and batch.takes(self._inbox[0][0]):
            batch.carry_out(self._inbox.popleft(), now_ms)

    def _next_batch(self) -> Batch:
        """What is written next. Nothing more is added to it."""
        self._written, self._open = self._open, Batch(self.market)
        self._commands_waiting -= self._written.taken
        return self._written

    async def _carry_out(self, batch: Batch) -> None:
        try:
            if batch.applied:
                await self._write(batch)
            self.feed.extend(batch.times_ms, batch.told)
            batch.answer()
        finally:
            batch.ended.set()

    async def _write(self, batch: Batch) -> None:
        self._outcome = outcome_after(self._outcome, batch.told)
        payload = encode(batch.applied, batch.times_ms)
        group = Group(commands=len(batch.applied), payload=payload, outcome=self._outcome)
        self._seq = await self._writer.write(group.commands, lambda: self._journal.append(group))

    async def _finish(self) -> None:
        """Have all that was applied written and answered."""
        if self._writing is not None:
            await self._writing
        if self._open.waiting:
            self._writing = asyncio.create_task(self._carry_out(self._next_batch()))
            await self._writing

    def _stop(self) -> None:
        """Leave nobody waiting for an answer that will not come."""
        self._stopped = True
        refused = reject(RejectCode.SHUTTING_DOWN)
        for commands, future in (*self._written.waiting, *self._open.waiting, *self._inbox):
            if not future.done():
                future.set_result([refused] * len(commands))
        self._written.ended.set()
        self._open.ended.set()
        self._inbox.clear()
        self._writer.close()
