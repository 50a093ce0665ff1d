"""Many intents at once: an outcome for each, and nothing harms its neighbours."""

import asyncio
from typing import Any

import msgspec
import pytest
from eth_account import Account

from intents.bulk import proven_digest, sign_bulk
from intents.document import Intent
from intents.reject import Reject
from intents.signature import decode_signature, recover
from intents.typed_data import digest, struct_hash
from solver.client import Purchase, Rejected
from solver.core.command import Authority
from solver.gateway.many import IntakeHead
from solver.verifier.batch import BATCH_MAX
from tests.builder import DOMAIN, PREFIX, Person, alice, an_intent, an_offer, bob, carol, dave
from tests.gateway.test_reject import body_of
from tests.gateway.world import DOCS, GENEROUS, RICH, UNLISTED, World, a_world
from tests.patience import patience_s, until

BATCH = "/v1/intents/batch"
BULK = "/v1/intents/bulk"


def encoded(body: object) -> bytes:
    """As JSON."""
    return msgspec.json.encode(body)


def signed(world: World, who: Person = alice, **terms: Any) -> dict[str, Any]:
    """A signed intent as it is sent."""
    builder = an_intent().units(1).limit(100)
    return body_of(world, builder._with(**terms), who)


def bare(world: World, who: Person = alice, **terms: Any) -> Intent:
    """An intent without a signature."""
    now_s = world.sequencer.now_ms() // 1_000
    terms = {"resource": DOCS, "valid_until": now_s + 3_600, "limit": 100} | terms
    return an_intent()._with(**terms).build(who)


async def outcomes(world: World, path: str, body: object, **headers: str) -> list[dict[str, Any]]:
    """The outcomes of a body that is not refused as a whole."""
    status, told, _ = await world.raw("POST", path, encoded(body), **headers)
    assert status == 200, told
    found: list[dict[str, Any]] = told["outcomes"]
    return found


def codes(found: list[dict[str, Any]]) -> list[str]:
    """The code of each; empty where it was accepted."""
    return [one.get("code", "") for one in found]


# -- what a client of another make knows


def zeros(fields: list[dict[str, str]]) -> dict[str, Any]:
    """A document of nothing."""
    empty = {"address": "0x" + "00" * 20, "string": "", "bool": False}
    return {field["name"]: empty.get(field["type"], 0) for field in fields}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_a_bulk_can_be_signed_from_the_api_alone(world: World, count: int) -> None:
    """With the types of GET /v1/eip712 and a library of somebody else's, all are accepted."""
    _, signing, _ = await world.raw("GET", "/v1/eip712")
    intents = [msgspec.to_builtins(bare(world)) for _ in range(count)]
    height = max(1, (count - 1).bit_length())
    tree: list[Any] = intents + [zeros(signing["types"]["Intent"])] * (2**height - count)
    while len(tree) > 1:
        tree = [tree[place : place + 2] for place in range(0, len(tree), 2)]
    made = Account.sign_typed_data(
        alice.key.secret(),
        domain_data=signing["domain"],
        message_types={
            "Intent": signing["types"]["Intent"],
            "BulkIntent": signing["bulkTypes"][str(height)],
        },
        message_data={"tree": tree[0]},
    )
    body = {"intents": intents, "signature": "0x" + made.signature.hex()}
    assert codes(await outcomes(world, BULK, body)) == [""] * count


# -- batches


async def test_a_batch_is_taken_as_if_each_had_come_alone(world: World) -> None:
    """Every intent is open under its own signature; the outcome names its digest."""
    sent = [signed(world, who) for who in (alice, carol, dave)]
    found = await outcomes(world, BATCH, sent)
    assert [one["status"] for one in found] == [201] * 3
    for one, who in zip(found, (alice, carol, dave), strict=True):
        record = world.gateway.state.intents[one["digest"]]
        assert (record.document.account, record.signer) == (who.address, who.address)
        assert record.authority is Authority.KEY
        assert (record.proof, record.status) == ("", "open")


