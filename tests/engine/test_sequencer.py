"""Nobody is answered before it is durable, and what is refused leaves no trace."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from intents.reject import Reject, RejectCode
from solver.core.check import Violation
from solver.core.command import CutBatch, IssueCredits, OpenResource, Tick
from solver.core.market import Market
from solver.core.state import CREDIT
from solver.engine import recovery
from solver.engine import sequencer as module
from solver.engine.feed import CursorTooOld, Feed
from solver.engine.group import Group, JournalPort
from solver.engine.recovery import Recovered, replay
from solver.engine.sequencer import (
    BUSY_MIN,
    GROUP_MAX,
    INBOX_MAX,
    WORTH_MIN,
    Applied,
    Sequencer,
    SequencerStopped,
)
from solver.journal import JournalWriteFailed
from solver.runtime.clock import ManualClock
from tests.builder import CREDITS, SEARCH, START_S, alice, an_intent, record_of
from tests.engine.memory_journal import MemoryJournal
from tests.patience import a_while, patience_s, until

USDC = "0x" + "22" * 20
ALICE = "0x" + "aa" * 20


class SlowJournal(MemoryJournal):
    """Its disk hangs until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def append(self, group: Group) -> int:
        self._loop.call_soon_threadsafe(self.reached.set)
        self.gate.wait(patience_s())
        return super().append(group)


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


def a_new_market() -> Recovered:
    return Recovered(market=Market(USDC), feed=Feed())


def an_issue(amount: int) -> IssueCredits:
    return IssueCredits(account=ALICE, amount=amount, reason="test")


async def test_an_answer_means_durable() -> None:
    """When `submit` returns, the record is in the journal and the event in the feed."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        result = await sequencer.submit(an_issue(5))
        assert isinstance(result, Applied)
        assert journal.commands == [
            IssueCredits(account=ALICE, amount=5, reason="test", at_ms=1_000)
        ]
        assert [entry.event for entry in sequencer.feed.after(0, 10)] == result.events


async def test_a_record_is_journaled_as_its_command() -> None:
    """Whoever recovers applies a SubmitIntent and comes to the same state; a refused one is not."""
    journal = MemoryJournal()
    clock = ManualClock(START_S * 1_000)
    async with running(journal, clock) as sequencer:
        await sequencer.submit(OpenResource(resource=SEARCH))
        await sequencer.submit(IssueCredits(account=alice.address, amount=50, reason="test"))
        good = an_intent().limit(50).paid_in(CREDITS).signed_by(alice)
        dear = an_intent().limit(51).paid_in(CREDITS).nonce(99).signed_by(alice)
        results = await sequencer.submit_many([record_of(dear), record_of(good)])
        assert [type(result) for result in results] == [Reject, Applied]
        state_hash = sequencer.market.state.hash()
    assert journal.commands[-1] == msgspec.structs.replace(good, at_ms=clock.now_ms())
    assert len(journal.commands) == 3
    again = replay(a_new_market(), journal.read())
    assert again.market.state.hash() == state_hash


async def test_waiting_commands_share_one_write() -> None:
    """Commands that wait together are one group: that is the group commit."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await asyncio.gather(*(sequencer.submit(an_issue(n)) for n in range(1, 101)))
    assert journal.seq == 100
    assert len(journal.groups) < 10


async def test_a_busy_market_writes_what_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write of many the next one waits for more, and goes at once when there is enough."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3_600)
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await sequencer.submit_many([an_issue(n + 1) for n in range(BUSY_MIN)])
        early = sequencer.enter([an_issue(1)])
        written, _ = await asyncio.wait({early}, timeout=0.05)
        assert not written, "it waits for more"
        later = [sequencer.enter([an_issue(n + 1)]) for n in range(WORTH_MIN - 1)]
        await asyncio.gather(early, *later)
    assert [group.commands for group in journal.groups] == [BUSY_MIN, WORTH_MIN]


