"""An order flow: the same integers for every engine. Needs the standard library alone.

The interpreter that runs a peer has nothing of ours installed, so this module, `lap` and
the adapters in `peer` import nothing else.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

BID: Final = 0
ASK: Final = 1
CANCEL: Final = 2

Event = tuple[int, int, int, int]
"""Kind, order, tick and units. A cancel has neither tick nor units: both are 0."""

FILL_FIELDS: Final = 4
"""A fill is four integers in a row: taker, maker, tick, units."""


class Flow:
    """Events in four columns. Orders are numbered from 0 in the order in which they are added.

    The first `preload` events only build the book that the others meet; nobody times them.
    """

    def __init__(self, preload: int = 0) -> None:
        self.preload = preload
        self.kinds = array("q")
        self.orders = array("q")
        self.ticks = array("q")
        self.units = array("q")

    def __len__(self) -> int:
        return len(self.kinds)

    def append(self, event: Event) -> None:
        """Add an event."""
        for column, number in zip(self._columns, event, strict=True):
            column.append(number)

    def events(self, first: int, last: int) -> Iterator[Event]:
        """Events `first` to `last` (not included); every integer is an object of its own."""
        return zip(*(column[first:last] for column in self._columns), strict=True)

    @property
    def order_count(self) -> int:
        """How many orders are added."""
        return len(self) - self.kinds.count(CANCEL)

    def save(self, path: Path) -> None:
        """Write it for another process."""
        with path.open("wb") as file:
            array("q", (self.preload, len(self))).tofile(file)
            for column in self._columns:
                column.tofile(file)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        flow = cls()
        with path.open("rb") as file:
            head = array("q")
            head.fromfile(file, 2)
            flow.preload, count = head
            for column in flow._columns:
                column.fromfile(file, count)
        return flow

    @property
    def _columns(self) -> "tuple[array[int], array[int], array[int], array[int]]":
        return self.kinds, self.orders, self.ticks, self.units


def load_numbers(path: Path) -> "array[int]":
    """Every integer of a file."""
    numbers = array("q")
    numbers.frombytes(path.read_bytes())
    return numbers


def save_numbers(numbers: "array[int]", path: Path) -> None:
    """Write what `load_numbers` reads."""
    path.write_bytes(numbers.tobytes())
