"""The reference matcher: price, then time, written to be obviously right. Nobody times it."""

from array import array
from typing import Final

from sortedcontainers import SortedDict

from tests.bench.flow import ASK, BID, CANCEL, Event

Level = dict[int, int]
"""Order → units open, in order of arrival."""


class Reference:
    """One book. `fills` has every fill so far: taker, maker, tick, units, four by four."""

    def __init__(self) -> None:
        self.fills: array[int] = array("q")
        self.resting: dict[int, tuple[int, int]] = {}
        """Order → its side and tick."""
        self._sides: Final[dict[int, SortedDict[int, Level]]] = {
            BID: SortedDict(),
            ASK: SortedDict(),
        }

    def apply(self, event: Event) -> None:
        """Carry an event out."""
        kind, order, tick, units = event
        if kind == CANCEL:
            self._remove(order)
            return
        units = self._match(kind, order, tick, units)
        if units:
            self._sides[kind].setdefault(tick, {})[order] = units
            self.resting[order] = (kind, tick)

    def best(self, side: int) -> int | None:
        """The tick that trades first on a side; None if nothing rests there."""
        levels = self._sides[side]
        if not levels:
            return None
        tick: int = levels.peekitem(-1 if side == BID else 0)[0]
        return tick

    def first_units(self, side: int, makers: int) -> list[int]:
        """Units open of the first makers of a side, in the order in which they would trade."""
        found: list[int] = []
        ticks = self._sides[side].keys()
        for tick in reversed(ticks) if side == BID else ticks:
            found.extend(self._sides[side][tick].values())
            if len(found) >= makers:
                break
        return found[:makers]

    def _match(self, side: int, taker: int, limit: int, units: int) -> int:
        """Fill what can be filled; returns what is left of `units`."""
        other = ASK if side == BID else BID
        while units:
            tick = self.best(other)
            if tick is None or (tick > limit if side == BID else tick < limit):
                break
            level = self._sides[other][tick]
            maker = next(iter(level))
            filled = min(units, level[maker])
            self.fills.extend((taker, maker, tick, filled))
            units -= filled
            level[maker] -= filled
            if not level[maker]:
                self._remove(maker)
        return units

    def _remove(self, order: int) -> None:
        side, tick = self.resting.pop(order)
        level = self._sides[side][tick]
        del level[order]
        if not level:
            del self._sides[side][tick]
