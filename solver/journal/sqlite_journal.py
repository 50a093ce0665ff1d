"""Journals of formats 3 and 4, which were SQLite databases: read whole, once, to migrate them."""

import sqlite3
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from solver.engine.group import Group
from solver.journal.fault import JournalCorrupt, JournalWriteFailed
from solver.journal.record import Genesis, first_link, genesis_of, link

BEGINNING: Final = b"SQLite format 3\0"
_COMMANDS_END: Final = 2**32
_SECTOR: Final = 512
"""The mark had two places, each with a number, a chain and a check."""
_RECORDS: Final = "SELECT seq, commands, payload, outcome, chain FROM record ORDER BY seq"


class SqliteJournal:
    """One that was stopped. What it says is verified as it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None)

    def genesis(self) -> Genesis | None:
        """What it is for; None if it was not yet said. Raises JournalForeign, JournalCorrupt."""
        try:
            tables = [
                name for (name,) in self._connection.execute("SELECT name FROM sqlite_schema")
            ]
            said = (
                self._connection.execute("SELECT body FROM genesis") if "genesis" in tables else ()
            )
            bodies = [body for (body,) in said]
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise JournalCorrupt(0, str(error)) from error
        if not bodies:
            self._check_reached(1)
            return None
        if not isinstance(bodies[0], bytes):
            raise JournalCorrupt(0, "what it is for is not said in bytes")
        return genesis_of(bodies[0])

    def groups(self, genesis: Genesis) -> Iterator[tuple[int, Group]]:
        """Every group with the number of its first command, verified against chain and mark.

        Raises JournalCorrupt at the first that does not follow from those before.
        """
        chain, expected = first_link(genesis), 1
        marked_seq, marked_chain = self._mark()
        try:
            for seq, commands, payload, outcome, stored in self._connection.execute(_RECORDS):
                if seq != expected:
                    raise JournalCorrupt(expected, f"missing; the next one is {seq}")
                if not _has_types(commands, payload, outcome):
                    raise JournalCorrupt(seq, "its columns are of other types")
                group = Group(commands=commands, payload=payload, outcome=outcome)
                chain = link(chain, seq, group)
                if chain != stored:
                    raise JournalCorrupt(seq, "its bytes do not match its hash")
                expected += commands
                if expected - 1 == marked_seq and chain != marked_chain:
                    raise JournalCorrupt(seq, "not what was acknowledged")
                yield seq, group
        except sqlite3.DatabaseError as error:
            raise JournalCorrupt(expected, str(error)) from error
        self._check_reached(expected)

    def state_hashes(self) -> dict[int, str]:
        """Those of clean stops, by the number of the last command. Raises JournalCorrupt."""
        try:
            noted = dict(self._connection.execute("SELECT seq, state_hash FROM checkpoint"))
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise JournalCorrupt(0, f"its checkpoints cannot be read: {error}") from error
        for seq, state_hash in noted.items():
            if not isinstance(seq, int) or not isinstance(state_hash, str):
                raise JournalCorrupt(0, "its checkpoints are of other types")
        return noted

    def fold_log(self) -> None:
        """Move the write-ahead log into the file, which is kept without it.

        Raises JournalWriteFailed.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            raise JournalWriteFailed(f"migration: {error}") from error
        except sqlite3.DatabaseError as error:
            raise JournalCorrupt(0, str(error)) from error
        if self._path.with_name(f"{self._path.name}-wal").exists():
            raise JournalWriteFailed("migration: another process reads the journal; stop it first")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _check_reached(self, expected: int) -> None:
        """Raise JournalCorrupt if command `expected`, which is not there, was acknowledged."""
        marked_seq, _ = self._mark()
        if expected <= marked_seq:
            reason = f"missing; everything up to {marked_seq} was acknowledged"
            raise JournalCorrupt(expected, reason)

    def _mark(self) -> tuple[int, bytes]:
        """The last command that was acknowledged, and the chain after it."""
        try:
            content = self._path.with_suffix(".mark").read_bytes()
        except FileNotFoundError:
            return 0, b""
        return max(_marked(content[:_SECTOR]), _marked(content[_SECTOR : 2 * _SECTOR]))


def _marked(sector: bytes) -> tuple[int, bytes]:
    head, check = sector[:40], sector[40:56]
    if blake2b(head, digest_size=16).digest() != check:
        return 0, b""
    return int.from_bytes(head[:8], "big"), head[8:]


def _has_types(commands: object, payload: object, outcome: object) -> bool:
    """A damaged page may hold anything in any column."""
    return (
        isinstance(commands, int)
        and 0 < commands < _COMMANDS_END
        and isinstance(payload, bytes)
        and isinstance(outcome, bytes)
    )
