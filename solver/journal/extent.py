"""How far a journal reaches: past all that was acknowledged, up to what is no whole record.

What was acknowledged is there and follows from what was before, or it is damage. Behind it is empty
space, in which may stand a write that a crash cut short, and nothing else: one begins when the one
before has ended.
"""

from collections.abc import Iterator

from solver.journal.disk import File
from solver.journal.fault import JournalCorrupt
from solver.journal.record import End, Genesis, Log, Record


class Extent:
    """What a journal holds, up to its end: whoever writes it moves that. Raises JournalCorrupt."""

    def __init__(self, file: File, noted: End | None) -> None:
        self._file = file
        self._log = Log(file)
        self._end = settled_end(self._log, noted)

    @property
    def genesis(self) -> Genesis:
        """What it is for."""
        return self._log.genesis

    @property
    def seq(self) -> int:
        """Number of the last command; 0 if there is none."""
        return self._end.seq

    @property
    def chain(self) -> bytes:
        """Chain hash after the last record: commits to everything before it."""
        return self._end.chain

    @property
    def last(self) -> int:
        """Where the last record begins; 0 if there is none."""
        return self._end.last

    def read(self) -> Iterator[Record]:
        """Every record from the first, each verified against the chain.

        Raises JournalCorrupt at the first that does not follow from those before.
        """
        return read_verified(self._log, self._end)

    def at(self, place: int) -> Record | None:
        """The record that begins at this place, as it stands there; None if none does."""
        return self._log.record_at(place)


def settled_end(log: Log, noted: End | None) -> End:
    """Where the next record goes, in a journal that has all that its mark noted.

    Only what comes after the mark is verified here: see `read_verified`. Raises JournalCorrupt.
    """
    end = log.start if noted is None else _acknowledged(log, noted)
    while True:
        size, before = log.size(), end
        # First, as a market that runs may write on meanwhile: what stands behind a record by now
        # was begun when that was whole, so that it is found whole from now on.
        is_followed = log.is_followed(end, size)
        for record in log.follow(end, size):
            end = record.end
        if end == before:
            if is_followed:
                raise JournalCorrupt(end.seq + 1, "damaged; what was written after it is there")
            return end


def read_verified(log: Log, up_to: End) -> Iterator[Record]:
    """Every record from the first to an end, each verified. Raises JournalCorrupt."""
    end = log.start
    for record in log.follow(end, up_to.place):
        end = record.end
        yield record
    if end.place < up_to.place:
        raise JournalCorrupt(end.seq + 1, _what_is_wrong(log, end))
    if end != up_to:
        raise JournalCorrupt(end.seq, "not what was acknowledged")


def _acknowledged(log: Log, noted: End) -> End:
    """What the mark noted, if it is there."""
    record = log.record_at(noted.last)
    if record is not None and record.end == noted:
        return noted
    end, size = log.start, log.size()
    for record in log.follow(end, size):
        if record.end.place >= noted.place:
            raise JournalCorrupt(record.last, "not what was acknowledged")
        end = record.end
    missing = "missing" if end.place == size else _what_is_wrong(log, end)
    raise JournalCorrupt(end.seq + 1, f"{missing}; everything up to {noted.seq} was acknowledged")


def _what_is_wrong(log: Log, end: End) -> str:
    """Why no record follows there."""
    found = log.record_at(end.place)
    if found is None:
        return "no whole record"
    if found.seq != end.seq + 1:
        return f"missing; the next one is {found.seq}"
    return "its bytes do not match its hash"
