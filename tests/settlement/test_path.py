"""From a deposit on chain to a payment that is final, on a real Anvil."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.bindings import SETTLEMENT, USDC, FillSettled, decode_log
from intents.signature import SigningKey
from solver.core.command import ApplyBlocks, Authority
from solver.core.event import IntentStatus, LeaseStatus
from solver.core.ledger import CHAIN, transfer
from tests.settlement.world import DEPLOYER, USD, World

BAD_SIGNATURE = 8
MAY_SIGN = 2


async def test_a_deposit_reaches_the_core_when_it_is_final(world: World) -> None:
    """Money that a reorganisation could take back is not in the ledger."""
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, 5 * USD)
    await world.watcher.step()
    assert world.total(buyer.address) == 0
    await world.finalize()
    assert world.total(buyer.address) == 5 * USD


async def test_a_watcher_of_the_latest_block_would_be_caught(world: World) -> None:
    """Planted bug: reading up to the head instead of the finalised block shows at once."""
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, 5 * USD)
    world.chain.finalized = world.chain.head  # type: ignore[method-assign]
    await world.watcher.step()
    assert world.total(buyer.address) == 5 * USD


async def test_delivered_units_are_paid_on_chain_and_in_the_book(world: World) -> None:
    """The whole path: the buyer pays for what it used, the seller is paid that, books agree."""
    seller, buyer = SigningKey.generate(), SigningKey.generate()
    await world.sell(seller, units=1_000, limit=USD)
    await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    intent, leases = await world.buy(buyer, units=10)
    await world.consume(intent, leases, units=8)
    batch = await world.cut()
    await world.settle()
    assert batch.final
    assert batch.paid == 8_000
    assert world.state.intents[intent].status is IntentStatus.SETTLED
    assert world.total(seller.address) == await world.balance(seller.address) == 8_000
    assert world.total(buyer.address) == await world.balance(buyer.address) == 5 * USD - 8_000
    assert (await world.reconcile()).is_clean
    assert not world.outbox.unfinished()
    assert not world.alarms
    logs = await world.chain.logs(
        world.deployment.deploy_block,
        (await world.chain.head()).number,
        topics=[SETTLEMENT.event("FillSettled").topic],
        addresses=[world.deployment.settlement],
    )
    (log,) = [decode_log(raw) for raw in logs]
    assert isinstance(log, FillSettled)
    assert (log.buyer, log.seller) == (buyer.address, seller.address)
    assert (log.units, log.delivered, log.payment) == (8, 8, 8_000)


@given(
    units=st.integers(0, 2**64 - 1),
    delivered=st.integers(0, 2**64 - 1),
    payment=st.integers(0, 2**96 - 1),
)
def test_the_amounts_of_a_fill_share_a_word(units: int, delivered: int, payment: int) -> None:
    """What a fill tells in one word is read as it was written, in the contract's widths."""
    amounts = FillSettled.amounts_of(units=units, delivered=delivered, payment=payment)
    packed = units.to_bytes(8) + delivered.to_bytes(8) + payment.to_bytes(12)
    assert amounts == int.from_bytes(packed)
    log = FillSettled(fill="", buyer="", seller="", amounts=amounts)
    assert (log.units, log.delivered, log.payment) == (units, delivered, payment)


async def test_many_buyers_settle_in_one_transaction(world: World) -> None:
    """Twenty fills of one offer are one batch, one transaction, and every line is paid."""
    batch = await world.a_batch(buyers=20)
    await world.settle()
    assert (batch.paid, batch.skipped, world.sent()) == (20 * 8_000, 0, 1)
    assert (await world.reconcile()).is_clean


async def test_fills_of_one_intent_settle_as_one_entry(world: World) -> None:
    """An intent that six offers serve has its lines together, and offers in the contract's order.

    The contract refuses a batch whose offers stand in any other.
    """
    sellers = [SigningKey.generate() for _ in range(6)]
    buyer = SigningKey.generate()
    for place, seller in enumerate(sellers):
        await world.sell(seller, units=2, limit=2_000 + place)
    await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    intent, leases = await world.buy(buyer, units=12)
    assert len(leases) == 6
    await world.consume(intent, leases, units=2)
    batch = await world.cut()
    await world.settle()
    assert batch.skipped == 0
    assert world.total(sellers[0].address) == 2_000
    assert (await world.reconcile()).is_clean
    assert not world.alarms


async def test_a_bad_fill_takes_nothing_with_it(world: World) -> None:
    """A poisoned line is skipped and voided; the other line of the batch is paid."""
    seller, good, bad = (SigningKey.generate() for _ in range(3))
    await world.sell(seller)
    for buyer in (good, bad):
        await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    poisoned, leases = await world.buy(bad, signer=SigningKey.generate())
    await world.consume(poisoned, leases, units=8)
    fine, others = await world.buy(good)
    await world.consume(fine, others, units=8)
    batch = await world.cut()
    await world.settle()
    assert (batch.paid, batch.skipped) == (8_000, 1)
    assert world.state.leases[leases[0]].status is LeaseStatus.SKIPPED
    assert world.available(bad.address) == await world.balance(bad.address) == 5 * USD
    assert world.total(seller.address) == 8_000
    assert (await world.reconcile()).is_clean


