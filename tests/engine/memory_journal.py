"""A journal in memory, as the sequencer sees one; it can be full, and can fail."""

from solver.core.command import Command
from solver.engine.group import Group
from solver.engine.payload import decode
from solver.journal import JournalWriteFailed, Record


class MemoryJournal:
    """Keeps groups in memory, each of them decodable."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.checkpoints: dict[int, str] = {}
        self.failing = False
        self.roomy = True
        self.upkeep_every = 0
        """How many groups lead to upkeep; 0: none do."""
        self.kept_up: list[int] = []
        """How many groups there were each time."""

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

    def is_upkeep_due(self) -> bool:
        groups = len(self.groups) - sum(self.kept_up[-1:])
        return 0 < self.upkeep_every <= groups

    def keep_up(self) -> None:
        if self.failing:
            raise JournalWriteFailed("the disk is gone")
        self.kept_up.append(len(self.groups))

    def read(self) -> list[Record]:
        records: list[Record] = []
        seq = 1
        for group in self.groups:
            record = Record(
                seq=seq,
                commands=group.commands,
                payload=group.payload,
                outcome=group.outcome,
                chain=b"",
            )
            records.append(record)
            seq += group.commands
        return records
