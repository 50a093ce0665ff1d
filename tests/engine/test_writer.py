"""Where a journal is written: what is little in place on a quick disk, all else in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from solver.engine.writer import COMMANDS_MAX, SECONDS_MAX, THREADED_MIN, QuickWriter, Writer


class Disk:
    """Tells in which thread it was written to, and takes as long as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes = 0.0
        self.in_place: list[bool] = []

    def seconds(self) -> float:
        return self.now

    def work(self) -> int:
        self.now += self.takes
        self.in_place.append(threading.current_thread() is threading.main_thread())
        return len(self.in_place)


@contextmanager
def closing(writer: Writer) -> Iterator[Writer]:
    try:
        yield writer
    finally:
        writer.close()


async def test_the_plain_writer_always_has_its_thread() -> None:
    """The loop never waits for a disk that nobody called quick."""
    disk = Disk()
    with closing(Writer()) as writer:
        assert await writer.write(1, disk.work) == 1
    assert disk.in_place == [False]


async def test_little_is_written_in_place() -> None:
    """Up to the bound there is no thread; one command more has one."""
    disk = Disk()
    with closing(QuickWriter(disk.seconds)) as writer:
        await writer.write(COMMANDS_MAX, disk.work)
        await writer.write(COMMANDS_MAX + 1, disk.work)
        await writer.write(1, disk.work)
    assert disk.in_place == [True, False, True]


async def test_a_slow_disk_is_seldom_waited_for() -> None:
    """After one slow write so many go to the thread; then it is tried again, and trusted again."""
    disk = Disk()
    with closing(QuickWriter(disk.seconds)) as writer:
        disk.takes = SECONDS_MAX * 2
        for _ in range(2 * (THREADED_MIN + 1)):
            await writer.write(1, disk.work)
        disk.takes = SECONDS_MAX / 2
        for _ in range(3):
            await writer.write(1, disk.work)
    slow = [True] + [False] * THREADED_MIN
    assert disk.in_place == [*slow, *slow, True, True, True]


@pytest.mark.parametrize("commands", [1, COMMANDS_MAX + 1])
async def test_what_a_write_raises_reaches_who_asked(commands: int) -> None:
    """In place as from the thread: the sequencer stops the process upon it."""

    def fail() -> None:
        raise OSError("the disk is gone")

    with closing(QuickWriter()) as writer, pytest.raises(OSError, match="the disk is gone"):
        await writer.write(commands, fail)
