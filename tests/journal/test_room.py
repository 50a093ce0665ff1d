"""A disk that is full, or that fails: what is refused, what still goes through, what stops."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from intents.reject import Reject, RejectCode
from solver.core.command import (
    CancelDocument,
    Command,
    CutBatch,
    FinishCall,
    Outcome,
    StartCall,
)
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.group import Group
from solver.engine.recovery import Recovered, replay
from solver.engine.sequencer import Applied, Sequencer
from solver.journal import Journal, JournalWriteFailed
from solver.journal import journal as module
from solver.journal.disk import LOCAL_DISK
from solver.journal.room import ROOM_BYTES_MIN, SPARE_BYTES, Room
from solver.runtime.clock import ManualClock
from tests.builder import a_bench, alice, an_intent, an_offer, bob
from tests.journal.crash_disk import Kind, MemoryDisk
from tests.journal.history import GENESIS

PATH: Final = Path("/memory/journal.db")
PAYLOAD_BYTES: Final = 40_000


def a_group(number: int) -> Group:
    return Group(commands=1, payload=bytes([number % 256]) * PAYLOAD_BYTES, outcome=b"%d" % number)


_OPEN: Final[list[tuple[Journal, MemoryDisk]]] = []


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    """Close what a test opened, on a disk that is well again."""
    yield
    while _OPEN:
        journal, disk = _OPEN.pop()
        disk.failing.clear()
        disk.free = 10**12
        journal.close()


def a_journal(disk: MemoryDisk) -> Journal:
    journal = Journal.open(PATH, GENESIS, disk)
    _OPEN.append((journal, disk))
    return journal


def fill(journal: Journal, numbers: range) -> list[bytes]:
    """Append groups; the payloads of those that were acknowledged, also if one fails."""
    written: list[bytes] = []
    for number in numbers:
        try:
            journal.append(a_group(number))
            written.append(a_group(number).payload)
        except JournalWriteFailed as failed:
            raise Failed(written) from failed
    return written


class Failed(Exception):
    """A write failed; `written` came before."""

    def __init__(self, written: list[bytes]) -> None:
        super().__init__(len(written))
        self.written = written


def reopened(disk: MemoryDisk) -> list[bytes]:
    """The payloads that a new process finds on what this one left, whatever it held open."""
    files = {name: bytearray(content) for name, content in disk.files.items()}
    records = a_journal(MemoryDisk(files)).read()
    return [record.payload for record in records if record.commands]


def test_little_room_is_told_before_there_is_none() -> None:
    """New work is refused while much less than a gigabyte is left, and taken again after."""
    disk = MemoryDisk()
    journal = a_journal(disk)
    assert journal.has_room()
    disk.free = ROOM_BYTES_MIN - 1
    assert not journal.has_room()
    disk.free = ROOM_BYTES_MIN
    assert journal.has_room()


def test_a_full_disk_gets_the_spare_room() -> None:
    """The write that finds the disk full goes through all the same, whole, and is durable."""
    disk = MemoryDisk()
    journal = a_journal(disk)
    journal.append(a_group(1))
    disk.free = PAYLOAD_BYTES // 2
    for number in range(2, 12):
        assert journal.append(a_group(number)) == number
        assert not journal.has_room()
    assert disk.reserved == 0
    assert reopened(disk) == [a_group(number).payload for number in range(1, 12)]


def test_the_spare_room_is_taken_again() -> None:
    """Once there is room, the spare is kept back anew before new work is taken."""
    disk = MemoryDisk()
    journal = a_journal(disk)
    disk.free = 0
    journal.append(a_group(1))
    assert (journal.has_room(), disk.reserved) == (False, 0)
    disk.free = 10 * ROOM_BYTES_MIN
    assert (journal.has_room(), disk.reserved) == (True, SPARE_BYTES)


def test_when_even_the_spare_is_used_up_it_stops() -> None:
    """The group that does not fit is not acknowledged; all those before it are there."""
    disk = MemoryDisk()
    journal = a_journal(disk)
    disk.free = 0
    with pytest.raises(Failed) as caught:
        fill(journal, range(1, 2 * SPARE_BYTES // PAYLOAD_BYTES))
    assert "full" in str(caught.value.__cause__)
    assert len(caught.value.written) > SPARE_BYTES // PAYLOAD_BYTES // 2
    assert reopened(disk) == caught.value.written


def test_a_journal_opens_on_a_full_disk() -> None:
    """What a crash on a full disk left can be recovered there, to end what was begun."""
    disk = MemoryDisk()
    a_journal(disk).append(a_group(1))
    files = {name: bytearray(content) for name, content in disk.files.items()}
    full = MemoryDisk(files)
    full.free = 0
    journal = a_journal(full)
    assert journal.seq == 1
    assert not journal.has_room()


def test_a_failed_sync_is_never_tried_again() -> None:
    """A sync that failed stops the journal: the next would lie, as the pages count as clean then.

    What a restart finds of the group is whole or nothing, and is synced before it counts.
    """
    disk = MemoryDisk()
    journal = a_journal(disk)
    journal.append(a_group(1))
    disk.failing[Kind.SYNC, "journal.db"] = OSError(errno.EIO, "Input/output error")
    calls = len(disk.notes)
    with pytest.raises(JournalWriteFailed):
        journal.append(a_group(2))
    assert [note.kind for note in disk.notes[calls:]] == [Kind.WRITE]
    assert journal.seq == 1
    assert reopened(disk)[:1] == [a_group(1).payload]


def test_a_failed_write_is_never_tried_again() -> None:
    """Only a full disk is given room: any other failure stops at once."""
    disk = MemoryDisk()
    journal = a_journal(disk)
    disk.failing[Kind.WRITE, "journal.db"] = OSError(errno.EIO, "Input/output error")
    calls = len(disk.notes)
    with pytest.raises(JournalWriteFailed):
        journal.append(a_group(1))
    assert len(disk.notes) == calls
    assert disk.reserved == SPARE_BYTES


def test_the_spare_is_a_real_file(tmp_path: Path) -> None:
    """On a real disk the spare takes up its bytes, and gives them back."""
    spare = tmp_path / "journal.spare"
    room = Room(LOCAL_DISK, spare)
    assert spare.stat().st_size == SPARE_BYTES
    assert spare.stat().st_blocks * 512 >= SPARE_BYTES
    assert room.is_enough()
    assert room.release()
    assert not spare.exists()
    assert not room.release()
    assert room.is_enough()
    assert spare.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full")
def test_a_real_full_disk_is_told_by_its_number() -> None:
    """The failure that is tried again is the one that a full disk answers a write with."""
    file = LOCAL_DISK.open(Path("/dev/full"))
    with pytest.raises(OSError, match="No space") as caught:
        file.write(0, b"any")
    assert caught.value.errno in module._FULL
    file.close()


def _sequencer_on(journal: Journal) -> Sequencer:
    fresh = Recovered(market=Market(GENESIS.usdc), feed=Feed())
    found = replay(fresh, journal.read())
    return Sequencer(found.market, journal, ManualClock(0), found.feed, found.outcome)


@asynccontextmanager
async def a_market(disk: MemoryDisk) -> AsyncIterator[Sequencer]:
    """A sequencer that writes to this disk, until it is stopped cleanly."""
    journal = a_journal(disk)
    sequencer = _sequencer_on(journal)
    task = asyncio.create_task(sequencer.run())
    yield sequencer
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    journal.close()


def a_begun_call() -> tuple[list[Command], str]:
    """A market in which a call is in flight, as commands; and the call."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    intent = an_intent().units(3).limit(60).signed_by(alice)
    bench.do(intent)
    call = bench.start(bench.lease(intent), 3)
    return bench.log, call


