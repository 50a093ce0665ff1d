"""What must hold after every command, each under the name by which it fails.

The core checks what it touches as it goes; these look at everything. Simulations and
tests call `check_all` after each command, recovery calls it once.
"""

from collections.abc import Callable
from typing import Final

from intents.rounding import payment_at, pro_rata
from solver.core.check import check
from solver.core.command import Authority
from solver.core.event import LeaseStatus
from solver.core.ledger import CLEARING
from solver.core.settling import counted_units
from solver.core.state import CREDIT, State, capacity_asset
from solver.core.trade import capacity_hold

_OPEN = (LeaseStatus.OPEN, LeaseStatus.ORPHANED, LeaseStatus.DRAINING)
_HOLDING = (*_OPEN, LeaseStatus.CLOSED, LeaseStatus.BATCHED)


def ledger_balanced(state: State) -> None:
    """I1: per asset, debits equal credits, posted and pending."""
    for asset, sums in state.ledger.totals().items():
        check(sums[0] == sums[1], "ledger_balanced", asset=asset, sums=sums)
        check(sums[2] == sums[3], "ledger_balanced_pending", asset=asset, sums=sums)


def pending_is_held(state: State) -> None:
    """Pending sums are exactly the open holds, and no hold is left without its record."""
    held: dict[tuple[str, str], int] = {}
    for hold in state.ledger.holds().values():
        key = (hold.debit, hold.asset)
        held[key] = held.get(key, 0) + hold.amount
    for owner, asset in state.ledger.accounts():
        pending = state.ledger.balance(owner, asset).debits_pending
        check(pending == held.get((owner, asset), 0), "pending_is_held", owner=owner)


def nobody_is_overdrawn(state: State) -> None:
    """Nobody inside the market owns less than nothing."""
    for owner, asset in state.ledger.accounts():
        total = state.ledger.balance(owner, asset).total
        check(owner.startswith("@") or total >= 0, "nobody_is_overdrawn", owner=owner)


def credits_conserved(state: State) -> None:
    """I2: credits owned equal credits issued."""
    owned = sum(
        state.ledger.balance(owner, asset).total
        for owner, asset in state.ledger.accounts()
        if asset == CREDIT
    )
    check(owned == 0, "credits_conserved", off=owned)


def capacity_conserved(state: State) -> None:
    """I3: each offer's units are free, reserved or gone; they sum to what was signed."""
    for offer in state.offers.values():
        balance = state.ledger.balance(offer.digest, capacity_asset(offer.document.resource))
        check(balance.credits_posted == offer.document.units, "capacity_conserved")
        check(balance.available >= 0, "capacity_conserved", offer=offer.digest)
        check(offer.live or not balance.available, "capacity_lapses", offer=offer.digest)


def no_overfill(state: State) -> None:
    """I4: no document is filled beyond its units; what a lease gave back may be filled again."""
    sold: dict[str, int] = {}
    for lease in state.leases.values():
        sold[lease.intent] = sold.get(lease.intent, 0) + lease.units
        sold[lease.offer] = sold.get(lease.offer, 0) + lease.units - lease.returned
    for digest, units in sold.items():
        document = (state.intents.get(digest) or state.offers[digest]).document
        check(units <= document.units, "no_overfill", document=digest, units=units)
    for intent in state.intents.values():
        check(
            intent.filled_units == sold.get(intent.digest, 0),
            "filled_units_are_leased",
            intent=intent.digest,
        )


def chain_counters_fit(state: State) -> None:
    """What may still be counted on chain against a document never exceeds its units."""
    counted: dict[str, int] = {}
    for lease in state.leases.values():
        closed = counted_units(state.intents[lease.intent], lease)
        units = lease.units if lease.status in _OPEN else closed
        for digest in (lease.intent, lease.offer):
            counted[digest] = counted.get(digest, 0) + units
    for digest, units in counted.items():
        document = (state.intents.get(digest) or state.offers[digest]).document
        check(units <= document.units, "chain_counters_fit", document=digest, units=units)
    for batch in state.batches.values():
        for line in batch.lines:
            units = counted_units(state.intents[line.intent], state.leases[line.fill])
            check(0 < line.units == units, "chain_counters_fit", fill=line.fill)


def price_within_limits(state: State) -> None:
    """I6: every lease trades between what its seller and its buyer signed."""
    for lease in state.leases.values():
        low, high = state.offers[lease.offer].tick, state.intents[lease.intent].tick
        check(low <= lease.tick <= high, "price_within_limits", lease=lease.id)
        document = state.intents[lease.intent].document
        check(
            lease.payment * document.units <= lease.delivered * document.limit,
            "payment_within_total",
            lease=lease.id,
        )


def book_uncrossed(state: State) -> None:
    """I8: no resting bid and ask that could trade stand against each other (continuous)."""
    for (resource, _), book in state.books.items():
        if state.resources.get(resource) != "continuous":
            continue
        best_ask = next(iter(book.asks()), None)
        for bid in book.bids():
            if best_ask is None or bid.tick < best_ask.tick:
                break
            crossing = [
                ask for ask in book.asks() if ask.tick <= bid.tick and ask.account != bid.account
            ]
            check(not crossing, "book_uncrossed", resource=resource, bid=bid.id)


