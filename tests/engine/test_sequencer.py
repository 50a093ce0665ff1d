"""Nobody is answered before it is durable, and what is refused leaves no trace."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from intents.reject import Reject, RejectCode
from solver.core.check import Violation
from solver.core.command import DECODER, ENCODER, IssueCredits, OpenResource, Tick
from solver.core.market import Market
from solver.core.state import CREDIT
from solver.engine.feed import CursorTooOld, Feed
from solver.engine.recovery import replay
from solver.engine.sequencer import INBOX_MAX, Applied, JournalPort, Sequencer, SequencerStopped
from solver.journal import JournalWriteFailed, Record
from solver.runtime.clock import ManualClock

USDC = "0x" + "22" * 20
ALICE = "0x" + "aa" * 20


class MemoryJournal:
    """Keeps records in memory; can be made to wait or to fail."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.groups: list[int] = []
        self.failing = False

    def append(self, payloads: Sequence[bytes]) -> int:
        if self.failing:
            raise JournalWriteFailed("disk full")
        self.records += payloads
        self.groups.append(len(payloads))
        return len(self.records)

    def checkpoint(self, state_hash: str) -> None:
        self.last_hash = state_hash

    def read(self) -> list[Record]:
        return [Record(seq=n, payload=p, chain=b"") for n, p in enumerate(self.records, 1)]


class SlowJournal(MemoryJournal):
    """Its disk hangs until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def append(self, payloads: Sequence[bytes]) -> int:
        self._loop.call_soon_threadsafe(self.reached.set)
        self.gate.wait(10)
        return super().append(payloads)


@asynccontextmanager
async def running(
    journal: JournalPort, clock: ManualClock | None = None
) -> AsyncIterator[Sequencer]:
    sequencer = Sequencer(Market(USDC), journal, clock or ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    try:
        yield sequencer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, JournalWriteFailed, Violation):
            await task


def an_issue(amount: int) -> IssueCredits:
    return IssueCredits(account=ALICE, amount=amount, reason="test")


async def test_an_answer_means_durable() -> None:
    """When `submit` returns, the record is in the journal and the event in the feed."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        result = await sequencer.submit(an_issue(5))
        assert isinstance(result, Applied)
        assert [DECODER.decode(record) for record in journal.records] == [
            IssueCredits(account=ALICE, amount=5, reason="test", at_ms=1_000)
        ]
        assert [entry.event for entry in sequencer.feed.after(0, 10)] == result.events


async def test_waiting_commands_share_one_write() -> None:
    """Commands that wait together are one group: that is the group commit."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await asyncio.gather(*(sequencer.submit(an_issue(n)) for n in range(1, 101)))
    assert len(journal.records) == 100
    assert len(journal.groups) < 10


async def test_a_reject_is_not_journaled_and_changes_nothing() -> None:
    """A refused command leaves the state hash and the journal as they were."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await sequencer.submit(an_issue(1))
        before = sequencer.market.state.hash()
        refused = await sequencer.submit(an_issue(0))
        assert isinstance(refused, Reject)
        assert refused.code is RejectCode.LIMIT_OUT_OF_RANGE
        assert sequencer.market.state.hash() == before
    assert len(journal.records) == 1


