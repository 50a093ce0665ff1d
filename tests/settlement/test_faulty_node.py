"""A node that times out, repeats, answers nonsense or lies costs time, and never money."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from contracts.anvil import Anvil, Options
from contracts.bindings import SETTLEMENT
from contracts.deploy import SessionPlan, grant_session
from intents.signature import SigningKey
from solver.core.state import Batch
from solver.settlement.chain import ATTEMPTS_MAX
from solver.settlement.dispatch import Dispatch
from solver.settlement.fault import ChainForked, ChainMismatch, ChainUnreachable
from solver.settlement.follow import Follower
from solver.settlement.outbox import Entry, Status
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.view import View
from solver.settlement.wallet import Wallet
from solver.settlement.watcher import WatchPolicy
from tests.patience import patiently
from tests.settlement.faulty import (
    ARRIVES,
    FaultyNode,
    Strike,
    a_faulty_node,
    a_receipt,
    nothing,
)
from tests.settlement.world import DEPLOYER, USD, World

SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"
LOGS_TAKEN = 20
"""More of them at once a node refuses here; real ones take ten thousand."""
READS = (
    "eth_chainId",
    "eth_getBlockByNumber",
    "eth_getLogs",
    "eth_call",
    "eth_estimateGas",
    "eth_getTransactionCount",
    "eth_feeHistory",
    "eth_getTransactionByHash",
)


@pytest.fixture
async def node(anvil: Anvil, world: World) -> AsyncIterator[FaultyNode]:
    """What submitter and watcher ask; the test itself asks the real node."""
    async with a_faulty_node(anvil) as (made, chain):
        await world.ask_through(chain)
        yield made


async def believe_receipts(self: Follower, entry: Entry, view: View) -> None:
    """Planted bug: a receipt is the truth, whatever the nonce and the contract say."""
    for version in self._outbox.versions(entry.number):
        receipt = await self._chain.receipt(version.hash)
        if receipt is not None and not receipt.succeeded:
            self._outbox.fail(entry.number, "the receipt says so")


async def sign_anew(self: Dispatch, number: int, raw: bytes) -> bool:
    """Planted bug: a send without an answer is a send that failed."""
    try:
        await self._chain.send(raw)
    except ChainUnreachable:
        self._outbox.release(number)
        raise
    return True


async def step_through(world: World) -> None:
    """A pass as the loop makes it: what is not known now is asked again in the next."""
    with suppress(ChainUnreachable):
        await world.submitter.step()


async def settle_through(world: World) -> None:
    """Passes of both, with blocks in between, until all is final."""
    for _ in range(30):
        await step_through(world)
        world.mine(world.finality_blocks)
        with suppress(ChainUnreachable):
            while await world.watcher.step():
                pass
        if all(batch.final for batch in world.state.batches.values()):
            await world.submitter.step()
            return
    raise AssertionError("a batch never settles")


async def assert_settled_once(world: World, *batches: Batch) -> None:
    """One transaction a batch, the books agree, nothing is left to tell."""
    assert all(batch.final for batch in batches)
    assert world.sent() == len(batches)
    assert (await world.reconcile()).is_clean
    assert not world.submitter.alarms
    assert not world.outbox.unfinished()


@pytest.mark.parametrize("kind", Strike, ids=lambda kind: kind.name.lower())
async def test_a_send_that_goes_wrong_settles_once(
    world: World, node: FaultyNode, kind: Strike
) -> None:
    """Whether it arrived or not, and whatever came back: the same bytes, and one settlement.

    What arrived is recognised, and is not sent again.
    """
    batch = await world.a_batch()
    node.strike(SEND, kind)
    await step_through(world)
    (version,) = world.outbox.versions(batch.number)
    sends = node.seen.get(SEND, 0)
    assert sends == (2 if kind is Strike.TWICE else int(kind in ARRIVES))
    await step_through(world)
    assert node.seen[SEND] == max(1, sends)
    assert world.outbox.versions(batch.number) == [version]
    await settle_through(world)
    await assert_settled_once(world, batch)


@pytest.mark.parametrize("kind", Strike, ids=lambda kind: kind.name.lower())
async def test_a_wallet_sends_once_what_goes_wrong(
    world: World, node: FaultyNode, kind: Strike
) -> None:
    """Who deposits is not told "try again" by a node that took the deposit: it is made once."""
    wallet = Wallet(world.through, [DEPLOYER])
    nonce = await wallet.nonce(DEPLOYER.address)
    node.strike(SEND, kind)
    somebody = SigningKey.generate().address
    receipt = await wallet.transact(DEPLOYER.address, somebody, b"", 7)
    assert receipt.succeeded
    assert await wallet.nonce(DEPLOYER.address) == nonce + 1
    assert await wallet.balance(somebody) == 7


async def test_a_hasty_submitter_would_be_caught(
    world: World, node: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: signing anew after a time-out sends two transactions for one batch."""
    batch = await world.a_batch()
    monkeypatch.setattr(Dispatch, "send", sign_anew)
    world.hold_blocks()
    node.strike(SEND, Strike.MUTE)
    await step_through(world)
    await step_through(world)
    world.hold_blocks(held=False)
    world.mine()
    await settle_through(world)
    assert batch.final
    with pytest.raises(AssertionError):
        await assert_settled_once(world, batch)


