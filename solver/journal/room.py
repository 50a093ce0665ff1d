"""Room on the disk: kept for ending what was begun when there is none left for more.

A spare file beside the journal takes up `SPARE_BYTES`. While the disk has less than
`ROOM_BYTES_MIN` free, no new work is taken; should a write find it full all the same, the
spare file is given up for it, once. What ends begun work is short and ends itself, so
that the spare is enough for it; when even that does not fit, the process stops.
"""

from pathlib import Path
from typing import Final

from solver.journal.disk import Disk

SPARE_BYTES: Final = 16 * 1024 * 1024
ROOM_BYTES_MIN: Final = 64 * 1024 * 1024


class Room:
    """What is left on the journal's disk, and the spare file."""

    def __init__(self, disk: Disk, spare: Path) -> None:
        self._disk = disk
        self._spare = spare
        self._folder = spare.parent
        self._is_reserved = False
        self._reserve()

    def is_enough(self) -> bool:
        """Whether the disk takes new work; takes the spare room again when it can."""
        if self._disk.free_bytes(self._folder) < ROOM_BYTES_MIN:
            return False
        if not self._is_reserved:
            self._reserve()
        return self._is_reserved

    def release(self) -> bool:
        """Give the spare room up; whether there was any."""
        self._is_reserved = False
        return self._disk.release(self._spare)

    def _reserve(self) -> None:
        """Without room for it the journal still opens: begun work may have to be ended."""
        try:
            self._disk.reserve(self._spare, SPARE_BYTES)
            self._is_reserved = True
        except OSError:
            self._disk.release(self._spare)