async def test_a_failed_write_answers_nobody_and_stops() -> None:
    """After a failed sync nothing is acknowledged, now or later."""
    journal = MemoryJournal()
    journal.failing = True
    sequencer = Sequencer(Market(USDC), journal, ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    result = await sequencer.submit(an_issue(1))
    assert isinstance(result, Reject)
    assert result.code is RejectCode.SHUTTING_DOWN
    with pytest.raises(JournalWriteFailed):
        await task
    later = await sequencer.submit(an_issue(1))
    assert isinstance(later, Reject)
    assert sequencer.feed.seq == 0


async def test_durable_waits_for_what_was_applied() -> None:
    """`durable` returns after the write that was under way, and at once when there is none."""
    journal = SlowJournal()
    async with running(journal) as sequencer:
        await sequencer.durable()
        answer = asyncio.create_task(sequencer.submit(an_issue(1)))
        await journal.reached.wait()
        waiting = asyncio.create_task(sequencer.durable())
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        assert not journal.records
        journal.gate.set()
        await waiting
        assert len(journal.records) == 1
        await answer


async def test_a_stopped_sequencer_calls_nothing_durable() -> None:
    """After a failed write, what was applied is not on disk and never will be."""
    journal = SlowJournal()
    journal.failing = True
    sequencer = Sequencer(Market(USDC), journal, ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    answer = asyncio.create_task(sequencer.submit(an_issue(1)))
    await journal.reached.wait()
    waiting = asyncio.create_task(sequencer.durable())
    journal.gate.set()
    with pytest.raises(SequencerStopped):
        await waiting
    with pytest.raises(JournalWriteFailed):
        await task
    with pytest.raises(SequencerStopped):
        await sequencer.durable()
    await answer


async def test_a_full_inbox_pushes_back() -> None:
    """The inbox is bounded: what does not fit is refused with a time to wait."""
    sequencer = Sequencer(Market(USDC), MemoryJournal(), ManualClock(1_000), Feed())
    waiting = [asyncio.create_task(sequencer.submit(an_issue(1))) for _ in range(INBOX_MAX)]
    await asyncio.sleep(0)
    refused = await sequencer.submit(an_issue(1))
    assert isinstance(refused, Reject)
    assert refused.code is RejectCode.BUSY
    assert refused.retry_after_ms
    for task in waiting:
        task.cancel()


async def test_time_never_falls() -> None:
    """A clock that is set back does not set the market back."""
    clock = ManualClock(5_000)
    async with running(MemoryJournal(), clock) as sequencer:
        first = await sequencer.submit(an_issue(1))
        clock.advance(-4_000)
        second = await sequencer.submit(an_issue(1))
        assert isinstance(first, Applied)
        assert isinstance(second, Applied)
        assert (first.at_ms, second.at_ms) == (5_000, 5_000)


async def test_replay_gives_the_same_state_and_feed() -> None:
    """The journal alone rebuilds state hash, event numbers and balances."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await sequencer.submit(OpenResource(resource="tavily/search:call"))
        for n in range(1, 20):
            await sequencer.submit(an_issue(n))
        await sequencer.submit(Tick())
        market, feed = Market(USDC), Feed()
        assert replay(market, feed, journal.read(), {}) == len(journal.records)
        assert market.state.hash() == sequencer.market.state.hash()
        assert feed.after(0, 1_000) == sequencer.feed.after(0, 1_000)
        assert market.state.ledger.balance(ALICE, CREDIT).total == sum(range(1, 20))


async def test_what_was_begun_is_answered_before_the_stop() -> None:
    """A command whose write is under way when we are stopped gets its true answer."""
    journal = MemoryJournal()
    sequencer = Sequencer(Market(USDC), journal, ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    answer = asyncio.create_task(sequencer.submit(an_issue(1)))
    while not journal.records:  # noqa: ASYNC110  the journal tells nobody
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert isinstance(await answer, Applied)
    assert sequencer.feed.seq == 1


async def test_a_clean_stop_notes_the_state() -> None:
    """Stopping leaves a checkpoint of exactly what was journaled, even in mid-write."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        for n in range(1, 6):
            waiting = asyncio.create_task(sequencer.submit(an_issue(n)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    waiting.cancel()
    market = Market(USDC)
    replay(market, Feed(), journal.read(), {})
    assert market.state.hash() == journal.last_hash


def test_a_wrong_checkpoint_stops_recovery() -> None:
    """Replay that reaches another state than was noted is a Violation, not a guess."""
    journal = MemoryJournal()
    market = Market(USDC)
    market.apply(an_issue(1))
    journal.append([ENCODER.encode(an_issue(1))])
    replay(Market(USDC), Feed(), journal.read(), {1: market.state.hash()})
    with pytest.raises(Violation, match="replay_equal"):
        replay(Market(USDC), Feed(), journal.read(), {1: "00"})


def test_a_cursor_that_fell_out_of_the_feed_is_told_so() -> None:
    """The feed never skips: an old cursor gets the oldest number it can have."""
    market = Market(USDC)
    feed = Feed(kept_max=10)
    for n in range(1, 31):
        events = market.apply(an_issue(n))
        assert not isinstance(events, Reject)
        feed.append(n, events)
    assert [entry.seq for entry in feed.after(20, 100)] == list(range(21, 31))
    with pytest.raises(CursorTooOld) as caught:
        feed.after(19, 100)
    assert caught.value.oldest == 21
