"""From documents to leases: who is matched, at what price, and what is held."""

import pytest

from intents.bound import AMOUNT_MAX, UNITS_MAX
from solver.core.book import MATCHES_MAX
from solver.core.check import Violation
from solver.core.command import Authority, CancelDocument, Tick
from solver.core.event import Filled, IntentEnded, IntentStatus, OfferEnded
from solver.core.market import Market
from tests.builder import (
    CREDITS,
    USDC,
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
    person,
)

RICH = 10**9


def test_a_trade_happens_at_the_makers_price() -> None:
    """The taker gets the price that stood there; what it held above is free at once."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    bid = an_intent().units(5).limit(100).signed_by(alice)
    fill = only(bench.do(bid), Filled)
    assert (fill.units, fill.tick, fill.buyer, fill.seller) == (
        5,
        10 * 10**6,
        alice.address,
        bob.address,
    )
    assert bench.available(alice) == RICH - 50


def test_a_resting_bid_is_paid_its_own_price() -> None:
    """An offer that arrives takes the bid's tick."""
    bench = a_bench()
    bid = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(bid)
    fill = only(bench.do(an_offer().units(5).limit(50).signed_by(bob)), Filled)
    assert fill.tick == 20 * 10**6
    assert bench.available(alice) == RICH - 100


def test_an_intent_is_filled_in_parts() -> None:
    """A good-till-time intent rests with what is left, and holds the rest's limit."""
    bench = a_bench()
    bench.do(an_offer().units(2).limit(20).signed_by(bob))
    bid = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(bid)
    assert (bench.status(bid), bench.intent(bid).open_units) == (IntentStatus.OPEN, 3)
    assert bench.available(alice) == RICH - 2 * 10 - 60
    bench.do(an_offer().units(9).limit(45).signed_by(carol))
    assert bench.status(bid) is IntentStatus.FILLED
    assert bench.available(alice) == RICH - 2 * 10 - 3 * 20
    bench.closing()
    nothing_is_left(bench)


def test_too_cheap_an_intent_waits() -> None:
    """Below every ask nothing trades; above the best, it does."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    cheap = an_intent().units(5).limit(49).signed_by(alice)
    assert every(bench.do(cheap), Filled) == []
    assert bench.status(cheap) is IntentStatus.OPEN
    equal = an_intent().units(5).limit(50).signed_by(dave)
    assert len(every(bench.do(equal), Filled)) == 1


def test_all_or_none_waits_for_all() -> None:
    """It trades when supply is enough, in one execution of several fills."""
    bench = a_bench()
    bench.do(an_offer().units(3).limit(30).signed_by(bob))
    bid = an_intent().units(5).limit(100).all_or_none().signed_by(alice)
    bench.do(bid)
    assert bench.leases(bid) == []
    fills = every(bench.do(an_offer().units(9).limit(90).signed_by(carol)), Filled)
    assert {fill.units for fill in fills} == {2, 3}
    assert len({fill.execution for fill in fills}) == 1


def test_a_rest_below_the_minimum_ends() -> None:
    """Each execution serves the minimum or more: a smaller rest is released at once."""
    bench = a_bench()
    bench.do(an_offer().units(8).limit(80).signed_by(bob))
    bid = an_intent().units(10).limit(200).at_least(3).signed_by(alice)
    bench.do(bid)
    assert bench.intent(bid).ended is IntentStatus.UNFILLED
    assert bench.available(alice) == RICH - 80
    assert bench.status(bid) is IntentStatus.FILLED


def test_immediate_takes_what_is_there() -> None:
    """Fill now, cancel the rest."""
    bench = a_bench()
    bench.do(an_offer().units(2).limit(20).signed_by(bob))
    bid = an_intent().units(5).limit(100).immediate().signed_by(alice)
    bench.do(bid)
    assert bench.intent(bid).ended is IntentStatus.UNFILLED
    assert bench.available(alice) == RICH - 20
    nothing = an_intent().immediate().signed_by(dave)
    ended = only(bench.do(nothing), IntentEnded)
    assert ended.status is IntentStatus.UNFILLED
    assert bench.available(dave) == RICH


def test_an_intent_may_not_trade_before_its_time() -> None:
    """Its money is held at once, its units trade from valid_from."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    bid = an_intent().units(5).limit(100).not_before(60).signed_by(alice)
    assert every(bench.do(bid), Filled) == []
    assert bench.available(alice) == RICH - 100
    assert every(bench.wait(59.999), Filled) == []
    assert len(every(bench.wait(0.001), Filled)) == 1


