"""What a busy market and a node that falls behind do to the watcher, without Anvil."""

import asyncio
from types import SimpleNamespace
from typing import Any, Final, cast

from intents.reject import RejectCode, reject
from simulations.stream import stream
from simulations.swarm.chain import FINALITY_BLOCKS, Chain
from simulations.swarm.contract import Ledger
from simulations.swarm.fault import Faults
from simulations.swarm.person import BUYERS, DEPLOYMENT
from simulations.swarm.registry import Registry
from simulations.swarm.rpc import Provider, client_of
from solver.core.command import ApplyBlocks
from solver.core.fact import Deposited
from solver.engine.sequencer import Applied, Result, Sequencer
from solver.settlement.fault import ChainUnreachable
from solver.settlement.watcher import Watcher, WatchPolicy

CALM: Final = next(seed for seed in range(1_000) if not Faults(seed).families)


class Books:
    """As much of a sequencer as a watcher sees; `busy` says which command is refused."""

    def __init__(self, busy: int) -> None:
        self.market: Final = SimpleNamespace(state=SimpleNamespace(cursor=-1, cursor_hash=""))
        self.deposited = 0
        self._busy = busy

    async def submit(self, command: ApplyBlocks) -> Result:
        """Count what came in, once for each range."""
        self._busy -= 1
        if not self._busy:
            return reject(RejectCode.BUSY)
        if command.number <= self.market.state.cursor:
            return reject(RejectCode.CURSOR_BEHIND)
        self.market.state.cursor = command.number
        self.market.state.cursor_hash = command.block_hash
        self.deposited += sum(f.amount for f in command.facts if isinstance(f, Deposited))
        return Applied(at_ms=0, events=[])


def a_chain(*deposits: int) -> Chain:
    """Final blocks with so many deposits each."""
    now_s = iter(range(1_000, 10_000))
    ledger = Ledger(Registry(b"", DEPLOYMENT.usdc, {}))
    chain = Chain(ledger, Faults(CALM), stream(1, "chain"), lambda: next(now_s))
    for count in deposits:
        for _ in range(count):
            chain.act("deposit", BUYERS[0].account, amount=1)
        chain.mine()
    for _ in range(FINALITY_BLOCKS):
        chain.mine()
    return chain


def a_watcher(chain: Chain, books: Books) -> Watcher:
    """Two facts a command."""
    provider = Provider(chain, DEPLOYMENT, Faults(CALM), stream(1, "rpc"))
    return Watcher(
        chain=client_of(provider),
        sequencer=cast("Sequencer", cast("Any", books)),
        deployment=DEPLOYMENT,
        policy=WatchPolicy(facts_max=2),
    )


async def test_a_pass_that_failed_half_way_counts_nothing_twice() -> None:
    """P3: the market is busy in the middle of a pass, then the node is some blocks behind."""
    chain, books = a_chain(1, 1, 0, 0, 1), Books(busy=2)
    watcher = a_watcher(chain, books)
    try:
        await watcher.step()
    except ChainUnreachable:
        """The second command of the pass was refused."""
    assert books.deposited == 2
    behind, chain.blocks = chain.blocks, chain.blocks[:-2]
    await watcher.step()
    assert books.deposited == 2, "nothing is new in blocks 1 to 3"
    chain.blocks = behind
    await watcher.step()
    assert books.deposited == chain.final.ledger.balances[BUYERS[0].account] == 3


async def test_steps_of_a_watcher_take_every_deposit_once() -> None:
    """Without trouble each deposit counts once, whatever the size of a command."""
    chain, books = a_chain(1, 1, 0, 2, 1), Books(busy=0)
    watcher = a_watcher(chain, books)
    for _ in range(3):
        await watcher.step()
        await asyncio.sleep(0)
    assert books.deposited == 5
