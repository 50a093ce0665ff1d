"""What must hold after every command, each under the name by which it fails.

The core checks what it touches as it goes; these look at everything. Simulations and
tests call `check_all` after each command, recovery calls it once. What is looked at for every
document or lease is compared where it stands: `check`, called with what it would tell each time,
takes as long as all the rest.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from intents.rounding import payment_at, pro_rata
from solver.core.auction import sealed_offers
from solver.core.award import awarded_by
from solver.core.check import check, violate
from solver.core.command import Authority
from solver.core.event import IntentStatus, LeaseStatus
from solver.core.lease import SERVING
from solver.core.ledger import Balance
from solver.core.meter import Meter
from solver.core.settling import counted_units
from solver.core.state import CREDIT, DocumentState, IntentState, MandateState, OfferState, State
from solver.core.trust import is_counted

_STANDING = (IntentStatus.OPEN, IntentStatus.FILLED, IntentStatus.DELIVERED)
_HOLDING = (*SERVING, LeaseStatus.CLOSED, LeaseStatus.BATCHED)


def ledger_balanced(state: State) -> None:
    """I1: per asset, debits equal credits."""
    totals: dict[str, int] = {}
    for balance in _balances(state):
        totals[balance.asset] = totals.get(balance.asset, 0) + balance.total
    for asset, total in totals.items():
        check(total == 0, "ledger_balanced", asset=asset, off=total)


def pending_is_held(state: State) -> None:
    """What an account has pending is exactly what orders, leases and withdrawals hold."""
    held: dict[tuple[str, str], int] = {}
    for debit, amount in _holds(state):
        key = (debit.owner, debit.asset)
        held[key] = held.get(key, 0) + amount
    for balance in _balances(state):
        key = (balance.owner, balance.asset)
        if balance.debits_pending != held.get(key, 0):
            violate("pending_is_held", owner=key)


def nobody_is_overdrawn(state: State) -> None:
    """Nobody inside the market owns less than nothing."""
    for balance in _balances(state):
        if balance.total < 0 and not balance.owner.startswith("@"):
            violate("nobody_is_overdrawn", owner=balance.owner)


def credits_conserved(state: State) -> None:
    """I2: credits owned equal credits issued."""
    owned = sum(balance.total for balance in state.ledger.balances() if balance.asset == CREDIT)
    check(owned == 0, "credits_conserved", off=owned)


def capacity_conserved(state: State) -> None:
    """I3: each offer's units are free, reserved or gone; they sum to what was signed."""
    for offer in state.offers.values():
        balance = offer.capacity
        available = balance.available
        if balance.credits_posted != offer.units or available < 0:
            violate("capacity_conserved", offer=offer.digest)
        if available and not offer.live:
            violate("capacity_lapses", offer=offer.digest)


def no_overfill(state: State) -> None:
    """I4: no document is filled beyond its units; what a lease gave back may be filled again."""
    sold: dict[str, int] = {}
    for lease in state.leases.values():
        sold[lease.intent] = sold.get(lease.intent, 0) + lease.units
        sold[lease.offer] = sold.get(lease.offer, 0) + lease.units - lease.returned
    for digest, units in sold.items():
        signed = (state.intents.get(digest) or state.offers[digest]).units
        if units > signed:
            violate("no_overfill", document=digest, units=units)
    for intent in state.intents.values():
        if intent.filled_units != sold.get(intent.digest, 0):
            violate("filled_units_are_leased", intent=intent.digest)


def bundles_are_whole(state: State) -> None:
    """All legs of a bundle were filled or none, in full; of an any-of, one at most."""
    for bundle in state.bundles.by_digest.values():
        legs = [state.intents[leg] for leg in bundle.legs if leg in state.intents]
        filled = [leg for leg in legs if leg.filled_units]
        if bundle.any_of:
            check(len(filled) <= 1, "bundles_are_whole", bundle=bundle.digest)
        elif filled:
            whole = [leg for leg in legs if leg.filled_units == leg.units]
            check(len(whole) == len(legs), "bundles_are_whole", bundle=bundle.digest)
        if any(leg.open_units for leg in legs) and not filled:
            check(all(leg.open_units for leg in legs), "bundles_end_together", bundle=bundle.digest)


def chain_counters_fit(state: State) -> None:
    """What may still be counted on chain against a document never exceeds its units."""
    counted: dict[str, int] = {}
    for lease in state.leases.values():
        filled = counted_units(state.intents[lease.intent], lease)
        for digest, closed in ((lease.intent, filled), (lease.offer, lease.delivered)):
            units = lease.units if lease.status in SERVING else closed
            counted[digest] = counted.get(digest, 0) + units
    for digest, units in counted.items():
        signed = (state.intents.get(digest) or state.offers[digest]).units
        if units > signed:
            violate("chain_counters_fit", document=digest, units=units)
    for batch in state.batches.values():
        for line in batch.lines if not batch.final else ():
            served = state.leases.get(line.fill)
            if served is None:
                continue  # A claim paid it while the batch was under way, and it is forgotten.
            units = counted_units(state.intents[line.intent], served)
            check(0 < line.units == units, "chain_counters_fit", fill=line.fill)


