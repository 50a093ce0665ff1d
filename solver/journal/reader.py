"""A journal as another process reads it: nothing is written, the market may be running.

Beside one that runs, the last group may be one that is being written: it is whole, and not yet on
the disk. Whatever else is made of it must not fail if a power cut takes it back.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from solver.journal.disk import LOCAL_DISK, Disk, File
from solver.journal.extent import read_verified, settled_end
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalMissing
from solver.journal.mark import read_mark
from solver.journal.migration import is_old
from solver.journal.record import FORMAT_VERSION, End, Genesis, Log, Record


class JournalReader:
    """What the journal held when it was opened. Use `JournalReader.open`, and close it."""

    def __init__(self, file: File, noted: End | None) -> None:
        self._file = file
        self._log: Final = Log(file)
        self._end: Final = settled_end(self._log, noted)

    @classmethod
    def open(cls, path: Path, disk: Disk = LOCAL_DISK) -> "JournalReader":
        """Open the journal at `path`.

        Raises JournalMissing, JournalForeign (another format), or JournalCorrupt.
        """
        try:
            noted, file = _opened(path, disk)
        except FileNotFoundError:
            raise JournalMissing(f"there is no journal at {path}") from None
        except OSError as error:
            raise JournalMissing(f"the journal cannot be read: {error}") from error
        try:
            return cls(file, noted)
        except BaseException:
            file.close()
            raise

    @property
    def genesis(self) -> Genesis:
        """What it is for."""
        return self._log.genesis

    @property
    def seq(self) -> int:
        """Number of the last command; 0 if there is none."""
        return self._end.seq

    @property
    def chain(self) -> bytes:
        """Chain hash after the last record: commits to everything before it."""
        return self._end.chain

    @property
    def last(self) -> int:
        """Where the last record begins; 0 if there is none."""
        return self._end.last

    def read(self) -> Iterator[Record]:
        """Every record from the first, each verified. Raises JournalCorrupt."""
        return read_verified(self._log, self._end)

    def at(self, place: int) -> Record | None:
        """The record that begins at this place, as it stands there; None if none does."""
        return self._log.record_at(place)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _opened(path: Path, disk: Disk) -> tuple[End | None, File]:
    """What the mark notes, and the file. Raises OSError."""
    noted: End | None = None
    # The mark first: a running market moves it after the journal, never before.
    with suppress(FileNotFoundError):
        noted = read_mark(path.with_suffix(".mark").read_bytes())
    if is_old(path):
        raise JournalForeign(
            "this journal has an older format: start its market once, "
            f"which brings it to format {FORMAT_VERSION}"
        )
    try:
        return noted, disk.open(path, read_only=True)
    except FileNotFoundError:
        if noted is None:
            raise
        reason = f"missing; everything up to {noted.seq} was acknowledged"
        raise JournalCorrupt(1, reason) from None
