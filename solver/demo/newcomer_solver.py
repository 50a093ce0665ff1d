"""A newcomer's whole solver: capacity of its own, offered only where it is wanted.

`python -u -m solver.demo.newcomer_solver URL KEY CAPACITY` says what it won, and what it is paid.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from solver.client import Contributor, Market, Rejected, Solution, Solver, Unreachable, read_key
from solver.strategies.clearing import by_price, cross, unbundled

PROVIDER, RESOURCE = "openai-compatible", "openai-compatible/chat:token"
UNITS, LIMIT = 2_000, 100_000  # atoms for all of them


async def follow(market: Market, me: str, bids: dict[str, Solution]) -> None:
    """Say what was won, what became of the intents that it filled, and what it is paid."""
    filled: dict[str, int] = {}
    async with market.feed((await market.now()).feed) as events:
        async for event in events:
            told = event.facts
            for won in told.get("winners", ()):
                mine = [bids[bid] for bid in won["bids"] if bid in bids]
                for fill in (f for one in mine for book in one.books for f in book.fills):
                    filled[fill.intent] = told["auction"]
                score, reference = int(won["score"]), int(won["reference"])
                if mine:
                    text = f"score {score}, reference {reference}, reward {score - reference}"
                    sys.stdout.write(f"auction {told['auction']}: won, {text}\n")
            if event.event == "IntentEnded" and told["intent"] in filled:
                auction = filled.pop(told["intent"])
                sys.stdout.write(f"auction {auction}: {told['intent']} {told['status']}\n")
            if event.event == "PaymentSettled" and told.get("solver") == me and told["reward"]:
                sys.stdout.write(f"paid on chain: {told['reward']} atoms of {told['payment']}\n")


async def compete(url: str, key_file: str, capacity: str) -> None:
    """Bid in every auction until the market closes the connection."""
    bids: dict[str, Solution] = {}
    async with Market(url) as market, Solver(market, read_key(key_file)).connect() as desk:
        seller = Contributor(market, read_key(key_file))
        market.keep(follow(market, seller.account, bids))
        known = [one.key for one in await seller.keys() if one.live]
        key = known[0] if known else (await seller.contribute(PROVIDER, capacity, attest=True)).key
        async for auction in desk:
            for book, intents in unbundled(auction.snapshot):
                new = seller.sign_offer(RESOURCE, key=key, units=UNITS, limit=LIMIT)
                own = [new] if book.resource == RESOURCE else []
                offers = sorted([*book.offers, *(o.order for o in own)], key=lambda o: o.tick)
                with contextlib.suppress(Rejected):
                    if cleared := cross(book.resource, by_price(intents), offers):
                        solution = Solution(books=(cleared,))
                        bids[await desk.propose(auction, solution, own)] = solution


if __name__ == "__main__":
    with contextlib.suppress(Unreachable, KeyboardInterrupt):
        asyncio.run(compete(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_text()))
