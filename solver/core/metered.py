"""Batches that move sums: cut from what buyers signed for, and what the chain says of them.

A batch takes receipts, and, within the uncovered cap, what nobody has signed for in time. One
record of a buyer is under way at a time: the next base is known then, and what the chain
refuses undoes nothing but itself.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from tiny_keccak import keccak256

from intents.bound import ADDRESS_ZERO
from intents.leaf import Leaf, tree
from intents.reject import Reject, RejectCode, reject
from solver.core.award import awarded_by
from solver.core.check import check, violate
from solver.core.command import Authority, CutMetered
from solver.core.event import BatchCut, BatchLine, ClaimMoved, LeaseStatus, ReceiptAccepted
from solver.core.fact import ClaimPaid, MeteredSettled, PaidRecord, RecordSkipped
from solver.core.lease import Lease
from solver.core.ledger import transfer
from solver.core.meter import Meter, Record, SignedReceipt
from solver.core.metering import (
    FILLS_PER_RECEIPT_MAX,
    drop_receipt,
    list_meter,
    shares_of,
    statement,
)
from solver.core.session import charge, charge_purchase, may_sign_receipt
from solver.core.settling import batch_line, finish_batch, resolve, settle
from solver.core.state import Batch, State
from solver.core.weight import RecordLoad, signed_digest

CLAIM_PENDING: Final = 4
"""The contract's RecordProblem of an attestation that a posted receipt stands against."""
BAD_SIGNATURE: Final = 7
SESSION_REFUSED: Final = 8
"""What it says of a receipt as of another epoch: of a key of the account's own, and of others."""


def cut_metered(state: State, command: CutMetered) -> Reject | None:
    """Take receipts, the first signed first, then what waits for a signature too long.

    Up to `fills_max` fills (one record at least), and not more than a transaction may hold.
    Rejects: nothing_to_settle.
    """
    records = _records(state, command)
    if not records:
        return reject(RejectCode.NOTHING_TO_SETTLE)
    _batch(state, records)
    return None


def _records(state: State, command: CutMetered) -> list[Record]:
    load = RecordLoad(command.bytes_max, command.gas_max)
    fills_left = command.fills_max
    records: list[Record] = []
    for account in _due(state, command.unsigned_ms):
        record = _record_of(state, state.batch_next, account)
        if record is None:
            continue
        if (records and record.fills > fills_left) or not load.takes(record):
            break
        fills_left -= record.fills
        records.append(record)
    return records


def leaf_of(state: State, line: BatchLine) -> Leaf:
    """A fill of a metered batch as its root commits to it."""
    lease = state.leases[line.fill]
    auction, solver = awarded_by(lease.award) if lease.charge else (0, ADDRESS_ZERO)
    return Leaf(
        fill=line.fill,
        intent=signed_digest(state, line.intent),
        offer=line.offer,
        buyer=lease.buyer,
        seller=lease.seller,
        resource="0x" + keccak256(lease.resource.encode()).hex(),
        units=line.units,
        delivered=line.delivered,
        payment=line.payment,
        auction=auction,
        solver=solver,
        reward=lease.reward,
    )


def metered_settled(state: State, fact: MeteredSettled) -> None:
    """The chain moved a batch's sums; by now it has spoken on every record."""
    batch = _batch_of(state, fact.number)
    check(batch.digest == fact.root, "chain_settles_our_batch", number=fact.number)
    for paid in fact.records:
        _pay(state, batch, paid)
    finish_batch(state, batch)


def record_skipped(state: State, fact: RecordSkipped) -> tuple[SignedReceipt | None, list[Lease]]:
    """The chain took nothing of a buyer: its receipt, if that was bad, and what of it is unpaid.

    A receipt is void then, and its fills wait for another one: whoever has it may still settle
    it by a claim, as long as the ledger has not moved on. Only one that was sent as of an epoch
    that ended meanwhile counts again: the contract takes it as of the epoch before. What the
    operator attested is not paid, unless by the receipt that stands against it.
    """
    batch = _batch_of(state, fact.number)
    record, lines = _record_in(batch, fact.account)
    leases = _still_batched(state, batch, lines)
    for line in lines:
        resolve(batch, line.fill, paid=None)
    _close_record(state, fact.account)
    if record.receipt is None and fact.problem != CLAIM_PENDING:
        for lease in leases:
            settle(state, lease, 0, skipped_reason=fact.problem)
    else:
        _wait_again(state, fact.account, leases)
    receipt = record.receipt
    if receipt is not None and _is_overtaken(state, fact, receipt):
        _count_again(state, fact.account, receipt)
        receipt = None
    list_meter(state, fact.account, state.metering.of(fact.account))
    return receipt, leases


