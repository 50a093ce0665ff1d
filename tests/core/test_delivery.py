"""Leases and calls: what is used, what is paid, and what happens when a key goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import Reject, RejectCode
from solver.core.command import (
    CancelDocument,
    EndLeases,
    Limit,
    Mode,
    Outcome,
    StartCall,
    SubmitIntent,
)
from solver.core.event import (
    CallFinished,
    Event,
    Filled,
    IntentStatus,
    LeaseClosed,
    LeaseMoved,
    LeaseStatus,
    OfferEnded,
)
from solver.core.fact import Withdrawn
from solver.core.lease import Lease
from solver.core.ledger import LAPSED, SERVED
from solver.core.state import LEASE_MS_MAX, capacity_asset
from tests.builder import (
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    a_bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
    key_of,
    nothing_is_left,
    only,
)
from tests.core.epoch import opened, proposal

RICH = 10**9
UNIT = capacity_asset(SEARCH)


def _leased(bench: Bench, units: int = 5, price: int = 10) -> SubmitIntent:
    bench.do(an_offer().units(units).limit(units * price).signed_by(bob))
    bid = an_intent().units(units).limit(units * price).signed_by(alice)
    bench.do(bid)
    return bid


def test_only_what_was_delivered_is_owed() -> None:
    """Two of five: two are owed, three are for sale again, the rest of the money is free."""
    bench = a_bench()
    bid = _leased(bench)
    bench.use(bench.lease(bid), 2)
    closed = only(bench.do(EndLeases(account=alice.address, intent=bid.digest)), LeaseClosed)
    assert (closed.units, closed.delivered, closed.returned, closed.payment) == (5, 2, 3, 20)
    assert bench.available(alice) == RICH - 20
    ledger = bench.market.state.ledger
    assert ledger.balance(SERVED, UNIT).total == 2
    assert bench.market.state.offers[bench.lease(bid).offer].open_units == 3
    assert ledger.balance(LAPSED, UNIT).total == 0


# -- unused capacity returns


def _ended(bench: Bench, bid: SubmitIntent) -> list[Event]:
    return bench.do(EndLeases(account=bid.intent.account, intent=bid.digest))


def test_leasing_everything_and_using_nothing_destroys_nothing() -> None:
    """A buyer who pays nothing takes nothing away: the seller's units are sold to the next."""
    bench = a_bench()
    offer = an_offer().units(5).limit(50).signed_by(bob)
    bench.do(offer)
    for _ in range(3):
        idle = an_intent().units(5).limit(50).signed_by(alice)
        bench.do(idle)
        bench.wait(LEASE_MS_MAX / 1_000)
        assert bench.lease(idle).returned == 5
    bid = an_intent().units(5).limit(50).signed_by(dave)
    bench.do(bid)
    assert every(bench.use(bench.lease(bid), 4), OfferEnded) == []
    assert only(bench.use(bench.lease(bid)), OfferEnded).reason == "filled"
    bench.closing()
    nothing_is_left(bench)
    assert bench.total(bob) == RICH + 50


def test_returned_units_meet_what_rests() -> None:
    """A bid that waits for supply is filled at its own price as soon as units come back."""
    bench = a_bench()
    bid = _leased(bench)
    rests = an_intent().units(3).limit(36).signed_by(dave)
    bench.do(rests)
    fill = only(_ended(bench, bid), Filled)
    assert (fill.intent, fill.units, fill.tick) == (rests.digest, 3, 12 * 10**6)
    (ask,) = bench.market.state.book(SEARCH, USDC).asks()
    assert ask.units == 2


def test_a_waiting_bid_is_tried_again_when_units_return() -> None:
    """Its minimum may be met by what came back and what still rests together."""
    bench = a_bench()
    bid = _leased(bench)
    bench.do(an_offer().units(3).limit(30).signed_by(carol))
    waits = an_intent().units(8).limit(80).all_or_none().signed_by(dave)
    assert every(bench.do(waits), Filled) == []
    fills = every(_ended(bench, bid), Filled)
    assert sorted(fill.units for fill in fills) == [3, 5]


def test_units_that_return_together_are_sold_once() -> None:
    """Two leases of one offer end at one time: what the first brings back is both."""
    bench = a_bench()
    offer = an_offer().units(2).limit(20).signed_by(bob)
    bench.do(offer)
    for _ in range(2):
        bench.do(an_intent().limit(10).signed_by(alice))
    rests = an_intent().units(3).limit(30).signed_by(carol)
    bench.do(rests)
    bench.wait(600)
    lease = bench.lease(rests)
    order = bench.market.state.offers[offer.digest].order
    assert (lease.units, order.units) == (2, 0)
    assert order.seq < lease.execution, "not a second time, after it was sold"


