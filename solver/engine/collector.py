"""Python's cyclic garbage collector, for a process that keeps a million records.

A full collection looks at every container there is: with a million resting orders that
stops the market for 100 to 300 ms, and finds nothing, as the core makes no cycles. So what
recovery built is taken out of its sight, and so is, after each collection, what that one
has just looked at: every object is looked at once, and not once for each generation. A
cycle is found if it was dropped by then; what becomes one afterwards stays until the
process ends. (Of connections that end, Python's own event loop leaves some; uvloop none.)
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NEW_MAX: Final = 1_000
"""New containers between collections: one takes less than half a millisecond. As each object is
looked at once, many short ones take no longer than few long ones, and nobody waits for long."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Build much at once without looking at it again and again while it grows."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def settle() -> None:
    """Take all there is out of sight, and from now on what each collection leaves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_MAX)
    if _freeze_what_is_left not in gc.callbacks:
        gc.callbacks.append(_freeze_what_is_left)


def _freeze_what_is_left(phase: str, _: dict[str, int]) -> None:
    if phase == "stop":
        gc.freeze()
