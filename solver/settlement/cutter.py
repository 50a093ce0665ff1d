"""When to cut a batch: enough lines are ready, or the oldest has waited long enough."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from solver.core.check import check
from solver.core.command import CutBatch, CutMetered
from solver.core.state import State
from solver.engine.sequencer import Sequencer

POLL_S: Final = 0.1
FILLS_MAX: Final = 250
"""Most lines that may be asked for: no intent has more than the contract counts (255)."""


class CutPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How large and how old a batch may get."""

    fills_max: int = 50
    """At most FILLS_MAX. 50 lines cost 2 to 3 million gas. What a transaction holds at most the
    core sees to itself."""
    interval_ms: int = 5_000
    open_max: int = 8
    """No more batches than this wait to be mined; beyond it they grow instead."""
    unfinal_max: int = 256
    """No more than this wait to be mined or to become final."""
    metered_fills_max: int = 4_096
    metered_interval_ms: int = 10_000
    """How long receipts wait for others at most. A batch costs by its parties, not its fills."""
    unsigned_ms: int = 60_000
    """How long what nobody has signed for waits until the operator attests it."""


class Cutter:
    """Asks the sequencer for batches."""

    def __init__(
        self,
        sequencer: Sequencer,
        policy: CutPolicy | None = None,
        *,
        backlog: Callable[[], int] | None = None,
    ) -> None:
        """`backlog` tells how many batches wait to be mined; None: all that are not final."""
        self._sequencer = sequencer
        self._policy = policy or CutPolicy()
        check(1 <= self._policy.fills_max <= FILLS_MAX, "batch_size_in_bounds")
        self._backlog = backlog
        self._oldest: int | None = None
        self._since_ms = 0
        self._metered_ms = 0
        """When a metered batch was last tried."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(POLL_S)

    async def step(self) -> bool:
        """Cut a batch of each kind that is due; whether one was."""
        is_due, is_metered_due = self._is_due(), self._is_metered_due()
        if is_due:
            self._oldest = None
            await self._sequencer.submit(CutBatch(fills_max=self._policy.fills_max))
        if is_metered_due:
            self._metered_ms = self._sequencer.now_ms()
            await self._sequencer.submit(
                CutMetered(
                    fills_max=self._policy.metered_fills_max, unsigned_ms=self._policy.unsigned_ms
                )
            )
        return is_due or is_metered_due

    def _is_due(self) -> bool:
        state = self._sequencer.market.state
        now_ms = self._sequencer.now_ms()
        oldest = state.ready[0] if state.ready else None
        if oldest != self._oldest:
            self._oldest, self._since_ms = oldest, now_ms
        if oldest is None or self._is_congested(state):
            return False
        if now_ms - self._since_ms >= self._policy.interval_ms:
            return True
        return self._lines(state) >= self._policy.fills_max

    def _is_metered_due(self) -> bool:
        """Whether somebody has signed, or not for too long, and the last batch was a while ago."""
        state = self._sequencer.market.state
        now_ms, metering = self._sequencer.now_ms(), state.metering
        since_ms = next(iter(metering.unsigned.values()), now_ms)
        waits = metering.signed or now_ms - since_ms >= self._policy.unsigned_ms
        is_time = now_ms - self._metered_ms >= self._policy.metered_interval_ms
        return bool(waits) and is_time and not self._is_congested(state)

    def _is_congested(self, state: State) -> bool:
        unfinal = _unfinal(state)
        waiting = unfinal if self._backlog is None else self._backlog()
        return waiting >= self._policy.open_max or unfinal >= self._policy.unfinal_max

    def _lines(self, state: State) -> int:
        """Ready lines, counted no further than needed."""
        lines = 0
        for execution in state.ready:
            lines += len(state.executions[execution].leases)
            if lines >= self._policy.fills_max:
                break
        return lines


def _unfinal(state: State) -> int:
    return sum(not batch.final for batch in state.batches.values())
