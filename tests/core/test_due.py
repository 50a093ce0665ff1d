"""What falls due: all of it, and nothing that is gone by then."""

import pytest

from solver.core.command import CancelDocument, Tick
from solver.core.market import Market
from solver.core.snapshot import dump, load
from solver.core.state import DUE_SPARE_MAX
from tests.builder import START_S, Bench, a_bench, a_mandate, alice, an_intent, an_offer, bob


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
