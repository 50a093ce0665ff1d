"""Solvers of our own: pure functions from a snapshot to solutions, each a bid of its own."""

from collections.abc import Callable, Sequence
from typing import Final

from solver.core.auction import Snapshot, Solution
from solver.strategies.price_time import price_time
from solver.strategies.uniform_price import uniform_price

Strategy = Callable[[Snapshot], Sequence[Solution]]
"""None where it sees nothing to do."""

STRATEGIES: Final[dict[str, Strategy]] = {
    "price-time": price_time,
    "uniform-price": uniform_price,
}
"""By the name under which they compete."""

__all__ = ["STRATEGIES", "Strategy", "price_time", "uniform_price"]
