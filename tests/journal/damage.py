"""A journal's file that is taken apart, and put together otherwise, as no market would."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from solver.journal.record import Record, beginning, follow, packed
from tests.journal.crash_disk import Bytes


def records_of(path: Path) -> list[Record]:
    """All whole records of a file."""
    return records_in(bytearray(path.read_bytes()))


def records_in(content: bytearray) -> list[Record]:
    """All whole records of what a file holds."""
    file = Bytes(content)
    _, start = beginning(file)
    return list(follow(file, start, file.size()))


def rewrite(path: Path, records: Iterable[Record]) -> None:
    """Have these stand in it after its header, as they are: chains are not made to fit."""
    _, start = beginning(Bytes(bytearray(path.read_bytes())))
    body = b"".join(packed(record) for record in records)
    path.write_bytes(path.read_bytes()[: start.place] + body)


def change(path: Path, seq: int, **fields: int | bytes) -> None:
    """Change some of the record that begins with command `seq`."""
    records = records_of(path)
    (place,) = [place for place, record in enumerate(records) if record.seq == seq]
    records[place] = msgspec.structs.replace(records[place], **fields)
    rewrite(path, records)


def drop(path: Path, *seqs: int) -> None:
    """Leave out the records that begin with these commands."""
    rewrite(path, [record for record in records_of(path) if record.seq not in seqs])
