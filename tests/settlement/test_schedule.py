"""Random schedules of chain and process faults: safe while they last, and then it settles.

Each seed draws which kinds of faults it has (swarm testing) and in which order. When the
faults end, every batch must become final within a bounded number of passes, every line
paid once, and the books must agree. A seed that once failed belongs in SEEDS for ever.
"""

# ruff: noqa: S311  actions whose names say it; randomness that must repeat

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from contracts.anvil import Anvil, Options
from intents.signature import SigningKey
from solver.settlement.fault import ChainUnreachable
from tests.settlement.faulty import Lie, Strike, a_faulty_node, a_receipt, nothing
from tests.settlement.test_fault import CrashingChain, LosingChain
from tests.settlement.world import USD, World, a_world

SEEDS = tuple(range(int(os.environ.get("KEYFILL_SCHEDULES", "12"))))
ACTIONS = 40
BATCHES = 3
FINALITY_BLOCKS = 8
Action = Callable[[World, Random], Awaitable[None]]
METHODS = (
    "eth_sendRawTransaction",
    "eth_getBlockByNumber",
    "eth_getTransactionCount",
    "eth_getTransactionByHash",
    "eth_getLogs",
    "eth_call",
)
QUICK = tuple(kind for kind in Strike if kind not in (Strike.LOST, Strike.MUTE))
"""Time-outs have tests of their own; here they would only take time."""


@pytest.fixture(scope="module")
def slow_chain() -> Iterator[Anvil]:
    """Blocks are final after eight, so that deep reorganisations are possible before."""
    with Anvil.start(Options(block_time_ms=None, slots_in_an_epoch=4)) as running:
        yield running


async def submit(world: World, random: Random) -> None:
    with suppress(ChainUnreachable):
        await world.submitter.step()


async def watch(world: World, random: Random) -> None:
    with suppress(ChainUnreachable):
        await world.watcher.step()
    assert world.state.cursor <= (await world.chain.finalized()).number


async def mine(world: World, random: Random) -> None:
    world.mine(random.randint(1, 4))


async def cut(world: World, random: Random) -> None:
    if world.state.ready:
        await world.cut(fills_max=1)


async def hold(world: World, random: Random) -> None:
    world.hold_blocks(held=random.random() < 0.5)


async def drop(world: World, random: Random) -> None:
    world.anvil.rpc("anvil_dropAllTransactions")


async def reorganise(world: World, random: Random) -> None:
    """Without our transactions, or with one of them in another place."""
    depth = random.randint(1, FINALITY_BLOCKS - 1)
    known = [
        version.raw
        for entry in world.outbox.unfinished()
        for version in world.outbox.versions(entry.number)
    ]
    again = [(known[0], random.randrange(depth))] if known and random.random() < 0.3 else []
    world.reorganise(depth, again)


async def crash(world: World, random: Random) -> None:
    world.restart_submitter()


async def crash_at_send(world: World, random: Random) -> None:
    chain = CrashingChain(world.anvil.url, after=random.random() < 0.5)
    with suppress(SystemExit):
        await world.new_submitter(chain=chain).step()
    await chain.close()
    world.restart_submitter()


async def lose_answer(world: World, random: Random) -> None:
    chain = LosingChain(world.anvil.url, through=random.random() < 0.5)
    with suppress(ChainUnreachable):
        await world.new_submitter(chain=chain).step()
    await chain.close()


async def strike(world: World, random: Random) -> None:
    """Some of the next requests are lost, cut, repeated or garbled on the way."""
    for _ in range(random.randint(1, 3)):
        world.node.strike(random.choice(METHODS), random.choice(QUICK))


async def lie(world: World, random: Random) -> None:
    """The node says something else than what is, for a while; or is honest again."""
    world.node.honest()
    if random.random() < 0.7:
        method, told = random.choice(LIES)
        world.node.lie(method, told)


async def spike(world: World, random: Random) -> None:
    base = (await world.chain.head()).base_fee_wei * random.choice((2, 5, 20))
    world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(min(base, 10**11)))


LIES: tuple[tuple[str, Lie], ...] = (
    ("eth_getTransactionReceipt", a_receipt(status="0x0")),
    ("eth_getTransactionReceipt", a_receipt(status="0x1")),
    ("eth_getTransactionReceipt", a_receipt(blockHash="0x" + "ab" * 32)),
    ("eth_getTransactionReceipt", nothing),
    ("eth_getTransactionByHash", nothing),
    ("eth_getTransactionCount", lambda _asked, _told: "0x0"),
    ("eth_getTransactionCount", lambda asked, told: "0xfff" if asked[1] == "pending" else told),
    ("eth_estimateGas", nothing),
)
STEADY: tuple[Action, ...] = (submit, watch, mine, cut)
FAULTS: tuple[Action, ...] = (
    hold,
    drop,
    reorganise,
    crash,
    crash_at_send,
    lose_answer,
    spike,
    strike,
    lie,
)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_schedule_settles_once(slow_chain: Anvil, tmp_path: Path, seed: int) -> None:
    """Whatever the order of faults: afterwards every batch is final, paid, and reconciled."""
    random = Random(seed)
    slow_chain.rpc("evm_setAutomine", True)
    async with a_world(slow_chain, tmp_path) as world, a_faulty_node(slow_chain) as (node, chain):
        world.node = node
        await world.ask_through(chain)
        world.finality_blocks = FINALITY_BLOCKS + 1
        await prepare(world)
        faults = random.sample(FAULTS, random.randint(0, len(FAULTS)))
        for _ in range(ACTIONS):
            await random.choice((*STEADY, *faults))(world, random)
            world.clock.advance(random.randint(0, 500))
        world.hold_blocks(held=False)
        node.honest()
        while world.state.ready:
            await world.cut(fills_max=1)
        await world.settle()
        batches = world.state.batches.values()
        assert [(batch.paid, batch.skipped) for batch in batches] == [(8_000, 0)] * BATCHES
        assert (await world.reconcile()).is_clean
        assert not world.submitter.alarms


async def prepare(world: World) -> None:
    """What three buyers owe is ready to be cut."""
    await world.sell(SigningKey.generate())
    buyers = [SigningKey.generate() for _ in range(BATCHES)]
    for buyer in buyers:
        await world.deposit(buyer.address, USD)
    await world.finalize()
    for buyer in buyers:
        intent, leases = await world.buy(buyer)
        await world.consume(intent, leases, units=8)
