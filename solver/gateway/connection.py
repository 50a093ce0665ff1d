"""A client's connection: requests, one after the other, in one task.

Parsing, pausing, keeping alive and WebSockets are aiohttp's. How requests are taken and
answered is ours: aiohttp makes a task for each request, so that what handlers leave in its
context is gone with it, and asks a response to write itself in many steps. Ours leave
nothing there and mostly have all of their answer at once. It took a third of a small request.
"""

import asyncio
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader

from intents.reject import RejectCode, reject
from solver.gateway.answer import reject_response
from solver.gateway.door import Door
from solver.gateway.gateway import Response, network_of
from solver.gateway.limit import Limits
from solver.gateway.posted import posted
from solver.gateway.reply import Reply

LOG: Final = structlog.get_logger("solver.gateway")
HEADERS_MAX: Final = 64
LINE_BYTES_MAX: Final = 8_190
FIELD_BYTES_MAX: Final = 8_190
REST_SECONDS_MAX: Final = 10
"""For the rest of a body that was answered before it was read."""


class Request(web.BaseRequest):
    """A request whose answer does not name the software behind it."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)


class Connection(web.RequestHandler):  # type: ignore[misc, unused-ignore]
    """A client's connection. One whose first head does not come is dropped.

    One for which there is no place is closed at once: it never gets to be one.
    """

    __slots__ = (
        "_door",
        "_has_place",
        "_head_seconds_max",
        "_head_timer",
        "_intent_bytes_max",
        "_is_plain",
        "_network",
        "_posted",
        "_remote",
    )

    def __init__(self, server: web.Server, door: Door, limits: Limits) -> None:
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
        self._door = door
        self._head_seconds_max = limits.head_seconds_max
        self._head_timer: asyncio.TimerHandle | None = None
        self._intent_bytes_max = limits.body_bytes_max
        self._is_plain = True
        """Nothing came but posted intents: the parser has seen no byte of this connection."""
        self._posted: bytes | None = None
        """The body of an intent that waits to be answered."""
        self._remote = ""
        self._network = ""
        self._has_place = False

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place; start the clock for the first head."""
        # No assertion of the class: uvloop's transports only behave like asyncio's.
        socket = cast("asyncio.WriteTransport", transport)
        self._remote = str((socket.get_extra_info("peername") or ("",))[0])
        self._network = network_of(self._remote)
        if self._door.gateway.load.connections.take(self._network) is not None:
            socket.abort()
            return
        self._has_place = True
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self._head_seconds_max, self._drop_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back, and stop the clock."""
        if not self._has_place:
            return
        self._has_place = False
        self._door.gateway.load.connections.give_back(self._network)
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes for the parser, unless they are a posted intent and it never had any."""
        if not self._has_place:
            return
        if self._is_plain:
            busy = self._posted is not None or self._request_in_progress
            raw = None if busy else posted(data)
            if raw is not None and len(raw) <= self._intent_bytes_max:
                self._take_posted(raw)
                return
            self._is_plain = False
        super().data_received(data)

    def _take_posted(self, raw: bytes) -> None:
        if self._force_close or self._close:
            return
        self._request_count += 1
        self._posted = raw
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  aiohttp's
        """Go on reading: every body asks for it at its end, though hardly any was paused."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _drop_silent(self) -> None:
        if self._request_count == 0 and self.transport is not None:
            self.transport.abort()

    # -- one request after the other

    async def start(self) -> None:
        """Answer what comes, for as long as both sides want to stay."""
        try:
            while await self._has_more() and await self._answer_next():
                self._stay()
        except ConnectionError:
            pass  # the client has left
        except Exception:
            LOG.exception("connection_failed")
        finally:
            self.force_close()

    async def _has_more(self) -> bool:
        """Wait for a request; who sends many at once takes turns with the others."""
        if self._messages or self._posted is not None:
            await asyncio.sleep(0)
        else:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return not self._force_close

    async def _answer_next(self) -> bool:
        """Answer a request; whether there may be another."""
        if self._posted is not None:
            raw, self._posted = self._posted, None
            return await self._answer_posted(raw)
        message, payload = self._messages.popleft()
        self._make_room()
        if not isinstance(message, RawRequestMessage):
            await self._send(_malformed(), with_body=True)
            return False
        request = self._request(message, payload)
        # Whom to tell when the client leaves, or the server stops.
        self._current_request = request
        self._request_in_progress = True
        try:
            response = await self._door.answer(request)
            await self._finish(request, response)
            stays = bool(response.keep_alive) and not self._close
            return stays and (payload.is_eof() or await _rest_came(payload))
        finally:
            self._current_request = None
            self._is_answered()

    async def _answer_posted(self, raw: bytes) -> bool:
        """Answer a posted intent; whether there may be another request."""
        self._request_in_progress = True
        try:
            reply = await self._door.answer_posted(raw, self._remote)
            await self._send(reply, with_body=True)
            return not self._close
        finally:
            self._is_answered()

    def _is_answered(self) -> None:
        """A server that stops waits for this."""
        self._request_in_progress = False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)

    def _make_room(self) -> None:
        """Have the parser go on, if it stopped because so many requests waited."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _request(self, message: RawRequestMessage, payload: StreamReader) -> Request:
        task, loop = self._task_handler, self._loop
        assert task is not None, "it is the one that runs this"
        return Request(message, payload, self, StreamWriter(self, loop), task, loop)

    async def _finish(self, request: Request, response: Response) -> None:
        """Send what is not sent yet of an answer; wait while the client does not read."""
        if not isinstance(response, Reply):
            await response.prepare(request)
            await response.write_eof()
            return
        # What followed a request for a WebSocket that is refused was not read as HTTP.
        response.keep_alive &= request.keep_alive and not self._upgraded
        await self._send(response, with_body=request.method != "HEAD")

    async def _send(self, reply: Reply, *, with_body: bool) -> None:
        if self.transport is None or self.transport.is_closing() or self._payload_parser:
            raise ConnectionResetError("nobody is there who speaks HTTP")
        self.transport.write(reply.encode(with_body=with_body))
        if self._paused:
            await self._drain_helper()

    def _stay(self) -> None:
        """Wait so long for another request."""
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )


async def _rest_came(payload: StreamReader) -> bool:
    """Pass over the rest of a body, so that its sender comes to read the answer."""
    try:
        async with asyncio.timeout(REST_SECONDS_MAX):
            while not payload.is_eof():
                await payload.readany()
    except (TimeoutError, web.RequestPayloadError):
        return False
    return True


def _malformed() -> Reply:
    """What is not HTTP gets the same form of error as everything else."""
    response = reject_response(reject(RejectCode.MALFORMED, "this is not well-formed HTTP"))
    response.keep_alive = False
    return response
