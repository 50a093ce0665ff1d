"""Whatever breaks between us and the chain, a batch settles once, or stops and says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contracts.anvil import Anvil, Options
from contracts.bindings import ACCOUNT
from contracts.deploy import (
    Plan,
    Receipt,
    SessionPlan,
    create_address,
    deploy,
    deploy_once,
    grant_session,
    load,
    verify,
)
from contracts.fault import WrongChain, WrongContract
from intents.signature import SigningKey
from solver.demo.process import free_port
from solver.settlement.chain import ChainClient, Fees
from solver.settlement.fault import (
    ChainForked,
    ChainMismatch,
    ChainUnreachable,
    OutboxForeign,
    OutboxWriteFailed,
    RequestRefused,
    SessionRefused,
)
from solver.settlement.outbox import Outbox, Status
from solver.settlement.session import SessionLeft, session_left
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.submitter import SubmitStatus
from solver.settlement.transaction import Transaction, bumped, sign
from solver.settlement.wallet import Wallet
from solver.settlement.watcher import WatchPolicy
from tests.patience import patiently, until
from tests.settlement.world import CHAIN_ID, DEPLOYER, USD, World, a_world


class CrashingChain(ChainClient):
    """The process dies at a send: before the bytes leave it, or just after."""

    def __init__(self, url: str, *, after: bool) -> None:
        super().__init__(url, chain_id=CHAIN_ID)
        self._after = after

    async def send(self, raw: bytes) -> None:
        if self._after:
            await super().send(raw)
        raise SystemExit


class LosingChain(ChainClient):
    """Sends go through, or not, and the answer never comes."""

    def __init__(self, url: str, *, through: bool) -> None:
        super().__init__(url, chain_id=CHAIN_ID)
        self._through = through

    async def send(self, raw: bytes) -> None:
        if self._through:
            await super().send(raw)
        raise ChainUnreachable("no answer")


class CrashingWallet(Wallet):
    """The process dies after its first transaction."""

    async def transact(
        self, sender: str, to: str | None, data: bytes, value_wei: int = 0
    ) -> Receipt:
        await super().transact(sender, to, data, value_wei)
        raise SystemExit


class ForgetfulOutbox(Outbox):
    """Planted bug: what was signed is not there after a restart."""

    def forget(self) -> None:
        self._write(("DELETE FROM version", ()), ("DELETE FROM batch", ()))


@asynccontextmanager
async def closing(chain: ChainClient) -> AsyncIterator[ChainClient]:
    try:
        yield chain
    finally:
        await chain.close()


@pytest.mark.parametrize("after", [False, True], ids=["store-crash-send", "send-crash-look"])
async def test_a_crash_around_the_send_settles_once(world: World, *, after: bool) -> None:
    """A new process finds the stored bytes, and what was sent is recognised by its hash."""
    batch = await world.a_batch()
    async with closing(CrashingChain(world.anvil.url, after=after)) as chain:
        with pytest.raises(SystemExit):
            await world.new_submitter(chain=chain).step()
    (version,) = world.outbox.versions(batch.number)
    world.restart_submitter()
    await world.settle()
    assert batch.final
    assert world.sent() == 1
    assert await world.chain.is_known(version.hash)
    assert (await world.reconcile()).is_clean


async def test_nothing_is_sent_before_its_batch_is_durable(world: World) -> None:
    """While the journal writes the cut, and later the end, the submitter does not act on it.

    Otherwise a crash leaves a transaction, or a finished entry, that the journal knows not.
    """
    batch = await world.a_batch()
    await world.settle()
    intent, leases = await world.buy(await world.a_buyer())
    await world.consume(intent, leases, units=8)
    async with world.writing(world.cut) as cut:
        await until(lambda: len(world.state.batches) == 2)
        step = asyncio.create_task(world.submitter.step())
        await asyncio.wait({step}, timeout=0.2)
        assert not step.done()
        assert not world.outbox.unfinished()
    await step
    number = (await cut).number
    assert number == batch.number + 1
    assert [entry.number for entry in world.outbox.unfinished()] == [number]
    async with world.writing(world.finalize):
        await until(lambda: world.state.batches[number].final)
        step = asyncio.create_task(world.submitter.step())
        await asyncio.wait({step}, timeout=0.2)
        assert [entry.status for entry in world.outbox.unfinished()] == [Status.SENT]
    await step
    assert not world.outbox.unfinished()


@pytest.mark.parametrize("through", [False, True], ids=["lost", "arrived"])
async def test_an_unknown_outcome_is_looked_up(world: World, *, through: bool) -> None:
    """After a send without an answer the same bytes are found, or sent again; no others."""
    batch = await world.a_batch()
    async with closing(LosingChain(world.anvil.url, through=through)) as chain:
        with pytest.raises(ChainUnreachable):
            await world.new_submitter(chain=chain).step()
    (before,) = world.outbox.versions(batch.number)
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [before]
    await world.settle()
    assert (batch.final, world.sent()) == (True, 1)


async def test_a_forgetful_outbox_would_be_caught(world: World) -> None:
    """Planted bug: without the stored bytes a restart sends a second transaction.

    Even so the contract settles the number once, and the books agree.
    """
    batch = await world.a_batch()
    world.outbox.close()
    outbox = ForgetfulOutbox(world.folder / "outbox.sqlite", world.identity())
    world.outbox = outbox
    world.hold_blocks()
    await world.new_submitter(outbox=outbox).step()
    outbox.forget()
    world.submitter = world.new_submitter(outbox=outbox)
    await world.submitter.step()
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    assert world.sent() == 2
    assert batch.final
    assert (await world.reconcile()).is_clean
    assert not world.alarms


async def test_two_submitters_settle_a_batch_once(world: World) -> None:
    """A duplicate with an outbox of its own does no harm: the number settles once."""
    batch = await world.a_batch(buyers=3)
    with pytest.raises(OutboxWriteFailed):
        world.open_outbox()
    twin = world.open_outbox("twin.sqlite")
    other = world.new_submitter(outbox=twin)
    await world.submitter.step()
    await other.step()
    await world.settle()
    await other.step()
    assert (batch.paid, batch.skipped) == (3 * 8_000, 0)
    assert (await world.reconcile()).is_clean
    twin.close()


async def test_a_dropped_transaction_is_sent_again_as_it_was(world: World) -> None:
    """After a reorganisation that takes our transaction away, the same bytes go again.

    The core never heard of the first time.
    """
    batch = await world.a_batch()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    first = await world.mined(version.hash)
    await world.watcher.step()
    world.reorganise(2)
    assert not await world.chain.is_known(version.hash)
    await world.watcher.step()
    assert batch.resolved == 0
    world.mine()
    await world.submitter.step()
    assert world.outbox.versions(batch.number) == [version]
    again = await world.mined(version.hash)
    assert again.block_hash != first.block_hash
    await world.settle()
    assert (batch.final, world.sent()) == (True, 1)
    assert (await world.reconcile()).is_clean


async def test_a_stuck_transaction_is_replaced_at_a_real_markup(world: World) -> None:
    """Replacements pay at least 12.5 % more on both fees, as often as allowed, and settle once.

    Anvil would take one wei more.
    """
    batch = await world.a_batch()
    world.submitter = world.new_submitter(SubmitPolicy(bump_after_blocks=2, bumps_max=3))
    world.hold_blocks()
    await world.submitter.step()
    for _ in range(12):
        # Empty blocks: the pool is put aside while they are mined.
        pool = [version.raw for version in world.outbox.versions(batch.number)][-1]
        world.anvil.rpc("anvil_dropAllTransactions")
        world.mine()
        await world.chain.send(pool)
        await world.submitter.step()
    versions = world.outbox.versions(batch.number)
    assert len(versions) == 4
    for old, new in pairwise(versions):
        assert new.fees.max_wei * 1_000 >= old.fees.max_wei * 1_125
        assert new.fees.tip_wei * 1_000 >= old.fees.tip_wei * 1_125
    assert [alarm.name for alarm in world.alarms] == ["batch_stuck"]
    world.hold_blocks(held=False)
    await world.settle()
    assert (batch.final, world.sent()) == (True, 1)


async def test_no_version_pays_more_than_the_cap(world: World) -> None:
    """At the highest fee allowed the replacing stops, with an alarm and without spinning."""
    batch = await world.a_batch()
    world.hold_blocks()
    fees = await world.chain.fees()
    policy = SubmitPolicy(bump_after_blocks=0, max_fee_wei=fees.max_wei * 13 // 10)
    world.submitter = world.new_submitter(policy)
    for _ in range(8):
        await world.submitter.step()
    versions = world.outbox.versions(batch.number)
    assert 1 < len(versions) < 5
    assert all(version.fees.max_wei <= policy.max_fee_wei for version in versions)
    assert [alarm.name for alarm in world.alarms] == ["batch_stuck"]


def test_a_markup_of_one_wei_would_be_caught() -> None:
    """Planted bug: the replacement that Anvil accepts and real nodes refuse is below ours."""
    old = Fees(max_wei=1_000_000_007, tip_wei=7)
    least = bumped(old, Fees(max_wei=0, tip_wei=0))
    assert least.max_wei * 1_000 >= old.max_wei * 1_125
    assert least.tip_wei * 1_000 >= old.tip_wei * 1_125
    assert not (old.max_wei + 1) * 1_000 >= old.max_wei * 1_125


async def test_a_foreign_use_of_the_nonce_is_survived(world: World) -> None:
    """Someone else used the key: an alarm, and once that is final the batch takes the next."""
    batch = await world.a_batch()
    async with closing(LosingChain(world.anvil.url, through=False)) as chain:
        with pytest.raises(ChainUnreachable):
            await world.new_submitter(chain=chain).step()
    await world.transact(world.session, DEPLOYER.address, b"", 1)
    await world.submitter.step()
    await world.submitter.step()
    assert [alarm.name for alarm in world.alarms] == ["nonce_collision"]
    entry = world.outbox.entry(batch.number)
    assert entry is not None
    assert entry.status is Status.SENT
    await world.settle()
    assert (batch.final, world.sent()) == (True, 2)
    assert not world.submitter.alarms


async def test_several_batches_settle_in_any_number_of_passes(world: World) -> None:
    """Open batches have consecutive nonces, and all of them settle."""
    batches = [await world.a_batch() for _ in range(3)]
    world.hold_blocks()
    await world.submitter.step()
    nonces = [entry.nonce for entry in world.outbox.unfinished()]
    assert nonces == [0, 1, 2]
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    assert all(batch.final for batch in batches)
    assert world.sent() == 3


async def test_a_sender_without_gas_money_waits(world: World) -> None:
    """What the node refuses keeps its nonce, says why, and goes out once there is money."""
    batches = [await world.a_batch(), await world.a_batch()]
    world.anvil.rpc("anvil_setBalance", world.session.address, "0x1")
    await world.submitter.step()
    assert [entry.nonce for entry in world.outbox.unfinished()] == [0, 1]
    assert [alarm.name for alarm in world.alarms] == ["batch_not_taken"] * 2
    world.anvil.rpc("anvil_setBalance", world.session.address, hex(10**20))
    await world.settle()
    assert all(batch.final for batch in batches)
    assert world.sent() == 2
    assert not world.submitter.alarms


async def test_a_lost_outbox_is_made_up_for(world: World) -> None:
    """A batch that the chain has already needs no second transaction, and is no alarm."""
    batch = await world.a_batch()
    await world.submitter.step()
    (version,) = world.outbox.versions(batch.number)
    await world.mined(version.hash)
    world.outbox.close()
    world.outbox = world.open_outbox("new.sqlite")
    world.submitter = world.new_submitter()
    await world.settle()
    assert (batch.final, world.sent()) == (True, 1)
    assert not world.alarms


async def test_a_batch_that_would_revert_is_not_sent(world: World) -> None:
    """Without a cap left the simulation fails: no nonce and no gas is spent.

    The batch goes out by itself once the owner has raised the cap.
    """
    batch = await world.a_batch()
    expires_at = world.clock.now_ms() // 1_000 + 86_400
    wallet = Wallet(world.chain, [DEPLOYER])
    await grant_session(
        wallet,
        world.deployment,
        SessionPlan(key=world.session.address, expires_at=expires_at, cap=10),
    )
    for _ in range(5):
        await world.submitter.step()
    (alarm,) = world.alarms
    assert alarm.name == "batch_refused"
    assert alarm.reason.startswith("SessionCapExceeded")
    assert world.sent() == 0
    await grant_session(
        wallet, world.deployment, SessionPlan(key=world.session.address, expires_at=expires_at)
    )
    world.clock.advance(10_000)
    await world.settle()
    assert (batch.final, world.sent()) == (True, 1)
    assert not world.submitter.alarms


async def test_a_mined_revert_waits_for_a_person(world: World) -> None:
    """A batch whose key was revoked on the way reverts: one alarm, and nothing more is sent.

    `retry` settles it when the key may settle again.
    """
    batch = await world.a_batch()
    world.hold_blocks()
    await world.submitter.step()
    revoke = ACCOUNT.function("revokeSession").encode(world.session.address)
    await world.chain.send(
        sign(
            Transaction(
                chain_id=CHAIN_ID,
                nonce=await world.chain.nonce(DEPLOYER.address),
                fees=Fees(max_wei=10**12, tip_wei=10**11),
                gas=200_000,
                to=world.deployment.operator_account,
                data=revoke,
            ),
            DEPLOYER,
        ).raw
    )
    world.hold_blocks(held=False)
    world.mine()
    await world.submitter.step()
    await world.finalize()
    for _ in range(5):
        await world.submitter.step()
    (alarm,) = world.alarms
    assert alarm.name == "batch_reverted"
    assert alarm.reason.startswith("reverted with ")
    entry = world.outbox.entry(batch.number)
    assert entry is not None
    assert (entry.status, world.sent()) == (Status.FAILED, 1)
    assert world.submitter.status().alarms == (alarm,)
    world.restart_submitter()
    assert world.submitter.status().failed == (batch.number,)
    assert world.submitter.status().batches[0].reason == alarm.reason
    with pytest.raises(SessionRefused):
        await world.submitter.start()
    until = world.clock.now_ms() // 1_000 + 86_400
    await grant_session(
        Wallet(world.chain, [DEPLOYER]),
        world.deployment,
        SessionPlan(key=world.session.address, expires_at=until),
    )
    await world.submitter.start()
    assert await world.submitter.retry(batch.number)
    world.hold_blocks()
    for _ in range(2):
        await world.submitter.step()
    entry = world.outbox.entry(batch.number)
    assert entry is not None
    assert entry.status is Status.SENT
    world.hold_blocks(held=False)
    world.mine()
    await world.settle()
    assert (batch.final, world.sent()) == (True, 2)
    assert world.submitter.status() == SubmitStatus(batches=(), alarms=())
    assert (await world.reconcile()).is_clean


@pytest.mark.parametrize("mined", [False, True], ids=["in-the-pool", "mined"])
async def test_a_restarted_chain_settles_once(tmp_path: Path, *, mined: bool) -> None:
    """Anvil stops in the middle of a batch and comes back with its chain, but not its pool.

    What was mined is found, what was not is sent again as it was.
    """
    options = Options(
        block_time_ms=None, state=tmp_path / "chain.json", history=True, port=free_port()
    )
    anvil = Anvil.start(options)
    try:
        async with a_world(anvil, tmp_path) as world:
            batch = await world.a_batch()
            world.hold_blocks(held=not mined)
            await world.submitter.step()
            versions = world.outbox.versions(batch.number)
            assert world.sent() == int(mined)
            anvil.stop()
            with pytest.raises(ChainUnreachable):
                await world.submitter.step()
            anvil = Anvil.start(options)
            await world.submitter.step()
            assert world.outbox.versions(batch.number) == versions
            await world.settle()
            assert (batch.final, world.sent()) == (True, 1)
            assert (await world.reconcile()).is_clean
    finally:
        anvil.stop()


async def test_a_restarted_watcher_goes_on_where_the_core_is(world: World) -> None:
    """Nothing is applied twice, nothing is missed, and known accounts still count."""
    owner, key = SigningKey.generate(), SigningKey.generate()
    account = await world.session_account(owner)
    await world.deposit(account, USD)
    await world.finalize()
    cursor = world.state.cursor
    await world.grant(owner, account, key, permissions=2)
    await world.deposit(account, USD)
    world.watcher = world.new_watcher()
    await world.watcher.start()
    await world.finalize()
    assert world.state.cursor > cursor
    assert world.total(account) == 2 * USD
    assert key.address in world.state.accounts[account].sessions


async def test_a_node_that_forgot_a_block_is_a_refusal(world: World) -> None:
    """A restarted node may not know the state at the cursor any more: nothing differs, we wait.

    However many accounts there are, they are asked for in one request.
    """
    for _ in range(3):
        await world.deposit(SigningKey.generate().address, USD)
    await world.finalize()
    asked = world.chain._request_all
    sizes = []

    async def counted(asks: Any) -> Any:
        sizes.append(len(asks))
        return await asked(asks)

    world.chain._request_all = counted  # type: ignore[method-assign]
    assert (await world.reconcile()).accounts == 3
    assert sizes == [4]
    world.state.cursor += 1_000
    with pytest.raises(RequestRefused):
        await world.reconcile()


async def test_quiet_blocks_are_not_journaled_one_by_one(world: World) -> None:
    """Without facts the journal grows by one command per `idle_blocks`."""
    await world.finalize()
    before = len(world.journal.records)
    for _ in range(60):
        await world.finalize()
    assert len(world.journal.records) - before in (2, 3)


async def test_many_facts_come_in_several_commands(world: World) -> None:
    """A long range is cut between blocks, and the sum is the same."""
    buyer = SigningKey.generate()
    await world.finalize()
    for _ in range(7):
        await world.deposit(buyer.address, 10)
    before = len(world.journal.records)
    world.watcher = world.new_watcher(WatchPolicy(facts_max=2))
    await world.watcher.start()
    await world.finalize()
    assert world.total(buyer.address) == 70
    assert len(world.journal.records) - before == 4


async def test_another_history_stops_the_watcher(world: World) -> None:
    """A finalised block that is not the one we knew: stop and name it, do not go on."""
    await world.deposit(SigningKey.generate().address, USD)
    await world.finalize()
    world.state.cursor_hash = "0x" + "00" * 32
    with pytest.raises(ChainForked, match=f"block {world.state.cursor}"):
        await world.new_watcher().start()
    world.reorganise(6)
    world.mine(20)
    with pytest.raises(ChainForked):
        await world.watcher.step()


async def test_another_chain_is_refused(world: World, tmp_path: Path) -> None:
    """Another chain id, or a chain without our contracts, stops the start; nothing is sent."""
    async with closing(ChainClient(world.anvil.url, chain_id=1)) as chain:
        with pytest.raises(ChainMismatch, match="31337, not 1"):
            await chain.start()
        with pytest.raises(ChainMismatch):
            await world.new_submitter(chain=chain).start()
    wallet = Wallet(world.chain, [DEPLOYER])
    nonce = await wallet.nonce(DEPLOYER.address)
    plan = Plan(chain_id=1, deployer=DEPLOYER.address, owner=DEPLOYER.address)
    with pytest.raises(WrongChain):
        await deploy(wallet, plan)
    assert await wallet.nonce(DEPLOYER.address) == nonce
    with Anvil.start(Options(block_time_ms=None)) as other:
        async with closing(ChainClient(other.url, chain_id=CHAIN_ID)) as chain:
            with pytest.raises(WrongContract, match="no code"):
                await verify(Wallet(chain, []), world.deployment)


async def test_a_deployment_is_made_once(world: World, tmp_path: Path) -> None:
    """The second call finds the file and what it names; a foreign contract is refused."""
    wallet = Wallet(world.chain, [DEPLOYER])
    plan = Plan(chain_id=CHAIN_ID, deployer=DEPLOYER.address, owner=DEPLOYER.address)
    path = tmp_path / "made" / "deployment.json"
    made = await deploy_once(wallet, plan, path)
    nonce = await wallet.nonce(DEPLOYER.address)
    assert await deploy_once(wallet, plan, path) == made == load(path)
    assert await wallet.nonce(DEPLOYER.address) == nonce
    mixed = path.read_text().replace(made.settlement, world.deployment.settlement)
    path.write_text(mixed)
    with pytest.raises(WrongContract):
        await deploy_once(wallet, plan, path)


async def test_a_session_is_granted_once(world: World) -> None:
    """The same grant again sends nothing."""
    wallet = Wallet(world.chain, [DEPLOYER])
    until = world.clock.now_ms() // 1_000 + 86_400
    plan = SessionPlan(key=world.session.address, expires_at=until)
    await grant_session(wallet, world.deployment, plan)
    nonce = await wallet.nonce(DEPLOYER.address)
    await grant_session(wallet, world.deployment, plan)
    assert await wallet.nonce(DEPLOYER.address) == nonce


async def test_what_is_left_of_a_session_is_known(world: World) -> None:
    """What was settled is gone from the cap; a revoked or unknown key has nothing left."""
    wallet = Wallet(world.chain, [DEPLOYER])
    until = world.clock.now_ms() // 1_000 + 86_400
    key = world.session.address
    plan = SessionPlan(key=key, expires_at=until, cap=USD)
    await grant_session(wallet, world.deployment, plan)
    await world.a_batch()
    await world.settle()
    left = await session_left(wallet, world.deployment, key)
    assert left == SessionLeft(expires_at=until, cap_left=USD - 8_000, spent=8_000)
    assert left.lasts(until, USD - 8_000)
    assert not left.lasts(until + 1, 0)
    assert not left.lasts(until, USD)
    await world.revoke_operator()
    for gone, spent in ((key, 8_000), (SigningKey.generate().address, 0)):
        left = await session_left(wallet, world.deployment, gone)
        assert left == SessionLeft(expires_at=0, cap_left=0, spent=spent)


async def test_a_session_key_has_gas_before_it_is_granted(world: World) -> None:
    """A crash between the two leaves no live session that cannot pay; the rest is made up for."""
    key = SigningKey.generate().address
    wallet = CrashingWallet(world.chain, [DEPLOYER])
    until = world.clock.now_ms() // 1_000 + 86_400
    plan = SessionPlan(key=key, expires_at=until, gas_funds_wei=1_000)
    with pytest.raises(SystemExit):
        await grant_session(wallet, world.deployment, plan)
    assert await world.chain.balance(key) == 1_000
    for wanted in (1_000, 1_500, 700):
        topped = SessionPlan(key=key, expires_at=until, gas_funds_wei=wanted)
        await grant_session(Wallet(world.chain, [DEPLOYER]), world.deployment, topped)
    assert await world.chain.balance(key) == 1_500


async def test_a_foreign_outbox_is_refused(world: World) -> None:
    """An outbox of another sender, or with another batch of this number, is not used."""
    batch = await world.a_batch()
    world.outbox.add(batch.number, "0x" + "ab" * 32, b"")
    with pytest.raises(OutboxForeign):
        await world.submitter.step()
    world.outbox.close()
    world.session = SigningKey.generate()
    with pytest.raises(OutboxForeign):
        world.open_outbox()
    world.session = SigningKey.generate()


async def test_an_outbox_that_cannot_write_sends_nothing(world: World, tmp_path: Path) -> None:
    """If the bytes are not on disk they do not leave."""
    await world.a_batch()
    world.outbox._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OutboxWriteFailed):
        await world.submitter.step()
    assert world.sent() == 0


async def test_the_loops_survive_an_outage(world: World) -> None:
    """Submitter and watcher wait for a node that is away, and go on when it is back."""
    batch = await world.a_batch()
    policy, patience = SubmitPolicy(interval_ms=5), WatchPolicy(interval_ms=5)
    world.submitter, world.watcher = world.new_submitter(policy), world.new_watcher(patience)
    await world.submitter.start()
    await world.watcher.start()
    real = world.chain._request
    failures = asyncio.Event()

    async def away(*_: object) -> Any:
        failures.set()
        raise ChainUnreachable("planted")

    world.chain._request = away  # type: ignore[method-assign, assignment]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop.run()) for loop in (world.submitter, world.watcher)]
        await failures.wait()
        world.chain._request = real  # type: ignore[method-assign]
        async with patiently():
            while not batch.final:
                world.mine()
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
    assert world.sent() == 1


def test_a_created_address_is_predicted() -> None:
    """The address of a contract, as EIP-161 chains compute it, for short and long nonces."""
    sender = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    assert create_address(sender, 0) == "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert create_address(sender, 1) == "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"
