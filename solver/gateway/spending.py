"""Metered settlement: what an account owes, its word for it, and the leaves of what was paid."""

from itertools import islice
from typing import Final

from intents.admission import Verified, admit
from intents.document import SpendReceipt
from intents.policy import Permission
from intents.receipt import ReceiptLine
from intents.reject import Reject, RejectCode, reject
from solver.core.command import AcceptReceipt, Authority
from solver.core.lease import Lease
from solver.core.meter import Meter, SignedReceipt
from solver.core.metered import leaf_of
from solver.core.metering import document_of, statement
from solver.core.state import State
from solver.gateway.contract import ask_contract, ask_registry
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.owed import (
    LeafTold,
    LeavesTold,
    OwedTold,
    PaidTold,
    SignedTold,
    SpendingBody,
    SpendingQuery,
    SpendingTold,
)
from solver.gateway.view import tell
from solver.gateway.wire import Nothing

OWED_TOLD_MAX: Final = 512
"""Fills that are told at once, and can be signed for at once."""


async def read_spending(inbound: Inbound[Nothing, SpendingQuery]) -> Answer:
    """What an account owes, and what it may sign. Only what is on disk."""
    gateway, account = inbound.gateway, inbound.query.account
    told = spending_told(gateway.state, account)
    await gateway.sequencer.durable()
    return told


async def sign_spending(inbound: Inbound[SpendingBody, Nothing]) -> Answer:
    """Take a buyer's word. It carries its own signature, so anyone may bring it."""
    gateway = inbound.gateway
    command = await receipt_command(gateway, inbound.body, inbound.sender)
    if isinstance(command, Reject):
        return command
    result = await gateway.sequencer.submit(command)
    if isinstance(result, Reject):
        return result
    return spending_told(gateway.state, command.receipt.account)


async def receipt_command(
    gateway: Gateway, body: SpendingBody, sender: str
) -> AcceptReceipt | Reject:
    """A buyer's word, and how it binds the account.

    Rejects, in order: what `admit` does, receipt_stale, rate_limited, busy, not_authorized.
    """
    verified = admit(body.receipt, gateway.rules, gateway.now_ms() // 1_000)
    if isinstance(verified, Reject):
        return verified
    stale = _fault_in_base(gateway.state, verified.document)
    if stale is not None:
        return stale
    bound = await _bind(gateway, verified, sender)
    if isinstance(bound, Reject):
        return bound
    signer, authority = bound
    return AcceptReceipt(
        receipt=verified.document,
        fills=body.fills,
        signer=signer,
        authority=authority,
        signature=verified.signature,
    )


async def leaves(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """The fills of a metered batch. Rejects: batch_unknown."""
    state = inbound.gateway.state
    batch = state.batches.get(int(inbound.path("number")))
    if batch is None or not batch.records:
        return reject(RejectCode.BATCH_UNKNOWN, "no metered batch, or no longer kept")
    if any(line.fill not in state.leases for line in batch.lines):
        return reject(RejectCode.BATCH_UNKNOWN, "its fills are no longer kept")
    return LeavesTold(
        number=batch.root_number,
        root=batch.digest,
        leaves=tuple(tell(leaf_of(state, line), LeafTold) for line in batch.lines),
    )


def spending_told(state: State, account: str) -> SpendingTold:
    """What an account owes, up to `OWED_TOLD_MAX` fills beyond what it signed for."""
    meter = state.metering.meters.get(account) or Meter()
    signed = meter.signed_fills
    said = statement(state, meter, signed + OWED_TOLD_MAX)
    owed = islice(meter.waiting, signed, said.fills)
    return SpendingTold(
        document=document_of(state, account, said),
        lines=_paid_told(said.lines),
        fills=said.fills,
        owed=tuple(_owed_told(state.leases[fill]) for fill in owed),
        receipt=None if meter.receipt is None else _signed_told(account, meter.receipt),
        exposure=meter.exposure,
        uncovered_max=state.metering.uncovered_max,
        payment_max=state.metered_max,
    )


def _fault_in_base(state: State, receipt: SpendReceipt) -> Reject | None:
    """What the core says too, before anybody asks a node about it."""
    meter = state.metering.meters.get(receipt.account)
    if meter is None or receipt.base != meter.next_base or not meter.waiting:
        return reject(RejectCode.RECEIPT_STALE, "nothing is owed from this base")
    return None


async def _bind(
    gateway: Gateway, verified: Verified[SpendReceipt], sender: str
) -> tuple[str, Authority] | Reject:
    """Who signed and how that binds the account: its key, a key in the registry, its contract.

    Rejects: rate_limited, busy, not_authorized.
    """
    account, signer = verified.document.account, verified.signer
    if signer == account:
        refused = limited(gateway.rates.accounts, account, gateway.now_ms())
        return refused or (signer, Authority.KEY)
    if signer is not None:
        live = await ask_registry(gateway, account, signer, Permission.RECEIPT, sender)
        if isinstance(live, Reject) or live:
            return live if isinstance(live, Reject) else (signer, Authority.SESSION)
    valid = await ask_contract(gateway, account, verified.digest, verified.signature, sender)
    if isinstance(valid, Reject) or valid:
        return valid if isinstance(valid, Reject) else (account, Authority.CONTRACT)
    return reject(
        RejectCode.NOT_AUTHORIZED, f"{signer or 'this signature'} may not sign what {account} owes"
    )


def _owed_told(lease: Lease) -> OwedTold:
    return OwedTold(
        fill=lease.id,
        intent=lease.intent,
        offer=lease.offer,
        seller=lease.seller,
        delivered=lease.delivered,
        payment=lease.payment,
    )


def _paid_told(lines: tuple[ReceiptLine, ...]) -> tuple[PaidTold, ...]:
    return tuple(PaidTold(seller=line.seller, amount=line.amount) for line in lines)


def _signed_told(account: str, receipt: SignedReceipt) -> SignedTold:
    return SignedTold(
        document=receipt.document(account),
        lines=_paid_told(receipt.lines),
        fills=receipt.fills,
        signer=receipt.signer,
        authority=receipt.authority,
        signature=receipt.signature,
    )
