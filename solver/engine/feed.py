"""The numbered stream of events: live, and again from a cursor.

Numbers are the same after a restart, as replay makes the same events in the same order.
The feed keeps the newest `kept_max`; an older cursor is told so, instead of a gap.
"""

import asyncio
from bisect import bisect_right
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
    """Appended to by the sequencer alone, read by any number of tasks.

    It starts after event `seq`: 0, or what a snapshot's market had told. Events are kept
    as they came, command by command; entries are made for who reads them.
    """

    def __init__(self, kept_max: int = KEPT_MAX, *, seq: int = 0) -> None:
        self._kept_max = kept_max
        self._seq = seq
        self._start = seq
        """The number before the first event that was ever appended here."""
        self._firsts: list[int] = []
        """The number of each command's first event, in step with `_told`."""
        self._told: list[tuple[int, Sequence[Event]]] = []
        self._forgetting_at = seq + kept_max
        self._grown = asyncio.Event()
        self._is_awaited = False

    @property
    def seq(self) -> int:
        """Number of the newest event; 0 if there was none."""
        return self._seq

    def append(self, at_ms: int, events: Sequence[Event]) -> None:
        """Number one command's events and wake whoever waits for them."""
        self.extend((at_ms,), (events,))

    def extend(self, times_ms: Sequence[int], told: Sequence[Sequence[Event]]) -> None:
        """Number the events of many commands, each with its time, and wake whoever waits."""
        seq, firsts, kept = self._seq, self._firsts, self._told
        for at_ms, events in zip(times_ms, told, strict=True):
            if events:
                firsts.append(seq + 1)
                kept.append((at_ms, events))
                seq += len(events)
        self._seq = seq
        if seq > self._forgetting_at:
            self._forget()
        if self._is_awaited:
            self._grown.set()
            self._grown = asyncio.Event()
            self._is_awaited = False

    def after(self, cursor: int, at_most: int) -> list[Entry]:
        """Up to `at_most` entries that follow `cursor`. Raises CursorTooOld."""
        oldest = max(self._seq - self._kept_max, self._start) + 1
        if cursor + 1 < oldest:
            raise CursorTooOld(oldest)
        entries: list[Entry] = []
        place = max(bisect_right(self._firsts, cursor + 1) - 1, 0)
        while len(entries) < at_most and place < len(self._told):
            at_ms, events = self._told[place]
            for seq, event in enumerate(events, self._firsts[place]):
                if cursor < seq and len(entries) < at_most:
                    entries.append(Entry(seq=seq, at_ms=at_ms, event=event))
            place += 1
        return entries

    def _forget(self) -> None:
        """Let go of what nobody may read any more: seldom, as it moves the rest."""
        gone = bisect_right(self._firsts, self._seq - self._kept_max + 1) - 1
        if gone > 0:
            del self._firsts[:gone], self._told[:gone]
        self._forgetting_at = self._seq + max(self._kept_max // 4, 64)

    async def wait(self, cursor: int, at_most: int) -> list[Entry]:
        """Like `after`, but waits until there is at least one."""
        while True:
            entries = self.after(cursor, at_most)
            if entries:
                return entries
            self._is_awaited = True
            await self._grown.wait()
