"""Who trades with whom, once it is decided who gets how much."""

from collections.abc import Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Final

Line = tuple[int, int, int]
"""Place of the bid, place of the ask, units."""


def pair(bought: Sequence[int], sold: Sequence[int]) -> list[Line]:
    """Lay both sides along one line in their order, and join what lies side by side.

    At most one line less than there are orders; both sums must be equal.
    """
    lines: list[Line] = []
    ask, left = -1, 0
    for bid, units in enumerate(bought):
        wanted = units
        while wanted:
            while not left:
                ask += 1
                left = sold[ask]
            joined = min(wanted, left)
            lines.append((bid, ask, joined))
            wanted -= joined
            left -= joined
    return lines


def part(
    lines: Sequence[Line], buyers: Sequence[int | str], sellers: Sequence[int | str]
) -> list[Line] | None:
    """The same units for everybody, but none between an account and itself.

    None if an account has more units on its two sides together than are traded: then, by
    counting, it must meet itself, and `tangle` decides anew who gets how much.
    """
    swaps = Swaps(
        [buyers[line[0]] for line in lines],
        [sellers[line[1]] for line in lines],
        [line[2] for line in lines],
    )
    if not swaps.free_all():
        return None
    if not swaps.left:
        return list(lines)
    units: dict[tuple[int, int], int] = {}
    for bid_line, ask_line, joined in swaps.lines():
        place = lines[bid_line][0], lines[ask_line][1]
        units[place] = units.get(place, 0) + joined
    return [(bid, ask, joined) for (bid, ask), joined in sorted(units.items())]


class Swaps:
    """Frees lines that join an account with itself, by swapping asks with other lines.

    The partner is the first line in which the account has no part; there are units enough
    of those unless the account has more on its two sides than are traded. A line that an
    account skipped is its own or used up, and stays so: it searches no line twice.
    """

    def __init__(
        self, buyers: Sequence[int | str], sellers: Sequence[int | str], units: Sequence[int]
    ) -> None:
        self._buyers, self._sellers, self._units = buyers, sellers, units
        self._ends: Final[list[tuple[int, int]]] = []
        """Of each new line: the lines from which it has its bid and its ask."""
        self.left: Final[dict[int, int]] = {}
        """Units of each line that is changed or new; new ones count on from the old."""
        self._searched: Final[dict[int | str, int]] = {}
        self._used_up = 0
        """So many of the first lines have nothing left, for anybody."""

    def free_all(self) -> bool:
        """Free every line that needs it; whether that was possible."""
        return all(
            self.free(place)
            for place, (buyer, seller) in enumerate(zip(self._buyers, self._sellers, strict=True))
            if buyer == seller
        )

    def free(self, place: int) -> bool:
        """Swap until nothing is left of a line; whether that was possible."""
        wanted = self._left(place)
        while wanted:
            partner = self._partner(self._buyers[place])
            if partner is None:
                return False
            units = min(wanted, self._left(partner))
            wanted -= units
            self.left[place] = wanted
            self.left[partner] = self._left(partner) - units
            bid_line, ask_line = self.ends(partner)
            self._add(place, ask_line, units)
            self._add(bid_line, place, units)
        return True

    def ends(self, place: int) -> tuple[int, int]:
        """The old lines that a line, old or new, has its bid and its ask from."""
        old = len(self._units)
        return (place, place) if place < old else self._ends[place - old]

    def lines(self) -> list[Line]:
        """All that is left, as the old lines of its bid and of its ask, and its units."""
        places = range(len(self._units) + len(self._ends))
        return [(*self.ends(place), self._left(place)) for place in places if self._left(place)]

    def _left(self, place: int) -> int:
        left = self.left.get(place)
        return self._units[place] if left is None else left

    def _add(self, bid_line: int, ask_line: int, units: int) -> None:
        self.left[len(self._units) + len(self._ends)] = units
        self._ends.append((bid_line, ask_line))

    def _partner(self, account: int | str) -> int | None:
        count = len(self._units) + len(self._ends)
        while self._used_up < count and not self._left(self._used_up):
            self._used_up += 1
        for place in range(max(self._used_up, self._searched.get(account, 0)), count):
            bid_line, ask_line = self.ends(place)
            foreign = account not in (self._buyers[bid_line], self._sellers[ask_line])
            if foreign and self._left(place):
                self._searched[account] = place
                return place
        self._searched[account] = count
        return None


def within_bounds(
    lines: Sequence[Line], minimums: Sequence[int], *, lines_max: int, lines_per_bid_max: int
) -> list[Line]:
    """As many of the lines, which come in order of bids, as one solution may have.

    A bid of too many lines keeps its first; it is left out if what it keeps misses its
    minimum, or does not fit whole.
    """
    kept: list[Line] = []
    for _, of_bid in groupby(lines, key=itemgetter(0)):
        some = list(islice(of_bid, lines_per_bid_max))
        units = sum(line[2] for line in some)
        if units >= minimums[some[0][0]] and len(kept) + len(some) <= lines_max:
            kept += some
    return kept
