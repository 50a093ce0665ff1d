"""Clearing a book in which one account stands against itself for more than others trade.

Nobody trades with itself. So at a price at which D units are wanted and S are for sale,
and account a wants d(a) and sells s(a) of them, what can trade is exactly

    V = min(D, S, min over a of (D + S − d(a) − s(a)))

(max-flow, min-cut: everybody meets everybody else, so the only cut besides the two sides
is around one account). This module finds the price of the largest V and who gets how much
there. It is slower than a sweep, O(n log n), and hardly any book needs it.
"""

from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from solver.strategies.queue import Crossing, Queue
from solver.strategies.share import Rule, share_by_price

ROUNDS_MAX: Final = 16
"""Rounds in which bids stand back half by half; after that, all that have a minimum do."""


def untangle(bids: Queue, asks: Queue, rule: Rule) -> Crossing | None:
    """As many units as can trade at one price with nobody meeting itself.

    Of several such prices the lowest decides who takes part. While bids miss their
    minimum, the later half of them (at least one) stands back.
    """
    for _ in range(ROUNDS_MAX):
        crossing = _clear(bids, asks, rule)
        if crossing is None:
            return None
        unmet = [
            place
            for place, (units, minimum) in enumerate(
                zip(crossing.bought, bids.minimums, strict=True)
            )
            if 0 < units < minimum
        ]
        if not unmet:
            return crossing
        bids = _without(bids, set(unmet[len(unmet) // 2 :]))
    picky = {place for place, minimum in enumerate(bids.minimums) if minimum > 1}
    return _clear(_without(bids, picky), asks, rule)


def _without(side: Queue, places: set[int]) -> Queue:
    units = [0 if place in places else wanted for place, wanted in enumerate(side.units)]
    return msgspec.structs.replace(side, units=units)


def _clear(bids: Queue, asks: Queue, rule: Rule) -> Crossing | None:
    tick, volume = _best_tick(bids, asks)
    if not volume:
        return None
    buying = _without(bids, {place for place, limit in enumerate(bids.ticks) if limit < tick})
    selling = _without(asks, {place for place, limit in enumerate(asks.ticks) if limit > tick})
    bought = _fill(buying, selling, volume, rule)
    sold = _fill(selling, buying, volume, rule)
    return Crossing.at_the_margin(bids, asks, bought, sold)


def _fill(side: Queue, other: Queue, volume: int, rule: Rule) -> list[int]:
    """Share the volume, but nobody gets more than the other side has of others.

    At most one account can: two would have more than both sides together.
    """
    shares = share_by_price(side.ticks, side.units, volume, rule)
    facing, across = sum(other.units), _by_account(other, other.units)
    for account, units in _by_account(side, shares).items():
        most = facing - across.get(account, 0)
        if units > most:
            theirs = {place for place, who in enumerate(side.accounts) if who == account}
            rest = _without(side, theirs)
            own = _without(side, set(range(len(side.units))) - theirs)
            capped = share_by_price(own.ticks, own.units, most, rule)
            others = share_by_price(rest.ticks, rest.units, volume - most, rule)
            return [one or another for one, another in zip(capped, others, strict=True)]
    return shares


def _by_account(side: Queue, units: list[int]) -> dict[int | str, int]:
    sums: dict[int | str, int] = {}
    for account, some in zip(side.accounts, units, strict=True):
        sums[account] = sums.get(account, 0) + some
    return sums


def _best_tick(bids: Queue, asks: Queue) -> tuple[int, int]:
    """The lowest tick at which the most units can trade, and how many.

    The most is reached at some order's own tick: between two of them fewer take part.
    """
    wanted, offered = sum(bids.units), 0
    weights = _Weights(bids, asks)
    best_tick, most = 0, 0
    bid, ask = len(bids.ticks), 0
    for tick in sorted({*bids.ticks, *asks.ticks}):
        while ask < len(asks.ticks) and asks.ticks[ask] == tick:
            offered += asks.units[ask]
            weights.add(asks.accounts[ask], asks.units[ask])
            ask += 1
        volume = min(wanted, offered, wanted + offered - weights.heaviest())
        if volume > most:
            best_tick, most = tick, volume
        while bid and bids.ticks[bid - 1] == tick:
            bid -= 1
            wanted -= bids.units[bid]
            weights.add(bids.accounts[bid], -bids.units[bid])
    return best_tick, most


class _Weights:
    """d(a) + s(a) of each account on both sides, and the greatest of them."""

    def __init__(self, bids: Queue, asks: Queue) -> None:
        sellers = frozenset(asks.accounts)
        wanted = _by_account(bids, bids.units)
        self._units: Final = {who: units for who, units in wanted.items() if who in sellers}
        self._heap: Final = [(-units, who) for who, units in self._units.items()]
        heapify(self._heap)

    def add(self, account: int | str, units: int) -> None:
        """Units that join (or, negative, leave) on either side."""
        if account in self._units:
            self._units[account] += units
            heappush(self._heap, (-self._units[account], account))

    def heaviest(self) -> int:
        """The greatest sum, 0 if nobody is on both sides; drops entries out of date."""
        while self._heap and self._units[self._heap[0][1]] != -self._heap[0][0]:
            heappop(self._heap)
        return -self._heap[0][0] if self._heap else 0
