"""A snapshot and the tail give what the whole journal gives; nothing depends on a snapshot."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from solver.core.check import Violation
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered
from solver.journal import Journal, JournalCorrupt, JournalLocked, SnapshotUnusable, snapshot
from solver.journal.disk import LOCAL_DISK
from solver.journal.reader import JournalReader
from solver.journal.recovery import Restored, restore, take_snapshot
from tests.journal.damage import change
from tests.journal.history import GENESIS, History, a_log

HALF: Final = 150


def a_history(folder: Path) -> History:
    """The first half of a walk is written, and there is a snapshot of it."""
    folder.mkdir(exist_ok=True)
    history = History.at(folder).play(a_log(5, 500)[:HALF])
    assert take_snapshot(folder) is not None
    return history


def restored(folder: Path, *, snapshots: bool = True) -> Restored:
    reader = JournalReader.open(folder / "journal.db")
    try:
        return restore(reader, folder / "snapshots" if snapshots else None)
    finally:
        reader.close()


def the_snapshot(folder: Path) -> Path:
    return snapshot.newest_first(folder / "snapshots")[0]


def test_p6_i14_live_replay_and_snapshot_with_tail_agree(tmp_path: Path) -> None:
    """P6, I14: hash(live) = hash(replay) = hash(snapshot + tail), and so outcome and feed."""
    history = a_history(tmp_path).play(a_log(5, 500)[HALF:], seed=2)
    history.journal.close()
    whole = restored(tmp_path, snapshots=False)
    tail = restored(tmp_path)
    assert (whole.snapshot_seq, tail.snapshot_seq) == (0, HALF)
    for found in (whole.recovered, tail.recovered):
        assert found.market.state.hash() == history.market.state.hash()
        assert (found.outcome, found.seq) == (history.outcome, history.journal.seq)
        assert found.feed.seq == history.feed.seq


@pytest.mark.parametrize("seed", range(8))
def test_a_loaded_market_goes_on_as_the_first_would(tmp_path: Path, seed: int) -> None:
    """Wherever a walk is cut, what follows leads to the same events: nothing was left out."""
    log = a_log(seed, 120)
    cut = len(log) * (seed + 1) // 9
    history = History.at(tmp_path).play(log[:cut])
    take_snapshot(tmp_path)
    again = restored(tmp_path).recovered
    history.play(log[cut:], seed=seed)
    history.journal.close()
    for command in log[cut:]:
        again.market.apply(command)
    assert again.market.state.hash() == history.market.state.hash()
    assert restored(tmp_path).recovered.outcome == history.outcome


def test_a_snapshot_is_taken_beside_a_running_market(tmp_path: Path) -> None:
    """Another process reads while this one holds the journal and goes on writing."""
    history = History.at(tmp_path).play(a_log(5, 500)[:HALF])
    code = subprocess.run(
        [sys.executable, "-m", "solver.journal", str(tmp_path)], check=False, timeout=60
    ).returncode
    assert code == 0
    header = snapshot.read(the_snapshot(tmp_path)).header
    assert (header.seq, header.state_hash) == (HALF, history.market.state.hash())
    history.play(a_log(5, 500)[HALF:], seed=2)
    history.journal.close()


def test_nothing_new_makes_no_snapshot(tmp_path: Path) -> None:
    """Without a command since the last one there is nothing to keep."""
    a_history(tmp_path).journal.close()
    assert take_snapshot(tmp_path) is None


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    """Snapshots do not pile up, and no draft stays behind."""
    history, log = a_history(tmp_path), a_log(5, 500)
    taken = [HALF]
    for end in range(HALF + 20, HALF + 80, 20):
        history.play(log[history.journal.seq : end])
        assert take_snapshot(tmp_path) is not None
        taken.append(end)
    history.journal.close()
    kept = [int(path.stem) for path in snapshot.newest_first(tmp_path / "snapshots")]
    assert kept == [taken[-1], taken[-2]]
    assert {path.suffix for path in (tmp_path / "snapshots").iterdir()} <= {".snapshot", ""}


def test_a_damaged_snapshot_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    """Any byte of a snapshot that is not as written makes it unusable, never half used."""
    history, log = a_history(tmp_path), a_log(5, 500)
    history.play(log[HALF : HALF + 20])
    take_snapshot(tmp_path)
    history.journal.close()
    path = the_snapshot(tmp_path)
    clean = path.read_bytes()
    damaged = [clean[:place] for place in (0, 3, 19, 100, len(clean) - 1)]
    damaged.append(clean + b"\0")
    step = max(len(clean) // 150, 1)
    damaged.extend(
        clean[:place] + bytes([clean[place] ^ 4]) + clean[place + 1 :]
        for place in [*range(200), *range(200, len(clean), step)]
    )
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(SnapshotUnusable):
            snapshot.read(path)
    found = restored(tmp_path)
    assert found.snapshot_seq == HALF
    assert len(found.passed_over) == 1
    assert found.recovered.market.state.hash() == history.market.state.hash()


def test_without_any_usable_snapshot_the_journal_is_replayed_whole(tmp_path: Path) -> None:
    """The journal alone is enough, whatever became of the snapshots."""
    history = a_history(tmp_path)
    history.journal.close()
    the_snapshot(tmp_path).write_bytes(b"rubbish")
    found = restored(tmp_path)
    assert found.snapshot_seq == 0
    assert found.recovered.market.state.hash() == history.market.state.hash()


def test_a_snapshot_of_another_journal_is_passed_over(tmp_path: Path) -> None:
    """Same format, same market, same number: another history all the same."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    history = a_history(mine)
    history.journal.close()
    other.mkdir()
    another = History.at(other).play(a_log(6, 500)[:HALF])
    take_snapshot(other)
    another.journal.close()
    shutil.copy(the_snapshot(other), the_snapshot(mine))
    found = restored(mine)
    assert found.snapshot_seq == 0
    assert "not of this journal" in found.passed_over[0]
    assert found.recovered.market.state.hash() == history.market.state.hash()


