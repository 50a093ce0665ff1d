"""The journal keeps what it acknowledged, and says where it does not."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from solver.engine.group import Group
from solver.journal import (
    Genesis,
    Journal,
    JournalCorrupt,
    JournalForeign,
    JournalLocked,
    JournalWriteFailed,
)
from solver.journal.record import FORMAT_VERSION

GENESIS = Genesis(chain_id=31337, settlement="0x" + "11" * 20, usdc="0x" + "22" * 20)


def a_group(number: int, commands: int = 1) -> Group:
    return Group(commands=commands, payload=f"record {number}".encode(), outcome=b"%032d" % number)


def a_journal(path: Path, records: int = 0) -> Journal:
    journal = Journal.open(path / "journal.db", GENESIS)
    for number in range(1, records + 1):
        journal.append(a_group(number))
    return journal


def damage(path: Path, sql: str, *values: str) -> None:
    connection = sqlite3.connect(path / "journal.db")
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def test_what_was_appended_is_read_again_in_order(tmp_path: Path) -> None:
    """Records come back from a new handle with their numbers and bytes."""
    with_ten = a_journal(tmp_path, 10)
    chain = with_ten.chain
    with_ten.close()
    again = a_journal(tmp_path)
    assert [(r.seq, r.payload) for r in again.read()] == [
        (n, f"record {n}".encode()) for n in range(1, 11)
    ]
    assert (again.seq, again.chain) == (10, chain)
    again.close()


def test_groups_are_numbered_by_their_commands(tmp_path: Path) -> None:
    """A group's number is its first command's; the journal's is the last command's."""
    journal = a_journal(tmp_path)
    assert [journal.append(a_group(n, commands=n)) for n in (1, 2, 3)] == [1, 3, 6]
    assert [(r.seq, r.commands, r.last) for r in journal.read()] == [
        (1, 1, 1),
        (2, 2, 3),
        (4, 3, 6),
    ]
    assert journal.seq == 6
    journal.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("payload", "x'00'"), ("outcome", "x''"), ("commands", "2"), ("chain", "x'00'")],
)
def test_every_column_is_in_the_chain(tmp_path: Path, column: str, value: str) -> None:
    """A group's bytes, its size, what it led to and its chain: none can change unseen."""
    a_journal(tmp_path, 5).close()
    damage(tmp_path, f"UPDATE record SET {column} = {value} WHERE seq = 3")  # noqa: S608
    journal = a_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        list(journal.read())
    assert caught.value.seq == 3
    journal.close()


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_changed_record_halts_with_its_place(tmp_path: Path, seq: int) -> None:
    """One flipped byte inside the acknowledged range is found, and named by number."""
    a_journal(tmp_path, 5).close()
    damage(tmp_path, f"UPDATE record SET payload = CAST('recorD {seq}' AS BLOB) WHERE seq = {seq}")  # noqa: S608
    journal = a_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        list(journal.read())
    assert caught.value.seq == seq
    journal.close()


def test_a_missing_record_halts_with_its_place(tmp_path: Path) -> None:
    """A deleted record in the middle is a gap, not a shorter history."""
    a_journal(tmp_path, 5).close()
    damage(tmp_path, "DELETE FROM record WHERE seq = 3")
    journal = a_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        list(journal.read())
    assert caught.value.seq == 3
    journal.close()


def test_swapped_records_are_found(tmp_path: Path) -> None:
    """Two records that changed places break the chain at the first of them."""
    a_journal(tmp_path, 5).close()
    damage(tmp_path, "UPDATE record SET seq = -1 WHERE seq = 2")
    damage(tmp_path, "UPDATE record SET seq = 2 WHERE seq = 3")
    damage(tmp_path, "UPDATE record SET seq = 3 WHERE seq = -1")
    journal = a_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        list(journal.read())
    assert caught.value.seq == 2
    journal.close()


