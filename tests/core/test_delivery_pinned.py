"""What a call leaves in a window, and what moves with a lease, to the atom."""

import pytest

from solver.core import delivery
from solver.core.command import Authority, Limit, Outcome, SubmitIntent
from solver.core.event import LeaseStatus
from solver.core.fact import Withdrawn
from tests.builder import (
    SEARCH,
    Bench,
    a_bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_of,
)
from tests.core.sabotage import pure_only

RICH = 10**9


def _leased(bench: Bench, units: int, limit: int) -> SubmitIntent:
    """A session of alice's leases so many units of bob's."""
    bench.do(an_offer().units(units).limit(limit).signed_by(bob))
    intent = an_intent().for_account(alice).units(units).limit(2 * limit)
    bid = intent.signed_by(dave, Authority.SESSION)
    bench.do(bid)
    return bid


@pytest.mark.parametrize(
    ("outcome", "metered", "counted"),
    [
        (Outcome.DELIVERED, 0, 0),
        (Outcome.DELIVERED, 1, 1),
        (Outcome.DELIVERED, 3, 3),
        (Outcome.DELIVERED, 5, 5),
        (Outcome.FAILED, 0, 3),
        (Outcome.UNKNOWN, 0, 3),
        (Outcome.UNKNOWN, 5, 5),
    ],
)
def test_a_window_counts_what_the_upstream_may_have_counted(
    outcome: Outcome, metered: int, counted: int
) -> None:
    """What was metered if it was delivered; else no less than what was asked for."""
    bench = a_bench().pooling(dave, limits=(Limit(units=9, seconds=60),))
    bench.do(an_offer().units(9).limit(9).signed_by(dave))
    bid = an_intent().units(9).limit(900).signed_by(alice)
    bench.do(bid)
    lease = bench.lease(bid)
    bench.finish(bench.start(lease, 3), metered, outcome)
    (window,) = bench.market.state.windows_of(lease.key, lease.offer, lease.resource)
    assert window.occupied(bench.now_ms) == counted


def test_a_move_that_rounds_frees_its_atom_everywhere() -> None:
    """4 atoms for 3 units: two leases hold 2 + 1, so the session's cap has one atom back."""
    bench = a_bench().granting(dave, alice, cap=100)
    bid = _leased(bench, 3, 4)
    session = bench.market.state.accounts[alice.address].sessions[dave.address]
    assert session.committed == 4
    bench.do(an_offer().units(1).limit(1).signed_by(carol))
    call = bench.start(bench.lease(bid), 2)
    bench.retire(key_of(bob))
    first, second = bench.leases(bid)
    assert (first.units, first.held, second.units, second.held) == (2, 2, 1, 1)
    assert (session.committed, bench.available(alice)) == (3, RICH - 3)
    bench.finish(call, 2)
    assert session.committed == 3


def test_what_nobody_takes_is_withdrawn() -> None:
    """It can be used by nobody, and is counted as nothing else."""
    bench = a_bench().granting(dave, alice)
    bid = _leased(bench, 5, 50)
    lease = bench.lease(bid)
    call = bench.start(lease)
    bench.retire(key_of(bob))
    assert (lease.withdrawn, lease.remaining, lease.in_flight) == (4, 0, 1)
    bench.finish(call)
    assert (lease.withdrawn, lease.delivered, lease.status) == (4, 1, LeaseStatus.CLOSED)


@pytest.mark.parametrize(("left", "moves"), [(1, True), (0, True), (-1, False)])
def test_a_lease_moves_without_a_spare_atom(left: int, *, moves: bool) -> None:
    """The move costs nothing more; but money that left the chain is not promised again."""
    bench = Bench().listing(SEARCH).funded(alice, usdc=51, credit=0).pooling(bob, carol)
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    bid = an_intent().units(5).limit(50).signed_by(alice)
    bench.do(bid)
    bench.do(an_offer().units(5).limit(50).signed_by(carol))
    bench.chain(Withdrawn(account=alice.address, amount=1 - left))
    assert bench.available(alice) == left
    bench.retire(key_of(bob))
    assert [lease.units for lease in bench.leases(bid)] == ([0, 5] if moves else [5])


@pure_only
@pytest.mark.parametrize(("room", "taken"), [(1, 0), (2, 1), (3, 2), (9, 3)])
def test_an_execution_never_has_more_leases_than_settle_at_once(
    room: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many offers could take a part of what moves."""
    monkeypatch.setattr(delivery, "LEASES_PER_EXECUTION_MAX", room)
    bench = a_bench()
    bench.do(an_offer().units(3).limit(30).signed_by(bob))
    bid = an_intent().units(3).limit(30).signed_by(alice)
    bench.do(bid)
    for _ in range(3):
        bench.do(an_offer().units(1).limit(1).signed_by(carol))
    bench.retire(key_of(bob))
    first, *moved = bench.leases(bid)
    assert [lease.units for lease in moved] == [1] * taken
    assert first.withdrawn == 3 - taken


def test_a_closed_lease_has_no_end_ahead() -> None:
    """Nothing falls due for it any more."""
    bench = a_bench()
    bench.do(an_offer().limit(10).signed_by(bob))
    bid = an_intent().signed_by(alice)
    bench.do(bid)
    assert bench.market.state.next_due_ms == bench.lease(bid).until_ms
    bench.use(bench.lease(bid))
    assert bench.market.state.next_due_ms is None
    assert bench.market.state.lease_ends.entries() == []


@pytest.mark.parametrize("seconds", [0, 1])
def test_what_begins_now_begins(seconds: int) -> None:
    """A document good from this very second is on the book at once, and waits for nothing."""
    bench = a_bench()
    bid = an_intent().limit(1).not_before(seconds).signed_by(alice)
    ask = an_offer().limit(9).not_before(seconds).signed_by(carol)
    bench.do(bid)
    bench.do(ask)
    resting = bench.intent(bid).order.level, bench.market.state.offers[ask.digest].order.level
    assert (None in resting) is bool(seconds)
    assert len(bench.market.state.due) == 2 * seconds
