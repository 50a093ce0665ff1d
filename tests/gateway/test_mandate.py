"""Mandates: who is told the secret, what a MAC is good for, and what the core holds them to."""

import asyncio
import hmac
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from intents.document import Mandate
from intents.reject import RejectCode
from intents.typed_data import digest
from solver.client import Purchase, Rejected
from solver.client.mandate import MandateSession
from solver.core.command import Authority
from solver.gateway import rotation
from solver.gateway.mac import AHEAD_MS_MAX, Mac, Macs, mac_of, read_mac
from solver.gateway.rotation import Rotations
from tests.builder import PREFIX, USDC, Person, alice, bob, carol, dave
from tests.gateway.test_intake import bare, codes, encoded
from tests.gateway.world import DOCS, GENEROUS, RICH, World, a_world

ANY = "0x" + "ab" * 32


def a_mandate(world: World, who: Person = alice, **terms: Any) -> Mandate:
    """A mandate for a thousand atoms, good for an hour."""
    values: dict[str, Any] = {
        "account": who.address,
        "resource": "",
        "asset": USDC,
        "tick_max": 10**9,
        "limit": 1_000,
        "valid_until": world.sequencer.now_ms() // 1_000 + 3_600,
        "nonce": 77,
    } | terms
    return Mandate(**values)


def as_sent(document: Mandate, signer: Person = alice) -> dict[str, Any]:
    """The body of a registration."""
    return {"document": document, "signature": signer.key.sign(digest(PREFIX, document))}


async def under(
    world: World, mandate: str, secret: bytes, counter: int, body: object, **header: str
) -> tuple[int, dict[str, Any]]:
    """Post intents under a mandate, by hand."""
    raw = encoded(body)
    said = header or {"Keyfill_Mac": f"{counter}.{mac_of(secret, counter, raw)}"}
    status, told, _ = await world.raw("POST", f"/v1/mandates/{mandate}/intents", raw, **said)
    return status, told


def secret_of(session: MandateSession) -> bytes:
    """What the session knows."""
    return session._secret


# -- registering


async def test_a_mandate_buys_without_signatures(world: World) -> None:
    """Intents under it are filled and paid like any other; it counts what they may cost."""
    await world.offering(bob, units=5, limit=50)
    agent = world.agent(alice)
    mandate = await agent.mandate(limit=1_000, tick_max=10**9, resource=DOCS)
    bought = await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=100)] * 3)
    for one in bought:
        record = world.gateway.state.intents[one.intent()]
        assert (record.signer, record.signature) == (mandate.digest, "")
        assert record.authority is Authority.MANDATE
    intent = await agent.find(bought[0].digest)
    assert (await intent.call("GET", "/a")).status == 200
    state = await mandate.refresh()
    assert (state.live, state.spent, state.committed) == (True, 0, 30)


async def test_the_secret_is_told_to_who_may_know_it(world: World) -> None:
    """The signer's request gets it, now and again; whoever copies the mandate does not."""
    document = a_mandate(world)
    status, told, _ = await world.signed(alice, "POST", "/v1/mandates", as_sent(document))
    assert status == 201
    again = await world.signed(alice, "POST", "/v1/mandates", as_sent(document))
    assert again[1] == told
    stolen = await world.signed(carol, "POST", "/v1/mandates", as_sent(document))
    assert (stolen[0], stolen[1]["code"]) == (403, "not_authorized")
    unsigned = await world.raw("POST", "/v1/mandates", encoded(as_sent(document)))
    assert (unsigned[0], unsigned[1]["code"]) == (401, "unauthenticated")
    shown = await world.raw("GET", f"/v1/mandates/{told['mandate']['digest']}")
    assert shown[0] == 200
    assert "secret" not in shown[1]
    assert told["secret"] not in str(shown)


async def test_a_session_key_is_told_its_own_secrets_only(world: World) -> None:
    """Two agents of one account cannot buy under each other's mandates."""
    await world.granting(dave, alice)
    own = await world.agent(dave, alice.address).mandate(limit=10, tick_max=10**9)
    assert own.state.account == alice.address
    document = a_mandate(world)
    assert (await world.signed(alice, "POST", "/v1/mandates", as_sent(document)))[0] == 201
    asked = await world.signed(
        dave, "POST", "/v1/mandates", as_sent(document), account=alice.address
    )
    assert (asked[0], asked[1]["code"]) == (403, "not_authorized")


