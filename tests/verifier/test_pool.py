"""Verifiers as processes: what they answer, how much waits, and what happens when they die."""

import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from intents.admission import Verified, admit
from intents.document import Intent
from intents.reject import Reject, RejectCode
from solver.verifier import batch, worker
from solver.verifier.batch import Kind, Verdict, read
from solver.verifier.frame import FRAME_BYTES_MAX, Answer, Frames, FrameTooLarge, Task, encode
from solver.verifier.line import Body, weight_of
from solver.verifier.pool import (
    MANY_MIN,
    MANY_SINGLES_MAX,
    RESERVE_SINGLES_MAX,
    RESERVE_WAITING_MIN,
    SINGLES_MAX,
    TASK_WEIGHT_MAX,
    Bounds,
    Verifiers,
)
from solver.verifier.process import Verifier, VerifierFailed
from tests.builder import START_S, alice, an_intent, an_offer, unverified
from tests.patience import PATIENCE_S, patience_s, patiently, until
from tests.verifier.test_batch import RULES, sent


@asynccontextmanager
async def running(
    processes: int = 1, *, cores: int = 8, **bounds: float
) -> AsyncIterator[Verifiers]:
    """Verifiers at work; unless bounded otherwise they take as long as it takes."""
    limits = msgspec.convert({"seconds_max": PATIENCE_S} | bounds, Bounds)
    idle = Verifiers(RULES, processes=processes, bounds=limits, cores=cores)
    async with patiently(), idle.running() as verifiers:
        yield verifiers


@asynccontextmanager
async def two_on(cores: int) -> AsyncIterator[tuple[Verifiers, list[Verifier]]]:
    """Two verifiers that have both started on a machine of so many cores, and each of them."""
    async with running(2, cores=cores) as verifiers:
        await until(lambda: len(verifiers._verifiers) == 2)
        yield verifiers, verifiers._verifiers[:]


def signed() -> bytes:
    """A fresh signed intent."""
    return sent(an_intent().build(alice))


async def verified(verifiers: Verifiers, raw: bytes, now_s: int) -> Verified[Intent] | Reject:
    """What becomes of one signed intent, as the market asks."""
    asker: asyncio.Future[Verified[Intent] | Reject] = asyncio.get_running_loop().create_future()
    verifiers.enter_intent(raw, now_s, asker, _told_each)
    return await asker


def _told_each(
    askers: Sequence[asyncio.Future[Verified[Intent] | Reject]], verdict: Verdict
) -> None:
    results = read(Kind.INTENT, verdict)
    assert isinstance(results, list)
    for asker, result in zip(askers, results, strict=True):
        if not asker.done():
            asker.set_result(result)


def batch_of(count: int) -> bytes:
    """A batch of signed intents."""
    return b"[" + b",".join(signed() for _ in range(count)) + b"]"


def pids(verifiers: Verifiers) -> list[int]:
    """The processes that are there."""
    return [_pid(verifier) for verifier in verifiers._verifiers]


def _pid(verifier: Verifier) -> int:
    assert verifier._process is not None
    return verifier._process.pid


def is_there(pid: int) -> bool:
    """Whether a process runs (one that has ended and was not waited for does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("processes", [0, 1, 2])
async def test_the_answer_is_admission_s_wherever_it_is_made(processes: int) -> None:
    """On the spot or in processes: each body its own answer, of every kind."""
    intent, offer = an_intent().build(alice), an_offer().build(alice)
    async with running(processes) as verifiers:
        assert await verified(verifiers, sent(intent), START_S) == admit(
            unverified(intent, alice), RULES, START_S
        )
        assert await verifiers.offer(sent(offer), START_S) == admit(
            unverified(offer, alice), RULES, START_S
        )
        late = await verified(verifiers, sent(intent), intent.valid_until)
        assert isinstance(late, Reject)
        assert late.code is RejectCode.EXPIRED, "the time is the caller's"
        found = await verifiers.many(Kind.BATCH, batch_of(3), START_S)
        assert isinstance(found, Verdict)
        results = read(Kind.BATCH, found)
        assert isinstance(results, list)
        assert [type(one) for one in results] == [Verified] * 3


async def test_many_side_by_side_get_their_own_answers() -> None:
    """Hundreds at once, over two processes and many tasks: nobody gets another's."""
    documents = [an_intent().limit(number + 1).build(alice) for number in range(300)]
    async with running(2) as verifiers:
        found = await asyncio.gather(
            *(verified(verifiers, sent(document), START_S) for document in documents)
        )
    assert [one.document if isinstance(one, Verified) else one for one in found] == documents