@pytest.mark.parametrize("kind", Strike, ids=lambda kind: kind.name.lower())
async def test_every_read_may_go_wrong(world: World, node: FaultyNode, kind: Strike) -> None:
    """Each kind of question meets the fault, now and then often enough to give up on it."""
    batches = [await world.a_batch() for _ in range(2)]
    for place, method in enumerate(READS):
        node.strike(method, kind, times=1 if place % 4 else ATTEMPTS_MAX)
        await step_through(world)
        with suppress(ChainUnreachable):
            await world.watcher.step()
    node.honest()
    await settle_through(world)
    await assert_settled_once(world, *batches)


async def test_a_receipt_of_what_is_not_mined_is_not_believed(
    world: World, node: FaultyNode
) -> None:
    """It waits in the pool, and the node says that it failed long ago: nothing follows."""
    batch = await world.a_batch()
    world.hold_blocks()
    node.lie(RECEIPT, a_receipt(status="0x0", blockNumber="0x1"))
    for _ in range(5):
        await world.submitter.step()
    assert [entry.status for entry in world.outbox.unfinished()] == [Status.SENT]
    world.hold_blocks(held=False)
    world.mine()
    await settle_through(world)
    await assert_settled_once(world, batch)


async def test_a_believing_submitter_would_be_caught(
    world: World, node: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: with the receipt's word alone a batch that settles is given up as failed."""
    await world.a_batch()
    monkeypatch.setattr(Follower, "follow", believe_receipts)
    world.hold_blocks()
    node.lie(RECEIPT, a_receipt(status="0x0", blockNumber="0x1"))
    for _ in range(2):
        await world.submitter.step()
    assert [entry.status for entry in world.outbox.unfinished()] == [Status.FAILED]


@pytest.mark.parametrize(
    "lie",
    [
        {"status": "0x0"},
        {"blockHash": "0x" + "ab" * 32},
        {"blockNumber": "0xffffff"},
        {"transactionHash": "0x" + "cd" * 32},
        None,
    ],
    ids=["status", "hash", "number", "other", "none"],
)
async def test_a_lie_about_what_settled_changes_nothing(
    world: World, node: FaultyNode, lie: dict[str, str] | None
) -> None:
    """The contract has the number: no receipt can say otherwise."""
    batch = await world.a_batch()
    node.lie(RECEIPT, nothing if lie is None else a_receipt(**lie))
    await world.submitter.step()
    for _ in range(4):
        await world.submitter.step()
        world.mine()
    await settle_through(world)
    await assert_settled_once(world, batch)
    assert not world.alarms


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"status": "0x1"}, "says that it succeeded"),
        ({"blockHash": "0x" + "ab" * 32}, "not on the chain"),
        ({"blockNumber": "0xffffff"}, "not on the chain"),
    ],
    ids=["status", "hash", "number"],
)
async def test_a_lie_about_what_reverted_is_told(
    world: World, node: FaultyNode, lie: dict[str, str], told: str
) -> None:
    """Its nonce is spent and the number is not settled: an alarm, a person, and it is paid."""
    batch = await _a_reverted_batch(world)
    node.lie(RECEIPT, a_receipt(**lie))
    for _ in range(4):
        await world.submitter.step()
    (alarm,) = world.alarms
    assert alarm.name == "receipt_contradicted"
    assert told in alarm.reason
    assert [entry.status for entry in world.outbox.unfinished()] == [Status.SENT]
    world.mine(world.finality_blocks)
    await world.submitter.step()
    assert world.submitter.status().failed == (batch.number,)
    await _retry(world, node, batch)


