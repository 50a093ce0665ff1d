"""A journal as another process reads it: nothing is written, the market may be running."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from solver.journal.disk import LOCAL_DISK, Connection, Disk
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalMissing
from solver.journal.mark import read_mark
from solver.journal.record import (
    FORMAT_VERSION,
    Genesis,
    Record,
    last_record,
    noted_hashes,
    read_verified,
    record_ending_at,
    stored_genesis,
)


class JournalReader:
    """What the journal held when it was opened. Use `JournalReader.open`, and close it."""

    def __init__(self, connection: Connection, genesis: Genesis, mark: tuple[int, bytes]) -> None:
        self._connection = connection
        self._mark = mark
        self.genesis: Final = genesis
        self.seq, self.chain = last_record(connection, genesis)
        if self.seq < mark[0]:
            reason = f"missing; everything up to {mark[0]} was acknowledged"
            raise JournalCorrupt(self.seq + 1, reason)

    @classmethod
    def open(cls, path: Path, disk: Disk = LOCAL_DISK) -> "JournalReader":
        """Open the journal at `path`.

        Raises JournalMissing, JournalForeign (another format), or JournalCorrupt.
        """
        # The mark first: a running market moves it after the database, never before.
        try:
            mark = read_mark(path.with_suffix(".mark").read_bytes())
        except FileNotFoundError:
            mark = (0, b"")
        if not path.exists():
            if mark[0]:
                raise JournalCorrupt(1, f"missing; everything up to {mark[0]} was acknowledged")
            raise JournalMissing(f"there is no journal at {path}")
        connection: Connection | None = None
        try:
            connection = disk.connect(path, read_only=True)
            return cls(connection, _known(connection), mark)
        except sqlite3.DatabaseError as error:
            _close(connection)
            raise JournalCorrupt(0, str(error)) from error
        except BaseException:
            _close(connection)
            raise

    def read(self) -> Iterator[Record]:
        """Every group from the first, each verified. Raises JournalCorrupt."""
        return read_verified(self._connection, self.genesis, self._mark, self.seq)

    def checkpoints(self) -> dict[int, str]:
        """State hashes of clean stops, by the number of the last command."""
        return noted_hashes(self._connection)

    def ending_at(self, seq: int) -> Record | None:
        """The group whose last command has this number, without its payload."""
        return record_ending_at(self._connection, seq)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _known(connection: Connection) -> Genesis:
    genesis = stored_genesis(connection)
    if genesis is None:
        raise JournalCorrupt(0, "it does not say what it is for")
    if genesis.format_version != FORMAT_VERSION:
        raise JournalForeign(
            f"this journal has format {genesis.format_version}: start its market once, "
            f"which brings it to format {FORMAT_VERSION}"
        )
    return genesis


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
