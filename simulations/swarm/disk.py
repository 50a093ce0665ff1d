"""A disk under the real journal and outbox, in memory, with what can go wrong.

For the journal it is the port that `solver.journal.disk` declares: files of bytes. A kill leaves
what was written, a power cut any part of what was not synced. The outbox believes that it calls
`sqlite3`: there a kill takes what was not committed. Half-written transactions are what SQLite's
checksums make of them: gone.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Final

from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.log import Damage, Log, damaged, said
from simulations.swarm.loop import PROCESS, PowerCut, Process
from solver.journal.fault import JournalLocked

Statement = tuple[str, Any, bool]
"""SQL, its values, and whether these are rows of `executemany`."""
FOLDER: Final = Path("/simulated/by/the/swarm")
"""Exists on no machine."""
JOURNAL: Final = FOLDER / "journal.db"
OUTBOX: Final = FOLDER / "outbox.db"
SPARE_WRITES: Final = 30
"""Writes for which the spare room is enough."""
ROOM_BYTES: Final = 2**40
_WRITES: Final = ("INSERT", "UPDATE", "DELETE", "CREATE", "REPLACE", "DROP", "ALTER")


class Database:
    """One file: what is committed, and how much of that survives a power cut."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.engine = _empty()
        self.committed: list[list[Statement]] = []
        self.synced = 0
        self.writer: Process | None = None

    def roll_back(self) -> None:
        """Forget what was not committed."""
        if self.engine.in_transaction:
            self.engine.execute("ROLLBACK")

    def keep(self, statements: list[Statement], *, synced: bool) -> None:
        """Commit."""
        if self.engine.in_transaction:
            self.engine.execute("COMMIT")
        self.committed.append(statements)
        if synced:
            self.synced = len(self.committed)

    def lose_unsynced(self) -> None:
        """What a power cut leaves."""
        self.roll_back()
        if self.synced == len(self.committed):
            return
        del self.committed[self.synced :]
        self.engine = _empty()
        for statement, values, many in (s for group in self.committed for s in group):
            (self.engine.executemany if many else self.engine.execute)(statement, values)


def _empty() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