@pytest.mark.parametrize(
    "lie", [{"transactionHash": "0x" + "cd" * 32}, None], ids=["other", "none"]
)
async def test_a_receipt_that_is_kept_from_us_is_no_loss(
    world: World, node: FaultyNode, lie: dict[str, str] | None
) -> None:
    """Nothing, or another's receipt, for what reverted: a new nonce, and it is paid once."""
    batch = await _a_reverted_batch(world)
    node.lie(RECEIPT, nothing if lie is None else a_receipt(**lie))
    await world.submitter.step()
    assert not world.alarms, "it may be the nonce of a block that is coming"
    await world.submitter.step()
    assert [alarm.name for alarm in world.alarms] == ["nonce_collision"]
    world.mine(world.finality_blocks)
    await world.submitter.step()
    node.honest()
    await _grant(world)
    world.clock.advance(100_000)
    await settle_through(world)
    assert batch.final
    assert world.sent() == 2
    assert (await world.reconcile()).is_clean


async def test_a_node_that_serves_another_chain_by_now_is_left(
    world: World, node: FaultyNode
) -> None:
    """The chain id is asked on every pass: submitter and watcher stop, and send nothing more."""
    await world.a_batch()
    await world.submitter.step()
    node.lie("eth_chainId", lambda _asked, _told: "0x1")
    world.submitter = world.new_submitter(SubmitPolicy(interval_ms=1))
    watcher = world.new_watcher(WatchPolicy(interval_ms=1))
    for loop in (world.submitter.run(), watcher.run()):
        async with patiently():
            with pytest.raises(ChainMismatch, match="chain 1, not 31337"):
                await loop
    assert node.seen[SEND] == 1


async def test_a_node_with_another_history_is_left(world: World, node: FaultyNode) -> None:
    """The same chain id, and not our chain: nothing is sent there, not even looked at."""
    await world.a_batch()
    with Anvil.start(Options(block_time_ms=None)) as other:
        other.rpc("anvil_mine", hex(world.state.cursor + 50))
        node.move_to(other)
        with pytest.raises(ChainForked):
            await world.submitter.step()
        with pytest.raises(ChainForked):
            await world.watcher.step()
    assert SEND not in node.seen
    assert not world.outbox.versions(0)


async def test_a_node_that_is_behind_is_waited_for(world: World, node: FaultyNode) -> None:
    """Without the block that we know as final it has nothing to say, and gets nothing."""
    batch = await world.a_batch()
    with Anvil.start(Options(block_time_ms=None)) as young:
        node.move_to(young)
        with pytest.raises(ChainUnreachable):
            await world.submitter.step()
        with pytest.raises(ChainUnreachable):
            await world.watcher.step()
    node.move_to(world.anvil)
    await settle_through(world)
    await assert_settled_once(world, batch)


