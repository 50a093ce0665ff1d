"""Where records are found by name, a hundred thousand of them."""

from typing import Any


def large_dict() -> dict[str, Any]:
    """A dict that keeps the hash of each key beside it, as those do that ever had one of no text.

    Others look into a key for it, at every place that they pass on their way to the right one:
    among so many that is a wait for memory, a third of what it takes to add another.
    """
    kept: dict[Any, Any] = {0: None}
    del kept[0]
    return kept
