"""From a fill to a lease: who may trade what until when, and what becomes of a document."""

from typing import Final

from msgspec import UNSET

from intents.award import AwardedFill
from solver.core.auction import sealed_offers
from solver.core.award import AwardState
from solver.core.bundle import Bundle
from solver.core.charge import Charge
from solver.core.check import violate
from solver.core.command import Authority
from solver.core.event import Filled, IntentEnded, IntentStatus, MandateEnded, OfferEnded
from solver.core.exchange import Fill
from solver.core.lease import Execution, Lease
from solver.core.ledger import LAPSED, hold, transfer
from solver.core.session import may_receipt
from solver.core.state import (
    LEASE_MS_MAX,
    LEASES_PER_INTENT_MAX,
    DocumentState,
    IntentState,
    MandateState,
    OfferState,
    State,
    milliseconds,
)

# Bound once: looking an enumeration's member up costs as much as a trade's arithmetic.
_KEY: Final = Authority.KEY
_SESSION: Final = Authority.SESSION
_MANDATE: Final = Authority.MANDATE
_OPEN: Final = IntentStatus.OPEN
_FILLED: Final = IntentStatus.FILLED
_DELIVERED: Final = IntentStatus.DELIVERED
_SETTLED: Final = IntentStatus.SETTLED
_UNFILLED: Final = IntentStatus.UNFILLED

ID_CHARS: Final = 50
"""How much of an intent's digest, with its "0x", begins the ids of its leases."""
_ID_BASE: Final = 1 << 64
"""Added to a number before it is written in hex, so that 16 digits follow the first: quicker
than to format it."""
_hex: Final = hex


def enter_intent(state: State, intent: IntentState) -> None:
    """An intent whose time has come is tradable."""
    state.exchange.enter(intent.order)
    intent_entered(state, intent)


def intent_entered(state: State, intent: IntentState) -> None:
    """Carry out what an intent took as it entered; an immediate one takes nothing later."""
    carry_out(state)
    if intent.order.units and intent.immediate and intent.order.book.continuous:
        end_intent(state, intent, _UNFILLED)


def enter_offer(state: State, offer: OfferState) -> None:
    """An offer whose time has come is tradable."""
    state.exchange.enter(offer.order)
    carry_out(state)


def return_units(state: State, offer: OfferState) -> None:
    """Units that leases gave back are tradable again; see `Exchange.resell`.

    An offer that had nothing left when its time was over ends here.
    """
    if offer.order.until_ms <= state.now_ms:
        end_offer(state, offer, "expired")
        return
    free = offer.capacity.available
    if offer.order.units != free:
        state.exchange.resell(offer.order, free)
        carry_out(state)


class Awarding:
    """What fills that are carried out for an award are charged, by intent and offer."""

    def __init__(self, award: AwardState, charges: dict[tuple[str, str], Charge]) -> None:
        self.award = award
        self.charges = charges


def carry_out(state: State, awarding: Awarding | None = None) -> None:
    """Turn the exchange's fills into executions with a lease each, then end what is too small.

    A rest below its minimum ends: the contract would refuse it before its siblings settle.
    So does one that was filled too often.
    """
    exchange = state.exchange
    if not exchange.fills:
        return
    buyers: list[IntentState] = []
    execution: Execution | None = None
    for fill in exchange.drain():
        if execution is None or execution.id != fill.execution:
            intent = state.intents[fill.bid.id]
            buyers.append(intent)
            execution = _new_execution(state, intent, fill.execution, awarding)
        lease = _lease_fill(state, execution, intent, fill, awarding)
        if lease.charge and awarding is not None:
            _award(state, intent, lease, awarding.award)
    for order in exchange.drain_ended():
        end_intent(state, state.intents[order.id], _UNFILLED)
    for intent in buyers:
        if len(intent.leases) >= LEASES_PER_INTENT_MAX:
            end_intent(state, intent, _UNFILLED)
        if state.bundles.by_digest:
            _end_alternatives(state, intent)
        update_status(state, intent)


