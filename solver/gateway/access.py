"""A line in the log for each request, as long as there are not too many of them.

A busy market answers thousands a second; a line for each would cost as much as the rest of
a small answer, and fill the disk of whoever is flooded. Beyond so many a second they are
counted, and the next line says how many. What failed for a reason of ours always has one.
"""

import time
from typing import Final

import structlog

LOG: Final = structlog.get_logger("solver.gateway")
OURS: Final = 500


class AccessLog:
    """Writes at most `lines_per_second`. Never a query, a header or a body."""

    def __init__(self, lines_per_second: int) -> None:
        self._lines_per_second = lines_per_second
        self._second = 0
        self._lines = 0
        self._unlogged = 0

    def note(self, method: str, route: str, status: int, remote: str, started: float) -> None:
        """A request that began at `started` (monotonic seconds) was answered just now."""
        now = time.monotonic()
        if int(now) != self._second:
            self._second, self._lines = int(now), 0
        self._lines += 1
        if self._lines > self._lines_per_second and status < OURS:
            self._unlogged += 1
            return
        unlogged, self._unlogged = self._unlogged, 0
        LOG.info(
            "request",
            method=method,
            route=route,
            status=status,
            elapsed_ms=round((now - started) * 1_000, 1),
            remote=remote,
            **({"unlogged": unlogged} if unlogged else {}),
        )
