"""How often the secret of each mandate was replaced: on disk before a new one is told.

A mandate's secret is derived and stored nowhere; this number is all that tells the one that
counts from those that it replaced.
"""

import asyncio
import sqlite3
from pathlib import Path

_SCHEMA = """CREATE TABLE IF NOT EXISTS rotation
    (mandate TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID"""


class Rotations:
    """A number for each mandate whose secret was replaced, and none for the others.

    Without a path they are forgotten with this object.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._database: sqlite3.Connection | None = None
        self._counts: dict[str, int] = {}
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
            count = self.count(mandate) + 1
            # In a thread: a sync must not hold the market's loop.
            await asyncio.shield(asyncio.to_thread(self._write, mandate, count))
            self._counts[mandate] = count

    def close(self) -> None:
        """Write no more."""
        if self._database is not None:
            self._database.close()

    def _write(self, mandate: str, count: int) -> None:
        if self._database is not None:
            with self._database as transaction:
                transaction.execute("REPLACE INTO rotation VALUES (?, ?)", (mandate, count))


def _open(path: Path) -> sqlite3.Connection:
    # Written in threads, but by one at a time.
    database = sqlite3.connect(path, check_same_thread=False)
    for statement in ("PRAGMA synchronous = FULL", "PRAGMA fullfsync = ON", _SCHEMA):
        database.execute(statement)
    return database
