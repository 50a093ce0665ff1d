"""Promises P4, P8 and P10, on real processes, real HTTP and a real chain."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import web

from contracts.bindings import SETTLEMENT, Deposited, FillSettled, Withdrawn, decode_log, topics_of
from solver.client import BoughtIntent, Rejected
from solver.demo.model_upstream import ModelUpstream
from solver.demo.stage import Stage, stage
from tests.journal.damage import records_of
from tests.patience import until
from tests.system.load import LISTING, Load, a_stocked_stage, keyfill, start_small

WINDOW_UNITS = 5
WINDOW_SECONDS = 1
HAMMER_SECONDS = 4.0
PROMISES = 20


class CountingUpstream(ModelUpstream):
    """Notes when each listing arrived, by its own clock."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[float] = []

    async def _models(self, request: web.Request) -> web.Response:
        self.arrivals.append(time.monotonic())
        return await super()._models(request)


@pytest_asyncio.fixture
async def built(tmp_path: Path) -> AsyncIterator[Stage]:
    """A small market whose upstream counts."""
    async with stage(tmp_path / "stage") as made:
        made.model = CountingUpstream()
        await start_small(made)
        yield made


async def test_p4_a_key_is_never_used_beyond_its_window(built: Stage) -> None:
    """However hard buyers push, no sliding window at the upstream holds more than was offered.

    The windows are used, too: over the run at least two thirds of what they allow.
    """
    load = await a_stocked_stage(built, units=500, window=(WINDOW_UNITS, WINDOW_SECONDS))
    upstream = built.model
    assert isinstance(upstream, CountingUpstream)
    upstream.arrivals.clear()
    bought = [await buyer.agent.intent(LISTING, units=100, limit=100_000) for buyer in load.buyers]
    refused = sum(await asyncio.gather(*(_hammer(intent) for intent in bought * 4)))
    assert refused > 0, "nobody was ever made to wait: the test does not push"
    times = upstream.arrivals
    most = max(sum(at <= other < at + WINDOW_SECONDS for other in times) for at in times)
    assert most <= WINDOW_UNITS
    assert len(times) >= HAMMER_SECONDS * WINDOW_UNITS / WINDOW_SECONDS * 2 / 3


async def test_p10_anyone_can_recompute_every_balance(built: Stage) -> None:
    """The contract's public logs alone give every balance of the book, to the atom."""
    load = await a_stocked_stage(built)
    stop = asyncio.Event()
    task = asyncio.create_task(load.run(stop))
    await until(lambda: len(load.promises) >= PROMISES)
    stop.set()
    await task
    for promise in load.promises.values():
        await (await load.buyers[promise.buyer].agent.find(promise.digest)).settled()
    recomputed = await _balances_from_logs(built)
    assert sum(recomputed.values()) == len(load.buyers) * Load.deposit_atoms
    for buyer in load.buyers:
        assert (await buyer.agent.balance()).usdc.total == recomputed[buyer.owner.account]
    seller = load.seller.contributor
    assert (await seller.balance()).usdc.total == recomputed[seller.account] > 0


async def test_p8_a_changed_journal_stops_the_market_with_its_place(tmp_path: Path) -> None:
    """One changed byte in an acknowledged record: the market refuses to start, and says where."""
    async with stage(tmp_path / "stage") as built:
        await start_small(built)
        await built.market_process.stop()
        path = built.data_dir / "journal.db"
        second = next(record for record in records_of(path) if record.seq == 2)
        content = bytearray(path.read_bytes())
        content[second.end.place - 1] ^= 1
        path.write_bytes(content)
        config = built.folder / "keyfill.toml"
        code, output = await keyfill(built.data_dir, f"up --config {config}")
    assert code == 1
    assert "record 2" in output
    assert "Traceback" not in output


async def _hammer(intent: BoughtIntent) -> int:
    """Call without pause; how often the market said to wait."""
    refused = 0
    deadline = time.monotonic() + HAMMER_SECONDS
    while time.monotonic() < deadline:
        try:
            await intent.call("GET", "/v1/models")
        except Rejected as told:
            refused += told.code == "window_exhausted"
            await asyncio.sleep(0.02)
    return refused


async def _balances_from_logs(built: Stage) -> dict[str, int]:
    final = await built.chain.finalized()
    raw_logs = await built.chain.logs(
        built.deployment.deploy_block,
        final.number,
        topics=topics_of(SETTLEMENT),
        addresses=[built.deployment.settlement],
    )
    balances: dict[str, int] = {}

    def move(account: str, atoms: int) -> None:
        balances[account] = balances.get(account, 0) + atoms

    for raw in raw_logs:
        match decode_log(raw):
            case Deposited() as log:
                move(log.account, log.amount)
            case Withdrawn() as log:
                move(log.account, -log.amount)
            case FillSettled() as log:
                move(log.buyer, -log.payment)
                move(log.seller, log.payment)
    return balances
