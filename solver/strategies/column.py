"""One side of many books as columns of integers, as an auction keeps them, and sorted."""

from typing import Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from intents.bound import TICK_MAX, UNITS_MAX
from solver.core.check import check
from solver.strategies.queue import Queue

Integers = npt.NDArray[np.int64]

BITS: Final = 63
"""Of a signed 64-bit integer without its sign."""
ROWS_MAX: Final = 2**20
"""Orders of one side: their units sum to less than 2**63, so no sum can overflow."""
BOOKS_MAX: Final = 2**20


class Columns(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One side of many books, in order of arrival: a row's place is its priority.

    `books` and `accounts` are codes from 0 on. `minimums` counts for bids only: 1 where
    any part is welcome, at most the order's units.
    """

    books: Integers
    ticks: Integers
    units: Integers
    minimums: Integers
    accounts: Integers

    @classmethod
    def of(cls, queue: Queue, codes: dict[int | str, int]) -> Self:
        """A side of one book, number 0; among equal prices order of place is order of time."""
        return cls(
            books=np.zeros(len(queue.ticks), np.int64),
            ticks=np.array(queue.ticks, np.int64),
            units=np.array(queue.units, np.int64),
            minimums=np.array(queue.minimums, np.int64),
            accounts=np.array([codes[account] for account in queue.accounts], np.int64),
        )

    def rows(self, places: Integers) -> Self:
        """Some of the rows, in the order given."""
        return type(self)(
            books=self.books[places],
            ticks=self.ticks[places],
            units=self.units[places],
            minimums=self.minimums[places],
            accounts=self.accounts[places],
        )

    def queue(self) -> Queue:
        """As lists, for one book in plain Python."""
        return Queue(
            ticks=self.ticks.tolist(),
            units=self.units.tolist(),
            minimums=self.minimums.tolist(),
            accounts=self.accounts.tolist(),
        )

    def check(self, book_count: int) -> None:
        """Stop at what would overflow or be read as another order's."""
        rows = len(self.ticks)
        lengths = {len(column) for column in (self.books, self.units, self.minimums, self.accounts)}
        check(lengths == {rows} and rows <= ROWS_MAX, "columns_even", rows=rows)
        for name, column, low, high in (
            ("books", self.books, 0, min(book_count, BOOKS_MAX) - 1),
            ("ticks", self.ticks, 0, TICK_MAX),
            ("units", self.units, 1, UNITS_MAX),
            ("minimums", self.minimums, 1, UNITS_MAX),
        ):
            inside = not rows or (low <= column.min() and column.max() <= high)
            check(inside, "column_within_bounds", column=name)
        check(bool(np.all(self.minimums <= self.units)), "minimum_within_units")


class Sorted(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One side by book, then price, best first, then arrival."""

    rows: Integers
    """Where each order is in the columns that it came from."""
    columns: Columns
    levels: Integers
    """Book and price in one integer that can be compared with the other side's."""
    starts: Integers
    """Where each book begins; one more, where the last one ends."""

    def queue(self, book: int) -> Queue:
        """One book as lists."""
        return self.columns.rows(np.arange(self.starts[book], self.starts[book + 1])).queue()


def sort(bids: Columns, asks: Columns, book_count: int) -> tuple[Sorted, Sorted]:
    """Both sides in order of priority, without orders that no price would let trade."""
    bid_rows, ask_rows = _that_reach(bids, asks, book_count)
    place_bits = max(len(bid_rows), len(ask_rows), 1).bit_length()
    room = BITS - place_bits - book_count.bit_length()
    bid_codes, ask_codes, width = _codes(bids.ticks[bid_rows], asks.ticks[ask_rows], room)
    top = (1 << width) - 1
    bid_levels = bids.books[bid_rows] << width | (top - bid_codes)
    ask_levels = asks.books[ask_rows] << width | ask_codes
    bounds = np.arange(book_count + 1, dtype=np.int64) << width
    return (
        _sorted(bids, bid_rows, bid_levels, bounds, place_bits=place_bits, flip=top),
        _sorted(asks, ask_rows, ask_levels, bounds, place_bits=place_bits, flip=0),
    )


def _sorted(
    side: Columns,
    rows: Integers,
    levels: Integers,
    bounds: Integers,
    *,
    place_bits: int,
    flip: int,
) -> Sorted:
    """Rows by level, then place; `flip` turns a level's price from best to cheapest first."""
    keys = levels << place_bits | np.arange(len(levels))
    keys.sort()
    levels = keys >> place_bits
    rows = rows[keys & ((1 << place_bits) - 1)]
    return Sorted(
        rows=rows,
        columns=side.rows(rows),
        levels=levels ^ flip,
        starts=np.searchsorted(levels, bounds),
    )


def _that_reach(bids: Columns, asks: Columns, book_count: int) -> tuple[Integers, Integers]:
    """Rows of bids at or above the lowest ask of their book, and the other way round."""
    lowest = np.full(book_count, TICK_MAX + 1, np.int64)
    np.minimum.at(lowest, asks.books, asks.ticks)
    highest = np.full(book_count, -1, np.int64)
    np.maximum.at(highest, bids.books, bids.ticks)
    return (
        np.flatnonzero(bids.ticks >= lowest[bids.books]),
        np.flatnonzero(asks.ticks <= highest[asks.books]),
    )


def _codes(bids: Integers, asks: Integers, room: int) -> tuple[Integers, Integers, int]:
    """Ticks as few-bit integers of the same order: from the lowest tick on, else ranks."""
    if not len(bids) or not len(asks):
        return np.zeros_like(bids), np.zeros_like(asks), 1
    low = min(int(bids.min()), int(asks.min()))
    width = max(1, (max(int(bids.max()), int(asks.max())) - low).bit_length())
    if width <= room:
        return bids - low, asks - low, width
    ticks, ranks = np.unique(np.concatenate((bids, asks)), return_inverse=True)
    return ranks[: len(bids)], ranks[len(bids) :], len(ticks).bit_length()
