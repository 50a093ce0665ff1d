"""What ends at a known time, in order of time, forgotten the moment it ends earlier.

A heap of entries would keep every cancelled order until its time is over. Here entries of
one millisecond form a linked list, so that removal is exact and O(1), and the heap holds
times only.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import mypyc_attr

SPARE_MAX: Final = 1_024
"""Times without entries that may lie in the heap, beyond as many as there are with entries."""


@mypyc_attr(acyclic=True)
class Timed:
    """Whatever can be given a deadline: one at a time."""

    __slots__ = ("due_next", "due_previous", "due_slot")

    due_slot: "Slot | None"
    due_previous: "Timed | None"
    due_next: "Timed | None"

    def __init__(self) -> None:
        self.due_slot = None


@mypyc_attr(acyclic=True)
class Slot:
    """All that ends at one millisecond, in the order in which it was added."""

    __slots__ = ("at_ms", "first", "last")

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self.first: Timed | None = None
        self.last: Timed | None = None


class Deadlines:
    """A queue of `Timed`s by time, then by order of arrival."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._times: list[int] = []
        self._empty = 0

    @property
    def next_ms(self) -> int | None:
        """When the next entry ends."""
        while self._times:
            at_ms = self._times[0]
            if self._slots[at_ms].first is not None:
                return at_ms
            heappop(self._times)
            del self._slots[at_ms]
            self._empty -= 1
        return None

    def add(self, entry: Timed, at_ms: int) -> None:
        """Have `entry`, which has no deadline now, end at `at_ms`."""
        slot = self._slots.get(at_ms)
        if slot is None:
            slot = self._slots[at_ms] = Slot(at_ms)
            heappush(self._times, at_ms)
        elif slot.first is None:
            self._empty -= 1
        last = slot.last
        if last is None:
            slot.first = entry
        else:
            last.due_next = entry
        entry.due_previous = last
        entry.due_next = None
        slot.last = entry
        entry.due_slot = slot

    def remove(self, entry: Timed) -> None:
        """Forget the deadline of `entry`, if it has one."""
        slot = entry.due_slot
        if slot is None:
            return
        before, after = entry.due_previous, entry.due_next
        if before is None:
            slot.first = after
        else:
            before.due_next = after
        if after is None:
            slot.last = before
        else:
            after.due_previous = before
        entry.due_slot = entry.due_previous = entry.due_next = None
        if slot.first is None:
            self._empty += 1
            if self._empty > SPARE_MAX and 2 * self._empty > len(self._times):
                self._compact()

    def pop(self, now_ms: int) -> Timed | None:
        """Take out the first entry that ends by `now_ms`."""
        at_ms = self.next_ms
        if at_ms is None or at_ms > now_ms:
            return None
        entry = self._slots[at_ms].first
        assert entry is not None
        self.remove(entry)
        return entry

    def entries(self) -> list[Timed]:
        """All entries, in the order in which they end."""
        found: list[Timed] = []
        for at_ms in sorted(self._slots):
            entry = self._slots[at_ms].first
            while entry is not None:
                found.append(entry)
                entry = entry.due_next
        return found

    def _compact(self) -> None:
        self._slots = {at_ms: slot for at_ms, slot in self._slots.items() if slot.first is not None}
        self._times = list(self._slots)
        heapify(self._times)
        self._empty = 0
