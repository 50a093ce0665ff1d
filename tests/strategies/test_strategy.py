"""Our solvers in the market's own terms: what they propose, the auction accepts."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.core.auction import FILLS_MAX, Auction, Proposed, Snapshot, SnapshotOrder, judge
from solver.core.book import MATCHES_MAX
from solver.strategies import STRATEGIES, clearing, price_time, uniform_price
from solver.strategies.share import Rule
from tests.strategies.book import Order, orders

RULES: Final = st.sampled_from(Rule)


def _snapshot(bids: list[Order], asks: list[Order]) -> Snapshot:
    return Snapshot(
        auction=1, resource="a/b:c", asset="usdc", closes_at_ms=1,
        intents=_seen("i", sorted(bids, key=lambda order: -order[0])),
        offers=_seen("o", sorted(asks, key=lambda order: order[0])),
    )  # fmt: skip


def _seen(side: str, made: list[Order]) -> tuple[SnapshotOrder, ...]:
    return tuple(
        SnapshotOrder(id=f"{side}{n}", account=f"a{who}", tick=tick, units=units, minimum=minimum)
        for n, (tick, units, minimum, who) in enumerate(made)
    )


def _scores(snapshot: Snapshot) -> dict[str, int]:
    """Of each strategy's solution; a fault of one fails the test."""
    scores = {}
    open_units = {order.id: order.units for order in (*snapshot.intents, *snapshot.offers)}
    for name, strategy in STRATEGIES.items():
        solution = strategy(snapshot)
        if solution is not None:
            proposed = [Proposed(solver=name, seq=1, solution=solution)]
            auction = Auction(snapshot=snapshot, snapshot_digest="", proposed=proposed)
            (ranked,) = judge(auction, open_units.__getitem__)
            assert ranked.reason is None, ranked.reason
            assert len(solution.fills) <= FILLS_MAX
            scores[name] = ranked.score
    return scores


@given(bids=orders(accounts=3, minimum=5, most=10), asks=orders(accounts=3, most=10))
def test_no_proposal_of_ours_is_refused(bids: list[Order], asks: list[Order]) -> None:
    """Any book: what we propose has no fault, in the auction's own judgement."""
    _scores(_snapshot(bids, asks))


@given(bids=orders(accounts=3, most=10), asks=orders(accounts=3, most=10))
def test_columns_and_plain_python_propose_the_same(bids: list[Order], asks: list[Order]) -> None:
    """How many orders there are changes how fast, not what; under both rules."""
    snapshot = _snapshot(bids, asks)
    plain = [uniform_price(snapshot, rule) for rule in Rule]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clearing, "COLUMNS_MIN", 0)
        assert [uniform_price(snapshot, rule) for rule in Rule] == plain


@given(bids=orders(accounts=3, most=8), asks=orders(accounts=3, most=8))
def test_both_rules_give_the_same_surplus(bids: list[Order], asks: list[Order]) -> None:
    """Price comes first under both, so dividing equals otherwise costs the auction nothing."""
    sellers = [(tick, units, minimum, who + 9) for tick, units, minimum, who in asks]
    snapshot = _snapshot(bids, sellers)
    ticks = {order.id: order.tick for order in (*snapshot.intents, *snapshot.offers)}
    scores = []
    for rule in Rule:
        solution = uniform_price(snapshot, rule)
        fills = solution.fills if solution else ()
        scores.append(sum(f.units * (ticks[f.intent] - ticks[f.offer]) for f in fills))
    assert scores[0] == scores[1]


def test_the_floor_passes_over_minimums() -> None:
    """`price_time` serves plain intents only; `uniform_price` serves the dearer one whole."""
    snapshot = _snapshot([(9, 5, 5, 1), (8, 3, 1, 2)], [(2, 6, 1, 3)])
    floor, better = price_time(snapshot), uniform_price(snapshot)
    assert floor is not None
    assert better is not None
    assert [(fill.intent, fill.units) for fill in floor.fills] == [("i1", 3)]
    assert [(fill.intent, fill.units) for fill in better.fills] == [("i0", 5), ("i1", 1)]


def test_a_great_book_is_cut_to_what_a_solution_may_hold() -> None:
    """5,000 pairs cross, and one intent could take 300 offers: both are within the limits."""
    bids = [(90, 300, 1, 1), *((50, 2, 1, 2) for _ in range(5_000))]
    asks = [(5, 1, 1, 3) for _ in range(300 + 10_000)]
    snapshot = _snapshot(bids, asks)
    assert _scores(snapshot)["uniform-price"] > 0
    solution = uniform_price(snapshot)
    assert solution is not None
    assert len(solution.fills) == FILLS_MAX
    assert sum(fill.intent == "i0" for fill in solution.fills) == MATCHES_MAX


def test_nothing_is_proposed_where_nothing_can_trade() -> None:
    """Prices apart, one account alone, no orders, or a minimum nobody can meet."""
    for bids, asks in (
        ([(3, 1, 1, 1)], [(4, 1, 1, 2)]),
        ([(5, 1, 1, 1)], [(4, 1, 1, 1)]),
        ([], []),
        ([(5, 2, 2, 1)], [(4, 1, 1, 2)]),
    ):
        assert uniform_price(_snapshot(bids, asks)) is None


def test_a_market_maker_costs_nobody_a_trade() -> None:
    """Its own bid and ask cross; before, the two prices that resulted voided the whole book."""
    bids, asks = [(10, 5, 1, 1), (3, 5, 1, 2)], [(1, 5, 1, 1), (8, 5, 1, 3)]
    solution = uniform_price(_snapshot(bids, asks))
    assert solution is not None
    assert sum(fill.units for fill in solution.fills) == 5
