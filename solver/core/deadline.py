"""What ends at a known time, in order of time, forgotten when it ends earlier.

A heap of entries would keep every cancelled order until its time is over. Here the heap
holds times only. What is removed leaves a gap in its time's list, until the list has more
gaps than entries and is written anew: O(1) amortised, and no more memory than twice what is
needed. Nothing that is gone is referred to, and what is added again stands last again.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import mypyc_attr

SPARE_MAX: Final = 8
"""Gaps that a list may have beyond as many as it has entries."""
TIMES_SPARE_MAX: Final = 1_024
"""Times without entries that the heap may hold beyond as many as there are others."""


@mypyc_attr(acyclic=True)
class Timed:
    """Whatever can be given a deadline: one at a time."""

    __slots__ = ("due_place", "due_slot")

    due_slot: "Slot | None"
    due_place: int
    """Where it stands in its slot, if it has one."""

    def __init__(self) -> None:
        self.due_slot = None


@mypyc_attr(acyclic=True)
class Slot:
    """All that ends at one millisecond, in the order in which it was added."""

    __slots__ = ("at_ms", "entries", "first", "live")

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self.entries: list[Timed | None] = []
        """With a gap for each that was removed."""
        self.first = 0
        """Before this there are gaps only."""
        self.live = 0

    def compact(self) -> None:
        """Close the gaps."""
        entries: list[Timed | None] = []
        for entry in self.entries:
            if entry is not None:
                entry.due_place = len(entries)
                entries.append(entry)
        self.entries = entries
        self.first = 0


class Deadlines:
    """A queue of `Timed`s by time, then by order of arrival."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._times: list[int] = []
        self._idle = 0
        """Slots without a live entry."""

    @property
    def next_ms(self) -> int | None:
        """When the next entry ends."""
        while self._times:
            at_ms = self._times[0]
            if self._slots[at_ms].live:
                return at_ms
            heappop(self._times)
            del self._slots[at_ms]
            self._idle -= 1
        return None

    def is_due(self, now_ms: int) -> bool:
        """Whether any entry ends by `now_ms`. Nearly always one comparison."""
        times = self._times
        if not times or times[0] > now_ms:
            return False
        at_ms = self.next_ms
        return at_ms is not None and at_ms <= now_ms

    def add(self, entry: Timed, at_ms: int) -> None:
        """Have `entry`, which has no deadline now, end at `at_ms`."""
        slot = self._slots.get(at_ms)
        if slot is None:
            slot = self._slots[at_ms] = Slot(at_ms)
            heappush(self._times, at_ms)
        elif not slot.live:
            self._idle -= 1
        entry.due_place = len(slot.entries)
        slot.entries.append(entry)
        slot.live += 1
        entry.due_slot = slot

    def remove(self, entry: Timed) -> None:
        """Forget the deadline of `entry`, if it has one."""
        slot = entry.due_slot
        if slot is None:
            return
        entry.due_slot = None
        slot.entries[entry.due_place] = None
        live = slot.live - 1
        slot.live = live
        if len(slot.entries) - slot.first > live + live + SPARE_MAX:
            slot.compact()
        if not live:
            self._grow_idle()

    def pop(self, now_ms: int) -> Timed | None:
        """Take out the first entry that ends by `now_ms`."""
        if not self.is_due(now_ms):
            return None
        slot = self._slots[self._times[0]]
        entry = slot.entries[slot.first]
        while entry is None:
            slot.first += 1
            entry = slot.entries[slot.first]
        self.remove(entry)
        return entry

    def entries(self) -> list[Timed]:
        """All entries, in the order in which they end."""
        found: list[Timed] = []
        for at_ms in sorted(self._slots):
            found += [entry for entry in self._slots[at_ms].entries if entry is not None]
        return found

    def _grow_idle(self) -> None:
        self._idle += 1
        if self._idle > TIMES_SPARE_MAX and 2 * self._idle > len(self._times):
            self._slots = {at_ms: slot for at_ms, slot in self._slots.items() if slot.live}
            self._times = list(self._slots)
            heapify(self._times)
            self._idle = 0
