"""From a batch that the core cut to the calldata that settles it."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from contracts.batch import (
    LINES_PER_INTENT_MAX,
    OFFERS_MAX,
    Entry,
    Line,
    ProvenFill,
    SignedAward,
    SignedIntent,
    SignedMandate,
    SignedOffer,
    offer_order,
    pack,
    settle_call,
)
from intents.rounding import mul_div_ceil
from solver.core.command import Authority
from solver.core.event import BatchLine
from solver.core.lease import Lease
from solver.core.state import Batch, State
from solver.core.weight import signed_digest
from solver.engine import award as engine
from solver.engine.award import AwardSigner
from solver.settlement.fault import BatchTooLarge
from solver.settlement.transaction import GAS_MAX

CALLDATA_BYTES_MAX: Final = 120_000
"""Nodes take transactions of up to 128 KiB."""
GAS_MARGIN_PERCENT: Final = 130
"""Estimates are of the state now; other batches may come first."""


def encode_batch(state: State, batch: Batch, signer: AwardSigner) -> bytes:
    """Calldata for the operator's account.

    Offers are listed once and in the contract's order; the lines of an intent stand
    together, so that the contract judges its minimum by all of them, and so do those of all
    intents under one mandate, which is what is signed. Raises BatchTooLarge.
    """
    chosen = sorted(
        (state.offers[digest] for digest in {line.offer: None for line in batch.lines}),
        key=lambda offer: offer_order(offer.document),
    )
    places = {offer.digest: place for place, offer in enumerate(chosen)}
    awarded = _awarded(state, batch.lines)
    fills = chain.from_iterable(awarded.values())
    places |= {lease.id: place for place, lease in enumerate(fills, len(chosen))}
    offers = [
        SignedOffer(offer=offer.document, authority=int(offer.authority), signature=offer.signature)
        for offer in chosen
    ]
    awards = [
        _award(signer.signed(state.awards[award]), leases, places)
        for award, leases in awarded.items()
    ]
    packed = pack(offers, _entries(state, batch.lines, places), awards)
    data = settle_call(batch.number, batch.digest, packed)
    if len(data) > CALLDATA_BYTES_MAX or len(places) > OFFERS_MAX:
        raise BatchTooLarge(f"batch {batch.number} is {len(data)} bytes with {len(offers)} offers")
    return data


def _awarded(state: State, lines: Sequence[BatchLine]) -> dict[str, list[Lease]]:
    """By award, what of the lines is charged for it."""
    awarded: dict[str, list[Lease]] = {}
    for line in lines:
        lease = state.leases[line.fill]
        if lease.charge:
            awarded.setdefault(lease.award, []).append(lease)
    return awarded


def _award(signed: engine.SignedAward, leases: list[Lease], places: dict[str, int]) -> SignedAward:
    """The operator's account is a contract, whose owner signed."""
    return SignedAward(
        award=signed.document,
        authority=int(Authority.CONTRACT),
        signature=signed.signature,
        fills=tuple(
            ProvenFill(
                offer=places[lease.offer],
                fill=signed.fills[lease.award_place],
                proof=signed.tree.proof(lease.award_place),
            )
            for lease in leases
        ),
    )


def gas_limit(number: int, estimate: int, *, asks_contracts: bool) -> int:
    """Gas to send a batch with, given an estimate. Raises BatchTooLarge.

    An account contract that is asked for its signature may burn more than it did when the
    estimate was made, and would have the batch revert: then it is all that the core allowed
    for. What is not used is not paid for.
    """
    if estimate > GAS_MAX:
        raise BatchTooLarge(f"batch {number} needs {estimate} gas, a transaction has {GAS_MAX}")
    if asks_contracts:
        return GAS_MAX
    return min(GAS_MAX, mul_div_ceil(estimate, GAS_MARGIN_PERCENT, 100))


def asks_contracts(state: State, batch: Batch) -> bool:
    """Whether the chain asks an account contract about any line of the batch."""
    receipts = [record.receipt for record in batch.records]
    if any(one is not None and one.authority is Authority.CONTRACT for one in receipts):
        return True
    for line in () if batch.records else batch.lines:
        intent, offer = state.intents[line.intent], state.offers[line.offer]
        buyer = state.mandates.get(intent.signer, intent)
        if Authority.CONTRACT in (buyer.authority, offer.authority):
            return True
    return False


def _entries(state: State, lines: Sequence[BatchLine], places: dict[str, int]) -> list[Entry]:
    """What is signed, in the order of its first line, with its lines."""
    signed: dict[str, list[Line]] = {}
    for line in lines:
        signed.setdefault(signed_digest(state, line.intent), []).append(_line(line, places))
    return [
        _entry(state, digest, part) for digest, group in signed.items() for part in _parts(group)
    ]


def _entry(state: State, digest: str, lines: tuple[Line, ...]) -> Entry:
    mandate = state.mandates.get(digest)
    if mandate is not None:
        return SignedMandate(
            mandate=mandate.document,
            authority=int(mandate.authority),
            signature=mandate.signature,
            lines=lines,
        )
    intent = state.intents[digest]
    return SignedIntent(
        intent=intent.document,
        authority=int(intent.authority),
        signature=intent.signature,
        proof=intent.proof,
        lines=lines,
    )


def _parts(lines: list[Line]) -> list[tuple[Line, ...]]:
    """As few parts as the layout allows, of even size: each must meet the intent's minimum."""
    count = -(-len(lines) // LINES_PER_INTENT_MAX)
    size = -(-len(lines) // count)
    return [tuple(lines[start : start + size]) for start in range(0, len(lines), size)]


def _line(line: BatchLine, places: dict[str, int]) -> Line:
    """An awarded fill has a place of its own, behind the offers."""
    return Line(
        offer=places.get(line.fill, places[line.offer]),
        units=line.units,
        delivered=line.delivered,
        payment=line.payment,
        fill=line.fill,
    )