async def test_a_nonce_of_the_block_that_is_coming_tells_no_revert(
    world: World, node: FaultyNode
) -> None:
    """A node that mines while it answers: what is of a later block counts once it is seen."""
    batch = await world.a_batch()
    before = await world.chain.head()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    await world.mined(version.hash)

    def head_before(asked: list[Any], told: Any) -> Any:
        return {**told, "number": hex(before.number)} if asked[0] == "latest" else told

    def nonce_after(asked: list[Any], told: Any) -> Any:
        return "0x1" if asked[1] == hex(before.number) else told

    node.lie("eth_getBlockByNumber", head_before)
    node.lie("eth_getTransactionCount", nonce_after)
    node.lie(RECEIPT, a_receipt(status="0x0"))
    for _ in range(2):
        await world.submitter.step()
    assert not world.alarms
    node.honest()
    await settle_through(world)
    await assert_settled_once(world, batch)
    assert not world.alarms


async def test_a_node_that_repeats_old_answers_does_no_harm(world: World, node: FaultyNode) -> None:
    """Head and nonces of before our transaction was mined: at most the same bytes go again."""
    batch = await world.a_batch()
    before = await world.chain.head()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    await world.mined(version.hash)
    world.mine(10)

    def old_block(asked: list[Any], told: Any) -> Any:
        return {**told, "number": hex(before.number)} if asked[0] == "latest" else told

    def old_nonce(asked: list[Any], told: Any) -> Any:
        return "0x0"

    node.lie("eth_getTransactionCount", old_nonce)
    node.lie("eth_getTransactionByHash", nothing)
    for _ in range(10):
        await step_through(world)
        world.mine()
    assert world.outbox.versions(batch.number)[0] == version
    node.lie("eth_getBlockByNumber", old_block)
    with pytest.raises(ChainUnreachable, match="contradicts itself"):
        await world.submitter.step()
    node.honest()
    await settle_through(world)
    assert batch.final
    assert world.sent() == 1
    assert (await world.reconcile()).is_clean


async def test_a_node_whose_latest_block_is_another_each_time_tells_no_tale(
    world: World, node: FaultyNode
) -> None:
    """A nonce of a newer block than what is settled is no collision: both are of one block."""
    batch = await world.a_batch()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    await world.mined(version.hash)

    def before_it(asked: list[Any], told: Any) -> Any:
        return "0x" + "00" * 32 if asked[1] == "latest" else told

    node.lie("eth_call", before_it)
    node.lie(RECEIPT, nothing)
    await world.submitter.step()
    assert not world.alarms
    node.honest()
    await settle_through(world)
    await assert_settled_once(world, batch)


async def test_a_pool_that_seems_endless_gets_nothing(world: World, node: FaultyNode) -> None:
    """A pending nonce from nowhere would put our transaction where it is never mined."""
    batch = await world.a_batch()

    def endless(asked: list[Any], told: Any) -> Any:
        return hex(10**6) if asked[1] == "pending" else told

    node.lie("eth_getTransactionCount", endless)
    with pytest.raises(ChainUnreachable, match="pending"):
        await world.submitter.step()
    assert not world.outbox.versions(batch.number)
    node.honest()
    await settle_through(world)
    await assert_settled_once(world, batch)


async def test_a_transaction_that_is_said_to_be_known_is_replaced(
    world: World, node: FaultyNode
) -> None:
    """The pool dropped it and the node denies it: after some blocks a dearer version goes."""
    batch = await world.a_batch()
    world.hold_blocks()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    known = world.anvil.rpc("eth_getTransactionByHash", version.hash)
    world.anvil.rpc("anvil_dropAllTransactions")
    node.lie("eth_getTransactionByHash", lambda asked, _told: {**known, "hash": asked[0]})
    for _ in range(5):
        await world.submitter.step()
        world.mine()
    assert len(world.outbox.versions(batch.number)) > 1
    world.hold_blocks(held=False)
    await settle_through(world)
    await assert_settled_once(world, batch)