def price_within_limits(state: State) -> None:
    """I6: every lease trades between what its seller and its buyer signed."""
    for lease in state.leases.values():
        intent = state.intents[lease.intent]
        low, high = state.offers[lease.offer].tick, intent.tick
        if not low + lease.charge <= lease.tick <= high:
            violate("price_within_limits", lease=lease.id)
        if lease.payment * intent.units > lease.delivered * intent.limit:
            violate("payment_within_total", lease=lease.id)


def awards_add_up(state: State) -> None:
    """Who is charged is so by an award that names it, and an award is kept until all is settled."""
    unsettled = Counter[str]()
    for lease in state.leases.values() if state.awards else ():
        if lease.charge:
            award = state.awards.get(lease.award)
            if lease.status not in _HOLDING:
                continue
            check(award is not None, "charged_by_an_award", lease=lease.id)
            assert award is not None
            fill = award.fills[lease.award_place]
            prices = (lease.tick, lease.charge, lease.buyer, lease.seller)
            check(
                (fill.tick, fill.charge, fill.buyer, fill.seller) == prices
                and lease.units <= fill.units,
                "awarded_as_leased",
                lease=lease.id,
            )
            unsettled[lease.award] += 1
    for name, award in state.awards.items():
        pledged = name in state.bonds.pledges
        check(award.unsettled == unsettled[name] + pledged, "awards_add_up", award=name)


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
    for book in state.books.values():
        for bid in [*book.bids(), *book.waiting()]:
            check(state.intents[bid.id].order is bid, "book_is_open_units", id=bid.id)
            check(bid.units >= bid.minimum, "book_is_open_units", id=bid.id)
        for ask in book.asks():
            offer = state.offers[ask.id]
            check(offer.live and offer.order is ask, "book_holds_live_offers", id=ask.id)
            check(ask.units == offer.capacity.available, "book_is_open_units", id=ask.id)


def free_units_are_for_sale(state: State) -> None:
    """What is free of a live offer rests in its book, once its time has come; its key is live.

    What a solver brought to an open auction rests in none.
    """
    sealed = sealed_offers(state.auctions.values())
    for offer in state.offers.values():
        if offer.live and not state.keys[offer.key].live:
            violate("live_offer_has_live_key", offer=offer.digest)
        if offer.digest in sealed:
            check(offer.order.level is None, "sealed_offers_are_in_no_book", offer=offer.digest)
        elif offer.live and offer.starts_ms <= state.now_ms:
            free, order = offer.capacity.available, offer.order
            resting = order.units if order.level is not None else 0
            check(resting == free, "free_units_are_for_sale", offer=offer.digest, free=free)


def leases_add_up(state: State) -> None:
    """Each lease's parts sum to its units; its capacity is held while it may be used."""
    in_flight: dict[str, int] = {}
    for call in state.calls.values():
        in_flight[call.lease] = in_flight.get(call.lease, 0) + call.units
    for lease in state.leases.values():
        if lease.remaining < 0:
            violate("leases_add_up", lease=lease.id)
        if lease.in_flight != in_flight.get(lease.id, 0):
            violate("calls_add_up", lease=lease.id)
        if lease.reserved != (lease.units if lease.status in SERVING else 0):
            violate("capacity_is_held", lease=lease.id)


def money_is_held(state: State) -> None:
    """What may still be owed is held, to the atom: for open units, for leases, for payments."""
    for intent in state.intents.values():
        open_at_most = pro_rata(intent.limit, intent.units, intent.open_units)
        held = intent.order.held
        if held != (0 if _is_held_for(state, intent) else open_at_most):
            violate("limit_is_held", intent=intent.digest, held=held)
    for lease in state.leases.values():
        units = lease.units if lease.status in SERVING else lease.delivered
        owed = payment_at(lease.tick, units) if lease.status in _HOLDING else 0
        if lease.held != owed:
            violate("payment_is_held", lease=lease.id, held=lease.held)


def _is_held_for(state: State, intent: IntentState) -> bool:
    """Whether another leg of its any-of, of which none is filled, holds the largest limit."""
    bundle = state.bundles.of(intent.digest)
    if bundle is None or not bundle.any_of:
        return False
    legs = [state.intents[leg] for leg in bundle.legs if leg in state.intents]
    if any(leg.filled_units for leg in legs):
        return False
    return intent is not max(legs, key=lambda leg: leg.limit)


