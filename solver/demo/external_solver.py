"""A solver of somebody else's: its own process, connected over WebSocket.

It tries every subset of the intents that need a minimum, and bids the crossing of the
most surplus. Run it as `python -m solver.demo.external_solver URL`.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from typing import Final

from solver.client import Market, Rejected, SigningKey, Solver, Unreachable
from solver.core.auction import Snapshot, SnapshotOrder, Solution
from solver.strategies.clearing import by_price, cross, filled_units

SUBSETS_OF_MAX: Final = 10
"""2¹⁰ crossings at most, which fits well into an epoch."""


def every_subset(snapshot: Snapshot) -> Solution | None:
    """The crossing of the most surplus over all choices of intents with a minimum."""
    solutions = [
        (surplus(snapshot, solution), solution)
        for intents in _choices(snapshot)
        if (solution := cross(intents, snapshot.offers)) is not None
        and _meets_minimums(intents, solution)
    ]
    return max(solutions, key=lambda found: found[0], default=(0, None))[1]


def surplus(snapshot: Snapshot, solution: Solution) -> int:
    """The score that the market will give: value above the limits, in micro-atoms."""
    ticks = {order.id: order.tick for order in (*snapshot.intents, *snapshot.offers)}
    return sum(fill.units * (ticks[fill.intent] - ticks[fill.offer]) for fill in solution.fills)


def _choices(snapshot: Snapshot) -> Iterator[list[SnapshotOrder]]:
    simple = [order for order in snapshot.intents if order.minimum == 1]
    picky = by_price([order for order in snapshot.intents if order.minimum > 1])
    picky = picky[:SUBSETS_OF_MAX]
    for size in range(len(picky) + 1):
        for chosen in itertools.combinations(picky, size):
            yield by_price([*simple, *chosen])


def _meets_minimums(intents: list[SnapshotOrder], solution: Solution) -> bool:
    filled = filled_units(solution)
    return all(order.minimum <= filled.get(order.id, order.minimum) for order in intents)


async def solve(url: str) -> None:
    """Bid in every auction until the market closes the connection."""
    key = SigningKey.generate()
    async with Market(url) as market, Solver(market, key).connect() as desk:
        async for auction in desk:
            solution = every_subset(auction.snapshot)
            if solution is not None:
                try:
                    await desk.propose(auction, tick=solution.tick, fills=solution.fills)
                except Rejected as refused:
                    sys.stderr.write(f"auction {auction.number}: {refused}\n")


def main() -> None:
    """Run until the market goes away."""
    try:
        asyncio.run(solve(sys.argv[1]))
    except (Unreachable, KeyboardInterrupt):
        sys.exit(0)


if __name__ == "__main__":
    main()
