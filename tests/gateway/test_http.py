"""What clients of other makes say in HTTP: old versions, HEAD, Expect, many requests at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.builder import alice, an_intent
from tests.gateway.test_reject import body_of
from tests.gateway.world import World
from tests.patience import patiently


class Line:
    """A connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer."""
        async with patiently():
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        pairs = [line.split(": ", 1) for line in lines]
        assert len({name.lower() for name, _ in pairs}) == len(pairs), "a header came twice"
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        status, headers = await self.head()
        async with patiently():
            return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_over(self) -> bool:
        """Whether the server has said all, and closed."""
        async with patiently():
            return await self.reader.read(1) == b""


@asynccontextmanager
async def a_line(world: World, said: bytes) -> AsyncIterator[Line]:
    """A connection on which this was said."""
    line = Line(*await asyncio.open_connection("127.0.0.1", world.port))
    line.writer.write(said)
    try:
        yield line
    finally:
        line.writer.close()


@pytest.mark.parametrize(
    ("head", "connection"),
    [
        (b"HTTP/1.1\r\nHost: x", "keep-alive"),
        (b"HTTP/1.1\r\nHost: x\r\nConnection: close", "close"),
        (b"HTTP/1.0\r\nHost: x", "close"),
        (b"HTTP/1.0\r\nHost: x\r\nConnection: keep-alive", "keep-alive"),
    ],
)
async def test_a_connection_stays_as_long_as_the_client_wants(
    world: World, head: bytes, connection: str
) -> None:
    """And the answer says whether it does."""
    said = b"GET /healthz " + head + b"\r\n\r\n"
    async with a_line(world, said) as line:
        status, headers, body = await line.answer()
        assert (status, headers["connection"]) == (200, connection)
        assert msgspec.json.decode(body)["status"] == "ok"
        assert headers["date"].endswith(" GMT")
        if connection == "close":
            assert await line.is_over()
        else:
            line.writer.write(said)
            assert (await line.answer())[0] == 200


async def test_head_has_no_body(world: World) -> None:
    """No route takes HEAD; what says so has no body, so that the next answer is read as one."""
    said = b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with a_line(world, said) as line:
        status, headers = await line.head()
        assert (status, headers["allow"]) == (405, "GET")
        assert (await line.answer())[0] == 200


async def test_requests_at_once_are_answered_in_order(world: World) -> None:
    """A thousand in one piece, the slow ones among them."""
    paths = ["/healthz", "/v1/nothing", "/v1/market"] * 300
    said = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths)
    async with a_line(world, said.encode()) as line:
        found = [(await line.answer())[0] for _ in paths]
    assert found == [200, 404, 200] * 300


async def test_a_client_may_ask_before_it_sends(world: World) -> None:
    """With Expect it is told to go on; unless it need not, being refused already."""
    body = msgspec.json.encode(body_of(world, an_intent(), alice))
    head = (
        b"POST /v1/intents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    async with a_line(world, head % len(body)) as line:
        async with patiently():
            assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.writer.write(body)
        assert (await line.answer())[0] == 201
    async with a_line(world, head % 10**6) as line:
        status, _, told = await line.answer()
        assert (status, msgspec.json.decode(told)["code"]) == (413, "too_large")


async def test_who_does_not_read_is_not_answered_without_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers wait for a client that sends on and on; the server holds a few of them at most."""
    answered = 0

    def note(*_: object) -> None:
        nonlocal answered
        answered += 1

    monkeypatch.setattr(world.gateway.access_log, "note", note)
    async with a_line(world, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000) as line:
        status, _, body = await line.answer()
        assert status == 200
        seen = -1
        while seen != answered:
            seen = answered
            await asyncio.sleep(0.2)
        assert answered < 1_000, "socket buffers hold a few megabytes"
        assert answered * len(body) < 64 * 1024 * 1024