def claim_paid(state: State, fact: ClaimPaid) -> None:
    """The chain settled a receipt by itself: mostly one of ours, for the first that are owed.

    What does not fit these moves as it did on chain: a buyer can sign for whatever it likes.
    """
    meter = state.metering.of(fact.account)
    claimant = state.metering.claimants.get(fact.account, "")
    left = {line.seller: line.amount for line in fact.lines}
    for lease in _owed(state, meter):
        paid, reward = _claimed(lease, left)
        if paid:
            _wait_no_more(meter, lease)
            charge_purchase(state, lease, paid, claimant)
            settle(state, lease, paid, reward)
    _move(state, fact.account, left)
    meter.base, meter.uncovered = fact.spent, 0
    _end_claim(state, fact.account)
    drop_receipt(state, fact.account, meter)
    list_meter(state, fact.account, meter)


def _claimed(lease: Lease, left: dict[str, int]) -> tuple[int, int]:
    """What a claim's lines pay of a fill, and its solver's part of that; taken from `left`.

    All whom it is to pay get some, or it is owed on: no buyer and seller get round a solver, or
    buyer and solver round a seller, by a receipt that leaves one of them out.
    """
    paid = {payee: min(amount, left.get(payee, 0)) for payee, amount in shares_of(lease).items()}
    if not all(paid.values()):
        return 0, 0
    for payee, amount in paid.items():
        left[payee] -= amount
    total = sum(paid.values())
    return total, total - min(paid.get(lease.seller, 0), lease.payment - lease.reward)


def _end_claim(state: State, account: str) -> None:
    """Whatever moves the base on chain by a receipt ends a claim from it."""
    state.metering.claimed.pop(account, None)
    state.metering.claimants.pop(account, None)


def _owed(state: State, meter: Meter) -> list[Lease]:
    """What a buyer owes for, oldest first: what is under way, then what waits."""
    under_way: list[Lease] = []
    if meter.record is not None:
        batch = state.batches[meter.record.batch]
        _, lines = _record_in(batch, meter.record.account)
        under_way = _still_batched(state, batch, lines)
    return under_way + [state.leases[fill] for fill in meter.waiting]


def _wait_no_more(meter: Meter, lease: Lease) -> None:
    if lease.status is LeaseStatus.CLOSED:
        meter.waiting.remove(lease.id)
        meter.owed -= lease.payment


def _move(state: State, buyer: str, amounts: dict[str, int]) -> None:
    """What the chain moved beyond what is known to be owed."""
    money = state.money(buyer, state.usdc)
    for seller, amount in amounts.items():
        if amount:
            transfer(money, state.money(seller, state.usdc), amount, forced=True)
            state.emit(ClaimMoved(buyer=buyer, seller=seller, payment=amount))


def _due(state: State, unsigned_ms: int) -> Iterable[str]:
    metering = state.metering
    yield from list(metering.signed)
    for account, since_ms in list(metering.unsigned.items()):
        if state.now_ms - since_ms < unsigned_ms:
            break
        meter = metering.meters[account]
        if meter.record is None and meter.receipt is None:
            yield account


def _record_of(state: State, number: int, account: str) -> Record | None:
    meter = state.metering.meters[account]
    receipt = meter.receipt
    if receipt is not None:
        return Record(
            batch=number,
            account=account,
            amount=receipt.amount,
            lines=receipt.lines,
            fills=receipt.fills,
            receipt=receipt,
        )
    said = statement(state, meter, _attestable(state, meter))
    if not said.fills:
        return None
    amount = said.spent - said.base
    return Record(batch=number, account=account, amount=amount, lines=said.lines, fills=said.fills)


def _attestable(state: State, meter: Meter) -> int:
    """How many of those that wait fit what the operator may move on its word alone."""
    left = state.metering.uncovered_max - meter.uncovered
    for count, fill in enumerate(islice(meter.waiting, FILLS_PER_RECEIPT_MAX)):
        left -= state.leases[fill].payment
        if left < 0:
            return count
    return min(len(meter.waiting), FILLS_PER_RECEIPT_MAX)


def _batch(state: State, records: list[Record]) -> None:
    number = state.batch_next
    lines = [line for record in records for line in _take(state, record)]
    root = tree([leaf_of(state, line).digest() for line in lines]).root
    batch = Batch(
        number=number,
        digest=root,
        lines=tuple(lines),
        root_number=state.metering.root_next,
        records=tuple(records),
    )
    state.batches[number] = batch
    state.batch_next += 1
    state.metering.root_next += 1
    state.emit(BatchCut(number=number, digest=root, lines=batch.lines))


