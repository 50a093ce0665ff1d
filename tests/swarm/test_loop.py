"""The loop under every world: virtual time, order, inline threads, sudden ends."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from simulations.swarm.loop import PowerCut, Process, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """A loop in which threads take 10 ms."""
    loop = VirtualLoop(lambda: 0.01, lambda _: None)
    yield loop
    loop.dispose()


def run(loop: VirtualLoop, *works: Coroutine[Any, Any, Any]) -> Process:
    """Run these in one process until nothing is left to do."""
    process = Process("test")
    for work in works:
        loop.spawn(work, process)
    loop.run_steps(10_000, lambda: False)
    return process


def test_time_jumps_over_waits(loop: VirtualLoop) -> None:
    """An hour's sleep takes no time, and the clock shows the hour."""
    seen: list[float] = []

    async def work() -> None:
        await asyncio.sleep(3_600)
        seen.append(loop.time())

    run(loop, work())
    assert seen == [3_600]


def test_waits_end_in_order_of_time_then_of_asking(loop: VirtualLoop) -> None:
    """Equal times keep their order."""
    seen: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(name)

    run(loop, wait("c", 2), wait("a", 1), wait("b", 1))
    assert seen == ["a", "b", "c"]


def test_others_run_while_a_thread_works(loop: VirtualLoop) -> None:
    """A thread's work comes after its delay, and its error where it is awaited."""
    seen: list[str] = []

    async def slow() -> None:
        seen.append(await asyncio.to_thread(lambda: "thread"))
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    async def quick() -> None:
        await asyncio.sleep(0.001)
        seen.append("quick")

    run(loop, slow(), quick())
    assert seen == ["quick", "thread"]


def test_a_timeout_is_virtual_too(loop: VirtualLoop) -> None:
    """asyncio.timeout ends a wait at its virtual time."""

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        assert loop.time() == 5

    run(loop, work())


def test_what_a_task_raises_reaches_whoever_runs_the_loop(loop: VirtualLoop) -> None:
    """No failure is lost in a task."""

    async def work() -> None:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        run(loop, work())


def test_a_dead_process_does_nothing_more(loop: VirtualLoop) -> None:
    """Tasks, timers, threads and tasks of tasks end with it; `finally` reaches nobody."""
    seen: list[str] = []
    process = Process("test")

    async def child() -> None:
        await asyncio.sleep(2)
        seen.append("child")

    async def work() -> None:
        task = asyncio.create_task(child())
        try:
            await asyncio.to_thread(lambda: None)
            await task
        finally:
            await asyncio.sleep(0)
            seen.append("after")

    loop.spawn(work(), process)
    loop.call_later(1, process.die)
    loop.run_steps(1_000, lambda: False)
    assert seen == []


def test_a_power_cut_in_a_thread_ends_the_process(loop: VirtualLoop) -> None:
    """What simulated I/O raises is a crash, not an error."""
    seen: list[str] = []

    def cut() -> None:
        raise PowerCut

    async def work() -> None:
        try:
            await asyncio.to_thread(cut)
        except BaseException:
            seen.append("noticed")
            raise

    process = Process("test")
    process.on_death = lambda: seen.append("dead")
    loop.spawn(work(), process)
    loop.run_steps(1_000, lambda: False)
    assert seen[-1] == "dead"
    assert not process.alive


def test_a_paused_process_goes_on_where_it_was(loop: VirtualLoop) -> None:
    """What fell due in a pause happens after it, in its order."""
    seen: list[tuple[str, float]] = []
    process = Process("test")

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    loop.spawn(wait("b", 3), process)
    loop.spawn(wait("a", 2), process)
    loop.call_later(1, setattr, process, "paused", True)
    loop.call_later(10, loop.resume, process)
    loop.run_steps(1_000, lambda: False)
    assert seen == [("a", 10), ("b", 10)]


def test_steps_count_awaits_alone(loop: VirtualLoop) -> None:
    """Timers and callbacks of asyncio's own are no steps."""

    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(1)

    run(loop, work())
    assert loop.steps == 6
