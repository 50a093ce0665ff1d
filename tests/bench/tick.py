"""A tick of an event loop that is shorter than the millisecond in which uvloop counts."""

import asyncio
import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import CLOCK_MONOTONIC
from typing import Final

_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
"""Linux' timers have them, too."""


@contextmanager
def ticking(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Have `work` done every so often while the block lasts; where Linux does not run, seldomer."""
    if sys.platform != "linux":
        task = asyncio.ensure_future(_by_the_loop(work, seconds))
        try:
            yield
        finally:
            task.cancel()
        return
    loop, timer = asyncio.get_running_loop(), _timer(round(seconds * 10**9))

    def tick() -> None:
        os.read(timer, 8)
        work()

    loop.add_reader(timer, tick)
    try:
        yield
    finally:
        loop.remove_reader(timer)
        os.close(timer)


def _timer(nanoseconds: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(CLOCK_MONOTONIC, _FLAGS)
    times = struct.pack("=4q", 0, nanoseconds, 0, nanoseconds)
    if timer < 0 or libc.timerfd_settime(timer, 0, times, None):
        raise OSError(ctypes.get_errno(), "no timer")
    return timer


async def _by_the_loop(work: Callable[[], None], seconds: float) -> None:
    while True:
        work()
        await asyncio.sleep(seconds)