async def test_an_agents_session_key_buys_for_its_account(world: World) -> None:
    """A grant becomes known at finality, the key's intent settles, a revocation ends it."""
    seller, owner, agent = (SigningKey.generate() for _ in range(3))
    account = await world.session_account(owner)
    await world.grant(owner, account, agent, permissions=MAY_SIGN, cap=USD)
    await world.deposit(account, 5 * USD)
    await world.sell(seller)
    await world.finalize()
    session = world.state.accounts[account].sessions[agent.address]
    assert (session.permissions, session.cap, session.live) == (MAY_SIGN, USD, True)
    intent, leases = await world.buy(agent, account=account, authority=Authority.SESSION)
    await world.consume(intent, leases, units=8)
    await world.cut()
    await world.settle()
    assert await world.balance(account) == 5 * USD - 8_000
    assert session.spent == 8_000
    await world.revoke(owner, account, agent)
    await world.finalize()
    assert not session.live


async def test_all_sessions_end_at_once(world: World) -> None:
    """Revoking all reaches the core as the end of each."""
    owner, first, second = (SigningKey.generate() for _ in range(3))
    account = await world.session_account(owner)
    for key in (first, second):
        await world.grant(owner, account, key, permissions=MAY_SIGN)
    await world.by_account(owner, account, "revokeSessions", account)
    await world.finalize()
    sessions = world.state.accounts[account].sessions
    assert [session.live for session in sessions.values()] == [False, False]


async def test_what_other_contracts_log_does_not_count(world: World) -> None:
    """Only the settlement contract speaks: another one may emit what it likes."""
    impostor = "0x" + SigningKey.generate().address[2:]
    event = SETTLEMENT.event("SessionsRevoked")
    # PUSH32 topic, PUSH1 32, PUSH1 0, LOG1
    code = "0x7f" + event.topic.hex() + "60206000a1"
    world.anvil.rpc("anvil_setCode", impostor, code)
    await world.finalize()
    before = len(world.journal.records)
    await world.transact(DEPLOYER, impostor, b"\x01")
    world.mine(100)
    await world.finalize()
    applied = world.journal.records[before:]
    assert [c.facts for c in applied if isinstance(c, ApplyBlocks)] == [()]
    assert impostor not in world.state.accounts


async def test_exits_and_cancellations_reach_the_core(world: World) -> None:
    """Each thing an account can do on chain alone becomes a fact, in its order."""
    owner = SigningKey.generate()
    settlement = world.deployment.settlement
    await world.deposit(owner.address, 5 * USD)

    async def act(name: str, *arguments: object) -> None:
        await world.transact(owner, settlement, SETTLEMENT.function(name).encode(*arguments))

    await act("requestWithdrawal", 3 * USD)
    await world.finalize()
    account = world.state.accounts[owner.address]
    assert (account.withdrawing, world.available(owner.address)) == (3 * USD, 2 * USD)
    await act("cancelWithdrawal")
    await world.finalize()
    assert (account.withdrawing, world.available(owner.address)) == (0, 5 * USD)
    await act("cancel", 77)
    await act("cancelAll")
    await act("requestWithdrawal", 4 * USD)
    world.anvil.rpc("evm_increaseTime", world.deployment.exit_delay_s + 1)
    world.mine()
    await act("withdraw", owner.address)
    await world.finalize()
    assert account.has_used(77)
    assert account.epoch == 1
    assert world.total(owner.address) == await world.balance(owner.address) == USD
    assert (await world.reconcile()).is_clean


async def test_the_largest_numbers_of_the_contracts_are_taken(world: World) -> None:
    """Nobody stops the market by granting, or asking for, more than the journal can write."""
    owner, key = SigningKey.generate(), SigningKey.generate()
    account = await world.session_account(owner)
    await world.grant(owner, account, key, permissions=MAY_SIGN, cap=2**96 - 1)
    await world.deposit(owner.address, USD)
    everything = SETTLEMENT.function("requestWithdrawal").encode(2**256 - 1)
    await world.transact(owner, world.deployment.settlement, everything)
    last = SETTLEMENT.function("cancel").encode(2**64 - 1)
    await world.transact(owner, world.deployment.settlement, last)
    await world.finalize()
    assert world.state.accounts[account].sessions[key.address].cap > 2**60
    assert world.available(owner.address) == 0
    world.state.hash()


async def test_the_books_are_compared_with_the_chain(world: World) -> None:
    """A difference of one atom, planted in the ledger, is found and named."""
    buyer = SigningKey.generate()
    await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    assert (await world.reconcile()).is_clean
    ledger, usdc = world.state.ledger, world.state.usdc
    transfer(ledger.account(CHAIN, usdc), ledger.account(buyer.address, usdc), 1)
    found = await world.reconcile()
    (difference,) = found.differences
    assert (difference.account, difference.ledger - difference.chain) == (buyer.address, 1)
    assert not found.is_clean


async def test_a_gift_to_the_contract_is_no_difference(world: World) -> None:
    """Tokens sent without a deposit belong to nobody: reported, and not an alarm."""
    await world.deposit(SigningKey.generate().address, USD)
    mint = USDC.function("mint").encode(world.deployment.settlement, 7)
    await world.transact(DEPLOYER, world.deployment.usdc, mint)
    await world.finalize()
    found = await world.reconcile()
    assert (found.unclaimed, found.is_clean) == (7, True)
