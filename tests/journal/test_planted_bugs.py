"""Each promise of the journal is broken once on purpose: the test that holds it must fail.

Two more are planted where processes are really killed: see `test_kill`.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from solver.core.check import Violation
from solver.engine import recovery as replaying
from solver.engine.group import Group
from solver.engine.payload import decode, encode
from solver.journal import Journal, JournalFault, extent, record, recovery
from solver.journal import journal as module
from solver.journal.mark import Mark
from solver.journal.record import End, Log
from solver.journal.room import Room
from tests.core.sabotage import edited
from tests.journal import history as history_module
from tests.journal import test_room, test_snapshot, test_sweep
from tests.journal.crash_disk import Ending, Kind, MemoryDisk, Note, _MemoryFile, crashes
from tests.journal.damage import records_in
from tests.journal.history import GENESIS, History, a_log
from tests.journal.test_snapshot import restored
from tests.journal.test_sweep import (
    JOURNAL,
    Written,
    _check_prefix,
    _copy,
    _outcome,
    a_short_one,
    written,
)

LOG: Final = a_log(5, 200)[:60]
Patch = pytest.MonkeyPatch


def _crashed_everywhere(ending: Ending) -> None:
    """The sweep over a short script, written with whatever is planted."""
    made: Written = written(LOG, MemoryDisk(), 1, 3)
    for crash in crashes(made.notes, ending, seed=1):
        _check_prefix(crash, made)


def test_without_a_bug_the_short_sweeps_pass() -> None:
    """What follows fails for its bug, not by itself."""
    for ending in Ending:
        _crashed_everywhere(ending)


def test_no_sync_is_found(monkeypatch: Patch) -> None:
    """Acknowledged before the disk has it: a power cut loses it."""
    monkeypatch.setattr(_MemoryFile, "sync", lambda _: None)
    with pytest.raises((JournalFault, AssertionError), match="acknowledged"):
        _crashed_everywhere(Ending.UNSYNCED_LOST)


def test_an_acknowledgement_before_the_write_is_found(monkeypatch: Patch) -> None:
    """A group that is written with the next one only: a crash in between loses it."""
    write = Journal._write
    late: list[tuple[int, bytes]] = []

    def later(journal: Journal, place: int, content: bytes) -> None:
        for waiting in late:
            write(journal, *waiting)
        late[:] = [(place, content)]

    monkeypatch.setattr(Journal, "_write", later)
    monkeypatch.setattr(Mark, "move", lambda *_: None)
    with pytest.raises(AssertionError, match="what was acknowledged is lost"):
        _crashed_everywhere(Ending.NOTHING)


def test_a_mark_that_leads_is_found(monkeypatch: Patch) -> None:
    """Marked before it is written: a crash in between looks like a loss, and halts for nothing."""
    write = Journal._write

    def marked_first(journal: Journal, place: int, content: bytes) -> None:
        seq = int.from_bytes(content[16:24], "big") + int.from_bytes(content[24:28], "big") - 1
        chain = content[36:68]
        journal._mark.move(End(place=place + len(content), last=place, seq=seq, chain=chain))
        write(journal, place, content)

    monkeypatch.setattr(Journal, "_write", marked_first)
    with pytest.raises(JournalFault):
        _crashed_everywhere(Ending.NOTHING)


def test_an_end_that_is_not_cut_off_is_found(monkeypatch: Patch) -> None:
    """What a crash left behind the end would stand behind the next group, too."""
    monkeypatch.setattr(_MemoryFile, "cut", lambda *_: None)
    with pytest.raises(AssertionError):
        test_sweep.test_a_torn_write_is_cut_off()


def test_an_unsynced_group_that_counts_is_found(monkeypatch: Patch) -> None:
    """A restart that syncs nothing goes on from a group that a power cut may still take."""
    monkeypatch.setattr(Journal, "_settle", lambda _: None)
    with pytest.raises(AssertionError):
        test_sweep.test_what_was_written_and_not_synced_is_made_durable_before_it_counts()


def test_damage_that_is_taken_for_an_end_is_found(monkeypatch: Patch) -> None:
    """Without a look at what stands behind it, a flipped bit would cut the journal short."""
    monkeypatch.setattr(Log, "is_followed", lambda *_: False)
    with pytest.raises(pytest.fail.Exception):
        test_sweep.test_without_a_mark_damage_is_found_by_what_stands_behind_it()


def test_a_clean_stop_that_is_taken_for_a_loss_is_found(monkeypatch: Patch) -> None:
    """A stop that stands there twice, behind empty space, says nothing that is missing before."""
    monkeypatch.setattr(test_sweep, "STOP_EVERY", 1)
    _crashed_everywhere(Ending.DUPLICATED_TAIL)
    edited(Log, "is_followed", "found.last", "found.seq")(monkeypatch)
    with pytest.raises(JournalFault, match="written after it"):
        _crashed_everywhere(Ending.DUPLICATED_TAIL)


def _flipped_everywhere(state: int, step: int) -> None:
    killed, closed, state_hash = a_short_one()
    files = (killed, closed)[state]
    for name, content in files.items():
        for place in range(0, len(content), step):
            flipped = _copy(files)
            flipped[name][place] ^= 0x10
            _outcome(flipped, state_hash)


def test_a_chain_that_does_not_cover_the_bytes_is_found(monkeypatch: Patch) -> None:
    """Without chain and outcome a flipped bit in the journal is read as if it were whole.

    Either of the two would find it: the chain that the bytes changed, the outcome that
    they lead elsewhere.
    """
    _flipped_everywhere(1, 13)
    monkeypatch.setattr(record, "link", lambda chain, _seq, _group: chain)
    for place in (replaying, history_module):
        monkeypatch.setattr(place, "outcome_after", lambda _previous, _events: b"")
    monkeypatch.setattr(test_sweep, "_HASHES", {})
    monkeypatch.setattr(test_sweep, "STOP_EVERY", 1_000)
    monkeypatch.setattr(test_sweep, "a_short_one", test_sweep.a_short_one.__wrapped__)
    _, closed, state_hash = test_sweep.a_short_one()
    with pytest.raises(AssertionError, match="as if it were whole"):
        _flip_the_journal(closed, state_hash)


def _flip_the_journal(files: test_sweep.Files, state_hash: str) -> None:
    for byte in range(records_in(files[JOURNAL])[0].place, len(files[JOURNAL]), 3):
        test_sweep._HASHES.clear()
        flipped = _copy(files)
        flipped[JOURNAL][byte] ^= 1
        _outcome(flipped, state_hash)


def test_a_mark_that_is_not_moved_is_found() -> None:
    """Without the mark a damaged end is an earlier end: nobody knows that there was more."""
    _flipped_everywhere(0, 97)
    files = _copy(a_short_one()[0])
    files[test_sweep.MARK] = bytearray(1_024)
    files[JOURNAL][records_in(files[JOURNAL])[-1].end.place - 30] ^= 0x10
    with pytest.raises(AssertionError, match="as if it were whole"):
        _outcome(files, a_short_one()[2])


def test_a_swallowed_sync_failure_is_found(monkeypatch: Patch) -> None:
    """A journal that goes on after a failed sync acknowledges what nobody knows is there."""
    sync = _MemoryFile.sync

    def careless(file: _MemoryFile) -> None:
        with suppress(OSError):
            sync(file)

    monkeypatch.setattr(_MemoryFile, "sync", careless)
    with pytest.raises(pytest.fail.Exception):
        test_room.test_a_failed_sync_is_never_tried_again()


def test_a_second_try_of_any_failure_is_found(monkeypatch: Patch) -> None:
    """Only a full disk is tried again: a journal that retries everything is caught."""
    monkeypatch.setattr(module, "_FULL", (errno.EIO, errno.ENOSPC))
    with pytest.raises(AssertionError):
        test_room.test_a_failed_write_is_never_tried_again()


def test_a_spare_that_is_never_given_up_is_found(monkeypatch: Patch) -> None:
    """Without the spare room a full disk cannot even end what was begun."""
    monkeypatch.setattr(Room, "release", lambda _: False)
    with pytest.raises(JournalFault, match="full"):
        test_room.test_a_full_disk_gets_the_spare_room()


def test_a_snapshot_of_another_journal_is_found(monkeypatch: Patch, tmp_path: Path) -> None:
    """If a snapshot need not fit the chain, another journal's state is taken for ours."""
    loaded = recovery._loaded

    def trusting(snapshot: Any, _source: Any, name: str) -> Any:
        agreeing: Any = _Agreeing(snapshot.header)
        return loaded(snapshot, agreeing, name)

    monkeypatch.setattr(recovery, "_loaded", trusting)
    with pytest.raises((AssertionError, Violation)):
        test_snapshot.test_a_snapshot_of_another_journal_is_passed_over(tmp_path)