def book_is_open_units(state: State) -> None:
    """What rests in a book is what its documents have open, and only live documents rest."""
    for (resource, asset), book in state.books.items():
        for bid in [*book.bids(), *book.waiting()]:
            check(bid.units == state.intents[bid.id].open_units, "book_is_open_units", id=bid.id)
        for ask in book.asks():
            free = state.ledger.available(ask.id, capacity_asset(resource))
            check(state.offers[ask.id].live, "book_holds_live_offers", id=ask.id, asset=asset)
            check(ask.units == free, "book_is_open_units", id=ask.id)


def free_units_are_for_sale(state: State) -> None:
    """What is free of a live offer rests in its book, once its time has come; its key is live."""
    for offer in state.offers.values():
        document = offer.document
        if offer.live:
            check(state.keys[document.key].live, "live_offer_has_live_key", offer=offer.digest)
        if offer.live and document.valid_from * 1_000 <= state.now_ms:
            free = state.ledger.available(offer.digest, capacity_asset(document.resource))
            book = state.books.get((document.resource, document.asset))
            resting = book.units_of(offer.digest) if book else 0
            check(resting == free, "free_units_are_for_sale", offer=offer.digest, free=free)


def leases_add_up(state: State) -> None:
    """Each lease's parts sum to its units; its capacity is held while it may be used."""
    in_flight: dict[str, int] = {}
    for call in state.calls.values():
        in_flight[call.lease] = in_flight.get(call.lease, 0) + call.units
    for lease in state.leases.values():
        check(lease.remaining >= 0, "leases_add_up", lease=lease.id)
        check(lease.in_flight == in_flight.get(lease.id, 0), "calls_add_up", lease=lease.id)
        reserved = state.ledger.held(capacity_hold(lease.id))
        expected = lease.units if lease.status in _OPEN else 0
        check(reserved == expected, "capacity_is_held", lease=lease.id, reserved=reserved)


def money_is_held(state: State) -> None:
    """What may still be owed is held, to the atom: for open units, for leases, for payments."""
    for intent in state.intents.values():
        document = intent.document
        open_at_most = pro_rata(document.limit, document.units, intent.open_units)
        held = state.ledger.held(intent.digest)
        check(held == open_at_most, "limit_is_held", intent=intent.digest, held=held)
    for lease in state.leases.values():
        units = lease.units if lease.status in _OPEN else lease.delivered
        owed = payment_at(lease.tick, units) if lease.status in _HOLDING else 0
        held = state.ledger.held(lease.id)
        check(held == owed, "payment_is_held", lease=lease.id, held=held)


def sessions_add_up(state: State) -> None:
    """I18: a session's commitment is what its open intents and unsettled fills may cost."""
    committed: dict[tuple[str, str], int] = {}
    for intent in state.intents.values():
        if intent.authority is Authority.SESSION:
            held = sum(state.ledger.held(hold) for hold in (intent.digest, *intent.leases))
            place = (intent.document.account, intent.signer)
            committed[place] = committed.get(place, 0) + held
    for address, account in state.accounts.items():
        for signer, session in account.sessions.items():
            expected = committed.get((address, signer), 0)
            check(session.committed == expected, "sessions_add_up", account=address, signer=signer)


def windows_kept(state: State) -> None:
    """I12, as far as the state shows: windows count the calls in flight, and no more than allowed.

    What was metered may exceed what was reserved, so a window may stand over its limit by
    finished calls; that no sliding window is exceeded is measured at the upstream.
    """
    in_flight: dict[str, int] = {}
    for call in state.calls.values():
        lease = state.leases[call.lease]
        for subject in (lease.key, lease.offer):
            in_flight[subject] = in_flight.get(subject, 0) + call.units
    for (subject, _), windows in state.windows.items():
        for window in windows:
            units = window.in_flight_units
            check(units == in_flight.get(subject, 0), "windows_count_calls", subject=subject)
            check(units <= window.limit.units, "windows_kept", subject=subject)


def money_is_escrowed(state: State) -> None:
    """I19: what the market owes in USDC is what the chain holds for it."""
    owed = sum(
        state.ledger.balance(owner, asset).total
        for owner, asset in state.ledger.accounts()
        if asset == state.usdc and not owner.startswith("@")
    )
    outside = sum(
        state.ledger.balance(owner, asset).total
        for owner, asset in state.ledger.accounts()
        if asset == state.usdc and owner.startswith("@") and owner != CLEARING
    )
    check(owed + outside == 0, "money_is_escrowed", owed=owed, outside=outside)


INVARIANTS: Final[tuple[Callable[[State], None], ...]] = (
    ledger_balanced,
    pending_is_held,
    nobody_is_overdrawn,
    credits_conserved,
    capacity_conserved,
    no_overfill,
    chain_counters_fit,
    price_within_limits,
    book_uncrossed,
    book_is_open_units,
    free_units_are_for_sale,
    leases_add_up,
    money_is_held,
    sessions_add_up,
    windows_kept,
    money_is_escrowed,
)


def check_all(state: State) -> None:
    """Raise a Violation for the first invariant that does not hold."""
    for invariant in INVARIANTS:
        invariant(state)