async def test_a_pause_ends() -> None:
    """What alone comes after a write of many is written all the same, a little later."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await sequencer.submit_many([an_issue(n + 1) for n in range(BUSY_MIN)])
        await sequencer.submit(an_issue(1))
        await sequencer.submit_many([an_issue(n + 1) for n in range(BUSY_MIN)])
    assert [group.commands for group in journal.groups] == [BUSY_MIN, 1, BUSY_MIN]


async def test_a_quiet_market_never_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a few commands, one after the other, waits for the disk alone."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3_600)
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        for _ in range(3):
            await sequencer.submit_many([an_issue(n + 1) for n in range(BUSY_MIN - 1)])
    assert len(journal.groups) == 3


async def test_a_stop_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for more when the market stops is written and answered."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3_600)
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        await sequencer.submit_many([an_issue(n + 1) for n in range(BUSY_MIN)])
        last = sequencer.enter([an_issue(1)])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not last.done()
    assert isinstance((await last)[0], Applied)
    assert journal.seq == BUSY_MIN + 1


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
    assert journal.seq == 1


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
        assert not journal.groups
        journal.gate.set()
        await waiting
        assert journal.seq == 1
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


@pytest.mark.parametrize("first", [an_issue(7), Tick()], ids=["a command", "a tick"])
async def test_what_fell_due_is_ticked_first_and_once(first: IssueCredits | Tick) -> None:
    """A tick of its own comes before a group's first command, unless that is a tick itself."""
    journal, clock = MemoryJournal(), ManualClock(START_S * 1_000)
    bid = an_intent().paid_in(CREDITS).units(1).limit(10).until(1).signed_by(alice)
    rich = IssueCredits(account=alice.address, amount=1_000, reason="test")
    async with running(journal, clock) as sequencer:
        await sequencer.submit_many([OpenResource(resource=SEARCH), rich, bid])
        clock.advance(1_000)
        assert sequencer.market.is_due(clock.now_ms())
        await sequencer.submit_many([first, an_issue(8)])
        assert not sequencer.market.is_due(clock.now_ms())
    kinds = [type(command) for command in journal.commands[3:]]
    assert kinds == [Tick, *([] if isinstance(first, Tick) else [IssueCredits]), IssueCredits]


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
        again = replay(a_new_market(), journal.read())
        assert again.seq == journal.seq
        assert again.market.state.hash() == sequencer.market.state.hash()
        assert again.feed.after(0, 1_000) == sequencer.feed.after(0, 1_000)
        assert again.market.state.ledger.balance(ALICE, CREDIT).total == sum(range(1, 20))


async def test_a_long_replay_keeps_what_the_newest_commands_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same numbers and entries as live; what came before them is said to be too old."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        for n in range(1, 21):
            await sequencer.submit(an_issue(n))
    monkeypatch.setattr(recovery, "KEPT_MAX", 5)
    again = a_new_market()
    again.last_seq = journal.seq
    feed = replay(again, journal.read()).feed
    assert feed.seq == sequencer.feed.seq == 20
    assert feed.after(15, 100) == sequencer.feed.after(15, 100)
    with pytest.raises(CursorTooOld) as caught:
        feed.after(14, 100)
    assert caught.value.oldest == 16


