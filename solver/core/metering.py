"""Metered fills: what their buyers owe, what they sign for, and how far they are served.

What closes waits in its buyer's meter. A receipt is for the first fills that wait, so that
what closes meanwhile does not change what is signed.
"""

from itertools import islice
from typing import Final

import msgspec

from intents.bound import AMOUNT_MAX
from intents.document import SpendReceipt
from intents.receipt import LINES_MAX, ReceiptLine, in_order, lines_hash
from intents.reject import Reject, RejectCode, reject
from intents.rounding import payment_at
from solver.core.award import awarded_by
from solver.core.command import (
    AcceptReceipt,
    Authority,
    SetMetering,
)
from solver.core.event import (
    MeteringSet,
    ReceiptAccepted,
    ReceiptLapsed,
)
from solver.core.lease import Lease
from solver.core.meter import Meter, SignedReceipt
from solver.core.session import buying_key, may_sign_receipt
from solver.core.settling import settle
from solver.core.state import State
from solver.core.trust import count

FILLS_PER_RECEIPT_MAX: Final = 4_096


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a buyer may sign for: the first `fills` that wait, from `base` on."""

    base: int
    spent: int
    lines: tuple[ReceiptLine, ...]
    fills: int


# -- commands


def set_metering(state: State, command: SetMetering) -> Reject | None:
    """The operator's rule, for fills from now on. Rejects: limit_out_of_range.

    What one intent costs must fit the cap, or nothing could settle it without its buyer.
    """
    if not 0 <= command.payment_max <= command.uncovered_max:
        return reject(RejectCode.LIMIT_OUT_OF_RANGE, "payment_max is 0 to uncovered_max")
    if not 0 <= command.unsettled_max <= AMOUNT_MAX:
        return reject(RejectCode.LIMIT_OUT_OF_RANGE, f"unsettled_max is 0 to {AMOUNT_MAX}")
    state.metered_max = command.payment_max
    state.metering.uncovered_max = command.uncovered_max
    state.metering.unsettled_max = command.unsettled_max
    state.emit(
        MeteringSet(
            payment_max=command.payment_max,
            uncovered_max=command.uncovered_max,
            unsettled_max=command.unsettled_max,
        )
    )
    return None


def accept_receipt(state: State, command: AcceptReceipt) -> Reject | None:
    """Take a buyer's word for the first fills that wait, in place of what it signed before.

    Rejects, in order: not_authorized, epoch_ended, receipt_stale (another base, or no more
    than was signed already), receipt_invalid (not what these fills come to), not_authorized,
    session_terms, session_cap_exceeded (of a session key: what the chain would refuse).
    """
    receipt = command.receipt
    meter = state.metering.meters.get(receipt.account, _NOTHING)
    fault = _fault_in_receipt(state, meter, command)
    if fault is not None:
        return fault
    said = statement(state, meter, command.fills)
    fault = _fault_in_sum(receipt, said)
    if fault is not None:
        return fault
    signed = SignedReceipt(
        epoch=receipt.epoch,
        base=receipt.base,
        spent=receipt.spent,
        lines=said.lines,
        fills=command.fills,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
        bought=_bought(state, meter, command.fills),
    )
    fault = may_sign_receipt(state, receipt.account, signed)
    if fault is not None:
        return fault
    meter.receipt = signed
    state.metering.unsigned.pop(receipt.account, None)
    list_meter(state, receipt.account, meter)
    state.emit(ReceiptAccepted(account=receipt.account, spent=receipt.spent, fills=command.fills))
    return None


# -- what leases tell


def fault_in_meter(state: State, lease: Lease, units: int) -> Reject | None:
    """Whether a call would be served beyond what its buyer signed for. Rejects: receipt_due."""
    meter = state.metering.meters.get(lease.buyer, _NOTHING)
    after = payment_at(lease.tick, lease.delivered + lease.in_flight + units)
    exposure = meter.exposure + after - lease.reach
    if exposure <= state.metering.uncovered_max:
        return None
    return reject(
        RejectCode.RECEIPT_DUE,
        f"{exposure} atoms would be owed without a receipt, of {state.metering.uncovered_max}",
    )


def note_reach(state: State, lease: Lease, before: int) -> None:
    """A call of a lease started or ended: what it comes to was `before`."""
    atoms = lease.reach - before
    if lease.metered:
        state.metering.of(lease.buyer).open += atoms
    count(state, lease, atoms)


def meter_closed(state: State, lease: Lease) -> None:
    """A closed lease waits for its buyer's word, unless it has nothing to pay."""
    meter = state.metering.of(lease.buyer)
    meter.open -= lease.payment
    if not lease.payment:
        settle(state, lease, 0)
        return
    meter.waiting.append(lease.id)
    meter.owed += lease.payment
    list_meter(state, lease.buyer, meter)


