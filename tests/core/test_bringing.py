"""Capacity that a solver brings along: sealed until the close, its own solutions' alone."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from intents.reject import RejectCode
from solver.core import bringing, contest
from solver.core import state as state_module
from solver.core.auction import Auction
from solver.core.bringing import BROUGHT_MAX
from solver.core.command import (
    CancelDocument,
    CarriedOffer,
    KeyEnd,
    Mode,
    ProposeSolution,
    RetireKey,
    SolutionFill,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import (
    AuctionClosed,
    Event,
    Filled,
    OfferAccepted,
    OfferEnded,
    SolutionAccepted,
    SolutionJudged,
)
from solver.core.judge import judge
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    Person,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
    key_of,
    only,
)
from tests.core.epoch import opened
from tests.core.sabotage import pure_only
from tests.judging import cleared

PRICE: Final = 6 * 10**6


class Scene:
    """Alice's demand, carol's dear offer, an open auction; bob has a key and no offer."""

    def __init__(self) -> None:
        self.bench = Bench().listing(SEARCH, Mode.EPOCH).funded(alice).pooling(bob, carol)
        self.bid: SubmitIntent = an_intent().units(5).limit(50).signed_by(alice)
        self.dear: SubmitOffer = self.offer(carol, 40)
        self.bench.do(self.bid)
        self.bench.do(self.dear)
        self.opened = opened(self.bench, breaker=True)

    def offer(self, who: Person = bob, limit: int = 5, units: int = 5) -> SubmitOffer:
        """Of somebody's key."""
        return an_offer().units(units).limit(limit).from_key(key_of(who)).signed_by(who)

    @property
    def auction(self) -> Auction:
        """Its record."""
        return self.bench.market.state.auctions[self.opened.auction]

    def proposal(
        self, *offers: SubmitOffer, solver: Person = bob, of: str = "", tick: int = PRICE
    ) -> ProposeSolution:
        """All of the demand, from the first of these or from the one that is named."""
        source = of or offers[0].digest
        fill = SolutionFill(intent=self.bid.digest, offer=source, units=5)
        return ProposeSolution(
            auction=self.opened.auction,
            solver=solver.address,
            snapshot=self.opened.snapshot,
            books=(cleared(tick, [fill]),),
            offers=tuple(map(carried, offers)),
        )

    def close(self) -> list[Event]:
        """The auction's time is over."""
        return self.bench.wait(1)


def carried(offer: SubmitOffer) -> CarriedOffer:
    """As a solution brings it."""
    fields = msgspec.structs.asdict(offer)
    del fields["at_ms"]
    return CarriedOffer(**fields)


def test_what_ended_and_was_forgotten_stops_no_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offer that its solver takes back may be forgotten before the auction is over."""
    scene = Scene()
    mine = scene.offer(units=8, limit=8)
    scene.bench.do(scene.proposal(mine))
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 0)
    scene.bench.do(CancelDocument(account=bob.address, digest=mine.digest))
    scene.bench.wait(0)
    assert mine.digest not in scene.bench.market.state.offers
    assert only(scene.close(), AuctionClosed).winners == ()


def test_a_solver_wins_by_what_it_brings() -> None:
    """Nobody hears of the offer before the close; then it is filled, answered for, withdrawn."""
    scene = Scene()
    mine = scene.offer(units=8, limit=8)
    told = scene.bench.do(scene.proposal(mine))
    assert [type(event) for event in told] == [SolutionAccepted]
    resting = [ask.id for ask in scene.bench.market.state.book(SEARCH, USDC).asks()]
    assert resting == [scene.dear.digest]
    closing = scene.close()
    fill = only(closing, Filled)
    assert (fill.offer, fill.units, fill.tick) == (mine.digest, 5, PRICE)
    assert only(closing, AuctionClosed).score == 5 * 9 * 10**6
    assert only(closing, OfferAccepted).offer == mine.digest
    assert only(closing, OfferEnded).offer == mine.digest
    assert list(scene.bench.market.state.conduct.answers) == [fill.fill]
    assert not scene.bench.market.state.offers[mine.digest].live
    lease = scene.bench.market.state.leases[fill.fill]
    for _ in range(5):
        scene.bench.finish(scene.bench.start(lease), 1)
    standing = scene.bench.market.state.conduct.standings[bob.address]
    assert (standing.answered, standing.faded) == (5, 0)


def test_what_lost_is_withdrawn() -> None:
    """A better solution wins: what was brought is over, and sold nothing."""
    scene = Scene()
    scene.bench.pooling(dave)
    losing, winning = scene.offer(bob, 30), scene.offer(dave, 5)
    scene.bench.do(scene.proposal(losing, tick=7 * 10**6))
    scene.bench.do(scene.proposal(winning, solver=dave))
    closing = scene.close()
    assert only(closing, Filled).offer == winning.digest
    assert {one.offer for one in every(closing, OfferEnded)} == {losing.digest, winning.digest}
    codes = {one.solver: one.reason and one.reason.code for one in every(closing, SolutionJudged)}
    assert codes == {dave.address: None, bob.address: RejectCode.OUTBID}
    assert not any(offer.live for offer in (_record(scene, losing), _record(scene, winning)))


def _record(scene: Scene, offer: SubmitOffer) -> Any:
    return scene.bench.market.state.offers[offer.digest]


def test_nobody_else_fills_from_it() -> None:
    """Neither another solver's solution nor another one of its own that does not bring it."""
    scene = Scene()
    mine = scene.offer()
    scene.bench.do(scene.proposal(mine))
    scene.bench.do(scene.proposal(solver=carol, of=mine.digest))
    scene.bench.do(scene.proposal(of=mine.digest, tick=PRICE + 1))
    judged = every(scene.close(), SolutionJudged)
    codes = sorted(str(one.reason.code) for one in judged if one.reason)
    assert codes == ["fill_unknown_offer"] * 2


