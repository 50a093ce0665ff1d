"""What falls due: all of it, and nothing that is gone by then."""

import pytest

from solver.core.command import CancelDocument, Tick
from solver.core.market import Market
from solver.core.snapshot import dump, load
from solver.core.state import DUE_SPARE_MAX, Due, State
from tests.builder import START_S, USDC, Bench, a_bench, a_mandate, alice, an_intent, an_offer, bob


def _cancelled_mandates(bench: Bench, count: int, seconds: int) -> None:
    for _ in range(count):
        command = a_mandate().until(seconds).signed_by(alice)
        bench.do(command)
        bench.do(CancelDocument(account=alice.address, digest=command.digest))


@pytest.mark.parametrize("spare", [-20, -1, 0, 1])
def test_what_is_gone_makes_nothing_due(spare: int) -> None:
    """A market that lives on and one that is loaded agree on when a Tick must come."""
    bench = a_bench(watched=False)
    _cancelled_mandates(bench, DUE_SPARE_MAX + spare, 50)
    state = bench.market.state
    loaded = Market(state.usdc, load(dump(state)))
    for seconds in (49, 50, 51):
        now_ms = (START_S + seconds) * 1_000
        assert bench.market.is_due(now_ms) is loaded.is_due(now_ms) is False
    assert loaded.state.next_due_ms == state.next_due_ms


def test_all_that_waits_for_its_time_enters() -> None:
    """However many documents wait for one second, each is tradable from then on."""
    bench = a_bench(watched=False)
    count = 2 * DUE_SPARE_MAX
    for _ in range(count):
        bench.do(an_intent().units(1).limit(10).not_before(100).signed_by(alice))
        bench.do(an_offer().units(1).limit(9).not_before(100).until(3_000).signed_by(bob))
    bench.now_ms += 100_000
    bench.do(Tick())
    assert len(bench.market.state.leases) == count
    bench.closing()


def test_nothing_falls_due_before_its_time() -> None:
    """What is gone by then never does."""
    state = State(USDC)
    state.schedule(99, Due.END_MANDATE, "gone")
    assert (state.is_due(99), state.next_due_ms) == (False, None)
    state.schedule(98, Due.END_MANDATE, "gone")
    assert state.next_due_ms is None
    state.schedule(100, Due.RETURN_UNITS, "offer")
    assert [state.is_due(at_ms) for at_ms in (99, 100, 101)] == [False, True, True]
    state.schedule(97, Due.END_MANDATE, "gone")
    assert not state.is_due(98)
    assert state.next_due_ms == 100


def test_what_is_due_is_popped_if_it_is_of_a_kind() -> None:
    """The earliest alone, once its time has come."""
    state = State(USDC)
    state.schedule(100, Due.RETURN_UNITS, "first")
    state.schedule(101, Due.CLOSE_AUCTION, "second")
    state.now_ms = 99
    assert state.pop_due_if(Due.RETURN_UNITS) is None
    state.now_ms = 100
    assert state.pop_due_if(Due.CLOSE_AUCTION) is None
    assert state.pop_due_if(Due.RETURN_UNITS) == "first"
    assert state.pop_due_if(Due.CLOSE_AUCTION) is None
    state.now_ms = 101
    assert state.pop_due_if(Due.CLOSE_AUCTION) == "second"
    assert state.pop_due_if(Due.CLOSE_AUCTION) is None


def test_what_is_gone_is_swept_once_it_is_most_of_what_is_scheduled() -> None:
    """Beyond a spare and as many as wait: so memory is bounded, and a sweep is O(1) on average."""
    state = State(USDC)
    for count in range(1, DUE_SPARE_MAX + 1):
        state.schedule(1, Due.END_MANDATE, "gone")
        assert len(state.due) == count
    state.schedule(1, Due.END_MANDATE, "gone")
    assert state.due == []
    awaited = DUE_SPARE_MAX + 1
    for _ in range(awaited):
        state.schedule(1, Due.RETURN_UNITS, "offer")
    for count in range(1, awaited + DUE_SPARE_MAX + 1):
        state.schedule(1, Due.END_MANDATE, "gone")
        assert len(state.due) == awaited + count
    state.schedule(1, Due.END_MANDATE, "gone")
    assert len(state.due) == awaited
