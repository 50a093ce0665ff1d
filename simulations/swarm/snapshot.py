"""Snapshots in memory: the real ones, in a folder that is no machine's.

Another process takes them beside the running market, as in production: it replays the
journal and keeps where that led.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from simulations.swarm.disk import JOURNAL, Disk
from simulations.swarm.fault import FaultKind, Faults
from solver.journal import recovery as recovery_module
from solver.journal import snapshot as snapshot_module
from solver.journal.mark import PAGE_BYTES, read_mark
from solver.journal.reader import JournalReader
from solver.journal.recovery import restore

PATCHES: Final[tuple[tuple[Any, str, Any], ...]] = (
    (snapshot_module, "write_durably", lambda file, content: file.put(content)),
    (snapshot_module, "sync_folder", lambda _: None),
)
"""What the real code would do to a real folder."""


class SnapshotFile:
    """As much of a `Path` as snapshots use."""

    def __init__(self, folder: "SnapshotFolder", name: str) -> None:
        self._folder = folder
        self.name: Final = name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name.partition(".")[0]

    def put(self, content: bytes) -> None:
        """Write all of it."""
        self._folder.files[self.name] = content

    def open(self, _: str) -> io.BytesIO:
        """Read it."""
        return io.BytesIO(self._folder.files[self.name])

    def with_suffix(self, suffix: str) -> "SnapshotFile":
        """A file beside it."""
        return SnapshotFile(self._folder, self.stem + suffix)

    def replace(self, other: "SnapshotFile") -> None:
        """Take another's name."""
        self._folder.files[other.name] = self._folder.files.pop(self.name)

    def unlink(self, *, missing_ok: bool) -> None:
        """Be gone."""
        del missing_ok
        self._folder.files.pop(self.name, None)


class SnapshotFolder:
    """As much of a folder as snapshots use; and what can happen to it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._backup: dict[str, bytes] = {}

    @property
    def path(self) -> Path:
        """Itself, where a path is asked for."""
        return cast("Path", self)

    def mkdir(self, **_: object) -> None:
        """It is there."""

    def glob(self, _: str) -> Iterator[SnapshotFile]:
        """All snapshots, and no drafts."""
        names = [name for name in self.files if name.endswith(".snapshot")]
        return (SnapshotFile(self, name) for name in names)

    def __truediv__(self, name: str) -> SnapshotFile:
        return SnapshotFile(self, name)

    def take(self, disk: Disk) -> None:
        """Replay the journal as it stands, and keep where that leads."""
        noted = read_mark(disk.page(JOURNAL.with_suffix(".mark"), PAGE_BYTES).read())
        reader = JournalReader(disk.open(JOURNAL), noted)
        if not reader.seq:
            return
        self._backup = dict(self.files)
        restored = restore(reader, self.path)
        taken = recovery_module._snapshot_of(restored.recovered, reader)  # noqa: SLF001
        snapshot_module.write(self.path, taken)

    def disturb(self, faults: Faults, random: Random) -> None:
        """What a restart may find instead of the newest snapshots."""
        if self._backup and faults.strike(FaultKind.OLD_SNAPSHOT):
            self.files = dict(self._backup)
        whole = sorted(name for name, content in self.files.items() if content)
        if whole and faults.strike(FaultKind.DAMAGED_SNAPSHOT):
            name = random.choice(whole)
            content = bytearray(self.files[name])
            if random.random() < 0.5:  # noqa: PLR2004  a coin
                del content[random.randrange(len(content)) :]
            else:
                content[random.randrange(len(content))] ^= 1 << random.randrange(8)
            self.files[name] = bytes(content)