async def test_a_bad_intent_does_not_harm_its_neighbours(world: World) -> None:
    """Malformed, forged, too dear, unlisted, repeated: each gets its own code, in place."""
    good = signed(world)
    items: list[bytes] = [
        encoded(signed(world)),
        b'{"document":1}',
        b"null",
        encoded(signed(world) | {"signature": "0x00"}),
        encoded(signed(world, resource=UNLISTED)),
        encoded(signed(world, limit=2 * RICH)),
        encoded(good),
        encoded(good),
        encoded(signed(world) | {"extra": 1}),
        encoded(signed(world)).replace(b'{"document"', b'{"signature":"0x","document"'),
        encoded(body_of(world, an_intent().for_account(alice), carol)),
        encoded(signed(world)),
    ]
    status, told, _ = await world.raw("POST", BATCH, b"[" + b",".join(items) + b"]")
    assert status == 200
    assert codes(told["outcomes"]) == [
        "",
        "malformed",
        "malformed",
        "signature_malformed",
        "resource_unknown",
        "insufficient_funds",
        "",
        "already_known",
        "malformed",
        "malformed",
        "not_authorized",
        "",
    ]
    statuses = [one["status"] for one in told["outcomes"]]
    assert statuses[:6] == [201, 400, 400, 422, 404, 402]
    assert all(one["hint"] for one in told["outcomes"] if one.get("code") == "malformed")
    assert len(world.gateway.state.intents) == 3


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"{}", 400, "malformed"),
        (b"[", 400, "malformed"),
        (b"[1,]", 400, "malformed"),
        (b"[\xff]", 400, "malformed"),
        (b"[]", 413, "too_large"),
        (b"[" + b"1," * BATCH_MAX + b"1]", 413, "too_large"),
        (b"[" + b" " * GENEROUS.batch_bytes_max + b"]", 413, "too_large"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    world: World, body: bytes, status: int, code: str
) -> None:
    """No array, no items, too many, too large: one refusal, nothing taken."""
    before = world.state_hash()
    got, told, _ = await world.raw("POST", BATCH, body, Content_Type="application/json")
    assert (got, told["code"]) == (status, code)
    assert world.state_hash() == before


async def test_the_largest_batch_is_taken(world: World) -> None:
    """As many as the bound says, and each is durable when it is answered."""
    found = await outcomes(world, BATCH, [signed(world) for _ in range(BATCH_MAX)])
    assert codes(found) == [""] * BATCH_MAX


async def test_contract_accounts_are_asked_side_by_side_and_within_their_rate() -> None:
    """Each signature that nobody here can read costs a question; beyond the rate it waits."""
    slow = msgspec.structs.replace(GENEROUS, contract_checks_per_second=1, contract_checks_burst=2)
    async with a_world(limits=slow) as world:
        world.stop_clock()
        world.contracts.valid.add(alice.address)
        sent = [body_of(world, an_intent().for_account(alice), bob) for _ in range(3)]
        found = await outcomes(world, BATCH, sent)
        assert codes(found) == ["", "", "rate_limited"]
        record = world.gateway.state.intents[found[0]["digest"]]
        assert (record.signer, record.authority) == (alice.address, Authority.CONTRACT)


async def test_a_contract_accepts_one_intent_and_not_its_neighbour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes beside another intent of a batch are another question."""
    good, forged = bare(world), bare(world, units=7)
    signature = "0x" + "ab" * 100

    async def accepts_one(_: str, hashed: str, __: str) -> bool:
        return hashed == "0x" + digest(PREFIX, good).hex()

    monkeypatch.setattr(world.contracts, "is_valid", accepts_one)
    sent = [{"document": one, "signature": signature} for one in (good, forged, good)]
    found = await outcomes(world, BATCH, sent)
    assert codes(found) == ["", "not_authorized", "already_known"]
    assert list(world.gateway.state.intents) == [found[0]["digest"]]


async def test_an_account_has_a_rate_over_all_its_batches() -> None:
    """What is beyond it is refused with a time to wait; another account's goes on."""
    slow = msgspec.structs.replace(
        GENEROUS, account_documents_per_second=1, account_documents_burst=4
    )
    async with a_world(limits=slow) as world:
        world.stop_clock()
        assert codes(await outcomes(world, BATCH, [signed(world)] * 3))[0] == ""
        mixed = [signed(world), signed(world), signed(world, carol)]
        found = await outcomes(world, BATCH, mixed)
        assert codes(found) == ["rate_limited", "rate_limited", ""]
        assert found[0]["retryAfterMs"] > 0


