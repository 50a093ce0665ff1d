"""Load on a real market: agents that buy, call and finish, and what they were promised."""

import asyncio
import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import Final

import msgspec

from solver.client import BoughtIntent, MarketFault
from solver.demo.stage import Buyer, Seller, Stage
from tests.patience import patience_s, patiently

LISTING: Final = "openai-compatible/models:call"
"""Calls of the model server that cost it nothing: the market is what is loaded."""
PRICE_ATOMS: Final = 1_000


class Promise(msgspec.Struct, kw_only=True):
    """What the market acknowledged about one intent."""

    digest: str
    buyer: int
    delivered: int = 0
    """Calls that were answered."""


class Load:
    """Buyers who buy small intents until told to stop, and keep what was acknowledged."""

    deposit_atoms: Final = 2 * 10**6

    def __init__(self, buyers: list[Buyer], seller: Seller) -> None:
        self.buyers: Final = buyers
        self.seller: Final = seller
        self.promises: Final[dict[str, Promise]] = {}

    async def run(self, until: asyncio.Event) -> None:
        """Every buyer buys, calls and finishes, over and over; faults are part of it."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self.buyers)):
                tasks.create_task(self._buy_until(number, until))

    async def _buy_until(self, buyer: int, until: asyncio.Event) -> None:
        while not until.is_set():
            with contextlib.suppress(MarketFault, TimeoutError):
                await self._buy(buyer)
            await asyncio.sleep(0.01)

    async def _buy(self, buyer: int) -> None:
        agent = self.buyers[buyer].agent
        intent = await agent.intent(LISTING, units=3, limit=3 * PRICE_ATOMS)
        promise = Promise(digest=intent.digest, buyer=buyer)
        self.promises[promise.digest] = promise
        for _ in range(2):
            await intent.call("GET", "/v1/models")
            promise.delivered += 1
        await intent.done()


async def start_small(stage: Stage, port: int = 0) -> None:
    """Chain, model server over a tiny corpus, market."""
    await stage.start_chain()
    corpus = stage.folder / "docs.db"
    with sqlite3.connect(corpus) as connection:
        connection.execute("CREATE TABLE pages (id INTEGER, text TEXT)")
        connection.execute("INSERT INTO pages VALUES (1, 'the quick brown fox is the fox')")
    await stage.start_model(corpus)
    await stage.start_market(port)


async def a_stocked_stage(
    stage: Stage, *, buyers: int = 2, units: int = 100_000, window: tuple[int, int] = (0, 0)
) -> Load:
    """Chain, model server and market are up; buyers are funded, one key offers `units`."""
    people = [await stage.buyer(f"buyer{n}", Load.deposit_atoms) for n in range(buyers)]
    seller = stage.seller("seller")
    pooled = await seller.contributor.contribute(
        "openai-compatible", stage.model_key(), attest=True
    )
    for person in people:
        await funded(person)
    await seller.contributor.offer(
        LISTING, key=pooled.key, units=units, limit=units * PRICE_ATOMS, window=window
    )
    return Load(people, seller)


async def funded(buyer: Buyer) -> None:
    """Wait until the market saw the buyer's deposit and session key in a final block."""
    async with patiently():
        while True:
            with contextlib.suppress(MarketFault):
                told = await buyer.agent.balance()
                if told.usdc.total:
                    return
            await asyncio.sleep(0.1)


async def finished(buyer: Buyer, digest: str) -> BoughtIntent:
    """End an intent that a crash left open, and wait until it is paid for."""
    intent = await buyer.agent.find(digest)
    if not intent.state.is_over:
        await intent.done()
        await intent.settled(timeout_seconds=patience_s())
    return intent


async def keyfill(data_dir: Path, words: str) -> tuple[int, str]:
    """Run the command on a data folder; its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "solver.cli",
        *words.split(),
        "--data-dir",
        str(data_dir),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()
