"""From a match to a lease: money and capacity are held, nothing is paid yet."""

from collections.abc import Sequence
from hashlib import blake2b

from intents.rounding import payment_at, pro_rata
from solver.core.book import Book, Match, Order
from solver.core.check import check
from solver.core.command import Authority, Mode
from solver.core.event import Filled, IntentEnded, IntentStatus, LeaseStatus, OfferEnded
from solver.core.ledger import LAPSED, SERVED
from solver.core.state import (
    LEASE_MS_MAX,
    Due,
    Execution,
    IntentState,
    Lease,
    OfferState,
    State,
    capacity_asset,
)


def enter_intent(state: State, intent: IntentState) -> None:
    """An intent becomes tradable: match it, then rest or end what is left."""
    document = intent.document
    order = Order(
        id=intent.digest,
        account=document.account,
        tick=intent.tick,
        seq=state.next_seq(),
        units=intent.open_units,
        minimum=min(document.units_min, intent.open_units),
    )
    book = state.book(document.resource, document.asset)
    continuous = state.resources[document.resource] is Mode.CONTINUOUS
    while continuous and intent.open_units and (plan := book.plan_bid(order)):
        _take(state, book, order, plan)
        order = _rest_of(intent, order)
    if intent.open_units and document.immediate and continuous:
        end_intent(state, intent, IntentStatus.UNFILLED)
    elif intent.open_units:
        book.add_bid(order)


def enter_offer(state: State, offer: OfferState) -> None:
    """An offer becomes tradable: match it, rest what is left, try the waiting bids again."""
    document = offer.document
    order = Order(
        id=offer.digest,
        account=document.account,
        tick=offer.tick,
        seq=state.next_seq(),
        units=open_units(state, offer.digest),
    )
    book = state.book(document.resource, document.asset)
    if state.resources[document.resource] is not Mode.CONTINUOUS:
        book.add_ask(order)
        return
    for match in book.plan_ask(order):
        order.units -= match.units
        book.reduce(match.bid, match.units)
        execute(state, state.intents[match.bid], [match])
    if order.units:
        book.add_ask(order)
        _retry_waiting(state, book)


def return_units(state: State, offer: OfferState) -> None:
    """Units that leases gave back are tradable again, with a new place in time.

    The book knows one order an offer, so what still rested of it takes the new place too.
    """
    document = offer.document
    book = state.book(document.resource, document.asset)
    if offer.live and book.units_of(offer.digest) != open_units(state, offer.digest):
        book.remove(offer.digest)
        enter_offer(state, offer)


def execute(state: State, intent: IntentState, matches: Sequence[Match]) -> None:
    """Turn matches of one intent, made at once, into one execution and a lease each.

    A rest below the minimum ends: the contract would refuse it before its siblings settle.
    """
    execution = Execution(id=state.next_seq(), intent=intent.digest)
    state.executions[execution.id] = execution
    intent.unsettled += 1
    for match in matches:
        _release_for(state, intent, match.units)
        offer = state.offers[match.ask]
        open_lease(state, execution, intent, offer, units=match.units, tick=match.tick)
    if intent.open_units < intent.document.units_min:
        end_intent(state, intent, IntentStatus.UNFILLED)
    update_status(state, intent)


def open_lease(
    state: State,
    execution: Execution,
    intent: IntentState,
    offer: OfferState,
    *,
    units: int,
    tick: int,
    until_ms: int | None = None,
) -> Lease:
    """Hold the money and the capacity of one fill, and give the lease.

    `until_ms` bounds its life further: a moved lease lives no longer than the first.
    """
    ends_ms = _lease_end_ms(state, intent, offer)
    document = intent.document
    lease = Lease(
        id=_fill_id(state, execution, intent, offer),
        execution=execution.id,
        intent=intent.digest,
        offer=offer.digest,
        key=offer.document.key,
        buyer=document.account,
        seller=offer.document.account,
        resource=document.resource,
        asset=document.asset,
        units=units,
        tick=tick,
        until_ms=ends_ms if until_ms is None else min(ends_ms, until_ms),
        filled_ms=state.now_ms,
    )
    state.leases[lease.id] = lease
    execution.leases.append(lease.id)
    intent.leases.append(lease.id)
    cost = payment_at(tick, units)
    state.ledger.hold(lease.id, lease.buyer, lease.seller, lease.asset, cost)
    commit(state, intent, cost)
    state.ledger.hold(
        capacity_hold(lease.id), offer.digest, SERVED, capacity_asset(lease.resource), units
    )
    state.schedule(lease.until_ms, Due.END_LEASE, lease.id)
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
        )
    )
    return lease


def end_intent(state: State, intent: IntentState, status: IntentStatus) -> None:
    """Nothing more of it is filled: out of the book, its unfilled money released."""
    if intent.ended is not None or not intent.open_units:
        return
    state.book(intent.document.resource, intent.document.asset).remove(intent.digest)
    intent.ended = status
    intent.open_units = 0
    commit(state, intent, -state.ledger.held(intent.digest))
    state.ledger.void(intent.digest)
    update_status(state, intent)


