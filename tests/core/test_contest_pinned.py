"""Which auctions open, who may still propose, and which are remembered."""

import msgspec
import pytest

from intents.reject import Reject, RejectCode
from solver.core import contest
from solver.core.auction import (
    BOOKS_MAX,
    FILLS_MAX,
    FILLS_PER_AUCTION_MAX,
    FILLS_PER_SOLVER_MAX,
    SOLUTIONS_MAX,
    SOLUTIONS_PER_SOLVER_MAX,
    seed_hash,
)
from solver.core.command import Mode, OpenAuction, ProposeSolution, SolutionFill
from solver.core.event import AuctionOpened, Event
from tests.builder import SEARCH, TOKENS, USDC, Bench, alice, an_intent, an_offer, bob, carol, only
from tests.core.sabotage import pure_only
from tests.judging import SEED, solution


def _bench() -> Bench:
    resources = (SEARCH, TOKENS)
    bench = Bench().listing(SEARCH, Mode.EPOCH).listing(TOKENS, Mode.EPOCH).funded(alice)
    return bench.pooling(bob, carol, resources=resources)


def _open(bench: Bench, resource: str = SEARCH, seconds: int = 10) -> list[Event] | Reject:
    closes_at_ms = bench.now_ms + seconds * 1_000
    return bench.attempt(
        OpenAuction(resources=(resource,), asset=USDC, closes_at_ms=closes_at_ms, seed=SEED)
    )


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
    bench.do(OpenAuction(resources=(SEARCH,), asset=USDC, closes_at_ms=bench.now_ms + 1, seed=SEED))


