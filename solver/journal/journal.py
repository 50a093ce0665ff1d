"""An append-only, hash-chained log of groups of commands in SQLite (WAL, full sync).

`append` returns only when its group is on disk. Every group carries
sha256(previous chain ‖ seq ‖ commands ‖ outcome ‖ payload); recovery recomputes the
chain from the genesis hash, so that a changed, missing or reordered group halts with its
place. One process writes: an exclusive lock on a file beside the database is held for life.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from solver.engine.group import Group
from solver.journal.disk import LOCAL_DISK, Connection, DatabaseError, Disk, Lock
from solver.journal.fault import (
    JournalCorrupt,
    JournalForeign,
    JournalWriteFailed,
)
from solver.journal.mark import PAGE_BYTES, Mark
from solver.journal.migration import migrate
from solver.journal.record import (
    INSERT,
    SCHEMA,
    Genesis,
    Record,
    last_record,
    link,
    noted_hashes,
    read_verified,
    record_ending_at,
    stored_genesis,
)
from solver.journal.room import Room

GROUP_BYTES_MAX: Final = 512 * 1024 * 1024
"""Below what SQLite takes (10⁹); a group of the longest commands there are is shorter."""
LOG_BYTES_MAX: Final = 1024 * 1024
"""The write-ahead log is moved into the database whenever so much was added.

