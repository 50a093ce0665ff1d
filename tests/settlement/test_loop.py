"""The three loops as the engine runs them, when a batch is cut, and the local chain itself."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from contracts import anvil as local
from contracts.anvil import Anvil, Options
from contracts.batch import LINES_PER_INTENT_MAX
from contracts.bindings import SETTLEMENT
from contracts.fault import AnvilFailed, AnvilMissing, ArtifactFault
from contracts.gas import CHAIN_ID, SNAPSHOT, Figure, check, measure
from intents.signature import SigningKey
from solver.core.command import CutBatch
from solver.core.state import LEASES_PER_EXECUTION_MAX
from solver.core.weight import BYTES_FIXED, Load
from solver.settlement.batch import CALLDATA_BYTES_MAX, encode_batch, gas_limit
from solver.settlement.cutter import CutPolicy, Cutter
from solver.settlement.fault import BatchTooLarge
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.transaction import GAS_MAX
from solver.settlement.watcher import WatchPolicy
from tests.patience import patiently
from tests.settlement.test_metered_path import Metered
from tests.settlement.world import USD, World, a_world


async def used(world: World, count: int) -> None:
    """Executions that are ready to be cut."""
    await world.sell(SigningKey.generate())
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    for _ in range(count):
        intent, leases = await world.buy(buyer)
        await world.consume(intent, leases, units=8)


async def test_everything_runs_by_itself(tmp_path: Path) -> None:
    """With blocks that keep coming, the loops alone take a used lease to a final payment."""
    with Anvil.start(Options(block_time_ms=50)) as anvil:
        async with a_world(anvil, tmp_path) as world:
            await used(world, 3)
            submitter = world.new_submitter(SubmitPolicy(interval_ms=20))
            watcher = world.new_watcher(WatchPolicy(interval_ms=20))
            await submitter.start()
            await watcher.start()
            cutter = Cutter(world.sequencer, CutPolicy(fills_max=3))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop.run()) for loop in (cutter, submitter, watcher)]
                async with patiently():
                    while not any(batch.final for batch in world.state.batches.values()):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                for task in tasks:
                    task.cancel()
            assert (world.state.batches[0].paid, world.sent()) == (24_000, 1)
            assert (await world.reconcile()).is_clean


async def test_a_batch_is_cut_when_it_is_full_or_old(world: World) -> None:
    """Neither early, nor without end: enough lines, or the oldest waited for the interval."""
    cutter = Cutter(world.sequencer, CutPolicy(fills_max=3, interval_ms=5_000))
    assert not await cutter.step()
    await used(world, 2)
    assert not await cutter.step()
    world.clock.advance(4_999)
    assert not await cutter.step()
    world.clock.advance(1)
    assert await cutter.step()
    await used(world, 3)
    assert await cutter.step()
    assert [len(batch.lines) for batch in world.state.batches.values()] == [2, 3]


async def test_a_metered_batch_is_cut_when_somebody_signed_or_waited(world: World) -> None:
    """At once for the first receipt, then an interval later; without one after `unsigned_ms`."""
    policy = CutPolicy(metered_interval_ms=10_000, unsigned_ms=60_000)
    cutter = Cutter(world.sequencer, policy)
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    assert not await cutter.step()
    await metered.use(buyer)
    assert not await cutter.step()
    await metered.sign(buyer)
    assert await cutter.step()
    other = await world.a_buyer()
    await metered.use(other)
    await metered.sign(other)
    assert not await cutter.step()
    world.clock.advance(10_000)
    assert await cutter.step()
    late = await world.a_buyer()
    await metered.use(late)
    world.clock.advance(59_999)
    assert not await cutter.step()
    world.clock.advance(1)
    assert await cutter.step()
    batches = world.state.batches.values()
    assert [record.account for batch in batches for record in batch.records] == [
        buyer.address,
        other.address,
        late.address,
    ]
    assert [batch.records[0].receipt is None for batch in batches] == [False, False, True]


async def test_batches_grow_while_the_chain_is_slow(world: World) -> None:
    """No more than `open_max` batches wait; what comes meanwhile shares the next one."""
    cutter = Cutter(world.sequencer, CutPolicy(fills_max=1, open_max=2))
    await used(world, 5)
    assert [await cutter.step() for _ in range(4)] == [True, True, False, False]


async def test_a_batch_lists_each_offer_once(world: World) -> None:
    """Calldata grows by the line, not by the offer: a hundred lines cost what they must."""
    await used(world, 2)
    few = len(encode_batch(world.state, await world.cut(), world.awards))
    await used(world, 4)
    more = len(encode_batch(world.state, await world.cut(), world.awards))
    assert few < more < 2 * few


async def test_the_core_weighs_what_the_contract_reads(world: World) -> None:
    """The core's bytes are those of the packed layout, but for a fixed allowance; so are bounds."""
    for place in range(3):
        await world.sell(SigningKey.generate(), units=10, limit=10_000 + place)
    buyer = await world.a_buyer()
    for _ in range(3):
        intent, leases = await world.buy(buyer)
        await world.consume(intent, leases, units=10)
    load = Load(CALLDATA_BYTES_MAX, GAS_MAX)
    assert load.takes(world.state, world.state.leases.values())
    batch = await world.cut()
    size = len(encode_batch(world.state, batch, world.awards))
    assert len(batch.lines) == 3
    assert load.bytes - BYTES_FIXED <= size <= load.bytes
    await world.settle()
    assert batch.skipped == 0
    assert CutBatch(fills_max=1).bytes_max <= CALLDATA_BYTES_MAX
    assert CutBatch(fills_max=1).gas_max <= GAS_MAX