async def test_intents_that_come_together_share_a_task_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One frame to the verifier; each asker gets the answer to what it sent, and nobody's else."""
    documents = [an_intent().limit(number).build(alice) for number in range(30)]
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        tasks = sent_by(monkeypatch)
        found = await asyncio.gather(
            *(verified(verifiers, sent(document), START_S) for document in documents)
        )
    assert [len(task.bodies) for task in tasks] == [30]
    assert isinstance(found[0], Reject)
    assert found[0].code is RejectCode.LIMIT_OUT_OF_RANGE
    told = [one.document for one in found[1:] if isinstance(one, Verified)]
    assert told == documents[1:]


async def test_bodies_of_many_come_back_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waiting is cut into tasks of a millisecond, so that the market need not wait."""
    bodies = [batch_of(64) for _ in range(12)]
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        tasks = sent_by(monkeypatch)
        await asyncio.gather(*(verifiers.many(Kind.MANDATED, body, START_S) for body in bodies))
    weights = [sum(weight_of(Kind(kind), raw) for kind, raw in task.bodies) for task in tasks]
    assert max(weights) <= TASK_WEIGHT_MAX
    assert sum(len(task.bodies) for task in tasks) == 12
    assert len(tasks) < 12, "nor each by itself"


async def test_what_comes_while_a_verifier_works_goes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is given one alone at once, and what came meanwhile when it has answered that."""
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        tasks = sent_by(monkeypatch)
        asked = []
        for _ in range(10):
            asked.append(asyncio.create_task(verified(verifiers, signed(), START_S)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert all(isinstance(one, Verified) for one in await asyncio.gather(*asked))
    assert len(tasks[0].bodies) == 1
    assert len(tasks) <= 5, "not one by one"


async def test_a_reserve_is_given_little_and_only_if_much_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On two cores, of which the market wants one: the second verifier works if the first lags."""
    async with two_on(2) as (verifiers, (first, reserve)):
        given = given_to(monkeypatch)
        await asyncio.gather(
            *(verified(verifiers, signed(), START_S) for _ in range(RESERVE_WAITING_MIN))
        )
        assert reserve not in given, "what comes together is soon done"
        given.clear()
        many = [verified(verifiers, signed(), START_S) for _ in range(MANY_MIN - 1)]
        assert all(isinstance(one, Verified) for one in await asyncio.gather(*many))
    sizes = {one: [len(task.bodies) for task in tasks] for one, tasks in given.items()}
    assert max(sizes[first]) == SINGLES_MAX
    assert max(sizes[reserve]) == RESERVE_SINGLES_MAX


async def test_a_reserve_works_as_all_do_if_very_much_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What counts then is how many are verified in a second: long tasks, for both."""
    async with two_on(2) as (verifiers, (first, reserve)):
        given = given_to(monkeypatch)
        await asyncio.gather(*(verified(verifiers, signed(), START_S) for _ in range(3 * MANY_MIN)))
    for one in first, reserve:
        assert len(given[one][0].bodies) == MANY_SINGLES_MAX


async def test_verifiers_with_cores_of_their_own_share_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On three cores two verifiers get half each of what came together."""
    async with two_on(3) as (verifiers, _):
        given = given_to(monkeypatch)
        await asyncio.gather(*(verified(verifiers, signed(), START_S) for _ in range(20)))
    assert [[len(task.bodies) for task in tasks] for tasks in given.values()] == [[10], [10]]


def sent_by(patch: pytest.MonkeyPatch) -> list[Task]:
    """Tasks as verifiers will be given them."""
    tasks: list[Task] = []
    _note_tasks(patch, lambda _, task: tasks.append(task))
    return tasks


def given_to(patch: pytest.MonkeyPatch) -> dict[Verifier, list[Task]]:
    """Tasks as each verifier will be given them."""
    given: dict[Verifier, list[Task]] = {}
    _note_tasks(patch, lambda verifier, task: given.setdefault(verifier, []).append(task))
    return given


def _note_tasks(patch: pytest.MonkeyPatch, note: Callable[[Verifier, Task], None]) -> None:
    send = Verifier.send

    def noted(self: Verifier, task: Task) -> None:
        note(self, task)
        send(self, task)

    patch.setattr(Verifier, "send", noted)


def test_it_runs_on_uvloop_too() -> None:
    """The same, on the loop that the market runs on where it can."""

    async def verify() -> Verified[Intent] | Reject:
        async with running(1) as verifiers:
            return await verified(verifiers, signed(), START_S)

    assert isinstance(uvloop.run(verify()), Verified)


# -- bounds


async def test_beyond_the_line_it_is_busy_and_memory_does_not_grow() -> None:
    """A flood is refused with a time to come back; what waits never exceeds its bounds."""
    async with running(1, weight_max=50, bytes_max=30_000) as verifiers:
        flood = [asyncio.create_task(verified(verifiers, signed(), START_S)) for _ in range(1_000)]
        seen = 0, 0
        while not all(task.done() for task in flood):
            seen = max(seen, verifiers.waiting)
            assert verifiers.waiting[0] <= 50
            assert verifiers.waiting[1] <= 30_000
            await asyncio.sleep(0)
        results = [task.result() for task in flood]
        refused = [one for one in results if isinstance(one, Reject)]
        assert seen[0] > 0
        assert verifiers.waiting == (0, 0)
    assert {one.code for one in refused} == {RejectCode.BUSY}
    assert all(one.hint and one.retry_after_ms for one in refused)
    assert 0 < len(results) - len(refused) < 1_000


async def test_who_can_wait_is_told_when_there_is_room() -> None:
    """`room` holds a sender back while the line is more than half full, and no longer."""
    async with running(1, weight_max=400) as verifiers:
        await asyncio.wait_for(verifiers.room(), patience_s())
        tasks = [asyncio.create_task(verified(verifiers, signed(), START_S)) for _ in range(350)]
        await asyncio.sleep(0)
        waiting = asyncio.create_task(verifiers.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        await waiting
        assert verifiers.waiting[0] <= 200
        await asyncio.gather(*tasks)


async def test_who_leaves_is_not_verified_and_leaves_room() -> None:
    """A cancelled caller's body is dropped from the line, and counted out."""
    async with running(1) as verifiers:
        tasks = [asyncio.create_task(verified(verifiers, signed(), START_S)) for _ in range(500)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(await verified(verifiers, signed(), START_S), Verified)
        assert verifiers.waiting == (0, 0)


def test_a_frame_is_bounded() -> None:
    """Lengths that nothing of ours has are not waited for."""
    frames = Frames()
    with pytest.raises(FrameTooLarge):
        list(frames.feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))


def test_frames_come_whole_however_they_are_cut() -> None:
    """One byte at a time, or several in a chunk."""
    task = Task(7, [(Kind.INTENT, b"abc")])
    stream = encode(task) * 3
    bytewise = Frames()
    found = [frame for byte in stream for frame in bytewise.feed(bytes([byte]))]
    assert found == list(Frames().feed(stream))
    assert len(found) == 3


# -- death


async def test_what_a_killed_verifier_had_is_verified_by_another() -> None:
    """Killed in the middle of its work: everybody gets an answer, and the right one."""
    async with running(2) as verifiers:
        await until(lambda: len(verifiers._verifiers) == 2)
        documents = [an_intent().limit(number + 1).build(alice) for number in range(400)]
        tasks = [
            asyncio.create_task(verified(verifiers, sent(document), START_S))
            for document in documents
        ]
        await until(lambda: len(verifiers._taken()) > 64)
        os.kill(pids(verifiers)[0], signal.SIGKILL)
        found = await asyncio.gather(*tasks)
        assert [one.document if isinstance(one, Verified) else one for one in found] == documents
        await until(lambda: len(verifiers._verifiers) == 2)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
async def test_a_verifier_gives_way_to_the_market() -> None:
    """Woken by a task, it does not take the processor from the process that wrote it.

    Linux weighs the two against each other only if they are of one session.
    """
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        assert isinstance(await verified(verifiers, signed(), START_S), Verified)
        (pid,) = pids(verifiers)
        assert os.sched_getscheduler(pid) == os.SCHED_BATCH
        nicer = os.getpriority(os.PRIO_PROCESS, pid) - os.getpriority(os.PRIO_PROCESS, 0)
        assert nicer == min(worker.NICER, 19 - os.getpriority(os.PRIO_PROCESS, 0))
        assert os.getsid(pid) == os.getsid(0)
        assert _turn_ns(pid) in {None, worker.TURN_NS}
        assert os.getpgid(pid) == pid, "Ctrl-C is for the market"


def _turn_ns(pid: int) -> int | None:
    """How long its turns are; None where Linux does not let a process say so, or does not tell."""
    place = Path(f"/proc/{pid}/sched")
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < (6, 12) or not place.exists():
        return None
    turn = re.search(r"se\.slice +: +(\d+)", place.read_text())
    return None if turn is None else int(turn[1])


async def test_what_kills_two_verifiers_is_refused() -> None:
    """Outstanding bodies are sent again once; then nobody waits any longer."""
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        first = pids(verifiers)
        os.kill(first[0], signal.SIGSTOP)
        waiting = asyncio.create_task(verifiers.many(Kind.BATCH, batch_of(64), START_S))
        await until(verifiers._taken)
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: pids(verifiers) not in ([], first))
        second = pids(verifiers)
        os.kill(second[0], signal.SIGKILL)
        refused = await waiting
        assert isinstance(refused, Reject)
        assert (refused.code, refused.retry_after_ms) == (RejectCode.BUSY, 1_000)
        assert isinstance(await verified(verifiers, signed(), START_S), Verified)
        assert verifiers.waiting == (0, 0)


def poisoned(patch: pytest.MonkeyPatch, poison: bytes) -> None:
    """Every verifier that is given these bytes dies of them."""
    send = Verifier.send

    def deadly(self: Verifier, task: Task) -> None:
        if any(raw == poison for _, raw in task.bodies):
            self.kill()
        send(self, task)

    patch.setattr(Verifier, "send", deadly)


async def test_what_kills_verifiers_harms_nothing_that_came_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the intents of a task that killed, each is tried alone: only the killer is refused."""
    poison = signed()
    bodies = [*(signed() for _ in range(5)), poison, *(signed() for _ in range(5))]
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        poisoned(monkeypatch, poison)
        found = await asyncio.gather(*(verified(verifiers, body, START_S) for body in bodies))
        assert verifiers.waiting == (0, 0)
    assert [isinstance(one, Verified) for one in found] == [body != poison for body in bodies]
    assert isinstance(found[5], Reject)
    assert found[5].code is RejectCode.BUSY


async def test_what_waits_behind_a_killer_was_not_tried() -> None:
    """A verifier's next task is sent again as often as if it had never been sent."""
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        (verifier,) = verifiers._verifiers
        os.kill(pids(verifiers)[0], signal.SIGSTOP)
        killing = asyncio.create_task(verifiers.many(Kind.BATCH, batch_of(64), START_S))
        await until(lambda: len(verifiers._with[verifier]) == 1)
        behind = [asyncio.create_task(verified(verifiers, signed(), START_S)) for _ in range(20)]
        await until(lambda: len(verifiers._with[verifier]) == 2)
        first, second = verifiers._with[verifier]
        verifier.kill()
        await until(lambda: verifier not in verifiers._verifiers)
        assert [body.tries for body in first] == [1]
        assert {body.tries for body in second} == {0}
        await asyncio.gather(killing, *behind)


async def test_a_verifier_that_answers_what_it_was_not_asked_is_replaced() -> None:
    """Too few answers, or one more than tasks: who waits is answered by the next."""
    async with running() as verifiers:
        await until(lambda: verifiers._verifiers)
        for tasks in (1, 0):
            (bad,) = verifiers._verifiers
            task = asyncio.create_task(verified(verifiers, signed(), START_S))
            if tasks:
                await until(lambda bad=bad: verifiers._with[bad])  # type: ignore[misc]
            else:
                assert isinstance(await task, Verified)
            bad.data_received(encode(Answer([])))
            assert isinstance(await task, Verified)
            await until(lambda bad=bad: verifiers._verifiers not in ([], [bad]))  # type: ignore[misc]


async def test_a_verifier_that_hangs_is_replaced() -> None:
    """One that does not answer in time is ended, and what it had goes to the next one."""
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        stuck = pids(verifiers)[0]
        os.kill(stuck, signal.SIGSTOP)
        waiting = asyncio.create_task(verified(verifiers, signed(), START_S))
        await until(verifiers._taken)
        verifiers._verifiers[0].silent_since -= PATIENCE_S
        assert isinstance(await waiting, Verified)
        assert not is_there(stuck)


async def test_without_any_verifier_nobody_waits_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """If none can be started, bodies are refused once they have waited long enough."""

    def failing(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("solver.verifier.process.subprocess.Popen", failing)
    async with running(2, seconds_max=0.3) as verifiers:
        refused = await verified(verifiers, signed(), START_S)
        assert isinstance(refused, Reject)
        assert refused.code is RejectCode.BUSY
        assert verifiers.waiting == (0, 0)


async def test_a_bug_of_ours_is_told_and_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A verifier that raises says what; the caller's request fails, the verifier goes on."""
    async with running(1) as verifiers:
        loop = asyncio.get_running_loop()
        broken = Body(Kind.INTENT, signed(), START_S, loop.time(), loop.create_future())
        broken.kind = 99  # type: ignore[assignment]
        verifiers._line.enter(broken)
        verifiers._feed_soon()
        with pytest.raises(VerifierFailed, match="ValueError"):
            await broken.answered
        assert isinstance(await verified(verifiers, signed(), START_S), Verified)
        assert verifiers._verifiers[0].answered >= 2


async def test_a_bug_of_ours_in_one_intent_is_that_one_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were verified together with it get their answers, from process to asker."""
    bodies = [sent(an_intent().limit(limit).build(alice)) for limit in (11, 12, 13)]
    task = Task(START_S, [(Kind.INTENT, raw) for raw in bodies])
    together = worker._carry_out(task, RULES).bodies
    assert [len(one.rows) for one in together if isinstance(one, Verdict)] == [3], "one for all"
    take = batch._take_signed

    def buggy(unverified: Any, *rest: Any) -> None:
        assert unverified.document.limit != 12
        take(unverified, *rest)

    monkeypatch.setattr(batch, "_take_signed", buggy)
    each = worker._carry_out(task, RULES).bodies
    assert [type(one) for one in each] == [Verdict, str, Verdict]
    async with running(1) as verifiers:
        await until(lambda: verifiers._verifiers)
        monkeypatch.setattr(Verifier, "send", lambda *_: None)
        asked = [asyncio.create_task(verified(verifiers, raw, START_S)) for raw in bodies]
        await until(verifiers._taken)
        verifiers._take(verifiers._verifiers[0], each)
        found = await asyncio.gather(*asked, return_exceptions=True)
    limits = [one.document.limit if isinstance(one, Verified) else type(one) for one in found]
    assert limits == [11, VerifierFailed, 13]


async def test_stopping_leaves_neither_waiters_nor_processes() -> None:
    """Who waits is told shutting_down, and every process is gone; later ones are told, too."""
    async with running(2) as verifiers:
        await until(lambda: len(verifiers._verifiers) == 2)
        there = pids(verifiers)
        waiting = [asyncio.create_task(verified(verifiers, signed(), START_S)) for _ in range(500)]
        await asyncio.sleep(0)
    found = await asyncio.gather(*waiting)
    assert {one.code for one in found if isinstance(one, Reject)} == {RejectCode.SHUTTING_DOWN}
    assert not any(map(is_there, there))
    after = await verified(verifiers, signed(), START_S)
    assert isinstance(after, Reject)
    assert after.code is RejectCode.SHUTTING_DOWN


def test_a_verifier_is_reaped_although_its_keeper_is_cancelled_twice() -> None:
    """Also when the loop ends before a thread is free for it: nothing is left to a collector."""
    verifier: list[Verifier] = []
    free = threading.Event()

    async def keep() -> None:
        verifier.append(Verifier(RULES, lambda *_: None))
        async with verifier[0].running():
            await asyncio.Event().wait()

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        keeper = asyncio.create_task(keep())
        await until(lambda: verifier and verifier[0]._process)
        busy = loop.run_in_executor(None, free.wait)
        while not keeper.done():
            keeper.cancel()
            await asyncio.sleep(0)
        # The loop ends first: what is left is cancelled, then threads are waited for.
        threading.Timer(0.2, free.set).start()
        assert not busy.done()

    asyncio.run(leave())
    (one,) = verifier
    assert one._process is not None
    assert one._process.returncode is not None


PARENT = """
import asyncio
from tests.patience import until
from tests.verifier.test_pool import running, pids
async def main():
    async with running(2) as verifiers:
        await until(lambda: len(verifiers._verifiers) == 2)
        print(*pids(verifiers), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_verifiers_never_outlive_the_market() -> None:
    """Killed without a word, it takes its verifiers with it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), patience_s())
    there = [int(word) for word in line.split()]
    assert len(there) == 2
    assert all(map(is_there, there))
    process.kill()
    await process.wait()
    await until(lambda: not any(_runs(pid) for pid in there))


def _runs(pid: int) -> bool:
    """Whether it still does anything: an orphan that has ended may wait for its reaper."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():
        return is_there(pid)
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


MODULES = """
import sys
import solver.verifier.worker
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""


async def test_a_verifier_imports_admission_and_nothing_else() -> None:
    """No server, no core, no vault: it starts fast, stays small, and has nothing to leak."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MODULES, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    out, _ = await process.communicate()
    names = set(out.decode().split())
    assert {"intents", "solver", "msgspec", "coincurve", "tiny_keccak"} <= names
    assert not names & {"aiohttp", "structlog", "web3", "uvloop", "cryptography", "pydantic"}


def test_a_body_counts_as_many_as_it_may_hold() -> None:
    """No signed intent is so short that a batch of them counts for fewer than half."""
    assert weight_of(Kind.INTENT, b"") == 1
    assert 32 <= weight_of(Kind.BATCH, batch_of(64)) <= 128
    assert 4 <= weight_of(Kind.MANDATED, batch_of(64)) <= 16