async def test_a_batch_that_is_said_to_be_settled_is_told(world: World, node: FaultyNode) -> None:
    """Nothing is sent for it, and the core never hears of it: after a while that is an alarm."""
    batch = await world.a_batch()
    is_settled = SETTLEMENT.function("isBatchSettled").selector.hex()

    def done(asked: list[Any], told: Any) -> Any:
        return "0x" + f"{1:064x}" if asked[0]["data"].startswith("0x" + is_settled) else told

    node.lie("eth_call", done)
    world.submitter = world.new_submitter(SubmitPolicy(unheard_blocks=5))
    for _ in range(4):
        await world.submitter.step()
        world.mine(2)
    assert [alarm.name for alarm in world.alarms] == ["batch_unheard"]
    assert world.sent() == 0
    node.honest()
    await settle_through(world)
    await assert_settled_once(world, batch)


async def test_a_simulation_without_an_answer_holds_nobody_up(
    world: World, node: FaultyNode
) -> None:
    """One batch that the node chokes on waits; the others settle without it."""
    batches = [await world.a_batch() for _ in range(3)]
    await world.submitter._admit(batches[1])
    poison = "0x" + world.outbox.calldata(batches[1].number).hex()

    def choke(asked: list[Any], told: Any) -> Any:
        return None if asked[0]["data"] == poison else told

    node.lie("eth_estimateGas", choke)
    await world.submitter.step()
    assert [entry.nonce for entry in world.outbox.unfinished()] == [0, None, 1]
    assert [alarm.name for alarm in world.alarms] == ["batch_refused"]
    await world.finalize()
    assert [batch.final for batch in batches] == [True, False, True]
    node.honest()
    world.clock.advance(10_000)
    await settle_through(world)
    await assert_settled_once(world, *batches)


async def test_a_node_that_has_not_seen_a_block_cannot_say_it_was_empty(
    world: World, node: FaultyNode
) -> None:
    """No logs and no block: the watcher waits, and the deposit is counted in the end."""
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, USD)
    world.mine(world.finality_blocks)
    last = (await world.chain.finalized()).number

    def not_yet(asked: list[Any], told: Any) -> Any:
        return None if asked[0] == hex(last) else told

    node.lie("eth_getLogs", lambda _asked, _told: [])
    node.lie("eth_getBlockByNumber", not_yet)
    with pytest.raises(ChainUnreachable):
        await world.watcher.step()
    node.honest()
    await world.finalize()
    assert world.total(buyer.address) == USD


async def test_logs_that_are_kept_from_us_are_found_out(world: World, node: FaultyNode) -> None:
    """A node that has the block and hides what is in it: book and chain differ, and it shows."""
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, USD)
    await world.finalize()
    node.lie("eth_getLogs", lambda _asked, _told: [])
    await world.deposit(buyer.address, USD)
    world.mine(WatchPolicy().idle_blocks)
    await world.finalize()
    assert world.total(buyer.address) == USD
    (difference,) = (await world.reconcile()).differences
    assert (difference.ledger, difference.chain) == (USD, 2 * USD)


async def _a_reverted_batch(world: World) -> Batch:
    """Mined and reverted: the key was revoked on the way."""
    batch = await world.a_batch()
    world.hold_blocks()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    world.anvil.rpc("anvil_dropAllTransactions")
    world.hold_blocks(held=False)
    await world.revoke_operator()
    await world.chain.send(version.raw)
    assert not (await world.mined(version.hash)).succeeded
    return batch


async def _grant(world: World) -> None:
    until = world.clock.now_ms() // 1_000 + 86_400
    plan = SessionPlan(key=world.session.address, expires_at=until)
    await grant_session(Wallet(world.chain, [DEPLOYER]), world.deployment, plan)


async def _retry(world: World, node: FaultyNode, batch: Batch) -> None:
    """The person looks, mends, and says so."""
    node.honest()
    await _grant(world)
    assert await world.submitter.retry(batch.number)
    await settle_through(world)
    assert batch.final
    assert world.sent() == 2
    assert (await world.reconcile()).is_clean
