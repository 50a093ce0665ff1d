"""How a connection takes its requests: in turn, to the end, and never beyond it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from solver.gateway import connection
from solver.gateway.door import Door
from solver.gateway.gateway import Load, Response
from solver.gateway.limit import Limits
from solver.gateway.reply import Reply
from solver.gateway.server import serve
from tests.gateway.test_http import Line
from tests.patience import a_while, patience_s, patiently, until

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
Handler = Callable[[web.BaseRequest], Awaitable[Response]]


async def ok(_: web.BaseRequest) -> Response:
    """Answer at once."""
    return Reply(200, b"{}")


@asynccontextmanager
async def a_server(handler: Handler, **limits: float) -> AsyncIterator[int]:
    """The server with one handler behind it, and no market."""
    bounds = msgspec.structs.replace(Limits(), **limits)
    gateway = SimpleNamespace(limits=bounds, load=Load.of(bounds))
    door = SimpleNamespace(gateway=gateway, answer=handler)
    async with serve(cast("Door", door), "127.0.0.1", 0) as port:
        yield port


@asynccontextmanager
async def a_line(port: int, said: bytes) -> AsyncIterator[Line]:
    """A connection on which this was said."""
    line = Line(*await asyncio.open_connection("127.0.0.1", port))
    line.writer.write(said)
    try:
        yield line
    finally:
        line.writer.close()


async def test_who_sends_many_at_once_takes_turns_with_others() -> None:
    """Thousands of requests in one piece hold up one request of another by a few."""
    order: list[str] = []

    async def note(request: web.BaseRequest) -> Response:
        order.append(request.path)
        return Reply(200, b"{}")

    async with a_server(note) as port, a_line(port, b"") as many, a_line(port, GET % b"/") as one:
        await one.answer()
        order.clear()
        many.writer.write(GET % b"/many" * 3_000)
        one.writer.write(GET % b"/one")
        await one.answer()
        for _ in range(3_000):
            await many.answer()
    assert order.index("/one") < 300, "not after all that came in one read"


async def test_an_answer_that_began_is_finished_before_the_server_stops() -> None:
    """Stopping closes idle connections and waits for the request that is being answered."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> Response:
        begun.set()
        await go_on.wait()
        return Reply(200, b'"done"')

    server = a_server(slow)
    port = await server.__aenter__()
    async with a_line(port, GET % b"/") as busy, a_line(port, b"") as idle:
        await asyncio.wait_for(begun.wait(), patience_s())
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        assert await idle.is_over()
        assert not stopping.done()
        go_on.set()
        assert (await busy.answer())[2] == b'"done"'
        assert await busy.is_over()
        await asyncio.wait_for(stopping, patience_s())


async def test_a_body_that_nobody_wanted_is_passed_over() -> None:
    """The next request on the connection is read where it begins."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    async with a_server(ok) as port, a_line(port, head) as line:
        assert (await line.answer())[0] == 200
        line.writer.write(b"GET / HTTP/1.1\r\n" * 6_250 + GET % b"/")
        assert (await line.answer())[0] == 200
        line.writer.write(GET % b"/")
        assert (await line.answer())[0] == 200


async def test_a_body_whose_rest_does_not_come_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is waited for so long, and for no longer."""
    monkeypatch.setattr(connection, "REST_SECONDS_MAX", 0.05)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    async with a_server(ok) as port, a_line(port, head) as line:
        assert (await line.answer())[0] == 200
        assert await line.is_over()


async def test_one_who_leaves_within_a_body_that_nobody_wanted_gives_its_place_back() -> None:
    """At once, though the rest of a body is waited for much longer."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    async with a_server(ok, connections_max=1) as port:
        async with a_line(port, head) as line:
            assert (await line.answer())[0] == 200
            line.writer.transport.abort()
        async with patiently():
            while not await _is_served(port):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def _is_served(port: int) -> bool:
    """Whether there is a place for one more connection."""
    async with a_line(port, GET % b"/") as line:
        try:
            return (await line.answer())[0] == 200
        except (asyncio.IncompleteReadError, ConnectionError):
            return False


async def test_what_follows_a_refused_upgrade_is_not_answered() -> None:
    """Bytes after it may be a WebSocket's and are no request: the answer says that it ends."""
    said = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with a_server(ok) as port, a_line(port, said + GET % b"/") as line:
        status, headers, _ = await line.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await line.is_over()


