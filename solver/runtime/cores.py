"""How much of the machine is ours."""

import os


def usable_cores() -> int:
    """The cores that this process may run on; at least one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
