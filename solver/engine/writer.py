"""Where a journal is written: in a thread, or in place while that is sooner.

To have a thread write and be told of it wakes a thread twice, of which each takes some 50 µs of
the processor, more than a small write to a quick disk. A slow disk would keep all others waiting
meanwhile: there, and for much at once, it is the thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, TypeVar

T = TypeVar("T")

COMMANDS_MAX: Final = 48
"""Of a write in place, fewer than a batch: what comes in batches is worth a thread, beside which
the next are applied."""
SECONDS_MAX: Final = 0.002
"""What a write in place may take; a slower one is not followed by others soon."""
THREADED_MIN: Final = 4
"""Writes that a thread carries out after a slow one, before the disk is tried again: one that was
slow by chance costs little."""
THREADED_MAX: Final = 256
"""The same after many slow ones in a row: twice as many each time, so that a slow disk is seldom
waited for."""


class Writer:
    """Carries out one write at a time, in a thread of its own: no other work delays a sync."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    async def write(self, commands: int, work: Callable[[], T]) -> T:
        """Carry out a write of so many commands; raises what it raises."""
        del commands
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Return once nothing is being written any more."""
        self._thread.shutdown(wait=True)


class QuickWriter(Writer):
    """Writes in place what is little, for as long as the disk is quick.

    `seconds` is a clock that only rises. How quick the disk is shows in place alone: a thread
    waits for the interpreter, too. So a slow disk is tried now and then, one small write each time.
    """

    def __init__(self, seconds: Callable[[], float] = perf_counter) -> None:
        super().__init__()
        self._seconds = seconds
        self._threaded = 0
        """Writes that the thread carries out before the next is in place."""
        self._threaded_next = THREADED_MIN
        """How many it carries out if the next one in place is slow."""

    async def write(self, commands: int, work: Callable[[], T]) -> T:
        """Carry out a write of so many commands; raises what it raises."""
        if self._threaded or commands > COMMANDS_MAX:
            self._threaded = max(0, self._threaded - 1)
            return await super().write(commands, work)
        started = self._seconds()
        done = work()
        if self._seconds() - started > SECONDS_MAX:
            self._threaded = self._threaded_next
            self._threaded_next = min(THREADED_MAX, 2 * self._threaded_next)
        else:
            self._threaded_next = THREADED_MIN
        return done