class Disk:
    """All files of one machine. It outlives every process."""

    def __init__(self, faults: Faults, random: Random) -> None:
        self._faults = faults
        self._random = random
        self._databases: dict[str, Database] = {}
        self._logs: dict[str, Log] = {}
        self._pages: dict[str, MemoryPage] = {}
        self._locks: dict[str, Process | None] = {}
        self._has_spare = False
        self._spare_writes = 0
        self.full = False

    def database(self, path: Path) -> Database:
        """A database by its name, made on first use."""
        return self._databases.setdefault(path.name, Database(path.name))

    @contextmanager
    def mounted(self, *modules: ModuleType) -> Iterator[None]:
        """Give these modules this disk where they ask for `sqlite3`."""
        with ExitStack() as stack:
            for module in modules:
                stack.callback(setattr, module, "sqlite3", vars(module)["sqlite3"])
                vars(module)["sqlite3"] = _Sqlite(self)
            yield

    def release(self, process: Process) -> None:
        """What the operating system does for a process that ended."""
        for name, holder in self._locks.items():
            if holder is process:
                self._locks[name] = None
        for database in self._databases.values():
            if database.writer is process:
                database.writer = None
                database.roll_back()

    def lose_power(self) -> None:
        """What was not synced is gone; pages in memory may be older than they were."""
        for database in self._databases.values():
            database.lose_unsynced()
        for page in self._pages.values():
            page.lose_unsynced(self._random)
        for log in self._logs.values():
            log.lose_unsynced(self._random)

    def connect(self, path: Path) -> "Connection":
        """Open a database. Raises sqlite3.Error."""
        database, process = self.database(path), PROCESS.get()
        writer = database.writer
        if writer is not None and writer.alive and writer is not process:
            raise sqlite3.OperationalError("database is locked")
        return Connection(self, database)

    # ---------------------------------------------------------------- the journal's port

    def open(self, path: Path) -> "File":
        """Open a file that is there. Raises OSError."""
        log = self._logs.get(path.name)
        if log is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no {path.name}")
        return File(self, log)

    def create(self, path: Path, content: bytes) -> None:
        """Have a file there that holds this. What makes a file is not struck."""
        self._logs[path.name] = Log(content)

    def lock(self, path: Path) -> "_Lock":
        """Hold `path`. Raises JournalLocked."""
        holder, process = self._locks.get(path.name), PROCESS.get()
        if holder is not None and holder.alive:
            raise JournalLocked(f"another process has {path.name}; stop it first")
        self._locks[path.name] = process
        return _Lock(self._locks, path.name)

    def page(self, path: Path, size: int) -> "MemoryPage":
        """Open a page, made of zeros if it is not there."""
        return self._pages.setdefault(path.name, MemoryPage(size))

    def free_bytes(self, folder: Path) -> int:
        """How much the disk still takes."""
        del folder
        return 0 if self.full else ROOM_BYTES

    def reserve(self, path: Path, size: int) -> None:
        """Have a file take up `size` bytes. Raises OSError."""
        if self.full and not self._has_spare:
            raise OSError(errno.ENOSPC, f"no {size} bytes for {path.name}")
        self._has_spare = True

    def release_spare(self) -> bool:
        """Give the reserved room back; whether there was any."""
        had, self._has_spare = self._has_spare, False
        self._spare_writes = SPARE_WRITES if had else 0
        return had

    # ---------------------------------------------------------------- damage at rest

    def damage(self, path: Path, promised: int) -> Damage | None:
        """Flip a bit in a journal that nobody has open, or cut off the end of what was promised.

        None if nothing was written. A mark that a power cut set back cannot know of such an end.
        """
        log = self._logs.get(path.name)
        exact = not any(page.lags for page in self._pages.values())
        return None if log is None else damaged(log, promised if exact else 0, self._random)

    # ---------------------------------------------------------------- what the fakes call

    def commit(self, database: Database, statements: list[Statement], *, synced: bool) -> None:
        """Make a transaction durable, or be struck. Raises PowerCut or sqlite3.OperationalError."""
        try:
            self.before_write()
            self._before_sync(lambda: database.keep(statements, synced=synced))
        except OSError as error:
            self._abort(database, error)
        database.keep(statements, synced=synced)
        self.after_write()
        signed = database.name == OUTBOX.name and _is_signed(statements)
        if signed and self._faults.strike(FaultKind.CRASH_BEFORE_SEND):
            raise PowerCut(FaultKind.CRASH_BEFORE_SEND)

    def before_write(self) -> None:
        """What may come instead of a write. Raises PowerCut or OSError."""
        strike = self._faults.strike
        if strike(FaultKind.DISK_FULL):
            self.full = True
        if self.full and not self._spare_left():
            raise OSError(errno.ENOSPC, "database or disk is full")
        if strike(FaultKind.WRITE_ERROR):
            raise OSError(errno.EIO, "disk I/O error")
        for kind in (FaultKind.CRASH_IN_WRITE, FaultKind.TORN_WRITE):
            if strike(kind):
                raise PowerCut(kind)
        if strike(FaultKind.UNSYNCED_LOST):
            self.lose_power()
            raise PowerCut(FaultKind.UNSYNCED_LOST)

    def after_write(self) -> None:
        """What may come between a durable write and the next thing. Raises PowerCut."""
        if self._faults.strike(FaultKind.CRASH_AFTER_WRITE):
            raise PowerCut(FaultKind.CRASH_AFTER_WRITE)

    def write(self, log: Log, place: int, content: bytes) -> None:
        """Write to a journal, or some of it. Raises PowerCut or OSError."""
        try:
            self.before_write()
        except (PowerCut, OSError):
            log.write(place, content[: self._random.randrange(said(content))])
            raise
        log.write(place, content)

    def sync(self, log: Log) -> None:
        """Make a journal durable. Raises PowerCut or OSError."""
        if log.is_synced:
            return
        self._before_sync(log.sync)
        log.sync()
        self.after_write()

    def _before_sync(self, keep: Callable[[], None]) -> None:
        if self._faults.strike(FaultKind.SYNC_ERROR):
            # Nobody knows what is on disk; either may turn out to be true.
            if self._random.random() < 0.5:  # noqa: PLR2004  a coin
                keep()
            raise OSError(errno.EIO, "disk I/O error")

    def _spare_left(self) -> bool:
        self._spare_writes -= 1
        return self._spare_writes >= 0

    @staticmethod
    def _abort(database: Database, reason: OSError) -> None:
        database.roll_back()
        error = sqlite3.OperationalError(reason.strerror)
        full = reason.errno == errno.ENOSPC
        error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
        raise error


class JournalDisk:
    """The same disk under the names of the journal's port."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.create: Final = disk.create
        self.lock: Final = disk.lock
        self.page: Final = disk.page
        self.free_bytes: Final = disk.free_bytes
        self.reserve: Final = disk.reserve

    def open(self, path: Path, *, read_only: bool = False) -> "File":
        """Open a file that is there. Raises OSError."""
        del read_only
        return self._disk.open(path)

    def secret(self, length: int) -> bytes:
        """Always the same: nobody in a world would look for it, and no text begins so."""
        return bytes(range(0xE0, 0xE0 + length))

    def release(self, path: Path) -> bool:
        """Give a reserved file's room back; whether there was one."""
        del path
        return self._disk.release_spare()


class _Lock:
    def __init__(self, locks: dict[str, Process | None], name: str) -> None:
        self._locks = locks
        self._name = name
        self._holder = PROCESS.get()

    def close(self) -> None:
        """Let go."""
        if self._locks.get(self._name) is self._holder:
            self._locks[self._name] = None