def _proposal(opened: AuctionOpened, solver: str, fills: int, tick: int = 1) -> ProposeSolution:
    one = SolutionFill(intent="i", offer="o", units=1)
    return ProposeSolution(
        auction=opened.auction,
        solver=solver,
        snapshot=opened.snapshot,
        books=solution(tick, (one,) * fills).books,
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


def test_all_solutions_together_have_so_many_fills() -> None:
    """Those of one solver, and those of all: the last is taken, and one fill more is not."""
    bench, opened = _ready()
    each = FILLS_PER_SOLVER_MAX // FILLS_MAX
    for number in range(FILLS_PER_AUCTION_MAX // FILLS_MAX):
        bench.do(_proposal(opened, f"solver-{number // each}", FILLS_MAX, number))
        if number == each - 1:
            assert bench.refuse(_proposal(opened, "solver-0", 1)) is RejectCode.SOLUTION_LIMIT
    assert bench.refuse(_proposal(opened, "late", 1)) is RejectCode.SOLUTION_LIMIT


@pure_only
def test_a_snapshot_has_a_bounded_number_of_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of each side, minimum or not; a book for which no room is left waits."""
    monkeypatch.setattr(contest, "ORDERS_PER_SIDE_MAX", 3)
    monkeypatch.setattr(contest, "ORDERS_MAX", 8)
    bench = _bench()
    for resource in (SEARCH, TOKENS):
        for price in (5, 9, 6, 8):
            bench.do(an_intent().of(resource).limit(price).signed_by(alice))
            bench.do(
                an_intent().of(resource).units(2).limit(2 * price).at_least(2).signed_by(alice)
            )
        for price in (4, 1, 3, 2):
            bench.do(an_offer().of(resource).limit(price).signed_by(bob))
    opened = only(
        bench.do(
            OpenAuction(
                resources=(SEARCH, TOKENS),
                asset=USDC,
                closes_at_ms=bench.now_ms + 1_000,
                seed=SEED,
            )
        ),
        AuctionOpened,
    )
    (book,) = bench.market.state.auctions[opened.auction].snapshot.books
    assert book.resource == SEARCH
    million = 10**6
    assert [(one.tick, one.minimum) for one in book.intents] == [
        (9 * million, 1),
        (9 * million, 2),
        (8 * million, 1),
    ]
    assert [one.tick for one in book.offers] == [million, 2 * million, 3 * million]


def test_an_auction_has_the_books_that_are_contested() -> None:
    """Several at once, each once; a book is in one auction at a time, in each asset."""
    bench = _bench()
    closes_at_ms = bench.now_ms + 1_000
    both = OpenAuction(resources=(SEARCH, TOKENS), asset=USDC, closes_at_ms=closes_at_ms, seed=SEED)
    bench.do(an_intent().limit(5).signed_by(alice))
    bench.do(an_offer().limit(5).signed_by(bob))
    bench.do(an_offer().of(TOKENS).limit(5).signed_by(bob))
    assert only(bench.do(both), AuctionOpened).resources == (SEARCH,)
    bench.do(an_intent().of(TOKENS).limit(5).signed_by(alice))
    assert bench.refuse(both) is RejectCode.ALREADY_KNOWN
    bench.wait(1)
    later = msgspec.structs.replace(both, closes_at_ms=closes_at_ms + 9_000)
    opened = only(bench.do(later), AuctionOpened)
    assert opened.resources == (SEARCH, TOKENS)
    assert opened.seed_hash == seed_hash(SEED)
    for resources, code in (
        ((SEARCH, SEARCH), RejectCode.TOO_LARGE),
        (tuple(f"r{n}" for n in range(BOOKS_MAX + 1)), RejectCode.TOO_LARGE),
        (tuple(f"r{n}" for n in range(BOOKS_MAX)), RejectCode.RESOURCE_UNKNOWN),
        ((SEARCH, "nowhere"), RejectCode.RESOURCE_UNKNOWN),
        ((), RejectCode.NOT_OPEN),
    ):
        assert bench.refuse(msgspec.structs.replace(later, resources=resources)) is code


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


# -- to the last of each bound


def _crossed(bench: Bench, own: int, *, side: str) -> list[Event] | Reject:
    """So many orders that meet none but their own account's, then one that carol could trade."""
    best, mine = (an_intent, 9) if side == "intents" else (an_offer, 1)
    other = an_offer().limit(1) if side == "intents" else an_intent().limit(9)
    bench.do(other.signed_by(alice))
    for _ in range(own):
        bench.do(best().limit(mine).signed_by(alice))
    bench.do(best().limit(5).signed_by(carol))
    return _open(bench)


@pytest.mark.parametrize("side", ["intents", "offers"])
@pytest.mark.parametrize("own", [0, 1, 100])
def test_orders_of_ones_own_hide_nobody_elses(side: str, own: int) -> None:
    """However many meet each other alone, what somebody can trade behind them opens an auction."""
    bench = _bench().funded(carol).pooling(alice)
    assert isinstance(_crossed(bench, own, side=side), list)


def test_what_others_ask_is_met_by_their_price_alone() -> None:
    """Whose own ask is the best opens nothing with it, nor with a dearer one of others."""
    bench = _bench().pooling(alice)
    bench.do(an_intent().limit(5).signed_by(alice))
    for price in (1, 2, 3):
        bench.do(an_offer().limit(price).signed_by(alice))
        assert isinstance(_open(bench), Reject)
    bench.do(an_offer().limit(6).signed_by(bob))
    assert isinstance(_open(bench), Reject)
    bench.do(an_offer().limit(5).signed_by(bob))
    assert isinstance(_open(bench), list)


@pure_only
@pytest.mark.parametrize(("room", "books"), [(4, 2), (3, 1), (1, 0)])
def test_books_that_just_fit_are_shown(
    room: int, books: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last order that there is room for; a book is shown whole or not at all."""
    monkeypatch.setattr(contest, "ORDERS_MAX", room)
    bench = _bench()
    for resource in (SEARCH, TOKENS):
        bench.do(an_intent().of(resource).limit(5).signed_by(alice))
        bench.do(an_offer().of(resource).limit(5).signed_by(bob))
    closes_at_ms = bench.now_ms + 1_000
    both = OpenAuction(resources=(SEARCH, TOKENS), asset=USDC, closes_at_ms=closes_at_ms, seed=SEED)
    answer = bench.attempt(both)
    shown = () if isinstance(answer, Reject) else only(answer, AuctionOpened).resources
    assert shown == (SEARCH, TOKENS)[:books]


def test_a_bid_of_less_than_a_tick_is_shown_too() -> None:
    """Its limit rounds down to nothing a unit: it may still have its one auction."""
    bench = _bench()
    bid = an_intent().units(2 * 10**6).limit(1).at_least(2).immediate().signed_by(alice)
    bench.do(bid)
    opened = _opened(bench)
    (book,) = bench.market.state.auctions[opened.auction].snapshot.books
    assert [(one.id, one.tick) for one in book.intents] == [(bid.digest, 0)]


def test_who_only_meets_itself_opens_nothing() -> None:
    """Nobody else can fill either side."""
    bench = _bench().pooling(alice)
    bench.do(an_intent().limit(9).signed_by(alice))
    bench.do(an_offer().limit(1).signed_by(alice))
    assert isinstance(_open(bench), Reject)


def _closed_ones(bench: Bench, *solutions: int) -> list[int]:
    """Auctions of one book, one after another, each with so many solutions of one fill."""
    numbers = []
    for count in solutions:
        opened = _opened(bench, seconds=1)
        for tick in range(count):
            bench.do(_proposal(opened, "s", 1, tick))
        bench.wait(1)
        numbers.append(opened.auction)
    return numbers


@pure_only
@pytest.mark.parametrize(("rows", "kept"), [(8, 2), (9, 3), (5, 2), (4, 1), (0, 1)])
def test_closed_auctions_hold_so_many_rows(
    rows: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders and proposed fills of the newest, and never less than one auction."""
    monkeypatch.setattr(contest, "AUCTION_ROWS_KEPT_MAX", rows)
    bench = _bench()
    bench.do(an_intent().limit(5).signed_by(alice))
    bench.do(an_offer().limit(5).signed_by(bob))
    numbers = _closed_ones(bench, 2, 1, 0)
    assert list(bench.market.state.auctions) == numbers[-kept:]


@pure_only
def test_so_many_closed_auctions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one less nor one more than memory is given for."""
    monkeypatch.setattr(contest, "AUCTIONS_KEPT_MAX", 2)
    bench = _bench()
    bench.do(an_intent().limit(5).signed_by(alice))
    bench.do(an_offer().limit(5).signed_by(bob))
    numbers = _closed_ones(bench, 0, 0, 0)
    assert list(bench.market.state.auctions) == numbers[1:]
    long = _opened(bench, seconds=9)
    assert list(bench.market.state.auctions) == [*numbers[1:], long.auction]
