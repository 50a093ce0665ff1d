"""How well a key serves: what became of its newest calls, and how long they took.

The market sees both of every call, so nobody has to be believed. A floor is held against the
newest `SEEN_MAX` calls of a key, and no key meets one before it has served `SEEN_MIN`.
"""

from typing import Final

import msgspec
from mypy_extensions import mypyc_attr

SEEN_MAX: Final = 64
SEEN_MIN: Final = 8
SUCCESS_WHOLE: Final = 1_000
_FAILED: Final = -1


class Floor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least of a thousand calls that succeed, the most milliseconds of half of them; 0: any."""

    success_min: int = 0
    latency_max: int = 0

    @property
    def asks(self) -> bool:
        """Whether it asks for anything."""
        return self.success_min > 0 or self.latency_max > 0


class Rating(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key's newest calls say: `success` of a thousand, `latency` ms of half of them."""

    success: int
    latency: int

    def meets(self, floor: Floor) -> bool:
        """Whether it is at or above the floor."""
        is_quick = not floor.latency_max or self.latency <= floor.latency_max
        return self.success >= floor.success_min and is_quick


@mypyc_attr(acyclic=True)
class Seen:
    """A key's newest calls, oldest first: milliseconds of each that succeeded, or -1."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def note(self, latency_ms: int, *, succeeded: bool) -> None:
        """A call is over."""
        self.calls.append(latency_ms if succeeded else _FAILED)
        if len(self.calls) > SEEN_MAX:
            del self.calls[0]

    def rating(self) -> Rating | None:
        """None as long as there were too few. A median that failures are part of is none."""
        if len(self.calls) < SEEN_MIN:
            return None
        times = sorted(latency for latency in self.calls if latency != _FAILED)
        success = len(times) * SUCCESS_WHOLE // len(self.calls)
        return Rating(success=success, latency=times[(len(times) - 1) // 2]) if times else None
