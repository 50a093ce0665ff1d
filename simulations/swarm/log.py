"""The journal's file: what a power cut leaves of it, and damage that somebody has to notice."""

from random import Random
from typing import Final

from simulations.swarm.fault import FaultKind
from solver.journal.record import Log as JournalLog


class Log:
    """A file of which a power cut takes what was written and not synced, from any byte on."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self._unsynced: list[tuple[int, bytes, bytes]] = []
        """Where was written, what stood there, and what stands there now."""

    @property
    def is_synced(self) -> bool:
        """Whether a power cut takes nothing of it."""
        return not self._unsynced

    def write(self, place: int, content: bytes) -> None:
        """Change it from there on; what is there already is as durable as it was."""
        before = bytes(self.content[place : place + len(content)])
        if before != content:
            self.content[place : place + len(content)] = content
            self._unsynced.append((place, before, content))

    def cut(self, size: int) -> None:
        """Let go of what comes after; the disk knows it at once."""
        del self.content[size:]
        self._unsynced = [
            (place, before[: size - place], written[: size - place])
            for place, before, written in self._unsynced
            if place < size
        ]

    def sync(self) -> None:
        """From now on no power cut takes it."""
        self._unsynced.clear()

    def lose_unsynced(self, random: Random) -> None:
        """What a power cut leaves of each write: as much of its begin as it happens to."""
        for place, before, written in reversed(self._unsynced):
            kept = random.randint(0, said(written))
            self.content[place + kept : place + len(written)] = before[kept:]
        self.sync()

    # What is read of it, as from a file.

    def size(self) -> int:
        """Its length in bytes."""
        return len(self.content)

    def read(self, place: int, length: int) -> bytes:
        """So many bytes from a place on; fewer at the end."""
        return bytes(self.content[place : place + length])


def said(content: bytes) -> int:
    """How long it is without the zeros behind it: to lose some of those is to lose nothing."""
    return len(content.rstrip(b"\0"))


class Damage:
    """Something is wrong with a journal, until an operator undoes it."""

    def __init__(self, log: Log, kind: FaultKind, damaged: bytearray) -> None:
        self.kind: Final = kind
        self._log = log
        self._whole = bytes(log.content)
        log.content[:] = damaged
        log.sync()

    def mend(self) -> None:
        """Put the right bytes back, from a backup."""
        self._log.content[:] = self._whole
        self._log.sync()


def damaged(log: Log, promised: int, random: Random) -> Damage | None:
    """Damage that has to be noticed; None if nothing was written.

    Of what was promised every bit counts, and its end. Of what was not, nobody can tell damage
    from a write that was cut short, unless a record stands behind it.
    """
    journal = JournalLog(log)
    start, records = journal.start, list(journal.follow(journal.start, log.size()))
    if not records:
        return None
    known = [record for record in records if record.commands and record.last <= promised]
    content = bytearray(log.content)
    is_cut = random.random() < 0.5  # noqa: PLR2004  a coin
    if is_cut and known and records[-1].last <= promised:
        del content[random.randrange(known[-1].place, known[-1].end.place) :]
        return Damage(log, FaultKind.TRUNCATED_TAIL, content)
    # Nobody was told of the last group: without it the journal is whole.
    covered = [start, *(record.end for record in known or records[:-1])]
    bit = random.randrange(covered[-1].place * 8)
    content[bit // 8] ^= 1 << bit % 8
    return Damage(log, FaultKind.BIT_FLIP, content)
