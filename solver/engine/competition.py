"""Epochs: open an auction where there is something to trade, let solvers compete for it.

The auction closes by itself at its deadline, in the core. Strategies of ours compete as
solvers like any other; whoever listens to the feed and answers in time competes too.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from solver.core.auction import Snapshot, Solution
from solver.core.command import Mode, OpenAuction, ProposeSolution
from solver.core.event import AuctionOpened
from solver.engine.sequencer import Applied, Sequencer

Strategy = Callable[[Snapshot], Solution | None]
"""Pure: a snapshot in, a solution out, or None where it sees nothing to do."""


class Competition:
    """Runs the epochs of every resource that trades in them, in each asset by itself."""

    def __init__(
        self,
        sequencer: Sequencer,
        strategies: Mapping[str, Strategy],
        *,
        epoch_ms: int,
        assets: Sequence[str],
    ) -> None:
        self._sequencer = sequencer
        self._strategies: Final = dict(strategies)
        self._epoch_ms = epoch_ms
        self._assets: Final = tuple(assets)

    async def run(self) -> None:
        """Open an auction per resource, asset and epoch, until cancelled."""
        while True:
            resources = list(self._sequencer.market.state.resources.items())
            for resource, mode in resources:
                for asset in self._assets if mode is Mode.EPOCH else ():
                    await self._open(resource, asset)
            await asyncio.sleep(self._epoch_ms / 1_000)

    async def _open(self, resource: str, asset: str) -> None:
        closes_at_ms = self._sequencer.now_ms() + self._epoch_ms
        result = await self._sequencer.submit(
            OpenAuction(resource=resource, asset=asset, closes_at_ms=closes_at_ms)
        )
        if not isinstance(result, Applied):
            return
        for event in result.events:
            if isinstance(event, AuctionOpened):
                await self._compete(event.auction)

    async def _compete(self, number: int) -> None:
        auction = self._sequencer.market.state.auctions[number]
        for name, strategy in self._strategies.items():
            solution = strategy(auction.snapshot)
            if solution is not None:
                await self._sequencer.submit(
                    ProposeSolution(
                        auction=number,
                        solver=name,
                        snapshot=auction.snapshot_digest,
                        tick=solution.tick,
                        fills=solution.fills,
                    )
                )
