"""The journal keeps what it acknowledged, and says where it does not."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from solver.engine.group import Group
from solver.journal import (
    Genesis,
    Journal,
    JournalCorrupt,
    JournalForeign,
    JournalLocked,
    JournalWriteFailed,
    record,
)
from solver.journal import journal as journal_module
from solver.journal.mark import read_mark
from solver.journal.record import (
    FORMAT_VERSION,
    PAYLOAD_BYTES_MAX,
    SECRET_BYTES,
    End,
    header,
    packed,
)
from tests.journal import damage, history

GENESIS = Genesis(chain_id=31337, settlement="0x" + "11" * 20, usdc="0x" + "22" * 20)


def a_group(number: int, commands: int = 1) -> Group:
    return Group(commands=commands, payload=f"record {number}".encode(), outcome=b"%032d" % number)


def a_journal(path: Path, records: int = 0) -> Journal:
    journal = Journal.open(path / "journal.db", GENESIS)
    for number in range(1, records + 1):
        journal.append(a_group(number))
    return journal


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
    "fields",
    [{"payload": b"\0"}, {"outcome": b""}, {"commands": 2}, {"commands": 0}, {"chain": bytes(32)}],
)
def test_every_field_is_in_the_chain(tmp_path: Path, fields: dict[str, int | bytes]) -> None:
    """A group's bytes, its size, what it led to and its chain: none can change unseen."""
    a_journal(tmp_path, 5).close()
    damage.change(tmp_path / "journal.db", 3, **fields)
    with pytest.raises(JournalCorrupt) as caught:
        list(a_journal(tmp_path).read())
    assert caught.value.seq == 3


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_changed_record_halts_with_its_place(tmp_path: Path, seq: int) -> None:
    """One flipped byte inside the acknowledged range is found, and named by number."""
    a_journal(tmp_path, 5).close()
    damage.change(tmp_path / "journal.db", seq, payload=f"recorD {seq}".encode())
    journal = a_journal(tmp_path)
    with pytest.raises(JournalCorrupt, match="do not match") as caught:
        list(journal.read())
    assert caught.value.seq == seq
    journal.close()


def test_a_missing_record_halts_with_its_place(tmp_path: Path) -> None:
    """A record that was cut out of the middle is a gap, not a shorter history."""
    a_journal(tmp_path, 5).close()
    damage.drop(tmp_path / "journal.db", 3)
    with pytest.raises(JournalCorrupt, match="the next one is 4") as caught:
        a_journal(tmp_path)
    assert caught.value.seq == 3


def test_swapped_records_are_found(tmp_path: Path) -> None:
    """Two records that changed places break the chain at the first of them."""
    a_journal(tmp_path, 5).close()
    records = damage.records_of(tmp_path / "journal.db")
    records[1:3] = records[2], records[1]
    damage.rewrite(tmp_path / "journal.db", records)
    journal = a_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        list(journal.read())
    assert caught.value.seq == 2
    journal.close()


def test_every_byte_of_the_file_is_covered(tmp_path: Path) -> None:
    """A garbled file never reads otherwise than it was: it halts, but for space that is empty."""
    journal = a_journal(tmp_path, 40)
    expected, end = [record.payload for record in journal.read()], journal._end.place
    journal.close()
    file = tmp_path / "journal.db"
    clean = file.read_bytes()
    for place in range(0, len(clean), 13):
        file.write_bytes(clean[:place] + bytes([clean[place] ^ 0x40]) + clean[place + 1 :])
        assert _read_or_halt(tmp_path, expected) == ("halted" if place < end else "same")
    assert end < len(clean)
    file.write_bytes(clean)
    assert _read_or_halt(tmp_path, expected) == "same"