async def test_a_socket_that_fails_is_closed_and_told_nothing_in_http() -> None:
    """After the upgrade an error's answer would be read as a frame."""

    async def fails(request: web.BaseRequest) -> Response:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return Reply(500, b'"secret"')

    said = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with a_server(fails) as port, a_line(port, said) as line:
        assert (await line.head())[0] == 101
        assert await line.is_over()


async def test_an_idle_connection_is_closed_and_a_waiting_one_is_not() -> None:
    """Idle is who has no request under way, since the last answer."""

    async def slow(_: web.BaseRequest) -> Response:
        await asyncio.sleep(0.3)
        return Reply(200, b"{}")

    async with a_server(slow, idle_seconds_max=0.1) as port, a_line(port, GET % b"/") as line:
        assert (await line.answer())[0] == 200
        assert await line.is_over()


async def test_a_connection_stays_between_requests() -> None:
    """Its time begins with the last answer, and the next request ends it."""
    async with a_server(ok, idle_seconds_max=patience_s()) as port, a_line(port, b"") as line:
        for _ in range(3):
            line.writer.write(GET % b"/")
            assert (await line.answer())[0] == 200
            await asyncio.sleep(0.02)


async def test_one_who_leaves_does_not_end_what_it_began() -> None:
    """What is under way is carried out, and of what it sent besides nothing is begun."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def slow(request: web.BaseRequest) -> Response:
        begun.set()
        await go_on.wait()
        done.append(request.path)
        return Reply(200, b"{}")

    async with a_server(slow) as port:
        async with a_line(port, GET % b"/first" + GET % b"/second") as line:
            await asyncio.wait_for(begun.wait(), patience_s())
            line.writer.transport.abort()
        await a_while()
        go_on.set()
        await until(lambda: done)
        await a_while()
    assert done == ["/first"]


async def test_a_body_that_stops_when_its_sender_leaves_is_not_waited_for() -> None:
    """Who reads it is told at once."""
    begun, told = asyncio.Event(), asyncio.Event()

    async def read(request: web.BaseRequest) -> Response:
        begun.set()
        try:
            await request.content.read()
        finally:
            told.set()
        return Reply(200, b"{}")

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    async with a_server(read) as port:
        async with a_line(port, head) as line:
            await asyncio.wait_for(begun.wait(), patience_s())
            line.writer.transport.abort()
        await asyncio.wait_for(told.wait(), patience_s())


async def test_a_body_larger_than_every_buffer_comes_whole() -> None:
    """Reading stops while nobody takes what came, and goes on after."""

    async def count(request: web.BaseRequest) -> Response:
        await asyncio.sleep(0.05)
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        return Reply(200, b"%d" % size)

    size = 8 * 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    async with a_server(count) as port, a_line(port, head + bytes(size) + GET % b"/") as line:
        assert (await line.answer())[2] == b"%d" % size
        assert (await line.answer())[2] == b"0"


async def test_an_accident_closes_the_connection_and_is_logged() -> None:
    """Nobody waits for an answer that will not come."""

    async def fails(_: web.BaseRequest) -> Response:
        raise RuntimeError("a bug")

    structlog.reset_defaults()
    with capture_logs() as logs:
        async with a_server(fails) as port, a_line(port, GET % b"/") as line:
            assert await line.is_over()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    assert [line["event"] for line in logs] == ["connection_failed"]


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_not_http_is_told_so_and_ends(junk: bytes) -> None:
    """In the one form of error; no request of it reaches the door, nor what follows."""
    reached = False

    async def note(_: web.BaseRequest) -> Response:
        nonlocal reached
        reached = True
        return Reply(200, b"{}")

    async with a_server(note) as port, a_line(port, junk + GET % b"/") as line:
        status, headers, body = await line.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert msgspec.json.decode(body)["code"] == "malformed"
        assert await line.is_over()
    assert not reached
