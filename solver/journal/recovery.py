"""From the files to a market: the newest snapshot that fits, then the tail of the journal.

The chain of the whole journal is verified either way; a snapshot only spares applying what
comes before it. It is used if it is after a group of this very journal (same number, same
chain, same outcome) and its state has the hash that it names. Otherwise the one before is
tried, and in the end the journal is replayed from its first command.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from solver.core.market import Market
from solver.core.snapshot import dump, load
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, replay
from solver.journal.disk import LOCAL_DISK
from solver.journal.fault import JournalWriteFailed, SnapshotUnusable
from solver.journal.reader import JournalReader
from solver.journal.record import Genesis, Record
from solver.journal.snapshot import Header, Snapshot, body_hash, newest_first, read, write

JOURNAL: Final = "journal.db"
SNAPSHOTS: Final = "snapshots"
Progress = Callable[[int], None]
"""Is told the number of the last command that was verified, group by group."""


class Source(Protocol):
    """A journal to recover from, whoever has it open."""

    @property
    def genesis(self) -> Genesis: ...  # noqa: D102

    @property
    def seq(self) -> int: ...  # noqa: D102

    @property
    def chain(self) -> bytes: ...  # noqa: D102

    def read(self) -> Iterator[Record]: ...  # noqa: D102

    def at(self, place: int) -> Record | None: ...  # noqa: D102


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A market that is back, and how."""

    recovered: Recovered
    snapshot_seq: int
    """The command that its snapshot was after; 0 without one."""
    passed_over: tuple[str, ...]
    """Why newer snapshots were not used."""


def restore(source: Source, snapshots: Path | None, progress: Progress | None = None) -> Restored:
    """Bring the market back that a journal describes; None for no snapshots.

    Raises JournalCorrupt where the chain breaks, a Violation where replay does not lead to
    what was noted.
    """
    recovered, passed_over = _start(source, snapshots)
    snapshot_seq, recovered.last_seq = recovered.seq, source.seq
    tail = _after(source.read(), snapshot_seq, progress)
    replay(recovered, tail)
    return Restored(recovered=recovered, snapshot_seq=snapshot_seq, passed_over=tuple(passed_over))


def take_snapshot(data_dir: Path, progress: Progress | None = None) -> Header | None:
    """Replay a market's journal beside it and keep where that led; None if nothing is new.

    Every snapshot is so a proof by another process that replay gives what the market has:
    each group's outcome was compared. Raises JournalFault, or a Violation.
    """
    snapshots = data_dir / SNAPSHOTS
    snapshots.mkdir(exist_ok=True, mode=0o700)
    lock = LOCAL_DISK.lock(snapshots / "lock")
    reader = JournalReader.open(data_dir / JOURNAL)
    try:
        restored = restore(reader, snapshots, progress)
        if restored.recovered.seq == restored.snapshot_seq:
            return None
        snapshot = _snapshot_of(restored.recovered, reader)
        write(snapshots, snapshot)
    except OSError as error:
        raise JournalWriteFailed(f"snapshot: {error}") from error
    finally:
        reader.close()
        lock.close()
    return snapshot.header


def _start(source: Source, snapshots: Path | None) -> tuple[Recovered, list[str]]:
    """The newest snapshot that can be used, or a market before its first command."""
    passed_over: list[str] = []
    for path in newest_first(snapshots) if snapshots else ():
        try:
            return _loaded(read(path), source, path.name), passed_over
        except SnapshotUnusable as reason:
            passed_over.append(str(reason))
    return Recovered(market=Market(source.genesis.usdc), feed=Feed()), passed_over


def _loaded(snapshot: Snapshot, source: Source, name: str) -> Recovered:
    header = snapshot.header
    record = source.at(header.place)
    if record is None or (record.last, record.chain) != (header.seq, header.chain):
        raise SnapshotUnusable(f"{name}: not of this journal")
    if record.outcome and record.outcome != header.outcome:
        raise SnapshotUnusable(f"{name}: its market went another way")
    try:
        state = load(snapshot.body)
    except msgspec.DecodeError as error:
        raise SnapshotUnusable(f"{name}: {error}") from error
    if state.usdc != source.genesis.usdc or state.hash() != header.state_hash:
        raise SnapshotUnusable(f"{name}: its state does not have its hash")
    return Recovered(
        market=Market(state.usdc, state),
        feed=Feed(seq=header.feed_seq),
        outcome=header.outcome,
        seq=header.seq,
    )


def _after(records: Iterator[Record], seq: int, progress: Progress | None) -> Iterator[Record]:
    for record in records:
        if record.seq > seq:
            yield record
        if progress is not None:
            progress(record.last)


def _snapshot_of(recovered: Recovered, reader: JournalReader) -> Snapshot:
    state = recovered.market.state
    body = dump(state)
    state_hash = state.hash()
    if load(body).hash() != state_hash:
        raise SnapshotUnusable("what was dumped does not load as it was")
    header = Header(
        seq=recovered.seq,
        place=reader.last,
        chain=reader.chain,
        outcome=recovered.outcome,
        feed_seq=recovered.feed.seq,
        state_hash=state_hash,
        length=len(body),
        body_hash=body_hash(body),
    )
    return Snapshot(header=header, body=body)
