"""Python's cyclic garbage collector, for a process that keeps a million records.

A full collection looks at every container there is: with a million resting orders that
stops the market for 100 to 300 ms, and finds nothing, as the core makes no cycles. So what
recovery built is taken out of its sight, and so is, after each full collection, what that
one has just looked at: every object is looked at once when old. Cycles are still found
before that; what becomes one afterwards stays until the process ends.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (2_000, 4, 1)
"""New containers between young collections, those between middle, those between full ones.

A full collection so looks at some 20,000 containers: a few milliseconds.
"""
_FULL: Final = 2


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
    """Take all there is out of sight, and from now on what each full collection leaves."""
    gc.collect()
    gc.freeze()
    # Full collections wait until a quarter was added to what the last one left: nothing.
    gc.collect()
    gc.set_threshold(*THRESHOLDS)
    if _freeze_after_full not in gc.callbacks:
        gc.callbacks.append(_freeze_after_full)


def _freeze_after_full(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == _FULL:
        gc.freeze()
