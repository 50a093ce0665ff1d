"""Epochs: open an auction where there is something to trade, let solvers compete for it.

The auction closes by itself at its deadline, in the core. Strategies of ours compete as
solvers like any other; whoever listens to the feed and answers in time competes too.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from solver.core.auction import BOOKS_MAX, Snapshot, Solution
from solver.core.command import Mode, OpenAuction, ProposeSolution
from solver.core.event import AuctionOpened
from solver.engine.sequencer import Applied, Sequencer

Strategy = Callable[[Snapshot], Sequence[Solution]]
"""Pure: a snapshot in, solutions out, each a bid of its own."""
SEED_BYTES: Final = 32


class Competition:
    """Runs the epochs of all resources that trade in them, in each asset by itself.

    What is won can be settled for `award_blocks` from the last block that the market knows; with 0
    nobody is paid. Where buyers sign for sums of small fills nobody is either: those sums name
    sellers alone. `randomness` gives so many bytes that nobody can guess: they decide between
    equal bids.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        strategies: Mapping[str, Strategy],
        *,
        epoch_ms: int,
        assets: Sequence[str],
        award_blocks: int,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._sequencer = sequencer
        self._strategies: Final = dict(strategies)
        self._epoch_ms = epoch_ms
        self._assets: Final = tuple(assets)
        self._award_blocks = award_blocks
        self._randomness = randomness
        self._epoch = 0

    async def run(self) -> None:
        """Open an auction per asset and epoch, until cancelled."""
        while True:
            listed = self._sequencer.market.state.resources.items()
            resources = tuple(resource for resource, mode in listed if mode is Mode.EPOCH)
            # Each is first in its turn: an auction has room for so many orders.
            first = self._epoch % max(1, len(resources))
            resources = resources[first:] + resources[:first]
            self._epoch += 1
            for start in range(0, len(resources), BOOKS_MAX):
                for asset in self._assets:
                    await self._open(resources[start : start + BOOKS_MAX], asset)
            await asyncio.sleep(self._epoch_ms / 1_000)

    async def _open(self, resources: tuple[str, ...], asset: str) -> None:
        closes_at_ms = self._sequencer.now_ms() + self._epoch_ms
        result = await self._sequencer.submit(
            OpenAuction(
                resources=resources,
                asset=asset,
                closes_at_ms=closes_at_ms,
                seed=self._randomness(SEED_BYTES).hex(),
                breaker=True,
                deadline_block=self._deadline_block(),
                demand=True,
            )
        )
        if not isinstance(result, Applied):
            return
        for event in result.events:
            if isinstance(event, AuctionOpened):
                await self._compete(event.auction)

    def _deadline_block(self) -> int:
        state = self._sequencer.market.state
        pays = self._award_blocks and state.cursor >= 0
        return state.cursor + self._award_blocks if pays else 0

    async def _compete(self, number: int) -> None:
        auction = self._sequencer.market.state.auctions[number]
        for name, strategy in self._strategies.items():
            for solution in strategy(auction.snapshot):
                await self._sequencer.submit(
                    ProposeSolution(
                        auction=number,
                        solver=name,
                        snapshot=auction.snapshot_digest,
                        books=solution.books,
                    )
                )
