"""The HTTP server: aiohttp's, with bounds on connections and on how slowly one may speak."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from aiohttp import WSCloseCode, web

from intents.reject import RejectCode, reject
from solver.gateway.answer import error_body, fault_response, json_response
from solver.gateway.gateway import GATEWAY
from solver.gateway.limit import Limits

HEADERS_MAX: Final = 64
LINE_BYTES_MAX: Final = 8_190
FIELD_BYTES_MAX: Final = 8_190
BACKLOG: Final = 128
SHUTDOWN_SECONDS_MAX: Final = 5


class _Bare(web.Response):
    """A response that does not name the software behind it."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class Connection(web.RequestHandler):  # type: ignore[misc, unused-ignore]
    """A client's connection. One whose first head does not come is dropped."""

    __slots__ = ("_head_seconds_max", "_head_timer")

    def __init__(self, server: web.Server, limits: Limits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=limits.idle_seconds_max,
            max_line_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            max_field_size=FIELD_BYTES_MAX,
            auto_decompress=False,
        )
        self._head_seconds_max = limits.head_seconds_max
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first head."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self._head_seconds_max, self._drop_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop it."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it may quote the request
    ) -> web.StreamResponse:
        """What is not HTTP gets the same form of error as everything else."""
        if request.writer is not None and request.writer.output_size > 0:
            raise ConnectionError("the response has begun") from exc
        known = reject(RejectCode.MALFORMED, "this is not well-formed HTTP")
        plain = fault_response() if status >= 500 else json_response(error_body(known), status=400)  # noqa: PLR2004
        response = _Bare(body=plain.body, status=plain.status, content_type="application/json")
        response.force_close()
        return response

    def log_exception(self, *args: object, **kwargs: object) -> None:
        """Say nothing: the exception may quote the request, and `guard` logs ours."""

    def _drop_silent(self) -> None:
        if self._request_count == 0 and self.transport is not None:
            self.transport.abort()


class _Refused(asyncio.Protocol):
    """A connection beyond the bound."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No assertion of the class: uvloop's transports only behave like asyncio's.
        cast("asyncio.WriteTransport", transport).abort()


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve the application; yields the port (0 asks for a free one)."""
    limits = app[GATEWAY].limits
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS_MAX)
    await runner.setup()
    server = runner.server
    assert server is not None

    def connect() -> asyncio.BaseProtocol:
        if len(server.connections) >= limits.connections_max:
            return _Refused()
        return Connection(server, limits)

    listener = await asyncio.get_running_loop().create_server(
        connect, host, port, backlog=BACKLOG, family=socket.AF_UNSPEC
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await runner.cleanup()


async def close_sockets(app: web.Application) -> None:
    """Tell every subscriber that the server goes away."""
    goodbyes = [
        one.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down", drain=False)
        for one in app[GATEWAY].load.sockets
    ]
    await asyncio.gather(*goodbyes, return_exceptions=True)


async def strip_server(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Do not name the software behind the answers."""
    response.headers.popall("Server", None)
