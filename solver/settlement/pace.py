"""How often the chain is asked: step after step, and less often what goes wrong again and again."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Final, Generic, Never, TypeVar

import structlog

from solver.settlement.fault import ChainUnreachable, RequestRefused

DOUBLINGS_MAX: Final = 6
"""A pause grows to this many times twice itself."""
_log = structlog.get_logger()
_Key = TypeVar("_Key", bound=Hashable)


async def repeat(step: Callable[[], Awaitable[bool | None]], interval_ms: int, waits: str) -> Never:
    """Step after step until cancelled; an unreachable node only slows it down.

    The next follows at once where a step says that there is more to do. `waits` names the line
    in the log that says why it is slower. Raises whatever else a step does.
    """
    failures = 0
    while True:
        try:
            is_behind = await step()
            failures = 0
        except (ChainUnreachable, RequestRefused) as fault:
            is_behind = False
            failures += 1
            _log.warning(waits, reason=str(fault))
        if not is_behind:
            await asyncio.sleep(_grown(interval_ms, failures) / 1_000)


class Refusals(Generic[_Key]):
    """What was refused, each until it may be tried again."""

    def __init__(self, retry_ms: int) -> None:
        self._retry_ms = retry_ms
        self._waits: dict[_Key, tuple[int, int]] = {}
        """Until when, and how often it was refused before."""

    def note(self, key: _Key, now_ms: int) -> None:
        """It was refused: wait twice as long as the last time."""
        _, before = self._waits.get(key, (0, -1))
        self._waits[key] = (now_ms + _grown(self._retry_ms, before + 1), before + 1)

    def may_try(self, key: _Key, now_ms: int) -> bool:
        """Whether its time has come, or it never was refused."""
        until_ms, _ = self._waits.get(key, (now_ms, 0))
        return until_ms <= now_ms

    def forget(self, key: _Key) -> None:
        """It was taken, or is over."""
        self._waits.pop(key, None)

    def forget_all_but(self, keys: Iterable[_Key]) -> list[_Key]:
        """Those that were forgotten, as they are over."""
        kept = set(keys)
        gone = [key for key in self._waits if key not in kept]
        for key in gone:
            del self._waits[key]
        return gone


def _grown(pause_ms: int, times: int) -> int:
    return pause_ms << min(times, DOUBLINGS_MAX)
