"""A solver that wins is paid: a real market, upstream and chain, and the SDK on every side."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contracts.anvil import DEV_KEY, Anvil, Options
from contracts.bindings import SETTLEMENT
from intents.document import Award
from intents.signature import SigningKey, recover
from intents.typed_data import Domain, digest
from solver.client import Agent, Market, Solver
from solver.client.auction_page import auction_told
from solver.client.record import awards_differ
from solver.demo.model_upstream import ModelUpstream
from solver.run import Node, market
from solver.runtime.config import Config, load_config
from solver.settlement.owner import AccountOwner, fund_locally
from solver.settlement.wallet import Wallet
from solver.strategies import uniform_price
from tests.canary import CANARY
from tests.patience import patience_s, until
from tests.system.load import LISTING, keyfill
from tests.system.test_metered import selling

PRICE = 1_000
UNITS = 4
CALLS = 3
DEPOSIT = 5_000_000


@asynccontextmanager
async def a_market_of_auctions(tmp_path: Path, anvil: Anvil, **rule: Any) -> AsyncIterator[Node]:
    """It sells calls in auctions, and pays who wins them."""
    upstream = ModelUpstream()
    corpus = tmp_path / "docs.db"
    with sqlite3.connect(corpus) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pages (id INTEGER, text TEXT)")
        connection.execute("INSERT INTO pages VALUES (1, 'what opens a file closes a file')")
    await upstream.start(corpus)
    upstream.add_key(CANARY)
    config: Config = load_config(
        None,
        data_dir=tmp_path / "data",
        port=0,
        chain={"rpc_url": anvil.url, "block_seconds": 0.2},
        market={"epoch_resources": [LISTING], "epoch_ms": 300, "batch_interval_ms": 300} | rule,
        auction={"strategies": []},
        upstreams={"openai-compatible": upstream.url},
        private_networks=["openai-compatible"],
    )
    try:
        async with market(config) as node:
            yield node
    finally:
        await upstream.stop()


async def compete(seen: Market, key: SigningKey) -> None:
    """Clear every auction at one price."""
    async with Solver(seen, key).connect() as desk:
        async for auction in desk:
            for solution in uniform_price(auction.snapshot):
                await desk.propose(auction, solution)


async def on_chain(node: Node, account: str) -> int:
    function = SETTLEMENT.function("accountOf")
    answer = await node.chain.call(node.deployment.settlement, function.encode(account))
    return int(function.decode_outputs(answer)[0][0])


async def test_a_winner_is_paid_on_chain(tmp_path: Path) -> None:
    """Its balance there is its charges of what was delivered, and no atom more.

    Nobody else bids, so that the reward is all of the surplus. The award is the operator's
    owner's, for the fills that the auction's record leads to.
    """
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with a_market_of_auctions(tmp_path, anvil) as node, Market(node.url) as seen:
            solver, buyer = SigningKey.generate(), SigningKey.generate()
            competing = asyncio.create_task(compete(seen, solver))
            seller = await selling(seen)
            await deposit(node, buyer)
            intent = await Agent(seen, buyer).intent(LISTING, units=UNITS, limit=UNITS * 2 * PRICE)
            await intent.filled(timeout_seconds=patience_s())
            for _ in range(CALLS):
                assert (await intent.call("GET", "/v1/models")).status == 200
            await intent.done()
            await intent.settled(timeout_seconds=patience_s())
            competing.cancel()
            state = node.sequencer.market.state
            ((name, award),) = state.awards.items()
            (fill,) = award.fills
            reward = CALLS * fill.charge // 10**6
            assert CALLS * PRICE - CALLS <= reward <= CALLS * PRICE, name
            paid = CALLS * fill.tick // 10**6
            assert await on_chain(node, solver.address) == reward
            assert await on_chain(node, seller.account) == paid - reward
            assert await on_chain(node, buyer.address) == DEPOSIT - paid
            assert (await node.reconcile()).is_clean
            assert not node.submitter.alarms
            await the_award_is_published(node, seen, award.auction)


async def test_a_winner_is_paid_where_fills_are_metered(tmp_path: Path) -> None:
    """The SDK signs a receipt with a line for the solver, and that is what it has on chain.

    Nothing is a line of a verified batch. The auction's record replays to the award that the
    buyer was shown, at the command line too.
    """
    rule = {"metered_atoms_max": 50_000, "metered_interval_ms": 300}
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with (
            a_market_of_auctions(tmp_path, anvil, **rule) as node,
            Market(node.url) as seen,
        ):
            solver, buyer = SigningKey.generate(), SigningKey.generate()
            competing = asyncio.create_task(compete(seen, solver))
            seller = await selling(seen)
            await deposit(node, buyer)
            agent = Agent(seen, buyer)
            intent = await agent.intent(LISTING, units=UNITS, limit=UNITS * 2 * PRICE)
            await intent.filled(timeout_seconds=patience_s())
            for _ in range(CALLS):
                assert (await intent.call("GET", "/v1/models")).status == 200
            await intent.done()
            await intent.settled(timeout_seconds=patience_s())
            competing.cancel()
            state = node.sequencer.market.state
            ((name, award),) = state.awards.items()
            (fill,) = award.fills
            reward, paid = CALLS * fill.charge // 10**6, CALLS * fill.tick // 10**6
            assert CALLS * PRICE - CALLS <= reward <= CALLS * PRICE, name
            assert await on_chain(node, solver.address) == reward
            assert await on_chain(node, seller.account) == paid - reward
            assert await on_chain(node, buyer.address) == DEPOSIT - paid
            assert agent.spending.fault is None
            assert state.metering.meters[buyer.address].uncovered == 0
            assert all(batch.records for batch in state.batches.values())
            assert (await node.reconcile()).is_clean
            assert not node.submitter.alarms
            await the_award_is_published(node, seen, award.auction)
            words = f"auction replay {award.auction} --url {node.url} --json"
            code, output = await keyfill(tmp_path / "data", words)
            assert code == 0, output


async def deposit(node: Node, key: SigningKey) -> None:
    """Money that the market has heard of."""
    funder = SigningKey(DEV_KEY)
    wallet = Wallet(node.chain, [funder, key])
    await fund_locally(wallet, node.deployment, funder.address, key.address, DEPOSIT)
    await AccountOwner(wallet, node.deployment, key).deposit(DEPOSIT)
    state = node.sequencer.market.state
    await until(lambda: state.ledger.balance(key.address, state.usdc).total == DEPOSIT)


async def the_award_is_published(node: Node, seen: Market, number: int) -> None:
    """Signed by whoever owns the operator's account, and for what the auction came to."""
    told = await auction_told(seen, number)
    (award,) = told.awards
    document = Award(
        auction=number,
        solver=award.solver,
        solution=award.solution,
        deadline_block=told.deadline_block,
    )
    chain_id, settlement = node.deployment.chain_id, node.deployment.settlement
    domain = Domain(chain_id=chain_id, verifying_contract=settlement)
    signer = recover(digest(domain.prefix(), document), bytes.fromhex(award.signature[2:]))
    assert signer == node.deployment.operator_owner
    assert not awards_differ(told)