class _Agreeing:
    """A journal that has whatever a header says."""

    def __init__(self, header: Any) -> None:
        self._header = header
        self.genesis = GENESIS

    def at(self, _place: int) -> Any:
        return self

    @property
    def last(self) -> Any:
        return self._header.seq

    @property
    def chain(self) -> Any:
        return self._header.chain

    @property
    def outcome(self) -> Any:
        return self._header.outcome


@pytest.mark.parametrize("off", [-1, 1])
def test_a_tail_that_is_off_by_one_is_found(monkeypatch: Patch, tmp_path: Path, off: int) -> None:
    """A tail that begins a group early or late is neither applied twice nor with a gap."""
    after: Callable[..., Any] = recovery._after
    folder = tmp_path / "market"
    folder.mkdir()
    history = History.at(folder)
    for command in LOG:
        history.journal.append(history.group_of([command]))
        if history.journal.seq == 30:
            recovery.take_snapshot(folder)
    history.journal.close()
    monkeypatch.setattr(
        recovery, "_after", lambda records, seq, progress: after(records, seq + off, progress)
    )
    with pytest.raises(Violation, match="replay_goes_on_where_it_stopped"):
        restored(folder)


def test_an_outcome_that_is_not_compared_is_found(monkeypatch: Patch, tmp_path: Path) -> None:
    """If replay compared nothing, a snapshot would be taken of a market that went wrong."""
    monkeypatch.setattr(replaying, "outcome_after", lambda *_: _Anything())
    with pytest.raises((pytest.fail.Exception, TypeError, AssertionError)):
        test_snapshot.test_a_snapshot_is_only_taken_of_what_replay_agrees_with(tmp_path)


