"""Bundles over HTTP: signed by anyone's wallet, taken whole, read, filled, withdrawn."""

import asyncio
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest
from eth_account import Account

from intents.bulk import INTENTS_MAX
from intents.bundle import Bundle, sign_bundle
from intents.document import Intent
from intents.signature import SigningKey
from solver.client import NotFilled, Purchase, Rejected
from solver.client.bundle import recurring
from solver.core.command import (
    Authority,
    ClearedBook,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
)
from solver.core.quality import SEEN_MIN, Floor
from tests.builder import DOMAIN, USDC, alice, bob, carol, dave
from tests.gateway.test_intake import zeros
from tests.gateway.world import DOCS, EPOCHS, World
from tests.judging import SEED

BUNDLES: Final = "/v1/bundles"
DAY_S: Final = 86_400
ONE: Final = Purchase(resource=EPOCHS, units=2, limit=20)
OTHER: Final = Purchase(resource=EPOCHS, units=3, limit=60)


def a_leg(world: World, account: str = alice.address, **terms: Any) -> Intent:
    """All or none of two units."""
    usual: dict[str, Any] = {
        "account": account,
        "resource": EPOCHS,
        "asset": USDC,
        "units": 2,
        "units_min": 2,
        "limit": 20,
        "valid_until": world.sequencer.now_ms() // 1_000 // 60 * 60 + 3_600,
        "nonce": world.market.next_nonce(),
    }
    return Intent(**(usual | terms))


def a_body(
    world: World, *legs: Intent, key: SigningKey = alice.key, **terms: Any
) -> dict[str, Any]:
    """A signed bundle of these legs, or of two."""
    bundle = Bundle(**({"any": False} | terms), legs=legs or (a_leg(world), a_leg(world)))
    return {**msgspec.to_builtins(bundle), "signature": sign_bundle(key, DOMAIN, bundle)}


async def posted(world: World, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What the market answers."""
    status, told, _ = await world.raw("POST", BUNDLES, msgspec.json.encode(body))
    return status, told


async def auctioned(world: World, *fills: tuple[str, int]) -> None:
    """Bob's offer fills these intents in an auction that closes at once."""
    await world.offering(bob, units=100, limit=100, resource=EPOCHS)
    await sold(world, *fills)


async def sold(world: World, *fills: tuple[str, int]) -> None:
    """The first offer that there is fills these intents in an auction that closes at once."""
    offer = next(iter(world.gateway.state.offers))
    closes = world.sequencer.now_ms() + 200
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    auction = world.gateway.state.auctions[max(world.gateway.state.auctions)]
    lines = tuple(SolutionFill(intent=intent, offer=offer, units=units) for intent, units in fills)
    book = ClearedBook(resource=EPOCHS, tick=10**6, fills=lines)
    await world.do(
        ProposeSolution(
            auction=auction.snapshot.auction,
            snapshot=auction.snapshot_digest,
            solver="s",
            books=(book,),
        )
    )


# -- what a client of another make knows


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
async def test_a_bundle_can_be_signed_from_the_api_alone(world: World, count: int) -> None:
    """With the types of GET /v1/eip712 and a library of somebody else's, it is accepted."""
    _, signing, _ = await world.raw("GET", "/v1/eip712")
    legs = [msgspec.to_builtins(a_leg(world)) for _ in range(count)]
    height = max(1, (count - 1).bit_length())
    tree: list[Any] = legs + [zeros(signing["types"]["Intent"])] * (2**height - count)
    while len(tree) > 1:
        tree = [tree[place : place + 2] for place in range(0, len(tree), 2)]
    terms = {"any": True, "successMin": 0, "latencyMax": 0}
    made = Account.sign_typed_data(
        alice.key.secret(),
        domain_data=signing["domain"],
        message_types={
            "Intent": signing["types"]["Intent"],
            "Bundle": signing["bundleTypes"][str(height)],
        },
        message_data={**terms, "legs": tree[0]},
    )
    body = {**terms, "legs": legs, "signature": "0x" + made.signature.hex()}
    status, told = await posted(world, body)
    assert (status, len(told["legs"])) == (201, count), told
    assert {leg["status"] for leg in told["legs"]} == {"open"}


# -- taken and refused


async def test_a_bundle_is_taken_once(world: World) -> None:
    """Sent again it is told again, and nothing more is held."""
    body = a_body(world)
    status, told = await posted(world, body)
    available = world.gateway.state.ledger.available(alice.address, USDC)
    again, same = await posted(world, body)
    assert (status, again) == (201, 201)
    assert same["digest"] == told["digest"]
    assert world.gateway.state.ledger.available(alice.address, USDC) == available
    _, read, _ = await world.raw("GET", f"{BUNDLES}/{told['digest']}")
    assert (read["account"], read["any"], len(read["legs"])) == (alice.address, False, 2)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("malformed", {"legs": "none"}),
        ("malformed", {"any": 1}),
        ("malformed", {"successMin": -1}),
        ("malformed", {"unknown": 1}),
        ("too_large", {"legs": []}),
        ("quality_out_of_range", {"successMin": 1_001}),
        ("quality_out_of_range", {"latencyMax": 10**9}),
        ("signature_malformed", {"signature": "0x00"}),
        ("not_authorized", {"any": True}),
    ],
)
async def test_what_is_no_bundle_is_refused_whole(
    world: World, code: str, change: dict[str, Any]
) -> None:
    """Whatever is wrong, one exact code, a status below 500, and nothing enters."""
    status, told = await posted(world, a_body(world) | change)
    assert told["code"] in {code, "malformed"}
    assert told["code"] == code or change.keys() & {"successMin", "latencyMax"}
    assert 400 <= status < 500
    assert not world.gateway.state.intents