# -- what may be signed


def shares_of(lease: Lease) -> dict[str, int]:
    """Whom a closed fill pays how much: its seller, and the solver by whose award it is charged.

    Never its buyer, and nobody nothing.
    """
    reward = lease.reward
    shares = {lease.seller: lease.payment - reward} if lease.payment > reward else {}
    if reward:
        _, solver = awarded_by(lease.award)
        shares[solver] = shares.get(solver, 0) + reward
    return shares


def statement(state: State, meter: Meter, fills: int = FILLS_PER_RECEIPT_MAX) -> Statement:
    """What the first fills that wait come to, as far as a receipt has lines for them."""
    before = meter.receipt if meter.receipt and meter.receipt.fills <= fills else None
    amounts = {} if before is None else {line.seller: line.amount for line in before.lines}
    taken = 0 if before is None else before.fills
    for fill in islice(meter.waiting, taken, fills):
        shares = shares_of(state.leases[fill])
        new = [payee for payee in shares if payee not in amounts]
        if len(amounts) + len(new) > LINES_MAX:
            break
        for payee, amount in shares.items():
            amounts[payee] = amounts.get(payee, 0) + amount
        taken += 1
    return Statement(
        base=meter.next_base,
        spent=meter.next_base + sum(amounts.values()),
        lines=in_order(amounts),
        fills=taken,
    )


def statement_of(state: State, account: str) -> Statement:
    """What an account may sign for now."""
    return statement(state, state.metering.meters.get(account, _NOTHING))


def document_of(state: State, account: str, said: Statement) -> SpendReceipt:
    """What its signature is over."""
    record = state.accounts.get(account)
    return SpendReceipt(
        account=account,
        epoch=0 if record is None else record.epoch,
        base=said.base,
        spent=said.spent,
        lines=lines_hash(said.lines),
    )


def _fault_in_receipt(state: State, meter: Meter, command: AcceptReceipt) -> Reject | None:
    receipt = command.receipt
    if command.authority is Authority.KEY and command.signer != receipt.account:
        return reject(RejectCode.NOT_AUTHORIZED, f"signed by {command.signer}")
    account = state.accounts.get(receipt.account)
    epoch = 0 if account is None else account.epoch
    if receipt.epoch != epoch:
        return reject(RejectCode.EPOCH_ENDED, f"epoch {receipt.epoch}; the account is in {epoch}")
    if receipt.base != meter.next_base:
        return reject(RejectCode.RECEIPT_STALE, f"base {receipt.base}, not {meter.next_base}")
    signed = meter.signed_fills
    if command.fills <= signed:
        return reject(RejectCode.RECEIPT_STALE, f"{signed} fills are signed for already")
    if command.fills > min(len(meter.waiting), FILLS_PER_RECEIPT_MAX):
        return reject(RejectCode.RECEIPT_INVALID, f"{len(meter.waiting)} fills wait")
    return None


def _fault_in_sum(receipt: SpendReceipt, said: Statement) -> Reject | None:
    if (receipt.spent, receipt.lines) == (said.spent, lines_hash(said.lines)):
        return None
    return reject(RejectCode.RECEIPT_INVALID, f"{said.fills} fills come to {said.spent} in all")


def _bought(state: State, meter: Meter, fills: int) -> dict[str, int]:
    """Which session keys bought how much of the first fills that wait."""
    before = meter.receipt
    bought, taken = ({}, 0) if before is None else (dict(before.bought), before.fills)
    for fill in islice(meter.waiting, taken, fills):
        lease = state.leases[fill]
        key = buying_key(state, lease)
        if key:
            bought[key] = bought.get(key, 0) + lease.payment
    return bought


def drop_receipt(state: State, account: str, meter: Meter) -> None:
    """It rests on a base that will not come."""
    if meter.receipt is not None:
        state.emit(ReceiptLapsed(account=account, spent=meter.receipt.spent))
        meter.receipt = None


def void_receipt(state: State, account: str, signer: str) -> None:
    """A session key has ended: the chain takes no receipt of it that is not there yet."""
    meter = state.metering.meters.get(account, _NOTHING)
    receipt = meter.receipt
    if receipt is not None and (receipt.authority, receipt.signer) == (Authority.SESSION, signer):
        drop_receipt(state, account, meter)
        list_meter(state, account, meter)


def list_meter(state: State, account: str, meter: Meter) -> None:
    """Whether a batch can take its receipt, and since when something is not signed for."""
    metering = state.metering
    if meter.receipt is None or meter.record is not None:
        metering.signed.pop(account, None)
    else:
        metering.signed.setdefault(account)
    if len(meter.waiting) > meter.signed_fills:
        metering.unsigned.setdefault(account, state.now_ms)
    else:
        metering.unsigned.pop(account, None)


_NOTHING: Final = Meter()
