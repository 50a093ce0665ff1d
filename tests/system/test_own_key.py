"""A market without solvers of its own, and one that comes with its key: it wins, and is paid."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.anvil import Anvil, Options
from solver.client import Agent, Contributor, Market, SigningKey, Solver
from solver.core.auction import Solution
from solver.core.command import ClearedBook, SolutionFill
from solver.demo.model_upstream import ModelUpstream
from solver.run import Node, market
from solver.runtime.config import load_config
from tests.canary import CANARY
from tests.patience import patience_s, until
from tests.system.load import LISTING
from tests.system.test_metered import PRICE, a_buyer, total

UNITS = 3


@asynccontextmanager
async def a_bare_market(tmp_path: Path, anvil: Anvil) -> AsyncIterator[Node]:
    """Nobody competes within its process."""
    upstream, corpus = ModelUpstream(), tmp_path / "docs.db"
    with sqlite3.connect(corpus) as connection:
        connection.execute("CREATE TABLE pages (id INTEGER, text TEXT)")
    await upstream.start(corpus)
    upstream.add_key(CANARY)
    config = load_config(
        None,
        data_dir=tmp_path / "data",
        port=0,
        chain={"rpc_url": anvil.url, "block_seconds": 0.2},
        market={"epoch_resources": [LISTING], "batch_interval_ms": 300},
        auction={"strategies": []},
        upstreams={"openai-compatible": upstream.url},
        private_networks=["openai-compatible"],
    )
    try:
        async with market(config) as node:
            yield node
    finally:
        await upstream.stop()


async def sell_by_auction(seen: Market, key: SigningKey, offer: str) -> None:
    """Serve whoever pays enough from the offer alone, at the middle price, until cancelled."""
    async with Solver(seen, key).connect() as desk:
        async for auction in desk:
            (book,) = auction.snapshot.books
            bid = book.intents[0]
            (ask,) = [one for one in book.offers if one.id == offer]
            fill = SolutionFill(intent=bid.id, offer=ask.id, units=bid.units)
            tick = (bid.tick + ask.tick) // 2
            cleared = ClearedBook(resource=LISTING, tick=tick, fills=(fill,))
            await desk.propose(auction, Solution(books=(cleared,)))
            assert [verdict.code for verdict in await desk.verdicts(auction)] == [""]


async def test_a_solver_wins_by_its_own_key(tmp_path: Path) -> None:
    """Its offer is in the auction, it fills from that, delivers, is paid on chain, and no fade.

    Before it came nothing traded: the market had no solver, and lived.
    """
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with a_bare_market(tmp_path, anvil) as node, Market(node.url) as seen:
            key = SigningKey.generate()
            own = Contributor(seen, key)
            pooled = (await own.contribute("openai-compatible", CANARY, attest=True)).key
            offer = await own.offer(LISTING, key=pooled, units=9, limit=9 * PRICE)
            buyer, _ = await a_buyer(node)
            intent = await Agent(seen, buyer).intent(LISTING, units=UNITS, limit=3 * UNITS * PRICE)
            await _some_auctions(node)
            assert not intent.state.filled_units
            selling = asyncio.create_task(sell_by_auction(seen, key, offer.digest))
            await intent.filled(timeout_seconds=patience_s())
            for _ in range(UNITS):
                assert (await intent.call("GET", "/v1/models")).status == 200
            await intent.settled(timeout_seconds=patience_s())
            # As nobody else bid, all of the surplus is its reward: the buyer pays its limit.
            assert total(node, key.address) == UNITS * 3 * PRICE
            standing = node.sequencer.market.state.conduct.standings[key.address]
            assert (standing.answered, standing.faded) == (UNITS, 0)
            assert not selling.done()
            selling.cancel()
            assert (await node.reconcile()).is_clean


async def _some_auctions(node: Node) -> None:
    """Two that nobody bid in."""
    auctions = node.sequencer.market.state.auctions
    await until(lambda: len([one for one in auctions.values() if one.closed]) >= 2)
