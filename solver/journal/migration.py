"""From a format before to this one: verify all of the old, write the new beside it, swap.

Format 4 has the same commands, what they led to and the state's hashes: they are copied.
Format 3 noted what its commands led to in other words than today's, so its groups carry no
outcome: replay has nothing to compare there, and goes on from what it finds. Snapshots name
the old chain, and are passed over. The old file is kept as `*.v3` or `*.v4`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from solver.engine.group import Group
from solver.engine.payload import PayloadUnreadable, encode
from solver.journal.disk import LOCAL_DISK, sync_file, sync_folder
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalWriteFailed
from solver.journal.record import (
    FORMAT_VERSION,
    SECRET_BYTES,
    End,
    Genesis,
    first_link,
    header,
    packed,
    record_after,
)
from solver.journal.sqlite_journal import BEGINNING, SqliteJournal
from solver.journal.translation import Translation, Untranslatable

OLDEST: Final = 3


def is_old(path: Path) -> bool:
    """Whether the journal at `path`, if there is one, has a format before this one."""
    try:
        with path.open("rb") as file:
            return file.read(len(BEGINNING)) == BEGINNING
    except FileNotFoundError:
        return False


def migrate(path: Path, genesis: Genesis) -> None:
    """Bring the journal at `path` to this format, if it is older.

    A crash at any moment leaves either file whole under the old name, and it is done again. What
    SQLite kept beside the old file is folded into it first.

    Raises:
        JournalCorrupt: the old journal's chain breaks; what it says stands as it was.
        JournalForeign: it was made for another market, is of a newer format or one that is too
            old, or says what today's market refuses; what it says stands as it was.
        JournalWriteFailed: there is no room for the new file.
    """
    if not is_old(path):
        return
    draft = path.with_name(f"{path.name}.new")
    journal = SqliteJournal(path)
    try:
        stored = journal.genesis()
        old = _of_this_market(stored, genesis)
        journal.fold_log()
        _write(draft, genesis, _groups(journal, old) if stored else iter(()))
        journal.close()
        _keep(path, old.format_version)
        # The old mark protects the old file until then; of the new one it says nothing.
        draft.replace(path)
        sync_folder(path.parent)
    except Untranslatable as error:
        raise JournalForeign(
            f"this journal of format {old.format_version} cannot go on: {error}"
        ) from error
    except PayloadUnreadable as error:
        raise JournalCorrupt(0, str(error)) from error
    except OSError as error:
        raise JournalWriteFailed(f"migration: {error}") from error
    finally:
        journal.close()
        draft.unlink(missing_ok=True)


def _of_this_market(old: Genesis | None, genesis: Genesis) -> Genesis:
    """What the old journal says it is for; one that said nothing yet holds nothing."""
    if old is None:
        return msgspec.structs.replace(genesis, format_version=FORMAT_VERSION - 1)
    if old.format_version < OLDEST:
        raise JournalForeign(
            f"this journal has format {old.format_version}, made for contracts that are not "
            "run any more: let the version that wrote it settle all, and begin a new one"
        )
    if msgspec.structs.replace(old, format_version=FORMAT_VERSION) != genesis:
        raise JournalForeign(f"this journal is for {old}, not for {genesis}")
    return old


def _groups(journal: SqliteJournal, old: Genesis) -> Iterator[Group]:
    """Every group of the old journal in today's words, with the state's hashes after them."""
    if old.format_version == OLDEST:
        translation = Translation(old.usdc)
        for seq, group in journal.groups(old):
            commands = translation.group(seq, group.payload)
            yield Group(commands=len(commands), payload=encode(commands), outcome=b"")
        return
    noted = journal.state_hashes()
    noted.pop(0, None)
    for seq, group in journal.groups(old):
        yield group
        state_hash = noted.pop(seq + group.commands - 1, None)
        if state_hash is not None:
            yield Group(commands=0, payload=state_hash.encode(), outcome=b"")
    if noted:
        raise JournalCorrupt(min(noted), "a clean stop was noted where no group ends")


def _write(draft: Path, genesis: Genesis, groups: Iterator[Group]) -> None:
    """Write the new file whole, and wait until the disk has it."""
    secret = LOCAL_DISK.secret(SECRET_BYTES)
    with draft.open("wb") as file:
        end = End(place=file.write(header(genesis, secret)), chain=first_link(genesis))
        for group in groups:
            record = record_after(end, group)
            file.write(packed(record, secret))
            end = record.end
        file.flush()
        sync_file(file.fileno())


def _keep(path: Path, version: int) -> None:
    kept = path.with_name(f"{path.name}.v{version}")
    kept.unlink(missing_ok=True)
    kept.hardlink_to(path)
