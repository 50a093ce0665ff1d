"""Where a journal is written: what is little in place on a quick disk, all else in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from solver.engine.writer import (
    COMMANDS_MAX,
    SECONDS_MAX,
    THREADED_MAX,
    THREADED_MIN,
    QuickWriter,
    Writer,
)


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
    """After each slow write in a row twice as many go to the thread, up to the bound."""
    disk = Disk()
    disk.takes = SECONDS_MAX * 2
    between = [THREADED_MIN << slow for slow in range(10)]
    assert between[-1] > THREADED_MAX
    between = [min(threaded, THREADED_MAX) for threaded in between]
    with closing(QuickWriter(disk.seconds)) as writer:
        for _ in range(sum(between) + len(between)):
            await writer.write(1, disk.work)
    assert disk.in_place == [
        in_place for threaded in between for in_place in [True, *[False] * threaded]
    ]


async def test_a_disk_that_was_slow_by_chance_is_trusted_again() -> None:
    """A few writes go to the thread; after a quick one it is as if it had never been slow."""
    disk = Disk()
    few = [False] * THREADED_MIN
    with closing(QuickWriter(disk.seconds)) as writer:
        for takes in (SECONDS_MAX * 2, SECONDS_MAX / 2, SECONDS_MAX * 2):
            disk.takes = takes
            await writer.write(1, disk.work)
            disk.takes = SECONDS_MAX / 2
            for _ in range(THREADED_MIN + 1):
                await writer.write(1, disk.work)
    assert disk.in_place == [True, *few, True, *[True] * (THREADED_MIN + 2), True, *few, True]


@pytest.mark.parametrize("commands", [1, COMMANDS_MAX + 1])
async def test_what_a_write_raises_reaches_who_asked(commands: int) -> None:
    """In place as from the thread: the sequencer stops the process upon it."""

    def fail() -> None:
        raise OSError("the disk is gone")

    with closing(QuickWriter()) as writer, pytest.raises(OSError, match="the disk is gone"):
        await writer.write(commands, fail)
