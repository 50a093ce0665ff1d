"""The numbered stream of events: live, and again from a cursor.

Numbers are the same after a restart, as replay makes the same events in the same order.
The feed keeps the newest `kept_max`; an older cursor is told so, instead of a gap.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from solver.core.event import Event

KEPT_MAX: Final = 200_000
_Group = tuple[Sequence[int], Sequence[Sequence[Event]]]
"""The time of each command, and the events of each."""


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

    It starts after event `seq`: 0, or what a snapshot's market had told, or what is too old
    to be kept (`start_after`). Events are kept
    as they came, group by group; entries are made for who reads them.
    """

    def __init__(self, kept_max: int = KEPT_MAX, *, seq: int = 0) -> None:
        self._kept_max = kept_max
        self._seq = seq
        self._start = seq
        """The number before the first event that was ever appended here."""
        self._firsts: list[int] = []
        """The number of each group's first event, in step with `_groups`."""
        self._groups: list[_Group] = []
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
        events = sum(map(len, told))
        if events:
            self._firsts.append(self._seq + 1)
            self._groups.append((times_ms, told))
            self._seq += events
        if self._seq > self._forgetting_at:
            self._forget()
        self._wake()

    def start_after(self, told: Sequence[Sequence[Event]]) -> None:
        """Number events that nobody is to read, as a feed that starts after them does."""
        self._seq += sum(map(len, told))
        self._start = self._seq
        self._firsts.clear()
        self._groups.clear()
        self._forgetting_at = self._seq + self._kept_max
        self._wake()

    def _wake(self) -> None:
        if self._is_awaited:
            self._grown.set()
            self._grown = asyncio.Event()
            self._is_awaited = False

    def after(self, cursor: int, at_most: int) -> list[Entry]:
        """Up to `at_most` entries that follow `cursor`. Raises CursorTooOld."""
        oldest = max(self._seq - self._kept_max, self._start) + 1
        if cursor + 1 < oldest:
            raise CursorTooOld(oldest)
        return list(islice(self._entries(cursor), at_most))

    def _entries(self, cursor: int) -> Iterator[Entry]:
        """All that follow `cursor`."""
        place = max(bisect_right(self._firsts, cursor + 1) - 1, 0)
        while place < len(self._groups):
            first, (times_ms, told) = self._firsts[place], self._groups[place]
            for at_ms, events in zip(times_ms, told, strict=True):
                next_first = first + len(events)
                if cursor + 1 < next_first:
                    for seq, event in enumerate(events, first):
                        if cursor < seq:
                            yield Entry(seq=seq, at_ms=at_ms, event=event)
                first = next_first
            place += 1

    def _forget(self) -> None:
        """Let go of what nobody may read any more: seldom, as it moves the rest."""
        gone = bisect_right(self._firsts, self._seq - self._kept_max + 1) - 1
        if gone > 0:
            del self._firsts[:gone], self._groups[:gone]
        self._forgetting_at = self._seq + max(self._kept_max // 4, 64)

    async def wait(self, cursor: int, at_most: int) -> list[Entry]:
        """Like `after`, but waits until there is at least one."""
        while True:
            entries = self.after(cursor, at_most)
            if entries:
                return entries
            self._is_awaited = True
            await self._grown.wait()