def _take(state: State, record: Record) -> list[BatchLine]:
    """A record is under way: its fills wait no more."""
    meter = state.metering.meters[record.account]
    taken = meter.waiting[: record.fills]
    del meter.waiting[: record.fills]
    meter.owed -= record.amount
    meter.record, meter.receipt = record, None
    list_meter(state, record.account, meter)
    return [batch_line(state, state.leases[fill], record.batch) for fill in taken]


def _pay(state: State, batch: Batch, paid: PaidRecord) -> None:
    """A record of a batch was settled, though a claim may have paid some of it before."""
    record, lines = _record_in(batch, paid.account)
    check(paid.paid == record.amount, "chain_pays_what_was_batched", account=paid.account)
    left = {line.seller: line.amount for line in record.lines}
    for line in lines:
        resolve(batch, line.fill, paid=line.payment)
    receipt = record.receipt
    signer = "" if receipt is None or receipt.authority is not Authority.SESSION else receipt.signer
    charge(state, paid.account, signer, paid.paid)
    for lease in _still_batched(state, batch, lines):
        for payee, amount in shares_of(lease).items():
            left[payee] -= amount
        charge_purchase(state, lease, lease.payment, signer)
        settle(state, lease, lease.payment, lease.reward)
    _move(state, paid.account, left)
    meter = state.metering.of(paid.account)
    meter.base += paid.paid
    check(meter.base == paid.spent, "base_is_the_ledgers", account=paid.account)
    meter.uncovered = meter.uncovered + paid.paid if record.receipt is None else 0
    if record.receipt is not None:
        _end_claim(state, paid.account)
    _close_record(state, paid.account)
    list_meter(state, paid.account, meter)


def _close_record(state: State, account: str) -> None:
    """It is under way no more; a receipt that rests on another outcome is void."""
    meter = state.metering.of(account)
    meter.record = None
    if meter.receipt is not None and meter.receipt.base != meter.base:
        drop_receipt(state, account, meter)


def _wait_again(state: State, account: str, leases: list[Lease]) -> None:
    """Before all others, as they are older."""
    meter = state.metering.of(account)
    for lease in leases:
        lease.status, lease.batch = LeaseStatus.CLOSED, -1
    meter.waiting[:0] = [lease.id for lease in leases]
    meter.owed += sum(lease.payment for lease in leases)
    state.metering.unsigned.pop(account, None)


def _is_overtaken(state: State, fact: RecordSkipped, receipt: SignedReceipt) -> bool:
    """Whether all that is wrong with a receipt is that its account ended the epoch under way.

    Otherwise a buyer could unsay what it signed, by a transaction just before the batch's. A
    signature of its own key was checked when it came: as of the right epoch it holds.
    """
    account = fact.account
    if state.accounts[account].epoch != receipt.epoch + 1:
        return False
    if state.metering.of(account).base != receipt.base:
        return False
    if receipt.authority is Authority.KEY:
        return fact.problem == BAD_SIGNATURE
    if receipt.authority is not Authority.SESSION or fact.problem != SESSION_REFUSED:
        return False
    return may_sign_receipt(state, account, receipt) is None


def _count_again(state: State, account: str, receipt: SignedReceipt) -> None:
    """It is the next batch's; nothing newer can rest on the same base."""
    state.metering.of(account).receipt = receipt
    state.emit(ReceiptAccepted(account=account, spent=receipt.spent, fills=receipt.fills))


def _batch_of(state: State, number: int) -> Batch:
    found = [batch for batch in state.batches.values() if batch.root_number == number]
    check(len(found) == 1, "chain_settles_known_batch", number=number)
    return found[0]


def _record_in(batch: Batch, account: str) -> tuple[Record, tuple[BatchLine, ...]]:
    """A buyer's record, and its lines among those of the batch."""
    start = 0
    for record in batch.records:
        if record.account == account:
            return record, batch.lines[start : start + record.fills]
        start += record.fills
    return violate("chain_settles_known_record", account=account)


def _still_batched(state: State, batch: Batch, lines: Iterable[BatchLine]) -> list[Lease]:
    """Those that no claim has paid meanwhile."""
    leases = [state.leases[line.fill] for line in lines if line.fill in state.leases]
    return [
        lease
        for lease in leases
        if lease.status is LeaseStatus.BATCHED and lease.batch == batch.number
    ]
