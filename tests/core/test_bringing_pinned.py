"""What is brought, to the last offer and second: how it is recorded, refused and kept sealed."""

from typing import Final

from intents.reject import RejectCode
from solver.core.auction import Auction, BroughtOffer, SnapshotOrder, sealed_offers
from solver.core.command import (
    CancelDocument,
    Mode,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import Filled, OfferEnded
from tests.builder import (
    CREDITS,
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    a_bundle,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    every,
    key_of,
    only,
)
from tests.core.test_bringing import carried
from tests.judging import SEED, cleared

TICK: Final = 6 * 10**6


class Scene:
    """Alice wants five searches; carol sells them dearly; bob has a key, and an auction is open.

    Tokens trade in epochs too, and nobody wants any.
    """

    def __init__(self, *, success_min: int = 0) -> None:
        self.bench = Bench().listing(SEARCH, Mode.EPOCH).listing(TOKENS, Mode.EPOCH)
        self.bench.funded(alice).pooling(bob, carol, resources=(SEARCH, TOKENS))
        wanted = an_intent().units(5).limit(50)
        if success_min:
            legs = (wanted, an_intent().of(TOKENS).limit(1))
            bundle = a_bundle(alice, *legs, any_of=True, success_min=success_min)
            self.bench.do(bundle)
            self.intent = bundle.legs[0].digest
        else:
            bid: SubmitIntent = wanted.signed_by(alice)
            self.bench.do(bid)
            self.intent = bid.digest
        self.bench.do(an_offer().units(5).limit(40).from_key(key_of(carol)).signed_by(carol))
        closes_at_ms = self.bench.now_ms + 1_000
        self.bench.do(
            OpenAuction(
                resources=(SEARCH, TOKENS), asset=USDC, closes_at_ms=closes_at_ms, seed=SEED
            )
        )

    @property
    def auction(self) -> Auction:
        (auction,) = self.bench.market.state.auctions.values()
        return auction

    def proposal(self, *offers: SubmitOffer, units: int = 5, tick: int = TICK) -> ProposeSolution:
        """So much of the demand, from the first of these."""
        fill = SolutionFill(intent=self.intent, offer=offers[0].digest, units=units)
        return ProposeSolution(
            auction=self.auction.snapshot.auction,
            solver=bob.address,
            snapshot=self.auction.snapshot_digest,
            books=(cleared(tick, [fill], SEARCH),),
            offers=tuple(map(carried, offers)),
        )


def _offers(count: int) -> list[SubmitOffer]:
    return [an_offer().units(5).limit(5).signed_by(bob) for _ in range(count)]


def test_sixteen_offers_may_be_brought() -> None:
    """And not one more: what a solution makes the market check is bounded."""
    scene = Scene()
    assert scene.bench.refuse(scene.proposal(*_offers(17))) is RejectCode.SOLUTION_LIMIT
    scene.bench.do(scene.proposal(*_offers(16)))
    assert len(scene.auction.proposed[0].solution.brought) == 16


def test_what_is_brought_is_recorded_to_the_field() -> None:
    """Anyone computes the bid's id from it; what did not shrink is not said to have."""
    scene = Scene()
    (mine,) = _offers(1)
    scene.bench.do(scene.proposal(mine))
    (made,) = scene.auction.proposed
    order = SnapshotOrder(id=mine.digest, account=bob.address, tick=10**6, units=5, minimum=1)
    assert made.solution.brought == (BroughtOffer(resource=SEARCH, order=order),)
    assert sealed_offers([scene.auction]) == {mine.digest}
    told = scene.bench.wait(1)
    assert only(told, OfferEnded).reason == "brought to an auction that is over"
    assert scene.auction.shrunk == {}
    assert sealed_offers([scene.auction]) == set()


def test_what_ended_is_recorded_as_shrunk() -> None:
    """It is sealed until the close all the same: nobody learns from it who bids."""
    scene = Scene()
    first, second = _offers(2)
    scene.bench.do(scene.proposal(first, second))
    scene.bench.do(CancelDocument(account=bob.address, digest=second.digest))
    assert sealed_offers([scene.auction]) == {first.digest, second.digest}
    told = scene.bench.wait(1)
    assert only(told, Filled).offer == first.digest
    reasons = {one.offer: one.reason for one in every(told, OfferEnded)}
    assert reasons[second.digest] == "ended before its auction closed"
    assert scene.auction.shrunk == {second.digest: 0}


def test_what_is_good_from_now_on_may_be_brought() -> None:
    """From this very second."""
    scene = Scene()
    mine = an_offer().units(5).limit(5).not_before(0).signed_by(bob)
    scene.bench.do(scene.proposal(mine))
    assert only(scene.bench.wait(1), Filled).offer == mine.digest


def test_what_has_no_book_in_the_auction_is_not_brought() -> None:
    """Of a resource that nobody wants now, or in another asset: refused, without a trace."""
    scene = Scene()
    for other in (an_offer().of(TOKENS), an_offer().paid_in(CREDITS)):
        mine = other.units(5).limit(5).from_key(key_of(bob)).signed_by(bob)
        assert scene.bench.refuse(scene.proposal(mine)) is RejectCode.RESOURCE_UNKNOWN


def test_an_unknown_key_is_refused_where_quality_is_asked_for() -> None:
    """It has no rating to look up: the solver hears so, and the market goes on."""
    scene = Scene(success_min=900)
    mine = an_offer().units(5).limit(5).from_key("0x" + "00" * 32).signed_by(bob)
    assert scene.bench.refuse(scene.proposal(mine)) is RejectCode.KEY_UNKNOWN
