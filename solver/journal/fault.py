"""What can go wrong with the journal. None of it is survivable in place: the process stops.

JournalFault
├── JournalLocked      another process writes this journal
├── JournalForeign     it belongs to another market or format
├── JournalCorrupt     an acknowledged record is missing or changed, with its place
└── JournalWriteFailed the disk did not take a record; nothing of the group was acknowledged
"""


class JournalFault(Exception):
    """The root of journal failures."""


class JournalLocked(JournalFault):
    """Another process holds the journal."""


class JournalForeign(JournalFault):
    """The journal was started for another chain, contract or format version."""


class JournalCorrupt(JournalFault):
    """The hash chain breaks at `seq`."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"record {seq}: {reason}")
        self.seq = seq


class JournalWriteFailed(JournalFault):
    """A write or sync failed."""
