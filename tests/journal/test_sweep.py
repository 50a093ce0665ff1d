"""P1, P6, P8: a crash at every call, every truncation, every flipped bit; never a silent loss.

Each test recovers thousands of disks with the real journal (on memory) and the real market.
A recovered journal must hold a prefix of what was written that has everything that was
acknowledged, with its state hash; or, where bytes were damaged, halt.

A record's link of the chain finds torn and foreign ones. What looks like an end that was never
acknowledged, the mark knows better; and where a mark lags, so does what stands behind it.
"""

import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import pytest

from solver.core.check import Violation
from solver.core.command import Command, IssueCredits
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.group import Group
from solver.engine.outcome import outcome_after
from solver.engine.payload import encode
from solver.engine.recovery import Recovered, replay
from solver.journal import Journal, JournalCorrupt, JournalForeign
from solver.journal.mark import read_mark
from solver.journal.record import packed
from tests.builder import alice
from tests.journal.crash_disk import Crash, Ending, Kind, MemoryDisk, Note, crashes
from tests.journal.damage import log_of, records_in
from tests.journal.history import GENESIS, History, a_log, in_groups

SCRIPTS: Final = int(os.environ.get("KEYFILL_SWEEP", "4"))
"""How many scripts of 500 commands; the long run has more."""
PATH: Final = Path("/memory/journal.db")
JOURNAL: Final = str(PATH)
MARK: Final = "/memory/journal.mark"
PARTS: Final = 8
STOP_EVERY: Final = 100
Files = dict[str, bytearray]


class Written(msgspec.Struct, frozen=True):
    """A journal that was written: every call it made, and the state hash after each group."""

    notes: list[Note]
    hashes: dict[int, str]
    files: Files


def written(log: tuple[Command, ...], disk: MemoryDisk, seed: int, longest: int) -> Written:
    """Play a log into a journal on this disk, acknowledging group after group."""
    history = History(Journal.open(PATH, GENESIS, disk))
    for together in in_groups(log, seed, longest):
        before = history.journal.seq
        history.journal.append(history.group_of(together))
        disk.acknowledged(history.journal.seq)
        if before // STOP_EVERY < history.journal.seq // STOP_EVERY:
            history.journal.checkpoint(history.market.state.hash())
        history.hashes[history.journal.seq] = history.market.state.hash()
    files = {name: bytearray(content) for name, content in disk.files.items()}
    history.journal.close()
    return Written(disk.notes[:], history.hashes, files)


@cache
def a_long_one(script: int) -> Written:
    """500 commands of every kind, in small groups, with a clean stop after every hundred."""
    log: tuple[Command, ...] = ()
    seed = 100 * script
    while len(log) < 500:
        seed, log = seed + 1, a_log(seed + 1, 1_000)
    return written(log[:500], MemoryDisk(), script, 2)


@cache
def a_short_one() -> tuple[Files, Files, str]:
    """50 commands: the files after a kill, those after a clean stop, and the state hash."""
    log = tuple(IssueCredits(account=alice.address, amount=n, reason="r") for n in range(1, 51))
    disk = MemoryDisk()
    made = written(log, disk, 1, 5)
    closed = {name: bytearray(content) for name, content in disk.files.items()}
    return made.files, closed, made.hashes[50]


_HASHES: Final[dict[bytes, str]] = {}
"""State hash by chain: the chain commits to every byte that is replayed, and to its place."""


def recover(files: Files) -> tuple[int, str]:
    """What the real journal and market make of these files: the last command, the hash."""
    journal = Journal.open(PATH, GENESIS, MemoryDisk(files))
    try:
        records = list(journal.read())
        if journal.chain not in _HASHES:
            fresh = Recovered(market=Market(GENESIS.usdc), feed=Feed())
            again = replay(fresh, records)
            assert again.seq == journal.seq
            _HASHES[journal.chain] = again.market.state.hash()
        return journal.seq, _HASHES[journal.chain]
    finally:
        journal.close()


@pytest.mark.parametrize("script", range(SCRIPTS))
@pytest.mark.parametrize("ending", list(Ending))
def test_p1_p6_a_crash_at_every_call(ending: Ending, script: int) -> None:
    """Wherever the machine stops, and however its last calls end, nothing acknowledged is lost.

    What comes back is a prefix of whole groups, with the state hash it had when it was live.
    """
    made = a_long_one(script)
    recovered = 0
    for crash in crashes(made.notes, ending, seed=script):
        _check_prefix(crash, made)
        recovered += 1
    print(f"{recovered} crashes that end in: {ending}")  # noqa: T201  the count is reported
    assert recovered > 1_000


