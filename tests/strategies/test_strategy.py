"""Our solvers in the market's own terms: what they propose, the auction accepts."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from solver.core.auction import FILLS_MAX, Snapshot, SnapshotBundle, SnapshotOrder, Solution
from solver.core.book import MATCHES_MAX
from solver.core.command import ClearedBook
from solver.core.quality import Floor, Rating
from solver.engine.competition import Strategy
from solver.strategies import STRATEGIES, clearing, price_time, uniform_price
from solver.strategies.chance import by_chance
from solver.strategies.clearing import FLOORS_MAX, unbundled
from solver.strategies.milp import milp
from solver.strategies.share import Rule
from tests.judging import book, codes, judged, order, snapshot
from tests.strategies.book import Order, orders

RULES: Final = st.sampled_from(Rule)


def _snapshot(bids: list[Order], asks: list[Order]) -> Snapshot:
    return snapshot(
        book(
            _seen("i", sorted(bids, key=lambda order: -order[0])),
            _seen("o", sorted(asks, key=lambda order: order[0])),
        )
    )


def _seen(side: str, made: list[Order]) -> list[SnapshotOrder]:
    return [
        order(f"{side}{n}", f"a{who}", tick, units, minimum)
        for n, (tick, units, minimum, who) in enumerate(made)
    ]


def _only(solutions: list[Solution]) -> ClearedBook:
    """Of one solution of one book."""
    ((cleared,),) = [one.books for one in solutions]
    return cleared


def _scores(seen: Snapshot) -> dict[str, int]:
    """Of each strategy's solution; a fault of one fails the test."""
    scores = {}
    for name, strategy in STRATEGIES.items():
        for proposed in strategy(seen):
            verdict = judged(seen, (name, proposed))
            assert codes(verdict) == [""], verdict.ranking
            assert proposed.fills_count <= FILLS_MAX
            scores[name] = verdict.score
    return scores


@given(bids=orders(accounts=3, minimum=5, most=10), asks=orders(accounts=3, most=10))
def test_no_proposal_of_ours_is_refused(bids: list[Order], asks: list[Order]) -> None:
    """Any book: what we propose has no fault, in the auction's own judgement."""
    _scores(_snapshot(bids, asks))


@given(bids=orders(accounts=3, most=10), asks=orders(accounts=3, most=10))
def test_columns_and_plain_python_propose_the_same(bids: list[Order], asks: list[Order]) -> None:
    """How many orders there are changes how fast, not what; under both rules."""
    seen = _snapshot(bids, asks)
    plain = [uniform_price(seen, rule) for rule in Rule]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clearing, "COLUMNS_MIN", 0)
        assert [uniform_price(seen, rule) for rule in Rule] == plain


@given(bids=orders(accounts=3, most=8), asks=orders(accounts=3, most=8))
def test_both_rules_give_the_same_surplus(bids: list[Order], asks: list[Order]) -> None:
    """Price comes first under both, so dividing equals otherwise costs the auction nothing."""
    sellers = [(tick, units, minimum, who + 9) for tick, units, minimum, who in asks]
    seen = _snapshot(bids, sellers)
    verdicts = [judged(seen, *(("s", one) for one in uniform_price(seen, rule))) for rule in Rule]
    assert verdicts[0].score == verdicts[1].score


def test_the_floor_passes_over_minimums() -> None:
    """`price_time` serves plain intents only; `uniform_price` serves the dearer one whole."""
    seen = _snapshot([(9, 5, 5, 1), (8, 3, 1, 2)], [(2, 6, 1, 3)])
    floor, better = _only(price_time(seen)), _only(uniform_price(seen))
    assert [(fill.intent, fill.units) for fill in floor.fills] == [("i1", 3)]
    assert [(fill.intent, fill.units) for fill in better.fills] == [("i0", 5), ("i1", 1)]


def test_a_great_book_is_cut_to_what_a_solution_may_hold() -> None:
    """5,000 pairs cross, and one intent could take 300 offers: both are within the limits."""
    bids = [(90, 300, 1, 1), *((50, 2, 1, 2) for _ in range(5_000))]
    asks = [(5, 1, 1, 3) for _ in range(300 + 10_000)]
    seen = _snapshot(bids, asks)
    assert _scores(seen)["uniform-price"] > 0
    cleared = _only(uniform_price(seen))
    assert len(cleared.fills) == FILLS_MAX
    assert sum(fill.intent == "i0" for fill in cleared.fills) == MATCHES_MAX


def test_nothing_is_proposed_where_nothing_can_trade() -> None:
    """Prices apart, one account alone, no orders, or a minimum nobody can meet."""
    for bids, asks in (
        ([(3, 1, 1, 1)], [(4, 1, 1, 2)]),
        ([(5, 1, 1, 1)], [(4, 1, 1, 1)]),
        ([], []),
        ([(5, 2, 2, 1)], [(4, 1, 1, 2)]),
    ):
        assert uniform_price(_snapshot(bids, asks)) == []


def test_a_market_maker_costs_nobody_a_trade() -> None:
    """Its own bid and ask cross; before, the two prices that resulted voided the whole book."""
    bids, asks = [(10, 5, 1, 1), (3, 5, 1, 2)], [(1, 5, 1, 1), (8, 5, 1, 3)]
    cleared = _only(uniform_price(_snapshot(bids, asks)))
    assert sum(fill.units for fill in cleared.fills) == 5


