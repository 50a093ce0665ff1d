"""Time as an object that is passed in, so that tests and simulations own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the engine gets the time from."""

    def now_ms(self) -> int:
        """Unix time in milliseconds. May jump; the sequencer clamps it to never fall."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The time it was last moved to."""
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        """Move the clock; negative values model a clock that was set back."""
        self._now_ms += by_ms