async def test_legs_are_refused_with_the_markets_codes(world: World) -> None:
    """A resource that trades continuously; more than the account has."""
    legs = (a_leg(world), a_leg(world, resource=DOCS))
    status, told = await posted(world, a_body(world, *legs))
    assert (status, told["code"]) == (422, "bundle_needs_epochs")
    assert told["hint"]
    rich = (a_leg(world, limit=10**9), a_leg(world, limit=10**9))
    status, told = await posted(world, a_body(world, *rich))
    assert (status, told["code"]) == (402, "insufficient_funds")


async def test_a_floor_is_taken_and_told(world: World) -> None:
    """As it was signed: to its buyer, and to solvers with the snapshot."""
    status, told = await posted(world, a_body(world, success_min=990, latency_max=1_500))
    assert status == 201
    assert (told["successMin"], told["latencyMax"]) == (990, 1_500)
    await world.offering(bob, units=100, limit=100, resource=EPOCHS)
    closes = world.sequencer.now_ms() + 10_000
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    number = max(world.gateway.state.auctions)
    _, auction, _ = await world.raw("GET", f"/v1/auctions/{number}")
    (bundle,) = auction["snapshot"]["bundles"]
    assert bundle["floor"] == {"successMin": 990, "latencyMax": 1_500}
    assert auction["snapshot"]["books"][0]["ratings"] == {}


async def test_a_solver_sees_the_floor(world: World) -> None:
    """The SDK checks the snapshot's hash over it, so none of it is left out."""
    await posted(world, a_body(world, success_min=990))
    await world.offering(bob, units=100, limit=100, resource=EPOCHS)
    async with world.solver(dave).connect() as desk:
        closes = world.sequencer.now_ms() + 10_000
        await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
        auction = await anext(aiter(desk))
        (bundle,) = auction.snapshot.bundles
        assert bundle.floor == Floor(success_min=990)


async def test_a_session_signs_a_bundle(world: World) -> None:
    """All its legs count against the key's cap, and the key may withdraw them."""
    await world.granting(dave, alice, cap=80)
    agent = world.agent(dave, alice.address)
    bundle = await agent.buy_bundle([ONE, OTHER])
    session = world.gateway.state.accounts[alice.address].sessions[dave.address]
    assert session.committed == 80
    with pytest.raises(Rejected, match="session_cap_exceeded"):
        await agent.buy_bundle([ONE, ONE])
    await bundle.cancel()
    assert session.committed == 0


async def test_a_contract_is_asked_about_the_bundle(world: World) -> None:
    """Not about a leg: what it accepts for one says nothing of what binds it."""
    wallet = "0x" + "c7" * 20
    legs = (a_leg(world, account=wallet), a_leg(world, account=wallet))
    body = a_body(world, *legs, key=carol.key)
    status, told = await posted(world, body)
    assert (status, told["code"]) == (403, "not_authorized")
    (digest,) = world.contracts.digests
    world.contracts.valid.add(wallet)
    status, told = await posted(world, body)
    assert (status, told["code"]) == (402, "insufficient_funds")
    assert world.contracts.digests == [digest, digest]
    assert digest not in {leg["digest"] for leg in told.get("legs", [])}


# -- what becomes of it


async def test_all_legs_are_bought(world: World) -> None:
    """The SDK waits for all of them; each is an intent with a lease."""
    bundle = await world.agent(alice).buy_bundle([ONE, OTHER])
    await auctioned(world, (bundle.legs[0].digest, 2), (bundle.legs[1].digest, 3))
    filled = await bundle.filled(timeout_seconds=10)
    assert [leg.state.filled_units for leg in filled] == [2, 3]
    answer = await filled[1].call("GET", "/a")
    assert answer.status == 200
    with pytest.raises(Rejected, match="too_late"):
        await bundle.cancel()