async def test_a_network_has_a_rate_of_signatures() -> None:
    """A batch costs what its signatures cost, not one request."""
    slow = msgspec.structs.replace(
        GENEROUS, address_documents_per_second=1, address_documents_burst=30
    )
    async with a_world(limits=slow) as world:
        world.stop_clock()
        sent = [signed(world) for _ in range(20)]
        assert codes(await outcomes(world, BATCH, sent)) == [""] * 20
        status, told, headers = await world.raw("POST", BATCH, encoded(sent))
        assert (status, told["code"]) == (429, "rate_limited")
        assert int(headers["retry-after"]) >= 1
        assert (await world.raw("GET", "/healthz"))[0] == 200


# -- bulks


async def test_a_bulk_is_taken_over_one_signature(world: World) -> None:
    """Every intent carries the signature and a proof that leads to what was signed."""
    sent = [bare(world) for _ in range(5)]
    signature = sign_bulk(alice.key, DOMAIN, sent)
    found = await outcomes(world, BULK, {"intents": sent, "signature": signature})
    assert codes(found) == [""] * 5
    for one, document in zip(found, sent, strict=True):
        record = world.gateway.state.intents[one["digest"]]
        assert record.document == document
        hashed = proven_digest(PREFIX, struct_hash(document), record.proof)
        raw = decode_signature(record.signature)
        assert not isinstance(hashed, Reject)
        assert not isinstance(raw, Reject)
        assert recover(hashed, raw) == alice.address


async def test_a_bulk_of_two_kinds_of_trouble(world: World) -> None:
    """One intent that does not hold leaves the others; a changed one refuses them all."""
    sent = [bare(world), bare(world, resource=UNLISTED), bare(world, units_min=2), bare(world)]
    signature = sign_bulk(alice.key, DOMAIN, sent)
    found = await outcomes(world, BULK, {"intents": sent, "signature": signature})
    assert codes(found) == ["", "resource_unknown", "minimum_out_of_range", ""]
    sent[0] = bare(world)
    found = await outcomes(world, BULK, {"intents": sent, "signature": signature})
    assert set(codes(found)) <= {"not_authorized", "minimum_out_of_range"}


async def test_a_malformed_intent_refuses_its_bulk(world: World) -> None:
    """A tree cannot be made over what is not an intent."""
    sent: list[Any] = [msgspec.to_builtins(bare(world)), {"account": 1}]
    body = {"intents": sent, "signature": "0x" + "11" * 65}
    status, told, _ = await world.raw("POST", BULK, encoded(body))
    assert (status, told["code"]) == (400, "malformed")
    assert "twice" in (await world.raw("POST", BULK, b'{"intents":[],"intents":[]}'))[1]["message"]


async def test_a_contract_account_is_asked_about_the_tree(world: World) -> None:
    """One question for the whole bulk, about the digest that was signed."""
    sent = [bare(world) for _ in range(4)]
    signature = "0x" + "ab" * 100
    body = {"intents": sent, "signature": signature}
    assert set(codes(await outcomes(world, BULK, body))) == {"not_authorized"}
    assert world.contracts.asked == 1
    world.contracts.valid.add(alice.address)
    found = await outcomes(world, BULK, body)
    assert codes(found) == [""] * 4
    assert world.contracts.asked == 2
    record = world.gateway.state.intents[found[0]["digest"]]
    hashed = proven_digest(PREFIX, struct_hash(record.document), record.proof)
    assert not isinstance(hashed, Reject)
    assert world.contracts.digests[-1] == "0x" + hashed.hex()


