"""Where a journal lives: the operating system behind a port, so that tests can crash it.

Every byte of a journal goes through here: the database, the lock, the mark and the spare
room. What fails raises sqlite3's errors or OSError, whatever is behind it.
"""

import fcntl
import mmap
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from solver.journal.fault import JournalLocked, JournalWriteFailed

DatabaseError = sqlite3.DatabaseError
DATABASE_PAGE_BYTES: Final = 16 * 1024
"""Of a new database. SQLite writes page by page, twice into its log and once from there: with its
own 4 KiB a full group, and moving the log, take half as much time again, and a small one no less.
"""


class Connection(Protocol):
    """What we use of an SQLite connection, in autocommit mode."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Iterator[Any]:
        """Run one statement; its rows."""
        ...

    def close(self) -> None: ...  # noqa: D102


class Lock(Protocol):
    """A lock that is held until it is closed, or the process ends."""

    def close(self) -> None: ...  # noqa: D102


class Page(Protocol):
    """A small file of a fixed size that is written in place, without waiting for the disk."""

    def read(self) -> bytes: ...  # noqa: D102

    def write(self, place: int, content: bytes) -> None: ...  # noqa: D102

    def sync(self) -> None: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


class Disk(Protocol):
    """What a journal needs of a machine."""

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        """Open the database. Raises sqlite3.Error."""
        ...

    def lock(self, path: Path) -> Lock:
        """Hold `path`. Raises JournalLocked, JournalWriteFailed."""
        ...

    def page(self, path: Path, size: int) -> Page:
        """Open the page, made of zeros if it is not there. Raises OSError."""
        ...

    def free_bytes(self, folder: Path) -> int:
        """How much the disk still takes."""
        ...

    def reserve(self, path: Path, size: int) -> None:
        """Have a file take up `size` bytes. Raises OSError."""
        ...

    def release(self, path: Path) -> bool:
        """Give a reserved file's room back; whether there was one."""
        ...


class LocalDisk:
    """This machine's file system."""

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        """Open the database. Raises sqlite3.Error."""
        # One thread at a time uses it: the sequencer's writer, or recovery before that.
        if not read_only:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute(f"PRAGMA page_size = {DATABASE_PAGE_BYTES}")
            return connection
        try:
            return self._looked_into(path, "mode=ro")
        except sqlite3.OperationalError:
            # On a medium that takes no shared memory beside the file: whole, if it was closed.
            if path.with_name(f"{path.name}-wal").exists():
                raise
            return self._looked_into(path, "mode=ro&immutable=1")

    def lock(self, path: Path) -> Lock:
        """Hold `path`. Raises JournalLocked, JournalWriteFailed."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalWriteFailed(str(error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise JournalLocked(f"another process has {path.name}; stop it first") from error
        return _FileLock(lock)

    def page(self, path: Path, size: int) -> Page:
        """Open the page, made of zeros if it is not there. Raises OSError."""
        if not path.exists() or path.stat().st_size != size:
            draft = path.with_name(f"{path.name}.new")
            write_durably(draft, bytes(size))
            draft.replace(path)
            sync_folder(path.parent)
        return _MappedPage(path, size)

    def free_bytes(self, folder: Path) -> int:
        """How much the disk still takes."""
        # As shutil.disk_usage says; it takes five times as long, and is asked for each write.
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize

    def reserve(self, path: Path, size: int) -> None:
        """Have a file take up `size` bytes. Raises OSError."""
        if path.exists() and path.stat().st_size == size:
            return
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.write(bytes(size))
                file.flush()
                sync_file(file.fileno())

    def release(self, path: Path) -> bool:
        """Give a reserved file's room back; whether there was one."""
        if not path.exists():
            return False
        path.unlink()
        return True

    @staticmethod
    def _looked_into(path: Path, how: str) -> sqlite3.Connection:
        """A connection that can read the file; SQLite finds out on the first look only."""
        uri = f"{path.absolute().as_uri()}?{how}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection


LOCAL_DISK: Final[Disk] = LocalDisk()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        sync_file(file.fileno())


def sync_file(handle: int) -> None:
    """Wait until the disk has what was written. Raises OSError."""
    if sys.platform == "darwin":
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the folder's names. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _FileLock:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class _MappedPage:
    """Mapped, so that a write neither waits nor fails: a full disk has its block already."""

    def __init__(self, path: Path, size: int) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    def read(self) -> bytes:
        return bytes(self._map)

    def write(self, place: int, content: bytes) -> None:
        self._map[place : place + len(content)] = content

    def sync(self) -> None:
        self._map.flush()

    def close(self) -> None:
        if not self._map.closed:
            self._map.close()