async def test_a_session_key_is_not_told_what_the_contract_signed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the account's own mandate a session could spend beyond its cap, and when revoked."""
    await world.granting(dave, alice, cap=5)
    document, signature = a_mandate(world), "0x" + "ab" * 100

    async def accepts_one(_: str, __: str, sent: str) -> bool:
        return sent == signature

    monkeypatch.setattr(world.contracts, "is_valid", accepts_one)
    body = {"document": document, "signature": signature}
    for _ in range(2):
        first = await world.signed(dave, "POST", "/v1/mandates", body, account=alice.address)
        assert (first[0], first[1]["code"]) == (403, "not_authorized")
        assert not world.gateway.state.mandates
    status, told, _ = await world.signed(alice, "POST", "/v1/mandates", body)
    assert status == 201
    assert told["mandate"]["authority"] == Authority.CONTRACT
    for sent in (body, as_sent(document, dave)):
        again = await world.signed(dave, "POST", "/v1/mandates", sent, account=alice.address)
        assert (again[0], again[1]["code"]) == (403, "not_authorized")
        assert "secret" not in again[1]


async def test_a_session_key_uses_what_it_bought_under_its_mandate(world: World) -> None:
    """And may give it back; another key of the account may do neither."""
    await world.offering(bob, units=5, limit=50)
    await world.granting(dave, alice)
    await world.granting(carol, alice)
    agent = world.agent(dave, alice.address)
    mandate = await agent.mandate(limit=1_000, tick_max=10**9)
    bought = await mandate.buy_many([Purchase(resource=DOCS, units=4, limit=100)] * 2)
    first, second = [await agent.find(one.digest) for one in bought]
    assert (await first.call("GET", "/a")).status == 200
    for method, target, body in (
        ("POST", "/v1/leases/grant", {"intent": first.digest}),
        ("POST", "/v1/leases/end", {"intent": first.digest}),
        ("DELETE", f"/v1/intents/{second.digest}", None),
    ):
        other = await world.signed(carol, method, target, body, account=alice.address)
        assert (other[0], other[1]["code"]) == (403, "not_authorized"), target
    await second.cancel()
    await first.done()
    assert world.gateway.state.intents[first.digest].status == "delivered"


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"resource": "no"}, "resource_invalid"),
        ({"asset": "0x" + "99" * 20}, "asset_unknown"),
        ({"limit": 0}, "limit_out_of_range"),
        ({"tick_max": 0}, "price_out_of_range"),
        ({"valid_until": 1}, "expired"),
        ({"epoch": 5}, "epoch_ended"),
        ({"account": carol.address}, "not_authorized"),
    ],
)
async def test_a_mandate_that_does_not_hold_is_refused(
    world: World, terms: dict[str, Any], code: str
) -> None:
    """Each with its own code, and nothing is registered."""
    sent = as_sent(a_mandate(world, **terms))
    _, told, _ = await world.signed(alice, "POST", "/v1/mandates", sent)
    assert told["code"] == code
    assert not world.gateway.state.mandates


async def test_a_withdrawn_mandate_buys_nothing_more(world: World) -> None:
    """Its open intents are cancelled with it; only who may cancel can withdraw it."""
    agent = world.agent(alice)
    mandate = await agent.mandate(limit=1_000, tick_max=10**9)
    (bought,) = await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=100)])
    target = f"/v1/mandates/{mandate.digest}"
    assert (await world.signed(carol, "DELETE", target))[1]["code"] == "not_authorized"
    await mandate.end()
    assert (await agent.find(bought.digest)).state.status == "cancelled"
    with pytest.raises(Rejected) as caught:
        await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=100)])
    assert (caught.value.code, caught.value.status) == ("mandate_ended", 409)


# -- MACs


async def test_a_mac_is_good_once(world: World) -> None:
    """The same bytes again, or an older counter, are refused and change nothing."""
    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    secret, now_ms = secret_of(mandate), world.sequencer.now_ms()
    first, second = [bare(world)], [bare(world)]
    assert (await under(world, mandate.digest, secret, now_ms, first))[0] == 200
    before = world.state_hash()
    for counter, body in ((now_ms, first), (now_ms, second), (now_ms - 1, second)):
        status, told = await under(world, mandate.digest, secret, counter, body)
        assert (status, told["code"]) == (409, "replayed")
        assert "counter" in told["hint"]
    assert world.state_hash() == before
    assert (await under(world, mandate.digest, secret, now_ms + 1, second))[0] == 200