async def test_the_sdk_buys_many(world: World) -> None:
    """More than one tree holds, each with its outcome; buying them again changes nothing."""
    agent = world.agent(alice)
    purchases = [Purchase(resource=DOCS, units=1, limit=1) for _ in range(1_030)]
    bought = await agent.buy_many(purchases)
    assert len(bought) == 1_030
    assert {one.intent() for one in bought} == set(world.gateway.state.intents)
    before = world.state_hash()
    again = await agent.submit_many([one.document for one in bought])
    assert [one.digest for one in again] == [one.digest for one in bought]
    assert world.state_hash() == before
    (refused,) = await agent.buy_many([Purchase(resource=UNLISTED, units=1, limit=1)])
    with pytest.raises(Rejected) as caught:
        refused.intent()
    assert (caught.value.code, caught.value.status) == ("resource_unknown", 404)


async def test_a_session_key_signs_bulks_too(world: World) -> None:
    """Its authority is told to the core, which holds its cap."""
    await world.granting(dave, alice, cap=250)
    agent = world.agent(dave, alice.address)
    bought = await agent.buy_many([Purchase(resource=DOCS, units=1, limit=100)] * 3)
    found = [one.refused.code if one.refused else "" for one in bought]
    assert found == ["", "", "session_cap_exceeded"]
    assert world.gateway.state.intents[bought[0].digest].authority is Authority.SESSION


async def test_what_is_bought_in_bulk_is_filled(world: World) -> None:
    """Intents of a bulk trade like any other."""
    await world.offering(bob, units=3, limit=30)
    agent = world.agent(alice)
    bought = await agent.buy_many([Purchase(resource=DOCS, units=1, limit=100)] * 3)
    for one in bought:
        intent = await agent.find(one.intent())
        assert intent.state.filled_units == 1
    assert (await intent.call("GET", "/a")).status == 200


# -- the socket


async def test_the_socket_answers_in_the_order_of_asking(world: World) -> None:
    """Whatever takes longer, ids come back as they went."""
    sent = [encoded([signed(world)] * count) for count in (64, 1, 32, 1, 1)]
    async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
        for number, body in enumerate(sent, 7):
            await socket.send_bytes(encoded({"id": number, "take": "batch"}) + b"\n" + body)
        told = [await socket.receive_json(timeout=patience_s()) for _ in sent]
    assert [one["id"] for one in told] == [7, 8, 9, 10, 11]
    assert [len(one["outcomes"]) for one in told] == [64, 1, 32, 1, 1]


async def test_the_socket_takes_every_kind(world: World) -> None:
    """One intent, a batch, a bulk and intents under a mandate."""
    agent = world.agent(alice)
    mandate = await agent.mandate(limit=1_000, tick_max=10**9)
    async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
        await socket.send_bytes(b'{"id":1,"take":"intent"}\n' + encoded(signed(world)))
        assert codes((await socket.receive_json())["outcomes"]) == [""]
        await socket.send_str('{"id":2,"take":"intent"}\n{}')
        assert codes((await socket.receive_json())["outcomes"]) == ["malformed"]
    async with agent.intake() as intake:
        found = await asyncio.gather(
            intake.submit([bare(world), bare(world)]),
            intake.submit_bulk([bare(world) for _ in range(3)]),
            intake.submit_under(mandate, [bare(world)]),
            intake.submit_under(mandate, [bare(world, limit=901)]),
        )
    assert [[one.refused.code if one.refused else "" for one in many] for many in found] == [
        ["", ""],
        ["", "", ""],
        [""],
        ["mandate_exceeded"],
    ]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"{}\n[]",
        b'{"id":1,"take":"everything"}\n[]',
        b'{"id":1,"id":1,"take":"batch"}\n[]',
        b'{"id":1,"take":"batch"' + b" " * 600 + b"}\n[]",
        b'{"id":-1,"take":"batch"}\n[]',
        b'{"id":1,"take":"mandated"}\n[]',
        b'{"id":1,"take":"bulk"}\n',
        b"\xff\n\xff",
    ],
)
async def test_nonsense_on_the_socket_is_answered(world: World, message: bytes) -> None:
    """A refusal with a hint, and the socket goes on."""
    async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
        await socket.send_bytes(message)
        told = await socket.receive_json(timeout=patience_s())
        assert told["code"] == "malformed"
        assert told["hint"]
        good = b'{"id":9,"take":"intent"}\n' + encoded(signed(world))
        await socket.send_bytes(good)
        assert (await socket.receive_json(timeout=patience_s()))["id"] == 9