def test_an_offer_may_not_trade_before_its_time() -> None:
    """Likewise an offer."""
    bench = a_bench()
    bench.do(an_intent().units(5).limit(100).signed_by(alice))
    offer = an_offer().units(5).limit(50).not_before(60).signed_by(bob)
    assert every(bench.do(offer), Filled) == []
    assert len(every(bench.wait(60), Filled)) == 1


def test_a_document_is_good_up_to_its_end() -> None:
    """At valid_until it is over, money and capacity are free, the book is empty."""
    bench = a_bench()
    bid = an_intent().units(5).limit(10).until(60).signed_by(alice)
    offer = an_offer().units(5).limit(50).until(60).signed_by(bob)
    bench.do(bid)
    bench.do(offer)
    bench.wait(59.999)
    assert (bench.status(bid), bench.is_live(offer)) == (IntentStatus.OPEN, True)
    events = bench.wait(0.001)
    assert only(events, OfferEnded).reason == "expired"
    assert bench.status(bid) is IntentStatus.EXPIRED
    assert bench.available(alice) == RICH


@pytest.mark.parametrize("late", ["intent", "offer"])
def test_what_starts_as_another_ends_does_not_meet_it(late: str) -> None:
    """I9: in the second where one becomes good and the other is over, nothing trades."""
    bench = a_bench()
    bid, offer = an_intent(), an_offer()
    bids = (bid.not_before(60) if late == "intent" else bid.until(60)).signed_by(alice)
    offers = (offer.not_before(60) if late == "offer" else offer.until(60)).signed_by(bob)
    bench.do(bids)
    bench.do(offers)
    assert every(bench.wait(60), Filled) == []


def test_a_cancelled_rest_is_free() -> None:
    """Cancelling ends the open part; what was leased stays."""
    bench = a_bench()
    bench.do(an_offer().units(2).limit(20).signed_by(bob))
    bid = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(bid)
    bench.do(CancelDocument(account=alice.address, digest=bid.digest))
    assert bench.intent(bid).ended is IntentStatus.CANCELLED
    assert bench.available(alice) == RICH - 20
    bench.use(bench.lease(bid))
    assert every(bench.do(an_offer().units(9).limit(9).signed_by(carol)), Filled) == []
    unfilled = an_intent().signed_by(dave)
    bench.do(an_intent().limit(1).signed_by(dave))
    assert unfilled.digest not in bench.market.state.intents


def test_a_cancelled_offer_lapses() -> None:
    """What nobody took of it is gone; its lease stays."""
    bench = a_bench()
    offer = an_offer().units(5).limit(50).signed_by(bob)
    bench.do(offer)
    bid = an_intent().units(2).limit(40).signed_by(alice)
    bench.do(bid)
    bench.do(CancelDocument(account=bob.address, digest=offer.digest))
    assert not bench.is_live(offer)
    bench.use(bench.lease(bid), 2)
    assert every(bench.do(an_intent().signed_by(dave)), Filled) == []