async def test_a_mac_is_of_its_mandate_its_counter_and_its_bytes(world: World) -> None:
    """Another mandate's, another counter's, another body's: none is taken, or uses one up."""
    mine = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    other = await world.agent(carol).mandate(limit=1_000, tick_max=10**9)
    now_ms, body = world.sequencer.now_ms(), [bare(world)]
    raw, secret = encoded(body), secret_of(mine)
    good = mac_of(secret, now_ms, raw)
    for header in (
        f"{now_ms}.{mac_of(secret_of(other), now_ms, raw)}",
        f"{now_ms + 1}.{good}",
        f"{now_ms}.{mac_of(secret, now_ms, raw + b' ')}",
        f"{now_ms}.{'0' * 64}",
        f"{now_ms}.{good.upper()}",
        f"{now_ms}.{good[:-1]}",
        f"{2**53}.{good}",
        f"-1.{good}",
        good,
        "",
    ):
        status, told = await under(world, mine.digest, secret, now_ms, body, Keyfill_Mac=header)
        assert (status, told["code"]) == (401, "unauthenticated"), header
        assert told["hint"]
    assert not world.gateway.state.intents
    assert len(world.gateway.macs) == 0
    assert (await under(world, mine.digest, secret, now_ms, body))[0] == 200


async def test_a_mandate_nobody_registered_is_unknown(world: World) -> None:
    """Even with the right MAC for it."""
    secret = world.gateway.macs.secret_of(ANY)
    status, told = await under(world, ANY, secret, world.sequencer.now_ms(), [bare(world)])
    assert (status, told["code"]) == (404, "mandate_unknown")


async def test_a_mandate_buys_for_its_account_alone(world: World) -> None:
    """An intent of another account under it is refused; its neighbours are not."""
    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    sent = [bare(world), bare(world, carol), bare(world)]
    status, told = await under(
        world, mandate.digest, secret_of(mandate), world.sequencer.now_ms(), sent
    )
    assert status == 200
    assert codes(told["outcomes"]) == ["", "not_authorized", ""]


async def test_a_signed_intent_is_malformed_under_a_mandate(world: World) -> None:
    """Nor does a malformed one harm those beside it."""
    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    sent: list[Any] = [bare(world), {"document": bare(world), "signature": "0x"}, None]
    _, told = await under(world, mandate.digest, secret_of(mandate), world.sequencer.now_ms(), sent)
    assert codes(told["outcomes"]) == ["", "malformed", "malformed"]


async def test_the_core_holds_a_mandate_to_its_limit_and_terms(world: World) -> None:
    """Not one atom above the limit, no other resource, no higher price."""
    await world.offering(bob, units=10, limit=10, resource="datasette/docs:call")
    mandate = await world.agent(alice).mandate(limit=300, tick_max=100 * 10**6, resource=DOCS)
    purchases = [
        Purchase(resource=DOCS, units=20, limit=200),
        Purchase(resource=DOCS, units=1, limit=101),
        Purchase(resource="datasette/batch:call", units=1, limit=1),
        Purchase(resource=DOCS, units=20, limit=101),
        Purchase(resource=DOCS, units=20, limit=100),
    ]
    bought = await mandate.buy_many(purchases)
    found = [one.refused.code if one.refused else "" for one in bought]
    assert found[:4] == ["", "mandate_terms", "mandate_terms", ""]
    record = world.gateway.state.mandates[mandate.digest]
    assert record.committed + record.spent <= 300
    assert found[4] in ("", "mandate_exceeded")
    more = await mandate.buy_many([Purchase(resource=DOCS, units=30, limit=300)])
    assert more[0].refused is not None
    assert more[0].refused.code == "mandate_exceeded"


async def test_a_counter_may_be_older_than_the_market() -> None:
    """What may have been used with a predecessor waits; the SDK waits by itself."""
    async with a_world() as world:
        mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
        floor = world.sequencer.now_ms() + 200
        world.gateway.macs._floor = floor
        secret = secret_of(mandate)
        status, told = await under(world, mandate.digest, secret, floor, [bare(world)])
        assert (status, told["code"]) == (401, "unauthenticated")
        assert 0 < told["retryAfterMs"] <= 201
        (bought,) = await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=1)])
        assert bought.refused is None


# -- replacing a secret


