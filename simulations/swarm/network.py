"""What lies between clients and the market: messages get lost, doubled, late and old."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Final

from intents.reject import Reject, RejectCode
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.gate import Answer, Gate, Message
from simulations.swarm.loop import Process, VirtualLoop

PATIENCE_S: Final = 6.0
REFUSED_S: Final = 2.0
"""Where nobody listens, whoever asked waits about so long before it asks again."""
HISTORY_MAX: Final = 64
EPOCH_S: Final = 5.0
Reached = Callable[[], tuple[Gate, Process] | None]
"""The process that listens now, if one does."""


class Network:
    """Carries requests to whichever process listens, and answers back."""

    def __init__(
        self,
        loop: VirtualLoop,
        faults: Faults,
        random: Random,
        outside: Context,
        reached: Reached,
    ) -> None:
        self._loop = loop
        self._faults = faults
        self._random = random
        self._reached = reached
        self._outside = outside
        self._history: deque[Message] = deque(maxlen=HISTORY_MAX)

    async def ask(self, message: Message) -> Answer | None:
        """The answer; None if none came in time: then anything may have happened."""
        future: asyncio.Future[Answer | None] = self._loop.create_future()
        self._history.append(message)
        for _ in range(self._copies()):
            self._later(self._delay_s(), self._arrive, message, future)
        if self._faults.strike(FaultKind.REPLAY):
            old = self._random.choice(self._history)
            self._later(self._delay_s(), self._arrive, old, None)
        self._later(PATIENCE_S, _resolve, future, None)
        return await future

    def _copies(self) -> int:
        if self._faults.strike(FaultKind.DROP):
            return 0
        return 3 if self._faults.strike(FaultKind.DUPLICATE) else 1

    def _delay_s(self) -> float:
        delay_s = self._random.uniform(0.001, 0.02)
        if self._faults.strike(FaultKind.REORDER):
            delay_s += self._random.uniform(0.02, 0.5)
        if self._faults.strike(FaultKind.DELAY):
            delay_s += self._random.uniform(EPOCH_S, 4 * EPOCH_S)
        return delay_s

    def _later(self, delay_s: float, work: Callable[..., object], *arguments: object) -> None:
        self._loop.call_later(delay_s, work, *arguments, context=self._outside)

    def _arrive(self, message: Message, future: "asyncio.Future[Answer | None] | None") -> None:
        reached = self._reached()
        if reached is None:
            if future is not None:
                self._later(self._delay_s() + REFUSED_S, _resolve, future, None)
            return
        gate, process = reached
        self._loop.spawn(self._serve(gate, message, future), process)

    async def _serve(
        self, gate: Gate, message: Message, future: "asyncio.Future[Answer | None] | None"
    ) -> None:
        answer = await gate.serve(message)
        busy = isinstance(answer, Reject) and answer.code is RejectCode.BUSY
        if busy and self._faults.has("load"):
            self._faults.note(FaultKind.INBOX_FULL)
        if future is not None and not self._faults.strike(FaultKind.DROP):
            self._later(self._delay_s(), _resolve, future, answer)


def _resolve(future: "asyncio.Future[Answer | None]", answer: Answer | None) -> None:
    if not future.done():
        future.set_result(answer)