def open_lease(
    state: State,
    execution: Execution,
    intent: IntentState,
    offer: OfferState,
    *,
    units: int,
    tick: int,
    held: int,
    until_ms: int = 0,
    charge: Charge | None = None,
) -> Lease:
    """Give the lease for a fill whose money and units are held already.

    `until_ms`, unless 0, bounds its life further: a moved lease lives no longer than the first.
    """
    # Two by two: compiled, that is a comparison and no call.
    ends_ms = min(intent.order.until_ms, offer.order.until_ms)
    ends_ms = min(ends_ms, state.now_ms + LEASE_MS_MAX)
    lease = Lease(
        id=intent.digest[:ID_CHARS] + _hex(_ID_BASE + state.next_seq())[3:],
        execution=execution.id,
        intent=intent,
        offer=offer,
        units=units,
        tick=tick,
        held=held,
        until_ms=min(ends_ms, until_ms) if until_ms else ends_ms,
        filled_ms=state.now_ms,
        metered=execution.metered,
    )
    if charge is not None:
        lease.charge = charge.bid_charge + charge.ask_charge
    state.leases[lease.id] = lease
    state.lease_ends.add(lease, lease.until_ms)
    state.keys[lease.key].leases[lease.id] = None
    execution.leases.append(lease.id)
    execution.serving += 1
    execution.unsettled += 1
    intent.add_lease(lease.id)
    intent.serving += 1
    offer.leases_kept += 1
    state.emit(
        Filled(
            fill=lease.id,
            execution=execution.id,
            intent=intent.digest,
            offer=offer.digest,
            buyer=lease.buyer,
            seller=lease.seller,
            resource=lease.resource,
            units=units,
            tick=tick,
            until_ms=lease.until_ms,
            bid_charge=UNSET if charge is None else charge.bid_charge,
            ask_charge=UNSET if charge is None else charge.ask_charge,
        )
    )
    return lease


def end_intent(state: State, intent: IntentState, status: IntentStatus) -> None:
    """Nothing more of it is filled: out of the book, its unfilled money released."""
    order = intent.order
    if intent.ended is not None or not order.units:
        return
    intent.ended = status
    commit(state, intent, -order.held)
    state.exchange.end(order)
    update_status(state, intent)
    bundle = state.bundles.of(intent.digest) if state.bundles.by_digest else None
    if bundle is not None:
        _end_legs(state, bundle, status)


def _end_alternatives(state: State, intent: IntentState) -> None:
    """One of an any-of was filled: the others end."""
    bundle = state.bundles.of(intent.digest)
    if bundle is not None and bundle.any_of:
        _end_legs(state, bundle, _UNFILLED)


def _end_legs(state: State, bundle: Bundle, status: IntentStatus) -> None:
    """Legs that nothing was filled of end together; the rest of a chosen one goes on."""
    for digest in bundle.legs:
        leg = state.intents.get(digest)
        if leg is not None and not leg.filled_units:
            end_intent(state, leg, status)


def update_status(state: State, intent: IntentState) -> None:
    """Derive where an intent stands; say so once when it is final."""
    if intent.order.units:
        status = _OPEN
    elif not intent.leases and intent.ended is not None:
        status = intent.ended
    elif not intent.unsettled:
        status = _SETTLED
    elif intent.serving:
        status = _FILLED
    else:
        status = _DELIVERED
    if status is not intent.status:
        intent.status = status
        if status is not _FILLED and status is not _DELIVERED:
            account = intent.account
            state.emit(IntentEnded(intent=intent.digest, account=account, status=status))
            state.accounts[account].dismiss(intent)
            state.finish(intent)


def end_offer(state: State, offer: OfferState, reason: str) -> None:
    """Nothing more of it is sold; capacity that nobody took lapses.

    What was brought to an auction that is open is told of at its close (`tell_brought`).
    """
    if not offer.live:
        return
    offer.live = False
    state.exchange.end(offer.order)
    lapsed = state.units(LAPSED, offer.resource)
    transfer(offer.capacity, lapsed, offer.capacity.available)
    state.accounts[offer.account].dismiss(offer)
    # Only what never stood in a book can be sealed, and that is seldom: no auction is looked at.
    if offer.order.seq or offer.digest not in sealed_offers(state.auctions.values()):
        emit_offer_ended(state, offer, reason)
    if not offer.leases_kept:
        state.finish(offer)


def emit_offer_ended(state: State, offer: OfferState, reason: str) -> None:
    """Tell the feed that an offer is over."""
    state.emit(OfferEnded(offer=offer.digest, account=offer.account, reason=reason))


def end_if_sold(state: State, offer: OfferState) -> None:
    """An offer is filled once nothing of it is free or reserved: a lease may still give back."""
    if not offer.capacity.total:
        end_offer(state, offer, "filled")


