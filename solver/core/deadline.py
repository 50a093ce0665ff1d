"""What ends at a known time, in order of time, forgotten the moment it ends earlier.

A heap of entries would keep every cancelled order until its time is over. Here entries of
one millisecond form a linked list, so that removal is exact and O(1) however many there
are, and the heap holds times only.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import mypyc_attr

TIMES_SPARE_MAX: Final = 1_024
"""Times without entries that the heap may hold beyond as many as there are others."""
NEVER_MS: Final = 2**61
"""After every time there is."""


@mypyc_attr(acyclic=True)
class Timed:
    """Whatever can be given a deadline: one at a time. Whoever makes one gives it no slot.

    It has no `__init__`, as orders are made of it: in plain Python that takes twice as long as
    setting the attributes of a new object where it is made.
    """

    __slots__ = ("due_next", "due_previous", "due_slot")

    due_slot: "Slot | None"
    due_previous: "Timed | None"
    due_next: "Timed | None"


@mypyc_attr(acyclic=True)
class Slot:
    """All that ends at one millisecond, in the order in which it was added."""

    __slots__ = ("first", "last")

    def __init__(self) -> None:
        self.first: Timed | None = None
        self.last: Timed | None = None


class Deadlines:
    """A queue of `Timed`s by time, then by order of arrival."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._times: list[int] = []
        self._first_ms = NEVER_MS
        """The first of the times, and no entry ends before: it is asked for by every command."""
        self._idle = 0
        """Slots without an entry."""

    @property
    def next_ms(self) -> int | None:
        """When the next entry ends."""
        while self._times:
            at_ms = self._first_ms = self._times[0]
            if self._slots[at_ms].first is not None:
                return at_ms
            heappop(self._times)
            del self._slots[at_ms]
            self._idle -= 1
        self._first_ms = NEVER_MS
        return None

    def is_due(self, now_ms: int) -> bool:
        """Whether any entry ends by `now_ms`. Nearly always one comparison."""
        if now_ms < self._first_ms:
            return False
        at_ms = self.next_ms
        return at_ms is not None and at_ms <= now_ms

    def add(self, entry: Timed, at_ms: int) -> None:
        """Have `entry`, which has no deadline now, end at `at_ms`."""
        try:
            slot = self._slots[at_ms]
        except KeyError:
            slot = self._add_slot(at_ms)
        last = slot.last
        if last is None:
            self._idle -= 1
            slot.first = entry
        else:
            last.due_next = entry
        entry.due_previous = last
        entry.due_next = None
        entry.due_slot = slot
        slot.last = entry

    def remove(self, entry: Timed) -> None:
        """Forget the deadline of `entry`, if it has one."""
        slot = entry.due_slot
        if slot is None:
            return
        before, after = entry.due_previous, entry.due_next
        entry.due_slot = entry.due_previous = entry.due_next = None
        if after is None:
            slot.last = before
        else:
            after.due_previous = before
        if before is not None:
            before.due_next = after
        else:
            slot.first = after
            if after is None:
                self._grow_idle()

    def pop(self, now_ms: int) -> Timed | None:
        """Take out the first entry that ends by `now_ms`."""
        if not self.is_due(now_ms):
            return None
        entry = self._slots[self._times[0]].first
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

    def part(self) -> None:
        """Nobody uses this queue any more: have no entry refer to another."""
        for entry in self.entries():
            entry.due_slot = entry.due_previous = entry.due_next = None

    def _add_slot(self, at_ms: int) -> Slot:
        slot = self._slots[at_ms] = Slot()
        heappush(self._times, at_ms)
        self._first_ms = min(self._first_ms, at_ms)
        self._idle += 1
        return slot

    def _grow_idle(self) -> None:
        self._idle += 1
        if self._idle > TIMES_SPARE_MAX and 2 * self._idle > len(self._times):
            self._slots = {at: slot for at, slot in self._slots.items() if slot.first is not None}
            self._times = list(self._slots)
            heapify(self._times)
            self._idle = 0
