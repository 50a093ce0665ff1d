"""Metered settlement from a buyer's call to final blocks: a real market, upstream and chain."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tiny_keccak import keccak256

from contracts.anvil import DEV_KEY, Anvil, Options
from contracts.bindings import SETTLEMENT
from intents.policy import Permission
from solver.client import Agent, BoughtIntent, Contributor, Market, Purchase, SigningKey
from solver.core.event import MeteringSet
from solver.demo.model_upstream import ModelUpstream
from solver.ground import StartRefused
from solver.run import Node, market
from solver.runtime.config import Config, load_config
from solver.settlement.owner import AccountOwner, fund_locally
from solver.settlement.wallet import Wallet
from tests.canary import CANARY
from tests.patience import patience_s, until
from tests.system.load import LISTING, keyfill

CALLS = 12
PRICE = 1_000
DEPOSIT = 5_000_000
UNTIL_S = 2**32 - 1
ANY_RESOURCE = keccak256(b"")


@asynccontextmanager
async def a_metering_market(tmp_path: Path, anvil: Anvil, **rule: int) -> AsyncIterator[Node]:
    """A market that meters, whose data folder and chain outlive it."""
    upstream = ModelUpstream()
    corpus = tmp_path / "docs.db"
    with sqlite3.connect(corpus) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pages (id INTEGER, text TEXT)")
    await upstream.start(corpus)
    upstream.add_key(CANARY)
    config: Config = load_config(
        None,
        data_dir=tmp_path / "data",
        port=0,
        chain={"rpc_url": anvil.url, "block_seconds": 0.2},
        market={"metered_atoms_max": 50_000, "metered_interval_ms": 300} | rule,
        upstreams={"openai-compatible": upstream.url},
        private_networks=["openai-compatible"],
    )
    try:
        async with market(config) as node:
            yield node
    finally:
        await upstream.stop()


async def a_buyer(node: Node) -> tuple[SigningKey, Wallet]:
    """A plain key with a deposit that the market has heard of."""
    key, funder = SigningKey.generate(), SigningKey(DEV_KEY)
    wallet = Wallet(node.chain, [funder, key])
    await fund_locally(wallet, node.deployment, funder.address, key.address, DEPOSIT)
    await AccountOwner(wallet, node.deployment, key).deposit(DEPOSIT)
    await until(lambda: total(node, key.address) == DEPOSIT)
    return key, wallet


async def selling(seen: Market) -> Contributor:
    """Somebody who sells calls for a thousand atoms each."""
    seller = Contributor(seen, SigningKey.generate())
    key = (await seller.contribute("openai-compatible", CANARY, attest=True)).key
    await seller.offer(LISTING, key=key, units=1_000, limit=1_000 * PRICE)
    return seller


async def use(agent: Agent) -> list[BoughtIntent]:
    """Buy calls under one mandate, and make them."""
    mandate = await agent.mandate(limit=DEPOSIT // 2, tick_max=2 * PRICE * 10**6)
    purchase = Purchase(resource=LISTING, units=1, limit=2 * PRICE)
    bought = await mandate.buy_many([purchase] * CALLS)
    intents = [await agent.find(one.intent()) for one in bought]
    for intent in intents:
        assert (await intent.call("GET", "/v1/models")).status == 200
    return intents


def total(node: Node, account: str) -> int:
    state = node.sequencer.market.state
    return state.ledger.balance(account, state.usdc).total


async def test_calls_are_paid_by_what_the_sdk_signs(tmp_path: Path) -> None:
    """Twelve calls under a mandate, a receipt key in the registry, final payments, books agree.

    No fill is a line on chain: all that settles is metered, and everything of it was signed.
    """
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with a_metering_market(tmp_path, anvil) as node, Market(node.url) as seen:
            seller = await selling(seen)
            key, wallet = await a_buyer(node)
            receipt_key = SigningKey.generate()
            await grant_receipts(node, wallet, key, receipt_key)
            agent = Agent(seen, key, receipt_key=receipt_key)
            for intent in await use(agent):
                await intent.settled(timeout_seconds=patience_s())
            state = node.sequencer.market.state
            assert agent.spending.fault is None
            assert total(node, seller.account) == CALLS * PRICE
            assert all(batch.records for batch in state.batches.values())
            records = [one for batch in state.batches.values() for one in batch.records]
            receipts = [record.receipt for record in records]
            assert {one and one.signer for one in receipts} == {receipt_key.address}
            assert state.metering.meters[key.address].uncovered == 0
            assert (await node.reconcile()).is_clean
            assert not node.submitter.alarms


async def test_a_restart_goes_on_with_what_is_owed(tmp_path: Path) -> None:
    """What was served and not signed for is still owed, and settles after the market is back."""
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with a_metering_market(tmp_path, anvil) as node, Market(node.url) as seen:
            seller = await selling(seen)
            key, _ = await a_buyer(node)
            agent = Agent(seen, key)
            agent.spending.due = lambda: None  # type: ignore[method-assign]
            await use(agent)
            await said_by_command(tmp_path, node, key)
            before = node.sequencer.market.state.hash()
        async with a_metering_market(tmp_path, anvil) as node, Market(node.url) as seen:
            state = node.sequencer.market.state
            assert state.metering.meters[key.address].owed == CALLS * PRICE, before
            await Agent(seen, key).spending.sign(trusting=True)
            await until(lambda: total(node, seller.account) == CALLS * PRICE)
            assert (await node.reconcile()).is_clean


async def test_who_never_signs_is_settled_on_the_operators_word(tmp_path: Path) -> None:
    """After a second nobody signed: the contract moves it, up to the cap, and the books agree."""
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with (
            a_metering_market(tmp_path, anvil, unsigned_ms=1_000) as node,
            Market(node.url) as seen,
        ):
            seller = await selling(seen)
            key, _ = await a_buyer(node)
            agent = Agent(seen, key)
            agent.spending.due = lambda: None  # type: ignore[method-assign]
            await use(agent)
            await until(lambda: total(node, seller.account) == CALLS * PRICE)
            meter = node.sequencer.market.state.metering.meters[key.address]
            assert meter.uncovered == meter.base == CALLS * PRICE
            assert (await node.reconcile()).is_clean


async def test_a_rule_that_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Intents that cost more than who does not sign is served would wait for ever."""
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with a_metering_market(tmp_path, anvil, uncovered_atoms_max=10):
                pass
        assert caught.group_contains(StartRefused, match="payment_max is 0 to uncovered_max")


