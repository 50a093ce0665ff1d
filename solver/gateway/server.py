"""The HTTP server: aiohttp's, with bounds on connections and on how slowly one may speak."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from aiohttp import WSCloseCode, web

from intents.reject import RejectCode, reject
from solver.gateway.answer import fault_response, reject_response
from solver.gateway.door import Door
from solver.gateway.gateway import Load
from solver.gateway.limit import Limits

HEADERS_MAX: Final = 64
LINE_BYTES_MAX: Final = 8_190
FIELD_BYTES_MAX: Final = 8_190
BACKLOG: Final = 128
SHUTDOWN_SECONDS_MAX: Final = 5


class _Request(web.BaseRequest):
    """A request whose answer does not name the software behind it."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)


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
        response = fault_response() if status >= 500 else reject_response(known)  # noqa: PLR2004
        response.keep_alive = False
        return cast("web.StreamResponse", response)

    def log_exception(self, *args: object, **kwargs: object) -> None:
        """Say nothing: the exception may quote the request, and `Door` logs ours."""

    def _drop_silent(self) -> None:
        if self._request_count == 0 and self.transport is not None:
            self.transport.abort()


class _Refused(asyncio.Protocol):
    """A connection beyond the bound."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No assertion of the class: uvloop's transports only behave like asyncio's.
        cast("asyncio.WriteTransport", transport).abort()


@asynccontextmanager
async def serve(door: Door, host: str, port: int) -> AsyncIterator[int]:
    """Serve what is behind the door; yields the port (0 asks for a free one)."""
    limits = door.gateway.limits
    loop = asyncio.get_running_loop()

    def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> _Request:  # noqa: ANN401  aiohttp's own
        return _Request(message, payload, protocol, writer, task, loop)

    server = web.Server(
        # A Reply is all that aiohttp asks of a response, if not one of its own.
        cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", door.answer),
        request_factory=request,
    )

    def connect() -> asyncio.BaseProtocol:
        if len(server.connections) >= limits.connections_max:
            return _Refused()
        return Connection(server, limits)

    listener = await loop.create_server(
        connect, host, port, backlog=BACKLOG, family=socket.AF_UNSPEC
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.sleep(0)  # what has just come in is taken up before idle ones are closed
        server.pre_shutdown()
        await _close_sockets(door.gateway.load)
        await server.shutdown(SHUTDOWN_SECONDS_MAX)


async def _close_sockets(load: Load) -> None:
    """Tell every subscriber that the server goes away."""
    goodbyes = [
        one.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down", drain=False)
        for one in load.sockets
    ]
    await asyncio.gather(*goodbyes, return_exceptions=True)
