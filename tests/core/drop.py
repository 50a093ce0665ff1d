"""Markets that are made and dropped: by how much the process has grown, for each of them.

A program of its own, as what is measured is a process: `python -m tests.core.drop`.
"""

import gc
from pathlib import Path
from resource import getpagesize
from typing import Final

from solver.core import exchange
from solver.core.market import Market
from tests.builder import a_bench, alice, an_intent, an_offer, bob

ORDERS: Final = 500
MARKETS: Final = 12


def a_standing_market() -> Market:
    """One with resting orders at few prices, bids that wait, and leases that are open."""
    bench = a_bench(watched=False)
    for number in range(ORDERS):
        intent = an_intent().units(2).limit(2 + number % 7)
        bench.do(intent.signed_by(alice) if number % 5 else intent.all_or_none().signed_by(alice))
    for _ in range(ORDERS // 10):
        bench.do(an_offer().signed_by(bob))
    for number in range(ORDERS):
        bench.do(an_offer().limit(100 + number % 7).signed_by(bob))
    return bench.market


def growth_bytes() -> int:
    """What one more dropped market leaves behind, after the first few."""
    for _ in range(3):
        a_standing_market()
    gc.collect()
    before = _resident_bytes()
    for _ in range(MARKETS):
        a_standing_market()
    gc.collect()
    return (_resident_bytes() - before) // MARKETS


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


if __name__ == "__main__":
    print(exchange.__file__)  # noqa: T201
    print(growth_bytes())  # noqa: T201