@pytest.mark.parametrize(
    "change", [{"state_hash": "00"}, {"outcome": bytes(32)}, {"seq": HALF - 1}, {"chain": b""}]
)
def test_a_header_that_does_not_fit_is_passed_over(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """A snapshot must agree with the journal in number, chain and outcome, and with itself."""
    a_history(tmp_path).journal.close()
    path = the_snapshot(tmp_path)
    taken = snapshot.read(path)
    header = msgspec.structs.replace(taken.header, **change)
    path.unlink()
    snapshot.write(tmp_path / "snapshots", msgspec.structs.replace(taken, header=header))
    assert restored(tmp_path).snapshot_seq == 0


def test_the_chain_before_a_snapshot_is_still_verified(tmp_path: Path) -> None:
    """A snapshot does not hide damage in what it spares applying."""
    a_history(tmp_path).journal.close()
    change(tmp_path / "journal.db", 1, outcome=bytes(32))
    with pytest.raises(JournalCorrupt) as caught:
        restored(tmp_path)
    assert caught.value.seq == 1


def test_a_snapshot_is_only_taken_of_what_replay_agrees_with(tmp_path: Path) -> None:
    """A market that noted another outcome than replay reaches gets no snapshot."""
    history = History.at(tmp_path)
    log = a_log(5, 500)
    history.journal.append(history.group_of(list(log[:10])))
    wrong = msgspec.structs.replace(history.group_of(list(log[10:20])), outcome=bytes(32))
    history.journal.append(wrong)
    history.journal.close()
    with pytest.raises(Violation, match="replay_equal"):
        take_snapshot(tmp_path)
    assert not snapshot.newest_first(tmp_path / "snapshots")


def test_one_snapshot_at_a_time(tmp_path: Path) -> None:
    """Two processes do not take snapshots of one market at once."""
    a_history(tmp_path).journal.close()
    lock = LOCAL_DISK.lock(tmp_path / "snapshots" / "lock")
    with pytest.raises(JournalLocked):
        take_snapshot(tmp_path)
    lock.close()


def test_a_reader_sees_what_was_there_when_it_came(tmp_path: Path) -> None:
    """A reader ends where the journal ended when it was opened, however much is added."""
    log = a_log(5, 500)
    history = History.at(tmp_path).play(log[:100])
    reader = JournalReader.open(tmp_path / "journal.db")
    history.play(log[100:200])
    assert [record.last for record in reader.read()][-1] == reader.seq == 100
    reader.close()
    history.journal.close()
    assert Journal.open(tmp_path / "journal.db", GENESIS).seq == 200


def test_a_market_may_start_from_a_state() -> None:
    """A market over a loaded state has that state, not a new one."""
    first = Recovered(market=Market(GENESIS.usdc), feed=Feed())
    assert Market(GENESIS.usdc, first.market.state).state is first.market.state
