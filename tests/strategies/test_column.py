"""Columns at their bounds: sums that would not fit, prices that do not pack, bad input."""

from random import Random
from typing import Any

import numpy as np
import pytest

from intents.bound import TICK_MAX, UNITS_MAX
from solver.core.check import Violation
from solver.strategies.batch import clear_columns
from solver.strategies.column import ROWS_MAX, Columns
from solver.strategies.share import Rule
from tests.conftest import PROFILE
from tests.strategies.book import Order, check_columns, random_orders

BOOKS = 20_000 if PROFILE == "full" else 2_000


def _random_book(random: Random) -> tuple[list[Order], list[Order]]:
    accounts = random.choice((1, 2, 3, 8, 1_000))
    picky = random.choice((0.0, 0.0, 0.3, 1.0))
    most = random.choice((3, 8, 30))
    return (
        random_orders(random, accounts=accounts, picky=picky, most=most),
        random_orders(random, accounts=accounts, picky=0.0, most=most),
    )


@pytest.mark.parametrize("rule", Rule)
def test_thousands_of_random_books_clear_alike(rule: Rule) -> None:
    """Columns equal plain Python on books of every size, up to the greatest ticks and units."""
    random = Random(7)  # noqa: S311
    cleared = 0
    while cleared < BOOKS:
        books = [_random_book(random) for _ in range(random.choice((1, 2, 40)))]
        check_columns(books, rule)
        cleared += len(books)


def _side(count: int, **columns: Any) -> Columns:
    given = {"books": 0, "ticks": 5, "units": 1, "minimums": 1, "accounts": 0} | columns
    made = {name: np.broadcast_to(np.int64(x), count).copy() for name, x in given.items()}
    return Columns(**made)


def test_the_greatest_sums_are_exact() -> None:
    """The most orders of the most units: no sum wraps around, and the last one is cut exactly."""
    count = 2**17
    bids = _side(count, units=UNITS_MAX)
    asks = _side(count, units=UNITS_MAX, accounts=1)
    asks.units[-1] -= 1
    cleared = clear_columns(bids, asks, book_count=1)
    assert int(cleared.units.astype(object).sum()) == count * UNITS_MAX - 1
    assert ROWS_MAX * UNITS_MAX < 2**62


@pytest.mark.parametrize("rule", Rule)
def test_prices_that_do_not_pack_are_ranked(rule: Rule) -> None:
    """The cheapest and the dearest tick in one batch, with many rows and books."""
    random = Random(3)  # noqa: S311
    books = [
        (
            [(random.choice((0, 1, TICK_MAX)), 3, 1, 1) for _ in range(30)],
            [(random.choice((0, 1, TICK_MAX - 1)), 2, 1, 2) for _ in range(30)],
        )
        for _ in range(200)
    ]
    check_columns(books, rule)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"books": 1}, "column_within_bounds"),
        ({"books": -1}, "column_within_bounds"),
        ({"ticks": -1}, "column_within_bounds"),
        ({"ticks": TICK_MAX + 1}, "column_within_bounds"),
        ({"units": 0}, "column_within_bounds"),
        ({"units": UNITS_MAX + 1}, "column_within_bounds"),
        ({"minimums": 0}, "column_within_bounds"),
        ({"minimums": 2}, "minimum_within_units"),
    ],
)
def test_columns_beyond_their_bounds_stop(columns: dict[str, int], name: str) -> None:
    """What could overflow, or be read as another book's order, is a Violation, not a result."""
    good, bad = _side(2), _side(2, **columns)
    for bids, asks in ((good, bad), (bad, good)):
        with pytest.raises(Violation, match=name):
            clear_columns(bids, asks, book_count=1)


def test_columns_of_unlike_length_stop() -> None:
    """So do columns that do not belong together, or too many rows."""
    uneven = Columns(
        books=_side(2).books, ticks=_side(2).ticks, units=_side(1).units,
        minimums=_side(2).minimums, accounts=_side(2).accounts,
    )  # fmt: skip
    for bids in (uneven, _side(ROWS_MAX + 1)):
        with pytest.raises(Violation, match="columns_even"):
            clear_columns(bids, _side(1), book_count=1)


def test_an_empty_side_trades_nothing() -> None:
    """No bids, no asks, or no books that have both."""
    for bids, asks in ((_side(0), _side(3)), (_side(3), _side(0)), (_side(0), _side(0))):
        cleared = clear_columns(bids, asks, book_count=2)
        assert (cleared.ticks.tolist(), cleared.lines()) == ([-1, -1], [])
    apart = clear_columns(_side(3), _side(3, books=1, accounts=1), book_count=2)
    assert apart.lines() == []
