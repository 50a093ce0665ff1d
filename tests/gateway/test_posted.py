"""Intents that are posted as most are: taken by their bytes, answered as any other request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from solver.gateway import connection, door, posted
from solver.gateway.connection import Connection
from solver.gateway.document import take_intent
from tests.builder import alice, an_intent, bob
from tests.gateway.test_http import Line, a_line
from tests.gateway.test_reject import body_of
from tests.gateway.world import GENEROUS, World, a_world
from tests.patience import a_while, patience_s

HEAD = (
    b"POST /v1/intents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n"
)
PARSED = b"X-Other: \xff\r\n"
"""Makes a request one for the parser, which means nothing to the route."""


def request(body: bytes, more: bytes = b"") -> bytes:
    """A posted intent, with more in its head."""
    return HEAD % len(body) + more + b"\r\n" + body


def signed(world: World) -> bytes:
    """A fresh signed intent as it is sent."""
    return msgspec.json.encode(body_of(world, an_intent(), alice))


@asynccontextmanager
async def quick_and_parsed(patch: pytest.MonkeyPatch, world: World) -> AsyncIterator[list[bytes]]:
    """Bodies that are taken by their bytes meanwhile."""
    taken: list[bytes] = []
    answer = door.Door.answer_posted

    async def noted(self: door.Door, raw: bytes, remote: str) -> Any:
        taken.append(raw)
        return await answer(self, raw, remote)

    with patch.context() as patched:
        patched.setattr(door.Door, "answer_posted", noted)
        yield taken


async def told(world: World, said: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """What a request on a connection of its own is answered, less what is never the same."""
    async with a_line(world, said) as line:
        status, headers, body = await line.answer()
    found = msgspec.json.decode(body)
    for name in ("digest", "nonce", "cursor", "message", "retryAfterMs"):
        found.pop(name, None)
    headers.pop("date")
    headers.pop("content-length")
    return status, headers, found


async def test_it_is_answered_as_the_parser_s_requests_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted, malformed, unsigned, for an unknown resource, of another's account: all alike."""
    makes: list[Callable[[], bytes]] = [
        lambda: signed(world),
        lambda: b"{",
        lambda: b"[]",
        lambda: msgspec.json.encode(body_of(world, an_intent(), alice) | {"signature": "0x"}),
        lambda: msgspec.json.encode(body_of(world, an_intent().of("no/such:call"), alice)),
        lambda: msgspec.json.encode(body_of(world, an_intent().for_account(alice), bob)),
    ]
    async with quick_and_parsed(monkeypatch, world) as taken:
        for make in makes:
            quick, parsed = request(make()), request(make(), PARSED)
            assert await told(world, quick) == await told(world, parsed)
        assert len(taken) == len(makes), "one of each pair"
    statuses = {(await told(world, request(make())))[0] for make in makes}
    assert {201, 400, 403, 404, 422} >= statuses > {201}


