"""A journal as another process reads it: nothing is written, the market may be running."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from solver.journal.disk import LOCAL_DISK, Disk, File
from solver.journal.extent import read_verified, settled_end
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalMissing
from solver.journal.mark import Noted, read_mark
from solver.journal.migration import is_old
from solver.journal.record import FORMAT_VERSION, Record, beginning, record_at


class JournalReader:
    """What the journal held when it was opened. Use `JournalReader.open`, and close it."""

    def __init__(self, file: File, noted: Noted) -> None:
        self._file = file
        self.genesis, self._start = beginning(file)
        self._end: Final = settled_end(file, self._start, noted)

    @classmethod
    def open(cls, path: Path, disk: Disk = LOCAL_DISK) -> "JournalReader":
        """Open the journal at `path`.

        Raises JournalMissing, JournalForeign (another format), or JournalCorrupt.
        """
        # The mark first: a running market moves it after the journal, never before.
        try:
            noted = read_mark(path.with_suffix(".mark").read_bytes())
        except FileNotFoundError:
            noted = Noted()
        if is_old(path):
            raise JournalForeign(
                "this journal has an older format: start its market once, "
                f"which brings it to format {FORMAT_VERSION}"
            )
        try:
            file = disk.open(path, read_only=True)
        except FileNotFoundError:
            if noted.last:
                reason = f"missing; everything up to {noted.seq} was acknowledged"
                raise JournalCorrupt(1, reason) from None
            raise JournalMissing(f"there is no journal at {path}") from None
        except OSError as error:
            raise JournalMissing(f"the journal cannot be read: {error}") from error
        try:
            return cls(file, noted)
        except BaseException:
            file.close()
            raise

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
        return read_verified(self._file, self._start, self._end)

    def at(self, place: int) -> Record | None:
        """The record that begins at this place, as it stands there; None if none does."""
        return record_at(self._file, place)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
