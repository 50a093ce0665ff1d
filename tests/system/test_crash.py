"""Promises P1, P6, P7 and P9 on the real thing: processes are killed while they work."""

import asyncio
import os
import secrets
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from beancount import loader  # type: ignore[import-untyped, unused-ignore]

from contracts.bindings import SETTLEMENT, FillSettled, decode_log
from solver.client import Rejected, Unreachable
from solver.core.command import ApplyBlocks
from solver.core.fact import FillSettled as FillSettledFact
from solver.core.market import Market
from solver.demo.process import StartFailed, free_port
from solver.demo.stage import Stage, stage
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, replay
from solver.journal import Genesis, Journal
from solver.journal.beancount import beancount
from solver.journal.reader import JournalReader
from tests.patience import until
from tests.system.load import Load, Promise, a_stocked_stage, finished, start_small

KILLS: Final = int(os.environ.get("KEYFILL_MARKET_KILLS", "5"))
"""Each takes seconds here; engines alone are killed 200 times in tests/journal."""


async def test_p1_p6_p7_killed_at_any_moment_under_load(tmp_path: Path) -> None:
    """After every kill -9: nothing acknowledged is lost, no fill is paid twice, all ends well.

    Buyers buy, call and finish without pause while the market is killed again and again.
    Each time everything that was acknowledged is still there; in the end every intent is
    final, each fill was paid on chain exactly once, chain and book agree to the atom, and
    replaying the journal gives the state hash that the process had when it stopped.
    """
    async with stage(tmp_path / "stage") as built:
        port = free_port()
        await start_small(built, port)
        load = await a_stocked_stage(built)
        await _kill_again_and_again(built, load, port)
        await _everything_ends(load)
        await _nobody_paid_twice(built)
        await _books_agree(load)
        await built.market_process.stop()
        _replay_equals_what_it_had(built)
        _the_books_add_up(built)


async def test_the_crash_test_finds_a_market_that_acknowledges_too_early(tmp_path: Path) -> None:
    """With a planted bug, answers before the disk has them, a kill loses promises.

    It shows as a promise that is gone, or as a market whose state no longer fits what the chain
    tells it: that one stops, at its start or while it is asked.
    """
    async with stage(tmp_path / "stage", "tests.system.forgetful") as built:
        port = free_port()
        await start_small(built, port)
        load = await a_stocked_stage(built)
        with pytest.raises((AssertionError, Rejected, StartFailed, Unreachable)):
            await _kill_again_and_again(built, load, port)


async def _kill_again_and_again(built: Stage, load: Load, port: int) -> None:
    for _ in range(KILLS):
        await _kill_under_load(built, load, port)


async def _kill_under_load(built: Stage, load: Load, port: int) -> None:
    stop, before = asyncio.Event(), len(load.promises)
    task = asyncio.create_task(load.run(stop))
    await until(lambda: len(load.promises) > before + 1)
    await asyncio.sleep(secrets.randbelow(1_300) / 1_000)
    await built.kill_market()
    stop.set()
    await task
    await built.start_market(port)
    for promise in load.promises.values():
        await _is_kept(load, promise)


async def _is_kept(load: Load, promise: Promise) -> None:
    intent = await load.buyers[0].agent.find(promise.digest)
    assert intent.state.filled_units == 3
    assert intent.state.delivered_units >= promise.delivered


async def _everything_ends(load: Load) -> None:
    """Also what a kill left without an answer: of that nobody was promised anything."""
    assert len(load.promises) > KILLS
    for promise in load.promises.values():
        intent = await finished(load.buyers[promise.buyer], promise.digest)
        assert intent.state.status == "settled"
        assert intent.state.delivered_units >= promise.delivered
    for buyer in load.buyers:
        async for intent in buyer.agent.intents():
            if intent.digest not in load.promises:
                ended = await finished(buyer, intent.digest)
                assert ended.state.delivered_units == ended.state.paid == 0


async def _nobody_paid_twice(built: Stage) -> None:
    final = await built.chain.finalized()
    logs = await built.chain.logs(
        built.deployment.deploy_block,
        final.number,
        topics=[SETTLEMENT.event("FillSettled").topic],
        addresses=[built.deployment.settlement],
    )
    decoded = [log for raw in logs if isinstance(log := decode_log(raw), FillSettled)]
    counts = Counter(log.fill for log in decoded)
    assert counts
    assert set(counts.values()) == {1}


async def _books_agree(load: Load) -> None:
    for buyer in load.buyers:
        told = await buyer.agent.balance()
        escrow = await buyer.owner.escrow()
        assert told.usdc.total == told.usdc.available == escrow.balance
        paid = [p for p in load.promises.values() if load.buyers[p.buyer] is buyer]
        assert escrow.balance <= 2 * 10**6 - sum(p.delivered for p in paid) * 1_000


def _the_books_add_up(built: Stage) -> None:
    """A tool of others finds nothing wrong with what this market exports."""
    reader = JournalReader.open(built.data_dir / "journal.db")
    _, complaints, _ = loader.load_string("\n".join(beancount(reader)))
    reader.close()
    assert complaints == []


def _replay_equals_what_it_had(built: Stage) -> None:
    genesis = Genesis(
        chain_id=built.deployment.chain_id,
        settlement=built.deployment.settlement,
        usdc=built.deployment.usdc,
    )
    journal = Journal.open(built.data_dir / "journal.db", genesis)
    *_, last = journal.read()
    assert not last.commands, "a clean stop notes the state"
    fresh = Recovered(market=Market(built.deployment.usdc), feed=Feed())
    # Compares every group's outcome and the state hash at the end, and holds all invariants.
    assert replay(fresh, journal.read()).seq == journal.seq
    facts = [
        fact
        for record in journal.read()
        for command in record.decoded()
        if isinstance(command, ApplyBlocks)
        for fact in command.facts
        if isinstance(fact, FillSettledFact)
    ]
    assert max(Counter(fact.fill for fact in facts).values()) == 1
    journal.close()