@pytest.mark.parametrize(
    ("take", "bound"),
    [("intent", 65_536), ("batch", 262_144), ("bulk", 524_288), ("mandated", 262_144)],
)
async def test_a_message_is_as_large_as_its_route_takes(
    world: World, take: str, bound: int
) -> None:
    """One byte more is too_large, by the message's id; at the bound it is looked at."""
    async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
        for size, code in ((bound + 1, "too_large"), (bound, "malformed")):
            await socket.send_bytes(b'{"id":5,"take":"%b"}\n' % take.encode() + b" " * size)
            told = await socket.receive_json(timeout=patience_s())
            found = told["outcomes"][0] if "outcomes" in told else told
            assert (told["id"], found["code"]) == (5, code)
            assert found["hint"]


async def test_intake_sockets_are_limited() -> None:
    """Beyond the bound the upgrade is refused; a place is free again once one has left."""
    few = msgspec.structs.replace(GENEROUS, intake_connections_max=1)
    async with a_world(limits=few) as world:
        async with world.http.ws_connect(f"{world.url}/v1/intake"):
            status, told, _ = await world.raw("GET", "/v1/intake")
            assert (status, told["code"]) == (429, "busy")
        await until(lambda: not len(world.gateway.load.intakes))


async def test_a_sender_that_is_too_fast_is_not_read_from() -> None:
    """Its messages wait in its own socket; all are carried out in the end, none is refused."""
    slow = msgspec.structs.replace(
        GENEROUS, address_documents_per_second=20, address_documents_burst=10
    )
    async with a_world(limits=slow) as world:
        async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
            started = asyncio.get_running_loop().time()
            for number in range(20):
                body = b'{"id":%d,"take":"intent"}\n' % number + encoded(signed(world))
                await socket.send_bytes(body)
            told = [await socket.receive_json(timeout=patience_s()) for _ in range(20)]
            elapsed = asyncio.get_running_loop().time() - started
        assert [one["id"] for one in told] == list(range(20))
        assert all(codes(one["outcomes"]) == [""] for one in told)
        assert elapsed > 0.4, "ten came at once, the others at twenty a second"


async def test_what_was_sent_before_leaving_is_carried_out(world: World) -> None:
    """Closing the socket right after sending loses nothing that had arrived."""
    body = b'{"id":1,"take":"batch"}\n' + encoded([signed(world) for _ in range(20)])
    async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
        await socket.send_bytes(body)
    await until(lambda: len(world.gateway.state.intents) == 20)


async def test_heads_of_the_socket_are_what_the_document_says() -> None:
    """`take` has no word without a kind behind it."""
    kinds = msgspec.inspect.type_info(IntakeHead)
    assert isinstance(kinds, msgspec.inspect.StructType)
    (take,) = [field.type for field in kinds.fields if field.name == "take"]
    assert isinstance(take, msgspec.inspect.LiteralType)
    assert set(take.values) == {"intent", "batch", "bulk", "mandated"}


async def test_an_offer_is_no_intent(world: World) -> None:
    """A document of another kind is malformed, wherever it is sent."""
    offer = body_of(world, an_offer(), bob)
    assert codes(await outcomes(world, BATCH, [offer])) == ["malformed"]