def test_returned_units_queue_behind_their_equals() -> None:
    """Coming back is a new place in time."""
    bench = a_bench()
    bid = _leased(bench)
    other = an_offer().units(5).limit(50).signed_by(carol)
    bench.do(other)
    _ended(bench, bid)
    late = an_intent().units(1).limit(10).signed_by(dave)
    bench.do(late)
    assert bench.lease(late).offer == other.digest


def test_units_return_to_an_auction_too() -> None:
    """Where a resource trades in epochs they rest for the next one."""
    bench = Bench().listing(SEARCH, Mode.EPOCH).funded(alice, bob).pooling(bob)
    ask, bid = an_offer().units(5).signed_by(bob), an_intent().units(5).signed_by(alice)
    bench.do(ask)
    bench.do(bid)
    tick = bench.market.state.offers[ask.digest].tick
    bench.do(proposal(opened(bench), "s", tick, (bid.digest, ask.digest, 5)))
    bench.wait(1)
    bench.use(bench.lease(bid), 2)
    _ended(bench, bid)
    (rests,) = bench.market.state.book(SEARCH, USDC).asks()
    assert (rests.id, rests.units) == (ask.digest, 3)


def test_an_execution_with_a_minimum_returns_what_it_leaves() -> None:
    """On chain all of it counts against the intent, and what it delivered against the offer."""
    bench = a_bench()
    offer = an_offer().units(5).limit(50).signed_by(bob)
    bench.do(offer)
    bid = an_intent().units(5).limit(50).at_least(2).signed_by(alice)
    bench.do(bid)
    bench.use(bench.lease(bid), 1)
    events = _ended(bench, bid)
    assert only(events, LeaseClosed).returned == 4
    assert bench.market.state.offers[offer.digest].open_units == 4
    assert bench.market.state.ledger.balance(LAPSED, UNIT).total == 0
    (line,) = bench.cut().lines
    assert (line.units, line.delivered) == (5, 1)


def test_units_with_an_unknown_outcome_do_not_return() -> None:
    """The upstream may have counted them."""
    bench = a_bench()
    bid = _leased(bench)
    bench.use(bench.lease(bid), 3, Outcome.UNKNOWN)
    assert only(_ended(bench, bid), LeaseClosed).returned == 2


def test_units_return_to_no_offer_that_ended() -> None:
    """Its seller took it back meanwhile: what is unused lapses."""
    bench = a_bench()
    bid = _leased(bench)
    offer = bench.lease(bid).offer
    bench.do(CancelDocument(account=bob.address, digest=offer))
    assert only(_ended(bench, bid), LeaseClosed).returned == 0
    assert bench.market.state.ledger.balance(LAPSED, UNIT).total == 5


def test_units_that_return_as_a_bid_ends_do_not_meet_it() -> None:
    """I9: at one instant what is over ends before what comes back is sold."""
    bench = a_bench()
    _leased(bench)
    lease_s = LEASE_MS_MAX // 1_000
    ends = an_intent().limit(100).until(lease_s).signed_by(dave)
    starts = an_intent().limit(90).not_before(lease_s).signed_by(dave)
    bench.do(ends)
    bench.do(starts)
    assert only(bench.wait(lease_s), Filled).intent == starts.digest
    assert bench.status(ends) is IntentStatus.EXPIRED


