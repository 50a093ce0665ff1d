"""From a buyer's signature over a sum to final payments of many fills, on a real Anvil."""

import msgspec
import pytest
from tiny_keccak import keccak256

from contracts.bindings import SETTLEMENT
from contracts.metered import compact
from intents.document import SpendReceipt
from intents.leaf import tree
from intents.policy import Permission
from intents.receipt import in_order, lines_hash, packed_lines
from intents.signature import SigningKey
from intents.typed_data import Domain, digest
from solver.core.command import AcceptReceipt, Authority, CutMetered, SetMetering
from solver.core.event import IntentStatus, LeaseStatus
from solver.core.meter import Meter
from solver.core.metered import leaf_of
from solver.core.metering import FILLS_PER_RECEIPT_MAX, document_of, statement
from solver.core.state import Batch
from solver.settlement.book import BookKeeper
from solver.settlement.signatures import ContractSignatures
from solver.settlement.wallet import Wallet
from tests.settlement.world import CHAIN_ID, DEPLOYER, USD, World

PAYMENT_MAX = 100_000
UNCOVERED_MAX = 1_000_000
MINUTE_MS = 60_000
UNITS = 8
PAID = UNITS * 1_000


class Metered:
    """A market that meters, with a keeper of address books."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keeper = self.new_keeper()
        self.seller = SigningKey.generate()

    def new_keeper(self) -> BookKeeper:
        return BookKeeper(
            chain=self.world.chain,
            outbox=self.world.outbox,
            sequencer=self.world.sequencer,
            wallet=Wallet(self.world.chain, [DEPLOYER]),
            sender=DEPLOYER.address,
        )

    async def open(self) -> None:
        rule = SetMetering(payment_max=PAYMENT_MAX, uncovered_max=UNCOVERED_MAX)
        await self.world.do(rule)
        await self.world.sell(self.seller)

    async def use(self, buyer: SigningKey) -> str:
        """Buy ten units and use eight of them; the fill's id."""
        intent, leases = await self.world.buy(buyer)
        await self.world.consume(intent, leases, units=UNITS)
        return leases[0]

    def meter(self, buyer: SigningKey) -> Meter:
        return self.world.state.metering.meters[buyer.address]

    def receipt(self, buyer: SigningKey, signer: SigningKey | None = None) -> AcceptReceipt:
        state = self.world.state
        said = statement(state, self.meter(buyer), FILLS_PER_RECEIPT_MAX)
        document = document_of(state, buyer.address, said)
        settlement = self.world.deployment.settlement
        domain = Domain(chain_id=CHAIN_ID, verifying_contract=settlement)
        return AcceptReceipt(
            receipt=document,
            fills=said.fills,
            signer=buyer.address,
            authority=Authority.KEY,
            signature=(signer or buyer).sign(digest(domain.prefix(), document)),
        )

    async def sign(self, *buyers: SigningKey) -> None:
        for buyer in buyers:
            await self.world.do(self.receipt(buyer))

    async def cut(self) -> Batch:
        await self.world.do(CutMetered(fills_max=1_000, unsigned_ms=MINUTE_MS))
        return self.world.state.batches[self.world.state.batch_next - 1]

    async def keep_books(self) -> None:
        """Everybody in an open batch stands in a book that is final."""
        await self.keeper.step()
        self.world.mine(self.world.finality_blocks)
        await self.keeper.step()

    async def settle(self) -> None:
        await self.keep_books()
        await self.world.settle()


