"""A journal as another process reads it: nothing is written, the market may be running.

Beside one that runs, the last group may be one that is being written: it is whole, and not yet on
the disk. Whatever else is made of it must not fail if a power cut takes it back.
"""

from contextlib import suppress
from pathlib import Path

from solver.journal.disk import LOCAL_DISK, Disk, File
from solver.journal.extent import Extent
from solver.journal.fault import JournalCorrupt, JournalForeign, JournalMissing
from solver.journal.mark import read_mark
from solver.journal.migration import is_old
from solver.journal.record import FORMAT_VERSION, End


class JournalReader(Extent):
    """What the journal held when it was opened. Use `JournalReader.open`, and close it."""

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