def test_units_that_return_as_their_offer_ends_lapse() -> None:
    """An offer is good up to, not at, its end."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).until(60).signed_by(bob))
    bench.do(an_intent().units(5).limit(50).signed_by(alice))
    bench.do(an_intent().limit(100).signed_by(dave))
    assert every(bench.wait(60), Filled) == []
    assert bench.market.state.ledger.balance(LAPSED, UNIT).total == 5


leasings = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(0, 6),
        st.sampled_from(list(Outcome)),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=12,
)


@given(units=st.integers(1, 12), leasings=leasings)
def test_what_is_not_used_up_can_always_be_sold(
    units: int, leasings: list[tuple[int, int, Outcome, int, bool]]
) -> None:
    """Free units are what was signed less delivered, unknown, and filled under a minimum.

    Each leasing: units wanted, units used, what became of them, the minimum, whether at the end of
    its time rather than by its buyer.
    """
    bench = a_bench()
    offer = an_offer().units(units).limit(units * 10).until(90_000).signed_by(bob)
    bench.do(offer)
    free = units
    for wanted, used, outcome, minimum, late in leasings:
        terms = an_intent().units(wanted).limit(wanted * 10).at_least(min(minimum, wanted))
        bid = terms.until(90_000).immediate().signed_by(alice)
        bench.do(bid)
        for lease in bench.leases(bid):
            if 0 < used <= lease.remaining:
                bench.use(lease, used, outcome)
            bench.wait(LEASE_MS_MAX / 1_000 if late else 0)
            _ended(bench, bid)
            free -= lease.delivered + lease.lapsed
        assert bench.market.state.offers[offer.digest].open_units == free
        assert bench.is_live(offer) == (free > 0)
    lines = bench.cut(999).lines if bench.market.state.ready else ()
    assert sum(line.delivered for line in lines) <= units - free


def test_a_lease_closes_when_it_is_used_up() -> None:
    """No one has to end it."""
    bench = a_bench()
    bid = _leased(bench)
    assert every(bench.use(bench.lease(bid), 4), LeaseClosed) == []
    assert only(bench.use(bench.lease(bid), 1), LeaseClosed).payment == 50


@pytest.mark.parametrize(
    ("outcome", "metered", "delivered", "lapsed"),
    [
        (Outcome.DELIVERED, 3, 3, 0),
        (Outcome.DELIVERED, 1, 1, 0),
        (Outcome.DELIVERED, 0, 0, 0),
        (Outcome.DELIVERED, 4, 4, 0),
        (Outcome.DELIVERED, 99, 5, 0),
        (Outcome.FAILED, 0, 0, 0),
        (Outcome.FAILED, 3, 0, 0),
        (Outcome.UNKNOWN, 0, 0, 3),
        (Outcome.UNKNOWN, 4, 0, 4),
        (Outcome.UNKNOWN, 99, 0, 5),
    ],
)
def test_outcomes(outcome: Outcome, metered: int, delivered: int, lapsed: int) -> None:
    """Three of five reserved: unknown uses capacity, charges nobody; never beyond the lease."""
    bench = a_bench()
    bid = _leased(bench)
    lease = bench.lease(bid)
    bench.finish(bench.start(lease, 3), metered, outcome)
    assert (lease.delivered, lease.lapsed, lease.payment) == (delivered, lapsed, 10 * delivered)
    bench.closing()
    assert bench.total(alice) == RICH - 10 * delivered
    assert bench.market.state.ledger.balance(SERVED, UNIT).total == delivered + lapsed


def test_overuse_does_not_eat_what_another_call_reserved() -> None:
    """A greedy meter is cut to what is not promised to others."""
    bench = a_bench()
    lease = bench.lease(_leased(bench))
    first, second = bench.start(lease, 2), bench.start(lease, 2)
    bench.finish(first, 99)
    assert (lease.delivered, lease.in_flight) == (3, 2)
    bench.finish(second, 2)
    assert lease.delivered == 5


def test_calls_in_flight_at_the_end_still_count() -> None:
    """At its end a lease drains: no new calls, those under way are paid."""
    bench = a_bench()
    bid = _leased(bench)
    call = bench.start(bench.lease(bid), 2)
    assert every(bench.wait(LEASE_MS_MAX / 1_000), LeaseClosed) == []
    assert bench.lease(bid).status is LeaseStatus.DRAINING
    bench.wait(1_000)
    events = bench.finish(call, 2)
    assert only(events, CallFinished).units == 2
    assert only(events, LeaseClosed).payment == 20


def test_a_full_window_says_when() -> None:
    """The refusal carries the exact time to wait, and waiting that long helps."""
    bench = a_bench().pooling(bob, number=1, limits=(Limit(units=2, seconds=60),))
    bench.do(an_offer().units(5).limit(50).from_key(key_of(bob, 1)).signed_by(bob))
    bid = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(bid)
    lease = bench.lease(bid)
    bench.use(lease, 2)
    bench.wait(20)
    refused = bench.attempt(StartCall(lease=lease.id, call="c", units=1))
    assert isinstance(refused, Reject)
    assert (refused.code, refused.retry_after_ms) == (RejectCode.WINDOW_EXHAUSTED, 40_001)
    bench.wait(40.001)
    bench.use(lease)


def test_leases_of_one_key_share_its_windows() -> None:
    """The key's limit is the key's, whoever calls."""
    bench = a_bench().pooling(bob, number=1, limits=(Limit(units=2, seconds=60),))
    offer = an_offer().units(5).limit(50).from_key(key_of(bob, 1))
    for _ in range(2):
        bench.do(offer.signed_by(bob))
    bids = [an_intent().units(5).limit(100).signed_by(who) for who in (alice, dave)]
    for bid in bids:
        bench.do(bid)
    bench.start(bench.lease(bids[0]))
    bench.start(bench.lease(bids[1]))
    late = StartCall(lease=bench.lease(bids[0]).id, call="c", units=1)
    assert bench.refuse(late) is RejectCode.WINDOW_EXHAUSTED


def test_resources_of_one_key_share_its_windows() -> None:
    """The provider counts the key: two resources together reach its limit once, not twice."""
    limit = Limit(units=3, seconds=60)
    bench = (
        a_bench()
        .listing(TOKENS)
        .pooling(bob, number=1, limits=(limit,), resources=(SEARCH, TOKENS, SEARCH))
    )
    bids = []
    for resource in (SEARCH, TOKENS):
        offer = an_offer().of(resource).units(5).limit(5).from_key(key_of(bob, 1))
        bench.do(offer.signed_by(bob))
        bids.append(an_intent().of(resource).units(5).limit(500).signed_by(alice))
        bench.do(bids[-1])
    search, tokens = map(bench.lease, bids)
    bench.use(search, 2)
    late = StartCall(lease=tokens.id, call="late", units=2)
    assert bench.refuse(late) is RejectCode.WINDOW_EXHAUSTED
    call = bench.start(tokens)
    bench.wait(30)
    bench.finish(call)
    bench.wait(30.001)
    bench.use(search, 2)
    assert bench.refuse(late) is RejectCode.WINDOW_EXHAUSTED


def test_a_window_of_an_offer_is_its_own() -> None:
    """Two offers of one key with windows of their own do not fill each other's."""
    bench = a_bench()
    bids = []
    for _ in range(2):
        bench.do(an_offer().units(5).limit(5).window(2, 60).signed_by(bob))
        bids.append(an_intent().units(5).limit(500).signed_by(alice))
        bench.do(bids[-1])
    for bid in bids:
        bench.use(bench.lease(bid), 2)
        late = StartCall(lease=bench.lease(bid).id, call="late", units=1)
        assert bench.refuse(late) is RejectCode.WINDOW_EXHAUSTED


