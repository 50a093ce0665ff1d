"""Signed bytes on disk before they are sent, and until they are final.

SQLite in WAL mode with full sync. A batch keeps its calldata and nonce from the first
attempt on; every replacement is one more version of the same transaction. So whatever
happens to the process or to the pool, what was sent can be recognised and sent again.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from solver.settlement.chain import Fees
from solver.settlement.fault import OutboxForeign, OutboxWriteFailed

FORMAT_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS identity (
    id INTEGER PRIMARY KEY CHECK (id = 0), body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS batch (
    number INTEGER PRIMARY KEY, digest TEXT NOT NULL, calldata BLOB NOT NULL,
    status TEXT NOT NULL, nonce INTEGER, gas INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS version (
    hash TEXT PRIMARY KEY, number INTEGER NOT NULL REFERENCES batch (number),
    place INTEGER NOT NULL, raw BLOB NOT NULL, max_wei INTEGER NOT NULL,
    tip_wei INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS book (
    place INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE, accounts TEXT NOT NULL
) STRICT;
"""


class Status(StrEnum):
    """Where a batch stands. What is FINAL needs nothing any more."""

    WAITING = "waiting"
    """No transaction yet."""
    SENT = "sent"
    """Signed, stored, and sent at least once or about to be."""
    FAILED = "failed"
    """Mined, reverted and final: a person has to look, see `Submitter.retry`."""
    FINAL = "final"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What an outbox is for. It opens for nothing else."""

    format_version: int = FORMAT_VERSION
    chain_id: int
    account: str
    sender: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One batch."""

    number: int
    digest: str
    status: Status
    nonce: int | None
    gas: int
    reason: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One signed form of a batch's transaction, newest last."""

    hash: str
    raw: bytes
    fees: Fees


class Outbox:
    """The one writer's handle. Blocking; `close` it."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Open or create.

        Raises:
            OutboxForeign: it was made for another chain, account or sender.
            OutboxWriteFailed: another process has it, or the folder cannot be written.
        """
        self._turn = threading.Lock()
        """Batches and books are written by different tasks, each in a thread."""
        with _write_fault():
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=0, check_same_thread=False
            )
        try:
            with _write_fault():
                self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.executescript(_SCHEMA)
            self._agree_on(identity)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let another writer have it."""
        self._connection.close()

    def entry(self, number: int) -> Entry | None:
        """A batch, if it was added."""
        found = self._entries("WHERE number = ?", number)
        return found[0] if found else None

    def unfinished(self) -> list[Entry]:
        """Batches that are not final, by number."""
        return self._entries("WHERE status <> ? ORDER BY number", Status.FINAL)

    def versions(self, number: int) -> list[Version]:
        """All that was signed for a batch's present nonce, oldest first."""
        rows = self._connection.execute(
            "SELECT hash, raw, max_wei, tip_wei FROM version WHERE number = ? ORDER BY place",
            (number,),
        )
        return [
            Version(hash=hashed, raw=raw, fees=Fees(max_wei=max_wei, tip_wei=tip_wei))
            for hashed, raw, max_wei, tip_wei in rows
        ]

    def calldata(self, number: int) -> bytes:
        """What settles a batch that is not final."""
        (found,) = self._connection.execute(
            "SELECT calldata FROM batch WHERE number = ?", (number,)
        ).fetchone()
        return bytes(found)

    def nonce_past(self) -> int:
        """The lowest nonce above all that were used up by what is final now."""
        (highest,) = self._connection.execute(
            "SELECT MAX(nonce) FROM batch WHERE status = ?", (Status.FINAL,)
        ).fetchone()
        return 0 if highest is None else highest + 1

    def add(self, number: int, digest: str, calldata: bytes) -> None:
        """Keep a batch's calldata, once."""
        self._write(
            (
                "INSERT INTO batch (number, digest, calldata, status) VALUES (?, ?, ?, ?)",
                (number, digest, calldata, Status.WAITING),
            )
        )

    def store(self, number: int, nonce: int, gas: int, version: Version) -> None:
        """Keep signed bytes. Returns when they are on disk: only then may they be sent."""
        place = len(self.versions(number))
        self._write(
            (
                "UPDATE batch SET status = ?, nonce = ?, gas = ? WHERE number = ?",
                (Status.SENT, nonce, gas, number),
            ),
            (
                "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?)",
                (
                    version.hash,
                    number,
                    place,
                    version.raw,
                    version.fees.max_wei,
                    version.fees.tip_wei,
                ),
            ),
        )

    def fail(self, number: int, reason: str) -> None:
        """Its transaction is mined, reverted and final."""
        self._write(
            (
                "UPDATE batch SET status = ?, reason = ? WHERE number = ?",
                (Status.FAILED, reason, number),
            )
        )

    def release(self, number: int) -> None:
        """Forget the nonce, which was used up for good, and what was signed for it."""
        self._write(
            (
                "UPDATE batch SET status = ?, nonce = NULL, reason = '' WHERE number = ?",
                (Status.WAITING, number),
            ),
            ("DELETE FROM version WHERE number = ?", (number,)),
        )

    def finish(self, number: int) -> None:
        """It is settled and final: only its line remains, for the record."""
        self._write(
            (
                "UPDATE batch SET status = ?, calldata = x'' WHERE number = ?",
                (Status.FINAL, number),
            ),
            ("DELETE FROM version WHERE number = ?", (number,)),
        )

    def books(self) -> dict[str, tuple[str, ...]]:
        """The address books that are on chain for good, oldest first."""
        rows = self._connection.execute("SELECT address, accounts FROM book ORDER BY place")
        return {address: tuple(accounts.split()) for address, accounts in rows}

    def add_book(self, address: str, accounts: Iterable[str]) -> None:
        """Keep an address book, once it is final."""
        self._write(
            (
                "INSERT INTO book (address, accounts) VALUES (?, ?)",
                (address, " ".join(accounts)),
            )
        )

    def _entries(self, where: str, *values: object) -> list[Entry]:
        rows = self._connection.execute(
            f"SELECT {', '.join(Entry.__struct_fields__)} FROM batch {where}",  # noqa: S608
            values,
        )
        names = Entry.__struct_fields__
        return [msgspec.convert(dict(zip(names, row, strict=True)), Entry) for row in rows]

    def _write(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        with self._turn, _write_fault():
            self._connection.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                self._connection.execute(statement, values)
            self._connection.execute("COMMIT")

    def _agree_on(self, identity: Identity) -> None:
        body = msgspec.json.encode(identity)
        row = self._connection.execute("SELECT body FROM identity").fetchone()
        if row is None:
            self._write(("INSERT INTO identity VALUES (0, ?)", (body,)))
        elif row[0] != body:
            raise OutboxForeign(f"the outbox is for {row[0].decode()}, not {body.decode()}")


@contextmanager
def _write_fault() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutboxWriteFailed(str(error)) from error
