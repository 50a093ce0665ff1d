"""GET /v1/feed: every event again from a cursor, then live, at the reader's own pace.

Sealed bids are not among them: who bid, and how often, is told at the close. A reader pulls
from the engine's feed; nothing is queued for it. One that does not read is closed, and may
come back with the last number it saw.
"""

import asyncio
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType

from intents.reject import Reject, RejectCode, reject
from solver.core.event import BatchLine, Event
from solver.core.state import State
from solver.engine.feed import CursorTooOld, Entry
from solver.gateway.answer import error_body
from solver.gateway.channel import CLOSE_TOO_OLD, Channel, first_of, open_channel
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.line import LINE_TYPES
from solver.gateway.wire import CursorLine, FeedQuery, Nothing

STEP_MAX: Final = 256
MESSAGE_BYTES_MAX: Final = 1_024
"""A feed's reader has nothing to say."""


async def follow(inbound: Inbound[Nothing, FeedQuery]) -> Answer:
    """Serve the feed over a WebSocket. Rejects: busy, malformed (a cursor of the future)."""
    gateway, query = inbound.gateway, inbound.query
    if query.cursor > gateway.feed.seq:
        return reject(RejectCode.MALFORMED, f"the newest event is {gateway.feed.seq}")
    async with open_channel(inbound, MESSAGE_BYTES_MAX, gateway.load.feeds) as channel:
        if isinstance(channel, Reject):
            return channel
        await first_of(lambda: _send_all(channel, query), lambda: _hear_nothing(channel))
        return channel.socket


async def _send_all(channel: Channel, query: FeedQuery) -> None:
    gateway = channel.gateway
    cursor = query.cursor
    while True:
        try:
            entries = await _next_entries(gateway, cursor)
        except CursorTooOld as error:
            refused = reject(RejectCode.CURSOR_TOO_OLD, f"the feed starts at {error.oldest}")
            await channel.send(msgspec.json.encode(error_body(refused)).decode())
            await channel.close(CLOSE_TOO_OLD, b"cursor too old")
            return
        told = [entry for entry in entries if _wanted(gateway.state, entry, query.account)]
        for entry in told:
            if not await channel.send(gateway.lines.encode(entry)):
                return
        cursor = entries[-1].seq if entries else cursor
        if not told and not await channel.send(_cursor_line(gateway, cursor)):
            return


async def _next_entries(gateway: Gateway, cursor: int) -> list[Entry]:
    """The next entries; none, if nothing happened for a heartbeat."""
    try:
        async with asyncio.timeout(gateway.limits.heartbeat_seconds):
            return await gateway.feed.wait(cursor, STEP_MAX)
    except TimeoutError:
        return []


async def _hear_nothing(channel: Channel) -> None:
    async for message in channel:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            await channel.close(WSCloseCode.POLICY_VIOLATION, b"nothing to say here")


def _cursor_line(gateway: Gateway, cursor: int) -> str:
    return msgspec.json.encode(CursorLine(seq=cursor, at_ms=gateway.now_ms())).decode()


def _wanted(state: State, entry: Entry, account: str | None) -> bool:
    if type(entry.event) not in LINE_TYPES:
        return False
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
