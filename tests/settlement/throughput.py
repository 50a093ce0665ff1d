"""How many batches a block takes from one sender, on a chain that is slow to finalise.

`make bench-settlement` prints one JSON line. What is owed by so many
buyers is there from the start, a fill a batch; then cutter, submitter and watcher go on
block by block, until all is mined. Blocks become final after twenty.
"""

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Final

import structlog

from contracts.anvil import Anvil, Options
from intents.signature import SigningKey
from solver.settlement.cutter import CutPolicy, Cutter
from tests.bench.figure import Figure, print_figure
from tests.settlement.world import USD, World, a_world

BATCHES: Final = 48
SLOTS_IN_AN_EPOCH: Final = 10
PASSES_A_BLOCK: Final = 2
"""`keyfill up` makes four."""
BLOCKS_MAX: Final = 1_000


async def measure(batches: int = BATCHES) -> Figure:
    """Mined batches for each block, once everything is owed."""
    options = Options(block_time_ms=None, slots_in_an_epoch=SLOTS_IN_AN_EPOCH)
    with Anvil.start(options) as anvil, tempfile.TemporaryDirectory() as folder:
        async with a_world(anvil, Path(folder)) as world:
            world.finality_blocks = 2 * SLOTS_IN_AN_EPOCH + 1
            await _owe(world, batches)
            blocks = await _blocks_until_mined(world, batches)
    return print_figure("settlement_batches_per_block", batches / blocks, "batches/block")


async def _owe(world: World, count: int) -> None:
    await world.sell(SigningKey.generate())
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    for _ in range(count):
        intent, leases = await world.buy(buyer)
        await world.consume(intent, leases, units=8)


async def _blocks_until_mined(world: World, count: int) -> int:
    cutter = Cutter(world.sequencer, CutPolicy(fills_max=1), backlog=world.submitter.backlog)
    world.hold_blocks()
    for blocks in range(BLOCKS_MAX):
        for _ in range(PASSES_A_BLOCK):
            while await cutter.step():
                pass
            await world.submitter.step()
        if world.sent() == count:
            return blocks
        world.mine()
        await world.watcher.step()
    raise AssertionError("the batches are never mined")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(measure())