def end_mandate(state: State, mandate: MandateState, reason: str) -> None:
    """Nothing more is bought under it: what is open ends, what is leased goes on."""
    if not mandate.live:
        return
    mandate.live = False
    digest, address = mandate.digest, mandate.account
    account = state.accounts[address]
    for record in account.standing:
        if isinstance(record, IntentState) and record.signer == digest:
            end_intent(state, record, IntentStatus.CANCELLED)
    account.dismiss(mandate)
    state.emit(MandateEnded(mandate=digest, account=address, reason=reason))
    if not mandate.intents_kept:
        state.finish(mandate)


def open_units(state: State, digest: str) -> int:
    """Units of a live intent or offer that can be filled now; 0 if it has ended."""
    intent = state.intents.get(digest)
    if intent is not None:
        return intent.open_units
    offer = state.offers.get(digest)
    return 0 if offer is None else offer.open_units


def signed_until_ms(state: State, record: DocumentState) -> int:
    """When a document stops being good: at its end, or when what it was signed with expires.

    The contract settles what an expired session signed only for a while; whoever is served
    after that serves for nothing.
    """
    if record.authority is _SESSION:
        session = state.accounts[record.account].sessions[record.signer]
        return min(record.until_ms, milliseconds(session.expires_at))
    if record.authority is _MANDATE:
        return min(record.until_ms, signed_until_ms(state, state.mandates[record.signer]))
    return record.until_ms


def commit(state: State, intent: IntentState, atoms: int) -> None:
    """Count what an intent can still cost against what limits its signer (negative: release)."""
    authority, signer = intent.authority, intent.signer
    if authority is _MANDATE:
        mandate = state.mandates[signer]
        mandate.committed += atoms
        if mandate.committed < 0:
            violate("mandate_commitment_not_negative")
        authority, signer = mandate.authority, mandate.signer
    if authority is _SESSION:
        session = state.accounts[intent.account].sessions[signer]
        session.committed += atoms
        if session.committed < 0:
            violate("session_commitment_not_negative")


def spend(state: State, intent: IntentState, atoms: int) -> None:
    """Count what an intent has cost for good against the mandate that it is under."""
    if intent.authority is _MANDATE:
        mandate = state.mandates[intent.signer]
        mandate.spent += atoms


def _new_execution(
    state: State, intent: IntentState, number: int, awarding: Awarding | None
) -> Execution:
    """Who buys what it won itself is charged fill by fill: no receipt pays its own account."""
    is_own = awarding is not None and awarding.award.solver == intent.account
    metered = not is_own and _is_metered(state, intent)
    execution = state.executions[number] = Execution(number, intent.digest, metered=metered)
    intent.unsettled += 1
    return execution


def _is_metered(state: State, intent: IntentState) -> bool:
    """Whether its buyer can sign for what it used, and nothing but that sum has to be settled.

    A minimum is judged on chain by the lines of an execution.
    """
    authority, signer = intent.authority, intent.signer
    if authority is _MANDATE:
        authority, signer = state.mandates[signer].authority, state.mandates[signer].signer
    if authority is _SESSION and not may_receipt(state, intent.account, signer):
        return False
    is_small = intent.limit <= state.metered_max
    return is_small and intent.asset == state.usdc and not intent.has_minimum


def _award(state: State, intent: IntentState, lease: Lease, award: AwardState) -> None:
    """Have a lease settle by its place in an award."""
    signed = state.mandates[intent.signer] if intent.authority is _MANDATE else intent
    lease.award, lease.award_place = award.id, len(award.fills)
    award.fills.append(
        AwardedFill(
            buyer=lease.buyer,
            buyer_nonce=signed.nonce,
            seller=lease.seller,
            seller_nonce=state.offers[lease.offer].nonce,
            units=lease.units,
            tick=lease.tick,
            charge=lease.charge,
        )
    )
    award.unsettled += 1


def _lease_fill(
    state: State,
    execution: Execution,
    intent: IntentState,
    fill: Fill,
    awarding: Awarding | None,
) -> Lease:
    intent.filled_units += fill.units
    if intent.authority is not _KEY:
        commit(state, intent, fill.cost - fill.freed)
    offer = state.offers[fill.ask.id]
    hold(offer.capacity, fill.units)
    return open_lease(
        state,
        execution,
        intent,
        offer,
        units=fill.units,
        tick=fill.tick,
        held=fill.cost,
        charge=awarding.charges.get((fill.bid.id, fill.ask.id)) if awarding else None,
    )
