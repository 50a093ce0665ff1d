"""A strategy that runs by itself against a real market over loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from solver.client import Rejected, SigningKey, Solver, competitor
from solver.client.competitor import Competitor, Outcome, outcome
from solver.client.fault import MarketFault
from solver.client.solver import Desk
from solver.core.auction import Auction, Snapshot, Solution
from solver.core.command import OpenAuction
from solver.strategies import price_time, uniform_price
from tests.builder import USDC, Person, alice, bob, carol, dave
from tests.gateway.world import EPOCHS, World, a_world
from tests.judging import SEED
from tests.patience import patiently

EPOCH_MS = 400


class Heard:
    """What competitors said, to be waited for."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.faults: list[MarketFault] = []

    async def next(self) -> Outcome:
        async with patiently():
            return await self.outcomes.get()


@asynccontextmanager
async def _competing(
    world: World, who: Person, heard: Heard, *, shadow: bool = False
) -> AsyncIterator[None]:
    """A competitor, from when it has connected."""
    running = Competitor(
        world.url,
        who.key,
        lambda snapshot, _: uniform_price(snapshot),
        tell=heard.outcomes.put_nowait,
        tell_fault=heard.faults.append,
        shadow=shadow,
    )
    task = asyncio.create_task(running.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _trade(world: World) -> None:
    """Ten units offered, of which an all-or-none intent wants eight and a plain one five."""
    await world.offering(bob, resource=EPOCHS, units=10, limit=100)
    await world.agent(alice).intent(EPOCHS, units=8, limit=800, units_min=8)
    await world.agent(alice).intent(EPOCHS, units=5, limit=250)


async def _open(world: World) -> None:
    closes = world.sequencer.now_ms() + EPOCH_MS
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))


def _record(world: World) -> Auction:
    (found,) = world.sequencer.market.state.auctions.values()
    return found


async def test_a_competitor_wins_and_says_what_it_is_worth() -> None:
    """Score, reference and reward are those that the market published, from the record alone."""
    heard = Heard()
    async with a_world() as world, _competing(world, carol, heard):
        await _trade(world)
        await _open(world)
        told = await heard.next()
        (won,) = _record(world).winners
    assert (told.won, told.proposed, told.rank, told.reason) == (1, 1, 1, "")
    assert (str(told.score), str(told.reference)) == (won.score, won.reference)
    assert told.reward == told.score == told.market_score > 0
    assert told.differs == ()


async def test_who_is_outbid_hears_why() -> None:
    """The lower of two solutions: its rank and reason, and what the market had."""
    heard = Heard()
    async with a_world() as world:
        await _trade(world)
        async with world.solver(dave).connect() as desk:
            await _open(world)
            auction = await anext(aiter(desk))
            (floor,) = price_time(auction.snapshot)
            await desk.propose(auction, floor)
            async with _competing(world, carol, heard):
                best = await heard.next()
            record = _record(world)
    losing = outcome(record, dave.address, [floor], shadow=False)
    assert (losing.won, losing.rank, losing.ranked) == (0, 2, 2)
    assert losing.reason.startswith("outbid")
    assert (losing.reward, losing.market_score) == (0, best.score)
    assert best.reference == losing.score > 0


async def test_a_shadow_sends_nothing_and_knows_what_it_would_have_won() -> None:
    """Beside a winner that was there, a better solution: the market never hears of it."""
    heard = Heard()
    async with a_world() as world:
        await _trade(world)
        async with world.solver(dave).connect() as desk:
            await _open(world)
            auction = await anext(aiter(desk))
            (floor,) = price_time(auction.snapshot)
            await desk.propose(auction, floor)
            async with _competing(world, carol, heard, shadow=True):
                told = await heard.next()
            record = _record(world)
    assert [one.solver for one in record.proposed] == [dave.address]
    assert (told.won, told.rank, told.ranked) == (1, 1, 2)
    assert told.market_score == int(record.score) == told.reference < told.score
    assert told.differs == ()


async def test_a_record_that_leads_elsewhere_is_told() -> None:
    """Who judges again finds a market that published another winner, or another score."""
    heard = Heard()
    async with a_world() as world, _competing(world, carol, heard):
        await _trade(world)
        await _open(world)
        await heard.next()
        record = _record(world)
    assert outcome(record, carol.address, [], shadow=False).differs == ()
    forged = msgspec.structs.replace(record, winners=(), score="1")
    assert outcome(forged, carol.address, [], shadow=False).differs == ("winners", "score")


async def test_it_connects_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends between two auctions; the second is answered as the first was."""
    desks: asyncio.Queue[Desk] = asyncio.Queue()

    class Watched(Solver):
        @asynccontextmanager
        async def connect(self) -> AsyncIterator[Desk]:
            async with super().connect() as desk:
                desks.put_nowait(desk)
                yield desk

    monkeypatch.setattr(competitor, "Solver", Watched)
    heard = Heard()
    async with a_world() as world, _competing(world, carol, heard), patiently():
        await world.offering(bob, resource=EPOCHS)
        await world.agent(alice).intent(EPOCHS, units=1, limit=100)
        await _open(world)
        assert (await heard.next()).won == 1
        await (await desks.get())._socket.close()
        await desks.get()
        await world.agent(alice).intent(EPOCHS, units=1, limit=100)
        await _open(world)
        assert (await heard.next()).won == 1
    assert [type(fault).__name__ for fault in heard.faults] == ["Unreachable"]


async def test_a_market_that_will_not_have_it_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is refused for good is raised; a strategy's own fault is too."""
    refused = Rejected("not_authorized", "no")

    @asynccontextmanager
    async def refuse(self: Solver) -> AsyncIterator[Desk]:
        raise refused
        yield

    monkeypatch.setattr(Solver, "connect", refuse)

    def never(_: Snapshot, __: float) -> Sequence[Solution]:
        raise AssertionError

    async with a_world() as world, patiently():
        asked = Competitor(
            world.url, SigningKey.generate(), never, tell=print, tell_fault=lambda _: None
        )
        with pytest.raises(Rejected, match="not_authorized"):
            await asked.run()
