"""Exact sliding windows: never more than `units` in any `seconds`, as the upstream counts.

The upstream sees a call somewhere between its start and its finish here. So a call
counts from its start, and its place is free only a full window after its *finish*, plus
the one millisecond that stamps in whole milliseconds may hide: then no window at the
upstream, wherever it begins and both ends counted, can hold more than the limit.
"""

from collections import deque
from collections.abc import Iterable

from solver.core.check import check
from solver.core.command import Limit


class Window:
    """One limit's occupancy: units in flight, and units finished within the last window."""

    __slots__ = ("_finished", "_finished_units", "_in_flight_units", "_span_ms", "limit")

    def __init__(
        self,
        limit: Limit,
        in_flight_units: int = 0,
        finished: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.limit = limit
        self._span_ms = limit.seconds * 1_000 + 1
        self._in_flight_units = in_flight_units
        self._finished = deque(finished)
        """When a call finished, and what it used."""
        self._finished_units = sum(units for _, units in self._finished)

    @property
    def in_flight_units(self) -> int:
        """Units of calls that started and have not finished."""
        return self._in_flight_units

    def occupied(self, now_ms: int) -> int:
        """Units that count against the limit at `now_ms`."""
        expired = 0
        for finished_ms, units in self._finished:
            if finished_ms + self._span_ms > now_ms:
                break
            expired += units
        return self._in_flight_units + self._finished_units - expired

    def wait_ms(self, units: int, now_ms: int) -> int:
        """How long until `units` may start: 0 now, else the earliest time that is possible.

        Changes nothing, so that a refused call leaves no trace.
        """
        excess = self._in_flight_units + self._finished_units + units - self.limit.units
        if excess <= 0:
            return 0
        for finished_ms, finished_units in self._finished:
            excess -= finished_units
            if excess <= 0:
                return max(0, finished_ms + self._span_ms - now_ms)
        return self._span_ms

    def start(self, units: int) -> None:
        """Take places. The caller has asked `wait_ms` at this time."""
        self._in_flight_units += units

    def finish(self, units_started: int, units_used: int, now_ms: int) -> None:
        """A started call is over and used `units_used`, which may exceed what it reserved."""
        check(self._in_flight_units >= units_started, "window_finish_was_started")
        self._in_flight_units -= units_started
        self._forget(now_ms)
        if units_used:
            self._finished.append((now_ms, units_used))
            self._finished_units += units_used

    def image(self, now_ms: int) -> tuple[int, int, int, list[tuple[int, int]]]:
        """Limit and occupancy for the state's snapshot; `__init__` takes them back."""
        live = [entry for entry in self._finished if entry[0] + self._span_ms > now_ms]
        return (self.limit.units, self.limit.seconds, self._in_flight_units, live)

    def _forget(self, now_ms: int) -> None:
        while self._finished and self._finished[0][0] + self._span_ms <= now_ms:
            self._finished_units -= self._finished.popleft()[1]
