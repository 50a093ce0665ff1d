"""Reorganisations one to eight blocks deep, with our transaction in what is lost and without.

Blocks are final after ten here. Whatever a branch that goes away says, the core never hears
of it; what is ours is on chain once in the end, and the books agree.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.anvil import Anvil, Options
from intents.signature import SigningKey
from solver.core.state import Batch
from solver.settlement.fault import ChainForked
from solver.settlement.outbox import Version
from solver.settlement.submit_policy import SubmitPolicy
from tests.settlement.world import USD, World, a_world

DEPTHS = range(1, 9)
SLOTS_IN_AN_EPOCH = 5
FINALITY_BLOCKS = 2 * SLOTS_IN_AN_EPOCH


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    """A chain that is slow to finalise."""
    with Anvil.start(Options(block_time_ms=None, slots_in_an_epoch=SLOTS_IN_AN_EPOCH)) as running:
        yield running


@pytest.fixture
async def world(anvil: Anvil, tmp_path: Path) -> AsyncIterator[World]:
    """A market on it."""
    anvil.rpc("evm_setAutomine", True)
    async with a_world(anvil, tmp_path) as made:
        made.finality_blocks = FINALITY_BLOCKS + 1
        yield made


def orphan(world: World, depth: int, again: list[tuple[bytes, int]] | None = None) -> None:
    """Take the newest `depth` blocks away, for as many others and one more."""
    world.reorganise(depth + 1, again or [])


async def a_mined_batch(world: World, depth: int) -> tuple[Batch, Version]:
    """A batch whose transaction is in the oldest of the newest `depth` blocks."""
    batch = await world.a_batch()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    await world.mined(version.hash)
    if depth > 1:
        world.mine(depth - 1)
    await world.watcher.step()
    return batch, version


async def assert_settled_once(world: World, batch: Batch) -> None:
    """Final, paid, by one transaction, and chain and book agree."""
    await world.settle()
    assert (batch.final, batch.paid, batch.skipped) == (True, 8_000, 0)
    assert world.sent() == 1
    assert (await world.reconcile()).is_clean
    assert not world.submitter.alarms


@pytest.mark.parametrize("depth", DEPTHS)
async def test_our_transaction_is_taken_away(world: World, depth: int) -> None:
    """It was mined, and then never was: the same bytes go again."""
    batch, version = await a_mined_batch(world, depth)
    orphan(world, depth)
    assert world.sent() == 0
    assert not await world.chain.is_known(version.hash)
    await world.watcher.step()
    assert batch.resolved == 0
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [version]
    await world.mined(version.hash)
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_our_transaction_moves_to_another_block(world: World, depth: int) -> None:
    """It is in the lost branch and in the new one: nothing is sent again."""
    batch, version = await a_mined_batch(world, depth)
    first = await world.mined(version.hash)
    orphan(world, depth, [(version.raw, depth)])
    again = await world.mined(version.hash)
    assert again.block_hash != first.block_hash
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [version]
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_another_version_is_in_the_new_branch(world: World, depth: int) -> None:
    """The dearer version was mined, and the branch that stays has the one it replaced."""
    batch = await world.a_batch()
    world.submitter = world.new_submitter(SubmitPolicy(bump_after_blocks=0))
    world.hold_blocks()
    for _ in range(2):
        await world.submitter.step()
    old, new = world.outbox.versions(batch.number)
    world.mine(depth)
    world.hold_blocks(held=False)
    assert await world.mined(new.hash)
    orphan(world, depth, [(old.raw, 0)])
    assert await world.mined(old.hash)
    assert await world.chain.receipt(new.hash) is None
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [old, new]
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_our_transaction_was_mined_before(world: World, depth: int) -> None:
    """The blocks that go away are younger: nothing changes for us."""
    batch, version = await a_mined_batch(world, depth)
    first = await world.mined(version.hash)
    world.mine()
    orphan(world, depth)
    assert await world.mined(version.hash) == first
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [version]
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_our_transaction_was_still_waiting(world: World, depth: int) -> None:
    """It is in the pool, which the reorganisation empties: the same bytes go again."""
    batch = await world.a_batch()
    world.mine(depth)
    world.hold_blocks()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    orphan(world, depth)
    world.hold_blocks(held=False)
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [version]
    await world.mined(version.hash)
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_the_process_restarts_meanwhile(world: World, depth: int) -> None:
    """Mined, taken away while we are not there: the stored bytes are all that is needed."""
    batch, version = await a_mined_batch(world, depth)
    orphan(world, depth)
    world.restart_submitter()
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [version]
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_deposit_that_is_taken_away_never_was(world: World, depth: int) -> None:
    """The core hears of a deposit when nothing can take it back, and of no other."""
    lost, kept = SigningKey.generate(), SigningKey.generate()
    await world.deposit(kept.address, USD)
    world.mine(FINALITY_BLOCKS)
    await world.deposit(lost.address, USD)
    world.mine(max(0, depth - 1))
    await world.watcher.step()
    orphan(world, depth)
    world.mine()
    await world.finalize()
    assert (world.total(lost.address), world.total(kept.address)) == (0, USD)
    assert (await world.reconcile()).is_clean


@pytest.mark.parametrize("depth", [1, 8])
async def test_a_watcher_of_the_newest_block_would_be_caught(world: World, depth: int) -> None:
    """Planted bug: what was believed before it was final is gone, and it shows at once."""
    lost = SigningKey.generate()
    await world.deposit(lost.address, USD)
    world.mine(max(0, depth - 1))
    finalized, world.chain.finalized = world.chain.finalized, world.chain.head  # type: ignore[method-assign]
    await world.watcher.step()
    world.chain.finalized = finalized  # type: ignore[method-assign]
    assert world.total(lost.address) == USD
    orphan(world, depth)
    with pytest.raises(ChainForked):
        await world.finalize()
    with pytest.raises(ChainForked):
        await world.new_watcher().start()


async def test_what_was_final_and_changed_stops_everything(world: World) -> None:
    """Deeper than finality: watcher and submitter say which block it was, and do nothing more."""
    batch = await world.a_batch()
    world.mine(FINALITY_BLOCKS)
    await world.finalize()
    await world.deposit(SigningKey.generate().address, USD)
    await world.finalize()
    cursor = world.state.cursor
    orphan(world, FINALITY_BLOCKS + 4)
    world.mine(2 * FINALITY_BLOCKS)
    with pytest.raises(ChainForked, match=f"block {cursor}"):
        await world.watcher.step()
    with pytest.raises(ChainForked, match=f"block {cursor}"):
        await world.submitter.step()
    assert not world.outbox.versions(batch.number)
