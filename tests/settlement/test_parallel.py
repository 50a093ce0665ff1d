"""Several batches on their way at once: none is lost, none goes twice, whatever one does."""

import pytest

from contracts.deploy import SessionPlan, grant_session
from intents.signature import SigningKey
from solver.core.state import Batch
from solver.settlement import gap
from solver.settlement.cutter import CutPolicy, Cutter
from solver.settlement.fault import ChainUnreachable
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.transaction import Transaction, sign
from solver.settlement.view import View
from solver.settlement.wallet import Wallet
from tests.settlement.faulty import Strike, a_faulty_node
from tests.settlement.test_faulty_node import settle_through
from tests.settlement.throughput import measure
from tests.settlement.world import CHAIN_ID, DEPLOYER, USD, World


async def owed(world: World, *units: int) -> list[Batch]:
    """A batch for each, of so many delivered units."""
    await world.sell(SigningKey.generate())
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    batches = []
    for delivered in units:
        intent, leases = await world.buy(buyer, units=delivered)
        await world.consume(intent, leases, units=delivered)
        batches.append(await world.cut())
    return batches


def nonces(world: World) -> list[int | None]:
    return [entry.nonce for entry in world.outbox.unfinished()]


async def a_foreign_transaction(world: World) -> bytes:
    """Signed by our key, and not by us."""
    transaction = Transaction(
        chain_id=CHAIN_ID,
        nonce=0,
        fees=await world.chain.fees(),
        gas=21_000,
        to=DEPLOYER.address,
        data=b"",
    )
    return sign(transaction, world.session).raw


async def assert_all_settled(world: World, batches: list[Batch], *, sent: int) -> None:
    """Each once, by so many transactions."""
    assert all(batch.final and not batch.skipped for batch in batches)
    assert world.sent() == sent
    assert (await world.reconcile()).is_clean
    assert not world.submitter.alarms
    assert not world.outbox.unfinished()


async def test_a_block_takes_as_many_as_may_be_in_flight(world: World) -> None:
    """Eight are signed in one pass, with nonces in a row, and one block mines them all."""
    batches = await owed(world, *[8] * 11)
    world.hold_blocks()
    await world.submitter.step()
    await world.submitter.step()
    assert nonces(world) == [*range(8), None, None, None]
    world.mine()
    assert world.sent() == 8
    await world.submitter.step()
    assert nonces(world) == list(range(11))
    assert not any(batch.final for batch in batches)
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    await assert_all_settled(world, batches, sent=11)


async def test_one_that_reverts_in_the_middle_harms_no_neighbour(world: World) -> None:
    """Each alone is within the session's cap, not all together: the big one waits for a person."""
    until = world.clock.now_ms() // 1_000 + 86_400
    wallet = Wallet(world.chain, [DEPLOYER])
    key = world.session.address
    await grant_session(
        wallet, world.deployment, SessionPlan(key=key, expires_at=until, cap=20_000)
    )
    batches = await owed(world, 8, 16, 8)
    world.hold_blocks()
    await world.submitter.step()
    assert nonces(world) == [0, 1, 2]
    world.hold_blocks(held=False)
    world.mine()
    assert world.sent() == 3
    for _ in range(3):
        await world.submitter.step()
        await world.finalize()
    assert [batch.final for batch in batches] == [True, False, True]
    assert world.submitter.status().failed == (1,)
    assert world.sent() == 3
    await grant_session(wallet, world.deployment, SessionPlan(key=key, expires_at=until))
    assert await world.submitter.retry(1)
    await world.settle()
    await assert_all_settled(world, batches, sent=4)


async def test_one_that_is_dropped_in_the_middle_is_sent_again(world: World) -> None:
    """Those above it keep their bytes and wait for it."""
    batches = await owed(world, *[8] * 5)
    world.hold_blocks()
    await world.submitter.step()
    before = [world.outbox.versions(batch.number) for batch in batches]
    world.anvil.rpc("anvil_dropTransaction", before[2][0].hash)
    world.mine()
    assert world.sent() == 2
    await world.submitter.step()
    assert [world.outbox.versions(batch.number) for batch in batches] == before
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    await assert_all_settled(world, batches, sent=5)


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("kind", [Strike.LOST, Strike.MUTE], ids=["lost", "mute"])
async def test_one_send_without_an_answer_loses_no_neighbour(
    world: World, kind: Strike, place: int
) -> None:
    """The first, a middle or the last one: what is not known is looked for, then the rest goes."""
    batches = await owed(world, *[8] * 5)
    async with a_faulty_node(world.anvil) as (node, chain):
        await world.ask_through(chain)
        node.strike("eth_sendRawTransaction", None, times=place)
        node.strike("eth_sendRawTransaction", kind)
        with pytest.raises(ChainUnreachable):
            await world.submitter.step()
        assert nonces(world) == [n if n <= place else None for n in range(5)]
        await settle_through(world)
        await assert_all_settled(world, batches, sent=5)


