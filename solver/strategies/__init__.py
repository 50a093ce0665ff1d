"""Solvers of our own: pure functions from a snapshot to a solution."""

from collections.abc import Callable
from typing import Final

from solver.core.auction import Snapshot, Solution
from solver.strategies.price_time import price_time
from solver.strategies.uniform_price import uniform_price

STRATEGIES: Final[dict[str, Callable[[Snapshot], Solution | None]]] = {
    "price-time": price_time,
    "uniform-price": uniform_price,
}
"""By the name under which they compete."""

__all__ = ["STRATEGIES", "price_time", "uniform_price"]
