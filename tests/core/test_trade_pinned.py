"""The place in time of units that come back, and what is told of an offer that ends with them."""

from solver.core.command import EndLeases
from solver.core.event import OfferEnded
from tests.builder import HOUR_S, a_bench, alice, an_intent, an_offer, bob, carol, only

LEASE_S = 600


def test_units_that_return_together_take_one_place() -> None:
    """The first of an offer's leases to end brings all back; those after it move nothing."""
    bench = a_bench()
    early, late = an_offer().units(2).limit(20).signed_by(bob), an_offer().signed_by(carol)
    bids = [an_intent().signed_by(alice) for _ in range(3)]
    bench.do(early)
    bench.do(bids[0])
    bench.do(late)
    for bid in bids[1:]:
        bench.do(bid)
    assert [bench.lease(bid).offer for bid in bids] == [early.digest, late.digest, early.digest]
    bench.wait(LEASE_S)
    first, second = (bench.market.state.offers[one.digest].order for one in (early, late))
    assert (first.units, second.units) == (2, 1)
    assert first.seq < second.seq


def test_an_offer_whose_units_return_too_late_has_expired() -> None:
    """It was over before; that it was not sold is why."""
    bench = a_bench()
    ask = an_offer().limit(10).until(60).signed_by(bob)
    bid = an_intent().signed_by(alice)
    bench.do(ask)
    bench.do(bid)
    call = bench.start(bench.lease(bid))
    bench.wait(60)
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    events = bench.finish(call, 0) + bench.wait(HOUR_S)
    ended = OfferEnded(offer=ask.digest, account=bob.address, reason="expired")
    assert only(events, OfferEnded) == ended
