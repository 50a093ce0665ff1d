"""Epochs: every resource that trades in them has an auction in each asset."""

import asyncio
from contextlib import suppress

from solver.core.auction import Snapshot, Solution
from solver.core.command import Command, IssueCredits, Mode, OpenResource, PoolKey
from solver.core.event import Event
from solver.core.market import Market
from solver.engine.competition import Competition
from solver.engine.feed import Feed
from solver.engine.sequencer import Applied, Sequencer
from solver.runtime.clock import ManualClock
from tests.builder import (
    CREDITS,
    SEARCH,
    START_S,
    TOKENS,
    USDC,
    alice,
    an_intent,
    an_offer,
    bob,
    key_of,
)
from tests.engine.memory_journal import MemoryJournal
from tests.patience import patiently


def _commands() -> list[Command]:
    """One crossing pair in credits and one in USDC, of a resource that trades in epochs."""
    key = PoolKey(key=key_of(bob), owner=bob.address, provider="any", resources=(TOKENS,))
    return [
        OpenResource(resource=SEARCH),
        OpenResource(resource=TOKENS, mode=Mode.EPOCH),
        key,
        IssueCredits(account=alice.address, amount=1_000, reason="test"),
        an_offer().of(TOKENS).paid_in(USDC).signed_by(bob),
        an_offer().of(TOKENS).paid_in(CREDITS).signed_by(bob),
        an_intent().of(TOKENS).paid_in(CREDITS).signed_by(alice),
    ]


async def _submit(sequencer: Sequencer, command: Command) -> list[Event]:
    result = await sequencer.submit(command)
    assert isinstance(result, Applied), result
    return result.events


async def test_each_asset_has_auctions_of_its_own() -> None:
    """Whoever pays in credits is served too; where nothing crosses there is no auction."""
    clock = ManualClock(START_S * 1_000)
    sequencer = Sequencer(Market(USDC), MemoryJournal(), clock, Feed())
    seen: list[Snapshot] = []
    asked = asyncio.Event()

    def strategy(snapshot: Snapshot) -> list[Solution]:
        seen.append(snapshot)
        asked.set()
        return []

    strategies = {"curious": strategy}
    competition = Competition(
        sequencer,
        strategies,
        epoch_ms=60_000,
        assets=(USDC, CREDITS),
        award_blocks=0,
        randomness=bytes,
    )
    running = asyncio.create_task(sequencer.run())
    for command in _commands():
        await _submit(sequencer, command)
    epochs = asyncio.create_task(competition.run())
    async with patiently():
        await asked.wait()
    assert [snapshot.asset for snapshot in seen] == [CREDITS]
    for task in (epochs, running):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