# -- keys that go


def _moved(bench: Bench, bid: SubmitIntent) -> tuple[Lease, ...]:
    return tuple(bench.leases(bid))


def test_a_lease_moves_to_another_key() -> None:
    """The rest is served by another offer at the lease's price; calls under way stay and count."""
    bench = a_bench()
    bid = _leased(bench)
    first = bench.lease(bid)
    bench.use(first)
    call = bench.start(first)
    other = an_offer().units(9).limit(9).signed_by(carol)
    bench.do(other)
    events = bench.retire(key_of(bob))
    assert only(events, LeaseMoved).units == 3
    first, second = _moved(bench, bid)
    assert (first.units, first.status, second.units, second.tick) == (
        2,
        LeaseStatus.ORPHANED,
        3,
        first.tick,
    )
    bench.finish(call)
    bench.use(second, 3)
    assert [lease.payment for lease in (first, second)] == [20, 30]
    assert bench.available(alice) == RICH - 50
    bench.closing()
    nothing_is_left(bench)
    assert (bench.total(bob), bench.total(carol)) == (RICH + 20, RICH + 30)


def test_what_calls_in_flight_give_back_moves_too() -> None:
    """A call that failed or used less, after its key died, leaves its units to another key."""
    bench = a_bench()
    bid = _leased(bench)
    calls = [bench.start(bench.lease(bid)) for _ in range(3)]
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    bench.retire(key_of(bob))
    assert only(bench.finish(calls[0], 0, Outcome.FAILED), LeaseMoved).units == 1
    bench.finish(calls[1], 1)
    closed = only(bench.finish(calls[2], 1, Outcome.UNKNOWN), LeaseClosed)
    assert (closed.units, closed.delivered) == (2, 1)
    assert [lease.units for lease in _moved(bench, bid)] == [2, 2, 1]
    for lease in _moved(bench, bid)[1:]:
        bench.use(lease, lease.units)
    bench.closing()
    nothing_is_left(bench)
    assert bench.total(alice) == RICH - 40


def test_an_orphaned_lease_ends_on_time() -> None:
    """After its end nothing more moves: what calls give back is free."""
    bench = a_bench()
    bid = _leased(bench)
    call = bench.start(bench.lease(bid), 2)
    bench.retire(key_of(bob))
    bench.wait(LEASE_MS_MAX / 1_000)
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    assert every(bench.finish(call, 0, Outcome.FAILED), LeaseMoved) == []
    assert bench.available(alice) == RICH


