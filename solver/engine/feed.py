"""The numbered stream of events: live, and again from a cursor.

Numbers are the same after a restart, as replay makes the same events in the same order.
The feed keeps the newest `kept_max`; an older cursor is told so, instead of a gap.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from solver.core.event import Event

KEPT_MAX: Final = 200_000


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its number (from 1) and the time of its command."""

    seq: int
    at_ms: int
    event: Event


class CursorTooOld(Exception):
    """The feed no longer has what follows this cursor; `oldest` is the first it has."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the feed starts at {oldest}")
        self.oldest = oldest


class Feed:
    """Appended to by the sequencer alone, read by any number of tasks."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept_max)
        self._seq = 0
        self._grown = asyncio.Event()

    @property
    def seq(self) -> int:
        """Number of the newest event; 0 if there was none."""
        return self._seq

    def append(self, at_ms: int, events: Sequence[Event]) -> None:
        """Number events and wake whoever waits for them."""
        for event in events:
            self._seq += 1
            self._entries.append(Entry(seq=self._seq, at_ms=at_ms, event=event))
        if events:
            self._grown.set()
            self._grown = asyncio.Event()

    def after(self, cursor: int, at_most: int) -> list[Entry]:
        """Up to `at_most` entries that follow `cursor`. Raises CursorTooOld."""
        oldest = self._seq - len(self._entries) + 1
        if cursor + 1 < oldest:
            raise CursorTooOld(oldest)
        start = max(cursor + 1 - oldest, 0)
        end = min(start + at_most, len(self._entries))
        return [self._entries[index] for index in range(start, end)]

    async def wait(self, cursor: int, at_most: int) -> list[Entry]:
        """Like `after`, but waits until there is at least one."""
        while True:
            entries = self.after(cursor, at_most)
            if entries:
                return entries
            await self._grown.wait()
