"""What the benchmark asks of an engine, the same of each."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Submit = Callable[[int, int, int], None]
"""Order, tick, units."""
Cancel = Callable[[int], None]
Fill = tuple[int, int, int, int]
"""Taker, maker, tick, units."""


class Engine(NamedTuple):
    """A matching engine behind three calls, for a flow's whole numbers.

    When a call returns, what it filled has been taken out of the engine and kept in a list:
    who with whom, price and units, as the engine itself names its orders. So every engine pays for
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
    """The fills of a list that has four entries for each: a tuple each would be garbage.

    Collecting that would cost most the engines whose orders are tracked by the collector.
    """
    entry = iter(told)
    return zip(entry, entry, entry, entry, strict=True)