async def test_one_signature_each_settles_all_fills(world: World) -> None:
    """Two buyers, five fills, two signatures, one transaction: each atom is where it belongs."""
    metered = Metered(world)
    await metered.open()
    one, two = await world.a_buyer(), await world.a_buyer()
    fills = [await metered.use(buyer) for buyer in (one, two, one, one, two)]
    await metered.sign(one, two)
    batch = await metered.cut()
    await metered.settle()
    assert (batch.final, batch.paid, batch.skipped, world.sent()) == (True, 5 * PAID, 0, 1)
    assert {world.state.leases[fill].status for fill in fills} == {LeaseStatus.SETTLED}
    assert world.total(metered.seller.address) == 5 * PAID
    assert await world.balance(metered.seller.address) == 5 * PAID
    assert await world.balance(one.address) == 5 * USD - 3 * PAID
    assert metered.meter(one).base == 3 * PAID
    assert (await world.reconcile()).is_clean
    assert not world.alarms
    assert not world.outbox.unfinished()


async def test_receipts_go_on_from_each_other(world: World) -> None:
    """Signed while the last one is under way, settled after it; books are deployed once."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    for _ in range(3):
        await metered.use(buyer)
        await metered.sign(buyer)
        await metered.cut()
        await metered.use(buyer)
        await metered.sign(buyer)
        await metered.settle()
    await metered.cut()
    await metered.settle()
    assert metered.meter(buyer).base == 6 * PAID
    assert len(world.outbox.books()) == 1
    assert (await world.reconcile()).is_clean


async def test_the_root_is_on_chain_and_fills_are_its_leaves(world: World) -> None:
    """What the market publishes of a batch hashes to what the contract keeps."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    for _ in range(3):
        await metered.use(buyer)
    await metered.sign(buyer)
    batch = await metered.cut()
    await metered.settle()
    leaves = [leaf_of(world.state, line) for line in batch.lines]
    root = bytes.fromhex(tree([leaf.digest() for leaf in leaves]).root[2:])
    asked = SETTLEMENT.function("rootSettledAt")
    data = asked.encode(batch.root_number, root)
    answer = await world.chain.call(world.deployment.settlement, data)
    assert asked.decode_outputs(answer)[0] > 0


async def test_what_nobody_signed_is_attested(world: World) -> None:
    """After a minute the operator moves it, and the contract counts it against the cap."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    await metered.use(buyer)
    world.clock.advance(MINUTE_MS)
    await metered.cut()
    await metered.settle()
    meter = metered.meter(buyer)
    assert (meter.base, meter.uncovered, meter.exposure) == (PAID, PAID, PAID)
    assert await world.balance(metered.seller.address) == PAID
    asked = SETTLEMENT.function("meterOf")
    answer = await world.chain.call(world.deployment.settlement, asked.encode(buyer.address))
    ((spent, uncovered, *_),) = asked.decode_outputs(answer)
    assert (spent, uncovered) == (PAID, PAID)
    await metered.use(buyer)
    await metered.sign(buyer)
    await metered.cut()
    await metered.settle()
    assert (metered.meter(buyer).uncovered, metered.meter(buyer).base) == (0, 2 * PAID)
    assert (await world.reconcile()).is_clean


async def test_a_bad_signature_takes_nothing_with_it(world: World) -> None:
    """The contract skips the record; its fills wait, and the other buyer's are paid."""
    metered = Metered(world)
    await metered.open()
    good, bad = await world.a_buyer(), await world.a_buyer()
    paid, unpaid = await metered.use(good), await metered.use(bad)
    await metered.sign(good)
    await world.do(metered.receipt(bad, signer=SigningKey.generate()))
    batch = await metered.cut()
    await metered.settle()
    assert (batch.paid, batch.skipped) == (PAID, 1)
    assert world.state.leases[paid].status is LeaseStatus.SETTLED
    assert metered.meter(bad).waiting == [unpaid]
    await metered.sign(bad)
    await metered.cut()
    await metered.settle()
    assert world.total(metered.seller.address) == 2 * PAID
    assert (await world.reconcile()).is_clean


