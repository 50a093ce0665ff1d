"""From delivered units to paid ones: batches for the chain, and what the chain answers."""

from hashlib import blake2b
from itertools import takewhile

import msgspec
from msgspec import UNSET

from intents.reject import Reject, RejectCode, reject
from solver.core.award import AwardState, forget_settled
from solver.core.check import check
from solver.core.command import Authority, CutBatch
from solver.core.event import (
    BatchCut,
    BatchFinal,
    BatchLine,
    LeaseStatus,
    PaymentSettled,
    PaymentSkipped,
)
from solver.core.fact import BatchSettled, FillSettled, FillSkipped
from solver.core.lease import Execution, Lease
from solver.core.ledger import post
from solver.core.session import charge_fill
from solver.core.state import BATCHES_KEPT_MAX, Batch, IntentState, State
from solver.core.trade import commit, spend, update_status
from solver.core.trust import count
from solver.core.weight import Load


def finish_execution(state: State, execution: Execution) -> None:
    """All its leases are closed: queue it for the chain, or settle what needs no chain.

    A lease that counts no units is no line of the batch: the contract takes none of 0.
    """
    leases = [state.leases[lease] for lease in execution.leases]
    intent = state.intents[execution.intent]
    for lease in leases:
        if not counted_units(intent, lease):
            settle(state, lease, 0)
    if leases[0].asset == state.usdc and any(lease.payment for lease in leases):
        state.ready.append(execution.id)
        return
    for lease in leases:
        if lease.status is LeaseStatus.CLOSED:
            settle(state, lease, lease.payment, lease.reward)


def counted_units(intent: IntentState, lease: Lease) -> int:
    """What a closed lease counts on chain against its intent: its line's units.

    The contract judges a minimum by the counted units of an execution, so there it is all
    that was filled; otherwise what was delivered. An offer counts what was delivered.
    """
    return lease.units if intent.has_minimum else lease.delivered


def cut_batch(state: State, command: CutBatch) -> Reject | None:
    """Take ready executions, oldest first, whole, up to `fills_max` lines (one at least).

    It stops before what a transaction may not hold. Only an execution that is too heavy
    alone is divided; see `_take_lines`. Rejects: nothing_to_settle.
    """
    if not state.ready:
        return reject(RejectCode.NOTHING_TO_SETTLE)
    number = state.batch_next
    load = Load(command.bytes_max, command.gas_max)
    lines: list[BatchLine] = []
    while state.ready:
        leases = _closed(state, state.ready[0])
        if lines and len(lines) + len(leases) > command.fills_max:
            break
        if not load.takes(state, leases):
            if not lines:
                lines = _take_lines(state, leases, load, number)
            break
        state.ready.popleft()
        lines += [batch_line(state, lease, number) for lease in leases]
    state.batch_next += 1
    batch = Batch(number=number, digest=batch_digest(number, lines), lines=tuple(lines))
    state.batches[number] = batch
    state.emit(BatchCut(number=number, digest=batch.digest, lines=batch.lines))
    return None


def _take_lines(state: State, leases: list[Lease], load: Load, number: int) -> list[BatchLine]:
    """What fits of an execution that no transaction holds; the rest waits for the next batch.

    Plain keys always fit: this takes dozens of contract accounts as sellers. Without a
    minimum every part is paid. Under one, the contract skips a part below it: its sellers
    lose their pay, and nobody is stuck.
    """
    taken = [leases[0]]
    load.takes(state, taken)
    taken += takewhile(lambda lease: load.takes(state, [lease]), leases[1:])
    return [batch_line(state, lease, number) for lease in taken]


def _closed(state: State, execution: int) -> list[Lease]:
    leases = [state.leases[lease] for lease in state.executions[execution].leases]
    return [lease for lease in leases if lease.status is LeaseStatus.CLOSED]


def batch_digest(number: int, lines: list[BatchLine]) -> str:
    """32 bytes that commit to a batch's number and lines; the contract logs them."""
    payload = msgspec.msgpack.encode((number, lines))
    return "0x" + blake2b(payload, digest_size=32).hexdigest()


def fill_settled(state: State, fact: FillSettled) -> None:
    """The chain paid a line."""
    lease = _batched_lease(state, fact.fill)
    check(fact.payment == lease.payment, "chain_pays_what_was_batched", fill=fact.fill)
    resolve(state.batches[lease.batch], lease.id, paid=fact.payment)
    settle(state, lease, fact.payment, lease.reward)


