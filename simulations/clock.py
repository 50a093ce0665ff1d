"""Virtual time: nothing waits, the clock jumps to whatever happens next."""

import heapq
from collections.abc import Callable

from solver.core.check import check

Action = Callable[[], None]


class VirtualClock:
    """A queue of actions in order of time, then of scheduling. Time never falls."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._order = 0
        self._queue: list[tuple[int, int, Action]] = []

    @property
    def now_s(self) -> int:
        """Whole seconds, as documents count."""
        return self.now_ms // 1_000

    def after(self, delay_ms: int, action: Action) -> None:
        """Have `action` run `delay_ms` from now."""
        check(delay_ms >= 0, "nothing_is_scheduled_in_the_past", delay_ms=delay_ms)
        self._order += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._order, action))

    def run(self) -> None:
        """Jump from action to action until nothing is left to do."""
        while self._queue:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