async def test_on_a_full_disk_begun_work_is_ended_and_new_work_refused() -> None:
    """A call in flight is finished, paid for and put in a batch; nothing new is taken.

    Whoever is refused hears why and when to come back, and all is well once there is room.
    """
    log, call = a_begun_call()
    new = an_intent().units(1).limit(60).signed_by(alice)
    disk = MemoryDisk()
    async with a_market(disk) as sequencer:
        for command in log:
            assert isinstance(await sequencer.submit(command), Applied)
        disk.free = 0
        lease = next(iter(sequencer.market.state.leases))
        for unwanted in (new, StartCall(lease=lease, call="another", units=1)):
            refused = await sequencer.submit(unwanted)
            assert isinstance(refused, Reject)
            assert refused.code is RejectCode.BUSY
            assert refused.hint
            assert refused.retry_after_ms
        ended = await sequencer.submit_many(
            [FinishCall(call=call, outcome=Outcome.DELIVERED, units=3), CutBatch(fills_max=9)]
        )
        assert all(isinstance(result, Applied) for result in ended)
        disk.free = 10 * ROOM_BYTES_MIN
        assert isinstance(await sequencer.submit(new), Applied)
        state_hash = sequencer.market.state.hash()
    async with a_market(MemoryDisk(disk.files)) as again:
        assert again.market.state.hash() == state_hash
        assert not again.market.state.calls
        assert len(again.market.state.batches) == 1


async def test_when_nothing_fits_any_more_the_market_stops() -> None:
    """With the spare gone too, the process ends, and nobody was told what is not on disk."""
    disk = MemoryDisk()
    log, _ = a_begun_call()
    resting = an_intent().units(2).limit(2).signed_by(alice)
    async with a_market(disk) as first:
        for command in [*log, resting]:
            assert isinstance(await first.submit(command), Applied)
    disk.release(PATH)
    disk.free = 0
    journal = a_journal(disk)
    disk.free = 0  # Others have taken what its opening gave back.
    sequencer = _sequencer_on(journal)
    task = asyncio.create_task(sequencer.run())
    ending = CancelDocument(account=alice.address, digest=resting.digest)
    told = await sequencer.submit(ending)
    assert isinstance(told, Reject)
    assert told.code is RejectCode.SHUTTING_DOWN
    with pytest.raises(JournalWriteFailed, match="full"):
        await task
    assert len(reopened(disk)) == len(log) + 1


def test_a_record_that_fits_is_written_though_no_space_behind_it_is() -> None:
    """What is left of a nearly full disk is for records, to the last that fits, and for others."""
    disk = MemoryDisk()
    journal = a_journal(disk)
    disk.release(PATH)
    disk.free = 800
    group = Group(commands=1, payload=bytes(300), outcome=b"")
    for _ in range(2):
        journal.append(group)
        assert len(disk.files[str(PATH)]) == journal._end.place
    with pytest.raises(JournalWriteFailed, match="full"):
        journal.append(group)
    again = a_journal(MemoryDisk(disk.files))
    assert len(list(again.read())) == 2
