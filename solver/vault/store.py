"""Sealed keys in SQLite: one file, ciphertext only.

Calls block for as long as SQLite does: a `get` takes microseconds; `put` and `delete`
wait for the disk (`synchronous=FULL`), and are as rare as contributing a key.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.vault.fault import StoreFault

BUSY_MS_MAX: Final = 5_000
PAGE_MAX: Final = 1_000

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sealed_key (
    key_id        TEXT PRIMARY KEY,
    owner         TEXT NOT NULL,
    provider      TEXT NOT NULL,
    host          TEXT NOT NULL,
    version       INTEGER NOT NULL,
    attested      INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    fingerprint   BLOB NOT NULL UNIQUE,
    sealed        BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sealed_setting (
    name   TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""

PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    f"PRAGMA busy_timeout={BUSY_MS_MAX}",
)


class SealedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row: everything about a key but the key.

    `attested` says that its owner signed the provider's attestation; asked again at every
    call, as a catalogue may change.
    """

    key_id: str
    owner: str
    provider: str
    host: str
    version: int
    attested: bool
    created_at_ms: int
    fingerprint: bytes
    sealed: bytes


class Resealed(NamedTuple):
    """One key's envelope, before and after."""

    key_id: str
    old: bytes
    new: bytes


class KeyStore:
    """The sealed keys of one vault. Owns the file; any thread may call, one at a time runs."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        with _mapped():
            # SQLite would create the file with the umask's mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in PRAGMAS:
                self._database.execute(pragma)
            self._database.executescript(SCHEMA)

    def put(self, key: SealedKey) -> Reject | None:
        """Keep a new key; KEY_DUPLICATE if its id or its fingerprint is here already."""
        try:
            with self._guarded(sqlite3.IntegrityError):
                self._database.execute(
                    "INSERT INTO sealed_key VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    msgspec.structs.astuple(key),
                )
        except sqlite3.IntegrityError:
            return reject(RejectCode.KEY_DUPLICATE, "this key is in the pool already")
        return None

    def get(self, key_id: str) -> SealedKey | None:
        """The key's row, or None."""
        return self._one("SELECT * FROM sealed_key WHERE key_id = ?", key_id)

    def by_fingerprint(self, fingerprint: bytes) -> SealedKey | None:
        """The row of a key with this fingerprint, or None."""
        return self._one("SELECT * FROM sealed_key WHERE fingerprint = ?", fingerprint)

    def page(
        self, *, owner: str = "", after: str = "", rows_max: int = PAGE_MAX
    ) -> list[SealedKey]:
        """A page of rows in the order of key ids: those after `after`, of `owner` if given."""
        with self._guarded():
            rows = self._database.execute(
                "SELECT * FROM sealed_key WHERE key_id > ?1 AND (?2 = '' OR owner = ?2)"
                " ORDER BY key_id LIMIT ?3",
                (after, owner, min(rows_max, PAGE_MAX)),
            ).fetchall()
        return [_row(row) for row in rows]

    def reseal(self, envelopes: Sequence[Resealed]) -> int:
        """Swap envelopes that are still the old ones, in one transaction; how many were.

        A key that was revoked meanwhile does not come back.
        """
        with self._guarded(), self._transaction():
            cursor = self._database.executemany(
                "UPDATE sealed_key SET sealed = ?3 WHERE key_id = ?1 AND sealed = ?2", envelopes
            )
        return max(cursor.rowcount, 0)

    def delete(self, key_id: str) -> bool:
        """Erase a key: overwrite, remove, and empty the log that still holds its page."""
        blank = "UPDATE sealed_key SET sealed = zeroblob(length(sealed)) WHERE key_id = ?"
        with self._guarded():
            with self._transaction():
                self._database.execute(blank, (key_id,))
                cursor = self._database.execute(
                    "DELETE FROM sealed_key WHERE key_id = ?", (key_id,)
                )
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return cursor.rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise

    def setting(self, name: str) -> bytes | None:
        """A sealed secret of the vault's own, or None."""
        with self._guarded():
            row = self._database.execute(
                "SELECT sealed FROM sealed_setting WHERE name = ?", (name,)
            ).fetchone()
        return bytes(row[0]) if row else None

    def put_setting(self, name: str, sealed: bytes) -> None:
        """Keep, or replace, a sealed secret of the vault's own."""
        with self._guarded():
            self._database.execute(
                "INSERT INTO sealed_setting VALUES (?1, ?2)"
                " ON CONFLICT (name) DO UPDATE SET sealed = ?2",
                (name, sealed),
            )

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        with self._guarded():
            self._database.close()

    @contextmanager
    def _guarded(self, *passed: type[sqlite3.Error]) -> Iterator[None]:
        with self._lock, _mapped(*passed):
            yield

    def _one(self, statement: str, argument: str | bytes) -> SealedKey | None:
        with self._guarded():
            row = self._database.execute(statement, (argument,)).fetchone()
        return _row(row) if row else None


def _row(row: tuple[Any, ...]) -> SealedKey:
    fields = dict(zip(SealedKey.__struct_fields__, row, strict=True))
    return SealedKey(**fields | {"attested": bool(fields["attested"])})


@contextmanager
def _mapped(*passed: type[sqlite3.Error]) -> Iterator[None]:
    try:
        yield
    except passed:
        raise
    except (sqlite3.Error, OSError) as error:
        raise StoreFault(f"the key store failed: {type(error).__name__}") from error
