"""A journal's file that is taken apart, and put together otherwise, as no market would."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from solver.journal.record import Log, Record, packed
from tests.journal.crash_disk import Bytes


def log_of(content: bytes | bytearray) -> Log:
    """What a file holds, as a journal."""
    return Log(Bytes(bytearray(content)))


def records_in(content: bytes | bytearray) -> list[Record]:
    """All whole records of what a file holds."""
    log = log_of(content)
    return list(log.follow(log.start, log.size()))


def records_of(path: Path) -> list[Record]:
    """All whole records of a file."""
    return records_in(path.read_bytes())


def rewrite(path: Path, records: Iterable[Record]) -> None:
    """Have these stand in it after its header, as they are: chains are not made to fit."""
    log = log_of(path.read_bytes())
    body = b"".join(packed(record, log.secret) for record in records)
    path.write_bytes(path.read_bytes()[: log.start.place] + body)


def change(path: Path, seq: int, **fields: int | bytes) -> None:
    """Change some of the record that begins with command `seq`."""
    records = records_of(path)
    (place,) = [place for place, record in enumerate(records) if record.seq == seq]
    records[place] = msgspec.structs.replace(records[place], **fields)
    rewrite(path, records)


def drop(path: Path, *seqs: int) -> None:
    """Leave out the records that begin with these commands."""
    rewrite(path, [record for record in records_of(path) if record.seq not in seqs])
