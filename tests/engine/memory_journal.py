"""A journal in memory, as the sequencer sees one; it can be full, and can fail."""

from collections.abc import Iterator

from solver.core.command import Command
from solver.engine.group import Group
from solver.engine.payload import decode
from solver.journal import JournalWriteFailed, Record
from solver.journal.record import End, record_after


class MemoryJournal:
    """Keeps groups in memory, each of them decodable."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.checkpoints: dict[int, str] = {}
        self.failing = False
        self.roomy = True

    @property
    def seq(self) -> int:
        return sum(group.commands for group in self.groups)

    @property
    def commands(self) -> list[Command]:
        return [command for group in self.groups for command in decode(group.payload)]

    def append(self, group: Group) -> int:
        if self.failing:
            raise JournalWriteFailed("the disk is gone")
        assert len(decode(group.payload)) == group.commands
        self.groups.append(group)
        return self.seq

    def checkpoint(self, state_hash: str) -> None:
        self.checkpoints[self.seq] = state_hash

    def has_room(self) -> bool:
        return self.roomy

    def read(self) -> list[Record]:
        records: list[Record] = []
        for group in self._with_state_hashes():
            last = records[-1].last if records else 0
            records.append(record_after(End(place=0, seq=last, chain=b""), group))
        return records

    def _with_state_hashes(self) -> Iterator[Group]:
        seq = 0
        for group in self.groups:
            yield group
            seq += group.commands
            if seq in self.checkpoints:
                noted = self.checkpoints[seq].encode()
                yield Group(commands=0, payload=noted, outcome=b"")
