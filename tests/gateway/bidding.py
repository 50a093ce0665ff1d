"""An open auction of a running market, and solvers that speak to it without our SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec

from solver.client import Purchase
from solver.client.market import Identity
from solver.core.command import OpenAuction, Tick
from tests.builder import USDC, Person, alice, bob, carol, dave
from tests.gateway.world import DOCS, EPOCHS, World
from tests.judging import SEED

TICK: Final = 15_000_000
OPEN_MS: Final = 30_000

BUNDLES: Final[tuple[tuple[str, int, dict[str, Any]], ...]] = (
    ("together", 2, {}),
    ("either", 2, {"any_of": True}),
    ("asking", 1, {"success_min": 900}),
)
"""Of one unit each; no key here is known as good."""

Message = dict[str, Any]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One open auction: who is in it by name, and the solution that wins it."""

    ids: dict[str, str]
    auction: int
    snapshot: str

    def message(self) -> Message:
        """Five units of the buyer's from the seller, at a price between their limits."""
        fill = {"intent": self.ids["buyer"], "offer": self.ids["seller"], "units": 5}
        book = {"resource": EPOCHS, "tick": TICK, "fills": [fill]}
        return {
            "type": "solution",
            "auction": self.auction,
            "snapshot": self.snapshot,
            "books": [book],
        }


async def staged(world: World, open_ms: int = OPEN_MS) -> Stage:
    """Buyers and sellers of every kind that mutations name, and an open auction."""
    buyer, whole = world.agent(alice), world.agent(dave)
    intents = {
        "buyer": await buyer.intent(EPOCHS, units=5, limit=100),
        "whole": await whole.intent(EPOCHS, units=4, limit=80, units_min=4),
        "cancelled": await buyer.intent(EPOCHS, units=1, limit=20),
        "leaver": await buyer.intent(EPOCHS, units=1, limit=20),
        "short": await buyer.intent(EPOCHS, units=1, limit=20, valid_seconds=OPEN_MS // 2_000),
        "elsewhere": await buyer.intent(DOCS, units=5, limit=100),
    }
    ids = {name: intent.digest for name, intent in intents.items()}
    for name, count, terms in BUNDLES:
        one = Purchase(resource=EPOCHS, units=1, limit=20)
        bundle = await buyer.buy_bundle([one] * count, **terms)
        ids |= {f"{name} {place}": leg.digest for place, leg in enumerate(bundle.legs)}
    for name, who, units in (("seller", bob, 8), ("second", bob, 8), ("own", alice, 8)):
        key = await world.key(who, name)
        offer = await world.contributor(who).offer(EPOCHS, key=key, units=units, limit=10 * units)
        ids[name] = offer.digest
    await intents["cancelled"].cancel()
    closes = world.sequencer.now_ms() + open_ms
    await world.do(
        OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED, breaker=True)
    )
    await intents["leaver"].cancel()
    ((number, auction),) = world.gateway.state.auctions.items()
    return Stage(ids=ids, auction=number, snapshot=auction.snapshot_digest)


@asynccontextmanager
async def bidding(
    world: World, who: Person = carol
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A solver's socket, and nothing of our SDK."""
    async with world.http.ws_connect(world.url + "/v1/solve") as socket:
        identity = Identity.of(who.key, None)
        hello = world.market.credentials(identity, "GET", "/v1/solve", b"")
        await socket.send_str(msgspec.json.encode(hello).decode())
        assert (await socket.receive_json(timeout=5))["type"] == "auction"
        yield socket


async def answered(socket: aiohttp.ClientWebSocketResponse, said: Any) -> Message:
    """What a message is answered."""
    match said:
        case bytes():
            await socket.send_bytes(said)
        case str():
            await socket.send_str(said)
        case _:
            await socket.send_str(msgspec.json.encode(said).decode())
    told: Message = await socket.receive_json(timeout=5)
    return told


async def closed(world: World) -> None:
    """The auction's time is over."""
    world.clock.ahead_ms += OPEN_MS
    await world.do(Tick())
