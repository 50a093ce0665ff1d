"""The market's side of verification: a bounded queue in front of processes of our own.

Never threads: beside a busy event loop a verifying thread waits a whole switch interval for
every recovery. Bodies wait in one line and go out in tasks of what is waiting, up to
`TASK_WEIGHT_MAX`; a verifier has `TASKS_MAX` tasks at most, so that it never idles and
nobody waits behind one that is slow. Where they are as many as cores, one of them is a reserve:
it is given few single intents, and only if many wait. When a verifier dies, what it was at work
on goes to others, once and each body alone: what kills two is refused, and nothing that came with
it. The line is bounded in documents, bytes and time.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import structlog

from intents.admission import Rules, Verified
from intents.document import Offer
from intents.reject import Reject, RejectCode, reject
from solver.runtime.cores import usable_cores
from solver.verifier.batch import Kind, Verdict, answer, read, read_reject
from solver.verifier.frame import Task
from solver.verifier.line import Body, Line, Taken, weight_of
from solver.verifier.process import Verifier, VerifierFailed

LOG: Final = structlog.get_logger("solver.verifier")

TASK_WEIGHT_MAX: Final = 16
"""In signatures: about a millisecond, after which the market has something to go on with."""
SINGLES_MAX: Final = 32
"""The same of single intents: they are answered together, which saves more than it delays."""
TASKS_MAX: Final = 2
"""Tasks of one verifier: one at work, one on its way."""
WAITING_MIN: Final = (1, 16)
"""In signatures: how much has to wait for a verifier to be given its first task, and one more.

One that is at work gets the next when there is enough for it: what comes meanwhile goes together.
"""
SHARE_MIN: Final = 8
"""In signatures: what is less goes to one verifier, though another may be idle."""
RESERVE_WAITING_MIN: Final = 32
"""Single intents that have to wait for a reserve to be given some of them."""
RESERVE_SINGLES_MAX: Final = 8
"""Of its task: it has no core to itself, so each of them takes it longer."""
MANY_MIN: Final = 128
"""Single intents that have to wait for all verifiers to be used alike: what counts then is how
many are verified in a second."""
MANY_SINGLES_MAX: Final = 64
"""Of a task then."""
TRIES_MAX: Final = 2
"""Of what a verifier was at work on when it was lost."""
PAUSE_SECONDS_MIN: Final = 0.05
PAUSE_SECONDS_MAX: Final = 5.0
LOOK_EVERY_SECONDS: Final = 0.25


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait for a verifier, and for how long."""

    weight_max: int = 4_096
    """In signatures: about a tenth of a second of two cores."""
    bytes_max: int = 8 * 1024 * 1024
    seconds_max: float = 5
    """In line or with a verifier; one that takes longer over its task is ended."""


