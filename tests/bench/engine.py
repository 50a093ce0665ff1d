"""What the benchmark asks of an engine, the same of each."""

from collections.abc import Callable
from typing import NamedTuple

Submit = Callable[[int, int, int], None]
"""Order, tick, units."""
Cancel = Callable[[int], None]


class Engine(NamedTuple):
    """A matching engine behind three calls, for a flow's whole numbers.

    When a call returns, what it filled stands at the end of `fills`: taker, maker, tick and
    units, by the flow's numbers of the orders (or in the engine's own names for them, which
    a function turns into numbers after the clock has stopped). So every engine pays for reporting its fills
    and for keeping the way from our numbers to its own and back.
    """

    bid: Submit
    ask: Submit
    cancel: Cancel
    fills: list[int] | Callable[[], list[int]]
    source: str
    """The file that the engine was loaded from."""
    tick_scale: int = 1
    """How many of the engine's ticks a tick of the flow is; converted outside the clock."""