async def test_metered_batches_go_in_their_order(world: World) -> None:
    """The second waits until the first is mined, though it could be sent; lines overtake both."""
    metered = Metered(world)
    await metered.open()
    one, two = await world.a_buyer(), await world.a_buyer()
    await metered.use(one)
    await metered.sign(one)
    first = await metered.cut()
    await metered.use(two)
    await metered.sign(two)
    second = await metered.cut()
    await metered.keep_books()
    world.hold_blocks()
    await world.submitter.step()
    await world.submitter.step()
    sent = [entry.nonce is not None for entry in world.outbox.unfinished()]
    assert sent == [True, False]
    world.mine()
    world.hold_blocks(held=False)
    await world.submitter.step()
    await world.settle()
    assert (first.paid, second.paid, first.root_number, second.root_number) == (PAID, PAID, 0, 1)
    assert not world.alarms


async def test_a_seller_settles_its_receipt_without_the_operator(world: World) -> None:
    """A claim is paid on chain: the book follows, and nothing is paid twice."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    fill = await metered.use(buyer)
    await metered.sign(buyer)
    receipt = metered.meter(buyer).receipt
    assert receipt is not None
    raw = packed_lines(receipt.lines)
    document = metered.receipt(buyer).receipt
    said = (buyer.address, 0, 0, PAID, bytes.fromhex(document.lines[2:]))
    post = SETTLEMENT.function("claimReceipt")
    signature = compact(bytes.fromhex(receipt.signature[2:]))
    settlement = world.deployment.settlement
    await world.transact(metered.seller, settlement, post.encode(said, raw, 0, signature))
    world.anvil.rpc("evm_increaseTime", world.deployment.exit_delay_s)
    world.mine()
    execute = SETTLEMENT.function("executeClaim").encode(buyer.address, raw)
    await world.transact(metered.seller, settlement, execute)
    await world.finalize()
    assert world.state.leases[fill].status is LeaseStatus.SETTLED
    assert (metered.meter(buyer).base, metered.meter(buyer).waiting) == (PAID, [])
    assert (await world.reconcile()).is_clean


def _claim_to(world: World, buyer: SigningKey, payee: str, amount: int) -> tuple[bytes, bytes]:
    """Lines to one payee, and what posts the buyer's receipt for them."""
    lines = in_order({payee: amount})
    document = SpendReceipt(account=buyer.address, base=0, spent=amount, lines=lines_hash(lines))
    domain = Domain(chain_id=CHAIN_ID, verifying_contract=world.deployment.settlement)
    signature = buyer.sign(digest(domain.prefix(), document))
    said = (buyer.address, 0, 0, amount, bytes.fromhex(document.lines[2:]))
    raw = packed_lines(lines)
    post = SETTLEMENT.function("claimReceipt")
    return raw, post.encode(said, raw, 0, bytes.fromhex(signature[2:]))


async def test_a_claim_of_nothing_we_know_moves_the_book_too(world: World) -> None:
    """Anyone may sign its own money away on chain: book and chain still agree (P7)."""
    buyer, friend = await world.a_buyer(), SigningKey.generate()
    settlement = world.deployment.settlement
    raw, post = _claim_to(world, buyer, friend.address, 77)
    await world.transact(friend, settlement, post)
    world.anvil.rpc("evm_increaseTime", world.deployment.exit_delay_s)
    world.mine()
    execute = SETTLEMENT.function("executeClaim").encode(buyer.address, raw)
    await world.transact(friend, settlement, execute)
    await world.finalize()
    assert world.total(friend.address) == 77
    assert (await world.reconcile()).is_clean


async def test_nothing_is_sold_to_a_buyer_whose_claim_is_about_to_take_all(world: World) -> None:
    """It could be paid before what is sold now is settled; the market knows it from the log."""
    buyer, friend = await world.a_buyer(), SigningKey.generate()
    await world.sell(SigningKey.generate())
    raw, post = _claim_to(world, buyer, friend.address, 5 * USD)
    await world.transact(friend, world.deployment.settlement, post)
    await world.finalize()
    with pytest.raises(AssertionError, match="insufficient_funds"):
        await world.buy(buyer)
    world.anvil.rpc("evm_increaseTime", world.deployment.exit_delay_s)
    world.mine()
    execute = SETTLEMENT.function("executeClaim").encode(buyer.address, raw)
    await world.transact(friend, world.deployment.settlement, execute)
    await world.deposit(buyer.address, USD)
    await world.finalize()
    await world.buy(buyer)
    assert (await world.reconcile()).is_clean