def test_nobody_trades_with_itself() -> None:
    """Own orders cross in peace."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    own = an_intent().units(5).limit(100).signed_by(bob)
    assert every(bench.do(own), Filled) == []
    assert len(every(bench.do(an_intent().units(5).limit(100).signed_by(alice)), Filled)) == 1


def test_assets_and_resources_do_not_mix() -> None:
    """A book is one resource in one asset."""
    bench = a_bench()
    bench.do(an_offer().paid_in(CREDITS).signed_by(bob))
    assert every(bench.do(an_intent().paid_in(USDC).signed_by(alice)), Filled) == []
    assert len(every(bench.do(an_intent().paid_in(CREDITS).signed_by(alice)), Filled)) == 1


def test_a_long_order_crosses_in_bounded_executions() -> None:
    """Dust offers make several executions, none larger than the contract settles; all is taken."""
    bench = a_bench()
    sellers = MATCHES_MAX + 5
    for _ in range(sellers):
        bench.do(an_offer().signed_by(bob))
    bid = an_intent().units(sellers).limit(10_000).signed_by(alice)
    fills = every(bench.do(bid), Filled)
    sizes = [sum(fill.execution == e for fill in fills) for e in {f.execution for f in fills}]
    assert sorted(sizes) == [5, MATCHES_MAX]
    assert bench.status(bid) is IntentStatus.FILLED


def test_a_waiting_bid_goes_on_after_its_first_plan() -> None:
    """A long bid with a minimum, tried again, also takes all there is."""
    bench = a_bench()
    for _ in range(MATCHES_MAX + 4):
        bench.do(an_offer().signed_by(bob))
    bid = an_intent().units(500).limit(50_000).at_least(200).signed_by(alice)
    assert every(bench.do(bid), Filled) == []
    fills = every(bench.do(an_offer().units(300).limit(200).signed_by(carol)), Filled)
    assert sum(fill.units for fill in fills) == 300 + MATCHES_MAX - 1
    assert bench.intent(bid).ended is IntentStatus.UNFILLED


def test_the_largest_documents_trade() -> None:
    """At the declared maxima nothing overflows or loses an atom."""
    bench = a_bench().funded(alice, usdc=AMOUNT_MAX)
    bench.do(an_offer().units(UNITS_MAX).limit(AMOUNT_MAX).signed_by(bob))
    bid = an_intent().units(UNITS_MAX).limit(AMOUNT_MAX).signed_by(alice)
    bench.do(bid)
    assert bench.leases(bid) == []
    bench.do(CancelDocument(account=alice.address, digest=bid.digest))
    bench.do(an_offer().units(UNITS_MAX).limit(AMOUNT_MAX - 10**6).signed_by(carol))
    bid = an_intent().units(UNITS_MAX).limit(AMOUNT_MAX).signed_by(alice)
    bench.do(bid)
    bench.use(bench.lease(bid), UNITS_MAX)
    assert bench.lease(bid).payment <= AMOUNT_MAX
    bench.closing()
    nothing_is_left(bench)


def test_an_expired_session_fills_nothing() -> None:
    """A session's documents end with it; the contract would refuse what is filled later."""
    session = person("session")
    bench = a_bench().granting(session, alice, seconds=60)
    bid = an_intent().for_account(alice).signed_by(session, Authority.SESSION)
    bench.do(bid)
    bench.wait(60)
    assert bench.status(bid) is IntentStatus.EXPIRED
    assert every(bench.do(an_offer().signed_by(bob)), Filled) == []


def test_a_lease_ends_with_the_session_that_signed_for_it() -> None:
    """On either side."""
    session = person("session")
    bench = a_bench().granting(session, bob, seconds=60)
    bench.do(
        an_offer().for_account(bob).from_key(key_of(bob)).signed_by(session, Authority.SESSION)
    )
    bid = an_intent().signed_by(alice)
    bench.do(bid)
    assert bench.lease(bid).until_ms == bench.now_ms + 60_000


def test_time_must_be_ticked_and_never_falls() -> None:
    """A command stamped after something fell due, or before now, is the caller's bug."""
    market = Market(USDC)
    market.apply(Tick(at_ms=5))
    with pytest.raises(Violation, match="time_never_falls"):
        market.apply(Tick(at_ms=4))
    bench = a_bench()
    bench.do(an_intent().until(60).signed_by(alice))
    bench.now_ms += 60_000
    assert bench.market.is_due(bench.now_ms)
    with pytest.raises(Violation, match="time_is_ticked_first"):
        bench._apply(CancelDocument(at_ms=bench.now_ms, account=alice.address, digest="0x00"))
