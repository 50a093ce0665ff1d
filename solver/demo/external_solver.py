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
from solver.core.auction import Snapshot, SnapshotBook, SnapshotOrder, Solution
from solver.core.command import ClearedBook
from solver.strategies.clearing import by_price, cross, filled_units, unbundled

SUBSETS_OF_MAX: Final = 10
"""2¹⁰ crossings at most, which fits well into an epoch."""


def every_subset(snapshot: Snapshot) -> list[Solution]:
    """For each book, the crossing of the most surplus over all choices of who has a minimum."""
    best = [_best(book, intents) for book, intents in unbundled(snapshot)]
    return [Solution(books=(cleared,)) for cleared in best if cleared is not None]


def surplus(book: SnapshotBook, cleared: ClearedBook) -> int:
    """The score that the market will give: value above the limits, in micro-atoms."""
    ticks = {order.id: order.tick for order in (*book.intents, *book.offers)}
    return sum(fill.units * (ticks[fill.intent] - ticks[fill.offer]) for fill in cleared.fills)


def _best(book: SnapshotBook, intents: list[SnapshotOrder]) -> ClearedBook | None:
    found = [
        (surplus(book, cleared), cleared)
        for chosen in _choices(intents)
        if (cleared := cross(book.resource, chosen, book.offers)) is not None
        and _meets_minimums(chosen, cleared)
    ]
    return max(found, key=lambda one: one[0], default=(0, None))[1]


def _choices(intents: list[SnapshotOrder]) -> Iterator[list[SnapshotOrder]]:
    simple = [order for order in intents if order.minimum == 1]
    picky = by_price([order for order in intents if order.minimum > 1])
    picky = picky[:SUBSETS_OF_MAX]
    for size in range(len(picky) + 1):
        for chosen in itertools.combinations(picky, size):
            yield by_price([*simple, *chosen])


def _meets_minimums(intents: list[SnapshotOrder], cleared: ClearedBook) -> bool:
    filled = filled_units(cleared)
    return all(order.minimum <= filled.get(order.id, order.minimum) for order in intents)


async def solve(url: str) -> None:
    """Bid in every auction until the market closes the connection."""
    key = SigningKey.generate()
    async with Market(url) as market, Solver(market, key).connect() as desk:
        async for auction in desk:
            for solution in every_subset(auction.snapshot):
                try:
                    await desk.propose(auction, solution)
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
