"""Which auctions open, who may still propose, and which are remembered."""

import pytest

from intents.reject import Reject, RejectCode
from solver.core import contest
from solver.core.auction import FILLS_MAX, SOLUTIONS_MAX, SOLUTIONS_PER_SOLVER_MAX
from solver.core.command import Mode, OpenAuction, ProposeSolution, SolutionFill
from solver.core.event import AuctionOpened, Event
from tests.builder import SEARCH, TOKENS, USDC, Bench, alice, an_intent, an_offer, bob, carol, only
from tests.core.sabotage import pure_only


def _bench() -> Bench:
    resources = (SEARCH, TOKENS)
    bench = Bench().listing(SEARCH, Mode.EPOCH).listing(TOKENS, Mode.EPOCH).funded(alice)
    return bench.pooling(bob, carol, resources=resources)


def _open(bench: Bench, resource: str = SEARCH, seconds: int = 10) -> list[Event] | Reject:
    closes_at_ms = bench.now_ms + seconds * 1_000
    return bench.attempt(OpenAuction(resource=resource, asset=USDC, closes_at_ms=closes_at_ms))


def _opened(bench: Bench, resource: str = SEARCH, seconds: int = 10) -> AuctionOpened:
    events = _open(bench, resource, seconds)
    assert isinstance(events, list)
    return only(events, AuctionOpened)


@pytest.mark.parametrize(
    ("bids", "asks", "opens"),
    [
        ((5,), (5,), True),
        ((4,), (5,), False),
        ((5, 1), (5,), True),
        ((5,), (5, 9), True),
        ((4, 1), (5, 9), False),
        ((5,), (), False),
        ((), (5,), False),
    ],
)
def test_an_auction_opens_where_the_best_meet(
    bids: tuple[int, ...], asks: tuple[int, ...], *, opens: bool
) -> None:
    """The best bid at or above the best ask is enough, whatever stands behind them."""
    bench = _bench()
    for price in bids:
        bench.do(an_intent().limit(price).signed_by(alice))
    for price in asks:
        bench.do(an_offer().limit(price).signed_by(bob))
    answer = _open(bench)
    assert isinstance(answer, list) is opens
    assert opens or (isinstance(answer, Reject) and answer.code is RejectCode.NOT_OPEN)


def test_one_immediate_intent_is_enough() -> None:
    """It has its one auction though nothing crosses and others can wait."""
    bench = _bench()
    bench.do(an_intent().limit(1).signed_by(alice))
    bench.do(an_intent().limit(1).immediate().signed_by(alice))
    _opened(bench)


def test_an_auction_does_not_close_before_it_opens() -> None:
    """It needs time ahead of it: a millisecond is enough."""
    bench = _bench()
    bench.do(an_intent().limit(5).signed_by(alice))
    bench.do(an_offer().limit(5).signed_by(bob))
    answer = _open(bench, seconds=0)
    assert isinstance(answer, Reject)
    assert answer.code is RejectCode.NOT_OPEN
    bench.do(OpenAuction(resource=SEARCH, asset=USDC, closes_at_ms=bench.now_ms + 1))


def _proposal(opened: AuctionOpened, solver: str, fills: int, tick: int = 1) -> ProposeSolution:
    one = SolutionFill(intent="i", offer="o", units=1)
    return ProposeSolution(
        auction=opened.auction,
        solver=solver,
        snapshot=opened.snapshot,
        tick=tick,
        fills=(one,) * fills,
    )


def _ready() -> tuple[Bench, AuctionOpened]:
    bench = _bench()
    bench.do(an_intent().limit(5).signed_by(alice))
    bench.do(an_offer().limit(5).signed_by(bob))
    return bench, _opened(bench)


def test_each_solver_has_its_own_count_and_its_own_solutions() -> None:
    """What a rival proposed takes nothing away: not a place, and not the same idea."""
    bench, opened = _ready()
    for solver in ("one", "two"):
        for tick in range(SOLUTIONS_PER_SOLVER_MAX):
            bench.do(_proposal(opened, solver, 1, tick))
        more = _proposal(opened, solver, 1, 99)
        assert bench.refuse(more) is RejectCode.SOLUTION_LIMIT
    bench.do(_proposal(opened, "three", 1))
    assert bench.refuse(_proposal(opened, "three", 1)) is RejectCode.SOLUTION_DUPLICATE


def test_an_auction_takes_so_many_solutions_of_so_many_fills() -> None:
    """The last of each is taken, and the next is not."""
    bench, opened = _ready()
    assert bench.refuse(_proposal(opened, "long", FILLS_MAX + 1)) is RejectCode.SOLUTION_LIMIT
    bench.do(_proposal(opened, "long", FILLS_MAX))
    for number in range(1, SOLUTIONS_MAX):
        bench.do(_proposal(opened, f"solver-{number}", 1))
    assert bench.refuse(_proposal(opened, "late", 1)) is RejectCode.SOLUTION_LIMIT


@pure_only
def test_an_auction_under_way_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many close after it was opened."""
    monkeypatch.setattr(contest, "AUCTIONS_KEPT_MAX", 1)
    bench = _bench()
    for resource in (SEARCH, TOKENS):
        bench.do(an_intent().of(resource).limit(5).signed_by(alice))
        bench.do(an_offer().of(resource).limit(6).signed_by(bob))
        bench.do(an_intent().of(resource).limit(7).immediate().signed_by(alice))
    long = _opened(bench, SEARCH, 100)
    for _ in range(3):
        last = _opened(bench, TOKENS, 1)
        bench.wait(1)
        bench.do(an_intent().of(TOKENS).limit(1).immediate().signed_by(alice))
    assert list(bench.market.state.auctions) == [long.auction, last.auction]