def test_an_execution_has_no_more_lines_than_the_contract_counts() -> None:
    """Its lines are one intent's, whose number the packed layout keeps in a byte."""
    assert LEASES_PER_EXECUTION_MAX == LINES_PER_INTENT_MAX == 2**8 - 1


def test_a_batch_that_fits_no_transaction_is_refused() -> None:
    """More gas than a transaction may have is a fault with a name, less gets a margin."""
    assert gas_limit(1, 1_000_000, asks_contracts=False) == 1_300_000
    assert gas_limit(1, 1_000_000, asks_contracts=True) == GAS_MAX
    assert gas_limit(1, GAS_MAX, asks_contracts=False) == GAS_MAX
    with pytest.raises(BatchTooLarge):
        gas_limit(1, GAS_MAX + 1, asks_contracts=False)


def test_a_missing_anvil_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an executable there is one line that says what to run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(local, "_FOLDER", tmp_path)
    with pytest.raises(AnvilMissing, match="make setup"):
        Anvil.start()


def test_another_version_on_the_path_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An `anvil` whose traps nobody measured is not used while the right one is installed."""
    other = tmp_path / "anvil"
    other.write_text("#!/bin/sh\necho anvil Version: 0.2.0\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local.find_anvil() != str(other)


def test_a_port_in_use_is_a_failure(anvil: Anvil) -> None:
    """A chain that was there before is never taken for a fresh one."""
    with pytest.raises(AnvilFailed):
        Anvil.start(Options(port=anvil.port))


def test_an_anvil_leaves_nothing_behind(tmp_path: Path) -> None:
    """States of old blocks, gigabytes after a while, are where we said and go with it."""
    cache = tmp_path / "cache"
    with Anvil.start(Options(block_time_ms=None, cache=cache)) as anvil:
        for _ in range(20):
            anvil.rpc("anvil_mine", hex(100))
        assert cache.exists()
        assert any(cache.iterdir())
    assert not cache.exists()


async def test_gas_stays_where_it_was() -> None:
    """The committed figures hold on a fresh chain, and a rise of 3 % would be reported."""
    with Anvil.start(Options(block_time_ms=None)) as anvil:
        assert int(anvil.rpc("eth_chainId"), 16) == CHAIN_ID
        figures = (await measure(anvil)).figures
    values = {figure.name: figure.value for figure in figures}
    assert values["verified_gas_per_fill_50"] <= 45_000
    assert check(figures, values) == []
    risen = [
        Figure(name=name, value=value * 103 // 100, unit="gas") for name, value in values.items()
    ]
    assert len(check(risen, values)) == len(values)


def test_the_readme_tells_the_committed_gas() -> None:
    """Whoever reads contracts/README.md finds the figures of gas.json."""
    readme = (SNAPSHOT.parent / "README.md").read_text()
    figures = msgspec.json.decode(SNAPSHOT.read_bytes(), type=dict[str, int])
    assert [name for name, gas in figures.items() if f"| {gas:,} |" not in readme] == []


def test_a_binding_the_abi_lacks_is_refused() -> None:
    """A function that is not in the committed ABI fails where it is named, not on chain."""
    with pytest.raises(ArtifactFault):
        SETTLEMENT.function("settleEverything")
