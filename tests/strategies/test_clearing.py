"""One book at one price: valid, of the most units, by rule; in plain Python and in columns."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.core.check import Violation
from solver.strategies import tangle
from solver.strategies.crossing import Clearing, clear_book
from solver.strategies.pairing import pair, part
from solver.strategies.share import Rule, share
from tests.strategies.book import (
    Order,
    amounts,
    asks_of,
    best_ticks,
    bids_of,
    by_rounds,
    check_columns,
    check_priority,
    check_shares,
    check_valid,
    orders,
)

TICKS: Final = range(9)
rules = st.sampled_from(Rule)


def _apart(made: list[Order]) -> list[Order]:
    """Sellers of whom none buys."""
    return [(tick, units, minimum, who + 100) for tick, units, minimum, who in made]


@given(bids=orders(accounts=3), asks=orders(accounts=3), rule=rules)
def test_the_most_units_trade_and_nobody_meets_itself(
    bids: list[Order], asks: list[Order], rule: Rule
) -> None:
    """Equal to brute force over all prices and all cuts, whoever stands on both sides."""
    buying, selling = bids_of(bids), asks_of(asks)
    ticks, most = best_ticks(buying, selling, TICKS)
    clearing = clear_book(buying, selling, rule)
    assert (clearing is None) == (most == 0)
    if clearing is not None:
        check_valid(buying, selling, clearing)
        assert sum(units for _, _, units in clearing.lines) == most
        assert clearing.tick in ticks


@given(bids=orders(accounts=3), asks=orders(accounts=3), rule=rules)
def test_the_price_is_the_middle_of_all_that_trade_most(
    bids: list[Order], asks: list[Order], rule: Rule
) -> None:
    """The stated rule for ties, and priority on both sides, whichever rule divides."""
    buying, selling = bids_of(bids), asks_of(_apart(asks))
    ticks, _ = best_ticks(buying, selling, TICKS)
    clearing = clear_book(buying, selling, rule)
    assert (clearing is None) == (ticks == [])
    if clearing is not None:
        assert clearing.tick == (ticks[0] + ticks[-1]) // 2
        check_priority(buying, amounts(clearing.lines, 0, len(bids)), rule)
        check_priority(selling, amounts(clearing.lines, 1, len(asks)), rule)


@given(bids=orders(accounts=3, minimum=5, most=9), asks=orders(accounts=3, most=9))
def test_minimums_are_met_as_by_rounds(bids: list[Order], asks: list[Order]) -> None:
    """One pass gives, line by line, what dropping the last unmet bid again and again gave."""
    buying, selling = bids_of(bids), asks_of(_apart(asks))
    clearing = clear_book(buying, selling)
    expected = by_rounds(buying, selling)
    assert (None if clearing is None else (clearing.tick, clearing.lines)) == expected


@given(bids=orders(accounts=2, minimum=5, most=12), asks=orders(accounts=2, most=12), rule=rules)
def test_every_clearing_is_valid(bids: list[Order], asks: list[Order], rule: Rule) -> None:
    """P2: minimums, limits, units and accounts, all at once, in the worst of books."""
    buying, selling = bids_of(bids), asks_of(asks)
    clearing = clear_book(buying, selling, rule)
    if clearing is not None:
        check_valid(buying, selling, clearing)


@given(
    wanted=st.lists(st.integers(0, 9) | st.integers(0, 10**12), max_size=8),
    open_units=st.integers(0, 40) | st.integers(0, 10**13),
    data=st.data(),
)
def test_pro_rata_is_exact_and_fair(
    wanted: list[int], open_units: int, data: st.DataObject
) -> None:
    """The sum is exact; nobody is a unit off its quota; a permutation moves equal parts only.

    Which of equal remainders is rounded up depends on time; how many units each size of
    order gets in sum does not, up to those.
    """
    shares = share(wanted, open_units, Rule.PRO_RATA)
    check_shares(wanted, shares, open_units)
    order = data.draw(st.permutations(range(len(wanted))))
    permuted = share([wanted[place] for place in order], open_units, Rule.PRO_RATA)
    total = sum(wanted)
    remainders = [open_units * units % total if total else 0 for units in wanted]
    for place, new in zip(order, permuted, strict=True):
        unique = remainders.count(remainders[place]) == 1
        assert new == shares[place] or (not unique and abs(new - shares[place]) == 1)


@given(wanted=st.lists(st.integers(0, 9), max_size=8), open_units=st.integers(0, 40))
def test_first_come_is_first_served(wanted: list[int], open_units: int) -> None:
    """By time, one order at most is cut, and nobody after it gets anything."""
    shares = share(wanted, open_units, Rule.TIME)
    assert sum(shares) == min(sum(wanted), open_units)
    cut = next((n for n, got in enumerate(shares) if got < wanted[n]), len(wanted))
    assert shares[:cut] == wanted[:cut]
    assert not any(shares[cut + 1 :])


def test_nothing_negative_is_shared() -> None:
    """A caller's bug stops the process rather than becoming somebody's units."""
    with pytest.raises(Violation, match="share_not_negative"):
        share([1], -1, Rule.TIME)


books = st.lists(
    st.tuples(orders(accounts=3, minimum=5, most=8), orders(accounts=3, most=8)),
    min_size=1,
    max_size=4,
)


@given(books=books, rule=rules)
def test_columns_clear_as_each_book_by_itself(
    books: list[tuple[list[Order], list[Order]]], rule: Rule
) -> None:
    """Prices and lines are equal, with ties, minimums, and accounts on both sides."""
    check_columns(books, rule)


def test_a_pro_rata_share_below_its_minimum_goes_to_the_others() -> None:
    """Ten units among three all-or-none bids of eight: the later ones stand back."""
    bids = bids_of([(5, 8, 8, 1), (5, 8, 8, 2), (5, 8, 8, 3), (4, 8, 1, 4)])
    asks = asks_of([(3, 10, 1, 9)])
    clearing = clear_book(bids, asks, Rule.PRO_RATA)
    assert clearing is not None
    assert amounts(clearing.lines, 0, 4) == [8, 0, 0, 2]


def test_pro_rata_is_by_size_at_the_last_price_only() -> None:
    """The dear bid is whole; ten units then go 5 : 2.5 : 2.5, and the odd one to the earlier."""
    bids = bids_of([(6, 10, 1, 1), (6, 5, 1, 2), (6, 5, 1, 3), (7, 4, 1, 4)])
    clearing = clear_book(bids, asks_of([(3, 14, 1, 9)]), Rule.PRO_RATA)
    assert clearing is not None
    assert amounts(clearing.lines, 0, 4) == [4, 5, 3, 2]
    assert clearing.tick == 4


@given(bids=orders(accounts=2, minimum=5, most=12), asks=orders(accounts=2, most=12), rule=rules)
def test_rounds_of_a_tangled_book_are_bounded(
    bids: list[Order], asks: list[Order], rule: Rule
) -> None:
    """Once rounds are over, bids with a minimum stand back: still valid, of the most units."""
    buying, selling = bids_of(bids), asks_of(asks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tangle, "ROUNDS_MAX", 0)
        crossing = tangle.untangle(buying, selling, rule)
    simple = bids_of([order for order in bids if order[2] == 1])
    units = sum(crossing.bought) if crossing else 0
    assert units == best_ticks(simple, selling, TICKS)[1]
    if crossing is not None:
        lines = part(pair(crossing.bought, crossing.sold), buying.accounts, selling.accounts)
        assert lines is not None
        check_valid(buying, selling, Clearing(tick=crossing.tick, lines=lines))
