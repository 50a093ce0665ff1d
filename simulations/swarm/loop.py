"""An asyncio event loop without a machine under it: virtual time, no threads, no sockets.

What is ready runs first in, first out, as in asyncio. When nothing is ready the clock
jumps to the next timer. Work for a thread runs inline, after a drawn delay, so that other
tasks run in between. A *step* is a task that runs to its next await; timers and callbacks
do not count. Before each the world may kill or pause its process: a crash at that await.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")
CLOSES_MAX: Final = 16
TASKS_KEPT_MAX: Final = 256


class PowerCut(BaseException):
    """Raised inside simulated I/O: the process that asked for it is no more."""


class Process:
    """What dies together: tasks, timers and whatever they started."""

    def __init__(self, name: str, *, mortal: bool = True) -> None:
        self.name: Final = name
        self.mortal: Final = mortal
        """Whether faults may end it: the world's own tasks are not."""
        self.alive = True
        self.paused = False
        self.backlog: deque[Step] = deque()
        self.tasks: list[tuple[asyncio.Task[Any], Coroutine[Any, Any, Any], Context]] = []
        self.on_death: Callable[[], None] | None = None
        self.context: Final = Context()
        self.context.run(PROCESS.set, self)

    def adopt(
        self, task: "asyncio.Task[Any]", work: Coroutine[Any, Any, Any], context: Context
    ) -> None:
        """Remember a task, to end it with the process."""
        if self.alive and len(self.tasks) >= TASKS_KEPT_MAX:
            self.tasks = [entry for entry in self.tasks if not entry[0].done()]
        self.tasks.append((task, work, context))

    def die(self) -> None:
        """End at once. Nothing that still unwinds can reach anything outside.

        Coroutines are closed here and now, in order: left to the garbage collector, their
        `finally` blocks would run at a time that no seed decides.
        """
        if not self.alive:
            return
        self.alive = False
        self.backlog.clear()
        loop = events._get_running_loop()  # noqa: SLF001
        # One that runs unwinds by itself: it is where the power was cut.
        running = None if loop is None else asyncio.current_task(loop)
        for task, work, context in self.tasks:  # closing one may start others, at the end
            if not task.done() and task is not running:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
                context.run(_close, work)
        self.tasks.clear()
        if self.on_death is not None:
            self.on_death()


PROCESS: Final[ContextVar[Process | None]] = ContextVar("PROCESS", default=None)


class Step(asyncio.TimerHandle):
    """A callback that is due; lighter than asyncio's."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        when: float,
        context: Context | None,
    ) -> None:
        self._callback = callback
        self._args = arguments
        self._when = when
        self._cancelled = False
        self._context = copy_context() if context is None else context

    def cancel(self) -> None:
        """It does not run."""
        self._cancelled = True
        self._args = ()

    def __repr__(self) -> str:
        return f"<Step {self._callback!r}>"


class VirtualLoop(asyncio.BaseEventLoop):
    """`delay_s` draws how long a thread takes; `between` is called between two steps."""

    def __init__(self, delay_s: Callable[[], float], between: Callable[[Process], None]) -> None:
        super().__init__()
        self.now_s = 0.0
        self.steps = 0
        self.failure: BaseException | None = None
        self._delay_s = delay_s
        self._between = between
        self._queue: deque[Step] = deque()
        self._timers: list[tuple[float, int, Step]] = []
        self._order = 0

    # ---------------------------------------------------------------- running

    def run_steps(self, steps_max: int, until: Callable[[], bool]) -> bool:
        """Run until `until()` holds, looked at each time the queue is empty; whether it does.

        Raises what a spawned task raised, and RuntimeError where nothing is left to do.
        """
        events._set_running_loop(self)  # noqa: SLF001  what run_forever does
        last = self.steps + steps_max
        try:
            while self.steps < last:
                if not self._queue and (until() or not self._jump()):
                    return True
                self._step(self._queue.popleft())
                if self.failure is not None:
                    raise self.failure
        finally:
            events._set_running_loop(None)  # noqa: SLF001
        return False

    def _jump(self) -> bool:
        """Move the clock to the next timer that still counts; False if there is none."""
        while self._timers:
            when, _, step = heapq.heappop(self._timers)
            if not step._cancelled:  # noqa: SLF001
                self.now_s = max(self.now_s, when)
                self._queue.append(step)
                return True
        return False

    def _step(self, step: Step) -> None:
        if step._cancelled:  # noqa: SLF001
            return
        process = step._context.get(PROCESS)  # noqa: SLF001
        if process is not None:
            if not process.alive:
                return
            if process.paused:
                process.backlog.append(step)
                return
            if process.mortal:
                self._between(process)
                if not process.alive:
                    return
        self.steps += isinstance(getattr(step._callback, "__self__", None), asyncio.Task)  # noqa: SLF001
        step._context.run(step._callback, *step._args)  # noqa: SLF001

    def resume(self, process: Process) -> None:
        """End a pause: what fell due meanwhile comes first."""
        process.paused = False
        self._queue.extendleft(reversed(process.backlog))
        process.backlog.clear()

    def spawn(
        self,
        work: Coroutine[Any, Any, T],
        process: Process,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> "asyncio.Task[T]":
        """Start a task of a process. What it raises goes to `on_error`, or ends the run."""
        task = self.create_task(work, context=process.context.copy())
        task.add_done_callback(partial(self._over, on_error or self._fail), context=process.context)
        return task

    def _over(self, on_error: Callable[[BaseException], None], task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            on_error(error)

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def __del__(self) -> None:
        """It holds nothing of the machine: no need to close it."""

    def dispose(self, *processes: Process) -> None:
        """End these processes, and forget what is left to do."""
        events._set_running_loop(self)  # noqa: SLF001  what unwinds may start tasks
        try:
            for process in processes:
                process.on_death = None
                process.die()
        finally:
            events._set_running_loop(None)  # noqa: SLF001
        self._queue.clear()
        self._timers.clear()
        self.close()

    # ---------------------------------------------------------------- asyncio's side

    def time(self) -> float:
        """Seconds since the world began."""
        return self.now_s

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Step:
        """As asyncio's."""
        step = Step(callback, args, self.now_s, context)
        self._queue.append(step)
        return step

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Step:
        """As asyncio's."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Step:
        """As asyncio's; equal times keep their order."""
        step = Step(callback, args, when, context)
        self._order += 1
        heapq.heappush(self._timers, (when, self._order, step))
        return step

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        """As asyncio's; the task belongs to the process of its context."""
        if context is None:
            context = copy_context()
        task = asyncio.Task(coro, loop=self, name=str(name or "task"), context=context)
        process = context.get(PROCESS)
        if process is not None:
            process.adopt(task, coro, context)
        return task

    def run_in_executor(
        self, executor: object, func: Callable[..., T], *args: object
    ) -> "asyncio.Future[T]":
        """Run inline after a while; whoever kills the process meanwhile prevents it."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self._delay_s(), _carry_out, future, func, args)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Silence: what matters reaches `spawn` or the auditor."""

    def get_debug(self) -> bool:
        """Never."""
        return False


def _carry_out(
    future: "asyncio.Future[T]", work: Callable[..., T], arguments: tuple[Any, ...]
) -> None:
    try:
        result = work(*arguments)
    except PowerCut:
        process = PROCESS.get()
        if process is not None:
            process.die()
    except Exception as error:  # noqa: BLE001  handed to whoever awaits
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


def _close(work: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that may still try to await on its way out."""
    for _ in range(CLOSES_MAX):
        try:
            work.close()
        except BaseException:  # noqa: BLE001, S112  its process is gone, and so are its words
            continue
        return