def test_books_are_bid_for_one_by_one_and_bundles_left_alone() -> None:
    """A solution for each book that crosses, so that each can win; no leg is filled by itself."""
    seen = snapshot(
        book([order("i", "a", 9, 5)], [order("o", "b", 1, 5)], "one"),
        book([order("j", "a", 9, 5)], [order("p", "b", 1, 5)], "two"),
        book([order("k", "a", 9, 1)], [order("q", "b", 1, 1)], "three"),
        bundles=[SnapshotBundle(id="x", any_of=False, legs=("j", "k"))],
    )
    for strategy in STRATEGIES.values():
        solutions = strategy(seen)
        assert [[one.resource for one in each.books] for each in solutions] == [["one"]]


@pytest.mark.parametrize("strategy", [*STRATEGIES.values(), milp])
def test_what_ends_before_the_close_is_left_alone(strategy: Strategy) -> None:
    """Nothing of it would be filled; what outlasts the close by a millisecond is."""
    for until_ms, found in ((10, 0), (11, 1), (0, 1)):
        bid = replace(order("i", "b", 9, 3), until_ms=until_ms)
        ask = replace(order("o", "s", 5, 3), until_ms=11)
        for intent, offer in (
            (bid, ask),
            (replace(ask, id="j", tick=9), replace(bid, id="p", tick=5)),
        ):
            seen = replace(snapshot(book([intent], [offer])), closes_at_ms=10)
            assert len(strategy(seen)) == found


FLOORS: Final = st.builds(
    Floor, success_min=st.sampled_from((0, 500, 900)), latency_max=st.sampled_from((0, 20, 50))
)
RATINGS: Final = st.none() | st.builds(
    Rating, success=st.sampled_from((400, 500, 1_000)), latency=st.sampled_from((10, 30, 90))
)


def _asking(seen: Snapshot, floors: list[Floor], ratings: list[Rating | None]) -> Snapshot:
    """The first intents of the one book ask for these; the offers' keys are rated so."""
    (only,) = seen.books
    rated = {
        offer.id: rating
        for offer, rating in zip(only.offers, ratings, strict=False)
        if rating is not None
    }
    asking = zip(only.intents, floors, strict=False)
    bundles = [
        SnapshotBundle(id=f"b{intent.id}", any_of=False, legs=(intent.id,), floor=floor)
        for intent, floor in asking
        if floor.asks
    ]
    return replace(seen, books=(replace(only, ratings=rated),), bundles=tuple(bundles))


@given(
    bids=orders(accounts=3, minimum=3, most=8),
    asks=orders(accounts=3, most=8),
    floors=st.lists(FLOORS, max_size=6),
    ratings=st.lists(RATINGS, max_size=8),
)
def test_no_proposal_is_refused_where_qualities_are_asked_for(
    bids: list[Order], asks: list[Order], floors: list[Floor], ratings: list[Rating | None]
) -> None:
    """Whoever asks for whatever, of keys of every kind: no fill is from a key below its floor.

    What is proposed for one book differs, and one of it wins.
    """
    seen = _asking(_snapshot(bids, asks), floors, ratings)
    for strategy in (*STRATEGIES.values(), by_chance):
        proposed = strategy(seen)
        if proposed:
            verdict = judged(seen, *(("s", one) for one in proposed))
            assert codes(verdict) == ["", *["outbid"] * (len(proposed) - 1)], verdict.ranking


GOOD: Final = Rating(success=1_000, latency=10)
BAD: Final = Rating(success=400, latency=90)


def test_who_asks_for_a_quality_is_served_from_good_keys() -> None:
    """The book serves it in parts, the batch whole; the cheap offer of a bad key is left alone.

    What a strict floor may have, a mild one may too, and who asks for nothing.
    """
    seen = _snapshot(
        [(9, 5, 1, 1), (8, 2, 1, 2), (8, 1, 1, 4), (7, 1, 1, 5)], [(1, 2, 1, 3), (2, 8, 1, 3)]
    )
    strict, mild = Floor(success_min=900, latency_max=20), Floor(success_min=500)
    asking = _asking(seen, [strict, mild, Floor(latency_max=5)], [BAD, GOOD])
    for strategy in STRATEGIES.values():
        verdict = judged(asking, *(("s", one) for one in strategy(asking)))
        (won,) = verdict.wins
        (cleared,) = won.solution.books
        filled = sorted((fill.intent, fill.offer, fill.units) for fill in cleared.fills)
        assert filled == [("i0", "o1", 5), ("i1", "o1", 2), ("i3", "o1", 1)]


def test_as_many_floors_of_a_book_are_tried_as_said() -> None:
    """Those of the dearest intents, after the books as they are."""
    seen = _snapshot([(20 - n, 1, 1, 1) for n in range(9)], [(1, 9, 1, 2)])
    asking = _asking(seen, [Floor(success_min=n + 1) for n in range(9)], [GOOD])
    tried = [(len(book.offers), [one.id for one in intents]) for book, intents in unbundled(asking)]
    assert tried[0] == (1, [])
    assert [intents[-1] for _, intents in tried[1:]] == [f"i{n}" for n in range(FLOORS_MAX)]


def _drop_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "_meets", lambda *_: True)


def _cover_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "_covers", lambda *_: True)


@pytest.mark.parametrize("plant", [_drop_ratings, _cover_all])
def test_planted_floors_are_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who forgets whose key is good, or who asked for how much, is refused: the tests above see."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_no_proposal_is_refused_where_qualities_are_asked_for()
