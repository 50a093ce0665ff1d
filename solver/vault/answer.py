"""An upstream's answer on its way to the client: scrubbed, metered, finished once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final, Self

from solver.core.command import Outcome
from solver.vault.delivery import OpenCall
from solver.vault.egress import Exchange
from solver.vault.fault import AnswerCut, EgressFault
from solver.vault.meter import Meter
from solver.vault.scrub import Scrubber

SERVER_FAILED: Final = 500
"""Statuses from here on say that the upstream failed, and not that it was asked badly."""
GRACE_SECONDS: Final = 5
"""How much longer than the upstream's total time an answer may stay open."""


class Answer:
    """Use as `async with answer:`, and iterate over it for the body.

    `outcome` and `units` are known once the body has ended or the answer was closed.
    Leaving the block early (the client went away) finishes the call with what was metered
    by then, which is never less than what was handed out.
    """

    def __init__(
        self,
        *,
        exchange: Exchange,
        call: OpenCall,
        meter: Meter,
        scrubber: Scrubber,
        outcome: Outcome,
        seconds_max: float,
    ) -> None:
        self.status: Final = exchange.status
        self.headers: Final = tuple(
            (name, scrubber.whole(value.encode(errors="replace")).decode(errors="replace"))
            for name, value in exchange.headers
        )
        self._exchange = exchange
        self._call = call
        self._meter = meter
        self._scrubber = scrubber
        self._outcome_at_end = outcome
        self._sellers_fault = exchange.status >= SERVER_FAILED
        self._body = self._relay()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds_max + GRACE_SECONDS, self._expire)

    @property
    def call(self) -> str:
        """The call's id."""
        return self._call.started.call

    @property
    def lease(self) -> str:
        """The lease that serves it."""
        return self._call.started.lease

    @property
    def resource(self) -> str:
        """The resource that was used."""
        return self._call.started.resource

    @property
    def outcome(self) -> Outcome | None:
        """What became of it; None while the body is still coming."""
        return self._call.outcome

    @property
    def units(self) -> int | None:
        """What was metered; None while the body is still coming."""
        return self._call.units

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """The client needs no more. Finishes the call if its body had not ended."""
        await self._end(self._outcome_at_end)
        with suppress(RuntimeError):
            # Another task may still wait for a chunk; with the exchange closed it ends too.
            await self._body.aclose()

    async def _relay(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._exchange.chunks():
                self._meter.feed(chunk)
                if clean := self._scrubber.feed(chunk):
                    yield clean
        except AnswerCut:
            # A bound that everyone knows was reached: what came by then was delivered.
            await self._end(self._outcome_at_end)
            raise
        except EgressFault:
            # Part of an answer came, and then no more: neither used nor unused.
            self._sellers_fault = True
            await self._end(Outcome.UNKNOWN)
            raise
        tail = self._scrubber.flush()
        await self._end(self._outcome_at_end)
        if tail:
            yield tail

    async def _end(self, outcome: Outcome) -> None:
        self._release()
        await self._call.finish(outcome, self._metered(outcome), sellers_fault=self._sellers_fault)

    def _expire(self) -> None:
        """The client neither read on nor left."""
        self._release()
        outcome = self._outcome_at_end
        self._call.finish_later(outcome, self._metered(outcome), sellers_fault=self._sellers_fault)

    def _release(self) -> None:
        self._timer.cancel()
        self._exchange.close()
        self._scrubber.close()

    def _metered(self, outcome: Outcome) -> int:
        return 0 if outcome is Outcome.FAILED else self._meter.units