def fill_skipped(state: State, fact: FillSkipped) -> None:
    """The chain refused a line: nobody pays, nobody is paid."""
    lease = _batched_lease(state, fact.fill)
    resolve(state.batches[lease.batch], lease.id, paid=None)
    settle(state, lease, 0, skipped_reason=fact.reason)


def batch_settled(state: State, fact: BatchSettled) -> None:
    """The chain recorded a batch; by now it has spoken on every line."""
    batch = state.batches.get(fact.number)
    check(batch is not None, "chain_settles_known_batch", number=fact.number)
    assert batch is not None
    check(batch.digest == fact.digest, "chain_settles_our_batch", number=fact.number)
    finish_batch(state, batch)


def finish_batch(state: State, batch: Batch) -> None:
    """The chain has spoken on all of a batch, in a final block."""
    check(batch.resolved == len(batch.lines), "batch_fully_resolved", number=batch.number)
    batch.final = True
    state.emit(BatchFinal(number=batch.number, paid=batch.paid, skipped=batch.skipped))
    _forget_old_batches(state)


def batch_line(state: State, lease: Lease, number: int) -> BatchLine:
    """Put a closed lease into a batch."""
    lease.status = LeaseStatus.BATCHED
    lease.batch = number
    return BatchLine(
        fill=lease.id,
        intent=lease.intent,
        offer=lease.offer,
        units=counted_units(state.intents[lease.intent], lease),
        delivered=lease.delivered,
        payment=lease.payment,
    )


def _batched_lease(state: State, fill: str) -> Lease:
    lease = state.leases.get(fill)
    check(lease is not None, "chain_settles_known_fill", fill=fill)
    assert lease is not None
    check(lease.status is LeaseStatus.BATCHED, "settled_once", fill=fill, status=lease.status)
    return lease


def resolve(batch: Batch, fill: str, *, paid: int | None) -> None:
    """The chain has spoken on a line."""
    check(not batch.final, "batch_is_open", fill=fill)
    batch.resolved += 1
    if paid is None:
        batch.skipped += 1
    else:
        batch.paid += paid


def settle(
    state: State,
    lease: Lease,
    payment: int,
    reward: int = 0,
    *,
    skipped_reason: int | None = None,
) -> None:
    """Pay `payment` of what is held for a lease, for good; the rest is the buyer's again.

    `reward` of it is the solver's whose award the fill is of.
    """
    intent, offer = state.intents[lease.intent], state.offers[lease.offer]
    commit(state, intent, -lease.held)
    award = state.awards[lease.award] if lease.charge else None
    if award is not None:
        _pay_reward(state, award, lease, reward)
    post(intent.order.money, offer.order.money, lease.held, payment - reward)
    lease.held = 0
    spend(state, intent, payment)
    if not lease.metered and intent.authority is not Authority.KEY:
        charge_fill(state, lease, payment, lease.delivered if skipped_reason is None else 0)
    count(state, lease, -lease.payment)
    if skipped_reason is None:
        lease.status = LeaseStatus.SETTLED
        state.emit(
            PaymentSettled(
                fill=lease.id,
                buyer=lease.buyer,
                seller=lease.seller,
                payment=payment,
                solver=UNSET if award is None else award.solver,
                reward=UNSET if award is None else reward,
            )
        )
    else:
        lease.status = LeaseStatus.SKIPPED
        state.emit(
            PaymentSkipped(
                fill=lease.id, buyer=lease.buyer, seller=lease.seller, reason=skipped_reason
            )
        )
    execution = state.executions[lease.execution]
    execution.unsettled -= 1
    if not execution.unsettled:
        del state.executions[lease.execution]
        intent.unsettled -= 1
        update_status(state, intent)


def _pay_reward(state: State, award: AwardState, lease: Lease, reward: int) -> None:
    """Pay the solver's part of what a fill comes to."""
    award.unsettled -= 1
    forget_settled(state.awards, state.auctions, award.id)
    debit = state.money(lease.buyer, lease.asset)
    post(debit, state.money(award.solver, lease.asset), reward, reward)
    lease.held -= reward


def _forget_old_batches(state: State) -> None:
    final = [number for number, batch in state.batches.items() if batch.final]
    for number in final[:-BATCHES_KEPT_MAX]:
        del state.batches[number]