async def test_a_dear_chain_replaces_the_whole_line_at_once(world: World) -> None:
    """When the base fee leaves all of them behind, they are replaced in one pass, not in turn."""
    batches = await owed(world, *[8] * 4)
    world.submitter = world.new_submitter(SubmitPolicy(bump_after_blocks=2))
    world.hold_blocks()
    await world.submitter.step()
    offered = world.outbox.versions(0)[0].fees.max_wei
    for _ in range(2):
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(2 * offered))
        world.mine()
    assert world.sent() == 0
    await world.submitter.step()
    assert [len(world.outbox.versions(batch.number)) for batch in batches] == [2] * 4
    world.hold_blocks(held=False)
    world.mine()
    assert world.sent() == 4
    await world.settle()
    await assert_all_settled(world, batches, sent=4)


async def test_those_behind_a_stuck_one_are_not_replaced(world: World) -> None:
    """They pay enough, and only wait for their turn: bumping them would cost for nothing."""
    batches = await owed(world, *[8] * 3)
    world.submitter = world.new_submitter(SubmitPolicy(bump_after_blocks=2))
    world.hold_blocks()
    await world.submitter.step()
    sent = [world.outbox.versions(batch.number)[0].raw for batch in batches]
    world.anvil.rpc("anvil_dropAllTransactions")
    for _ in range(2):
        world.mine()
    for raw in sent:
        await world.chain.send(raw)
    await world.submitter.step()
    assert [len(world.outbox.versions(batch.number)) for batch in batches] == [2, 1, 1]
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    await assert_all_settled(world, batches, sent=3)


async def _a_gap(world: World, *, waiting: bool) -> list[Batch]:
    """Someone used our key, we signed above, and that use was taken away again."""
    batches = await owed(world, *[8] * (3 if waiting else 2))
    await world.transact(world.session, DEPLOYER.address, b"", 1)
    world.hold_blocks()
    world.submitter = world.new_submitter(SubmitPolicy(in_flight_max=2, bump_after_blocks=2))
    await world.submitter.step()
    assert nonces(world)[:2] == [1, 2]
    world.reorganise(2)
    assert world.sent() == 0
    return batches


async def test_a_nonce_that_nobody_uses_is_filled(world: World) -> None:
    """After some blocks an empty transaction takes it, and all above it are mined."""
    batches = await _a_gap(world, waiting=False)
    world.hold_blocks(held=False)
    for _ in range(2):
        await world.submitter.step()
        world.mine()
        assert world.sent() == 0
    await world.submitter.step()
    assert [alarm.name for alarm in world.alarms] == ["nonce_gap"]
    await world.settle()
    await assert_all_settled(world, batches, sent=3)