async def test_one_after_the_other_on_a_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is answered in its turn; what else comes in between goes to the parser, for good."""
    said = [request(signed(world)) for _ in range(4)]
    async with quick_and_parsed(monkeypatch, world) as taken, a_line(world, said[0]) as line:
        assert (await line.answer())[0] == 201
        line.writer.write(said[1])
        assert (await line.answer())[0] == 201
        assert len(taken) == 2
        line.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await line.answer())[0] == 200
        line.writer.write(said[2])
        assert (await line.answer())[0] == 201
        line.writer.write(said[3] + b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [(await line.answer())[0] for _ in range(2)] == [201, 404]
        assert len(taken) == 2


async def check_bytes_within_a_request_begin_none(world: World) -> None:
    """What looks like a posted intent and is a part of something else stays a part of it."""
    inner = request(signed(world))
    outer = b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner)
    async with a_line(world, outer) as line:
        await a_while()
        line.writer.write(inner)
        assert (await line.answer())[0] == 404
        line.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await line.answer())[0] == 200
    assert not world.gateway.state.intents
    async with a_line(world, b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n") as line:
        await a_while()
        line.writer.write(inner)
        assert (await line.answer())[0] == 400
    assert not world.gateway.state.intents


async def test_bytes_within_a_request_begin_none(world: World) -> None:
    """What looks like a posted intent and is a part of something else stays a part of it."""
    await check_bytes_within_a_request_begin_none(world)


async def test_what_follows_at_once_waits_its_turn(world: World) -> None:
    """A request that comes while an intent is verified and written is answered after it."""
    async with a_line(world, request(signed(world))) as line:
        for _ in range(3):
            line.writer.write(request(signed(world)))
            line.writer.write(b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0)
        assert [(await line.answer())[0] for _ in range(7)] == [201, *[201, 404] * 3]


async def check_its_network_has_a_rate() -> None:
    """A posted intent counts for its network as every request."""
    slow = msgspec.structs.replace(GENEROUS, address_per_second=1, address_burst=3)
    async with a_world(limits=slow) as world, a_line(world, b"") as line:
        world.stop_clock()
        found = [await _asked(line, request(b"{}")) for _ in range(5)]
    assert (found[0], found[-1]) == (400, 429)


async def test_its_network_has_a_rate() -> None:
    """A posted intent counts for its network as every request."""
    await check_its_network_has_a_rate()


async def _asked(line: Line, said: bytes) -> int:
    line.writer.write(said)
    return (await line.answer())[0]


async def check_a_large_one_is_refused() -> None:
    """A body beyond the bound is too large, however it came."""
    small = msgspec.structs.replace(GENEROUS, body_bytes_max=100)
    async with a_world(limits=small) as world:
        assert (await told(world, request(b" " * 100)))[0] == 400
        assert (await told(world, request(b" " * 101)))[0] == 413


async def test_a_large_one_is_refused() -> None:
    """A body beyond the bound is too large, however it came."""
    await check_a_large_one_is_refused()


async def test_an_accident_of_ours_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 500, and the connection goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(door, "take_intent", lambda *_: 1 // 0)
        status, _, found = await told(world, request(signed(world)))
    assert (status, found["code"]) == (500, "internal")
    assert (await told(world, request(signed(world))))[0] == 201


async def test_it_is_answered_before_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who posted an intent before the server stops learns what became of it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*asked: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await take_intent(*asked)

    monkeypatch.setattr(door, "take_intent", slow)
    running = a_world()
    world = await running.__aenter__()
    async with a_line(world, request(signed(world))) as line:
        await asyncio.wait_for(begun.wait(), patience_s())
        stopping = asyncio.create_task(running.__aexit__(None, None, None))
        await a_while()
        assert not stopping.done()
        go_on.set()
        assert (await line.answer())[0] in {201, 503}
        assert await line.is_over()
        await asyncio.wait_for(stopping, patience_s())


GOOD = HEAD % 2 + b"\r\n{}"
NOT_SO = [
    GOOD[:-1],
    GOOD + b" ",
    GOOD * 2,
    GOOD.replace(b"POST", b"PUT"),
    GOOD.replace(b"/v1/intents", b"/v1/intents?a=b"),
    GOOD.replace(b"/v1/intents", b"/v1/intents/"),
    GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    GOOD.replace(b"Host: x\r\n", b""),
    GOOD.replace(b"Host: x", b"Host: x\r\nHost: y"),
    GOOD.replace(b"Host: x", b"Host : x"),
    GOOD.replace(b"Host: x", b"Host: x\r\n folded"),
    GOOD.replace(b"Host: x", b"Host: x\nA: b"),
    GOOD.replace(b"Host: x", b"Host: \x00"),
    GOOD.replace(b"Content-Type: application/json\r\n", b""),
    GOOD.replace(b"application/json", b"application/json; charset=utf-16"),
    GOOD.replace(b"Content-Length: 2", b"Content-Length: 02"),
    GOOD.replace(b"Content-Length: 2", b"Content-Length: +2"),
    GOOD.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
    GOOD.replace(b"Content-Length: 2", b"Content-Length: 2\r\ncontent-length: 9"),
    GOOD.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked\r\nContent-Length: 2"),
    *(
        GOOD.replace(b"Host: x", b"Host: x\r\n" + more)
        for more in (
            b"Transfer-Encoding: chunked",
            b"Content-Encoding: gzip",
            b"Expect: 100-continue",
            b"Connection: close",
            b"Connection: upgrade",
            b"Upgrade: websocket",
            b"TE: trailers",
            b"X: " + b"y" * 1_024,
            b"\r\n".join(b"X-%d: y" % number for number in range(40)),
        )
    ),
]


def test_one_whole_plain_request_is_known() -> None:
    """Its body is what follows the head; other fields do not matter, nor does their case."""
    assert posted.posted(GOOD) == b"{}"
    more = (
        b"User-Agent: a b\r\nAccept: */*\r\nCONNECTION: Keep-Alive\r\naccept-encoding: gzip, br\r\n"
    )
    assert posted.posted(request(b'{"a":1}', more)) == b'{"a":1}'


@pytest.mark.parametrize("said", NOT_SO, ids=range(len(NOT_SO)))
def test_whatever_could_be_meant_otherwise_is_the_parser_s(said: bytes) -> None:
    """Each of these is not one whole plain request."""
    assert posted.posted(said) is None


@given(st.binary(max_size=40), st.integers(0, len(GOOD)), st.integers(0, 12))
@example(b"\r\n", len(posted.START), 0)
@example(b"Transfer-Encoding: chunked\r\n", len(posted.START), 0)
def test_what_is_known_is_framed_by_its_length_alone(more: bytes, place: int, cut: int) -> None:
    """Whatever stands where in a request: it is known only if one length says where it ends."""
    said = GOOD[:place] + more + GOOD[place + cut :]
    body = posted.posted(said)
    if body is not None:
        head = said[: -len(body)].lower()
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        fields = [line.split(b":", 1) for line in head.split(b"\r\n")[1:-2]]
        lengths = [value.strip() for name, value in fields if name == b"content-length"]
        assert lengths == [b"%d" % len(body)]
        assert b"transfer-encoding:" not in head
        assert b"\n" not in head.replace(b"\r\n", b"")


def unrated(patch: pytest.MonkeyPatch) -> None:
    """Posted intents count for nobody."""
    patch.setattr(door, "limited", lambda *_: None)


def boundless(patch: pytest.MonkeyPatch) -> None:
    """A posted intent may be of any size."""
    init = Connection.__init__

    def large(self: Connection, *given: Any) -> None:
        init(self, *given)
        self._intent_bytes_max = 10**9

    patch.setattr(Connection, "__init__", large)


def at_any_time(patch: pytest.MonkeyPatch) -> None:
    """Bytes that look like a posted intent are one, also within another request."""
    receive = Connection.data_received

    def forgetful(self: Connection, data: bytes) -> None:
        self._is_plain = True
        receive(self, data)

    patch.setattr(Connection, "data_received", forgetful)


@pytest.mark.parametrize(
    ("check", "plant"),
    [
        (check_its_network_has_a_rate, unrated),
        (check_a_large_one_is_refused, boundless),
    ],
)
async def test_a_planted_bug_breaks_a_bound(
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[[], Awaitable[None]],
    plant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """The tests of these names notice each."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        await check()


async def test_a_planted_bug_takes_a_part_for_a_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of bytes within a request notices it."""
    at_any_time(monkeypatch)
    monkeypatch.setattr(connection, "REST_SECONDS_MAX", 0.1)
    with pytest.raises((AssertionError, asyncio.IncompleteReadError)):
        await check_bytes_within_a_request_begin_none(world)
