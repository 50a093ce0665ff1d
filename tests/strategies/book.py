"""Random books, and what must hold of a cleared one, worked out the slow way."""

from collections.abc import Sequence
from itertools import chain, combinations
from random import Random

import numpy as np
from hypothesis import strategies as st

from intents.bound import TICK_MAX, UNITS_MAX
from solver.strategies.batch import NO_TICK, clear_columns
from solver.strategies.column import Columns
from solver.strategies.crossing import Clearing, clear_book
from solver.strategies.pairing import Line
from solver.strategies.queue import Queue
from solver.strategies.share import Rule

Order = tuple[int, int, int, int]
"""Tick, units, minimum, account. Lists of orders are in order of time."""


def _order(tick: int, units: int, minimum: int, account: int) -> Order:
    return tick, units, min(minimum, units), account


def orders(*, accounts: int, minimum: int = 1, most: int = 6) -> st.SearchStrategy[list[Order]]:
    """Some orders, at so few ticks that many are equal."""
    return st.lists(
        st.builds(
            _order,
            st.integers(0, 7),
            st.integers(1, 5),
            st.integers(1, minimum),
            st.integers(0, accounts - 1),
        ),
        max_size=most,
    )


def random_orders(random: Random, *, accounts: int, picky: float, most: int) -> list[Order]:
    """The same from a seed, with ticks and units as great as they may be too."""
    ticks, units_max = random.choice((3, 8, TICK_MAX)), random.choice((1, 4, 9, UNITS_MAX))
    made = []
    for _ in range(random.randint(0, most)):
        units = random.randint(1, units_max)
        minimum = random.randint(1, units) if random.random() < picky else 1
        made.append((random.randint(0, ticks), units, minimum, random.randrange(accounts)))
    return made


def bids_of(made: Sequence[Order]) -> Queue:
    """The dearest first, then by time."""
    return _queue(sorted(made, key=lambda order: -order[0]))


def asks_of(made: Sequence[Order]) -> Queue:
    """The cheapest first, then by time."""
    return _queue(sorted(made, key=lambda order: order[0]))


def _queue(made: Sequence[Order]) -> Queue:
    return Queue(
        ticks=[order[0] for order in made],
        units=[order[1] for order in made],
        minimums=[order[2] for order in made],
        accounts=[order[3] for order in made],
    )


def amounts(lines: Sequence[Line], side: int, count: int) -> list[int]:
    """Units by place: of bids (side 0) or asks (side 1)."""
    units = [0] * count
    for line in lines:
        units[line[side]] += line[2]
    return units


# -- oracles


def most_units_at(tick: int, bids: Queue, asks: Queue) -> int:
    """What can trade at one price with nobody meeting itself: the least cut of the network.

    A cut is a choice of bids: those not chosen, and every ask that one of the chosen meets.
    """
    buying = [place for place, limit in enumerate(bids.ticks) if limit >= tick]
    selling = [place for place, limit in enumerate(asks.ticks) if limit <= tick]
    cuts = []
    for chosen in chain.from_iterable(combinations(buying, n) for n in range(len(buying) + 1)):
        accounts = {bids.accounts[place] for place in chosen}
        met = [p for p in selling if accounts - {asks.accounts[p]}]
        others = sum(bids.units[place] for place in buying if place not in chosen)
        cuts.append(others + sum(asks.units[place] for place in met))
    return min(cuts)


def best_ticks(bids: Queue, asks: Queue, ticks: range) -> tuple[list[int], int]:
    """All prices at which the most units trade, and how many; none if none do."""
    volumes = {tick: most_units_at(tick, bids, asks) for tick in ticks}
    most = max(volumes.values())
    return [tick for tick, volume in volumes.items() if volume == most > 0], most


def by_rounds(bids: Queue, asks: Queue) -> tuple[int, list[Line]] | None:
    """The market's first crossing, quadratic: drop the last bid that missed its minimum, again.

    For books in which every account is on one side only.
    """
    chosen = list(range(len(bids.ticks)))
    while True:
        lines = _cross(chosen, bids, asks)
        if not lines:
            return None
        bought = amounts(lines, 0, len(bids.ticks))
        unmet = [place for place in chosen if 0 < bought[place] < bids.minimums[place]]
        if not unmet:
            lowest = min(bids.ticks[bid] for bid, _, _ in lines)
            highest = max(asks.ticks[ask] for _, ask, _ in lines)
            return (lowest + highest) // 2, lines
        chosen.remove(unmet[-1])