async def test_a_gap_that_stays_open_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: without the filler what is above is never mined."""
    monkeypatch.setattr(gap.GapFiller, "find", lambda *_: None)
    await _a_gap(world, waiting=False)
    world.hold_blocks(held=False)
    with pytest.raises(AssertionError, match="never settles"):
        await world.settle()


async def test_a_batch_that_waits_takes_the_free_nonce(world: World) -> None:
    """What has no nonce yet gets the lowest: nothing is spent on a filler."""
    batches = await _a_gap(world, waiting=True)
    world.submitter = world.new_submitter(SubmitPolicy(in_flight_max=3))
    world.hold_blocks(held=False)
    await world.submitter.step()
    assert nonces(world) == [1, 2, 0]
    world.mine()
    await world.settle()
    await assert_all_settled(world, batches, sent=3)


async def test_a_filler_that_is_too_cheap_is_offered_dearer(world: World) -> None:
    """The chain got dearer meanwhile: it goes again, at a real markup, until it is mined."""
    batches = await _a_gap(world, waiting=False)
    for _ in range(2):
        await world.submitter.step()
        world.mine()
    await world.submitter.step()
    filler = world.submitter._gap
    first = filler._offered[0]
    while (offered := filler._offered[0]) == first:
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(2 * first.max_wei))
        world.mine()
        assert world.sent() == 0
        await world.submitter.step()
    assert offered.max_wei * 1_000 >= first.max_wei * 1_125
    assert offered.tip_wei * 1_000 >= first.tip_wei * 1_125
    world.hold_blocks(held=False)
    await world.settle()
    await assert_all_settled(world, batches, sent=3)


async def test_somebody_elses_transaction_gets_more_time(world: World) -> None:
    """It is in the pool below ours, and not ours: only after four times the wait it is replaced."""
    batches = await _a_gap(world, waiting=False)
    foreign = await a_foreign_transaction(world)
    for _ in range(8):
        await world.chain.send(foreign)
        await world.submitter.step()
        assert not world.alarms
        # An empty block: the pool is put aside while it is mined.
        world.anvil.rpc("anvil_dropAllTransactions")
        world.mine()
    world.hold_blocks(held=False)
    await world.settle()
    await assert_all_settled(world, batches, sent=3)


async def test_a_wide_gap_is_filled_piece_by_piece(world: World) -> None:
    """No more fillers in one pass than declared, from the lowest nonce on, and none twice over."""
    world.hold_blocks()
    filler = gap.GapFiller(world.chain, world.session, chain_id=CHAIN_ID, patience_blocks=0)
    block = await world.chain.head()
    view = View(
        head=block, final=block, nonce=0, nonce_final=0, nonce_pending=0, settled=frozenset()
    )
    found = filler.find(view, {40})
    assert found == gap.Gap(first=0, above=40)
    await filler.fill(found, view, await world.chain.fees(), 10**12)
    assert await world.chain.nonce(world.session.address, "pending") == gap.FILL_MAX
    assert filler.find(view, {0, 40}) is None
    assert filler.find(view, set()) is None


async def test_a_used_nonce_is_not_given_out_again(world: World) -> None:
    """Even if the node forgot all that we sent: what is final in the outbox stays used."""
    first = await owed(world, 8, 8)
    await world.settle()
    (third,) = await owed(world, 8)
    async with a_faulty_node(world.anvil) as (node, chain):
        await world.ask_through(chain)
        node.lie("eth_getTransactionCount", lambda _asked, _told: "0x0")
        await world.submitter.step()
        assert nonces(world) == [2]
    await world.ask_through(world.chain)
    await world.settle()
    await assert_all_settled(world, [*first, third], sent=3)


async def test_a_pooled_nonce_of_somebody_else_is_passed_over(world: World) -> None:
    """Who used our key by hand is not replaced by a batch: it goes behind."""
    batches = await owed(world, 8)
    world.hold_blocks()
    await world.chain.send(await a_foreign_transaction(world))
    await world.submitter.step()
    assert nonces(world) == [1]
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    await assert_all_settled(world, batches, sent=2)


async def test_a_new_batch_goes_behind_what_was_dropped(world: World) -> None:
    """The pool has forgotten all of it, and so names a nonce that is ours: it is not used twice."""
    batches = await owed(world, 8, 8, 8)
    world.hold_blocks()
    await world.new_submitter(SubmitPolicy(in_flight_max=2)).step()
    assert nonces(world) == [0, 1, None]
    world.anvil.rpc("anvil_dropAllTransactions")
    await world.submitter.step()
    assert nonces(world) == [0, 1, 2]
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    await assert_all_settled(world, batches, sent=3)


async def test_a_send_again_without_an_answer_holds_nobody_up(world: World) -> None:
    """Two were dropped: that nothing is heard of the first does not keep the second waiting."""
    batches = await owed(world, 8, 8)
    world.hold_blocks()
    async with a_faulty_node(world.anvil) as (node, chain):
        await world.ask_through(chain)
        await world.submitter.step()
        world.anvil.rpc("anvil_dropAllTransactions")
        node.strike("eth_sendRawTransaction", Strike.REFUSED)
        with pytest.raises(ChainUnreachable):
            await world.submitter.step()
        (second,) = world.outbox.versions(1)
        assert await world.chain.is_known(second.hash)
        world.hold_blocks(held=False)
        await settle_through(world)
        await assert_all_settled(world, batches, sent=2)


async def test_the_cutter_counts_what_is_not_mined_and_what_is_not_final(world: World) -> None:
    """Mined batches make room for others, but not without end."""
    await owed(world, 8, 8)
    buyer = await world.a_buyer()
    for _ in range(2):
        intent, leases = await world.buy(buyer)
        await world.consume(intent, leases, units=10)
    backlog = world.submitter.backlog
    assert backlog() == 2
    few = CutPolicy(fills_max=1, open_max=2, unfinal_max=3)
    assert not await Cutter(world.sequencer, few, backlog=backlog).step()
    world.hold_blocks()
    await world.submitter.step()
    world.mine()
    await world.submitter.step()
    assert backlog() == 0
    cutter = Cutter(world.sequencer, few, backlog=backlog)
    assert [await cutter.step(), await cutter.step()] == [True, False]


async def test_batches_a_block_do_not_wait_for_finality() -> None:
    """With finality twenty blocks away a block still takes several batches."""
    figure = await measure(24)
    assert figure.value > 2