async def replaced(world: World, mandate: str, who: Person = alice, **by: str) -> Any:
    """(status, what is told) of asking for another secret."""
    target = f"/v1/mandates/{mandate}/secret"
    status, told, _ = await world.signed(who, "POST", target, **by)
    return status, told


async def test_a_replaced_secret_counts_no_more(world: World) -> None:
    """The new one does, registering tells it too, and what was bought before stands."""
    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    (bought,) = await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=1)])
    known = [secret_of(mandate)]
    for _ in range(2):
        status, told = await replaced(world, mandate.digest)
        assert status == 201
        secret = bytes.fromhex(told["secret"])
        assert secret not in known
        now_ms = world.sequencer.now_ms()
        for old in known:
            status, told = await under(world, mandate.digest, old, now_ms, [bare(world)])
            assert (status, told["code"]) == (401, "unauthenticated")
        status, told = await under(world, mandate.digest, secret, now_ms, [bare(world)])
        assert (status, codes(told["outcomes"])) == (200, [""])
        known.append(secret)
    document = world.gateway.state.mandates[mandate.digest].document
    _, told, _ = await world.signed(alice, "POST", "/v1/mandates", as_sent(document))
    assert told["secret"] == secret.hex()
    assert world.gateway.state.intents[bought.digest].open_units == 1


async def test_who_may_replace_a_secret(world: World) -> None:
    """Who may be told it, for a mandate that stands; nobody else, and then it stays."""
    await world.granting(dave, alice)
    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    own = await world.agent(dave, alice.address).mandate(limit=10, tick_max=10**9)
    for who, by in ((carol, {}), (dave, {"account": alice.address})):
        status, told = await replaced(world, mandate.digest, who, **by)
        assert (status, told["code"]) == (403, "not_authorized")
    status, told, _ = await world.raw("POST", f"/v1/mandates/{mandate.digest}/secret")
    assert (status, told["code"]) == (401, "unauthenticated")
    status, told = await replaced(world, ANY)
    assert (status, told["code"]) == (404, "mandate_unknown")
    assert world.gateway.macs.secret_of(mandate.digest) == secret_of(mandate)
    assert (await replaced(world, own.digest, dave, account=alice.address))[0] == 201
    await mandate.end()
    status, told = await replaced(world, mandate.digest)
    assert (status, told["code"]) == (409, "mandate_ended")


async def test_a_replaced_secret_stays_replaced(tmp_path: Path) -> None:
    """In the next process, and the one after; those of others are as they were."""
    path, other = tmp_path / "rotation.db", "0x" + "cd" * 32
    found = []
    for advances in (0, 1, 2, 0):
        with closing(Rotations(path)) as rotations:
            macs = Macs(SECRET, rotations, started_at_ms=0, mandates_max=3)
            for _ in range(advances):
                await macs.replace_secret(ANY)
            found.append(macs.secret_of(ANY))
            assert macs.secret_of(other) == Macs(
                SECRET, Rotations(), started_at_ms=0, mandates_max=3
            ).secret_of(other)
    assert len(set(found)) == 3
    assert found[2] == found[3]


