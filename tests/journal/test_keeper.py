"""Snapshots are taken by another process, when enough was added, and never stop a market idly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest

from solver.core.check import Violation
from solver.journal import snapshot
from solver.journal.keeper import SnapshotKeeper
from tests.journal.history import History, a_log

LOG: Final = a_log(5, 200)
SECONDS_MAX: Final = 60


@asynccontextmanager
async def a_keeper(folder: Path, history: History, every: int) -> AsyncIterator[asyncio.Task[None]]:
    keeper = SnapshotKeeper(folder, lambda: history.journal.seq, every=every, look_seconds=0.01)
    task = asyncio.create_task(keeper.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Violation):
            await task


def _seqs(folder: Path) -> list[int]:
    return [int(path.stem) for path in snapshot.newest_first(folder / "snapshots")]


async def _kept(folder: Path, seq: int) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while seq not in _seqs(folder):  # noqa: ASYNC110  another process makes it
            await asyncio.sleep(0.02)


async def test_a_snapshot_is_taken_whenever_enough_was_added(tmp_path: Path) -> None:
    """Every so many commands there is one of all that was durable, beside the open journal."""
    history = History.at(tmp_path)
    async with a_keeper(tmp_path, history, every=50):
        history.play(LOG[:49])
        await asyncio.sleep(0.1)
        assert not snapshot.newest_first(tmp_path / "snapshots")
        history.play(LOG[49:60])
        await _kept(tmp_path, 60)
        history.play(LOG[60:120])
        await _kept(tmp_path, 120)
    history.journal.close()


async def test_a_restart_counts_from_the_newest_snapshot(tmp_path: Path) -> None:
    """What the last life kept is not kept again."""
    history = History.at(tmp_path).play(LOG[:60])
    async with a_keeper(tmp_path, history, every=50):
        await _kept(tmp_path, 60)
    (before,) = snapshot.newest_first(tmp_path / "snapshots")
    stamp = before.stat().st_mtime_ns
    async with a_keeper(tmp_path, history, every=50):
        await asyncio.sleep(0.2)
    assert before.stat().st_mtime_ns == stamp
    history.journal.close()


async def test_another_outcome_stops_the_market(tmp_path: Path) -> None:
    """If the other process comes to another state than was noted, the market ends (P8)."""
    history = History.at(tmp_path)
    wrong = msgspec.structs.replace(history.group_of(list(LOG[:60])), outcome=bytes(32))
    history.journal.append(wrong)
    async with a_keeper(tmp_path, history, every=50) as task:
        with pytest.raises(Violation, match="snapshot_equals_what_was_noted"):
            await asyncio.wait_for(task, SECONDS_MAX)
    history.journal.close()


async def test_a_snapshot_that_cannot_be_kept_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Without a place for it the market goes on, and it is tried again later."""
    history = History.at(tmp_path).play(LOG[:60])
    (tmp_path / "snapshots").write_text("in the way")
    async with a_keeper(tmp_path, history, every=50) as task:
        done, _ = await asyncio.wait({task}, timeout=3)
        assert not done
        (tmp_path / "snapshots").unlink()
        history.play(LOG[60:120])
        await _kept(tmp_path, 120)
    history.journal.close()
