"""From the format before to this one: verify all of the old, write the new beside it, swap.

What the commands led to was noted in other words than today's, so migrated groups carry no
outcome: replay has nothing to compare there, and goes on from what it finds. Snapshots name
the old chain, and are passed over. The old file is kept as `*.v3`.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from solver.engine.group import Group
from solver.engine.payload import PayloadUnreadable, encode
from solver.journal.disk import sync_file, sync_folder
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalWriteFailed
from solver.journal.mark import read_mark
from solver.journal.record import (
    FORMAT_VERSION,
    INSERT,
    SCHEMA,
    Genesis,
    first_link,
    last_record,
    link,
    read_verified,
    stored_genesis,
)
from solver.journal.translation import Translation, Untranslatable

OLD_VERSION: Final = 3


def migrate(path: Path, genesis: Genesis) -> bool:
    """Bring the journal at `path` to this format, if it is older; whether it was.

    A crash at any moment leaves either file whole under the old name, and it is done again.

    Raises:
        JournalCorrupt: the old journal's chain breaks; nothing was changed.
        JournalForeign: it was made for another market, is of a newer format or one that is too
            old, or says what today's market refuses; nothing was changed.
        JournalWriteFailed: there is no room for the new file.
    """
    version = _version(path, genesis) if path.exists() else FORMAT_VERSION
    if version == FORMAT_VERSION:
        return False
    draft = path.with_name(f"{path.name}.new")
    old = msgspec.structs.replace(genesis, format_version=version)
    try:
        _remove(draft)
        _fold_log(path)
        _write(draft, genesis, _groups(path, old))
        _keep_old(path)
        # It is of the old chain. Without one a journal may end anywhere: it was just verified.
        path.with_suffix(".mark").unlink(missing_ok=True)
        draft.replace(path)
        sync_folder(path.parent)
    except Untranslatable as error:
        _remove(draft)
        raise JournalForeign(f"this journal of format {version} cannot go on: {error}") from error
    except PayloadUnreadable as error:
        _remove(draft)
        raise JournalCorrupt(0, str(error)) from error
    except (sqlite3.OperationalError, OSError) as error:
        raise JournalWriteFailed(f"migration: {error}") from error
    return True


def _version(path: Path, genesis: Genesis) -> int:
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
    if stored.format_version < OLD_VERSION:
        raise JournalForeign(
            f"this journal has format {stored.format_version}, made for contracts that are not "
            "run any more: let the version that wrote it settle all, and begin a new one"
        )
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


def _groups(path: Path, old: Genesis) -> Iterator[Group]:
    """Every group of the old format, verified against chain and mark, in today's words."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        mark = _marked(path)
        seq, _ = last_record(connection, old)
        if seq < mark[0]:
            reason = f"missing; everything up to {mark[0]} was acknowledged"
            raise JournalCorrupt(seq + 1, reason)
        translation = Translation(old.usdc)
        for record in read_verified(connection, old, mark, seq):
            commands = translation.group(record.seq, record.payload)
            yield Group(commands=len(commands), payload=encode(commands), outcome=b"")
    finally:
        connection.close()


def _marked(path: Path) -> tuple[int, bytes]:
    try:
        return read_mark(path.with_suffix(".mark").read_bytes())
    except FileNotFoundError:
        return 0, b""


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
    kept = path.with_name(f"{path.name}.v{OLD_VERSION}")
    _remove(kept)
    kept.hardlink_to(path)


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