class _Anything(bytes):
    """Equal to whatever was noted."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_a_group_that_is_written_in_two_is_found(monkeypatch: Patch) -> None:
    """Half a group on disk is a prefix that nobody was told of and nobody had."""
    append = Journal.append

    def halved(journal: Journal, group: Group) -> int:
        if group.commands < 2:
            return append(journal, group)
        commands = decode(group.payload)
        for part in (commands[:1], commands[1:]):
            piece = Group(commands=len(part), payload=encode(part), outcome=b"")
            append(journal, piece)
        return journal.seq

    monkeypatch.setattr(Journal, "append", halved)
    with pytest.raises(KeyError):
        _crashed_everywhere(Ending.NOTHING)


def test_a_cut_before_the_halt_is_found(monkeypatch: Patch) -> None:
    """A mark that did not say where its record ends would believe that record's own length."""
    acknowledged = extent._acknowledged

    def trusting(log: Log, noted: End) -> End:
        record = log.record_at(noted.last)
        if record is not None and (record.last, record.chain) == (noted.seq, noted.chain):
            return record.end
        return acknowledged(log, noted)

    monkeypatch.setattr(extent, "_acknowledged", trusting)
    with pytest.raises(AssertionError, match="cut off before the halt"):
        test_sweep.test_p8_every_flipped_bit("killed", 0)


def test_the_failing_calls_fail() -> None:
    """The disk's own faults are real: what must fail does."""
    disk = MemoryDisk()
    disk.failing[Kind.SYNC, "x"] = OSError(errno.EIO, "Input/output error")
    disk.do(Note(Kind.CREATE, "x"))
    with pytest.raises(OSError, match="Input"):
        disk.do(Note(Kind.SYNC, "x"))
