"""Where a journal lives: the operating system behind a port, so that tests can crash it.

Every byte that a journal writes goes through here: the file, the lock, the mark and the spare
room. What fails raises OSError, whatever is behind it.
"""

import errno
import fcntl
import mmap
import os
import secrets
import sys
from pathlib import Path
from typing import Final, Protocol

from solver.journal.fault import JournalLocked, JournalWriteFailed

_HELD: Final = (errno.EWOULDBLOCK, errno.EACCES)


class Readable(Protocol):
    """What is read of a file. Each method raises OSError."""

    def size(self) -> int:
        """Its length in bytes."""
        ...

    def read(self, place: int, length: int) -> bytes:
        """So many bytes from a place on; fewer at the end."""
        ...


class File(Readable, Protocol):
    """A file that is written behind what it holds. Each method raises OSError."""

    def write(self, place: int, content: bytes) -> None:
        """Write all of it there; after an error any part of it may be."""
        ...

    def cut(self, size: int) -> None:
        """Let go of what comes after so many bytes."""
        ...

    def sync(self) -> None:
        """Wait until the disk has what was written."""
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

    def open(self, path: Path, *, read_only: bool = False) -> File:
        """Open a file that is there. Raises OSError."""
        ...

    def create(self, path: Path, content: bytes) -> None:
        """Have a file there that holds this, whole or not at all. Raises OSError."""
        ...

    def secret(self, length: int) -> bytes:
        """So many bytes that nobody can guess."""
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

    def open(self, path: Path, *, read_only: bool = False) -> File:
        """Open a file that is there. Raises OSError."""
        return _LocalFile(os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC))

    def create(self, path: Path, content: bytes) -> None:
        """Have a file there that holds this, whole or not at all. Raises OSError."""
        draft = path.with_name(f"{path.name}.new")
        write_durably(draft, content)
        draft.replace(path)
        sync_folder(path.parent)

    def secret(self, length: int) -> bytes:
        """So many bytes that nobody can guess."""
        return secrets.token_bytes(length)

    def lock(self, path: Path) -> Lock:
        """Hold `path`. Raises JournalLocked, JournalWriteFailed."""
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                # A folder that a power cut takes back takes the journal along.
                sync_folder(path.parent.parent)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalWriteFailed(str(error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno not in _HELD:
                raise JournalWriteFailed(str(error)) from error
            raise JournalLocked(f"another process has {path.name}; stop it first") from error
        return _FileLock(lock)

    def page(self, path: Path, size: int) -> Page:
        """Open the page, made of zeros if it is not there. Raises OSError."""
        if not path.exists() or path.stat().st_size != size:
            self.create(path, bytes(size))
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


LOCAL_DISK: Final[Disk] = LocalDisk()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        sync_file(file.fileno())


def sync_file(handle: int) -> None:
    """Wait until the disk has what was written, and how long the file is. Raises OSError."""
    if sys.platform == "darwin":
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the folder's names. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _LocalFile:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def size(self) -> int:
        return os.fstat(self._handle).st_size

    def read(self, place: int, length: int) -> bytes:
        """One call may give less than there is, beyond 2 GiB at least."""
        parts = []
        while length and (part := os.pread(self._handle, length, place)):
            parts.append(part)
            place, length = place + len(part), length - len(part)
        return b"".join(parts)

    def write(self, place: int, content: bytes) -> None:
        """One call may take less than it is given, as on a disk that gets full."""
        written = os.pwrite(self._handle, content, place)
        while written < len(content):
            written += os.pwrite(self._handle, content[written:], place + written)

    def cut(self, size: int) -> None:
        os.ftruncate(self._handle, size)

    def sync(self) -> None:
        sync_file(self._handle)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


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
