"""What the proxy needs of the engine, and the record of one open call."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from intents.reject import Reject
from solver.core.command import Outcome
from solver.vault.selection import Candidate

LOG: Final = structlog.get_logger("solver.vault")


class StartedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the engine has journaled; it stays open until it is finished."""

    call: str
    lease: str
    key: str
    resource: str


class Delivery(Protocol):
    """The engine as the proxy sees it. Each method returns once its command is durable."""

    async def candidates(self, intent: str) -> Sequence[Candidate]:
        """The intent's open leases."""
        ...

    async def start_call(self, lease: str, units: int) -> StartedCall | Reject:
        """Reserve `units`, or say why not."""
        ...

    async def finish_call(
        self, call: str, outcome: Outcome, units: int, *, sellers_fault: bool = False
    ) -> None:
        """Account for a started call; say whether the key, or what is behind it, failed."""
        ...

    async def report_refused(self, key: str) -> None:
        """The upstream refuses this key: a probe confirmed that it is dead."""
        ...


class Calls:
    """Opens and finishes calls so that each is finished exactly once, come what may.

    A client can go away at any await: what the engine has begun is carried to its end in
    tasks of our own, which `drain` waits for.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, lease: str, units: int) -> "OpenCall | Reject":
        """Reserve; if the caller is cancelled meanwhile, the reservation is given back."""
        opening = asyncio.create_task(self._delivery.start_call(lease, units))
        try:
            started = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self.keep(self._give_back(opening))
            raise
        return started if isinstance(started, Reject) else OpenCall(self, started, units)

    async def finish(
        self, started: StartedCall, outcome: Outcome, units: int, *, sellers_fault: bool = False
    ) -> None:
        """Tell the engine, whether or not the caller stays to hear of it."""
        finishing = self._delivery.finish_call(
            started.call, outcome, units, sellers_fault=sellers_fault
        )
        await asyncio.shield(self.keep(finishing))

    async def report_refused(self, key: str) -> None:
        """Tell the engine that a key is dead."""
        await asyncio.shield(self.keep(self._delivery.report_refused(key)))

    async def drain(self) -> None:
        """Wait until nothing is under way any more. Raises what a task raised."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` to its end, whoever is cancelled."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _give_back(self, opening: asyncio.Task[StartedCall | Reject]) -> None:
        started = await opening
        if not isinstance(started, Reject):
            await self._delivery.finish_call(started.call, Outcome.FAILED, 0)


class OpenCall:
    """One started call. The first `finish` counts; later ones do nothing."""

    def __init__(self, calls: Calls, started: StartedCall, units_reserved: int) -> None:
        self.started: Final = started
        self.outcome: Outcome | None = None
        self.units: int | None = None
        self._calls = calls
        self._units_reserved = units_reserved

    async def finish(self, outcome: Outcome, units: int, *, sellers_fault: bool = False) -> None:
        """Close the call with what was metered."""
        if self._settled(outcome, units):
            await self._calls.finish(self.started, outcome, units, sellers_fault=sellers_fault)

    def finish_later(self, outcome: Outcome, units: int, *, sellers_fault: bool = False) -> None:
        """`finish` for those who cannot await."""
        if self._settled(outcome, units):
            self._calls.keep(
                self._calls.finish(self.started, outcome, units, sellers_fault=sellers_fault)
            )

    def _settled(self, outcome: Outcome, units: int) -> bool:
        """Note how it ended; False if that was known before."""
        if self.outcome is not None:
            return False
        if units > self._units_reserved:
            # The core charges at most what the lease has left, and the windows all of it.
            LOG.warning("metered_beyond_reservation", call=self.started.call, units=units)
        self.outcome = outcome
        self.units = units
        return True
