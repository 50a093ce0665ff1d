"""Every refusal that HTTP can reach: its exact code and status, and no trace in the state."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from intents.reject import RejectCode as R
from intents.reject import reject
from intents.signature import HALF_ORDER, ORDER
from solver.client import Rejected
from solver.core.command import (
    CutBatch,
    EndLeases,
    KeyEnd,
    Limit,
    OpenAuction,
    RetireKey,
    SolutionFill,
    StartCall,
)
from solver.core.event import BatchCut
from solver.core.fact import BatchSettled, FillSettled
from solver.core.state import MAY_CANCEL, MAY_SETTLE
from solver.gateway.answer import STATUS, STATUS_ELSE, status_of
from tests.builder import (
    USDC,
    IntentBuilder,
    OfferBuilder,
    Person,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    person,
)
from tests.gateway.world import DOCS, EPOCHS, RICH, UNLISTED, World
from tests.judging import SEED, solution

Told = tuple[int, dict[str, Any], dict[str, str]]
Case = Callable[[World], Awaitable[Told]]
HOUR_S = 3_600
UNKNOWN = "0x" + "ab" * 32


# -- documents


def body_of(world: World, builder: IntentBuilder | OfferBuilder, signer: Person) -> dict[str, Any]:
    """A signed document as it is sent, valid for an hour of the world's time."""
    now_s = world.sequencer.now_ms() // 1_000
    terms = {"resource": DOCS, "valid_until": now_s + HOUR_S} | builder.terms
    sent: Any = type(builder)(terms).sent_by(signer)
    plain: dict[str, Any] = msgspec.to_builtins(sent)
    return plain


async def post(world: World, path: str, body: object) -> Told:
    """Post JSON."""
    return await world.raw("POST", path, msgspec.json.encode(body))


def intent(
    signer: Person = alice, *, declare: dict[str, Any] | None = None, sign: str = "", **terms: Any
) -> Case:
    """Submitting an intent with these terms is refused."""

    async def attempt(world: World) -> Told:
        late = {name: terms[name] for name in terms if name not in ("after_s", "from_s")}
        now_s = world.sequencer.now_ms() // 1_000
        if "after_s" in terms:
            late["valid_until"] = now_s + terms["after_s"]
        if "from_s" in terms:
            late["valid_from"] = now_s + terms["from_s"]
        body = body_of(world, IntentBuilder(late), signer)
        body["domain"] = declare or body["domain"]
        if sign:
            body["signature"] = sign
        return await post(world, "/v1/intents", body)

    return attempt


def offer(signer: Person = bob, **terms: Any) -> Case:
    """Submitting an offer with these terms is refused."""

    async def attempt(world: World) -> Told:
        known = {"key": await world.key(bob)} | terms
        before = world.state_hash()
        told = await post(world, "/v1/offers", body_of(world, OfferBuilder(known), signer))
        assert world.state_hash() == before
        return told

    return attempt


async def high_s(world: World) -> Told:
    """The other form of a valid signature."""
    body = body_of(world, an_intent(), alice)
    raw = bytes.fromhex(body["signature"][2:])
    flipped = ORDER - int.from_bytes(raw[32:64], "big")
    assert flipped > HALF_ORDER
    body["signature"] = (
        "0x" + (raw[:32] + flipped.to_bytes(32, "big") + bytes([55 - raw[64]])).hex()
    )
    return await post(world, "/v1/intents", body)


async def known_twice(world: World) -> Told:
    """The same document again."""
    body = body_of(world, an_intent(), alice)
    assert (await post(world, "/v1/intents", body))[0] == 201
    before = world.state_hash()
    told = await post(world, "/v1/intents", body)
    assert world.state_hash() == before
    return told


async def nonce_twice(world: World) -> Told:
    """Another document with the same nonce."""
    assert (await post(world, "/v1/intents", body_of(world, an_intent().nonce(7), alice)))[0] == 201
    return await post(world, "/v1/intents", body_of(world, an_intent().nonce(7).units(2), alice))


