"""GET /v1/feed: every event again from a cursor, then live, at the reader's own pace.

A reader pulls from the engine's feed; nothing is queued for it. One that does not read is
closed, and may come back with the last number it saw.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from intents.reject import Reject, RejectCode, reject
from solver.core.event import BatchLine, Event
from solver.core.state import State
from solver.engine.feed import CursorTooOld, Entry
from solver.gateway.answer import error_body
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.wire import CursorLine, FeedQuery, Nothing

STEP_MAX: Final = 256
MESSAGE_BYTES_MAX: Final = 1_024
"""A feed's reader has nothing to say."""
CLOSE_TOO_OLD: Final = 4_410
CLOSE_SLOW: Final = 4_408


async def follow(inbound: Inbound[Nothing, FeedQuery]) -> Answer:
    """Serve the feed over a WebSocket. Rejects: busy, malformed (a cursor of the future)."""
    gateway, query = inbound.gateway, inbound.query
    if gateway.load.feeds >= gateway.limits.feed_connections_max:
        return reject(RejectCode.BUSY, "too many feeds are open", retry_after_ms=5_000)
    if query.cursor > gateway.feed.seq:
        return reject(RejectCode.MALFORMED, f"the newest event is {gateway.feed.seq}")
    gateway.load.feeds += 1
    try:
        socket = await open_socket(inbound, MESSAGE_BYTES_MAX)
        if socket is None:
            return not_a_socket()
        try:
            await first_of(lambda: _send_all(gateway, socket, query), lambda: _hear_nothing(socket))
        finally:
            gateway.load.sockets.discard(socket)
        return socket
    finally:
        gateway.load.feeds -= 1


async def open_socket(
    inbound: Inbound[Any, Any], message_bytes_max: int
) -> web.WebSocketResponse | None:
    """Upgrade the request; None if it asks for no upgrade."""
    gateway = inbound.gateway
    socket = web.WebSocketResponse(
        heartbeat=gateway.limits.heartbeat_seconds,
        max_msg_size=message_bytes_max,
        compress=False,
    )
    if not socket.can_prepare(inbound.request):
        return None
    await socket.prepare(inbound.request)
    gateway.load.sockets.add(socket)
    return socket


def not_a_socket() -> Reject:
    """The answer to a plain GET."""
    return reject(RejectCode.MALFORMED, "this is a WebSocket", hint="Connect with ws:// or wss://.")


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


async def send(gateway: Gateway, socket: web.WebSocketResponse, line: str) -> bool:
    """Send a line; a reader that takes too long is closed, and False returned."""
    try:
        async with asyncio.timeout(gateway.limits.send_seconds_max):
            await socket.send_str(line)
    except TimeoutError:
        await socket.close(code=CLOSE_SLOW, message=b"read faster", drain=False)
        return False
    return True


async def _send_all(gateway: Gateway, socket: web.WebSocketResponse, query: FeedQuery) -> None:
    cursor = query.cursor
    while True:
        try:
            entries = await _next_entries(gateway, cursor)
        except CursorTooOld as error:
            refused = reject(RejectCode.CURSOR_TOO_OLD, f"the feed starts at {error.oldest}")
            await send(gateway, socket, msgspec.json.encode(error_body(refused)).decode())
            await socket.close(code=CLOSE_TOO_OLD, message=b"cursor too old")
            return
        told = [entry for entry in entries if _wanted(gateway.state, entry, query.account)]
        for entry in told:
            if not await send(gateway, socket, gateway.lines.encode(entry)):
                return
        cursor = entries[-1].seq if entries else cursor
        if not told and not await send(gateway, socket, _cursor_line(gateway, cursor)):
            return


async def _next_entries(gateway: Gateway, cursor: int) -> list[Entry]:
    """The next entries; none, if nothing happened for a heartbeat."""
    try:
        async with asyncio.timeout(gateway.limits.heartbeat_seconds):
            return await gateway.feed.wait(cursor, STEP_MAX)
    except TimeoutError:
        return []


async def _hear_nothing(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"nothing to say here")


def _cursor_line(gateway: Gateway, cursor: int) -> str:
    return msgspec.json.encode(CursorLine(seq=cursor, at_ms=gateway.now_ms())).decode()


def _wanted(state: State, entry: Entry, account: str | None) -> bool:
    return account is None or account in accounts_of(state, entry.event)


def accounts_of(state: State, event: Event) -> set[str]:
    """Whom an event concerns: who is named in it, or owns what is."""
    found = {
        getattr(event, name)
        for name in ("account", "owner", "buyer", "seller", "solver", "winner")
        if hasattr(event, name)
    }
    lease = state.leases.get(getattr(event, "lease", ""))
    if lease is not None:
        found |= {lease.buyer, lease.seller}
    for line in getattr(event, "lines", ()):
        found |= _parties(state, line)
    return found


def _parties(state: State, line: BatchLine) -> set[str]:
    lease = state.leases.get(line.fill)
    return {lease.buyer, lease.seller} if lease else set()
