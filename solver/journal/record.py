"""The journal's format: what a file is for, its groups, and the chain that binds them."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import msgspec

from solver.engine.group import Group
from solver.journal.disk import Connection, DatabaseError
from solver.journal.fault import JournalCorrupt, JournalForeign

FORMAT_VERSION: Final = 4
STEP_MAX: Final = 8
"""Groups read at once: they stay in the cache, and the writer's log is not held back for long."""

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS genesis (
        id INTEGER PRIMARY KEY CHECK (id = 0), body BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS record (
        seq INTEGER PRIMARY KEY, commands INTEGER NOT NULL, payload BLOB NOT NULL,
        outcome BLOB NOT NULL, chain BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS checkpoint (
        seq INTEGER PRIMARY KEY, state_hash TEXT NOT NULL
    ) STRICT""",
)
_COMMANDS_MAX: Final = 2**32
INSERT: Final = "INSERT INTO record VALUES (?, ?, ?, ?, ?)"
_STEP: Final = (
    "SELECT seq, commands, payload, outcome, chain FROM record WHERE seq >= ? ORDER BY seq LIMIT ?"
)
_ENDING_AT: Final = (
    "SELECT seq, commands, outcome, chain FROM record WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
)
_LAST: Final = "SELECT seq + commands - 1, chain FROM record ORDER BY seq DESC LIMIT 1"


class Genesis(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal is for. Recovery refuses any other."""

    format_version: int = FORMAT_VERSION
    chain_id: int
    settlement: str
    usdc: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One group as it is stored; `seq` is the number of its first command."""

    seq: int
    commands: int
    payload: bytes
    outcome: bytes
    chain: bytes

    @property
    def last(self) -> int:
        """The number of its last command."""
        return self.seq + self.commands - 1


def first_link(genesis: Genesis) -> bytes:
    """The chain before the first group."""
    return sha256(msgspec.msgpack.encode(genesis)).digest()


def link(chain: bytes, seq: int, group: Group) -> bytes:
    """The chain after one more group, whose first command is number `seq`."""
    head = chain + seq.to_bytes(8, "big") + group.commands.to_bytes(8, "big")
    lengths = len(group.outcome).to_bytes(8, "big")
    # Processors have SHA-256 built in: it takes half as long as BLAKE2b.
    hashed = sha256(head + lengths + group.outcome)
    hashed.update(group.payload)
    return hashed.digest()


def stored_genesis(connection: Connection) -> Genesis | None:
    """What the file says it is for; None if it says nothing yet.

    Raises JournalForeign for a newer format, JournalCorrupt for what cannot be read.
    """
    try:
        rows = list(connection.execute("SELECT body FROM genesis"))
        if not rows:
            return None
        (body,) = rows[0]
        if not isinstance(body, bytes):
            raise JournalCorrupt(0, "what it is for is not said in bytes")
        version = msgspec.json.decode(body, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise JournalForeign(
                f"this journal has format {version}, and this keyfill reads up to "
                f"{FORMAT_VERSION}: install the version that wrote it, or a newer one"
            )
        return msgspec.json.decode(body, type=Genesis)
    except (DatabaseError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(0, str(error)) from error


def last_record(connection: Connection, genesis: Genesis) -> tuple[int, bytes]:
    """Number of the last command and the chain after it. Raises JournalCorrupt."""
    rows = list(connection.execute(_LAST))
    if not rows:
        return 0, first_link(genesis)
    seq, chain = rows[0]
    if not isinstance(seq, int) or not isinstance(chain, bytes):
        raise JournalCorrupt(0, "its last record is no record")
    return seq, chain


def record_ending_at(connection: Connection, seq: int) -> Record | None:
    """The group whose last command has this number, as stored; None if there is none."""
    for row in connection.execute(_ENDING_AT, (seq,)):
        record = Record(seq=row[0], commands=row[1], payload=b"", outcome=row[2], chain=row[3])
        return record if record.last == seq else None
    return None


def noted_hashes(connection: Connection) -> dict[int, str]:
    """State hashes of clean stops, by the number of the last command. Raises JournalCorrupt."""
    try:
        return dict(connection.execute("SELECT seq, state_hash FROM checkpoint"))
    except (DatabaseError, UnicodeDecodeError) as error:
        raise JournalCorrupt(0, f"its checkpoints cannot be read: {error}") from error


def read_verified(
    connection: Connection, genesis: Genesis, mark: tuple[int, bytes], up_to: int
) -> Iterator[Record]:
    """Every group from the first to the one that ends at `up_to`, each verified.

    Raises JournalCorrupt at the first that does not follow from those before, or is not
    what the mark says was acknowledged.
    """
    chain, expected = first_link(genesis), 1
    try:
        while expected <= up_to:
            rows = list(connection.execute(_STEP, (expected, STEP_MAX)))
            if not rows:
                raise JournalCorrupt(expected, "missing; it was there")
            for seq, commands, payload, outcome, stored in rows:
                if seq != expected:
                    raise JournalCorrupt(expected, f"missing; the next one is {seq}")
                if seq > up_to:
                    return
                if not _has_types(commands, payload, outcome):
                    raise JournalCorrupt(seq, "its columns are of other types")
                group = Group(commands=commands, payload=payload, outcome=outcome)
                chain = link(chain, seq, group)
                if chain != stored:
                    raise JournalCorrupt(seq, "its bytes do not match its hash")
                expected += commands
                if expected - 1 == mark[0] and chain != mark[1]:
                    raise JournalCorrupt(seq, "not what was acknowledged")
                yield Record(
                    seq=seq, commands=commands, payload=payload, outcome=outcome, chain=chain
                )
    except DatabaseError as error:
        raise JournalCorrupt(expected, str(error)) from error


def _has_types(commands: object, payload: object, outcome: object) -> bool:
    """A damaged page may hold anything in any column."""
    return (
        isinstance(commands, int)
        and 0 < commands <= _COMMANDS_MAX
        and isinstance(payload, bytes)
        and isinstance(outcome, bytes)
    )


class _Version(msgspec.Struct, frozen=True):
    format_version: int
