"""Twenty solvers for one auction, of which fourteen mean no good."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

import aiohttp
import msgspec

from solver.client.market import Identity
from solver.core.event import Won
from tests.builder import Person, alice, person
from tests.gateway.bidding import OPEN_MS, TICK, Message, Stage, answered, bidding, staged
from tests.gateway.world import World

HONEST: Final = 6
HANGING: Final = 5
MALFORMED: Final = 3
OVERSIZED: Final = 2
FOREIGN: Final = 2
LATE: Final = 2
OVERSIZE: Final = 2 * 1024 * 1024
SECONDS_MAX: Final = 10


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Who won what, what hostile solvers were told, and how late the best heard that it won."""

    won: list[tuple[str, str, str]]
    told: list[str]
    delay_ms: int


async def compete(
    world: World,
    wait: Callable[[World], Awaitable[None]],
    *,
    hostile: bool,
    open_ms: int = OPEN_MS,
) -> Outcome:
    """One auction. `wait` returns when its time is over; late solvers bid after that."""
    stage = await staged(world, open_ms)
    async with AsyncExitStack() as stack:

        async def solvers(name: str, count: int) -> list[aiohttp.ClientWebSocketResponse]:
            people = [person(f"{name} {number}") for number in range(count)]
            return [await stack.enter_async_context(bidding(world, who)) for who in people]

        told: list[str] = []
        late: list[aiohttp.ClientWebSocketResponse] = []
        if hostile:
            await solvers("hanging", HANGING)
            late = await solvers("late", LATE)
            told += [await _junk(one) for one in await solvers("malformed", MALFORMED)]
            told += [await _flood(one) for one in await solvers("oversized", OVERSIZED)]
            told += [await _foreign(world, person(f"foreign {n}")) for n in range(FOREIGN)]
        honest = await solvers("honest", HONEST)
        for units, socket in enumerate(honest):
            await answered(socket, _bid(stage, max(1, units), TICK + units))
        await wait(world)
        heard = await honest[-1].receive_json(timeout=SECONDS_MAX)
        delay_ms = world.sequencer.now_ms() - _closes_at_ms(world, stage)
        assert heard["type"] == "judged"
        told += [(await answered(one, stage.message()))["code"] for one in late]
        return Outcome(won=_won(world, stage), told=told, delay_ms=delay_ms)


def _bid(stage: Stage, units: int, tick: int) -> Message:
    message = stage.message()
    message["books"][0]["tick"] = tick
    message["books"][0]["fills"][0]["units"] = units
    return message


async def _junk(socket: aiohttp.ClientWebSocketResponse) -> str:
    codes = [(await answered(socket, junk))["code"] for junk in ("", "[" * 10_000, b"\xff" * 9)]
    return " ".join(sorted(set(codes)))


async def _flood(socket: aiohttp.ClientWebSocketResponse) -> str:
    """More than a message may have: the socket is closed, perhaps while it is being sent."""
    with suppress(ConnectionError):
        await socket.send_str("x" * OVERSIZE)
    async with asyncio.timeout(SECONDS_MAX):
        while not socket.closed:
            await socket.receive()
    return "closed"


async def _foreign(world: World, who: Person) -> str:
    """In the name of an account that never gave it leave."""
    async with world.http.ws_connect(world.url + "/v1/solve") as socket:
        identity = Identity.of(who.key, alice.address)
        hello = world.market.credentials(identity, "GET", "/v1/solve", b"")
        code: str = (await answered(socket, hello))["code"]
        return code


def _closes_at_ms(world: World, stage: Stage) -> int:
    return world.gateway.state.auctions[stage.auction].snapshot.closes_at_ms


def _won(world: World, stage: Stage) -> list[tuple[str, str, str]]:
    winners: tuple[Won, ...] = world.gateway.state.auctions[stage.auction].winners
    return [(one.solver, one.score, one.reference) for one in winners]