def _check_prefix(crash: Crash, made: Written) -> None:
    seq, state_hash = recover(crash.files)
    assert seq >= crash.acknowledged, "what was acknowledged is lost"
    assert made.hashes[seq] == state_hash, "not the state of any prefix"


@pytest.mark.parametrize("ending", list(Ending))
def test_p1_p6_a_crash_at_every_call_of_the_next_life(ending: Ending) -> None:
    """A restart that is cut short as well, in its opening or in its first group, loses nothing."""
    made = a_long_one(0)
    recovered = 0
    for crash in list(crashes(made.notes, Ending.TORN, 1))[7::60]:
        disk = MemoryDisk()
        for name, content in crash.files.items():
            for kind in (Kind.CREATE, Kind.WRITE, Kind.SYNC):
                disk.do(Note(kind, name, 0, bytes(content) if kind is Kind.WRITE else b""))
        lived = len(disk.notes)
        disk.acknowledged(crash.acknowledged)
        journal = Journal.open(PATH, GENESIS, disk)
        disk.acknowledged(journal.seq)
        journal.append(Group(commands=2, payload=bytes(700), outcome=b""))
        disk.acknowledged(journal.seq)
        journal.checkpoint("ab")
        written = [record.end for record in journal.read()]
        for again in list(crashes(disk.notes, ending, 1))[lived:]:
            third = Journal.open(PATH, GENESIS, MemoryDisk(again.files))
            found = [record.end for record in third.read()]
            assert third.seq >= again.acknowledged, "what was acknowledged is lost"
            assert found == written[: len(found)], "not what was written"
            recovered += 1
    assert recovered > 100


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("state", ["killed", "closed"])
def test_p8_every_flipped_bit(state: str, part: int) -> None:
    """One flipped bit anywhere: all that was acknowledged, with its hash, or a halt."""
    files, state_hash = _files(state)
    count: Counter[str] = Counter()
    for name, content in files.items():
        for place in range(part, len(content), PARTS):
            for bit in range(8):
                flipped = _copy(files)
                flipped[name][place] ^= 1 << bit
                count[_outcome(flipped, state_hash)] += 1
    print(f"{state}, part {part}: flips {dict(count)}")  # noqa: T201
    assert count["halted"] > 100
    assert count["same"] > 100


@pytest.mark.parametrize("state", ["killed", "closed"])
def test_p8_every_truncation(state: str) -> None:
    """A file that ends at any byte before its end: the same, or a halt."""
    files, state_hash = _files(state)
    count: Counter[str] = Counter()
    for name, content in files.items():
        for length in range(len(content)):
            shorter = _copy(files)
            del shorter[name][length:]
            count[_outcome(shorter, state_hash)] += 1
    print(f"{state}: truncations {dict(count)}")  # noqa: T201
    assert count["halted"] > 1_000


def test_without_a_mark_it_ends_where_no_record_is_whole() -> None:
    """Cut off at any byte, and with no mark, it is the prefix of whole groups before that byte."""
    files, _ = _files("killed")
    records = records_in(files[JOURNAL])
    for length in range(records[0].place, len(files[JOURNAL])):
        whole = [record.last for record in records if record.end.place <= length]
        cut = {JOURNAL: files[JOURNAL][:length]}
        assert recover(cut)[0] == max(whole, default=0)


def test_without_a_mark_damage_is_found_by_what_stands_behind_it() -> None:
    """A flipped bit is no end of the journal where a record follows: a halt, nothing is cut."""
    files, _ = _files("killed")
    records = records_in(files[JOURNAL])
    for place in range(records[-1].place):
        flipped = {JOURNAL: bytearray(files[JOURNAL])}
        flipped[JOURNAL][place] ^= 1 << place % 8
        with pytest.raises((JournalCorrupt, JournalForeign)):
            recover(flipped)
        assert len(flipped[JOURNAL]) == len(files[JOURNAL])


def test_a_torn_write_is_cut_off() -> None:
    """What a crash left behind the end is gone before anything is written there."""
    files, _ = _files("killed")
    whole = _end_of(files)
    files = _copy(files)
    files[JOURNAL][whole : whole + 300] = files[JOURNAL][whole - 300 : whole]
    disk = MemoryDisk(files)
    journal = Journal.open(PATH, GENESIS, disk)
    assert len(disk.files[JOURNAL]) == whole
    journal.append(Group(commands=1, payload=b"next", outcome=b""))
    assert [record.last for record in journal.read()][-1] == 51
    assert not any(disk.files[JOURNAL][_end_of(disk.files) :])


