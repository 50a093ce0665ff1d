"""Why a solution was dropped: told to its solver, with a code, within a second of the close."""

import asyncio
from typing import Final

from tests.builder import Person, person
from tests.gateway.bidding import TICK, Message, Stage, answered, bidding, staged
from tests.gateway.world import World, a_world

OPEN_MS: Final = 1_500
TOLD_WITHIN_MS: Final = 1_000
REASONS: Final[dict[str, tuple[str, str, int, int]]] = {
    "": ("buyer", "seller", 5, TICK),
    "outbid": ("buyer", "seller", 4, TICK),
    "solution_empty": ("buyer", "seller", 0, TICK),
    "fill_unknown_intent": ("elsewhere", "seller", 5, TICK),
    "fill_unknown_offer": ("buyer", "whole", 5, TICK),
    "fill_self_match": ("buyer", "own", 5, TICK),
    "fill_price_outside_limits": ("buyer", "seller", 5, 1_000 * TICK),
    "fill_overfill": ("buyer", "seller", 6, TICK),
    "fill_below_minimum": ("whole", "seller", 3, TICK),
}
"""By the code that each is to hear: what it fills, from what, units and price."""


def _bid(stage: Stage, intent: str, offer: str, units: int, tick: int) -> Message:
    message = stage.message()
    fill = {"intent": stage.ids[intent], "offer": stage.ids[offer], "units": units}
    message["books"][0] |= {"tick": tick, "fills": [fill] if units else []}
    return message


async def _heard(world: World, stage: Stage, who: Person, code: str) -> tuple[str, int]:
    """The code that the solver hears of its one solution, and how long after the close."""
    async with bidding(world, who) as socket:
        accepted = await answered(socket, _bid(stage, *REASONS[code]))
        assert accepted["type"] == "accepted", accepted
        told = await socket.receive_json(timeout=30)
        late_ms = world.sequencer.now_ms() - _closes_at_ms(world, stage)
        assert (told["type"], told["bid"]) == ("judged", accepted["bid"])
        assert bool(told["reason"]) == bool(code), told
        return told["code"], late_ms


def _closes_at_ms(world: World, stage: Stage) -> int:
    return world.gateway.state.auctions[stage.auction].snapshot.closes_at_ms


async def test_every_dropped_solution_hears_why_within_a_second() -> None:
    """One solver for each reason, over real sockets and by the real clock."""
    async with a_world() as world:
        stage = await staged(world, OPEN_MS)
        heard = await asyncio.gather(
            *(_heard(world, stage, person(f"solver {code}"), code) for code in REASONS)
        )
    assert [code for code, _ in heard] == list(REASONS)
    assert all(0 <= late_ms <= TOLD_WITHIN_MS for _, late_ms in heard), heard
