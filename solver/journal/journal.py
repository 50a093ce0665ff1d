"""An append-only file of groups of commands, each bound by a hash to all before it.

`append` returns only when its group is on disk. Every record carries
sha256(previous chain ‖ seq ‖ commands ‖ outcome ‖ payload); recovery recomputes the
chain from the genesis hash, so that a changed, missing or reordered group halts with its
place. One process writes: an exclusive lock on a file beside it is held for life.
"""

import errno
from contextlib import suppress
from pathlib import Path
from typing import Final

from solver.engine.group import Group
from solver.journal.disk import LOCAL_DISK, Disk, File, Lock
from solver.journal.extent import Extent
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalWriteFailed
from solver.journal.mark import PAGE_BYTES, Mark
from solver.journal.migration import migrate
from solver.journal.record import (
    PAYLOAD_BYTES_MAX,
    SECRET_BYTES,
    Genesis,
    header,
    packed,
    record_after,
)
from solver.journal.room import Room

AHEAD_BYTES: Final = 256 * 1024
"""The file is a multiple of this, zeros behind its end: to write into them takes the disk half as
long as to make a file longer, and to write them delays one write by half a millisecond."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Journal(Extent):
    """The single writer's handle. Use `Journal.open`; close it, or let the process end."""

    def __init__(self, file: File, lock: Lock, mark: Mark, room: Room) -> None:
        super().__init__(file, mark.noted)
        self._lock: Lock | None = lock
        self._mark = mark
        self._room = room
        self._size = self._end.place
        self._failed = False

    @classmethod
    def open(cls, path: Path, genesis: Genesis, disk: Disk = LOCAL_DISK) -> "Journal":
        """Open or create the journal at `path`; one of an older format is migrated first.

        What a crash left of a write that nobody was told of is cut off.

        Raises:
            JournalLocked: another process has it.
            JournalForeign: it was made for another market, or is of a newer format.
            JournalCorrupt: it cannot be read, or lost what was acknowledged.
            JournalWriteFailed: the folder cannot be written.
        """
        lock = disk.lock(path.with_suffix(".lock"))
        file: File | None = None
        try:
            migrate(path, genesis)
            mark = Mark(disk.page(path.with_suffix(".mark"), PAGE_BYTES))
            file = _file(path, genesis, mark, disk)
            journal = cls(file, lock, mark, Room(disk, path.with_suffix(".spare")))
            journal._agree_with(genesis)
            journal._settle()
        except BaseException as error:
            if file is not None:
                file.close()
            lock.close()
            if isinstance(error, OSError):
                raise JournalWriteFailed(str(error)) from error
            raise
        return journal

    def append(self, group: Group) -> int:
        """Write a group and have the disk take it; the number of its last command.

        Raises JournalWriteFailed with nothing of the group acknowledged, and for every group
        after that: after a failed sync nobody knows what is on disk, only recovery does.
        """
        if self._failed:
            raise JournalWriteFailed("a write before has failed")
        if len(group.payload) > PAYLOAD_BYTES_MAX:
            raise JournalWriteFailed(f"a group of {len(group.payload)} bytes")
        record = record_after(self._end, group)
        try:
            self._write(record.place, packed(record, self._log.secret))
            self._file.sync()
        except OSError as error:
            self._failed = True
            raise JournalWriteFailed(str(error)) from error
        self._end = record.end
        self._mark.move(self._end)
        return self._end.seq

    def checkpoint(self, state_hash: str) -> None:
        """Note the state hash after the last command, for recovery to compare."""
        self.append(Group(commands=0, payload=state_hash.encode(), outcome=b""))

    def has_room(self) -> bool:
        """Whether the disk takes new work, or only what brings begun work to its end.

        Raises JournalWriteFailed if it does not say.
        """
        try:
            return self._room.is_enough()
        except OSError as error:
            raise JournalWriteFailed(str(error)) from error

    def close(self) -> None:
        """Close the file and release the lock. Closing twice does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            try:
                self._file.close()
                self._mark.close()
            finally:
                lock.close()

    def _write(self, place: int, content: bytes) -> None:
        """Write at the end; where the file ends there, with space behind it for what comes next.

        A full disk is asked to take it without, and then given the spare room, once. It says that
        it is full before it is asked to sync, so that the same bytes can be written again. No other
        failure is tried a second time.
        """
        end = place + len(content)
        space = -end % AHEAD_BYTES if end > self._size else 0
        self._size = max(self._size, end + space)
        if self._fits(place, content + bytes(space)):
            return
        if space:
            self._size = end
            self._file.cut(place)
            if self._fits(place, content):
                return
        if not self._room.release():
            raise OSError(errno.ENOSPC, "the disk is full")
        self._file.write(place, content)

    def _fits(self, place: int, content: bytes) -> bool:
        """Write it, unless the disk says that it is full."""
        try:
            self._file.write(place, content)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        return True

    def _agree_with(self, genesis: Genesis) -> None:
        if self.genesis != genesis:
            raise JournalForeign(f"this journal is for {self.genesis}, not for {genesis}")

    def _settle(self) -> None:
        """Make durable what is there, before anything goes by it.

        Whoever ended before the mark was moved may have written the last record and not synced
        it, or failed to: the disk may count it as written since then. So it is written again.
        """
        end = self._end
        if self._file.size() > end.place:
            self._file.cut(end.place)
        is_unmarked = bool(end.last) and end != self._mark.noted
        if is_unmarked:
            self._write(end.last, self._file.read(end.last, end.place - end.last))
        self._file.sync()
        if is_unmarked:
            self._mark.move(end)


def _file(path: Path, genesis: Genesis, mark: Mark, disk: Disk) -> File:
    """The journal's file, which is made if there is none; an empty one was never begun."""
    with suppress(FileNotFoundError):
        file = disk.open(path)
        if file.size():
            return file
        file.close()
    if mark.noted is not None:
        reason = f"missing; everything up to {mark.noted.seq} was acknowledged"
        raise JournalCorrupt(1, reason)
    disk.create(path, header(genesis, disk.secret(SECRET_BYTES)))
    return disk.open(path)
