"""Remembers what was found of a key, so that asking again and again asks nobody."""

from collections import OrderedDict

from solver.gateway.port import KeyHealth


class Healths:
    """The latest answers by key, for a while. Bounded: the least recent is forgotten."""

    def __init__(self, *, cached_ms: int, entries_max: int) -> None:
        self._cached_ms = cached_ms
        self._entries_max = entries_max
        self._found: OrderedDict[str, tuple[int, KeyHealth]] = OrderedDict()

    def get(self, key: str, now_ms: int) -> KeyHealth | None:
        """What was found lately, or None."""
        at_ms, health = self._found.get(key, (0, None))
        return health if now_ms < at_ms + self._cached_ms else None

    def put(self, key: str, health: KeyHealth, now_ms: int) -> None:
        """Remember an answer."""
        self._found[key] = (now_ms, health)
        self._found.move_to_end(key)
        if len(self._found) > self._entries_max:
            self._found.popitem(last=False)

    def forget(self, key: str) -> None:
        """The key is gone."""
        self._found.pop(key, None)

    def __len__(self) -> int:
        return len(self._found)