Moving takes two syncs and the time to copy, 2 ms here, and the next group may wait for it. On a
disk that is slow to sync, the syncs are what it costs: less at once would only stall it more often.
"""
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    # SQLite would pass over a failed sync here; we move the log ourselves and stop.
    "PRAGMA wal_autocheckpoint = 0",
)


class Journal:
    """The single writer's handle. Use `Journal.open`; close it, or let the process end."""

    def __init__(
        self, connection: Connection, lock: Lock, mark: Mark, room: Room, genesis: Genesis
    ) -> None:
        self._connection = connection
        self._lock: Lock | None = lock
        self._mark = mark
        self._room = room
        self._log_bytes = 0
        self.genesis: Final = genesis
        self._seq, self._chain = last_record(connection, genesis)
        if self._seq < mark.seq:
            reason = f"missing; everything up to {mark.seq} was acknowledged"
            raise JournalCorrupt(self._seq + 1, reason)

    @classmethod
    def open(cls, path: Path, genesis: Genesis, disk: Disk = LOCAL_DISK) -> "Journal":
        """Open or create the journal at `path`; one of an older format is migrated first.

        Raises:
            JournalLocked: another process has it.
            JournalForeign: it was made for another market, or is of a newer format.
            JournalCorrupt: it cannot be read, or lost what was acknowledged.
            JournalWriteFailed: the folder cannot be written.
        """
        lock = disk.lock(path.with_suffix(".lock"))
        connection: Connection | None = None
        try:
            migrate(path, genesis)
            connection = _connect(path, disk)
            _agree_on(connection, genesis)
            mark = Mark(disk.page(path.with_suffix(".mark"), PAGE_BYTES))
            room = Room(disk, path.with_suffix(".spare"))
            return cls(connection, lock, mark, room, genesis)
        except BaseException as error:
            if connection is not None:
                connection.close()
            lock.close()
            if isinstance(error, OSError):
                raise JournalWriteFailed(str(error)) from error
            if isinstance(error, DatabaseError):
                raise JournalCorrupt(0, str(error)) from error
            raise

    @property
    def seq(self) -> int:
        """Number of the last durable command; 0 for a new journal."""
        return self._seq

    @property
    def chain(self) -> bytes:
        """Chain hash after the last durable group: commits to everything before it."""
        return self._chain

    def append(self, group: Group) -> int:
        """Write a group in one durable transaction; the number of its last command.

        Raises JournalWriteFailed with nothing of the group acknowledged. The caller must
        stop then: after a failed sync nobody knows what is on disk, only recovery does.
        """
        if len(group.payload) > GROUP_BYTES_MAX:
            raise JournalWriteFailed(f"a group of {len(group.payload)} bytes")
        seq = self._seq + 1
        chain = link(self._chain, seq, group)
        row = (seq, group.commands, group.payload, group.outcome, chain)
        try:
            self._insert(row)
            self._seq, self._chain = seq + group.commands - 1, chain
            self._mark.move(self._seq, chain)
        except (sqlite3.Error, OSError) as error:
            raise JournalWriteFailed(str(error)) from error
        self._log_bytes += len(group.payload)
        return self._seq

    def is_upkeep_due(self) -> bool:
        """Whether the log is so long that it should be moved into the database."""
        return self._log_bytes >= LOG_BYTES_MAX

    def keep_up(self) -> None:
        """Move the log into the database, so that it starts again from its beginning.

        Between two groups, once the first is answered: nobody waits for it but the second.
        Raises JournalWriteFailed.
        """
        try:
            self._shorten_log()
        except (sqlite3.Error, OSError) as error:
            raise JournalWriteFailed(str(error)) from error

    def checkpoint(self, state_hash: str) -> None:
        """Note the state hash after the last command, for recovery to compare."""
        try:
            self._execute(
                "INSERT OR REPLACE INTO checkpoint VALUES (?, ?)", (self._seq, state_hash)
            )
        except sqlite3.Error as error:
            raise JournalWriteFailed(str(error)) from error

    def checkpoints(self) -> dict[int, str]:
        """State hashes by number of the last command."""
        return noted_hashes(self._connection)

    def has_room(self) -> bool:
        """Whether the disk takes new work, or only what brings begun work to its end."""
        return self._room.is_enough()

    def read(self) -> Iterator[Record]:
        """Every group from the first, each verified against the chain and the mark.

        Raises JournalCorrupt at the first that does not follow from those before.
        """
        mark = (self._mark.seq, self._mark.chain)
        return read_verified(self._connection, self.genesis, mark, self._seq)

    def ending_at(self, seq: int) -> Record | None:
        """The group whose last command has this number, without its payload."""
        return record_ending_at(self._connection, seq)

    def close(self) -> None:
        """Close the database and release the lock. Closing twice does nothing."""
        if self._lock is not None:
            self._connection.close()
            self._mark.close()
            self._lock.close()
            self._lock = None

    def _insert(self, row: tuple[int, int, bytes, bytes, bytes]) -> None:
        self._execute(INSERT, row)

    def _execute(self, sql: str, parameters: tuple[object, ...]) -> None:
        """Run one durable statement; a full disk is given the spare room, once.

        SQLite says that a disk is full before it syncs: nothing of the statement is kept,
        and the same bytes can be written again. No other failure is tried a second time.
        """
        try:
            list(self._connection.execute(sql, parameters))
        except sqlite3.OperationalError as error:
            if not _is_full(error) or not self._room.release():
                raise
            list(self._connection.execute(sql, parameters))

    def _shorten_log(self) -> None:
        try:
            list(self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)"))
        except sqlite3.OperationalError as error:
            # The log still has everything; it only grows until there is room.
            if not _is_full(error):
                raise
            self._room.release()
        self._log_bytes = 0


def _connect(path: Path, disk: Disk) -> Connection:
    try:
        connection = disk.connect(path)
        for statement in (*_PRAGMAS, *SCHEMA):
            list(connection.execute(statement))
    except sqlite3.DatabaseError as error:
        raise JournalCorrupt(0, str(error)) from error
    return connection


def _agree_on(connection: Connection, genesis: Genesis) -> None:
    stored = stored_genesis(connection)
    if stored is None:
        body = msgspec.json.encode(genesis)
        list(connection.execute("INSERT INTO genesis VALUES (0, ?)", (body,)))
    elif stored != genesis:
        raise JournalForeign(f"this journal is for {stored}, not for {genesis}")


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
