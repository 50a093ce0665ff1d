"""A bonded solver that wins and does not deliver: its bond pays its buyer, on a real chain."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contracts.anvil import DEV_KEY, Anvil, Options
from solver.client import Agent, Contributor, Market, SigningKey, Solver
from solver.client.fault import Rejected
from solver.core.auction import Solution
from solver.core.command import ClearedBook, SolutionFill
from solver.demo.model_upstream import ModelUpstream
from solver.run import Node, market
from solver.runtime.config import load_config
from solver.settlement.bond import SolverBond
from solver.settlement.fault import CallReverted
from solver.settlement.owner import fund_locally
from solver.settlement.wallet import Wallet
from tests.canary import CANARY
from tests.patience import patience_s, until
from tests.system.load import LISTING
from tests.system.test_metered import PRICE, a_buyer, selling, total

UNITS = 4
BOND = 3_000_000
PENALTY = 2 * UNITS * PRICE - UNITS * PRICE
"""What others could have had: the buyer's limit less what the seller in the book asks for."""
OWN_KEY = CANARY + "-own"


@asynccontextmanager
async def a_bonded_market(tmp_path: Path, anvil: Anvil) -> AsyncIterator[Node]:
    """It asks for bonds; awards are over soon."""
    upstream, corpus = ModelUpstream(), tmp_path / "docs.db"
    with sqlite3.connect(corpus) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pages (id INTEGER, text TEXT)")
    await upstream.start(corpus)
    upstream.add_key(CANARY)
    upstream.add_key(OWN_KEY)
    config = load_config(
        None,
        data_dir=tmp_path / "data",
        port=0,
        chain={"rpc_url": anvil.url, "block_seconds": 0.2, "exit_delay_seconds": 900},
        market={"epoch_resources": [LISTING], "epoch_ms": 300, "batch_interval_ms": 300},
        auction={"award_blocks": 25, "bond_atoms_min": 2_000_000, "exposure_percent": 150},
        upstreams={"openai-compatible": upstream.url},
        private_networks=["openai-compatible"],
    )
    try:
        async with market(config) as node:
            yield node
    finally:
        await upstream.stop()


async def compete(seen: Market, own: Contributor, key: str) -> None:
    """Win with an offer of its own at almost nothing, until cancelled."""
    async with Solver(seen, own.identity.key).connect() as desk:
        async for auction in desk:
            (book,) = auction.snapshot.books
            bid = book.intents[0]
            offer = own.sign_offer(LISTING, key=key, units=bid.units, limit=bid.units)
            fill = SolutionFill(intent=bid.id, offer=offer.digest, units=bid.units)
            cleared = ClearedBook(resource=LISTING, tick=bid.tick, fills=(fill,))
            await desk.propose(auction, Solution(books=(cleared,)), [offer])


async def bonded(node: Node, anvil: Anvil, key: SigningKey) -> SolverBond:
    """A solver with gas, tokens and a bond that the market has heard of."""
    funder = SigningKey(DEV_KEY)
    wallet = Wallet(node.chain, [funder, key])
    await fund_locally(wallet, node.deployment, funder.address, key.address, BOND)
    bond = SolverBond(wallet, node.deployment, key.address)
    await bond.deposit(BOND)
    bonds = node.sequencer.market.state.bonds
    await until(lambda: key.address in bonds.by_solver)
    return bond


async def test_a_late_solver_makes_its_buyer_whole(tmp_path: Path) -> None:
    """It deposits, wins, does not deliver, pays what others could have had, and withdraws the rest.

    Without a bond its bid is refused. The buyer is paid on chain, by nobody's decision.
    """
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with a_bonded_market(tmp_path, anvil) as node, Market(node.url) as seen:
            solver = SigningKey.generate()
            own = Contributor(seen, solver)
            pooled = (await own.contribute("openai-compatible", OWN_KEY, attest=True)).key
            await selling(seen)
            buyer, _ = await a_buyer(node)
            agent = Agent(seen, buyer)
            before = total(node, buyer.address)

            bond = await bonded(node, anvil, solver)
            competing = asyncio.create_task(compete(seen, own, pooled))
            intent = await agent.intent(LISTING, units=UNITS, limit=2 * UNITS * PRICE)
            await intent.filled(timeout_seconds=patience_s())
            competing.cancel()
            state = node.sequencer.market.state
            (pledge,) = state.bonds.pledges.values()
            assert (pledge.solver, pledge.penalty_max) == (solver.address, PENALTY)
            await own.revoke(pooled)
            await until(lambda: not pledge.open)
            assert pledge.penalty == PENALTY

            await until(lambda: state.bonds.by_solver[solver.address].paid)
            assert (await bond.held()).amount == BOND - PENALTY
            assert not state.bonds.pledges
            await until(lambda: total(node, buyer.address) == before + PENALTY)
            assert (await node.reconcile()).is_clean
            await withdraws(node, anvil, bond)


async def withdraws(node: Node, anvil: Anvil, bond: SolverBond) -> None:
    """After two exit delays, all that is left; no bid stands on it from the request on."""
    await bond.request_withdrawal(BOND)
    standing = node.sequencer.market.state.bonds.by_solver[bond.solver]
    await until(lambda: standing.withdrawing)
    assert not standing.standing
    with pytest.raises(CallReverted, match="BondWithdrawalEarly"):
        await bond.withdraw(bond.solver)
    anvil.rpc("evm_increaseTime", 2 * node.deployment.exit_delay_s)
    anvil.rpc("evm_mine")
    await bond.withdraw(bond.solver)
    await until(lambda: not standing.amount)
    assert (await bond.held()).amount == 0


async def test_a_bid_without_a_bond_is_refused(tmp_path: Path) -> None:
    """With a reason and a hint; the auction goes on without it."""
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with a_bonded_market(tmp_path, anvil) as node, Market(node.url) as seen:
            own = Contributor(seen, SigningKey.generate())
            pooled = (await own.contribute("openai-compatible", OWN_KEY, attest=True)).key
            await selling(seen)
            buyer, _ = await a_buyer(node)
            competing = asyncio.create_task(compete(seen, own, pooled))
            await Agent(seen, buyer).intent(LISTING, units=UNITS, limit=2 * UNITS * PRICE)
            with pytest.raises(Rejected, match="bond"):
                await asyncio.wait_for(competing, patience_s())