def _cross(chosen: Sequence[int], bids: Queue, asks: Queue) -> list[Line]:
    left, lines = list(asks.units), []
    for bid in chosen:
        wanted = bids.units[bid]
        for ask, tick in enumerate(asks.ticks):
            units = min(wanted, left[ask])
            if units and tick <= bids.ticks[bid]:
                lines.append((bid, ask, units))
                left[ask] -= units
                wanted -= units
    return lines


# -- what must hold


def check_valid(bids: Queue, asks: Queue, clearing: Clearing) -> None:
    """P2 and the rest of what the market would refuse."""
    lines = clearing.lines
    assert lines
    assert len({line[:2] for line in lines}) == len(lines)
    assert lines == sorted(lines)
    for bid, ask, units in lines:
        assert units > 0
        assert asks.ticks[ask] <= clearing.tick <= bids.ticks[bid]
        assert bids.accounts[bid] != asks.accounts[ask]
    for place, units in enumerate(amounts(lines, 0, len(bids.ticks))):
        assert units <= bids.units[place]
        assert not units or units >= bids.minimums[place]
    for place, units in enumerate(amounts(lines, 1, len(asks.ticks))):
        assert units <= asks.units[place]


def check_priority(side: Queue, units: Sequence[int], rule: Rule) -> None:
    """A better price is filled whole first; of equal ones, those before, or all alike.

    For sides without minimums, in books in which every account is on one side only.
    """
    partial = [place for place, most in enumerate(side.units) if 0 < units[place] < most]
    last = max((place for place, some in enumerate(units) if some), default=-1)
    margin = side.ticks[last] if last >= 0 else None
    for place, (tick, most) in enumerate(zip(side.ticks, side.units, strict=True)):
        if tick != margin:
            assert units[place] in ({most} if place < last else {0})
    if rule is Rule.TIME:
        assert partial in ([], [last])
        assert all(units[place] == side.units[place] for place in range(last))
    else:
        level = [place for place, tick in enumerate(side.ticks) if tick == margin]
        check_shares(
            [side.units[place] for place in level],
            [units[place] for place in level],
            sum(units[place] for place in level),
        )


def check_shares(wanted: Sequence[int], shares: Sequence[int], open_units: int) -> None:
    """Pro rata to the unit: all is given, everybody within one unit of its quota, and fair."""
    total = sum(wanted)
    assert sum(shares) == min(total, open_units)
    for units, got in zip(wanted, shares, strict=True):
        assert got <= units
        if total > open_units:
            assert open_units * units // total <= got <= -(-open_units * units // total)
    rounded = [
        (-(open_units * units % total), place, got - open_units * units // total)
        for place, (units, got) in enumerate(zip(wanted, shares, strict=True))
        if total > open_units
    ]
    ups = [up for _, _, up in sorted(rounded)]
    assert ups == sorted(ups, reverse=True)


def check_columns(books: Sequence[tuple[list[Order], list[Order]]], rule: Rule) -> None:
    """Many books at once give each the very price and lines that it has by itself."""
    bids, asks = _columns([book[0] for book in books]), _columns([book[1] for book in books])
    cleared = clear_columns(bids, asks, book_count=len(books), rule=rule)
    ticks, lines = [], []
    for number in range(len(books)):
        buying, selling = _rows(bids, number, -1), _rows(asks, number, 1)
        clearing = clear_book(bids.rows(buying).queue(), asks.rows(selling).queue(), rule)
        ticks.append(clearing.tick if clearing else NO_TICK)
        for bid, ask, units in clearing.lines if clearing else ():
            lines.append((int(buying[bid]), int(selling[ask]), units))
    assert cleared.ticks.tolist() == ticks
    assert cleared.lines() == lines


def _columns(sides: Sequence[Sequence[Order]]) -> Columns:
    """The orders of all books one by one in turn, as they might arrive."""
    rows = sorted(
        (place, book, order) for book, side in enumerate(sides) for place, order in enumerate(side)
    )
    table = np.array([(book, *order) for _, book, order in rows], np.int64).reshape(-1, 5)
    return Columns(
        books=table[:, 0],
        ticks=table[:, 1],
        units=table[:, 2],
        minimums=table[:, 3],
        accounts=table[:, 4],
    )


def _rows(side: Columns, book: int, sign: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    rows = np.flatnonzero(side.books == book)
    return rows[np.argsort(sign * side.ticks[rows], kind="stable")]