def sessions_add_up(state: State) -> None:
    """I18: a session's or mandate's commitment is what its open intents and fills may cost."""
    sessions: dict[tuple[str, str], int] = {}
    mandates: dict[str, int] = {}
    for intent in state.intents.values():
        authority, signer = intent.authority, intent.signer
        if authority is Authority.KEY or authority is Authority.CONTRACT:
            continue
        held = intent.order.held + sum(state.leases[lease].held for lease in intent.leases)
        if authority is Authority.MANDATE:
            mandates[signer] = mandates.get(signer, 0) + held
            authority, signer = state.mandates[signer].authority, state.mandates[signer].signer
        if authority is Authority.SESSION:
            place = (intent.account, signer)
            sessions[place] = sessions.get(place, 0) + held
    for address, account in state.accounts.items():
        for signer, session in account.sessions.items():
            expected = sessions.get((address, signer), 0)
            check(session.committed == expected, "sessions_add_up", account=address, signer=signer)
    for mandate in state.mandates.values():
        check(mandate.committed == mandates.get(mandate.digest, 0), "mandates_add_up")
        used = mandate.committed + mandate.spent
        check(used <= mandate.limit, "mandate_within_limit", mandate=mandate.digest)


def meters_add_up(state: State) -> None:
    """A buyer's meter has each metered fill that waits, once, and what they come to."""
    waiting: dict[str, set[str]] = {}
    reach: dict[str, int] = {}
    for lease in state.leases.values():
        if lease.metered and lease.status in SERVING:
            reach[lease.buyer] = reach.get(lease.buyer, 0) + lease.reach
        elif lease.metered and lease.status is LeaseStatus.CLOSED:
            waiting.setdefault(lease.buyer, set()).add(lease.id)
    metering = state.metering
    served = {account for account, atoms in reach.items() if atoms}
    check(waiting.keys() | served <= metering.meters.keys(), "meters_add_up")
    for account, meter in metering.meters.items():
        check(set(meter.waiting) == waiting.get(account, set()), "meters_add_up", account=account)
        check(len(set(meter.waiting)) == len(meter.waiting), "meters_add_up", account=account)
        owed = sum(state.leases[fill].payment for fill in meter.waiting)
        check(meter.owed == owed, "meters_add_up", account=account)
        check(meter.open == reach.get(account, 0), "meters_add_up", account=account)
        check(0 <= meter.uncovered <= meter.base, "meters_add_up", account=account)
        _receipt_adds_up(state, account, meter)


def _receipt_adds_up(state: State, account: str, meter: Meter) -> None:
    receipt = meter.receipt
    if receipt is not None:
        signed: dict[str, int] = {}
        for fill in meter.waiting[: receipt.fills]:
            lease = state.leases[fill]
            _, solver = awarded_by(lease.award) if lease.charge else (0, "")
            shares = ((lease.seller, lease.payment - lease.reward), (solver, lease.reward))
            for payee, amount in shares:
                signed[payee] = signed.get(payee, 0) + amount
        signed = {payee: amount for payee, amount in signed.items() if amount}
        lines = {line.seller: line.amount for line in receipt.lines}
        check(signed == lines, "receipt_is_what_waits", account=account)
        check(receipt.spent == receipt.base + sum(lines.values()), "receipt_is_what_waits")
        check(receipt.base == meter.next_base, "receipt_has_the_next_base", account=account)
    may_be_cut = receipt is not None and meter.record is None
    check((account in state.metering.signed) == may_be_cut, "signed_are_listed", account=account)
    waits = len(meter.waiting) > meter.signed_fills
    check((account in state.metering.unsigned) == waits, "unsigned_are_listed", account=account)


def trust_adds_up(state: State) -> None:
    """What somebody could still take back is what it was served of it and is not final."""
    unsettled: dict[str, int] = {}
    for lease in state.leases.values():
        if lease.status in _HOLDING and is_counted(state, lease):
            unsettled[lease.buyer] = unsettled.get(lease.buyer, 0) + lease.reach
    for account, trust in state.metering.trusts.items():
        found = unsettled.pop(account, 0)
        check(trust.unsettled == found, "trust_adds_up", account=account)
    check(not any(unsettled.values()), "trust_adds_up")


def counters_add_up(state: State) -> None:
    """What records count of each other, so that nothing has to be searched, is so."""
    for intent in state.intents.values():
        leases = [state.leases[lease] for lease in intent.leases]
        serving = len([lease for lease in leases if lease.status in SERVING])
        executions = {lease.execution for lease in leases if lease.execution in state.executions}
        if (intent.serving, intent.unsettled) != (serving, len(executions)):
            violate("counters_add_up", intent=intent.digest)
    for execution in state.executions.values():
        leases = [state.leases[lease] for lease in execution.leases]
        serving = len([lease for lease in leases if lease.status in SERVING])
        unsettled = len([lease for lease in leases if lease.status in _HOLDING])
        if (execution.serving, execution.unsettled) != (serving, unsettled):
            violate("counters_add_up", execution=execution.id)
    served: dict[str, list[str]] = {}
    for lease in state.leases.values():
        if lease.status in SERVING:
            served.setdefault(lease.key, []).append(lease.id)
    for key_id, key in state.keys.items():
        check(list(key.leases) == served.get(key_id, []), "counters_add_up", key=key_id)
    under = Counter([one.signer for one in state.intents.values()] if state.mandates else ())
    for mandate in state.mandates.values():
        check(mandate.intents_kept == under[mandate.digest], "counters_add_up")


