"""A disk in memory, under the real journal and the real SQLite, that can be stopped anywhere.

SQLite runs on a VFS of ours (apsw), the mark on pages of ours. Everything that would change
a disk is noted in order. From these notes the disk of a crash at any of them is made, in
each of the ways in which a write can end; nothing has to run again for that. SQLite keeps
its log's index in memory here (an exclusive lock), where the market maps a file: that file
is not durable, and built anew by whoever opens the log.
"""

# ruff: noqa: ARG002, N802  SQLite and the port name the methods and what they are given

import sqlite3
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final
from weakref import WeakValueDictionary

import apsw
import msgspec

from solver.journal.disk import Connection, Lock, Page

NAME: Final = "keyfill-memory"
POWERSAFE_OVERWRITE: Final = 0x00001000
"""As SQLite's own VFS says of every disk: a torn write harms no byte beside it."""
_CODES: Final[dict[type[Exception], int]] = {
    apsw.FullError: sqlite3.SQLITE_FULL,
    apsw.IOError: sqlite3.SQLITE_IOERR,
}


class Kind(StrEnum):
    """What was done to a file."""

    CREATE = "create"
    WRITE = "write"
    SYNC = "sync"
    TRUNCATE = "truncate"
    DELETE = "delete"
    ACKNOWLEDGE = "acknowledge"


class Note(msgspec.Struct, frozen=True):
    """One call that changes or syncs a file; `place` is an offset, a size, or a command."""

    kind: Kind
    name: str
    place: int = 0
    content: bytes = b""


class Ending(StrEnum):
    """How the call during which the machine stopped, and those not synced, came out."""

    NOTHING = "nothing"
    TORN = "torn"
    UNSYNCED_LOST = "unsynced lost"
    SOME_LOST = "some of the unsynced lost"
    GARBAGE_TAIL = "garbage tail"
    DUPLICATED_TAIL = "duplicated tail"


class MemoryDisk:
    """Files by name. Implements `solver.journal.disk.Disk`."""

    def __init__(
        self, files: dict[str, bytearray] | None = None, *, page_size: int = 4_096
    ) -> None:
        self.files: Final = {} if files is None else files
        self.notes: Final[list[Note]] = []
        self.failing: Final[dict[tuple[Kind, str], type[Exception]]] = {}
        """Calls that fail, by kind and the end of the file's name."""
        self.free = 10**12
        self.reserved = 0
        self._page_size = page_size

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        _VFS.disks[str(id(self))] = self
        return _Connection(f"{id(self)}:{path}", self._page_size)

    def lock(self, path: Path) -> Lock:
        return _NoLock()

    def page(self, path: Path, size: int) -> Page:
        name = str(path)
        if len(self.files.get(name, b"")) != size:
            self.do(Note(Kind.CREATE, name))
            self.do(Note(Kind.WRITE, name, 0, bytes(size)))
            self.do(Note(Kind.SYNC, name))
        return _MemoryPage(self, name)

    def free_bytes(self, folder: Path) -> int:
        return self.free

    def reserve(self, path: Path, size: int) -> None:
        if size > self.free:
            raise OSError(28, "No space left on device")
        if not self.reserved:
            self.reserved, self.free = size, self.free - size

    def release(self, path: Path) -> bool:
        was_reserved, self.reserved = self.reserved, 0
        self.free += was_reserved
        return bool(was_reserved)

    def do(self, note: Note) -> None:
        """Carry one call out, and remember it."""
        for (kind, end), fault in self.failing.items():
            if kind is note.kind and note.name.endswith(end):
                raise fault
        before = self._taken(note.name)
        if note.kind is Kind.WRITE and self._growth(note) > self.free:
            raise apsw.FullError("database or disk is full")
        carry_out(self.files, note)
        self.notes.append(note)
        self.free -= self._taken(note.name) - before

    def _taken(self, name: str) -> int:
        return len(self.files.get(name, b""))

    def _growth(self, note: Note) -> int:
        return max(note.place + len(note.content) - self._taken(note.name), 0)

    def acknowledged(self, seq: int) -> None:
        """Somebody was told that everything up to `seq` is durable."""
        self.notes.append(Note(Kind.ACKNOWLEDGE, "", seq))


def carry_out(files: dict[str, bytearray], note: Note) -> None:
    """Change files as a call does; syncs change nothing."""
    match note.kind:
        case Kind.CREATE:
            files.setdefault(note.name, bytearray())
        case Kind.DELETE:
            files.pop(note.name, None)
        case Kind.TRUNCATE:
            del files[note.name][note.place :]
        case Kind.WRITE:
            file = files[note.name]
            if len(file) < note.place:
                file.extend(bytes(note.place - len(file)))
            file[note.place : note.place + len(note.content)] = note.content


class Crash(msgspec.Struct, frozen=True):
    """A disk after a crash, and what had been acknowledged by then."""

    files: dict[str, bytearray]
    acknowledged: int


