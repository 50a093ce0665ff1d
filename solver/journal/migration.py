"""From an older format to this one: verify all of the old, write the new beside it, swap.

Format 1 had a row per command; its market named leases and auctions otherwise: see
`translation`. (Format 2 was never released.) What commands led to was not noted, so migrated
groups carry no outcome: replay has nothing to compare there, and goes on from what it finds.
Snapshots name the old chain, and are passed over. The old file is kept as `*.v1`.
"""

import sqlite3
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from solver.core.command import Command
from solver.engine.group import Group
from solver.engine.payload import encode
from solver.journal.disk import sync_file, sync_folder
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalWriteFailed
from solver.journal.record import (
    FORMAT_VERSION,
    INSERT,
    SCHEMA,
    Genesis,
    first_link,
    link,
    stored_genesis,
)
from solver.journal.translation import (
    DECODER,
    OldCommand,
    Translation,
    Untranslatable,
    named_leases,
)

FIRST_VERSION: Final = 1
GROUP_COMMANDS: Final = 256


def migrate(path: Path, genesis: Genesis) -> bool:
    """Bring the journal at `path` to this format, if it is older; whether it was.

    A crash at any moment leaves either file whole under the old name, and it is done again.

    Raises:
        JournalCorrupt: the old journal's chain breaks; nothing was changed.
        JournalForeign: it was made for another market, is of a newer format, or names what
            today's market does not have; nothing was changed.
        JournalWriteFailed: there is no room for the new file.
    """
    version = _old_version(path, genesis) if path.exists() else FORMAT_VERSION
    if version == FORMAT_VERSION:
        return False
    draft = path.with_name(f"{path.name}.new")
    old = msgspec.structs.replace(genesis, format_version=version)
    try:
        _remove(draft)
        _fold_log(path)
        _write(draft, genesis, _first_groups(path, old))
        _keep_old(path)
        # It is of the old chain. Without one a journal may end anywhere: it was just verified.
        path.with_suffix(".mark").unlink(missing_ok=True)
        draft.replace(path)
        sync_folder(path.parent)
    except Untranslatable as error:
        _remove(draft)
        raise JournalForeign(f"this journal of format {version} cannot go on: {error}") from error
    except (sqlite3.OperationalError, OSError) as error:
        raise JournalWriteFailed(f"migration: {error}") from error
    return True


def _old_version(path: Path, genesis: Genesis) -> int:
    """The format of a journal of this market; today's for one that says nothing yet."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        stored = stored_genesis(connection) if "genesis" in tables else None
    except sqlite3.DatabaseError as error:
        raise JournalCorrupt(0, str(error)) from error
    finally:
        connection.close()
    if stored is None or stored.format_version == FORMAT_VERSION:
        return FORMAT_VERSION
    if msgspec.structs.replace(stored, format_version=FORMAT_VERSION) != genesis:
        raise JournalForeign(f"this journal is for {stored}, not for {genesis}")
    return stored.format_version


def _fold_log(path: Path) -> None:
    """Move the write-ahead log into the file: it must not be found beside the new one."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    finally:
        connection.close()
    if path.with_name(f"{path.name}-wal").exists():
        raise JournalWriteFailed("migration: another process reads the journal; stop it first")


def _first_groups(path: Path, old: Genesis) -> Iterator[Group]:
    """Groups of the commands of format 1, in today's names."""
    named = named_leases(_first_commands(path, old))
    translation = Translation(old.usdc, named)
    for together in _grouped(translation.translate(_first_commands(path, old))):
        yield Group(commands=len(together), payload=encode(together), outcome=b"")


def _first_commands(path: Path, old: Genesis) -> Iterator[OldCommand]:
    """Every command of format 1, each verified against its chain."""
    chain, expected = blake2b(msgspec.msgpack.encode(old), digest_size=32).digest(), 1
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        rows = connection.execute("SELECT seq, payload, chain FROM record ORDER BY seq")
        for seq, payload, stored in rows:
            if seq != expected:
                raise JournalCorrupt(expected, f"missing; the next one is {seq}")
            chain = blake2b(chain + seq.to_bytes(8, "big") + payload, digest_size=32).digest()
            if chain != stored:
                raise JournalCorrupt(seq, "its bytes do not match its hash")
            yield DECODER.decode(payload)
            expected += 1
    except msgspec.DecodeError as error:
        raise JournalCorrupt(expected, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise JournalCorrupt(expected, str(error)) from error
    finally:
        connection.close()


def _write(draft: Path, genesis: Genesis, groups: Iterator[Group]) -> None:
    """Write the new file whole, and wait until the disk has it."""
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO genesis VALUES (0, ?)", (msgspec.json.encode(genesis),))
        chain, seq = first_link(genesis), 1
        for group in groups:
            chain = link(chain, seq, group)
            connection.execute(INSERT, (seq, group.commands, group.payload, b"", chain))
            seq += group.commands
        connection.execute("COMMIT")
    finally:
        connection.close()
    with draft.open("rb") as file:
        sync_file(file.fileno())


def _keep_old(path: Path) -> None:
    kept = path.with_name(f"{path.name}.v{FIRST_VERSION}")
    _remove(kept)
    kept.hardlink_to(path)


def _grouped(commands: Iterator[Command]) -> Iterator[list[Command]]:
    together: list[Command] = []
    for command in commands:
        together.append(command)
        if len(together) == GROUP_COMMANDS:
            yield together
            together = []
    if together:
        yield together


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