def test_what_was_written_and_not_synced_is_made_durable_before_it_counts() -> None:
    """Who ends between the two leaves a group that a restart writes again, syncs, and marks.

    Again, as after a failed sync the disk counts as written what it has not. No other byte of
    the journal is touched, and one that was marked is only synced.
    """
    made = a_long_one(0)
    calls = [note for note in made.notes if note.kind is not Kind.ACKNOWLEDGE]
    marked = [(note.kind, note.name) for note in calls].index((Kind.WRITE, MARK), 100)
    crash = list(crashes(made.notes, Ending.NOTHING, 0))[marked]
    disk = MemoryDisk(crash.files)
    last = records_in(crash.files[JOURNAL])[-1]
    assert read_mark(bytes(crash.files[MARK])) != last.end
    Journal.open(PATH, GENESIS, disk)
    done = [note for note in disk.notes if note.name == JOURNAL]
    assert done == [
        Note(Kind.TRUNCATE, JOURNAL, last.end.place),
        Note(Kind.WRITE, JOURNAL, last.place, packed(last, log_of(crash.files[JOURNAL]).secret)),
        Note(Kind.SYNC, JOURNAL),
    ]
    assert read_mark(bytes(disk.files[MARK])) == last.end
    again = MemoryDisk(disk.files)
    Journal.open(PATH, GENESIS, again)
    assert [note.kind for note in again.notes if note.name == JOURNAL] == [Kind.SYNC]


def test_a_missing_file_is_found() -> None:
    """Without its file a journal that was killed halts, as the mark knows."""
    files, _ = _files("killed")
    for name in files:
        fewer = _copy(files)
        del fewer[name]
        if name == MARK:
            assert recover(fewer)[0] == 50
        else:
            with pytest.raises(JournalCorrupt):
                recover(fewer)


def test_files_of_an_earlier_time_are_found() -> None:
    """A journal put back to an earlier copy is behind the mark: a halt."""
    made = a_long_one(0)
    earlier = next(c for c in crashes(made.notes, Ending.NOTHING, 0) if c.acknowledged > 200)
    mixed = {**_copy(earlier.files), MARK: made.files[MARK]}
    with pytest.raises(JournalCorrupt, match="everything up to 500 was acknowledged"):
        recover(mixed)


def test_a_recovered_journal_goes_on() -> None:
    """After a crash the next life writes on, and what it acknowledges is there again."""
    made = a_long_one(0)
    for crash in list(crashes(made.notes, Ending.TORN, 1))[::97]:
        disk = MemoryDisk(crash.files)
        journal = Journal.open(PATH, GENESIS, disk)
        fresh = Recovered(market=Market(GENESIS.usdc), feed=Feed())
        again = replay(fresh, journal.read())
        journal.append(_next_group(again))
        killed = _copy(disk.files)
        journal.close()
        assert recover(killed)[0] == again.seq + 1


def _next_group(recovered: Recovered) -> Group:
    """One more command on a recovered market."""
    now_ms = recovered.market.state.now_ms
    command = IssueCredits(account=alice.address, amount=5, reason="r", at_ms=now_ms)
    events = recovered.market.apply(command)
    assert isinstance(events, list)
    outcome = outcome_after(recovered.outcome, [events])
    return Group(commands=1, payload=encode([command]), outcome=outcome)


def _outcome(files: Files, state_hash: str) -> str:
    """Whether damaged files give what was acknowledged, or halt; anything else fails."""
    before = bytes(files.get(JOURNAL, b""))
    try:
        found = recover(files)
    except (JournalCorrupt, JournalForeign, Violation):
        assert _is_all(before, files), "what was acknowledged is cut off before the halt"
        return "halted"
    assert found == (50, state_hash), "a damaged journal was read as if it were whole"
    return "same"


def _end_of(files: Files) -> int:
    """Where the last record ends; behind it is empty space."""
    return records_in(files[JOURNAL])[-1].end.place


def _is_all(before: bytes, files: Files) -> bool:
    """Whether the journal is as it was, but for space that nothing stood in."""
    after = files.get(JOURNAL, b"")
    return after + bytes(len(before) - len(after)) == before


def _files(state: str) -> tuple[Files, str]:
    killed, closed, state_hash = a_short_one()
    return (killed if state == "killed" else closed), state_hash


def _copy(files: Files) -> Files:
    return {name: bytearray(content) for name, content in files.items()}
