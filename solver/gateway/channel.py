"""A WebSocket with bounds: on what it is sent, on how slowly it reads, on how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import WSMessage, web

from intents.reject import Reject, RejectCode, reject
from solver.gateway.gateway import Gateway, Inbound
from solver.gateway.limit import Places

GOODBYE_SECONDS_MAX: Final = 1.0
CLOSE_TOO_OLD: Final = 4_410
CLOSE_SLOW: Final = 4_408


class Channel:
    """One subscriber. Iterate over it for what the subscriber says."""

    def __init__(
        self, gateway: Gateway, socket: web.WebSocketResponse, transport: asyncio.Transport | None
    ) -> None:
        self.gateway: Final = gateway
        self.socket: Final = socket
        self._transport = transport

    def __aiter__(self) -> AsyncIterator[WSMessage]:
        return aiter(self.socket)

    async def send(self, line: str) -> bool:
        """Send a line. A reader that takes too long is closed, and False returned."""
        try:
            async with asyncio.timeout(self.gateway.limits.send_seconds_max):
                await self.socket.send_str(line)
        except TimeoutError:
            await self._give_up()
            return False
        return True

    async def close(self, code: int, message: bytes) -> None:
        """Say goodbye, and wait a little for the answer."""
        await self.socket.close(code=code, message=message)

    async def _give_up(self) -> None:
        """Close, and cut where even that is not read: nothing of a reader's stays here."""
        if self._transport is not None:
            asyncio.get_running_loop().call_later(GOODBYE_SECONDS_MAX, self._transport.abort)
        await self.socket.close(code=CLOSE_SLOW, message=b"read faster", drain=False)


@asynccontextmanager
async def open_channel(
    inbound: Inbound[Any, Any], message_bytes_max: int, places: Places
) -> AsyncIterator[Channel | Reject]:
    """Upgrade the request for as long as the block lasts.

    Rejects: busy (no place is left), malformed (a plain GET).
    """
    sender = inbound.sender
    refused = places.take(sender)
    if refused is not None:
        yield refused
        return
    try:
        async with _upgraded(inbound, message_bytes_max) as channel:
            yield channel
    finally:
        places.give_back(sender)


@asynccontextmanager
async def _upgraded(
    inbound: Inbound[Any, Any], message_bytes_max: int
) -> AsyncIterator[Channel | Reject]:
    gateway, request = inbound.gateway, inbound.request
    socket = web.WebSocketResponse(
        timeout=GOODBYE_SECONDS_MAX,
        heartbeat=gateway.limits.heartbeat_seconds,
        max_msg_size=message_bytes_max,
        compress=False,
    )
    if not socket.can_prepare(request):
        hint = "Connect with ws:// or wss://."
        yield reject(RejectCode.MALFORMED, "this is a WebSocket", hint=hint)
        return
    await socket.prepare(request)
    gateway.load.sockets.add(socket)
    try:
        yield Channel(gateway, socket, request.transport)
    finally:
        gateway.load.sockets.discard(socket)


async def first_of(*works: Callable[[], Awaitable[None]]) -> None:
    """Run both until one ends; the other is cancelled and waited for."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ConnectionError):
            raise result
