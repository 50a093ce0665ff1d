"""Servers and client for `single_post`: one signed intent a request, over keep-alive.

The client is a process of its own on uvloop that writes prepared requests and looks for
the end of each answer: some ten microseconds a request, so that it is not what limits.
"""

import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Final, cast

from aiohttp import web

from solver.gateway.server import serve
from solver.runtime.log import configure_log
from solver.runtime.loop import run
from tests.bench.environment import WORK
from tests.bench.intake_bodies import Bodies
from tests.bench.intake_market import an_app

CONNECTIONS: Final = 64
PATH: Final = "/v1/intents"


async def serve_bare() -> None:
    """An aiohttp server that reads the body and answers as many bytes as ours."""

    async def post(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"x" * 900, status=201, content_type="application/json")

    app = web.Application()
    app.router.add_post(PATH, post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await _until_told(runner.addresses[0][1])
    await runner.cleanup()


async def serve_ours() -> None:
    """The gateway as `keyfill up` runs it: log, rates, verifiers, journal."""
    configure_log()
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        async with an_app(Path(folder)) as app, serve(app, "127.0.0.1", 0) as port:
            await _until_told(port)


async def _until_told(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await stop.wait()


class _Connection(asyncio.Protocol):
    """Sends the next request once the last is answered; the requests are shared by all."""

    def __init__(self, requests: "list[bytes]", done: "asyncio.Future[None]") -> None:
        self._requests = requests
        self._done = done
        self._held = b""
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._needed:
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._held[:end].lower()
            assert head.startswith(b"http/1.1 201"), self._held
            start = head.index(b"content-length:") + len(b"content-length:")
            self._needed = end + 4 + int(head[start:].split(b"\r\n", 1)[0])
        if len(self._held) >= self._needed:
            self._held, self._needed = b"", 0
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  it is gone
        if not self._done.done():
            self._done.set_result(None)

    def _send(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        else:
            self._transport.close()


async def post_all(port: int, bodies: Bodies) -> float:
    """Requests a second."""
    loop = asyncio.get_running_loop()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    requests = [(head % len(body)).encode() + body for body in bodies.singles]
    dones = [loop.create_future() for _ in range(CONNECTIONS)]
    started = perf_counter()
    for done in dones:
        connection = _Connection(requests, done)
        await loop.create_connection(lambda made=connection: made, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*dones)
    return len(bodies.singles) / (perf_counter() - started)


def client(port: int, bodies: Bodies) -> float:
    """Requests a second that the server at `port` answers."""
    return run(post_all(port, bodies))