async def test_what_was_begun_is_answered_before_the_stop() -> None:
    """A command whose write is under way when we are stopped gets its true answer."""
    journal = MemoryJournal()
    sequencer = Sequencer(Market(USDC), journal, ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    answer = asyncio.create_task(sequencer.submit(an_issue(1)))
    while not journal.groups:  # noqa: ASYNC110  the journal tells nobody
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
    again = replay(a_new_market(), journal.read())
    assert journal.checkpoints == {journal.seq: again.market.state.hash()}


async def _a_short_journal() -> MemoryJournal:
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        for n in range(1, 4):
            await sequencer.submit(an_issue(n))
    return journal


async def test_a_wrong_checkpoint_stops_recovery() -> None:
    """Replay that reaches another state than was noted is a Violation, not a guess."""
    journal = await _a_short_journal()
    replay(a_new_market(), journal.read())
    journal.checkpoints[3] = "00"
    with pytest.raises(Violation, match="replay_equal"):
        replay(a_new_market(), journal.read())


async def test_a_wrong_outcome_stops_recovery_at_its_group() -> None:
    """What a group led to is compared at once: the place is that group, not the end."""
    journal = await _a_short_journal()
    journal.groups[1] = msgspec.structs.replace(journal.groups[1], outcome=bytes(32))
    with pytest.raises(Violation, match="replay_equal") as caught:
        replay(a_new_market(), journal.read())
    assert caught.value.facts == {"seq": 2}


async def test_a_group_without_outcome_is_passed_over() -> None:
    """Groups of the first format noted none; those after them are still compared."""
    journal = await _a_short_journal()
    journal.groups[0] = msgspec.structs.replace(journal.groups[0], outcome=b"")
    assert replay(a_new_market(), journal.read()).seq == 3


async def test_a_gap_stops_recovery() -> None:
    """A group that does not follow the last one is not applied."""
    journal = await _a_short_journal()
    with pytest.raises(Violation, match="replay_goes_on_where_it_stopped"):
        replay(a_new_market(), journal.read()[1:])


async def test_a_restarted_sequencer_goes_on_with_the_outcome() -> None:
    """The outcome covers all of history: a second life's groups follow from the first's."""
    journal = await _a_short_journal()
    again = replay(a_new_market(), journal.read())
    second = Sequencer(again.market, journal, ManualClock(2_000), again.feed, again.outcome)
    task = asyncio.create_task(second.run())
    await second.submit(an_issue(9))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert replay(a_new_market(), journal.read()).seq == 4


async def test_a_batch_is_one_group_and_each_has_its_result() -> None:
    """`submit_many` answers in order, and a refused command does not hold up the others."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        results = await sequencer.submit_many([an_issue(1), an_issue(0), an_issue(3)])
        assert [isinstance(result, Applied) for result in results] == [True, False, True]
        assert await sequencer.submit_many([]) == []
    assert [group.commands for group in journal.groups] == [2]


async def test_batches_share_a_group_as_far_as_they_fit() -> None:
    """A group takes whole batches up to its bound; the next one takes the rest."""
    journal = SlowJournal()
    async with running(journal) as sequencer:
        first = asyncio.create_task(sequencer.submit(an_issue(1)))
        await journal.reached.wait()
        sizes = (300, 200, 100, 12)
        batches = [
            asyncio.create_task(sequencer.submit_many([an_issue(n) for n in range(1, size + 1)]))
            for size in sizes
        ]
        await asyncio.sleep(0)
        journal.gate.set()
        results = await asyncio.gather(first, *batches)
    assert [len(told) for told in results[1:] if isinstance(told, list)] == list(sizes)
    assert [group.commands for group in journal.groups] == [1, 500, 112]


async def test_a_batch_has_a_bound() -> None:
    """More than one group takes is refused whole, with the bound."""
    async with running(MemoryJournal()) as sequencer:
        results = await sequencer.submit_many([an_issue(1)] * (GROUP_MAX + 1))
    assert len(results) == GROUP_MAX + 1
    assert {told.code for told in results if isinstance(told, Reject)} == {RejectCode.TOO_LARGE}
    assert all(isinstance(told, Reject) for told in results)


async def test_a_full_inbox_refuses_whole_batches() -> None:
    """The inbox counts commands, not batches, and lets go of what it hands on."""
    journal = SlowJournal()
    async with running(journal) as sequencer:
        batch = [an_issue(1)] * GROUP_MAX
        waiting = [
            asyncio.create_task(sequencer.submit_many(batch)) for _ in range(INBOX_MAX // GROUP_MAX)
        ]
        await journal.reached.wait()
        more = asyncio.create_task(sequencer.submit_many(batch))
        await asyncio.sleep(0)
        refused = await sequencer.submit_many(batch)
        assert all(told == refused[0] for told in refused)
        assert isinstance(refused[0], Reject)
        assert refused[0].code is RejectCode.BUSY
        assert refused[0].retry_after_ms
        journal.gate.set()
        answered = await asyncio.gather(*waiting, more)
    counted = sum(isinstance(told, Applied) for results in answered for told in results)
    assert counted == journal.seq == (INBOX_MAX // GROUP_MAX + 1) * GROUP_MAX


async def test_what_comes_during_a_write_is_applied_and_answered_after_its_own() -> None:
    """The market goes on while the disk works; nobody hears of it before their own write."""
    journal = SlowJournal()
    async with running(journal) as sequencer:
        first = asyncio.create_task(sequencer.submit(an_issue(1)))
        await journal.reached.wait()
        second = asyncio.create_task(sequencer.submit_many([an_issue(2), an_issue(0)]))
        while sequencer.market.state.ledger.balance(ALICE, CREDIT).total < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        durable = asyncio.create_task(sequencer.durable())
        done, _ = await asyncio.wait({first, second, durable}, timeout=0.05)
        assert not done
        assert (journal.seq, sequencer.feed.seq) == (0, 0)
        journal.gate.set()
        await durable
        assert (journal.seq, sequencer.feed.seq) == (2, 2)
        assert isinstance(await first, Applied)
        assert [type(result) for result in await second] == [Applied, Reject]
    assert [group.commands for group in journal.groups] == [1, 1]


async def test_after_a_failed_write_nothing_that_was_applied_meanwhile_is_answered() -> None:
    """What was applied on top of a group that is not on disk goes with it."""
    journal = SlowJournal()
    journal.failing = True
    sequencer = Sequencer(Market(USDC), journal, ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    answers = [asyncio.create_task(sequencer.submit(an_issue(1)))]
    await journal.reached.wait()
    answers += [asyncio.create_task(sequencer.submit(an_issue(n))) for n in (2, 3)]
    await until(lambda: sequencer.market.state.ledger.balance(ALICE, CREDIT).total == 6)
    durable = asyncio.create_task(sequencer.durable())
    await asyncio.sleep(0)
    journal.gate.set()
    with pytest.raises(JournalWriteFailed):
        await task
    for told in await asyncio.gather(*answers):
        assert isinstance(told, Reject)
        assert told.code is RejectCode.SHUTTING_DOWN
    with pytest.raises(SequencerStopped):
        await durable
    assert (journal.seq, sequencer.feed.seq) == (0, 0)


async def test_a_violation_leaves_what_is_being_written_its_true_answer() -> None:
    """The group before was right and gets to the disk; those who wait are told of the stop."""
    journal = SlowJournal()
    clock = ManualClock(1_000)
    sequencer = Sequencer(Market(USDC), journal, clock, Feed())
    task = asyncio.create_task(sequencer.run())
    first = asyncio.create_task(sequencer.submit(an_issue(1)))
    await journal.reached.wait()

    def broken(_: object) -> None:
        raise Violation("planted")

    sequencer.market.apply = broken  # type: ignore[assignment,method-assign]
    second = asyncio.create_task(sequencer.submit(an_issue(2)))
    await a_while()
    journal.gate.set()
    with pytest.raises(Violation):
        await task
    assert isinstance(await first, Applied)
    told = await second
    assert isinstance(told, Reject)
    assert told.code is RejectCode.SHUTTING_DOWN
    assert (journal.seq, sequencer.feed.seq) == (1, 1)
    assert not journal.checkpoints


async def test_a_clean_stop_writes_what_was_applied_during_a_write() -> None:
    """Both groups are on disk and answered, and the checkpoint is of both."""
    journal = SlowJournal()
    sequencer = Sequencer(Market(USDC), journal, ManualClock(1_000), Feed())
    task = asyncio.create_task(sequencer.run())
    first = asyncio.create_task(sequencer.submit(an_issue(1)))
    await journal.reached.wait()
    second = asyncio.create_task(sequencer.submit(an_issue(2)))
    await a_while()
    task.cancel()
    await a_while()
    assert not first.done()
    journal.gate.set()
    with suppress(asyncio.CancelledError):
        await task
    assert [type(await one) for one in (first, second)] == [Applied, Applied]
    assert journal.checkpoints == {2: sequencer.market.state.hash()}


async def test_a_nearly_full_disk_takes_only_what_ends_something() -> None:
    """New work is refused with a hint and a time; ticks, ends and batches still go through."""
    journal = MemoryJournal()
    async with running(journal) as sequencer:
        journal.roomy = False
        refused = await sequencer.submit(an_issue(1))
        assert isinstance(refused, Reject)
        assert refused.code is RejectCode.BUSY
        assert refused.hint
        assert refused.retry_after_ms
        assert sequencer.feed.seq == 0
        ended = await sequencer.submit_many([Tick(), CutBatch(fills_max=1), an_issue(1)])
        assert isinstance(ended[0], Applied)
        assert isinstance(ended[1], Reject)
        assert ended[1].code is RejectCode.NOTHING_TO_SETTLE
        journal.roomy = True
        assert isinstance(await sequencer.submit(an_issue(1)), Applied)
    assert [type(command) for command in journal.commands] == [Tick, IssueCredits]


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
