"""Durable order of commands. See README.md."""

from solver.journal.fault import (
    JournalCorrupt,
    JournalFault,
    JournalForeign,
    JournalLocked,
    JournalMissing,
    JournalWriteFailed,
    SnapshotUnusable,
)
from solver.journal.journal import Journal
from solver.journal.record import Genesis, Record

__all__ = [
    "Genesis",
    "Journal",
    "JournalCorrupt",
    "JournalFault",
    "JournalForeign",
    "JournalLocked",
    "JournalMissing",
    "JournalWriteFailed",
    "Record",
    "SnapshotUnusable",
]