async def test_the_numbers_of_forgotten_mandates_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here nor on disk; those of mandates that the market remembers always are."""
    monkeypatch.setattr(rotation, "SPARE_MAX", 4)
    path, known = tmp_path / "rotation.db", {ANY: None}
    with closing(Rotations(path, known)) as rotations:
        await rotations.advance(ANY)
        for number in range(20):
            await rotations.advance(f"0x{number:064x}")
            assert len(rotations._counts) <= 2 * len(known) + 4 + 1
        assert rotations.count(ANY) == 1
    with closing(Rotations(path)) as rotations:
        assert rotations.count(ANY) == 1
        assert len(rotations._counts) <= 2 * len(known) + 4 + 1


async def test_replacing_at_once_replaces_each_time(tmp_path: Path) -> None:
    """Two at the same time count twice, here and on disk."""
    with closing(Rotations(tmp_path / "rotation.db")) as rotations:
        await asyncio.gather(*(rotations.advance(ANY) for _ in range(5)))
        assert rotations.count(ANY) == 5
    with closing(Rotations(tmp_path / "rotation.db")) as rotations:
        assert rotations.count(ANY) == 5


async def test_a_secret_that_cannot_be_replaced_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk fails, the answer says that it failed, and the old secret counts."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    monkeypatch.setattr(Rotations, "_write", full)
    status, told = await replaced(world, mandate.digest)
    assert (status, told["code"]) == (500, "internal")
    (bought,) = await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=1)])
    assert bought.refused is None


# -- the table of counters


SECRET = bytes(range(32))


def said(macs: Macs, mandate: str, counter: int, body: bytes = b"x") -> Mac:
    """A MAC that is right."""
    return Mac(counter=counter, mac=mac_of(macs.secret_of(mandate), counter, body))


def code_of(macs: Macs, mandate: str, counter: int, now_ms: int) -> str:
    """What a right MAC gets at this time."""
    refused = macs.check(mandate, said(macs, mandate, counter), b"x", now_ms)
    return "" if refused is None else refused.code


def test_counters_rise_and_keep_to_the_clock() -> None:
    """Never back, never ahead of the time, never into what a predecessor may have seen."""
    macs = Macs(SECRET, Rotations(), started_at_ms=10_000, mandates_max=10)
    floor = 10_000 + AHEAD_MS_MAX
    assert code_of(macs, ANY, floor, floor) == "unauthenticated"
    assert code_of(macs, ANY, floor + 1, floor) == ""
    assert code_of(macs, ANY, floor + 1, floor) == "replayed"
    assert code_of(macs, ANY, floor + AHEAD_MS_MAX, floor) == ""
    assert code_of(macs, ANY, floor + AHEAD_MS_MAX + 1, floor) == "unauthenticated"


def test_counters_are_bounded_and_what_is_forgotten_stays_used() -> None:
    """Room is made by refusing what is older than the forgotten, never by taking it again."""
    macs = Macs(SECRET, Rotations(), started_at_ms=0, mandates_max=3)
    names = [f"0x{number:064x}" for number in range(10)]
    for number, name in enumerate(names):
        assert code_of(macs, name, 5_000 + number, 5_000 + number) == ""
    assert len(macs) == 3
    for number, name in enumerate(names):
        assert code_of(macs, name, 5_000 + number, 6_000) in ("replayed", "unauthenticated")
    assert code_of(macs, names[0], 5_100, 6_000) == ""


def test_secrets_differ_by_mandate_and_are_not_shown() -> None:
    """A secret is HMAC of the market's own; neither it nor the market's is in any repr."""
    macs = Macs(SECRET, Rotations(), started_at_ms=0, mandates_max=3)
    assert macs.secret_of(ANY) != macs.secret_of("0x" + "ac" * 32)
    assert len(macs.secret_of(ANY)) == 32
    expected = hmac.digest(SECRET, b"keyfill mandate 1" + bytes.fromhex(ANY[2:]), "sha256")
    assert macs.secret_of(ANY) == expected
    assert SECRET.hex() not in repr(macs)


async def test_the_sdk_does_not_show_secrets(world: World) -> None:
    """Neither the session nor what the market told has them in its repr."""
    mandate = await world.agent(alice).mandate(limit=1, tick_max=1)
    secret = secret_of(mandate).hex()
    assert secret not in repr(mandate)
    told = await world.signed(alice, "POST", "/v1/mandates", as_sent(a_mandate(world)))
    assert len(told[1]["secret"]) == 64


def test_a_header_has_one_spelling() -> None:
    """One value, decimal counter, 64 lower-case hex digits."""
    good = "1." + "ab" * 32
    assert read_mac([good]) == Mac(counter=1, mac="ab" * 32)
    for values in ([], [good, good], [good + "\n"], [" " + good], ["1,5." + "ab" * 32]):
        refused = read_mac(values)
        assert not isinstance(refused, Mac)
        assert refused.code is RejectCode.UNAUTHENTICATED


async def test_a_busy_mandate_is_held_to_its_account_s_rate() -> None:
    """A MAC does not buy a way around the rate of the account."""
    slow = msgspec.structs.replace(
        GENEROUS, account_documents_per_second=1, account_documents_burst=3
    )
    async with a_world(limits=slow) as world:
        world.stop_clock()
        mandate = await world.agent(alice).mandate(limit=RICH, tick_max=10**9)
        purchases = [Purchase(resource=DOCS, units=1, limit=1)] * 3
        assert all(one.refused is None for one in await mandate.buy_many(purchases))
        refused = (await mandate.buy_many(purchases))[0].refused
        assert refused is not None
        assert refused.code == "rate_limited"
