"""`make soak`: 1,000 intents through the HTTP API to final settlement, as JSON lines.

Real Anvil, real HTTP, the market in a process of its own. `soak_difference_atoms` sums,
over all accounts, how far chain, book and the fills' own arithmetic are apart: 0, or exit
code 1. The rate counts from the first intent signed to the last one final on chain.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from solver.client import BoughtIntent
from solver.demo.stage import Buyer, stage
from tests.system.load import LISTING, PRICE_ATOMS, Load, a_stocked_stage, start_small

AT_ONCE: Final = 4
"""Intents that one buyer has under way at a time."""
UNITS: Final = 2


async def soak(intents: int, buyers: int, console: Console) -> int:
    """Run it; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder) / "stage") as built:
            await start_small(built)
            load = await a_stocked_stage(built, buyers=buyers, units=intents * UNITS)
            console.print(f"{intents} intents of {buyers} buyers …")
            started = time.monotonic()
            bought = await asyncio.gather(
                *(_buy_all(buyer, intents // buyers) for buyer in load.buyers)
            )
            seconds = time.monotonic() - started
            everything = [intent for of_buyer in bought for intent in of_buyer]
            difference = await _difference(load, everything)
            settled = sum(intent.state.status == "settled" for intent in everything)
    _print("soak_intents_settled", settled, "intents")
    _print("soak_difference_atoms", difference, "atoms")
    _print("soak_intents_per_s", round(settled / seconds, 1), "intents/s")
    return 0 if difference == 0 and settled == len(everything) else 1


async def _buy_all(buyer: Buyer, count: int) -> list[BoughtIntent]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> BoughtIntent:
        async with gate:
            intent = await buyer.agent.intent(LISTING, units=UNITS, limit=UNITS * PRICE_ATOMS)
            await intent.call("GET", "/v1/models")
            await intent.done()
        return intent

    bought = await asyncio.gather(*(one() for _ in range(count)))
    for intent in bought:
        await intent.settled()
    return list(bought)


async def _difference(load: Load, bought: list[BoughtIntent]) -> int:
    """Atoms by which chain, book and fills differ, over all accounts, without sign."""
    paid = {buyer.owner.account: 0 for buyer in load.buyers}
    for intent in bought:
        told: dict[str, Any] = await load.buyers[0].agent.market.get(
            "/v1/leases", dict[str, Any], intent=intent.digest
        )
        for lease in told["leases"]:
            paid[lease["buyer"]] += lease["payment"]
    difference = 0
    for buyer in load.buyers:
        book = (await buyer.agent.balance()).usdc.total
        chain = (await buyer.owner.escrow()).balance
        expected = load.deposit_atoms - paid[buyer.owner.account]
        difference += abs(chain - book) + abs(chain - expected)
    seller_book = (await load.seller.contributor.balance()).usdc.total
    seller_chain = (await load.seller.wallet_owner.escrow()).balance
    return difference + abs(seller_chain - seller_book) + abs(seller_chain - sum(paid.values()))


def _print(name: str, value: float, unit: str) -> None:
    sys.stdout.write(msgspec.json.encode({"name": name, "value": value, "unit": unit}).decode())
    sys.stdout.write("\n")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--intents", type=int, default=1_000)
    parser.add_argument("--buyers", type=int, default=10)
    options = parser.parse_args()
    sys.exit(asyncio.run(soak(options.intents, options.buyers, Console(stderr=True))))


if __name__ == "__main__":
    main()
