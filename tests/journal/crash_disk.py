"""A disk in memory, under the real journal, that can be stopped anywhere.

Everything that would change a disk is noted in order. From these notes the disk of a crash at
any of them is made, in each of the ways in which a write can end; nothing has to run again for
that.
"""

# ruff: noqa: ARG002  the port names what its methods are given

import errno
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from solver.journal.disk import File, Lock, Page

SECTOR: Final = 64
"""Bytes of a write that a disk has all of, or none: fewer than of any real one, as records have."""


class Kind(StrEnum):
    """What was done to a file."""

    CREATE = "create"
    WRITE = "write"
    SYNC = "sync"
    RENAME = "rename"
    TRUNCATE = "truncate"
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
    HOLES = "some sectors missing"


class MemoryDisk:
    """Files by name. Implements `solver.journal.disk.Disk`."""

    def __init__(self, files: dict[str, bytearray] | None = None) -> None:
        self.files: Final = {} if files is None else files
        self.notes: Final[list[Note]] = []
        self.failing: Final[dict[tuple[Kind, str], OSError]] = {}
        """Calls that fail, by kind and the end of the file's name."""
        self.free = 10**12
        self.reserved = 0

    def open(self, path: Path, *, read_only: bool = False) -> File:
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, f"there is no {path}")
        return _MemoryFile(self, str(path))

    def create(self, path: Path, content: bytes) -> None:
        draft = f"{path}.new"
        self.do(Note(Kind.CREATE, draft))
        self.do(Note(Kind.WRITE, draft, 0, content))
        self.do(Note(Kind.SYNC, draft))
        self.do(Note(Kind.RENAME, draft, 0, str(path).encode()))

    def secret(self, length: int) -> bytes:
        return bytes(range(0xE0, 0xE0 + length))

    def lock(self, path: Path) -> Lock:
        return _NoLock()

    def page(self, path: Path, size: int) -> Page:
        name = str(path)
        if len(self.files.get(name, b"")) != size:
            self.create(path, bytes(size))
        return _MemoryPage(self, name)

    def free_bytes(self, folder: Path) -> int:
        return self.free

    def reserve(self, path: Path, size: int) -> None:
        if size > self.free:
            raise OSError(errno.ENOSPC, "disk full")
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
        if note.kind is Kind.WRITE and self._growth(note) > self.free:
            # As a file system does: what fits is there.
            fits = note.content[: max(0, len(note.content) - self._growth(note) + self.free)]
            self._carry_out(Note(Kind.WRITE, note.name, note.place, fits))
            raise OSError(errno.ENOSPC, "disk full")
        self._carry_out(note)

    def _carry_out(self, note: Note) -> None:
        before = self._taken(note.name)
        carry_out(self.files, note)
        self.notes.append(note)
        if note.kind is not Kind.RENAME:
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
            files[note.name] = bytearray()
        case Kind.RENAME:
            files[note.content.decode()] = files.pop(note.name)
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
        case Ending.HOLES:
            there = files[note.name][note.place : note.place + len(note.content)]
            before = bytes(there).ljust(len(note.content), b"\0")
            parts = [
                random.choice((note.content, before))[place : place + SECTOR]
                for place in range(0, len(before), SECTOR)
            ]
            carry_out(files, Note(Kind.WRITE, note.name, note.place, b"".join(parts)))


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
        durable[note.name] = bytearray()
    elif note.kind is Kind.RENAME:
        # The folder is synced before anything else happens: either way there is a whole file.
        carry_out(durable, note)
    elif note.kind is Kind.SYNC:
        durable[note.name] = bytearray(live[note.name])
    else:
        return unsynced
    return [other for other in unsynced if other.name != note.name]


def _carry_out_if_there(files: dict[str, bytearray], note: Note) -> None:
    if note.name in files:
        carry_out(files, note)


class Bytes:
    """What is read of a file."""

    def __init__(self, content: bytearray) -> None:
        self._content = content

    def size(self) -> int:
        return len(self._content)

    def read(self, place: int, length: int) -> bytes:
        return bytes(self._content[place : place + length])


class _MemoryFile(Bytes):
    def __init__(self, disk: MemoryDisk, name: str) -> None:
        super().__init__(disk.files[name])
        self._disk = disk
        self._name = name

    def write(self, place: int, content: bytes) -> None:
        self._disk.do(Note(Kind.WRITE, self._name, place, content))

    def cut(self, size: int) -> None:
        self._disk.do(Note(Kind.TRUNCATE, self._name, size))

    def sync(self) -> None:
        self._disk.do(Note(Kind.SYNC, self._name))

    def close(self) -> None: ...


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