def crashes(notes: Sequence[Note], ending: Ending, seed: int) -> Iterator[Crash]:
    """The disk of a crash at each call, in order: the call itself ends as `ending` says."""
    random = Random(seed)  # noqa: S311  test data
    live: dict[str, bytearray] = {}
    durable: dict[str, bytearray] = {}
    unsynced: list[Note] = []
    acknowledged = 0
    for note in notes:
        if note.kind is Kind.ACKNOWLEDGE:
            acknowledged = note.place
            continue
        base = durable if ending in {Ending.UNSYNCED_LOST, Ending.SOME_LOST} else live
        files = {name: bytearray(content) for name, content in base.items()}
        if ending is Ending.SOME_LOST:
            for lost in unsynced:
                if random.random() < 0.5:
                    _carry_out_if_there(files, lost)
        else:
            _end(files, note, ending, random)
        yield Crash(files, acknowledged)
        carry_out(live, note)
        unsynced = _after_sync(live, durable, [*unsynced, note], note)


def _end(files: dict[str, bytearray], note: Note, ending: Ending, random: Random) -> None:
    """What is on the disk of the call that was under way."""
    if note.kind is not Kind.WRITE or note.name not in files:
        return
    half = note.content[: random.randint(1, max(1, len(note.content) - 1))]
    match ending:
        case Ending.TORN:
            carry_out(files, Note(Kind.WRITE, note.name, note.place, half))
        case Ending.GARBAGE_TAIL:
            rest = random.randbytes(len(note.content) - len(half))
            carry_out(files, Note(Kind.WRITE, note.name, note.place, half + rest))
        case Ending.DUPLICATED_TAIL:
            twice = note.content * 2
            carry_out(files, Note(Kind.WRITE, note.name, note.place, twice[: _room(files, note)]))


def _room(files: dict[str, bytearray], note: Note) -> int:
    """A tail may be written twice where nothing is yet; what was there already stays."""
    is_tail = note.place + len(note.content) >= len(files[note.name])
    return len(note.content) * (2 if is_tail else 1)


def _after_sync(
    live: dict[str, bytearray],
    durable: dict[str, bytearray],
    unsynced: list[Note],
    note: Note,
) -> list[Note]:
    """What is still not synced. Names are durable at once; contents once they are synced."""
    if note.kind is Kind.CREATE:
        durable.setdefault(note.name, bytearray())
    elif note.kind is Kind.DELETE:
        durable.pop(note.name, None)
    elif note.kind is Kind.SYNC:
        durable[note.name] = bytearray(live[note.name])
    else:
        return unsynced
    return [other for other in unsynced if other.name != note.name]


def _carry_out_if_there(files: dict[str, bytearray], note: Note) -> None:
    if note.name in files:
        carry_out(files, note)


class _Vfs(apsw.VFS):
    """Every file of SQLite's is one of a disk's: names begin with the disk's number."""

    def __init__(self) -> None:
        super().__init__(NAME, "")
        self.disks: WeakValueDictionary[str, MemoryDisk] = WeakValueDictionary()

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        disk, path = self._found(name.filename() if isinstance(name, apsw.URIFilename) else name)
        flags[1] = flags[0]
        if path not in disk.files:
            disk.do(Note(Kind.CREATE, path))
        return _File(disk, path)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001
        disk, path = self._found(filename)
        disk.do(Note(Kind.DELETE, path))

    def xAccess(self, pathname: str, flags: int) -> bool:
        disk, path = self._found(pathname)
        return path in disk.files

    def xFullPathname(self, name: str) -> str:
        return name

    def _found(self, name: str) -> tuple[MemoryDisk, str]:
        number, _, path = name.partition(":")
        return self.disks[number], path


class _File:
    """One open file."""

    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk = disk
        self._name = name

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._disk.files[self._name][offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.do(Note(Kind.WRITE, self._name, offset, bytes(data)))

    def xSync(self, flags: int) -> None:
        self._disk.do(Note(Kind.SYNC, self._name))

    def xTruncate(self, newsize: int) -> None:
        self._disk.do(Note(Kind.TRUNCATE, self._name, newsize))

    def xFileSize(self) -> int:
        return len(self._disk.files[self._name])

    def xClose(self) -> None: ...
    def xLock(self, level: int) -> None: ...
    def xUnlock(self, level: int) -> None: ...

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 512

    def xDeviceCharacteristics(self) -> int:
        return POWERSAFE_OVERWRITE


_VFS: Final = _Vfs()


class _Connection:
    """An apsw connection that raises what sqlite3's would."""

    def __init__(self, name: str, page_size: int) -> None:
        with _as_sqlite3():
            self._connection = apsw.Connection(name, vfs=NAME)
            for pragma in ("locking_mode = EXCLUSIVE", f"page_size = {page_size}"):
                self.execute(f"PRAGMA {pragma}")

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Iterator[Any]:
        with _as_sqlite3():
            return iter(list(self._connection.execute(sql, tuple(parameters))))

    def close(self) -> None:
        with _as_sqlite3():
            self._connection.close(force=True)


class _as_sqlite3:  # noqa: N801  reads as a statement
    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None or not issubclass(kind, apsw.Error | UnicodeDecodeError):
            return
        code = next((code for other, code in _CODES.items() if issubclass(kind, other)), 0)
        raised = sqlite3.OperationalError(str(error)) if code else sqlite3.DatabaseError(str(error))
        raised.sqlite_errorcode = code
        raise raised


class _MemoryPage:
    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk = disk
        self._name = name

    def read(self) -> bytes:
        return bytes(self._disk.files[self._name])

    def write(self, place: int, content: bytes) -> None:
        self._disk.do(Note(Kind.WRITE, self._name, place, content))

    def sync(self) -> None:
        self._disk.do(Note(Kind.SYNC, self._name))

    def close(self) -> None: ...


class _NoLock:
    def close(self) -> None: ...