def update_status(state: State, intent: IntentState) -> None:
    """Derive where an intent stands; say so once when it is final."""
    statuses = {state.leases[lease].status for lease in intent.leases}
    if intent.open_units:
        status = IntentStatus.OPEN
    elif not statuses and intent.ended is not None:
        status = intent.ended
    elif not intent.unsettled:
        status = IntentStatus.SETTLED
    elif statuses & {LeaseStatus.OPEN, LeaseStatus.ORPHANED, LeaseStatus.DRAINING}:
        status = IntentStatus.FILLED
    else:
        status = IntentStatus.DELIVERED
    if status is not intent.status:
        intent.status = status
        if status not in (IntentStatus.FILLED, IntentStatus.DELIVERED):
            account = intent.document.account
            state.emit(IntentEnded(intent=intent.digest, account=account, status=status))


def end_offer(state: State, offer: OfferState, reason: str) -> None:
    """Nothing more of it is sold; capacity that nobody took lapses."""
    if not offer.live:
        return
    offer.live = False
    document = offer.document
    state.book(document.resource, document.asset).remove(offer.digest)
    asset = capacity_asset(document.resource)
    state.ledger.transfer(offer.digest, LAPSED, asset, state.ledger.available(offer.digest, asset))
    state.emit(OfferEnded(offer=offer.digest, account=document.account, reason=reason))


def end_if_sold(state: State, offer: OfferState) -> None:
    """An offer is filled once nothing of it is free or reserved: a lease may still give back."""
    asset = capacity_asset(offer.document.resource)
    if not state.ledger.balance(offer.digest, asset).total:
        end_offer(state, offer, "filled")


def open_units(state: State, digest: str) -> int:
    """Units of a live intent or offer that can be filled now; 0 if it has ended."""
    intent = state.intents.get(digest)
    if intent is not None:
        return intent.open_units
    offer = state.offers.get(digest)
    if offer is None or not offer.live:
        return 0
    return state.ledger.available(digest, capacity_asset(offer.document.resource))


def signed_until_ms(state: State, record: IntentState | OfferState) -> int:
    """When a document stops being good: at its end, or when the session that signed it expires.

    The contract settles what an expired session signed only for a while; whoever is served
    after that serves for nothing.
    """
    document = record.document
    ends_s = document.valid_until
    if record.authority is Authority.SESSION:
        session = state.accounts[document.account].sessions[record.signer]
        ends_s = min(ends_s, session.expires_at)
    return ends_s * 1_000


def commit(state: State, intent: IntentState, atoms: int) -> None:
    """Count what an intent can still cost against its session's cap (negative: release)."""
    if intent.authority is Authority.SESSION:
        session = state.accounts[intent.document.account].sessions[intent.signer]
        session.committed += atoms
        check(session.committed >= 0, "session_commitment_not_negative", signer=intent.signer)


def capacity_hold(lease: str) -> str:
    """The id under which a lease holds its offer's units."""
    return f"units:{lease}"


def _take(state: State, book: Book, bid: Order, plan: list[Match]) -> None:
    for match in plan:
        book.reduce(match.ask, match.units)
    execute(state, state.intents[bid.id], plan)


def _retry_waiting(state: State, book: Book) -> None:
    for bid in book.waiting():
        if book.plan_bid(bid):
            intent = state.intents[bid.id]
            book.remove(bid.id)
            order = bid
            while intent.open_units and (plan := book.plan_bid(order)):
                _take(state, book, order, plan)
                order = _rest_of(intent, order)
            if intent.open_units:
                book.add_bid(order)


def _rest_of(intent: IntentState, order: Order) -> Order:
    return Order(
        id=order.id,
        account=order.account,
        tick=order.tick,
        seq=order.seq,
        units=intent.open_units,
        minimum=min(intent.document.units_min, intent.open_units),
    )


def _release_for(state: State, intent: IntentState, units: int) -> None:
    """Free the money that `units` held, keeping what the rest may cost at most."""
    intent.open_units -= units
    intent.filled_units += units
    check(intent.open_units >= 0, "no_overfill", intent=intent.digest)
    keep = pro_rata(intent.document.limit, intent.document.units, intent.open_units)
    freed = state.ledger.held(intent.digest) - keep
    commit(state, intent, -freed)
    if intent.open_units:
        state.ledger.reduce(intent.digest, freed)
    else:
        state.ledger.void(intent.digest)


def _lease_end_ms(state: State, intent: IntentState, offer: OfferState) -> int:
    return min(
        signed_until_ms(state, intent),
        signed_until_ms(state, offer),
        state.now_ms + LEASE_MS_MAX,
    )


def _fill_id(state: State, execution: Execution, intent: IntentState, offer: OfferState) -> str:
    text = f"{intent.digest}{offer.digest}{execution.id}:{state.next_seq()}"
    return "0x" + blake2b(text.encode(), digest_size=32).hexdigest()
