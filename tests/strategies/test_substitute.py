"""Intents that accept any of several resources: exact, nearly so, and how nearly."""

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.bound import TICK_MAX, UNITS_MAX
from solver.core.check import Violation
from solver.strategies import flow
from solver.strategies.assignment import assign
from solver.strategies.column import Integers
from solver.strategies.flow import NotSolvable, assign_by_flow, assign_exactly
from solver.strategies.substitute import RESOURCES_MAX, SubstituteIntent, SubstituteOffer
from solver.strategies.tatonnement import assign_nearly
from tests.strategies.market import (
    Market,
    check_assignment,
    check_small_market,
    check_wrong_guess,
    random_market,
    small_markets,
)


@given(market=small_markets)
def test_small_markets_equal_brute_force(market: Market) -> None:
    """Every unit with every other: the flow finds the most welfare, at prices all accept."""
    check_small_market(market)


@given(
    market=small_markets,
    prices=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    width=st.integers(0, 4),
)
def test_no_wrong_guess_is_taken_for_the_best(
    market: Market, prices: list[int], width: int
) -> None:
    """Whatever prices say is clear, an answer is given only if it is proven."""
    check_wrong_guess(market, prices, width)


@pytest.mark.parametrize("seed", range(20))
def test_greater_markets_are_bounded_by_prices(seed: int) -> None:
    """Two independent ways: a flow and a bound from prices; the near way lies a little below."""
    market = random_market(Random(seed), orders=600, units_max=900, ticks=10**10)  # noqa: S311
    exact, near = assign_exactly(*market), assign_nearly(*market)
    check_assignment(*market, exact)
    check_assignment(*market, near)
    assert near.welfare <= exact.welfare <= near.bound
    assert exact.gap == 0.0
    assert near.welfare >= 0.99 * exact.welfare
    assert near.gap <= 0.02


def test_a_thousand_orders_a_side_are_nearly_best() -> None:
    """Proven within 0.2 % without OR-tools: the more orders, the nearer."""
    market = random_market(Random(1), orders=6_000, units_max=900, ticks=10**10)  # noqa: S311
    assert assign_nearly(*market).gap <= 0.002


def _one_pair(tick: int, units: int) -> Market:
    return (
        [SubstituteIntent(id="i", choices={"a": TICK_MAX, "b": tick}, units=units)],
        [SubstituteOffer(id="o", resource="a", tick=tick, units=units)],
    )


def test_the_greatest_welfare_is_exact() -> None:
    """Sums of products outgrow 64 bits, and are counted all the same."""
    near = assign_nearly(*_one_pair(0, UNITS_MAX))
    assert (near.welfare, near.bound) == (TICK_MAX * UNITS_MAX, TICK_MAX * UNITS_MAX)


def test_what_the_flow_cannot_hold_is_assigned_nearly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks so great and so many that OR-tools refuses: its reason, and an answer anyway.

    What is in doubt near the prices has smaller numbers, and is solved even so.
    """
    market = random_market(Random(2), orders=2_000, units_max=9, ticks=TICK_MAX)  # noqa: S311
    assert assign_exactly(*market).gap == 0.0
    monkeypatch.setattr(flow, "MARGIN_ORDERS_MIN", 10**9)
    with pytest.raises(NotSolvable, match="assign nearly instead"):
        assign_exactly(*market)
    found = assign(*market)
    check_assignment(*market, found)
    assert found.welfare > 0


def test_without_ortools_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact way says what to install; `assign` goes the near way meanwhile."""
    monkeypatch.setitem(sys.modules, "ortools.graph.python.min_cost_flow", None)
    with pytest.raises(NotSolvable, match=r"keyfill\[substitutes\]"):
        assign_exactly(*_one_pair(5, 1))
    assert assign(*_one_pair(5, 1)).welfare == TICK_MAX - 5


def test_only_what_is_in_doubt_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far fewer orders than there are, and the same welfare, proven by prices."""
    market = random_market(Random(5), orders=4_000, units_max=900, ticks=10**10)  # noqa: S311
    searched: list[int] = []
    original = flow._solve

    def solve(tails: Integers, *rest: Integers) -> Integers:
        searched.append(len(tails))
        return original(tails, *rest)

    monkeypatch.setattr(flow, "_solve", solve)
    found = assign_exactly(*market)
    check_assignment(*market, found)
    assert assign_by_flow(*market).welfare == found.welfare == found.bound
    assert len(searched) == 2
    assert searched[0] < searched[1] / 2


def test_a_margin_that_is_too_narrow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking everything as clear proves nothing; then everything is searched."""
    market = random_market(Random(6), orders=1_000, units_max=900, ticks=10**10)  # noqa: S311
    best = assign_by_flow(*market).welfare
    monkeypatch.setattr(flow, "WIDENINGS", (0,))
    assert assign_exactly(*market).welfare == best


def test_nothing_trades_where_nothing_meets() -> None:
    """No orders, nobody who sells what is wanted, or limits below every ask."""
    intents, offers = _one_pair(5, 1)
    markets: tuple[Market, ...] = (([], []), (intents, []), ([], offers))
    for market in markets:
        for way in (assign_exactly, assign_nearly):
            found = way(*market)
            assert (found.fills, found.ticks, found.welfare, found.bound) == ((), {}, 0, 0)
    poor = [SubstituteIntent(id="i", choices={"a": 4, "z": 9}, units=1)]
    assert assign_exactly(poor, offers).fills == assign_nearly(poor, offers).fills == ()


@pytest.mark.parametrize("units", [0, -1, UNITS_MAX + 1])
def test_units_beyond_their_bounds_stop(units: int) -> None:
    """As for columns: a caller's bug, not a result."""
    intents, offers = _one_pair(5, 1)
    wrong, _ = _one_pair(5, units)
    with pytest.raises(Violation, match="column_within_bounds"):
        assign_nearly(wrong, offers)
    with pytest.raises(Violation, match="column_within_bounds"):
        assign_exactly(intents, _one_pair(5, units)[1])


def test_resources_are_bounded() -> None:
    """One more than fit an integer with a price is refused."""
    intents, _ = _one_pair(5, 1)
    offers = [
        SubstituteOffer(id=str(n), resource="a" * (n + 1), tick=TICK_MAX, units=1)
        for n in range(RESOURCES_MAX + 1)
    ]
    assert assign_nearly(intents, offers[:-1]).welfare == 0
    with pytest.raises(Violation, match="network_within_bounds"):
        assign_nearly(intents, offers)
