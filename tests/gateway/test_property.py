"""What the gateway promises about who may do what; each promise is broken once, on purpose.

Every check runs twice: as it is, and with a planted bug under which it must fail. A check
that still passes then would be worth nothing.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from intents.reject import Reject
from solver.client import Rejected
from solver.client.market import SIGNED_SECONDS
from solver.core.command import OpenAuction, SolutionFill
from solver.core.event import SolutionAccepted
from solver.core.fact import AllSessionsRevoked
from solver.core.state import MAY_CANCEL, MAY_SETTLE
from solver.engine.feed import Feed
from solver.gateway import auction_page, auth, grant, line, market, proxy
from solver.gateway.auth import Authenticator, Caller, Nonces
from solver.gateway.limit import Places
from solver.verifier import decode
from tests.builder import USDC, alice, bob, carol, dave
from tests.gateway.world import DOCS, EPOCHS, World, a_world
from tests.judging import SEED, solution
from tests.patience import impatient, patience_s, until

Check = Callable[[World], Awaitable[None]]
Plant = Callable[[pytest.MonkeyPatch], None]
BALANCE = "/v1/balance"


async def code_of(world: World, header: str, target: str = BALANCE, method: str = "GET") -> str:
    """The code that a signed request gets, or "ok"."""
    _, told, _ = await world.raw(method, target, Keyfill_Request=header)
    return str(told.get("code", "ok"))


async def a_request_counts_once(world: World) -> None:
    """A signed request that was accepted is refused from then on."""
    header = world.header(alice, "GET", BALANCE)
    assert await code_of(world, header) == "ok"
    assert await code_of(world, header) == "replayed"
    again = world.header(alice, "GET", BALANCE)
    assert await code_of(world, again) == "ok"


async def a_signature_binds_all_of_it(world: World) -> None:
    """Another method, path, query, body, nonce, expiry or account: not this signature."""
    digest = "0x" + "ab" * 32
    raw = msgspec.json.encode({"intent": digest})
    signed = world.header(alice, "POST", "/v1/leases/end", raw)
    other = msgspec.json.encode({"intent": "0x" + "ac" * 32})
    for method, target, sent in (
        ("POST", "/v1/leases/grant", raw),
        ("POST", "/v1/leases/end", other),
        ("POST", "/v1/leases/end", raw + b" "),
    ):
        _, told, _ = await world.raw(method, target, sent, Keyfill_Request=signed)
        assert told["code"] == "not_authorized", (method, target)
    told = (await world.raw("POST", "/v1/leases/end", raw, Keyfill_Request=signed))[1]
    assert told["code"] == "not_found", "the header itself is good"
    path = "/v1/keys/health?key=0x"
    header = world.header(alice, "GET", path + "ab" * 32)
    assert await code_of(world, header, path + "ac" * 32) == "not_authorized"
    changed: list[dict[str, Any]] = [
        {"nonce": 1},
        {"expiresAt": world.market.time_s() + SIGNED_SECONDS - 1},
    ]
    for changes in changed:
        header = world.header(alice, "GET", BALANCE, **changes)
        assert await code_of(world, header) == "not_authorized"


async def a_forgery_uses_up_no_nonce(world: World) -> None:
    """Somebody else's attempt with a nonce of mine does not stop my request."""
    mine = msgspec.json.decode(urlsafe_b64decode(world.header(alice, "GET", BALANCE)))
    forged = msgspec.json.decode(urlsafe_b64decode(world.header(bob, "GET", BALANCE)))
    stolen = {**mine, "signature": forged["signature"]}
    assert await code_of(world, encoded(stolen)) == "not_authorized"
    assert await code_of(world, encoded(mine)) == "ok"


async def what_may_be_older_than_the_server_is_refused(world: World) -> None:
    """A request that a predecessor may have accepted is refused, with the time to wait."""
    started_s = world.gateway.authenticator._started_at_s
    old = started_s + auth.LIFETIME_SECONDS_MAX - 1
    header = signed_until(world, old)
    _, told, _ = await world.raw("GET", BALANCE, Keyfill_Request=header)
    assert (told["code"], told["retryAfterMs"]) == ("unauthenticated", 1_000)
    assert await code_of(world, signed_until(world, old + 1)) == "ok"


