"""Waits for an intent to change, over one feed per account, without asking again and again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from solver.client.fault import MarketFault, Rejected
from solver.client.market import Market
from solver.client.model import Intent

PAUSE_SECONDS_MIN: Final = 0.1
PAUSE_SECONDS_MAX: Final = 5.0


class Watch:
    """Follows an account's events while anybody waits, and wakes whom they concern."""

    def __init__(self, market: Market, account: str) -> None:
        self._market = market
        self._account = account
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    async def until(
        self, digest: str, is_so: Callable[[Intent], bool], timeout_seconds: float
    ) -> Intent:
        """The intent once `is_so`. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            # Registered before the state is read: what happens in between wakes us.
            with self._registered(digest) as woken:
                while True:
                    woken.clear()
                    intent = await self._market.get(f"/v1/intents/{digest}", Intent)
                    if is_so(intent):
                        return intent
                    self._follow_from(intent.cursor)
                    await woken.wait()

    @contextmanager
    def _registered(self, digest: str) -> Iterator[asyncio.Event]:
        woken = asyncio.Event()
        self._waiters.setdefault(digest, set()).add(woken)
        try:
            yield woken
        finally:
            self._waiters[digest].discard(woken)
            if not self._waiters[digest]:
                del self._waiters[digest]

    def _follow_from(self, cursor: int) -> None:
        if self._task is None or self._task.done():
            self._task = self._market.keep(self._follow(cursor))

    async def _follow(self, cursor: int) -> None:
        """Follow the feed while anybody waits.

        Nothing is awaited between finding no waiters and ending, so that whoever registers
        later finds the task done and starts another; an error wakes all, so that they do.
        """
        pause_seconds = PAUSE_SECONDS_MIN
        try:
            while self._waiters:
                seen = cursor
                cursor = await self._follow_once(cursor)
                if self._waiters:
                    pause_seconds = PAUSE_SECONDS_MIN if cursor > seen else pause_seconds
                    await asyncio.sleep(pause_seconds)
                    pause_seconds = min(PAUSE_SECONDS_MAX, pause_seconds * 2)
        except Exception:
            await asyncio.sleep(pause_seconds)
            self._wake_all()
            raise

    async def _follow_once(self, cursor: int) -> int:
        """Follow one connection to its end; the cursor to go on from."""
        try:
            async with self._market.feed(cursor, self._account) as events:
                async for event in events:
                    cursor = event.seq
                    self._wake(event.facts.get("intent"))
                    if not self._waiters:
                        break
        except Rejected:
            # Too old a cursor: whoever waits reads anew, and so do we from there.
            cursor = await self._newest(cursor)
            self._wake_all()
        except MarketFault:
            pass
        return cursor

    async def _newest(self, cursor: int) -> int:
        try:
            return (await self._market.now()).feed
        except MarketFault:
            return cursor

    def _wake(self, digest: str | None) -> None:
        for woken in self._waiters.get(digest or "", ()):
            woken.set()

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for woken in waiters:
                woken.set()