async def session(world: World, permissions: int, seconds: int, cap: int) -> Told:
    """An intent signed by a session key of alice's."""
    await world.granting(dave, alice, permissions=permissions, seconds=seconds, cap=cap)
    return await post(world, "/v1/intents", body_of(world, an_intent().for_account(alice), dave))


async def session_expired(world: World) -> Told:
    """The session has ended."""
    return await session(world, 2, -1, RICH)


async def session_settles_only(world: World) -> Told:
    """The operator's own kind of session signs no intents."""
    return await session(world, MAY_SETTLE, HOUR_S, RICH)


async def session_capped(world: World) -> Told:
    """The session's cap is below the limit."""
    return await session(world, 2, HOUR_S, 99)


async def retired_key(world: World) -> Told:
    """An offer of a key that left the pool."""
    key = await world.key(bob)
    await world.do(RetireKey(key=key, reason=KeyEnd.REVOKED))
    return await post(world, "/v1/offers", body_of(world, an_offer().from_key(key), bob))


async def anothers_key(world: World) -> Told:
    """An offer of somebody else's key."""
    key = await world.key(bob)
    return await post(world, "/v1/offers", body_of(world, an_offer().from_key(key), carol))


# -- signed requests


def signed(who: Person, method: str, target: str, body: object = None, **changes: Any) -> Case:
    """A signed request is refused."""

    async def attempt(world: World) -> Told:
        return await world.signed(who, method, target, body, **changes)

    return attempt


async def a_filled(world: World, units: int = 1) -> str:
    """The digest of an intent of alice's that is filled."""
    await world.offering(bob, units=units, limit=units)
    bought = await world.agent(alice).intent(DOCS, units=units, limit=100 * units)
    await bought.filled()
    return bought.digest


def on_filled(
    who: Person, method: str, target: str, account: Person | None = None, **body: Any
) -> Case:
    """A request about alice's filled intent is refused."""

    async def attempt(world: World) -> Told:
        digest = await a_filled(world)
        sent = {name: digest if value == "digest" else value for name, value in body.items()}
        before = world.state_hash()
        path = target.format(digest=digest)
        told = await world.signed(
            who, method, path, sent or None, **({"account": account.address} if account else {})
        )
        assert world.state_hash() == before
        return told

    return attempt


async def cancel_ended(world: World) -> Told:
    """Withdrawing what was withdrawn."""
    bought = await world.agent(alice).intent(DOCS, units=1, limit=1)
    await bought.cancel()
    return await world.signed(alice, "DELETE", f"/v1/intents/{bought.digest}")


async def grant_unfilled(world: World) -> Told:
    """A grant before anything was filled."""
    bought = await world.agent(alice).intent(DOCS, units=1, limit=1)
    return await world.signed(alice, "POST", "/v1/leases/grant", {"intent": bought.digest})


async def grant_ended(world: World) -> Told:
    """A grant after all leases ended."""
    digest = await a_filled(world)
    await world.do(EndLeases(account=alice.address, intent=digest))
    return await world.signed(alice, "POST", "/v1/leases/grant", {"intent": digest})


async def session_of_another(world: World) -> Told:
    """A session key asks for the grant of what the account's key bought."""
    digest = await a_filled(world)
    await world.granting(dave, alice)
    return await world.signed(
        dave, "POST", "/v1/leases/grant", {"intent": digest}, account=alice.address
    )


async def cancelling_session_reads_no_grant(world: World) -> Told:
    """A session that may only cancel gets no grant."""
    digest = await a_filled(world)
    await world.granting(dave, alice, permissions=MAY_CANCEL)
    return await world.signed(
        dave, "POST", "/v1/leases/grant", {"intent": digest}, account=alice.address
    )


async def replayed(world: World) -> Told:
    """The same signed request twice."""
    header = world.header(alice, "GET", "/v1/balance")
    assert (await world.raw("GET", "/v1/balance", Keyfill_Request=header))[0] == 200
    return await world.raw("GET", "/v1/balance", Keyfill_Request=header)