async def a_request_lives_a_minute_at_most(world: World) -> None:
    """Expired ones and ones from too far ahead are refused."""
    world.stop_clock()
    now_s = world.sequencer.now_ms() // 1_000
    assert await code_of(world, signed_until(world, now_s + 65)) == "validity_too_long"
    assert await code_of(world, signed_until(world, now_s - 1)) == "expired"


async def a_settling_session_asks_for_nothing(world: World) -> None:
    """The operator's key of an account opens no door of this API."""
    await world.granting(carol, alice, permissions=MAY_SETTLE)
    header = world.header(carol, "GET", BALANCE, account=alice.address)
    assert await code_of(world, header) == "not_authorized"


async def a_revoked_session_is_nobody(world: World) -> None:
    """From the block that revokes it on, a session key is refused."""
    await world.granting(carol, alice)
    header = world.header(carol, "GET", BALANCE, account=alice.address)
    assert await code_of(world, header) == "ok"
    await world.chain(AllSessionsRevoked(account=alice.address))
    header = world.header(carol, "GET", BALANCE, account=alice.address)
    assert await code_of(world, header) == "not_authorized"


async def a_session_touches_only_its_own(world: World) -> None:
    """One agent of an account cannot withdraw or use what another one bought."""
    await world.granting(carol, alice)
    await world.granting(dave, alice)
    intent = await world.agent(carol, alice.address).intent(DOCS, units=1, limit=10)
    path = f"/v1/intents/{intent.digest}"
    header = world.header(dave, "DELETE", path, account=alice.address)
    assert await code_of(world, header, path, "DELETE") == "not_authorized"
    await world.granting(dave, alice, permissions=MAY_CANCEL)
    header = world.header(dave, "DELETE", path, account=alice.address)
    assert await code_of(world, header, path, "DELETE") == "ok", "that is what MAY_CANCEL says"


async def a_grant_cannot_be_made_up(world: World) -> None:
    """No bit of a grant can change; another market's secret gives other grants."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    token = await intent.grant()
    raw = urlsafe_b64decode(token)
    for place in (0, 31, 32, 39, 40, 71):
        forged = bytearray(raw)
        forged[place] ^= 1
        assert await called_with(world, urlsafe_b64encode(forged).decode()) == "unauthenticated"
    other = grant.Grants(b"x" * 32).issue(intent.digest, 2**52)
    for bad in (other, token[:-1], token + "=", token + "A", "", token.lower(), "é" * 96):
        assert await called_with(world, bad) == "unauthenticated"
    assert await called_with(world, token) == "ok"


async def a_grant_expires(world: World) -> None:
    """From its last millisecond on a grant is refused."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    late = world.gateway.grants.issue(intent.digest, world.sequencer.now_ms())
    assert await called_with(world, late) == "expired"


async def a_grant_is_for_its_intent_alone(world: World) -> None:
    """With one intent's grant nothing of another intent is used."""
    await world.offering(bob)
    first = await world.agent(alice).intent(DOCS, units=1, limit=100)
    second = await world.agent(carol).intent(DOCS, units=1, limit=100)
    assert await called_with(world, await first.grant()) == "ok"
    delivered = [(await one.refresh()).delivered_units for one in (first, second)]
    assert delivered == [1, 0]
    assert await called_with(world, await first.grant()) == "lease_ended"


async def solutions_are_sealed(world: World) -> None:
    """Nobody sees a solution before its auction has closed, nor in the feed who made it."""
    await world.offering(bob, units=5, limit=50, resource=EPOCHS)
    await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    closes = world.sequencer.now_ms() + 30_000
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    async with world.solver(carol).connect() as desk:
        auction = await anext(aiter(desk))
        (book,) = auction.snapshot.books
        bid, ask = book.intents[0], book.offers[0]
        fills = [SolutionFill(intent=bid.id, offer=ask.id, units=5)]
        await desk.propose(auction, solution(15_000_000, fills, EPOCHS))
    _, told, _ = await world.raw("GET", f"/v1/auctions/{auction.number}")
    assert "15000000" not in str(told)
    async with world.http.ws_connect(f"{world.url}/v1/feed") as socket:
        lines = [await socket.receive_json(timeout=patience_s())]
        while lines[-1]["seq"] < world.gateway.feed.seq:
            lines.append(await socket.receive_json(timeout=patience_s()))
    (opening,) = [n for n, line in enumerate(lines) if line.get("event") == "AuctionOpened"]
    assert carol.address not in str(lines[opening:])