async def test_a_restart_goes_on_with_books_and_batches(world: World) -> None:
    """A new process finds books and calldata in the outbox, and sends nothing twice."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    await metered.use(buyer)
    await metered.sign(buyer)
    await metered.cut()
    await metered.keep_books()
    await world.submitter.step()
    world.restart_submitter()
    metered.keeper = metered.new_keeper()
    await metered.settle()
    assert (metered.meter(buyer).base, world.sent(), len(world.outbox.books())) == (PAID, 1, 1)


async def test_a_book_that_is_not_final_is_not_used(world: World) -> None:
    """A reorganisation could take it back: the batch waits for it without an alarm."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    await metered.use(buyer)
    await metered.sign(buyer)
    await metered.cut()
    await metered.keeper.step()
    await metered.keeper.step()
    await world.submitter.step()
    assert (world.outbox.books(), world.sent()) == ({}, 0)
    await metered.settle()
    assert (metered.meter(buyer).base, world.alarms) == (PAID, [])


async def test_a_receipt_of_the_epoch_before_settles(world: World) -> None:
    """The account ended its epoch after it signed: within the exit delay the word still holds."""
    metered = Metered(world)
    await metered.open()
    buyer = await world.a_buyer()
    fill = await metered.use(buyer)
    await metered.sign(buyer)
    await world.transact(
        buyer, world.deployment.settlement, SETTLEMENT.function("cancelAll").encode()
    )
    await world.finalize()
    assert world.state.accounts[buyer.address].epoch == 1
    batch = await metered.cut()
    await metered.settle()
    assert (batch.paid, batch.skipped) == (PAID, 0)
    intent = world.state.leases[fill].intent
    assert world.state.intents[intent].status is IntentStatus.SETTLED


async def test_a_registry_key_signs_for_its_account(world: World) -> None:
    """A session key with the permission settles; revoked before the batch, it settles nothing."""
    metered = Metered(world)
    await metered.open()
    buyer, key = await world.a_buyer(), SigningKey.generate()
    settlement = world.deployment.settlement
    terms = (buyer.address, key.address, 0, int(Permission.RECEIPT), keccak256(b""), 0, 0)
    grant = SETTLEMENT.function("grantSession").encode((*terms, USD, 86_400, 2**32 - 1, 0, 0))
    await world.transact(buyer, settlement, grant)
    asked = ContractSignatures(world.chain, world.deployment)
    assert await asked.is_session(buyer.address, key.address, Permission.RECEIPT)
    assert not await asked.is_session(buyer.address, key.address, Permission.SIGN)
    await metered.use(buyer)
    await world.do(by_session(metered.receipt(buyer, signer=key), key))
    paid = await metered.cut()
    await metered.settle()
    assert (paid.paid, paid.skipped) == (PAID, 0)
    await metered.use(buyer)
    await world.do(by_session(metered.receipt(buyer, signer=key), key))
    revoke = SETTLEMENT.function("revokeSession").encode(buyer.address, key.address)
    await world.transact(buyer, settlement, revoke)
    assert not await asked.is_session(buyer.address, key.address, Permission.RECEIPT)
    refused = await metered.cut()
    await metered.settle()
    assert (refused.paid, refused.skipped) == (0, 1)
    assert len(metered.meter(buyer).waiting) == 1
    assert (await world.reconcile()).is_clean


def by_session(command: AcceptReceipt, key: SigningKey) -> AcceptReceipt:
    """The same, as signed by a key of the registry."""
    session = Authority.SESSION
    return msgspec.structs.replace(command, signer=key.address, authority=session)
