"""Durable order of commands. See README.md."""

from solver.journal.fault import (
    JournalCorrupt,
    JournalFault,
    JournalForeign,
    JournalLocked,
    JournalWriteFailed,
)
from solver.journal.journal import Genesis, Journal, Record

__all__ = [
    "Genesis",
    "Journal",
    "JournalCorrupt",
    "JournalFault",
    "JournalForeign",
    "JournalLocked",
    "JournalWriteFailed",
    "Record",
]