async def names_are_not_repeated(world: World) -> None:
    """JSON that two parsers could read differently is refused."""
    for raw in (b'{"intent":"0x1","intent":"0x2"}', b'{"a":{"b":1,"b":2}}'):
        header = world.header(alice, "POST", "/v1/leases/end", raw)
        _, told, _ = await world.raw("POST", "/v1/leases/end", raw, Keyfill_Request=header)
        assert told["code"] == "malformed"
        assert "twice" in told["message"]


async def replay_equals_live(world: World) -> None:
    """Whoever follows from the start and whoever comes later read the same lines."""
    live: list[dict[str, Any]] = []
    async with world.http.ws_connect(f"{world.url}/v1/feed") as socket:
        await world.offering(bob)
        intent = await world.agent(alice).intent(DOCS, units=2, limit=200)
        await intent.call("GET", "/a")
        await intent.done()
        last = world.gateway.feed.seq
        while not live or live[-1]["seq"] < last:
            live.append(await socket.receive_json(timeout=patience_s()))
    for cursor in (0, 1, last // 2, last - 1):
        again: list[dict[str, Any]] = []
        async with world.http.ws_connect(f"{world.url}/v1/feed?cursor={cursor}") as socket:
            while len(again) < last - cursor:
                again.append(await socket.receive_json(timeout=patience_s()))
        assert again == live[cursor:]
    assert [line["seq"] for line in live] == list(range(1, last + 1))


async def sockets_are_counted(world: World) -> None:
    """However a feed ends, its place is free again."""
    for _ in range(3):
        async with world.http.ws_connect(f"{world.url}/v1/feed") as socket:
            await socket.receive_json(timeout=patience_s())
    await world.market.now()
    await until(lambda: not len(world.gateway.load.feeds))
    assert (len(world.gateway.load.feeds), len(world.gateway.load.sockets)) == (0, 0)


# -- planted bugs


def patching(target: object, name: str, planted: Any) -> Plant:
    """Replace one thing by a faulty one."""
    return lambda patch: patch.setattr(target, name, planted)


def forgetting_nonces(patch: pytest.MonkeyPatch) -> None:
    """Nonces are never remembered."""
    patch.setattr(Nonces, "take", lambda *_: None)


def ignoring_bodies(patch: pytest.MonkeyPatch) -> None:
    """Whoever signed, and over whatever body, is taken for the account."""

    def lenient(_: Authenticator, account: str, *__: object) -> Caller:
        return Caller(account=account, signer=account)

    patch.setattr(Authenticator, "_is_known", lambda *_: True)
    patch.setattr(Authenticator, "_caller", lenient)


def taking_nonces_first(patch: pytest.MonkeyPatch) -> None:
    """The nonce is used up before the signer is known."""
    verify = Authenticator.verify

    async def eager(
        self: Authenticator, credentials: auth.Credentials, **rest: Any
    ) -> Caller | Reject:
        used = self._nonces.take(
            credentials.account, credentials.nonce, credentials.expires_at, self._now_s
        )
        if used:
            return used
        self._nonces._expiry.pop((credentials.account, credentials.nonce))
        found = await verify(self, credentials, **rest)
        self._nonces._expiry[credentials.account, credentials.nonce] = credentials.expires_at
        return found

    patch.setattr(Authenticator, "verify", eager)


def lenient_grants(patch: pytest.MonkeyPatch) -> None:
    """Only the first byte of a MAC is compared."""
    patch.setattr(hmac, "compare_digest", lambda a, b: a[:1] == b[:1])


def eternal_grants(patch: pytest.MonkeyPatch) -> None:
    """Expiry is not looked at."""
    opened = grant.Grants.open
    patch.setattr(grant.Grants, "open", lambda self, token, _: opened(self, token, 0))


def any_lease_grants(patch: pytest.MonkeyPatch) -> None:
    """A grant opens the newest intent, whichever it is for."""

    def newest(gateway: Any, _: object) -> str:
        return str(list(gateway.state.intents)[-1])

    patch.setattr(proxy, "intent_of", newest)


def unsealed(patch: pytest.MonkeyPatch) -> None:
    """Auctions are told as if they had closed."""
    told = auction_page.auction_told

    def unsealing(auction: Any, *rest: Any) -> Any:
        return told(msgspec.structs.replace(auction, closed=True), *rest)

    patch.setattr(market, "auction_told", unsealing)


def telling_who_bids(patch: pytest.MonkeyPatch) -> None:
    """The feed has a line of each sealed bid."""
    types: dict[Any, Any] = line.LINE_TYPES
    patch.setitem(types, SolutionAccepted, line._line_type(SolutionAccepted))


def skipping_feed(patch: pytest.MonkeyPatch) -> None:
    """Replay begins one event too late."""
    after = Feed.after

    def skipping(self: Feed, cursor: int, at_most: int) -> Any:
        entries = after(self, cursor, at_most)
        return entries[1:] if len(entries) > 1 else entries

    patch.setattr(Feed, "after", skipping)


def leaking_sockets(patch: pytest.MonkeyPatch) -> None:
    """Nobody gives a place back."""
    patch.setattr(Places, "give_back", lambda _, __: None)


def ageless(patch: pytest.MonkeyPatch) -> None:
    """The server does not know when it started."""
    patch.setattr(auth.Authenticator, "_maybe_older", lambda self, _: self._caller("", "", 0))


def long_lived(patch: pytest.MonkeyPatch) -> None:
    """Requests may be signed for hours."""
    patch.setattr(auth, "LIFETIME_SECONDS_MAX", 3_600)


PROMISES: list[tuple[Check, Plant]] = [
    (a_request_counts_once, forgetting_nonces),
    (a_signature_binds_all_of_it, ignoring_bodies),
    (a_forgery_uses_up_no_nonce, taking_nonces_first),
    (what_may_be_older_than_the_server_is_refused, ageless),
    (a_request_lives_a_minute_at_most, long_lived),
    (a_settling_session_asks_for_nothing, ignoring_bodies),
    (a_revoked_session_is_nobody, ignoring_bodies),
    (a_session_touches_only_its_own, patching(Caller, "may_touch", lambda *_: True)),
    (a_grant_cannot_be_made_up, lenient_grants),
    (a_grant_expires, eternal_grants),
    (a_grant_is_for_its_intent_alone, any_lease_grants),
    (solutions_are_sealed, unsealed),
    (solutions_are_sealed, telling_who_bids),
    (names_are_not_repeated, patching(decode, "_distinct", dict)),
    (replay_equals_live, skipping_feed),
    (sockets_are_counted, leaking_sockets),
]
NAMED = [pytest.param(check, plant, id=check.__name__) for check, plant in PROMISES]


@pytest.mark.parametrize(("check", "plant"), NAMED)
async def test_promise_holds(world: World, check: Check, plant: Plant) -> None:
    """The promise of that name holds."""
    await check(world)


@pytest.mark.parametrize(("check", "plant"), NAMED)
async def test_promise_is_broken_by_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch, check: Check, plant: Plant
) -> None:
    """The check notices the bug that it is there for."""
    async with a_world() as world:
        plant(monkeypatch)
        with impatient(), pytest.raises((AssertionError, TimeoutError, Rejected, KeyError)):
            await check(world)
        monkeypatch.undo()


def encoded(credentials: object) -> str:
    """Credentials as a header."""
    return urlsafe_b64encode(msgspec.json.encode(credentials)).decode()


def signed_until(world: World, expires_at: int) -> str:
    """A request for the balance, signed for this expiry."""
    market, time_s = world.market, world.market.time_s
    market.time_s = lambda: expires_at - SIGNED_SECONDS  # type: ignore[method-assign]
    header = world.header(alice, "GET", BALANCE)
    market.time_s = time_s  # type: ignore[method-assign]
    return header


async def called_with(world: World, token: str) -> str:
    """The code that a call with this grant gets, or "ok"."""
    _, told, _ = await world.raw("GET", "/v1/proxy/datasette/a", Authorization=f"Bearer {token}")
    return str(told.get("code", "ok"))
