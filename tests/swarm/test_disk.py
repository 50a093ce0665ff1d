"""The simulated disk: what is committed survives a kill, what is synced survives a power cut."""

import sqlite3
from random import Random

import pytest

from simulations.swarm.disk import JOURNAL, OUTBOX, SPARE_WRITES, Connection, Disk, JournalDisk
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.loop import PowerCut, Process
from simulations.swarm.node import GENESIS
from solver.engine.group import Group
from solver.journal import Journal, JournalCorrupt, JournalLocked, JournalWriteFailed

CALM: int = next(seed for seed in range(1_000) if not Faults(seed).families)


class Machine:
    """A disk, and processes that use it one after the other."""

    def __init__(self) -> None:
        self.faults = Faults(CALM)
        self.disk = Disk(self.faults, Random(1))  # noqa: S311  test data
        self.process = Process("first")

    def journal(self) -> Journal:
        """Opened by the running process."""
        return self.process.context.run(Journal.open, JOURNAL, GENESIS, JournalDisk(self.disk))

    def append(self, journal: Journal, payload: bytes) -> None:
        """One group of one command."""
        group = Group(commands=1, payload=payload, outcome=bytes(32))
        self.process.context.run(journal.append, group)

    def restart(self) -> None:
        """The process is killed, another starts."""
        self.process.alive = False
        self.disk.release(self.process)
        self.process = Process("next")

    def payloads(self) -> list[bytes]:
        """What recovery reads."""
        return [record.payload for record in self.journal().read()]

    def will(self, kind: FaultKind) -> None:
        """This strikes at the next opportunity."""
        self.faults._rates[kind] = 1.0


@pytest.fixture
def machine() -> Machine:
    """A machine without faults."""
    return Machine()


def test_what_was_acknowledged_survives_a_power_cut(machine: Machine) -> None:
    """The journal syncs, so that not even a power cut takes a group."""
    journal = machine.journal()
    machine.append(journal, b"one")
    machine.disk.lose_power()
    machine.restart()
    assert machine.payloads() == [b"one"]


def test_without_a_sync_a_power_cut_takes_it(machine: Machine) -> None:
    """The disk forgets what nobody synced: this is what the outbox's syncs are for."""
    connection = machine.process.context.run(machine.disk.connect, OUTBOX)
    assert isinstance(connection, Connection)
    machine.process.context.run(connection.execute, "CREATE TABLE t (x)")
    machine.process.context.run(connection.execute, "PRAGMA synchronous = OFF")
    machine.process.context.run(connection.execute, "INSERT INTO t VALUES (1)")
    engine = machine.disk.database(OUTBOX).engine
    assert engine.execute("SELECT x FROM t").fetchall() == [(1,)]
    machine.disk.lose_power()
    engine = machine.disk.database(OUTBOX).engine
    assert engine.execute("SELECT x FROM t").fetchall() == []


def test_what_was_not_synced_is_there_in_part_at_most(machine: Machine) -> None:
    """Of a write that nobody synced a power cut leaves any part, of what was synced everything."""
    left = set()
    for _ in range(60):
        machine.disk.create(JOURNAL, b"head")
        file = machine.process.context.run(machine.disk.open, JOURNAL)
        machine.process.context.run(file.write, 4, b"tail")
        assert file.read(0, 9) == b"headtail"
        machine.disk.lose_power()
        left.add(file.read(0, 9))
    assert left == {b"headtail"[:length] for length in range(4, 9)}


@pytest.mark.parametrize(
    "kind", [FaultKind.CRASH_IN_WRITE, FaultKind.TORN_WRITE, FaultKind.UNSYNCED_LOST]
)
def test_a_crash_in_a_write_takes_that_write_alone(machine: Machine, kind: FaultKind) -> None:
    """Groups are whole or not there."""
    journal = machine.journal()
    machine.append(journal, b"one")
    machine.will(kind)
    with pytest.raises(PowerCut):
        machine.append(journal, b"two")
    machine.faults.active = False
    machine.restart()
    assert machine.payloads() == [b"one"]


def test_a_crash_after_a_write_keeps_it(machine: Machine) -> None:
    """Durable, and nobody was told."""
    journal = machine.journal()
    machine.will(FaultKind.CRASH_AFTER_WRITE)
    with pytest.raises(PowerCut):
        machine.append(journal, b"one")
    machine.restart()
    assert machine.payloads() == [b"one"]


@pytest.mark.parametrize("kind", [FaultKind.WRITE_ERROR, FaultKind.SYNC_ERROR])
def test_a_failed_write_is_a_fault(machine: Machine, kind: FaultKind) -> None:
    """The journal does not go on."""
    journal = machine.journal()
    machine.will(kind)
    with pytest.raises(JournalWriteFailed):
        machine.append(journal, b"one")


def test_a_full_disk_has_room_for_what_ends(machine: Machine) -> None:
    """The spare room takes some writes, then the journal stops; afterwards it goes on."""
    journal = machine.journal()
    machine.disk.full = True
    assert not journal.has_room()
    machine.append(journal, b"spare")
    for _ in range(SPARE_WRITES - 1):
        machine.append(journal, b"more")
    with pytest.raises(JournalWriteFailed, match="full"):
        machine.append(journal, b"too much")
    machine.disk.full = False
    machine.restart()
    assert machine.payloads()[0] == b"spare"
    machine.restart()
    assert machine.journal().has_room()


def test_one_process_writes(machine: Machine) -> None:
    """A second engine is refused, until the first has ended."""
    machine.journal()
    second = Process("second")
    with pytest.raises(JournalLocked):
        second.context.run(Journal.open, JOURNAL, GENESIS, JournalDisk(machine.disk))
    machine.restart()
    machine.journal()


def test_every_damage_is_noticed_and_can_be_mended(machine: Machine) -> None:
    """Flipped bits and lost tails halt recovery; with the right bytes back it goes on."""
    journal = machine.journal()
    for payload in (b"one", b"two", b"three"):
        machine.append(journal, payload)
    machine.restart()
    kinds = set()
    for _ in range(60):
        damage = machine.disk.damage(JOURNAL, 3)
        assert damage is not None
        kinds.add(damage.kind)
        with pytest.raises(JournalCorrupt):
            machine.payloads()
        damage.mend()
        machine.restart()
        assert machine.payloads() == [b"one", b"two", b"three"]
        machine.restart()
    assert kinds == {FaultKind.BIT_FLIP, FaultKind.TRUNCATED_TAIL}


def test_a_dead_process_writes_nothing(machine: Machine) -> None:
    """Whatever still unwinds in it reaches no disk."""
    journal = machine.journal()
    machine.process.alive = False
    with pytest.raises(PowerCut):
        machine.append(journal, b"ghost")


def test_sqlite_is_still_sqlite(machine: Machine) -> None:
    """Errors of statements are SQLite's own."""
    connection = machine.process.context.run(machine.disk.connect, OUTBOX)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        machine.process.context.run(connection.execute, "SELECT * FROM absent")