def test_every_byte_of_the_file_is_covered(tmp_path: Path) -> None:
    """A garbled database file either reads as it was or halts: it never reads otherwise."""
    journal = a_journal(tmp_path, 40)
    list(journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    expected = [record.payload for record in journal.read()]
    journal.close()
    file = tmp_path / "journal.db"
    clean = file.read_bytes()
    outcomes = {"same": 0, "halted": 0}
    for place in range(0, len(clean), 97):
        file.write_bytes(clean[:place] + bytes([clean[place] ^ 0x40]) + clean[place + 1 :])
        outcomes[_read_or_halt(tmp_path, expected)] += 1
    file.write_bytes(clean)
    assert outcomes["halted"] > 0
    assert _read_or_halt(tmp_path, expected) == "same"


def _read_or_halt(path: Path, expected: list[bytes]) -> str:
    try:
        journal = a_journal(path)
    except (JournalCorrupt, JournalForeign):
        return "halted"
    try:
        read = [record.payload for record in journal.read()]
    except JournalCorrupt:
        return "halted"
    finally:
        journal.close()
    assert read == expected, "a damaged journal was read as if it were whole"
    return "same"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """While one process holds the journal, another cannot open it, and can afterwards."""
    journal = a_journal(tmp_path)
    script = (
        "import sys; from pathlib import Path; from solver.journal import *\n"
        f"g = Genesis(chain_id=31337, settlement={GENESIS.settlement!r}, usdc={GENESIS.usdc!r})\n"
        "try: Journal.open(Path(sys.argv[1]), g)\n"
        "except JournalLocked: sys.exit(42)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "journal.db")]
    assert subprocess.run(arguments, check=False).returncode == 42
    with pytest.raises(JournalLocked):
        a_journal(tmp_path)
    journal.close()
    assert subprocess.run(arguments, check=False).returncode == 0


def test_a_journal_of_another_market_is_refused(tmp_path: Path) -> None:
    """A journal made for one chain never feeds a market on another."""
    a_journal(tmp_path, 1).close()
    other = Genesis(chain_id=1, settlement=GENESIS.settlement, usdc=GENESIS.usdc)
    with pytest.raises(JournalForeign):
        Journal.open(tmp_path / "journal.db", other)


def test_a_failed_write_acknowledges_nothing(tmp_path: Path) -> None:
    """When the disk refuses, the group is not counted and the fault says so."""
    journal = a_journal(tmp_path, 3)
    list(journal._connection.execute("PRAGMA max_page_count = 8"))
    with pytest.raises(JournalWriteFailed):
        journal.append(Group(commands=1, payload=b"x" * 4_000_000, outcome=b""))
    assert journal.seq == 3
    journal.close()
    again = a_journal(tmp_path)
    assert len(list(again.read())) == 3
    again.close()


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """An old program on a new journal names both versions and the way out."""
    a_journal(tmp_path, 1).close()
    newer = FORMAT_VERSION + 1
    genesis = json.dumps({"format_version": newer})
    damage(tmp_path, "UPDATE genesis SET body = CAST(? AS BLOB)", genesis)
    with pytest.raises(JournalForeign, match=rf"format {newer}.*install"):
        a_journal(tmp_path)


def test_a_journal_that_lost_its_end_halts(tmp_path: Path) -> None:
    """Groups that were acknowledged and are gone are found by the mark beside the database."""
    a_journal(tmp_path, 5).close()
    damage(tmp_path, "DELETE FROM record WHERE seq > 3")
    with pytest.raises(JournalCorrupt, match="everything up to 5 was acknowledged") as caught:
        a_journal(tmp_path)
    assert caught.value.seq == 4


def test_another_end_than_was_acknowledged_halts(tmp_path: Path) -> None:
    """A journal that is sound in itself, but not the one that was acknowledged, is found."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    a_journal(mine, 5).close()
    longer = a_journal(other)
    for number in range(2, 9):
        longer.append(a_group(number))
    longer.close()
    (other / "journal.db").replace(mine / "journal.db")
    journal = a_journal(mine)
    with pytest.raises(JournalCorrupt, match="not what was acknowledged") as caught:
        list(journal.read())
    assert caught.value.seq == 5
    journal.close()


def test_a_torn_mark_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """The mark has two places: with one of them damaged the other still counts."""
    a_journal(tmp_path, 5).close()
    mark = tmp_path / "journal.mark"
    clean = mark.read_bytes()
    for place, known in ((0, 4), (512, 5)):
        mark.write_bytes(clean[:place] + b"\xff" * 20 + clean[place + 20 :])
        journal = a_journal(tmp_path)
        assert (journal.seq, journal._mark.seq) == (5, known)
        journal.close()