def contributing(code: R | None = None, **changes: Any) -> Case:
    """Contributing a key is refused; by custody, if a code is given."""

    async def attempt(world: World) -> Told:
        if code is not None:
            world.vault.refusing = reject(code)
        body = {"provider": "datasette", "secret": "sk"} | changes
        return await world.signed(bob, "POST", "/v1/keys/contribute", body)

    return attempt


async def duplicate_key(world: World) -> Told:
    """The same key twice."""
    await world.key(bob)
    body = {"provider": "datasette", "secret": "bob"}
    told = await world.signed(carol, "POST", "/v1/keys/contribute", body)
    assert len(world.vault.secrets) == 1, "the first one stays"
    return told


async def a_key_that_still_serves(world: World) -> Told:
    """A key returns while a call of its last stay is under way: custody does not keep it."""
    intent = await a_filled(world)
    state = world.sequencer.market.state
    lease = state.leases[state.intents[intent].leases[0]]
    await world.do(StartCall(lease=lease.id, call="long", units=1))
    await world.do(RetireKey(key=lease.key, reason=KeyEnd.REVOKED))
    secret = world.vault.secrets.pop(lease.key)
    body = {"provider": "datasette", "secret": secret}
    told = await world.signed(carol, "POST", "/v1/keys/contribute", body)
    assert lease.key not in world.vault.secrets
    return told


def attesting(**changes: Any) -> Case:
    """Contributing with a wrong attestation is refused."""

    async def attempt(world: World) -> Told:
        attestation = await world.contributor(bob)._attestation("datasette")
        document: Any = attestation["document"]
        terms = {name: value for name, value in changes.items() if name not in ("by", "ago_s")}
        if "ago_s" in changes:
            terms["issued_at"] = document.issued_at - changes["ago_s"]
        document = msgspec.structs.replace(document, **terms)
        _, signature = world.market.sign(changes.get("by", bob).key, document)
        body = {
            "provider": "datasette",
            "secret": "sk",
            "attestation": {"document": document, "signature": signature},
        }
        told = await world.signed(bob, "POST", "/v1/keys/contribute", body)
        assert world.vault.secrets == {}
        return told

    return attempt


# -- calls


def calling(code: R) -> Case:
    """Custody refuses a call; the gateway passes its code on."""

    async def attempt(world: World) -> Told:
        digest = await a_filled(world)
        grant = world.gateway.grants.issue(digest, world.sequencer.now_ms() + 10_000)
        world.vault.refusing = reject(code)
        return await world.raw("GET", "/v1/proxy/datasette/a", Authorization=f"Bearer {grant}")

    return attempt


async def unknown_lease(world: World) -> Told:
    """A grant for an intent that is not here."""
    grant = world.gateway.grants.issue(UNKNOWN, world.sequencer.now_ms() + 10_000)
    return await world.raw("GET", "/v1/proxy/datasette/a", Authorization=f"Bearer {grant}")


async def other_provider(world: World) -> Told:
    """A grant for one provider, used on another."""
    digest = await a_filled(world)
    grant = world.gateway.grants.issue(digest, world.sequencer.now_ms() + 10_000)
    return await world.raw("GET", "/v1/proxy/openai-compatible/a", Authorization=f"Bearer {grant}")


async def window_full(world: World) -> Told:
    """The key's window has no place; the answer says when it will."""
    world.vault.limits = (Limit(units=1, seconds=60),)
    digest = await a_filled(world, units=2)
    lease = world.sequencer.market.state.intents[digest].leases[0]
    await world.do(StartCall(lease=lease, call="first", units=1))
    grant = world.gateway.grants.issue(digest, world.sequencer.now_ms() + 10_000)
    told = await world.raw("GET", "/v1/proxy/datasette/a", Authorization=f"Bearer {grant}")
    assert 0 < told[1]["retryAfterMs"] <= 60_001
    assert int(told[2]["retry-after"]) * 1_000 >= told[1]["retryAfterMs"]
    return told


