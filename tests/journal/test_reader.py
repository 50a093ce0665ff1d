"""Another process's view of a journal: on any medium, and never more than there is."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from solver.engine.group import Group
from solver.journal import Journal, JournalCorrupt, JournalForeign, JournalMissing, extent
from solver.journal import journal as journal_module
from solver.journal.extent import settled_end
from solver.journal.reader import JournalReader
from solver.journal.record import Log, packed
from tests.core.sabotage import edited
from tests.journal.crash_disk import MemoryDisk
from tests.journal.damage import log_of, records_of, rewrite
from tests.journal.history import GENESIS, History, a_log
from tests.journal.test_migration import HERE


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user may look into."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def test_a_stopped_journal_on_a_read_only_medium_is_read(anybodys: Path) -> None:
    """Where no file can be made beside it, a journal that was closed is still read whole.

    Root may write everywhere, so another user reads where root runs this.
    """
    History.at(anybodys).play(a_log(5, 200)[:50]).journal.close()
    for path in anybodys.iterdir():
        path.chmod(0o444)
    anybodys.chmod(0o555)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from solver.journal.reader import JournalReader\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "reader = JournalReader.open(Path(sys.argv[1]) / 'journal.db')\n"
        "assert list(reader.read())[-1].last == reader.seq == 50\n"
        "assert not os.access(sys.argv[1], os.W_OK)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(anybodys)], check=True, timeout=60)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """No journal is one thing; a journal that a mark says there was is another."""
    with pytest.raises(JournalMissing):
        JournalReader.open(tmp_path / "journal.db")
    History.at(tmp_path).play(a_log(5, 200)[:20]).journal.close()
    (tmp_path / "journal.db").unlink()
    with pytest.raises(JournalCorrupt, match="everything up to 20 was acknowledged"):
        JournalReader.open(tmp_path / "journal.db")


def test_an_old_format_is_not_read_but_explained(tmp_path: Path) -> None:
    """A reader does not migrate: it says who does."""
    (tmp_path / "journal.db").write_bytes((HERE / "v3.db").read_bytes())
    with pytest.raises(JournalForeign, match="start its market once"):
        JournalReader.open(tmp_path / "journal.db")


def test_a_lost_end_is_found_by_readers_too(tmp_path: Path) -> None:
    """`keyfill journal verify` names groups that were acknowledged and are gone."""
    History.at(tmp_path).play(a_log(5, 200)[:60]).journal.close()
    path = tmp_path / "journal.db"
    rewrite(path, [record for record in records_of(path) if record.last <= 40])
    with pytest.raises(JournalCorrupt, match="everything up to 60 was acknowledged"):
        JournalReader.open(tmp_path / "journal.db")


def test_a_reader_leaves_a_write_that_is_under_way(tmp_path: Path) -> None:
    """What another process has half written is neither read nor cut off."""
    History.at(tmp_path).play(a_log(5, 200)[:60]).journal.close()
    path = tmp_path / "journal.db"
    whole = path.read_bytes()
    following = packed(records_of(path)[-1], log_of(whole).secret)
    half = following[: len(following) // 2]
    path.write_bytes(whole + half)
    reader = JournalReader.open(path)
    assert [record.last for record in reader.read()][-1] == reader.seq == 60
    reader.close()
    assert path.read_bytes() == whole + half


@pytest.mark.parametrize("after_reads", range(1, 9))
def test_a_market_may_write_while_a_reader_looks_for_its_end(
    after_reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it writes between two looks at the file, that is no damage."""
    monkeypatch.setattr(journal_module, "AHEAD_BYTES", 16 * 1024)
    disk = MemoryDisk()
    journal = Journal.open(Path("/memory/journal.db"), GENESIS, disk)
    group = Group(commands=1, payload=bytes(200), outcome=b"")
    for _ in range(5):
        journal.append(group)
    noted, file = journal._mark.noted, disk.open(Path("/memory/journal.db"))
    read, reads = file.read, count(1)

    def meanwhile(place: int, length: int) -> bytes:
        found = read(place, length)
        if next(reads) == after_reads:
            journal.append(group)
            journal.append(group)
        return found

    file.read = meanwhile  # type: ignore[method-assign]
    assert settled_end(Log(file), noted).seq >= 5


def test_a_look_behind_that_comes_second_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks there after it looked for the next group sees two that came in between as one."""
    late = edited(
        extent,
        "settled_end",
        """            end = record.end
        if end == before:""",
        """            end = record.end
        is_followed = log.is_followed(end, size)
        if end == before:""",
    )
    late(monkeypatch)
    monkeypatch.setitem(globals(), "settled_end", extent.settled_end)
    look = test_a_market_may_write_while_a_reader_looks_for_its_end
    with pytest.raises(JournalCorrupt):
        [look(after_reads, monkeypatch) for after_reads in range(1, 9)]
