"""A newcomer's whole solver: it bids the best choice of whom of all-or-none intents to serve.

`python -u -m solver.demo.newcomer_solver URL KEY` says what it won, and what was settled.
"""

import asyncio
import contextlib
import itertools
import sys

from solver.client import Market, Rejected, Solution, Solver, Unreachable, read_key
from solver.core.auction import SnapshotBook, SnapshotOrder
from solver.strategies.clearing import by_price, cross, unbundled


def best(book: SnapshotBook, intents: list[SnapshotOrder]) -> Solution | None:
    """The crossing of the most surplus."""
    ticks = {order.id: order.tick for order in (*book.intents, *book.offers)}
    picky = by_price([order for order in intents if order.minimum > 1])[:8]
    plain = [order for order in intents if order not in picky]
    sizes = (itertools.combinations(picky, size) for size in range(len(picky) + 1))
    served = (by_price([*plain, *some]) for some in itertools.chain.from_iterable(sizes))
    found = [one for some in served if (one := cross(book.resource, some, book.offers))]
    surplus = [sum(f.units * (ticks[f.intent] - ticks[f.offer]) for f in c.fills) for c in found]
    return Solution(books=(found[surplus.index(max(surplus))],)) if found else None


async def follow(market: Market, bids: dict[str, Solution]) -> None:
    """Say what was won, and what became of the intents that it filled."""
    filled: dict[str, int] = {}
    async with market.feed((await market.now()).feed) as events:
        async for event in events:
            for won in event.facts.get("winners", ()):
                mine = [bids[bid] for bid in won["bids"] if bid in bids]
                for fill in (f for one in mine for book in one.books for f in book.fills):
                    filled[fill.intent] = event.facts["auction"]
                score, reference = int(won["score"]), int(won["reference"])
                if mine:
                    text = f"score {score}, reference {reference}, reward {score - reference}"
                    sys.stdout.write(f"auction {event.facts['auction']}: won, {text}\n")
            if event.event == "IntentEnded" and event.facts["intent"] in filled:
                auction, status = filled.pop(event.facts["intent"]), event.facts["status"]
                sys.stdout.write(f"auction {auction}: {event.facts['intent']} {status}\n")


async def compete(url: str, key_file: str) -> None:
    """Bid in every auction until the market closes the connection."""
    bids: dict[str, Solution] = {}
    async with Market(url) as market, Solver(market, read_key(key_file)).connect() as desk:
        market.keep(follow(market, bids))
        async for auction in desk:
            for book, intents in unbundled(auction.snapshot):
                with contextlib.suppress(Rejected):
                    if one := best(book, intents):
                        bids[await desk.propose(auction, one)] = one


if __name__ == "__main__":
    with contextlib.suppress(Unreachable, KeyboardInterrupt):
        asyncio.run(compete(*sys.argv[1:]))