async def test_a_rule_is_journaled_once_and_can_be_taken_back(tmp_path: Path) -> None:
    """The same settings add no command; none at all meters nothing from then on."""
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        told: list[tuple[int, int]] = []
        for atoms in (50_000, 50_000, 0):
            async with a_metering_market(tmp_path, anvil, metered_atoms_max=atoms) as node:
                state = node.sequencer.market.state
                rules = [
                    entry
                    for entry in node.sequencer.feed.after(0, 10_000)
                    if isinstance(entry.event, MeteringSet)
                ]
                told.append((state.metered_max, len(rules)))
        assert told == [(50_000, 1), (50_000, 1), (0, 2)]


async def said_by_command(tmp_path: Path, node: Node, key: SigningKey) -> None:
    """A person reads what is owed, fill by fill."""
    file = tmp_path / "buyer.key"
    file.write_text(key.secret().hex())
    words = f"spending show --url {node.url} --key-file {file} --json"
    code, output = await keyfill(tmp_path / "data", words)
    assert code == 0
    assert output.count("0.001") == CALLS


async def grant_receipts(node: Node, wallet: Wallet, account: SigningKey, key: SigningKey) -> None:
    """Let a key sign what its account owes, and nothing else."""
    grant = SETTLEMENT.function("grantSession")

    terms = (account.address, key.address, 0, int(Permission.RECEIPT), ANY_RESOURCE, 0, 0)
    caps = (DEPOSIT, 86_400, UNTIL_S, 0, 0)
    await wallet.transact(account.address, node.deployment.settlement, grant.encode(terms + caps))
