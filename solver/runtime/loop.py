"""The event loop that a market runs on: uvloop where there is one, asyncio's own elsewhere."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, Final, TypeVar

T = TypeVar("T")

FAST: Final = "uvloop"
SWITCH_SECONDS: Final = 0.0002
"""How long the loop goes on while another thread waits for the interpreter; Python says 5 ms.

The journal's writer waits for it some five times a group, between one call and the next of
the operating system, and everyone in the group waits with it.
"""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine, as `asyncio.run` does."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None for asyncio's own."""
    try:
        fast = import_module(FAST)
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = fast.new_event_loop
    return made
