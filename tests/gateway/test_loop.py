"""The loop that a market runs on, and the whole gateway on it."""

import asyncio
import importlib
import sys

import msgspec
import pytest
import uvloop

from solver.client import Purchase
from solver.runtime.loop import loop_factory, run
from solver.verifier.pool import Verifiers
from tests.builder import alice, bob
from tests.gateway.world import DOCS, GENEROUS, RULES, a_world
from tests.patience import a_while


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_is_uvloop_where_there_is_one() -> None:
    """And the loop is closed at the end."""
    loop = run(_loop())
    assert isinstance(loop, uvloop.Loop)
    assert loop.is_closed()


def test_it_is_asyncio_s_own_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without uvloop runs the same market, slower."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    importlib.invalidate_caches()
    assert loop_factory() is None
    assert isinstance(run(_loop()), asyncio.SelectorEventLoop)


def test_the_loop_does_not_keep_the_journal_s_writer_waiting() -> None:
    """A busy loop gives the interpreter up within a fraction of a millisecond, not after five."""

    async def interval() -> float:
        return sys.getswitchinterval()

    assert run(interval()) <= 0.0005


def test_a_whole_journey_runs_on_uvloop_with_verifiers() -> None:
    """Connections beyond the bound, sockets, bulks, mandates and calls, as on asyncio's loop."""
    few = msgspec.structs.replace(GENEROUS, connections_max=8)

    async def journey() -> None:
        async with (
            Verifiers(RULES, processes=1).running() as verifiers,
            a_world(limits=few, verifiers=verifiers) as world,
        ):
            await world.offering(bob, units=5, limit=50)
            agent = world.agent(alice)
            bought = await agent.buy_many([Purchase(resource=DOCS, units=1, limit=100)] * 3)
            mandate = await agent.mandate(limit=1_000, tick_max=10**9)
            async with agent.intake() as intake:
                under = mandate.documents([Purchase(resource=DOCS, units=1, limit=100)])
                bought += await intake.submit_under(mandate, under)
            intents = [await agent.find(one.intent()) for one in bought]
            assert [intent.state.filled_units for intent in intents] == [1] * 4
            assert (await intents[0].call("GET", "/a")).status == 200
            held = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(12)]
            await a_while()
            assert (await agent.balance()).account == alice.address
            for _, writer in held:
                writer.close()

    run(journey())
