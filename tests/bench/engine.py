"""What the benchmark asks of an engine, the same of each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Submit = Callable[[int, int, int], None]
"""Order, tick, units."""
Cancel = Callable[[int], None]
Fill = tuple[int, int, int, int]
"""Taker, maker, tick, units."""
Told = deque[Any]
"""Four entries for each fill, one after the other, as the engine itself names its orders.

A tuple for each fill would be garbage, and collecting it would cost those most whose orders
the collector tracks. A list would have to be moved as it grows: that is a millisecond.
"""


class Engine(NamedTuple):
    """A matching engine behind three calls, for a flow's whole numbers.

    When a call returns, what it filled has been taken out of the engine and told: who with
    whom, price and units, as the engine itself names its orders. So every engine pays for
    finding an order by the flow's number, and for telling each fill; `fills` turns the
    engine's names and prices into the flow's after the clock has stopped.
    """

    bid: Submit
    ask: Submit
    cancel: Cancel
    fills: Callable[[], Iterable[Fill]]
    source: str
    """The file that the engine was loaded from."""
    tick_scale: int = 1
    """How many of the engine's ticks a tick of the flow is; converted outside the clock."""


def by_four(told: Iterable[Any]) -> Iterator[tuple[Any, Any, Any, Any]]:
    """The fills that were told, each in one piece."""
    entry = iter(told)
    return zip(entry, entry, entry, entry, strict=True)