async def test_one_intent_with_a_floor_is_bought(world: World) -> None:
    """A bundle of one leg, by the SDK, from a key that is known to have served well."""
    agent = world.agent(alice)
    first = await agent.buy_bundle([Purchase(resource=EPOCHS, units=SEEN_MIN, limit=90)])
    good = await agent.buy_bundle([ONE], success_min=950, latency_max=60_000)
    told = await good.refresh()
    assert (told.success_min, told.latency_max, len(told.legs)) == (950, 60_000, 1)
    await auctioned(world, (first.legs[0].digest, SEEN_MIN))
    (served,) = await first.filled(timeout_seconds=10)
    for _ in range(SEEN_MIN):
        assert (await served.call("GET", "/a")).status == 200
    await sold(world, (good.legs[0].digest, 2))
    (filled,) = await good.filled(timeout_seconds=10)
    assert (await filled.call("GET", "/a")).status == 200


async def test_one_of_an_any_of_is_bought(world: World) -> None:
    """The SDK tells which; the others are over."""
    agent = world.agent(alice)
    bundle = await agent.buy_bundle([ONE, OTHER], any_of=True)
    await auctioned(world, (bundle.legs[1].digest, 3))
    (filled,) = await bundle.filled(timeout_seconds=10)
    assert filled.digest == bundle.legs[1].digest
    found = await agent.find_bundle(bundle.digest)
    assert [leg.state.status for leg in found.legs] == ["unfilled", "filled"]


async def test_who_withdraws_a_bundle(world: World) -> None:
    """Its account, and nobody else; who waits for it is told."""
    agent = world.agent(alice)
    bundle = await agent.buy_bundle([ONE, OTHER])
    stranger = await world.agent(carol).find_bundle(bundle.digest)
    with pytest.raises(Rejected, match="not_authorized"):
        await stranger.cancel()
    waiting = asyncio.create_task(bundle.filled(timeout_seconds=10))
    await bundle.cancel()
    with pytest.raises(NotFilled):
        await waiting
    with pytest.raises(Rejected, match="not_found"):
        await agent.find_bundle("0x" + "ab" * 32)


async def test_legs_are_good_as_long_as_the_first(world: World) -> None:
    """Whatever the purchases said, and each of all is bought whole."""
    longer = msgspec.structs.replace(OTHER, valid_seconds=60, units_min=1)
    bundle = await world.agent(alice).buy_bundle([ONE, longer])
    legs = [world.gateway.state.intents[leg.digest] for leg in bundle.legs]
    assert len({leg.until_ms for leg in legs}) == 1
    assert [leg.units_min for leg in legs] == [2, 3]
    assert {leg.authority for leg in legs} == {Authority.KEY}


# -- so many a day


async def test_recurring_is_one_intent_a_period(world: World) -> None:
    """Over one signature; each follows the one before, and can be withdrawn alone."""
    agent = world.agent(alice)
    found = await agent.buy_recurring(ONE, every_seconds=DAY_S, times=5)
    documents = [one.document for one in found]
    assert all(one.refused is None for one in found)
    assert len({document.nonce for document in documents}) == 5
    for before, after in pairwise(documents):
        assert before.valid_until == after.valid_from
        assert after.valid_until - after.valid_from == DAY_S
    signatures = {world.gateway.state.intents[one.digest].signature for one in found}
    assert len(signatures) == 1
    await (await agent.find(found[2].digest)).cancel()
    statuses = [(await agent.find(one.digest)).state.status for one in found]
    assert statuses == ["open", "open", "cancelled", "open", "open"]


async def test_a_period_has_one_intent_in_the_book(world: World) -> None:
    """The first is open at once; the others wait for their time."""
    found = await world.agent(alice).buy_recurring(ONE, every_seconds=DAY_S, times=3)
    book = world.gateway.state.book(EPOCHS, USDC)
    assert [order.id for order in book.bids()] == [found[0].digest]


@pytest.mark.parametrize(
    ("every_seconds", "times"), [(0, 3), (367 * DAY_S, 1), (60, 0), (60, INTENTS_MAX + 1)]
)
async def test_periods_have_bounds(world: World, every_seconds: int, times: int) -> None:
    """What no signature or validity could hold is refused before it is signed."""
    with pytest.raises(ValueError, match="1 to"):
        recurring(world.market, a_leg(world), every_seconds, times)