def test_it_may_be_brought_by_several_solutions() -> None:
    """Of the solver's own, in one auction: it is admitted once."""
    scene = Scene()
    mine = scene.offer()
    scene.bench.do(scene.proposal(mine))
    scene.bench.do(scene.proposal(mine, tick=PRICE + 1))
    assert len(every(scene.close(), OfferAccepted)) == 1


@pytest.mark.parametrize("end", ["cancelled", "key died", "expired"])
def test_what_ends_before_the_close_wins_nothing(end: str) -> None:
    """Its end voids its own fills, its solver hears why, and nobody of it before the close."""
    scene = Scene()
    mine = an_offer().units(5).limit(5).until(1 if end == "expired" else 60).signed_by(bob)
    scene.bench.do(scene.proposal(mine))
    told: list[Event] = []
    if end == "cancelled":
        told = scene.bench.do(CancelDocument(account=bob.address, digest=mine.digest))
    elif end == "key died":
        told = scene.bench.do(RetireKey(key=key_of(bob), reason=KeyEnd.DEAD))
    assert not [event for event in told if mine.digest in str(event)]
    events = scene.close()
    assert [type(event) for event in events if getattr(event, "offer", "") == mine.digest] == [
        OfferAccepted,
        OfferEnded,
    ]
    reason = only(events, SolutionJudged).reason
    assert reason is not None
    assert reason.code is RejectCode.FILL_UNKNOWN_OFFER
    assert every(events, Filled) == []


def _others(scene: Scene) -> ProposeSolution:
    return scene.proposal(scene.offer(carol), solver=bob)


def _of_no_key(scene: Scene) -> ProposeSolution:
    return scene.proposal(an_offer().units(5).limit(5).from_key("0x" + "00" * 32).signed_by(bob))


def _elsewhere(scene: Scene) -> ProposeSolution:
    return scene.proposal(an_offer().of(TOKENS).units(5).limit(5).signed_by(bob))


def _too_early(scene: Scene) -> ProposeSolution:
    return scene.proposal(an_offer().units(5).limit(5).not_before(60).signed_by(bob))


def _known(scene: Scene) -> ProposeSolution:
    mine = scene.offer()
    scene.bench.do(mine)
    return scene.proposal(mine)


def _one_nonce(scene: Scene) -> ProposeSolution:
    twins = [an_offer().units(5).limit(n).nonce(7).signed_by(bob) for n in (5, 6)]
    return scene.proposal(*twins)


def _too_many(scene: Scene) -> ProposeSolution:
    return scene.proposal(*[scene.offer() for _ in range(BROUGHT_MAX + 1)])


OF_OTHERS: Final = (_others, RejectCode.NOT_AUTHORIZED)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        OF_OTHERS,
        (_of_no_key, RejectCode.KEY_UNKNOWN),
        (_elsewhere, RejectCode.RESOURCE_UNKNOWN),
        (_too_early, RejectCode.NOT_OPEN),
        (_known, RejectCode.ALREADY_KNOWN),
        (_one_nonce, RejectCode.NONCE_USED),
        (_too_many, RejectCode.SOLUTION_LIMIT),
    ],
)
def test_each_fault_has_its_code(
    make: Callable[[Scene], ProposeSolution], code: RejectCode
) -> None:
    """A solution with a wrong offer is refused at once, and leaves no trace."""
    scene = Scene()
    assert scene.bench.refuse(make(scene)) is code


def test_a_restart_keeps_it_sealed() -> None:
    """What is loaded closes as what was dumped, and its record judges itself to the same."""
    scene = Scene()
    scene.bench.do(scene.proposal(scene.offer()))
    again = load(dump(scene.bench.market.state))
    assert again.hash() == scene.bench.market.state.hash()
    scene.bench.market.__init__(USDC, again)  # type: ignore[misc]
    assert only(scene.close(), Filled).seller == bob.address
    verdict = judge(scene.auction)
    assert verdict.winners == scene.auction.winners
    (made,) = scene.auction.proposed
    assert made.solution.digest(made.solver) == made.bid


def _skip(*_: object) -> None:
    """Do nothing."""


@pure_only
@pytest.mark.parametrize(
    ("module", "name", "test"),
    [
        (contest, "withdraw_brought", test_what_lost_is_withdrawn),
        (contest, "tell_brought", test_a_solver_wins_by_what_it_brings),
        (
            bringing,
            "emit_offer_ended",
            lambda: test_what_ends_before_the_close_wins_nothing("key died"),
        ),
        (bringing, "_fault_in_terms", lambda: test_each_fault_has_its_code(*OF_OTHERS)),
    ],
)
def test_planted_bugs_are_found(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, test: Callable[[], None]
) -> None:
    """What is not withdrawn, told or refused is noticed."""
    monkeypatch.setattr(module, name, _skip)
    with pytest.raises(Exception):  # noqa: B017, PT011  an assertion or an invariant
        test()