class MemoryPage:
    """A mapped file: a kill leaves it as it is, a power cut may leave it as it was."""

    def __init__(self, size: int) -> None:
        self._versions = [bytes(size)]
        self.lags = False
        """Whether a power cut has set it back, and nobody wrote since."""

    def read(self) -> bytes:
        """What it holds."""
        return self._versions[-1]

    def write(self, place: int, content: bytes) -> None:
        """Change some of it."""
        self.lags = False
        now = self._versions[-1]
        self._versions.append(now[:place] + content + now[place + len(content) :])
        del self._versions[:-8]

    def sync(self) -> None:
        """From now on no power cut takes it."""
        del self._versions[:-1]

    def close(self) -> None:
        """Nothing to give back."""

    def lose_unsynced(self, random: Random) -> None:
        """What a power cut leaves: any state since the last sync."""
        newest = self._versions[-1]
        self._versions = [random.choice(self._versions)]
        self.lags |= self._versions[0] != newest


class File:
    """A process's view of a journal."""

    def __init__(self, disk: Disk, log: Log) -> None:
        self._disk = disk
        self._log = log
        self._process = PROCESS.get()
        self.size: Final = log.size
        self.read: Final = log.read

    def write(self, place: int, content: bytes) -> None:
        """Write it, or some of it. Raises PowerCut or OSError."""
        self._check_alive()
        self._disk.write(self._log, place, content)

    def cut(self, size: int) -> None:
        """Let go of what comes after so many bytes."""
        self._check_alive()
        self._log.cut(size)

    def sync(self) -> None:
        """Make it durable. Raises PowerCut or OSError."""
        self._check_alive()
        self._disk.sync(self._log)

    def close(self) -> None:
        """Nothing to give back."""

    def _check_alive(self) -> None:
        if self._process is not None and not self._process.alive:
            raise PowerCut("a dead process writes nothing")


class Connection:
    """What `sqlite3.connect` gives: a process's view of a database."""

    def __init__(self, disk: Disk, database: Database) -> None:
        self._disk = disk
        self._database = database
        self._process = PROCESS.get()
        self._statements: list[Statement] | None = None
        self._is_synced = True
        self.isolation_level: str | None = None
        database.writer = self._process

    @property
    def in_transaction(self) -> bool:
        """As sqlite3's."""
        return self._statements is not None

    def execute(self, statement: str, values: Any = ()) -> Any:  # noqa: ANN401  as sqlite3's
        """As sqlite3's."""
        return self._execute(statement, values, many=False)

    def executemany(self, statement: str, rows: Sequence[Any]) -> Any:  # noqa: ANN401  as above
        """As sqlite3's."""
        return self._execute(statement, list(rows), many=True)

    def executescript(self, script: str) -> None:
        """As sqlite3's; each statement for itself."""
        for statement in filter(str.strip, script.split(";")):
            self.execute(statement)

    def commit(self) -> None:
        """As sqlite3's."""
        if self._statements is not None:
            self.execute("COMMIT")

    def rollback(self) -> None:
        """As sqlite3's."""
        if self._statements is not None:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Give the file up."""
        if self._is_mine():
            self._database.roll_back()
            self._database.writer = None

    def _is_mine(self) -> bool:
        return self._database.writer is self._process

    def _execute(self, statement: str, values: Any, *, many: bool) -> Any:  # noqa: ANN401
        if self._process is not None and not self._process.alive:
            raise PowerCut("a dead process writes nothing")
        if not self._is_mine():
            raise sqlite3.OperationalError("database is locked")
        engine, word = self._database.engine, statement.split(None, 1)[0].upper()
        match word:
            case "BEGIN":
                self._statements = []
            case "COMMIT" | "END":
                statements, self._statements = self._statements or [], None
                self._disk.commit(self._database, statements, synced=self._is_synced)
                return iter(())
            case "ROLLBACK":
                self._statements = None
                if not engine.in_transaction:
                    return iter(())  # SQLite rolls back by itself when a write fails
            case "PRAGMA":
                return self._pragma(statement)
        if word in _WRITES and self._statements is None:
            return self._write_at_once((statement, values, many))
        result = (engine.executemany if many else engine.execute)(statement, values)
        if self._statements is not None and word in _WRITES:
            self._statements.append((statement, values, many))
        return result

    def _write_at_once(self, written: Statement) -> Iterator[Any]:
        """A statement that is its own transaction. What makes a file is not struck."""
        statement, values, many = written
        engine = self._database.engine
        engine.execute("BEGIN")
        (engine.executemany if many else engine.execute)(statement, values)
        if statement.startswith("CREATE") or "INTO genesis" in statement:
            self._database.keep([written], synced=True)
        else:
            self._disk.commit(self._database, [written], synced=self._is_synced)
        return iter(())

    def _pragma(self, statement: str) -> Any:  # noqa: ANN401  as sqlite3's
        setting, _, value = statement[len("PRAGMA") :].partition("=")
        if setting.strip().lower() == "synchronous" and value:
            self._is_synced = value.strip().upper() in ("FULL", "EXTRA", "2", "3")
        return iter(())


class _Sqlite:
    """The module `sqlite3`, with our `connect`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def connect(self, path: Path, **_: Any) -> Connection:  # noqa: ANN401
        """Open one of the simulated files."""
        return self._disk.connect(path)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the module has
        return getattr(sqlite3, name)


def _is_signed(statements: list[Statement]) -> bool:
    """Whether this transaction keeps signed bytes that are about to be sent."""
    return any("INTO version" in statement for statement, _, _ in statements)