async def exhausted(world: World) -> Told:
    """All units of the lease are in flight."""
    digest = await a_filled(world)
    lease = world.sequencer.market.state.intents[digest].leases[0]
    await world.do(StartCall(lease=lease, call="first", units=1))
    grant = world.gateway.grants.issue(digest, world.sequencer.now_ms() + 10_000)
    return await world.raw("GET", "/v1/proxy/datasette/a", Authorization=f"Bearer {grant}")


def get(target: str) -> Case:
    """A GET is refused."""

    async def attempt(world: World) -> Told:
        return await world.raw("GET", target)

    return attempt


def asking(method: str, target: str, body: bytes = b"", **headers: str) -> Case:
    """A request of any form is refused."""

    async def attempt(world: World) -> Told:
        return await world.raw(method, target, body, **headers)

    return attempt


async def shutting_down(world: World) -> Told:
    """The sequencer has stopped."""
    world.sequencer._stopped = True
    told = await post(world, "/v1/intents", body_of(world, an_intent(), alice))
    world.sequencer._stopped = False
    return told


OTHER_CHAIN = {"chainId": 1, "verifyingContract": "0x" + "5e" * 20}
OTHER_CONTRACT = {"chainId": 31_337, "verifyingContract": "0x" + "11" * 20}
YEARS_S = 367 * 86_400

