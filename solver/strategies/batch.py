"""Clearing of many books at once over columns, equal to the unit to `crossing`.

No order is looked at by itself in Python. Orders that cannot trade are left out, the rest
is sorted once a side. With S(i) the units for sale within bid i's limit, and C(i) the
units wanted before it in its book, time priority gives bid i

    min(units(i), max(0, S(i) − C(i)))

which needs no loop. Python does only what cannot be said so: bids after one that misses
its minimum, the one price at which a pro-rata share is cut, lines that join an account
with itself, and whole books where that does not suffice.
"""

from typing import Final

import msgspec
import numpy as np

from solver.strategies.column import Columns, Integers, Sorted, sort
from solver.strategies.crossing import clear_book
from solver.strategies.pairing import Line, Swaps
from solver.strategies.share import Rule, share

NO_TICK: Final = -1
"""In place of a price, where nothing trades."""


class _Fills(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Places of bids and asks in their sorted sides, and units."""

    bids: Integers
    asks: Integers
    units: Integers


class Clearings(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The price of each book, and all fills: rows of bids and asks, units.

    Fills are in order of book, then of bids and asks by priority.
    """

    ticks: Integers
    bids: Integers
    asks: Integers
    units: Integers

    def lines(self) -> list[Line]:
        """The fills as tuples."""
        return list(zip(self.bids.tolist(), self.asks.tolist(), self.units.tolist(), strict=True))


def clear_columns(
    bids: Columns, asks: Columns, *, book_count: int, rule: Rule = Rule.TIME
) -> Clearings:
    """Each book at its own price, as `clear_book` would."""
    bids.check(book_count)
    asks.check(book_count)
    buying, selling = sort(bids, asks, book_count)
    bought, sold, apart = _amounts(buying, selling, rule)
    ticks = _middles(buying, selling, bought, sold)
    fills = _joined(bought, sold)
    fills, tangled = _parted(buying, selling, fills)
    fills = _with_books_apart(buying, selling, fills, ticks, apart=apart | tangled, rule=rule)
    return Clearings(
        ticks=ticks,
        bids=buying.rows[fills.bids],
        asks=selling.rows[fills.asks],
        units=fills.units,
    )


# -- who gets how much


def _amounts(bids: Sorted, asks: Sorted, rule: Rule) -> tuple[Integers, Integers, set[int]]:
    """Units bought and sold, and the books that have to be cleared by themselves."""
    bought, left = _bought_by_time(bids, asks)
    apart: set[int] = set()
    if rule is Rule.TIME:
        for place in _unmet(bids, bought):
            _pass_over(bids, bought, left, place)
    else:
        apart = _share_last_levels(bids, bought, bids.columns.minimums)
    sold = _sold_by_time(bids, asks, bought)
    if rule is Rule.PRO_RATA:
        _share_last_levels(asks, sold, np.ones_like(sold))
    return bought, sold, apart


def _bought_by_time(bids: Sorted, asks: Sorted) -> tuple[Integers, Integers]:
    """Units of each bid as if there were no minimums, and what was left for it to take."""
    supply, demand = _sums(asks.columns.units), _sums(bids.columns.units)
    reach = np.searchsorted(asks.levels, bids.levels, side="right")
    within_limit = supply[reach] - supply[asks.starts[bids.columns.books]]
    before = demand[:-1] - demand[bids.starts[bids.columns.books]]
    left = within_limit - before
    return np.clip(left, 0, bids.columns.units), left


def _sold_by_time(bids: Sorted, asks: Sorted, bought: Integers) -> Integers:
    totals, supply = _sums(bought), _sums(asks.columns.units)
    volumes = totals[bids.starts[1:]] - totals[bids.starts[:-1]]
    before = supply[:-1] - supply[asks.starts[asks.columns.books]]
    return np.clip(volumes[asks.columns.books] - before, 0, asks.columns.units)


def _sums(units: Integers) -> Integers:
    """Sums of the first 0, 1, 2, … units."""
    sums = np.zeros(len(units) + 1, np.int64)
    np.cumsum(units, out=sums[1:])
    return sums


def _unmet(bids: Sorted, bought: Integers) -> list[int]:
    """Places of bids cut below their minimum: at most the last that trades in each book."""
    unmet = (bought > 0) & (bought < bids.columns.minimums)
    places: list[int] = np.flatnonzero(unmet).tolist()
    return places


def _pass_over(bids: Sorted, bought: Integers, left: Integers, place: int) -> None:
    """Leave what an unmet bid might have had to those after it, one by one.

    `left` counted the bids between as taken; what was really taken before each is the
    same for all until one of them trades.
    """
    end = int(bids.starts[bids.columns.books[place] + 1])
    units = bids.columns.units[place:end]
    within_limit = left[place:end] + _sums(units)[:-1]
    stop = int(np.count_nonzero(within_limit > 0))
    minimums = bids.columns.minimums[place:end]
    taken, got = 0, []
    for most, wanted, minimum in zip(
        within_limit[:stop].tolist(), units[:stop].tolist(), minimums[:stop].tolist(), strict=True
    ):
        possible = min(wanted, most - taken)
        got.append(possible if possible >= minimum else 0)
        taken += got[-1]
        if taken >= most:
            break
    bought[place : place + len(got)] = got


def _share_last_levels(side: Sorted, amounts: Integers, minimums: Integers) -> set[int]:
    """Share pro rata what each book's last price that trades got by time.

    Where somebody with a minimum would share, the book is left out and returned.
    """
    apart: set[int] = set()
    sums = _sums(amounts)
    for book in np.flatnonzero(sums[side.starts[1:]] > sums[side.starts[:-1]]).tolist():
        start, end = int(side.starts[book]), int(side.starts[book + 1])
        last = side.levels[start + np.flatnonzero(amounts[start:end])[-1]]
        level = start + np.flatnonzero(side.levels[start:end] == last)
        units, got = side.columns.units[level], int(amounts[level].sum())
        if int(units.sum()) > got and int(minimums[level].max()) > 1:
            apart.add(book)
            amounts[start:end] = 0
        else:
            amounts[level] = share(units.tolist(), got, Rule.PRO_RATA)
    return apart


def _middles(bids: Sorted, asks: Sorted, bought: Integers, sold: Integers) -> Integers:
    """The floor of the middle of the lowest bid and the highest ask that trade, by book."""
    books = len(bids.starts) - 1
    lowest, highest = np.full(books, NO_TICK, np.int64), np.full(books, NO_TICK, np.int64)
    for side, amounts, margins in ((bids, bought, lowest), (asks, sold, highest)):
        trading = np.flatnonzero(amounts)
        # Of equal indices the last assignment stays, and the last is the worst price.
        margins[side.columns.books[trading]] = side.columns.ticks[trading]
    return np.where(lowest == NO_TICK, NO_TICK, (lowest + highest) // 2)


# -- from whom


def _joined(bought: Integers, sold: Integers) -> _Fills:
    """Both sides laid along one line and cut where either has a cut; see `pair`.

    Each book has the same volume on both sides, so books never mix.
    """
    buying, selling = np.flatnonzero(bought), np.flatnonzero(sold)
    bid_ends, ask_ends = np.cumsum(bought[buying]), np.cumsum(sold[selling])
    is_ask = np.zeros(len(buying) + len(selling), np.bool_)
    is_ask[np.searchsorted(bid_ends, ask_ends) + np.arange(len(selling))] = True
    ends = np.empty(len(is_ask), np.int64)
    ends[is_ask], ends[~is_ask] = ask_ends, bid_ends
    asks_before: Integers = np.cumsum(is_ask) - is_ask
    bids_before = np.arange(len(ends)) - asks_before
    # Where both sides have a cut the ask's comes first, and the bid's adds nothing.
    units = np.diff(ends, prepend=0)
    cuts = np.flatnonzero(units)
    return _Fills(
        bids=buying[bids_before[cuts]], asks=selling[asks_before[cuts]], units=units[cuts]
    )


def _parted(bids: Sorted, asks: Sorted, fills: _Fills) -> tuple[_Fills, set[int]]:
    """Swap until no account meets itself; books in which that is impossible are returned."""
    buyers, sellers = bids.columns.accounts[fills.bids], asks.columns.accounts[fills.asks]
    meeting = np.flatnonzero(buyers == sellers)
    if not len(meeting):
        return fills, set()
    units, new, tangled = fills.units.copy(), [], set()
    starts = np.searchsorted(fills.bids, bids.starts).tolist()
    for book in np.unique(bids.columns.books[fills.bids[meeting]]).tolist():
        start, end = starts[book], starts[book + 1]
        swaps = Swaps(buyers[start:end].data, sellers[start:end].data, fills.units[start:end].data)
        own = meeting[(start <= meeting) & (meeting < end)] - start
        if not all(swaps.free(place) for place in own.tolist()):
            tangled.add(book)
            continue
        for place, left in swaps.left.items():
            if place < end - start:
                units[start + place] = left
            else:
                bid_line, ask_line = swaps.ends(place)
                new.append((fills.bids[start + bid_line], fills.asks[start + ask_line], left))
    added = np.array(new, np.int64).reshape(-1, 3)
    return _merged(fills.bids, fills.asks, units, added), tangled


def _merged(bids: Integers, asks: Integers, units: Integers, added: Integers) -> _Fills:
    """Old and new lines in order of bids, then asks, each pair once, none empty."""
    bids, asks = np.concatenate((bids, added[:, 0])), np.concatenate((asks, added[:, 1]))
    units = np.concatenate((units, added[:, 2]))
    order = np.argsort(bids * (int(asks.max(initial=0)) + 1) + asks, kind="stable")
    order = order[units[order] > 0]
    bids, asks, units = bids[order], asks[order], units[order]
    new_pair = np.ones(len(order), np.bool_)
    new_pair[1:] = (bids[1:] != bids[:-1]) | (asks[1:] != asks[:-1])
    first = np.flatnonzero(new_pair)
    return _Fills(bids=bids[first], asks=asks[first], units=np.add.reduceat(units, first))


def _with_books_apart(
    bids: Sorted, asks: Sorted, fills: _Fills, ticks: Integers, *, apart: set[int], rule: Rule
) -> _Fills:
    """Clear some books in plain Python, in place of whatever they had; sets their prices."""
    if not apart:
        return fills
    kept = np.flatnonzero(~np.isin(bids.columns.books[fills.bids], sorted(apart)))
    added: list[Line] = []
    for book in sorted(apart):
        clearing = clear_book(bids.queue(book), asks.queue(book), rule)
        ticks[book] = NO_TICK if clearing is None else clearing.tick
        if clearing is not None:
            bid, ask = int(bids.starts[book]), int(asks.starts[book])
            added += [(bid + one, ask + other, units) for one, other, units in clearing.lines]
    new = np.array(added, np.int64).reshape(-1, 3)
    return _merged(fills.bids[kept], fills.asks[kept], fills.units[kept], new)