def test_a_moved_lease_lives_no_longer() -> None:
    """However often keys go, delivery ends when the first lease would have."""
    bench = a_bench()
    bid = _leased(bench)
    until_ms = bench.lease(bid).until_ms
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    bench.wait(599)
    bench.retire(key_of(bob))
    assert _moved(bench, bid)[1].until_ms == until_ms


def test_capacity_of_a_retired_key_lapses() -> None:
    """Nothing is left available on an offer whose key is gone, moved units included."""
    bench = a_bench()
    _leased(bench)
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    bench.retire(key_of(bob))
    ledger = bench.market.state.ledger
    assert ledger.balance(LAPSED, UNIT).total == 5


def test_no_lease_moves_to_a_dearer_offer_or_to_its_buyer() -> None:
    """What nobody takes at the price is withdrawn; the buyer is never its own seller."""
    bench = a_bench().pooling(alice)
    bid = _leased(bench)
    bench.do(an_offer().units(9).limit(99).signed_by(carol))
    bench.do(an_offer().units(9).limit(9).signed_by(alice))
    closed = only(bench.retire(key_of(bob)), LeaseClosed)
    assert (closed.units, closed.delivered) == (5, 0)
    assert bench.available(alice) == RICH
    assert len(_moved(bench, bid)) == 1


def test_a_lease_moves_in_parts_and_may_move_again() -> None:
    """Over several offers, which end once their leases do, and a second loss moves on."""
    bench = a_bench().pooling(dave)
    bid = _leased(bench)
    small = an_offer().units(2).limit(2).signed_by(carol)
    bench.do(small)
    bench.do(an_offer().units(9).limit(18).signed_by(dave))
    events = bench.retire(key_of(bob))
    assert [event.units for event in every(events, LeaseMoved)] == [2, 3]
    assert [event.reason for event in every(events, OfferEnded)] == ["key revoked"]
    assert bench.is_live(small)
    events = bench.retire(key_of(carol))
    assert only(events, LeaseMoved).units == 2
    assert [lease.units for lease in _moved(bench, bid)] == [0, 0, 3, 2]
    for lease in _moved(bench, bid)[2:]:
        bench.use(lease, lease.units)
    batch = bench.cut()
    assert [line.units for line in batch.lines] == [3, 2]
    bench.settle(batch)
    nothing_is_left_of(bench, bid)


def nothing_is_left_of(bench: Bench, bid: SubmitIntent) -> None:
    """The intent is settled and holds nothing."""
    assert bench.status(bid) == "settled"
    assert bench.available(alice) == bench.total(alice)


def test_a_lease_moves_within_its_own_execution() -> None:
    """An ask that serves part of an execution takes over the rest of it."""
    bench = a_bench()
    bench.do(an_offer().units(3).limit(30).signed_by(bob))
    bench.do(an_offer().units(9).limit(90).signed_by(carol))
    bid = an_intent().units(5).limit(100).all_or_none().signed_by(alice)
    bench.do(bid)
    bench.retire(key_of(bob))
    assert [lease.units for lease in bench.leases(bid)] == [0, 2, 3]
    for lease in bench.leases(bid)[1:]:
        bench.use(lease, lease.units)
    assert sum(line.units for line in bench.cut().lines) == 5


def test_a_draining_lease_does_not_move() -> None:
    """Its buyer was done with it."""
    bench = a_bench()
    bid = _leased(bench)
    call = bench.start(bench.lease(bid))
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    assert every(bench.retire(key_of(bob)), LeaseMoved) == []
    bench.finish(call)
    assert bench.lease(bid).status is LeaseStatus.CLOSED


def test_a_lease_moves_after_its_intent_was_cancelled() -> None:
    """Cancelling withdraws what is open; what is leased is still served."""
    bench = a_bench()
    bench.do(an_offer().units(2).limit(20).signed_by(bob))
    bid = an_intent().units(5).limit(50).signed_by(alice)
    bench.do(bid)
    bench.do(CancelDocument(account=alice.address, digest=bid.digest))
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    assert only(bench.retire(key_of(bob)), LeaseMoved).units == 2


def test_no_lease_of_a_buyer_without_money_moves() -> None:
    """Money that left the chain is not promised again, and nothing breaks."""
    bench = Bench().listing(SEARCH).funded(alice, usdc=50, credit=0).pooling(bob, carol)
    bid = _leased(bench)
    bench.do(an_offer().units(9).limit(9).signed_by(carol))
    bench.chain(Withdrawn(account=alice.address, amount=30))
    assert bench.available(alice) == -30
    assert every(bench.retire(key_of(bob)), LeaseMoved) == []
    assert bench.lease(bid).status is LeaseStatus.SETTLED