def what_stands_is_known(state: State) -> None:
    """An account knows its documents that are remembered, which of them stand, and no others."""
    kept: dict[str, set[str]] = {address: set() for address in state.accounts}
    standing: dict[str, set[str]] = {address: set() for address in state.accounts}
    for record in (*state.intents.values(), *state.offers.values(), *state.mandates.values()):
        kept[record.account].add(record.digest)
        if _stands(record):
            standing[record.account].add(record.digest)
    for address, account in state.accounts.items():
        found = {record.digest for record in account.documents}
        check(found == kept[address], "what_is_remembered_is_known", account=address)
        found = {record.digest for record in account.standing}
        check(found == standing[address], "what_stands_is_known", account=address)
        check(len(found) == account.standing_count, "what_stands_is_known", account=address)


def _stands(record: DocumentState) -> bool:
    if isinstance(record, IntentState):
        return record.status in _STANDING
    assert isinstance(record, OfferState | MandateState)
    return record.live


def answers_are_open(state: State) -> None:
    """Solvers answer for leases of their own that are not over, and for nothing else."""
    for lease_id, answer in state.conduct.answers.items():
        lease = state.leases[lease_id]
        check(lease.status in SERVING, "answers_are_open", lease=lease_id)
        check(lease.seller == answer.solver, "answers_are_own", lease=lease_id)
        check(lease.units <= answer.units, "answers_are_whole", lease=lease_id)
    for solver, standing in state.conduct.standings.items():
        check(0 <= standing.faded <= standing.answered, "fades_were_answered", solver=solver)


def bonds_stand(state: State) -> None:
    """No bond is below zero; an award is pledged for while its own leases serve or it owes."""
    for solver, bond in state.bonds.by_solver.items():
        check(bond.amount >= 0 <= bond.withdrawing, "bond_not_below_zero", solver=solver)
        check(bond.paid >= 0, "penalties_not_below_zero", solver=solver)
    serving: dict[str, int] = {}
    for lease in state.leases.values() if state.bonds.pledges else ():
        pledge = state.bonds.pledges.get(lease.award)
        if pledge is not None and lease.status in SERVING and lease.award_place in pledge.fills:
            serving[lease.award] = serving.get(lease.award, 0) + 1
    for name, pledge in state.bonds.pledges.items():
        check(name in state.awards, "pledged_awards_are_known", award=name)
        check(pledge.open == serving.get(name, 0), "pledges_are_open", award=name)
        check(bool(pledge.open) != bool(pledge.shares), "pledges_are_open_or_due", award=name)
        check(pledge.penalty <= pledge.penalty_max, "penalties_within_pledges", award=name)


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
        if asset == state.usdc and owner.startswith("@")
    )
    check(owed + outside == 0, "money_is_escrowed", owed=owed, outside=outside)


INVARIANTS: Final[tuple[Callable[[State], None], ...]] = (
    ledger_balanced,
    pending_is_held,
    nobody_is_overdrawn,
    credits_conserved,
    capacity_conserved,
    no_overfill,
    bundles_are_whole,
    chain_counters_fit,
    price_within_limits,
    awards_add_up,
    bonds_stand,
    book_uncrossed,
    book_is_open_units,
    free_units_are_for_sale,
    leases_add_up,
    money_is_held,
    sessions_add_up,
    meters_add_up,
    trust_adds_up,
    counters_add_up,
    what_stands_is_known,
    answers_are_open,
    windows_kept,
    money_is_escrowed,
)


def _balances(state: State) -> list[Balance]:
    return state.ledger.balances() + [offer.capacity for offer in state.offers.values()]


def _holds(state: State) -> Iterator[tuple[Balance, int]]:
    """Every hold: whose, how much."""
    for intent in state.intents.values():
        yield intent.order.money, intent.order.held
    for lease in state.leases.values():
        yield state.intents[lease.intent].order.money, lease.held
        yield state.offers[lease.offer].capacity, lease.reserved
    for address, account in state.accounts.items():
        yield state.ledger.balance(address, state.usdc), account.withdrawal_held


def check_all(state: State) -> None:
    """Raise a Violation for the first invariant that does not hold."""
    for invariant in INVARIANTS:
        invariant(state)