CASES: list[tuple[str, R, Case]] = [
    # Form.
    ("no such route", R.NOT_FOUND, get("/v1/nothing")),
    ("a digest that is none", R.NOT_FOUND, get("/v1/intents/0x12")),
    ("another method", R.METHOD_NOT_ALLOWED, asking("PUT", "/v1/intents")),
    ("not JSON", R.MALFORMED, asking("POST", "/v1/intents", b"{")),
    ("a body where none is", R.MALFORMED, asking("GET", "/v1/market", b"{}")),
    (
        "form data",
        R.UNSUPPORTED_MEDIA_TYPE,
        asking("POST", "/v1/intents", b"a", Content_Type="a/b"),
    ),
    (
        "an encoded body",
        R.UNSUPPORTED_MEDIA_TYPE,
        asking("POST", "/v1/intents", b"a", Content_Encoding="gzip"),
    ),
    ("a body too large", R.TOO_LARGE, asking("POST", "/v1/intents", b" " * 65_537)),
    ("an unknown parameter", R.MALFORMED, get("/v1/market?x=1")),
    ("a parameter twice", R.MALFORMED, get(f"/v1/book?resource={DOCS}&resource={DOCS}")),
    ("a page too large", R.MALFORMED, get("/v1/batches?limit=201")),
    ("fills of nobody", R.MALFORMED, get("/v1/fills")),
    ("a feed without a socket", R.MALFORMED, get("/v1/feed")),
    ("a cursor of the future", R.MALFORMED, get("/v1/feed?cursor=99999")),
    ("a stopped sequencer", R.SHUTTING_DOWN, shutting_down),
    # Admission.
    ("another chain", R.WRONG_DOMAIN, intent(declare=OTHER_CHAIN)),
    ("another contract", R.WRONG_DOMAIN, intent(declare=OTHER_CONTRACT)),
    ("a confusable resource", R.RESOURCE_INVALID, intent(resource="datasette/d\u043ecs:call")),
    ("no resource", R.RESOURCE_INVALID, intent(resource="")),
    ("an unknown asset", R.ASSET_UNKNOWN, intent(asset="0x" + "77" * 20)),
    ("no units", R.UNITS_OUT_OF_RANGE, intent(units=0)),
    ("no limit", R.LIMIT_OUT_OF_RANGE, intent(limit=0)),
    ("a minimum above the units", R.MINIMUM_OUT_OF_RANGE, intent(units=1, units_min=2)),
    ("a price below any", R.PRICE_OUT_OF_RANGE, intent(units=10**12, limit=1)),
    ("half a window", R.WINDOW_OUT_OF_RANGE, offer(window_units=1)),
    ("validity of nothing", R.VALIDITY_EMPTY, intent(from_s=50, after_s=50)),
    ("an intent of yesterday", R.EXPIRED, intent(after_s=0)),
    ("validity of years", R.VALIDITY_TOO_LONG, intent(after_s=YEARS_S)),
    ("a short signature", R.SIGNATURE_MALFORMED, intent(sign="0x12")),
    ("no hex", R.SIGNATURE_MALFORMED, intent(sign="zz")),
    ("the other s", R.SIGNATURE_HIGH_S, high_s),
    ("a point that is none", R.SIGNATURE_INVALID, intent(sign="0x" + "00" * 64 + "1b")),
    # Authority.
    ("somebody else's signature", R.NOT_AUTHORIZED, intent(bob, account=alice.address)),
    ("a contract that says no", R.NOT_AUTHORIZED, intent(sign="0x" + "11" * 70)),
    ("an expired session", R.SESSION_EXPIRED, session_expired),
    ("a session that may not sign", R.NOT_AUTHORIZED, session_settles_only),
    ("a session over its cap", R.SESSION_CAP_EXCEEDED, session_capped),
    ("another epoch", R.EPOCH_ENDED, intent(epoch=1)),
    ("a nonce twice", R.NONCE_USED, nonce_twice),
    # Market.
    ("a document twice", R.ALREADY_KNOWN, known_twice),
    ("an unlisted resource", R.RESOURCE_UNKNOWN, intent(resource=UNLISTED)),
    ("a book of nothing", R.RESOURCE_UNKNOWN, get(f"/v1/book?resource={UNLISTED}")),
    ("a book in nothing", R.ASSET_UNKNOWN, get(f"/v1/book?resource={DOCS}&asset=0x{'77' * 20}")),
    ("capacity of nothing", R.RESOURCE_UNKNOWN, get(f"/v1/keys/capacity?resource={UNLISTED}")),
    ("more than one has", R.INSUFFICIENT_FUNDS, intent(limit=RICH + 1)),
    ("a stranger without money", R.INSUFFICIENT_FUNDS, intent(person("mallory"))),
    ("an unknown key", R.KEY_UNKNOWN, offer(key=UNKNOWN)),
    ("a key that left", R.KEY_NOT_LIVE, retired_key),
    ("somebody else's key", R.NOT_AUTHORIZED, anothers_key),
    ("an unknown intent", R.NOT_FOUND, get(f"/v1/intents/{UNKNOWN}")),
    ("an unknown offer", R.NOT_FOUND, get(f"/v1/offers/{UNKNOWN}")),
    ("fills of the unknown", R.NOT_FOUND, get(f"/v1/fills?intent={UNKNOWN}")),
    ("leases of the unknown", R.NOT_FOUND, get(f"/v1/leases?intent={UNKNOWN}")),
    ("an unknown batch", R.BATCH_UNKNOWN, get("/v1/batches/7")),
    ("an unknown auction", R.AUCTION_UNKNOWN, get("/v1/auctions/7")),
    # Signed requests.
    ("unsigned", R.UNAUTHENTICATED, get("/v1/balance")),
    ("replayed", R.REPLAYED, replayed),
    (
        "for somebody else",
        R.NOT_AUTHORIZED,
        signed(bob, "GET", "/v1/balance", account=alice.address),
    ),
    ("too late to withdraw", R.TOO_LATE, on_filled(alice, "DELETE", "/v1/intents/{digest}")),
    ("withdrawn before", R.NOT_OPEN, cancel_ended),
    ("not yours to withdraw", R.NOT_AUTHORIZED, on_filled(bob, "DELETE", "/v1/intents/{digest}")),
    ("nothing to withdraw", R.NOT_FOUND, signed(alice, "DELETE", f"/v1/intents/{UNKNOWN}")),
    ("no offer to withdraw", R.NOT_FOUND, signed(alice, "DELETE", f"/v1/offers/{UNKNOWN}")),
    (
        "somebody else's grant",
        R.NOT_AUTHORIZED,
        on_filled(carol, "POST", "/v1/leases/grant", intent="digest"),
    ),
    (
        "ending somebody else's leases",
        R.NOT_AUTHORIZED,
        on_filled(carol, "POST", "/v1/leases/end", intent="digest"),
    ),
    ("a session's foreign grant", R.NOT_AUTHORIZED, session_of_another),
    ("a cancelling session's grant", R.NOT_AUTHORIZED, cancelling_session_reads_no_grant),
    ("a grant of nothing", R.LEASE_UNKNOWN, grant_unfilled),
    ("a grant of the past", R.LEASE_ENDED, grant_ended),
    (
        "a grant of the unknown",
        R.NOT_FOUND,
        signed(alice, "POST", "/v1/leases/grant", {"intent": UNKNOWN}),
    ),
    # Keys.
    ("an unknown provider", R.PROVIDER_UNKNOWN, contributing(provider="acme")),
    ("no secret", R.MALFORMED, contributing(secret="")),
    ("sharing forbidden", R.SHARING_FORBIDDEN, contributing(R.SHARING_FORBIDDEN)),
    ("attestation missing", R.ATTESTATION_MISSING, contributing(R.ATTESTATION_MISSING)),
    ("a sick key", R.HEALTH_CHECK_FAILED, contributing(R.HEALTH_CHECK_FAILED)),
    ("a key twice", R.KEY_DUPLICATE, duplicate_key),
    ("a key that still serves", R.KEY_NOT_LIVE, a_key_that_still_serves),
    ("another text attested", R.ATTESTATION_MISSING, attesting(statement="Maybe.")),
    ("another provider attested", R.MALFORMED, attesting(provider="openai")),
    ("attested by another", R.NOT_AUTHORIZED, attesting(by=carol)),
    ("attested long ago", R.EXPIRED, attesting(ago_s=86_401)),
    ("health of the unknown", R.KEY_UNKNOWN, signed(bob, "GET", f"/v1/keys/health?key={UNKNOWN}")),
    (
        "revoking the unknown",
        R.KEY_UNKNOWN,
        signed(bob, "DELETE", "/v1/keys/revoke", {"key": UNKNOWN}),
    ),
    # Calls.
    ("no grant", R.UNAUTHENTICATED, get("/v1/proxy/datasette/a")),
    ("a grant of elsewhere", R.LEASE_UNKNOWN, unknown_lease),
    ("a grant for another provider", R.OPERATION_FORBIDDEN, other_provider),
    ("a full window", R.WINDOW_EXHAUSTED, window_full),
    ("an exhausted lease", R.LEASE_EXHAUSTED, exhausted),
    ("an ended lease", R.LEASE_ENDED, calling(R.LEASE_ENDED)),
    ("an operation not leased", R.OPERATION_FORBIDDEN, calling(R.OPERATION_FORBIDDEN)),
    ("an upstream that fails", R.UPSTREAM_FAILED, calling(R.UPSTREAM_FAILED)),
    ("an upstream that sleeps", R.UPSTREAM_TIMEOUT, calling(R.UPSTREAM_TIMEOUT)),
]


