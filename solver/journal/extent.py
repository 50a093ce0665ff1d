"""How far a journal reaches: past all that was acknowledged, up to what is no whole record.

What was acknowledged is there and follows from what was before, or it is damage. Behind it may
stand a write that a crash cut short, and nothing else: one begins when the one before has ended.
"""

from collections.abc import Iterator

from solver.journal.disk import Readable
from solver.journal.fault import JournalCorrupt
from solver.journal.mark import Noted
from solver.journal.record import End, Record, follow, is_followed, record_at


def settled_end(file: Readable, start: End, noted: Noted) -> End:
    """Where the next record goes, in a journal that has all that its mark noted.

    Only what comes after the mark is verified here: see `read_verified`. Raises JournalCorrupt.
    """
    size = file.size()
    end = _acknowledged(file, start, noted, size)
    for record in follow(file, end, size):
        end = record.end
    if is_followed(file, end, size):
        raise JournalCorrupt(end.seq + 1, "damaged; what was written after it is there")
    return end


def read_verified(file: Readable, start: End, up_to: End) -> Iterator[Record]:
    """Every record between two ends, each verified. Raises JournalCorrupt where one is not."""
    end = start
    for record in follow(file, start, up_to.place):
        end = record.end
        yield record
    if end.place < up_to.place:
        raise JournalCorrupt(end.seq + 1, _what_is_wrong(file, end))
    if end != up_to:
        raise JournalCorrupt(end.seq, "not what was acknowledged")


def _acknowledged(file: Readable, start: End, noted: Noted, size: int) -> End:
    """Where what the mark noted ends, if it is there."""
    if not noted.last:
        return start
    record = record_at(file, noted.last)
    if record is not None and (record.last, record.chain) == (noted.seq, noted.chain):
        return record.end
    end = start
    for record in follow(file, start, size):
        if record.last >= noted.seq:
            raise JournalCorrupt(record.seq, "not what was acknowledged")
        end = record.end
    missing = "missing" if end.place == size else _what_is_wrong(file, end)
    raise JournalCorrupt(end.seq + 1, f"{missing}; everything up to {noted.seq} was acknowledged")


def _what_is_wrong(file: Readable, end: End) -> str:
    """Why no record follows there."""
    found = record_at(file, end.place)
    if found is None:
        return "no whole record"
    if found.seq != end.seq + 1:
        return f"missing; the next one is {found.seq}"
    return "its bytes do not match its hash"
