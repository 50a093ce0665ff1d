"""Waiting: whoever registers is woken, whatever the follower is doing just then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from solver.client import Market, Unreachable
from solver.client.fault import Rejected
from solver.client.market import Identity
from solver.client.model import Event, Intent, Now
from solver.client.watch import Watch
from tests.patience import patience_s

FIRST, SECOND = "0x01", "0x02"


class ScriptedMarket(Market):
    """A market whose feed is a queue, and whose sockets close when a test lets them."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.filled: set[str] = set()
        self.events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.connections = 0
        self.closing = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.read = asyncio.Event()
        self.unreachable = False

    async def get(
        self,
        path: str,
        kind: Any,  # noqa: ARG002  only intents are asked for
        *,
        signed_by: Identity | None = None,  # noqa: ARG002
        **_: str | int,
    ) -> Any:
        """An intent, filled or not."""
        digest = path.rpartition("/")[2]
        self.read.set()
        return an_intent(digest, filled_units=1 if digest in self.filled else 0)

    async def now(self) -> Now:
        """The newest cursor, unless nobody is there."""
        if self.unreachable:
            raise Unreachable("nobody there")
        return Now(time_ms=0, feed=0, resources=())

    @asynccontextmanager
    async def feed(
        self,
        cursor: int = 0,  # noqa: ARG002
        account: str | None = None,  # noqa: ARG002
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """What the test puts into the queue."""
        self.connections += 1
        try:
            yield self._told()
        finally:
            self.closing.set()
            await self.may_close.wait()

    async def fill(self, digest: str) -> None:
        """An intent is filled, and the feed says so."""
        self.filled.add(digest)
        await self.tell(digest)

    async def tell(self, digest: str) -> None:
        """An event about an intent."""
        await self.events.put(Event(seq=1, at_ms=0, event="Filled", facts={"intent": digest}))

    async def _told(self) -> AsyncIterator[Event]:
        while True:
            told = await self.events.get()
            if isinstance(told, Exception):
                raise told
            yield told


def an_intent(digest: str, filled_units: int) -> Intent:
    """An intent for one unit."""
    return Intent(
        digest=digest,
        status="open",
        resource="",
        asset="",
        units=1,
        limit=1,
        open_units=1 - filled_units,
        filled_units=filled_units,
        delivered_units=0,
        paid=0,
        owed=0,
        leases=(),
        cursor=0,
    )


def waiting(watch: Watch, digest: str) -> "asyncio.Task[Intent]":
    """A task that waits until an intent is filled."""
    return asyncio.create_task(watch.until(digest, lambda it: bool(it.filled_units), patience_s()))


async def test_whoever_registers_while_the_follower_closes_is_woken() -> None:
    """A waiter that comes while the last one's socket is closing still hears of its fill."""
    market = ScriptedMarket()
    market.may_close.clear()
    watch = Watch(market, "0xa")
    first = waiting(watch, FIRST)
    await market.read.wait()
    await market.fill(FIRST)
    await first
    await market.tell(FIRST)  # nobody waits: the follower leaves
    await market.closing.wait()
    market.read.clear()
    second = waiting(watch, SECOND)
    await market.read.wait()
    market.may_close.set()
    await market.fill(SECOND)
    assert (await second).filled_units == 1


@pytest.mark.parametrize(
    "fault", [Rejected("cursor_too_old", "too old"), Unreachable("gone"), ValueError("a bug")]
)
async def test_a_feed_that_fails_wakes_or_comes_back(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """No failure of the feed, nor of asking for the newest cursor, leaves a waiter asleep."""
    caplog.set_level("CRITICAL")
    market = ScriptedMarket()
    market.unreachable = True
    watch = Watch(market, "0xa")
    waiter = waiting(watch, FIRST)
    await market.events.put(fault)
    await market.closing.wait()
    await market.fill(FIRST)
    assert (await waiter).filled_units == 1


async def test_nobody_waits_nothing_runs() -> None:
    """The follower ends by itself once the last waiter is served."""
    market = ScriptedMarket()
    watch = Watch(market, "0xa")
    waiter = waiting(watch, FIRST)
    await market.read.wait()
    await market.fill(FIRST)
    await waiter
    await market.tell(FIRST)
    await market.closing.wait()
    await asyncio.gather(*market._tasks)
    assert market.connections == 1
