"""An append-only, hash-chained log of commands in SQLite (WAL, full sync, group commit).

`append` returns only when its records are on disk. Every record carries
blake2b(previous chain ‖ seq ‖ payload); recovery recomputes the chain from the genesis
hash, so that a changed, missing or reordered record halts with its place. One process
writes: an exclusive lock on a file beside the database is held for life.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from solver.journal.fault import (
    JournalCorrupt,
    JournalForeign,
    JournalLocked,
    JournalWriteFailed,
)

FORMAT_VERSION: Final = 1
RECORD_BYTES_MAX: Final = 4 * 1024 * 1024

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS genesis (
    id INTEGER PRIMARY KEY CHECK (id = 0), body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY, payload BLOB NOT NULL, chain BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS checkpoint (
    seq INTEGER PRIMARY KEY, state_hash TEXT NOT NULL
) STRICT;
"""


class Genesis(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal is for. Recovery refuses any other."""

    format_version: int = FORMAT_VERSION
    chain_id: int
    settlement: str
    usdc: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One journaled command."""

    seq: int
    payload: bytes
    chain: bytes


class Journal:
    """The single writer's handle. Use `Journal.open`; close it, or let the process end."""

    def __init__(self, connection: sqlite3.Connection, lock: int, genesis: Genesis) -> None:
        self._connection = connection
        self._lock = lock
        self.genesis: Final = genesis
        self._seq, self._chain = self._last()

    @classmethod
    def open(cls, path: Path, genesis: Genesis) -> "Journal":
        """Open or create the journal at `path`.

        Raises:
            JournalLocked: another process has it.
            JournalForeign: it was made for another market or format.
            JournalWriteFailed: the folder cannot be written.
        """
        lock = _lock(path)
        try:
            connection = _connect(path)
            _agree_on(connection, genesis)
            return cls(connection, lock, genesis)
        except BaseException:
            os.close(lock)
            raise

    @property
    def seq(self) -> int:
        """Number of the last durable record; 0 for a new journal."""
        return self._seq

    @property
    def chain(self) -> bytes:
        """Chain hash of the last durable record: commits to everything before it."""
        return self._chain

    def append(self, payloads: Sequence[bytes]) -> int:
        """Write a group of records in one durable transaction; returns the last seq.

        Raises JournalWriteFailed with nothing of the group acknowledged. The caller must
        stop then: after a failed sync nobody knows what is on disk, only recovery does.
        """
        seq, chain = self._seq, self._chain
        rows = []
        for payload in payloads:
            if len(payload) > RECORD_BYTES_MAX:
                raise JournalWriteFailed(f"a record of {len(payload)} bytes")
            seq += 1
            chain = link(chain, seq, payload)
            rows.append((seq, payload, chain))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalWriteFailed(str(error)) from error
        self._seq, self._chain = seq, chain
        return seq

    def checkpoint(self, state_hash: str) -> None:
        """Note the state hash after the last record, for recovery to compare."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT OR REPLACE INTO checkpoint VALUES (?, ?)", (self._seq, state_hash)
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalWriteFailed(str(error)) from error

    def checkpoints(self) -> dict[int, str]:
        """State hashes by record number."""
        return dict(self._connection.execute("SELECT seq, state_hash FROM checkpoint"))

    def read(self) -> Iterator[Record]:
        """Every record from the first, each verified against the chain.

        Raises JournalCorrupt at the first record that does not follow from those before.
        """
        chain, expected = _genesis_chain(self.genesis), 1
        rows = self._connection.execute("SELECT seq, payload, chain FROM record ORDER BY seq")
        try:
            for seq, payload, stored in rows:
                if seq != expected:
                    raise JournalCorrupt(expected, f"missing; the next one is {seq}")
                chain = link(chain, seq, payload)
                if chain != stored:
                    raise JournalCorrupt(seq, "its bytes do not match its hash")
                yield Record(seq=seq, payload=payload, chain=chain)
                expected += 1
        except sqlite3.DatabaseError as error:
            raise JournalCorrupt(expected, str(error)) from error

    def close(self) -> None:
        """Close the database and release the lock. Closing twice does nothing."""
        if self._lock >= 0:
            self._connection.close()
            os.close(self._lock)
            self._lock = -1

    def _last(self) -> tuple[int, bytes]:
        row = self._connection.execute(
            "SELECT seq, chain FROM record ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return (row[0], row[1]) if row else (0, _genesis_chain(self.genesis))


def link(chain: bytes, seq: int, payload: bytes) -> bytes:
    """The chain hash after one more record."""
    return blake2b(chain + seq.to_bytes(8, "big") + payload, digest_size=32).digest()


def _genesis_chain(genesis: Genesis) -> bytes:
    return blake2b(msgspec.msgpack.encode(genesis), digest_size=32).digest()


def _lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalWriteFailed(str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise JournalLocked(f"another process writes {path.name}; stop it first") from error
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # One thread at a time uses it: the sequencer's writer, or recovery before that.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise JournalCorrupt(0, str(error)) from error
    return connection


def _agree_on(connection: sqlite3.Connection, genesis: Genesis) -> None:
    row = connection.execute("SELECT body FROM genesis").fetchone()
    if row is None:
        connection.execute("INSERT INTO genesis VALUES (0, ?)", (msgspec.json.encode(genesis),))
        return
    stored = msgspec.json.decode(row[0], type=Genesis)
    if stored != genesis:
        raise JournalForeign(f"this journal is for {stored}, not for {genesis}")