AT_ONCE = ("intent.", "get.", "asking.", "signed.", "contributing.", "attesting.", "high_s")
"""Cases that do nothing but what is refused."""


@pytest.mark.parametrize(("code", "attempt"), [pytest.param(c, a, id=n) for n, c, a in CASES])
async def test_refusals_are_exact(world: World, code: R, attempt: Case) -> None:
    """The code and its status are what the table says, and the state is as it was.

    Cases that prepare something first compare the state around the refusal themselves.
    """
    before = world.state_hash()
    status, told, headers = await attempt(world)
    assert (told["code"], status) == (code, status_of(code))
    if attempt.__qualname__.startswith(AT_ONCE):
        assert world.state_hash() == before
    assert set(told) <= {"code", "message", "hint", "retryAfterMs"}
    assert told["message"]
    assert ("retry-after" in headers) == (status in (429, 503))
    assert "server" not in headers


def test_every_code_has_a_status() -> None:
    """5xx are for what is upstream's or a shutdown; everything else is the sender's."""
    above = {code for code in R if status_of(code) >= 500}
    assert above == {R.UPSTREAM_FAILED, R.UPSTREAM_TIMEOUT, R.SHUTTING_DOWN}
    assert set(STATUS) <= set(R)
    assert STATUS_ELSE == 422


