"""How much a call does, as lines of Python it runs: a count no load of the machine changes."""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps_in(call: Callable[[], object], under: str = "") -> int:
    """Lines that a call runs of files whose path has `under` in it.

    No collection happens meanwhile: the finalizers of what another test left would count too.
    """
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        steps += event == "line" and under in frame.f_code.co_filename
        return trace

    before = sys.gettrace()
    collects = gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return steps
