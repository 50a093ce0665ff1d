"""Every route of the table under junk: in its body, its query, its path and its headers.

What is sent begins as something that the route takes, signed as it wants it, and is then spoilt
in a few places. The answer is an error of ours with a code and a hint, or a success; never a 5xx.
"""

from random import Random
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest
from yarl import URL

from solver.gateway import body
from solver.gateway.mac import mac_of
from solver.gateway.route import Route
from solver.gateway.table import ROUTES
from tests.builder import alice, an_intent, an_offer, bob
from tests.gateway.test_intake import bare
from tests.gateway.test_mandate import a_mandate, as_sent
from tests.gateway.test_reject import body_of
from tests.gateway.world import DOCS, World

REQUESTS: Final = 40
"""To each route."""
JUNK: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 2**53, 2**63, 2**64, 10**30, 0.5, 1e308),
    *("", "0", "0x", "0X" + "AB" * 20, "0x" + "g" * 64, "é", "\u202e\x00", "x" * 5_000, "[]"),
    *([], {}, [[[[]]]], {"a": {"b": {}}}, ["x"] * 40, {"document": None}),
)
SPOILT: Final[tuple[bytes, ...]] = (
    b"",
    b"\xff",
    b"\x00",
    b'"',
    b"}",
    b"[",
    b",,",
    b"NaN",
    b"\\ud800",
)

NAMED: Final = [pytest.param(route, id=f"{route.method} {route.path}") for route in ROUTES]


def bodies(world: World) -> dict[str, Any]:
    """Something that each route with a body takes, but for what it names."""
    intents = [msgspec.to_builtins(bare(world)) for _ in range(2)]
    signed = body_of(world, an_intent(), alice)
    named = {"intent": "0x" + "ab" * 32}
    return {
        "/v1/intents": signed,
        "/v1/intents/batch": [signed, signed],
        "/v1/intents/bulk": {"intents": intents, "signature": signed["signature"]},
        "/v1/mandates": msgspec.to_builtins(as_sent(a_mandate(world))),
        "/v1/mandates/{digest}/intents": intents,
        "/v1/offers": body_of(world, an_offer(), bob),
        "/v1/leases/grant": named,
        "/v1/leases/end": named,
        "/v1/keys/contribute": {"provider": "datasette", "secret": "sk", "attestation": None},
        "/v1/keys/proxy": {"method": "POST", "path": "/a", "headers": {"a": "b"}, "body": {"a": 1}},
        "/v1/keys/revoke": {"key": "0x" + "ab" * 32},
    }


def spoil(random: Random, value: Any) -> Any:
    """The same value with one place of it changed, lost or added."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice(list(value))
        kept = {other: value[other] for other in value if other != name}
        changes: tuple[dict[str, Any], ...] = (
            {name: spoil(random, value[name])},
            {},
            {name + "X": value[name]},
        )
        return kept | random.choice(changes)
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        return [*value[:place], spoil(random, value[place]), *value[place + 1 :]]
    return random.choice(JUNK)


def spoilt_bytes(random: Random, raw: bytes) -> bytes:
    """The same bytes, spoilt below the level of JSON every other time."""
    place = random.randrange(len(raw) + 1)
    part = random.choice(SPOILT)
    return random.choice((raw, raw, raw[:place] + part + raw[place:], raw[:place] + part))


def a_body(random: Random, world: World, route: Route) -> bytes:
    """What a route takes, spoilt; where it takes nothing, sometimes something."""
    value = bodies(world).get(route.path)
    if value is None:
        return random.choice((b"", b"", b"{}", b"x", b"\xff" * 9))
    for _ in range(random.randrange(3)):
        value = spoil(random, value)
    return spoilt_bytes(random, msgspec.json.encode(value))


def a_target(random: Random, world: World, route: Route) -> str:
    """A path of the route, and a query that begins well."""
    digests = [*world.gateway.state.intents, *world.gateway.state.mandates, "0x" + "AB" * 32, "0x"]
    named = {
        "digest": random.choice(digests),
        "number": random.choice(("0", "1", "9" * 15, "9" * 16, "-1")),
        "provider": random.choice(("datasette", "nobody", "%2e%2e", "A")),
        "path": random.choice(("a", "", "../a", "a%00b", "%2e%2e/a", "//a", quote("é"))),
    }
    pairs = [
        (name, random.choice((alice.address, DOCS, "1", *digests, *map(str, JUNK))))
        for name in ("account", "resource", "asset", "intent", "key", "limit", "cursor", "x")
        if random.random() < 0.3
    ]
    query = "&".join(f"{name}={quote(text)}" for name, text in pairs)
    return route.path.format_map(named) + random.choice(("", "", f"?{query}", "?%ff=%", "?&&="))


def who(random: Random, world: World, route: Route, target: str, raw: bytes) -> dict[str, str]:
    """The header that the route wants, good four times of five."""
    good = random.random() < 0.8
    now_ms = world.sequencer.now_ms()
    digest = target.split("/")[3] if route.maced else ""
    if route.signed:
        header = world.header(alice, route.method, target, raw)
        return {"Keyfill-Request": header if good else random.choice((header[:-9], "e30", "é"))}
    if route.granted:
        grant = world.gateway.grants.issue(next(iter(world.gateway.state.intents)), now_ms + 9_000)
        return {"Authorization": f"Bearer {grant if good else 'x' * 96}"}
    if digest in world.gateway.state.mandates:
        mac = mac_of(world.gateway.macs.secret_of(digest), now_ms, raw)
        return {"Keyfill-Mac": f"{now_ms}.{mac}" if good else "0.0"}
    return {}


async def check_route(world: World, route: Route) -> set[int]:
    """Send junk; the statuses of the answers, each of which was checked."""
    random = Random(f"{route.method} {route.path}")  # noqa: S311  junk, no secret
    statuses = set()
    for _ in range(REQUESTS):
        raw, target = a_body(random, world, route), a_target(random, world, route)
        headers = who(random, world, route, target, raw) | {
            "Content-Type": random.choice(("application/json", "application/json", "text/html"))
        }
        url = URL(world.url + target, encoded=True)
        async with world.http.request(route.method, url, data=raw, headers=headers) as response:
            content = await response.read()
        statuses.add(response.status)
        assert "Server" not in response.headers
        if "Keyfill-Lease" in response.headers:
            continue  # the upstream's own answer
        assert response.status < 500, (target, raw[:200], content)
        if response.status >= 400:
            told = msgspec.json.decode(content)
            assert {"code", "message", "hint"} <= set(told), (target, told)
    return statuses


async def furnished(world: World) -> World:
    """With an intent that has leases, and a mandate."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=5, limit=500)
    await intent.filled()
    await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    return world


@pytest.mark.parametrize("route", NAMED)
async def test_junk_is_the_sender_s_error(world: World, route: Route) -> None:
    """Whatever comes to a route, it is answered, and not with a failure of ours."""
    statuses = await check_route(await furnished(world), route)
    assert any(400 <= status < 500 for status in statuses), "not junk enough"


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/book", "GET"), ("/v1/proxy/{provider}/{path}", "POST")]
)
async def test_a_failure_of_ours_would_be_found(
    world: World, path: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in what reads a query, one in what knows a provider."""
    (route,) = [one for one in ROUTES if (one.path, one.method) == (path, method)]
    await furnished(world)
    monkeypatch.setattr(body, "lower", lambda text: text.encode("ascii").decode())
    monkeypatch.setattr(world.vault, "breaking", RuntimeError("boom"))
    with pytest.raises(AssertionError, match="something failed here"):
        await check_route(world, route)