async def test_an_accident_says_nothing(world: World) -> None:
    """An exception of custody's becomes a 500 without details."""
    digest = await a_filled(world)
    grant = world.gateway.grants.issue(digest, world.sequencer.now_ms() + 10_000)
    world.vault.breaking = RuntimeError("sk-secret")
    status, told, _ = await world.raw(
        "GET", "/v1/proxy/datasette/a", Authorization=f"Bearer {grant}"
    )
    assert (status, told["code"]) == (500, "internal")
    assert "sk-secret" not in str(told)


async def test_contract_accounts_are_asked_once_and_only_when_needed(world: World) -> None:
    """A contract's long signature is put to the chain; a key's or session's never is."""
    body = body_of(world, an_intent(), alice)
    assert (await post(world, "/v1/intents", body))[0] == 201
    assert world.contracts.asked == 0
    world.contracts.valid.add(alice.address)
    long = body_of(world, an_intent(), alice) | {"signature": "0x" + "11" * 130}
    status, told, _ = await post(world, "/v1/intents", long)
    assert (status, told["authority"], told["signer"]) == (201, 1, alice.address)
    assert world.contracts.asked == 1


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_a_chain_that_does_not_answer_is_busy(world: World, fault: str) -> None:
    """A node that fails or hangs costs a bounded time, and a retry, not a 500."""
    if fault == "raises":
        world.contracts.breaking = ConnectionError("node down")
    world.contracts.hanging = fault == "hangs"
    body = body_of(world, an_intent().for_account(alice), bob)
    before = world.state_hash()
    status, told, headers = await post(world, "/v1/intents", body)
    assert (status, told["code"]) == (429, "busy")
    assert "retry-after" in headers
    assert world.state_hash() == before
    assert world.gateway.load.contract_checks == 0


async def test_batches_can_be_read(world: World) -> None:
    """A batch is told with its lines, before and after it is final."""
    digest = await a_filled(world)
    bought = await world.agent(alice).find(digest)
    await bought.call("GET", "/a")
    (cut,) = (await world.do(CutBatch(fills_max=10))).events
    assert isinstance(cut, BatchCut)
    _, told, _ = await world.raw("GET", "/v1/batches/0")
    assert (told["digest"], told["final"]) == (cut.digest, False)
    settled = [FillSettled(fill=line.fill, payment=line.payment) for line in cut.lines]
    await world.chain(*settled, BatchSettled(number=0, digest=cut.digest))
    _, told, _ = await world.raw("GET", "/v1/batches?limit=1")
    assert (told["batches"][0]["final"], told["batches"][0]["resolved"]) == (True, 1)


SOLUTIONS: list[tuple[str, R, dict[str, Any]]] = [
    ("another auction", R.AUCTION_UNKNOWN, {"number": 999}),
    ("another snapshot", R.SNAPSHOT_MISMATCH, {"snapshot_hash": UNKNOWN}),
]


@pytest.mark.parametrize(("code", "changes"), [pytest.param(c, d, id=n) for n, c, d in SOLUTIONS])
async def test_solutions_are_refused_exactly(
    world: World, code: R, changes: dict[str, Any]
) -> None:
    """A solution that cannot count is refused at once, with its code, and changes nothing."""
    await world.offering(bob, units=5, limit=50, resource=EPOCHS)
    await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    closes = world.sequencer.now_ms() + 30_000
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    async with world.solver(carol).connect() as desk:
        auction = await anext(aiter(desk))
        before = world.state_hash()
        with pytest.raises(Rejected) as caught:
            await desk.propose(msgspec.structs.replace(auction, **changes), solution(1, []))
        assert caught.value.code == code
        with pytest.raises(Rejected) as caught:
            await desk.propose(auction, solution(-1, []))
        assert caught.value.code == "malformed"
        many = [SolutionFill(intent=UNKNOWN, offer=UNKNOWN, units=1)] * 4_097
        with pytest.raises(Rejected) as caught:
            await desk.propose(auction, solution(1, many))
        assert caught.value.code == "malformed"
        assert world.state_hash() == before
