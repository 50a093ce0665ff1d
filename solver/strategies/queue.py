"""One side of a book in price-time order, as columns; and what a crossing gives each order."""

from collections.abc import Sequence
from typing import Self

import msgspec

from solver.core.auction import SnapshotOrder


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Orders by place: the best price first, equal prices in order of time.

    `minimums` counts for bids only. It is 1 where any part is welcome, and the order's
    units where it is all or none.
    """

    ticks: list[int]
    units: list[int]
    minimums: list[int]
    accounts: Sequence[int | str]

    @classmethod
    def of(cls, orders: Sequence[SnapshotOrder]) -> Self:
        """Columns of orders that are in price-time order already."""
        return cls(
            ticks=[order.tick for order in orders],
            units=[order.units for order in orders],
            minimums=[min(order.minimum, order.units) for order in orders],
            accounts=[order.account for order in orders],
        )


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """The one price of a book, and the units of each bid and each ask by place."""

    tick: int
    bought: list[int]
    sold: list[int]

    @classmethod
    def at_the_margin(cls, bids: Queue, asks: Queue, bought: list[int], sold: list[int]) -> Self:
        """At the middle of the lowest bid and the highest ask that trade, rounded down."""
        lowest_bid = min(tick for tick, units in zip(bids.ticks, bought, strict=True) if units)
        highest_ask = max(tick for tick, units in zip(asks.ticks, sold, strict=True) if units)
        return cls(tick=(lowest_bid + highest_ask) // 2, bought=bought, sold=sold)
