"""Metered settlement: what an account owes, its word for it, and the leaves of what was paid."""

from collections.abc import Iterable
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
from solver.engine.award import AwardSigner, SignedAward
from solver.gateway.contract import ask_contract, ask_registry
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.owed import (
    LeafTold,
    LeavesTold,
    OwedAwardTold,
    OwedTold,
    PaidTold,
    SignedAwardTold,
    SignedTold,
    SpendingBody,
    SpendingQuery,
    SpendingTold,
)
from solver.gateway.view import tell
from solver.gateway.wire import Nothing

OWED_TOLD_MAX: Final = 512
"""Fills that are told at once, and can be signed for at once."""
AWARDS_TOLD_MAX: Final = 32
"""Awards that these are of at most: each may have to be signed, and its tree made, to be told."""


async def read_spending(inbound: Inbound[Nothing, SpendingQuery]) -> Answer:
    """What an account owes, and what it may sign. Only what is on disk."""
    gateway, account = inbound.gateway, inbound.query.account
    told = spending_told(gateway.state, account, gateway.awards)
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
    return spending_told(gateway.state, command.receipt.account, gateway.awards)


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


def spending_told(state: State, account: str, signer: AwardSigner) -> SpendingTold:
    """What an account owes, up to `OWED_TOLD_MAX` fills beyond what it signed for."""
    meter = state.metering.meters.get(account) or Meter()
    signed = meter.signed_fills
    waiting = [state.leases[fill] for fill in islice(meter.waiting, signed, signed + OWED_TOLD_MAX)]
    said = statement(state, meter, signed + _tellable(waiting))
    owed = waiting[: said.fills - signed]
    names = dict.fromkeys(lease.award for lease in owed if lease.charge)
    awards = {name: signer.signed(state.awards[name]) for name in names}
    return SpendingTold(
        document=document_of(state, account, said),
        lines=_paid_told(said.lines),
        fills=said.fills,
        owed=tuple(_owed_told(lease, awards.get(lease.award)) for lease in owed),
        awards=tuple(_award_told(award) for award in awards.values()),
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


def _tellable(waiting: Iterable[Lease]) -> int:
    """How many of those that wait are told: of `AWARDS_TOLD_MAX` awards."""
    names: set[str] = set()
    fills = 0
    for fills, lease in enumerate(waiting, 1):
        if lease.charge:
            names.add(lease.award)
        if len(names) > AWARDS_TOLD_MAX:
            return fills - 1
    return fills


def _award_told(signed: SignedAward) -> SignedAwardTold:
    return SignedAwardTold(
        auction=signed.document.auction,
        solver=signed.document.solver,
        solution=signed.document.solution,
        deadline_block=signed.document.deadline_block,
        signature=signed.signature,
    )


def _owed_award_told(place: int, signed: SignedAward) -> OwedAwardTold:
    fill = signed.fills[place]
    return OwedAwardTold(
        auction=signed.document.auction,
        solver=signed.document.solver,
        buyer_nonce=fill.buyer_nonce,
        seller_nonce=fill.seller_nonce,
        units=fill.units,
        tick=fill.tick,
        charge=fill.charge,
        proof=signed.tree.proof(place),
    )


def _owed_told(lease: Lease, award: SignedAward | None) -> OwedTold:
    return OwedTold(
        fill=lease.id,
        intent=lease.intent,
        offer=lease.offer,
        seller=lease.seller,
        delivered=lease.delivered,
        payment=lease.payment,
        reward=lease.reward,
        award=None if award is None else _owed_award_told(lease.award_place, award),
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
