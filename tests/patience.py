"""How long tests wait for what will come: as long as only a hang takes, on any machine.

Whoever shows that a planted bug is found need not wait that long for what then never comes.
There too little patience can only find what is looked for.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE_S: Final = 60.0
_now_s = PATIENCE_S


def patience_s() -> float:
    """Seconds to wait at most."""
    return _now_s


def patiently() -> asyncio.Timeout:
    """A bound for all that is awaited within."""
    return asyncio.timeout(_now_s)


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that will be and has no event."""
    async with patiently():
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def a_while() -> None:
    """Many turns of the loop: what was sent to somebody who runs on it has arrived."""
    for _ in range(20):
        await asyncio.sleep(0.005)


def until_it_is(is_so: Callable[[], object]) -> None:
    """The same for who has no loop, or holds it up on purpose."""
    end = time.monotonic() + _now_s
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


@contextmanager
def impatient(seconds: float = 2.0) -> Iterator[None]:
    """What does not come soon does not come: there is a planted bug."""
    global _now_s  # noqa: PLW0603  one for all who wait within
    _now_s, before = seconds, _now_s
    try:
        yield
    finally:
        _now_s = before