class Verifiers:
    """Verifies signed bodies. With no processes it does so on the spot."""

    def __init__(
        self,
        rules: Rules,
        *,
        processes: int = 0,
        bounds: Bounds | None = None,
        cores: int | None = None,
    ) -> None:
        self.rules: Final = rules
        self.bounds: Final = bounds or Bounds()
        self._processes = processes
        self._first = max(1, (cores or usable_cores()) - 1)
        """So many have a core beside the market's; any other is a reserve."""
        self._line: Final = Line(self.bounds.weight_max, self.bounds.bytes_max)
        self._room = asyncio.Event()
        self._room.set()
        self._feeding = False
        self._verifiers: list[Verifier] = []
        self._with: dict[Verifier, deque[list[Body]]] = {}
        self._closed = False

    # -- what callers ask

    def enter_intent(
        self, raw: bytes, now_s: int, asker: "asyncio.Future[Any]", taken: Taken
    ) -> None:
        """One signed intent: `taken` gets it with all that are verified together with it.

        What is not verified, `asker` is told at once: busy, shutting_down.
        """
        if self._processes:
            since = asyncio.get_running_loop().time()
            self._line_up(Body(Kind.INTENT, raw, now_s, since, asker, taken))
        else:
            taken([asker], answer(Kind.INTENT, raw, self.rules, now_s))

    async def offer(self, raw: bytes, now_s: int) -> Verified[Offer] | Reject:
        """One signed offer."""
        verdict = await self._verdict(Kind.OFFER, raw, now_s)
        if isinstance(verdict, Reject):
            return verdict
        results = read(Kind.OFFER, verdict)
        return results if isinstance(results, Reject) else results[0]

    async def many(
        self, kind: Kind, raw: bytes, now_s: int, *, patient: bool = False
    ) -> Verdict | Reject:
        """A row for each intent of a batch, a bulk or under a mandate; or a Reject for all.

        Rejects of its own: busy (who is `patient` waits for room instead), shutting_down.
        """
        if patient:
            await self._let_in(kind, raw)
        return await self._verdict(kind, raw, now_s)

    async def room(self) -> None:
        """Return once the line is at most half full: for senders that can be kept waiting.

        By the time they send there may be none: let them be `patient`, too.
        """
        await self._room.wait()

    @property
    def waiting(self) -> tuple[int, int]:
        """Signatures and bytes in line."""
        return self._line.weight, self._line.bytes

    # -- life

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Verifiers"]:
        """Have the processes run for as long as the block lasts."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keepers = [tasks.create_task(self._keep_one()) for _ in range(self._processes)]
                keepers.append(tasks.create_task(self._look_after()))
                try:
                    yield self
                finally:
                    for keeper in keepers:
                        keeper.cancel()
        finally:
            self._closed = True
            self._room.set()
            for body in [*self._left_in_line(), *self._taken()]:
                body.settle(reject(RejectCode.SHUTTING_DOWN))

    def _left_in_line(self) -> list[Body]:
        return [self._line.leave() for _ in range(len(self._line))]

    def _taken(self) -> list[Body]:
        return [body for tasks in self._with.values() for task in tasks for body in task]

    # -- the line

    async def _verdict(self, kind: Kind, raw: bytes, now_s: int) -> Verdict | Reject:
        """What became of a body; one that is refused as a whole has no verdict."""
        if not self._processes:
            verdict: Verdict | Reject = answer(kind, raw, self.rules, now_s)
        else:
            loop = asyncio.get_running_loop()
            body = Body(kind, raw, now_s, loop.time(), loop.create_future())
            self._line_up(body)
            verdict = await body.answered
        if isinstance(verdict, Reject) or verdict.refused is None:
            return verdict
        return read_reject(verdict.refused)

    def _line_up(self, body: Body) -> None:
        if self._closed:
            body.settle(reject(RejectCode.SHUTTING_DOWN))
        elif not self._line.has_room(body.weight, len(body.raw)):
            body.settle(
                reject(RejectCode.BUSY, "too much waits to be verified", retry_after_ms=1_000)
            )
        else:
            self._line.enter(body)
            if self._line.is_long():
                self._room.clear()
            self._feed_soon()

    async def _let_in(self, kind: Kind, raw: bytes) -> None:
        """Return when there is room for a body; nothing may be awaited before it enters."""
        while not self._closed and not self._line.has_room(weight_of(kind, raw), len(raw)):
            self._room.clear()
            await self._room.wait()

    def _made_room(self) -> None:
        """Somebody has left the line."""
        if not self._line.is_long():
            self._room.set()

    def _feed_soon(self) -> None:
        """Feed once all that is ready now has entered: that makes tasks of many."""
        if not self._feeding:
            self._feeding = True
            asyncio.get_running_loop().call_soon(self._feed)

    def _feed(self) -> None:
        self._feeding = False
        for depth in range(TASKS_MAX):
            for verifier in self._verifiers:
                if len(self._with[verifier]) == depth and self._line:
                    self._feed_one(verifier, WAITING_MIN[depth])

    def _feed_one(self, verifier: Verifier, waiting_min: int) -> None:
        """Give it its share of what waits, if so much does; a task has one time, its first's."""
        oldest = self._line.first()
        assert oldest is not None
        sharing = self._verifiers
        if oldest.taken is None:
            most = TASK_WEIGHT_MAX
        elif self._line.weight >= MANY_MIN:
            most = MANY_SINGLES_MAX
        else:
            sharing, most = self._verifiers[: self._first], SINGLES_MAX
            if verifier not in sharing:
                waiting_min, most = RESERVE_WAITING_MIN, RESERVE_SINGLES_MAX
        if self._line.weight < waiting_min:
            return
        idle = sum(not self._with[one] for one in sharing)
        task = self._line.take(min(most, max(SHARE_MIN, -(-self._line.weight // max(1, idle)))))
        self._made_room()
        if task:
            self._with[verifier].append(task)
            verifier.send(Task(task[0].now_s, [(body.kind, body.raw) for body in task]))

    # -- the verifiers

    async def _keep_one(self) -> None:
        """Keep one verifier alive; one that dies young is started again after a pause."""
        pause_seconds = PAUSE_SECONDS_MIN
        while True:
            verifier = Verifier(self.rules, self._take)
            try:
                await self._keep(verifier)
            except OSError as error:
                LOG.warning("verifier_not_started", error=str(error))
            LOG.warning("verifier_lost", answered=verifier.answered)
            pause_seconds = PAUSE_SECONDS_MIN if verifier.answered else pause_seconds * 2
            await asyncio.sleep(min(PAUSE_SECONDS_MAX, pause_seconds))

    async def _keep(self, verifier: Verifier) -> None:
        async with verifier.running():
            self._with[verifier] = deque()
            self._verifiers.append(verifier)
            self._feed_soon()
            try:
                await verifier.lost.wait()
            finally:
                self._verifiers.remove(verifier)
                self._take_back(verifier)

    def _take(self, verifier: Verifier, answers: Sequence[Verdict | str]) -> None:
        """A verifier has answered its oldest task; what is no answer to that ends it."""
        tasks = self._with[verifier]
        if not tasks or not _is_answer(tasks[0], answers):
            verifier.kill()
            return
        task = tasks.popleft()
        # First, so that the verifier is not idle while its answers are looked at.
        if self._line:
            self._feed()
        each = [[body] for body in task] if len(answers) == len(task) else [task]
        for bodies, verdict in zip(each, answers, strict=True):
            if isinstance(verdict, Verdict):
                _hand_over(bodies, verdict)
            elif not bodies[0].answered.done():
                bodies[0].answered.set_exception(VerifierFailed(verdict))

    def _take_back(self, verifier: Verifier) -> None:
        """What a lost verifier had goes to the head of the line, the oldest first.

        What it was at work on, its oldest task, may have killed it: once more, each alone.
        """
        tasks = self._with.pop(verifier)
        for number, task in reversed(list(enumerate(tasks))):
            for body in reversed(task):
                body.tries += number == 0
                if body.tries < TRIES_MAX:
                    self._line.return_first(body)
                else:
                    body.settle(_given_up())
        self._feed_soon()

    async def _look_after(self) -> None:
        """Refuse what waits too long, end a verifier that takes too long over a task."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            since = loop.time() - self.bounds.seconds_max
            while (first := self._line.first()) is not None and first.since < since:
                self._line.leave().settle(_given_up())
                self._made_room()
            for verifier in self._verifiers:
                if verifier.silent_since < since and self._with[verifier]:
                    verifier.kill()


def _is_answer(task: list[Body], answers: Sequence[Verdict | str]) -> bool:
    """Whether these may be the answers to a task: one of many rows, or one for each body."""
    if len(answers) == len(task):
        return True
    together = answers[0] if len(answers) == 1 else None
    return isinstance(together, Verdict) and len(together.rows) == len(task)


def _hand_over(bodies: list[Body], verdict: Verdict) -> None:
    """Have what was verified together taken; if that fails, tell everyone who is not answered."""
    taken = bodies[0].taken
    if taken is None:
        bodies[0].settle(verdict)
        return
    askers = [body.answered for body in bodies]
    try:
        taken(askers, verdict)
    except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
        for asker in askers:
            if not asker.done():
                asker.set_exception(error)


def _given_up() -> Reject:
    return reject(RejectCode.BUSY, "it could not be verified in time", retry_after_ms=1_000)
