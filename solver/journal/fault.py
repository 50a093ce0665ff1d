"""What can go wrong with the journal. None of it is survivable in place: the process stops.

JournalFault
├── JournalMissing     there is none to read
├── JournalLocked      another process writes this journal
├── JournalForeign     it belongs to another market, or to a newer version
├── JournalCorrupt     an acknowledged record is missing or changed, with its place
├── JournalWriteFailed the disk did not take a record; nothing of the group was acknowledged
└── SnapshotUnusable   a snapshot is damaged, of another journal, or could not be written
"""


class JournalFault(Exception):
    """The root of journal failures."""


class JournalMissing(JournalFault):
    """There is no journal at this path."""


class JournalLocked(JournalFault):
    """Another process holds the journal."""


class JournalForeign(JournalFault):
    """The journal was started for another chain or contract, or is of a newer format."""


class JournalCorrupt(JournalFault):
    """The hash chain breaks at command `seq`."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"record {seq}: {reason}")
        self.seq = seq


class JournalWriteFailed(JournalFault):
    """A write or sync failed."""


class SnapshotUnusable(JournalFault):
    """Recovery passes it over and takes the one before, or starts from the first record."""
