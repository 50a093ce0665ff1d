"""Has a snapshot taken now and then, by a process of its own: the market never waits for it."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from solver.core.check import Violation
from solver.journal.__main__ import DIFFERS
from solver.journal.recovery import SNAPSHOTS
from solver.journal.snapshot import newest_first

SNAPSHOT_EVERY: Final = 100_000
"""Commands between snapshots: what a restart applies at most, more or less."""
LOOK_SECONDS: Final = 5.0
SECONDS_MAX: Final = 1_800.0
REASON_BYTES_MAX: Final = 4_096
LOG: Final = structlog.get_logger("solver.journal")


class SnapshotKeeper:
    """Watches how far the journal is; `seq` tells."""

    def __init__(
        self,
        data_dir: Path,
        seq: Callable[[], int],
        *,
        every: int = SNAPSHOT_EVERY,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._data_dir = data_dir
        self._seq = seq
        self._every = every
        self._look_seconds = look_seconds
        newest = newest_first(data_dir / SNAPSHOTS)
        self._last = int(newest[0].stem) if newest else 0

    async def run(self) -> None:
        """Have snapshots taken, until cancelled.

        Raises a Violation if the other process comes to another state than this one noted,
        or finds the journal damaged: in doubt the market stops (P8). A snapshot that cannot
        be made for want of room or time is tried again when as much was added once more.
        """
        while True:
            await asyncio.sleep(self._look_seconds)
            if self._seq() - self._last >= self._every:
                self._last = self._seq()
                await self._take()

    async def _take(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "solver.journal",
            str(self._data_dir),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                _, told = await process.communicate()
        except TimeoutError:
            told = b"it took too long"
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        reason = told[-REASON_BYTES_MAX:].decode(errors="replace").strip()
        if process.returncode == DIFFERS:
            raise Violation("snapshot_equals_what_was_noted", reason=reason)
        if process.returncode:
            LOG.warning("snapshot_not_taken", reason=reason)
        else:
            LOG.info("snapshot_taken", up_to=self._last)
