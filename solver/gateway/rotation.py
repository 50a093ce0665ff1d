"""How often the secret of each mandate was replaced: on disk before a new one is told.

A mandate's secret is derived and stored nowhere; this number is all that tells the one that
counts from those that it replaced.
"""

import asyncio
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

SPARE_MAX: Final = 1_000
"""Mandates that the market forgot and whose numbers may be kept, beyond as many as others."""

_SCHEMA = """CREATE TABLE IF NOT EXISTS rotation
    (mandate TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID"""


class Rotations:
    """A number for each mandate whose secret was replaced, and none for the others.

    Without a path they are forgotten with this object. A number is kept while its mandate is one
    of `mandates`, those that the market remembers: no other can ever be registered again, as its
    nonce was used. None: all are kept.
    """

    def __init__(self, path: Path | None = None, mandates: Collection[str] | None = None) -> None:
        self._database: sqlite3.Connection | None = None
        self._counts: dict[str, int] = {}
        self._mandates = mandates
        self._turn = asyncio.Lock()
        if path is not None:
            self._database = _open(path)
            self._counts.update(self._database.execute("SELECT mandate, count FROM rotation"))

    def count(self, mandate: str) -> int:
        """How often this one's was replaced."""
        return self._counts.get(mandate, 0)

    async def advance(self, mandate: str) -> None:
        """Replace it once more. Raises sqlite3.Error, and then it is as it was."""
        async with self._turn:
            count, gone = self.count(mandate) + 1, self._gone()
            # In a thread: a sync must not hold the market's loop.
            await asyncio.shield(asyncio.to_thread(self._write, mandate, count, gone))
            self._counts[mandate] = count
            for one in gone:
                del self._counts[one]

    def close(self) -> None:
        """Write no more."""
        if self._database is not None:
            self._database.close()

    def _gone(self) -> list[str]:
        """Those that the market has forgotten, once there are many."""
        mandates = self._mandates
        if mandates is None or len(self._counts) <= 2 * len(mandates) + SPARE_MAX:
            return []
        return [mandate for mandate in self._counts if mandate not in mandates]

    def _write(self, mandate: str, count: int, gone: list[str]) -> None:
        if self._database is not None:
            with self._database as transaction:
                transaction.execute("REPLACE INTO rotation VALUES (?, ?)", (mandate, count))
                transaction.executemany(
                    "DELETE FROM rotation WHERE mandate = ?", [(one,) for one in gone]
                )


def _open(path: Path) -> sqlite3.Connection:
    # Written in threads, but by one at a time.
    database = sqlite3.connect(path, check_same_thread=False)
    for statement in ("PRAGMA synchronous = FULL", "PRAGMA fullfsync = ON", _SCHEMA):
        database.execute(statement)
    return database