def test_what_cannot_be_read_halts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails to give what it has is damage, with its place, and no end."""
    journal = a_journal(tmp_path, 3)
    pread = os.pread
    broken = damage.records_of(tmp_path / "journal.db")[1].place

    def failing(handle: int, length: int, place: int) -> bytes:
        if place + length > broken:
            raise OSError(errno.EIO, "Input/output error")
        return pread(handle, length, place)

    monkeypatch.setattr(record, "_STEP_BYTES", 1)
    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(JournalCorrupt, match="Input/output error") as caught:
        list(journal.read())
    assert caught.value.seq == 2
    monkeypatch.undo()
    journal.close()


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


def test_a_failed_write_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk refuses, the group is not counted, though half of it is there."""
    journal = a_journal(tmp_path, 3)
    pwrite = os.pwrite

    def refusing(handle: int, content: bytes, place: int) -> int:
        if len(content) < 2_048:
            raise OSError(errno.EIO, "Input/output error")
        return pwrite(handle, content[: len(content) // 2], place)

    monkeypatch.setattr(os, "pwrite", refusing)
    with pytest.raises(JournalWriteFailed):
        journal.append(Group(commands=1, payload=b"x" * 10_000, outcome=b""))
    monkeypatch.undo()
    assert journal.seq == 3
    journal.close()
    file = tmp_path / "journal.db"
    assert file.stat().st_size > damage.records_of(file)[-1].end.place + 7_000
    again = a_journal(tmp_path)
    assert len(list(again.read())) == 3
    again.close()
    assert file.stat().st_size == damage.records_of(file)[-1].end.place


def test_a_write_that_is_taken_in_parts_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may take less than it is given: the rest follows."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda h, content, at: pwrite(h, content[:7], at))
    journal = a_journal(tmp_path, 3)
    assert [record.payload for record in journal.read()] == [
        a_group(number).payload for number in (1, 2, 3)
    ]
    journal.close()


def test_a_group_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Its length could not be said: nothing is written."""
    journal = a_journal(tmp_path, 1)
    with pytest.raises(JournalWriteFailed, match="a group of"):
        journal.append(Group(commands=1, payload=bytes(PAYLOAD_BYTES_MAX + 1), outcome=b""))
    assert journal.seq == len(list(journal.read())) == 1
    journal.close()


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """An old program on a new journal names both versions and the way out."""
    newer = FORMAT_VERSION + 1
    genesis = msgspec.structs.replace(GENESIS, format_version=newer)
    (tmp_path / "journal.db").write_bytes(header(genesis, bytes(SECRET_BYTES)))
    with pytest.raises(JournalForeign, match=rf"format {newer}.*install"):
        a_journal(tmp_path)


def test_a_journal_that_lost_its_end_halts(tmp_path: Path) -> None:
    """Groups that were acknowledged and are gone are found by the mark beside the journal."""
    a_journal(tmp_path, 5).close()
    damage.drop(tmp_path / "journal.db", 4, 5)
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
    with pytest.raises(JournalCorrupt, match="not what was acknowledged") as caught:
        a_journal(mine)
    assert caught.value.seq == 5


def test_a_clean_stop_stands_in_the_chain(tmp_path: Path) -> None:
    """The state's hash has no number of its own, is read in its place, and cannot change unseen."""
    journal = a_journal(tmp_path, 2)
    before = journal.chain
    journal.checkpoint("ab")
    assert (journal.seq, journal.append(a_group(3))) == (2, 3)
    assert [(r.seq, r.commands, r.last) for r in journal.read()] == [
        (1, 1, 1),
        (2, 1, 2),
        (3, 0, 2),
        (3, 1, 3),
    ]
    noted = list(journal.read())[2]
    assert (noted.payload, noted.decoded()) == (b"ab", [])
    assert journal.chain != before
    journal.close()
    records = damage.records_of(tmp_path / "journal.db")
    records[2] = msgspec.structs.replace(records[2], payload=b"ac")
    damage.rewrite(tmp_path / "journal.db", records)
    with pytest.raises(JournalCorrupt) as caught:
        list(a_journal(tmp_path).read())
    assert caught.value.seq == 3


def marked(mark: Path) -> End:
    noted = read_mark(mark.read_bytes())
    assert noted is not None
    return noted


def test_a_torn_mark_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """The mark has two places: with one of them damaged the other still counts."""
    a_journal(tmp_path, 5).close()
    mark = tmp_path / "journal.mark"
    clean = mark.read_bytes()
    for place, known in ((0, 4), (512, 5)):
        mark.write_bytes(clean[:place] + b"\xff" * 20 + clean[place + 20 :])
        assert marked(mark).seq == known
        journal = a_journal(tmp_path)
        assert journal.seq == 5
        journal.close()
        assert marked(mark).seq == 5


def test_what_a_command_says_is_never_taken_for_a_record(tmp_path: Path) -> None:
    """A write that was cut short is cut off, though it holds what looks like later records.

    Only who knows the journal's secret could have written those, and nobody outside does.
    """
    journal = a_journal(tmp_path, 3)
    log, end = damage.log_of((tmp_path / "journal.db").read_bytes()), journal._end
    journal.close()
    for secret, seq in ((bytes(SECRET_BYTES), 3), (log.secret, None)):
        later = record.record_after(End(place=0, seq=8, chain=bytes(32)), a_group(9))
        group = Group(
            commands=1, payload=bytes(50) + packed(later, secret) + b"x" * 50, outcome=b""
        )
        torn = packed(record.record_after(end, group), log.secret)[:-10]
        with (tmp_path / "journal.db").open("r+b") as file:
            file.seek(end.place)
            file.write(torn)
        if seq is None:
            with pytest.raises(JournalCorrupt, match="written after it"):
                a_journal(tmp_path)
        else:
            again = a_journal(tmp_path)
            assert again.seq == seq
            again.close()


def test_two_journals_have_two_secrets(tmp_path: Path) -> None:
    """Each makes its own, of which no other file knows."""
    secrets = set()
    for name in ("one", "two"):
        a_journal(tmp_path / name, 1).close()
        secrets.add(damage.log_of((tmp_path / name / "journal.db").read_bytes()).secret)
    assert len(secrets) == 2


def test_a_record_behind_is_found_across_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step of reading ends in the middle of a record's beginning, it is still seen."""
    a_journal(tmp_path, 4).close()
    path = tmp_path / "journal.db"
    (tmp_path / "journal.mark").unlink()
    clean = path.read_bytes()
    second, third = damage.records_of(path)[1:3]
    for step in range(SECRET_BYTES, third.place - second.place + 40):
        monkeypatch.setattr(record, "_STEP_BYTES", step)
        path.write_bytes(clean[: second.place] + b"\0" + clean[second.place + 1 :])
        with pytest.raises(JournalCorrupt) as caught:
            a_journal(tmp_path)
        assert caught.value.seq == 2


def test_a_damaged_length_is_no_reason_to_read_so_much(tmp_path: Path) -> None:
    """What is longer than any record is none, though the file may have as many bytes."""
    a_journal(tmp_path, 2).close()
    path = tmp_path / "journal.db"
    last = damage.records_of(path)[-1]
    content = bytearray(path.read_bytes())
    content[last.place + 32 : last.place + 36] = (PAYLOAD_BYTES_MAX + 1).to_bytes(4, "big")
    path.write_bytes(content)
    os.truncate(path, 2 * PAYLOAD_BYTES_MAX)
    with pytest.raises(JournalCorrupt, match="everything up to 2 was acknowledged"):
        a_journal(tmp_path)


def test_an_empty_file_was_never_begun(tmp_path: Path) -> None:
    """Who was killed before the first byte left nothing; with a mark, something is lost."""
    (tmp_path / "journal.db").touch()
    a_journal(tmp_path, 2).close()
    (tmp_path / "journal.db").write_bytes(b"")
    with pytest.raises(JournalCorrupt, match="everything up to 2 was acknowledged"):
        a_journal(tmp_path)


def test_after_a_failure_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that failed once may say yes the next time: nobody is told so."""
    journal = a_journal(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _no_disk)
        with pytest.raises(JournalWriteFailed):
            journal.append(a_group(2))
    with pytest.raises(JournalWriteFailed, match="before"):
        journal.append(a_group(2))
    assert journal.seq == 1
    journal.close()


def test_what_the_disk_does_not_tell_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that cannot say how full it is stops the journal by the journal's own word."""
    journal = a_journal(tmp_path)
    monkeypatch.setattr(os, "statvfs", _no_disk)
    with pytest.raises(JournalWriteFailed):
        journal.has_room()
    monkeypatch.undo()
    journal.close()


def test_the_lock_is_let_go_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that cannot be synced at the close is no reason to keep the next process out."""
    journal = a_journal(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(journal._mark, "close", _no_disk)
        with pytest.raises(OSError, match="Input/output"):
            journal.close()
    a_journal(tmp_path).close()


def test_nothing_counts_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real disk a file is synced before it has its name, its folder after; a group at once."""
    done: list[str] = []
    for module, name in ((os, "pwrite"), (os, "fdatasync"), (os, "fsync"), (Path, "replace")):
        monkeypatch.setattr(module, name, _noting(done, name, getattr(module, name)))
    journal = a_journal(tmp_path / "new")
    made = ["fdatasync", "replace", "fsync"]
    assert done == ["fsync", *made, *made, "fdatasync"]
    done.clear()
    journal.append(a_group(1))
    assert done == ["pwrite", "fdatasync"]
    journal.close()
    here = Path(__file__).parent
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "journal.db").write_bytes((here / "v4.db").read_bytes())
    done.clear()
    Journal.open(tmp_path / "old" / "journal.db", history.GENESIS).close()
    assert done == [*made, *made, "pwrite", "fdatasync"]


def _noting(done: list[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*arguments: Any) -> Any:
        done.append(name)
        return call(*arguments)

    return noted


def _no_disk(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_space_is_made_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the file's space takes makes it no longer; what is longer makes more."""
    monkeypatch.setattr(journal_module, "AHEAD_BYTES", 4_096)
    journal, file = a_journal(tmp_path), tmp_path / "journal.db"
    sizes = [file.stat().st_size]
    for length in (1_000, 1_000, 3_000, 20_000, 10):
        journal.append(Group(commands=1, payload=b"x" * length, outcome=b""))
        sizes.append(file.stat().st_size)
        assert not any(file.read_bytes()[journal._end.place :])
    assert sizes == [journal._log.start.place, 4_096, 4_096, 8_192, 28_672, 28_672]
    journal.close()
    again = a_journal(tmp_path)
    assert [len(record.payload) for record in again.read()] == [1_000, 1_000, 3_000, 20_000, 10]
    assert file.stat().st_size == again._end.place
    again.close()
