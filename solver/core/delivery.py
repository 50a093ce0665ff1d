"""Leases and calls: what is reserved, what is used, what happens when a key goes."""

from intents.reject import Reject, RejectCode, reject
from intents.rounding import payment_at
from solver.core.bonding import note_closed
from solver.core.book import Order
from solver.core.check import check
from solver.core.command import EndLeases, FinishCall, Outcome, RetireKey, StartCall
from solver.core.event import (
    CallFinished,
    CallStarted,
    KeyRetired,
    LeaseClosed,
    LeaseMoved,
    LeaseStatus,
)
from solver.core.lease import Lease
from solver.core.ledger import LAPSED, SERVED, hold, post, release, transfer
from solver.core.metering import fault_in_meter, meter_closed, note_reach
from solver.core.pool import forget_keys
from solver.core.rating import is_good_enough
from solver.core.session import fault_in_units, note_units
from solver.core.settling import finish_execution
from solver.core.state import LEASES_PER_EXECUTION_MAX, Call, Due, OfferState, State
from solver.core.trade import (
    commit,
    end_if_sold,
    end_offer,
    open_lease,
    update_status,
)
from solver.core.trust import fault_in_trust


def start_call(state: State, command: StartCall) -> Reject | None:
    """Reserve units of a lease and of every window they must fit.

    Rejects, in order: lease_unknown, already_known, lease_ended, fill_units_invalid,
    lease_exhausted, window_exhausted (with the time to wait), receipt_due, account_barred,
    unsettled_exceeded, session_terms.
    """
    lease = state.leases.get(command.lease)
    if lease is None:
        return reject(RejectCode.LEASE_UNKNOWN, command.lease)
    fault = _fault_in_call(state, command, lease)
    if fault is not None:
        return fault
    for window in state.windows_of(lease.key, lease.offer, lease.resource):
        window.start(command.units)
    before = lease.reach
    lease.in_flight += command.units
    note_reach(state, lease, before)
    note_units(state, lease, command.units, 0)
    lease.last_used_ms = state.now_ms
    state.calls[command.call] = Call(lease=lease.id, units=command.units, started_ms=state.now_ms)
    state.emit(
        CallStarted(
            call=command.call,
            lease=lease.id,
            key=lease.key,
            resource=lease.resource,
            units=command.units,
        )
    )
    return None


def finish_call(state: State, command: FinishCall) -> Reject | None:
    """Account for a call that is over. Rejects: call_unknown, fill_units_invalid.

    Metered units beyond what the lease has left are the market's risk: the buyer never
    pays for more than it was leased. Windows count what the upstream may have counted.
    """
    call = state.calls.get(command.call)
    if call is None:
        return reject(RejectCode.CALL_UNKNOWN, command.call)
    if command.units < 0:
        return reject(RejectCode.FILL_UNITS_INVALID, f"{command.units} units")
    del state.calls[command.call]
    lease = state.leases[call.lease]
    seen_upstream = max(
        command.units, call.units if command.outcome is not Outcome.DELIVERED else 0
    )
    for window in state.windows_of(lease.key, lease.offer, lease.resource):
        window.finish(call.units, seen_upstream, state.now_ms)
    state.keys[lease.key].seen.note(
        state.now_ms - call.started_ms, succeeded=command.outcome is Outcome.DELIVERED
    )
    before, delivered = lease.reach, lease.delivered
    lease.in_flight -= call.units
    _account_for(lease, call, command)
    note_reach(state, lease, before)
    note_units(state, lease, -call.units, lease.delivered - delivered)
    if command.sellers_fault:
        state.conduct.note_failed(lease.id, call.units)
    state.emit(
        CallFinished(
            call=command.call, lease=lease.id, outcome=command.outcome, units=command.units
        )
    )
    if lease.status is LeaseStatus.ORPHANED:
        _move(state, lease)
    _close_if_done(state, lease)
    return None


def end_leases(state: State, command: EndLeases) -> Reject | None:
    """The buyer is done with an intent. Rejects: not_found, not_authorized."""
    intent = state.intents.get(command.intent)
    if intent is None:
        return reject(RejectCode.NOT_FOUND, f"no intent {command.intent}")
    if intent.account != command.account:
        return reject(RejectCode.NOT_AUTHORIZED, "it belongs to another account")
    for lease_id in list(intent.leases):
        end_lease(state, state.leases[lease_id])
    return None


def end_lease(state: State, lease: Lease) -> None:
    """No new calls; it closes once the calls in flight are over."""
    if lease.status in (LeaseStatus.OPEN, LeaseStatus.ORPHANED):
        lease.status = LeaseStatus.DRAINING
        _close_if_done(state, lease)


def retire_key(state: State, command: RetireKey) -> Reject | None:
    """Take a key out: its offers end, its leases move on. Rejects: key_unknown, key_not_live."""
    key = state.keys.get(command.key)
    if key is None:
        return reject(RejectCode.KEY_UNKNOWN, command.key)
    if not key.live:
        return reject(RejectCode.KEY_NOT_LIVE, f"{command.key} left the pool before")
    key.live = False
    state.emit(KeyRetired(key=command.key, owner=key.owner, reason=command.reason))
    owner = state.accounts.get(key.owner)
    for record in () if owner is None else owner.standing:
        if isinstance(record, OfferState) and record.key == command.key:
            end_offer(state, record, f"key {command.reason}")
    for lease_id in list(key.leases):
        lease = state.leases[lease_id]
        if lease.status is LeaseStatus.OPEN:
            lease.status = LeaseStatus.ORPHANED
            _move(state, lease)
            _close_if_done(state, lease)
    forget_keys(state)
    return None


def _move(state: State, lease: Lease) -> None:
    """Serve the rest of a lease from other offers at its price; what nobody takes is withdrawn.

    No award is for what moved: its buyer is charged for no solver any more.

    Under a minimum, withdrawn units still count on chain: the contract judges it by them,
    and a seller who delivered must not lose its pay because another's key died.
    """
    intent, old = state.intents[lease.intent], state.offers[lease.offer]
    state.conduct.note_failed(lease.id, lease.remaining)
    for ask, units in _replacements(state, lease):
        freed = lease.held - payment_at(lease.tick, lease.units - units)
        tick = max(ask.tick, lease.tick - lease.charge)
        cost = payment_at(tick, units)
        lease.units -= units
        lease.held -= freed
        release(intent.order.money, freed)
        hold(intent.order.money, cost)
        commit(state, intent, cost - freed)
        lease.reserved -= units
        release(old.capacity, units)
        transfer(old.capacity, state.units(LAPSED, lease.resource), units)
        state.exchange.take_units(ask, units)
        hold(state.offers[ask.id].capacity, units)
        moved = open_lease(
            state,
            state.executions[lease.execution],
            intent,
            state.offers[ask.id],
            units=units,
            tick=tick,
            held=cost,
            until_ms=lease.until_ms,
        )
        state.emit(LeaseMoved(lease=lease.id, to_lease=moved.id, units=units))
    lease.withdrawn += lease.remaining


def _replacements(state: State, lease: Lease) -> list[tuple[Order, int]]:
    """Asks to serve what remains; none for a buyer whose money has left the chain meanwhile."""
    money = state.intents[lease.intent].order.money
    if money.available < 0:
        return []
    wanted = lease.remaining
    room = LEASES_PER_EXECUTION_MAX - len(state.executions[lease.execution].leases)
    plan: list[tuple[Order, int]] = []
    for ask in state.book(lease.resource, lease.asset).asks():
        if ask.tick > lease.tick or not wanted or len(plan) == room:
            break
        if ask.money is money or not is_good_enough(state, lease.intent, ask.id):
            continue
        units = min(wanted, ask.units)
        plan.append((ask, units))
        wanted -= units
    return plan


def _fault_in_call(state: State, command: StartCall, lease: Lease) -> Reject | None:
    if command.call in state.calls:
        return reject(RejectCode.ALREADY_KNOWN, f"call {command.call} is under way")
    if lease.status is not LeaseStatus.OPEN:
        return reject(RejectCode.LEASE_ENDED, f"the lease is {lease.status}")
    if command.units < 1:
        return reject(RejectCode.FILL_UNITS_INVALID, f"{command.units} units")
    if command.units > lease.remaining:
        return reject(
            RejectCode.LEASE_EXHAUSTED, f"{lease.remaining} units left, {command.units} needed"
        )
    fault = _fault_in_windows(state, lease, command.units)
    if fault is None and lease.metered:
        fault = fault_in_meter(state, lease, command.units)
    fault = fault or fault_in_trust(state, lease, command.units)
    return fault or fault_in_units(state, lease, command.units)


def _fault_in_windows(state: State, lease: Lease, units: int) -> Reject | None:
    windows = state.windows_of(lease.key, lease.offer, lease.resource)
    if any(units > window.limit.units for window in windows):
        return reject(RejectCode.FILL_UNITS_INVALID, "more than the key may ever do at once")
    wait_ms = max((window.wait_ms(units, state.now_ms) for window in windows), default=0)
    if wait_ms:
        return reject(RejectCode.WINDOW_EXHAUSTED, retry_after_ms=wait_ms)
    return None


def _account_for(lease: Lease, call: Call, command: FinishCall) -> None:
    left = lease.remaining
    match command.outcome:
        case Outcome.DELIVERED:
            lease.delivered += min(command.units, left)
        case Outcome.UNKNOWN:
            lease.lapsed += min(max(command.units, call.units), left)
        case Outcome.FAILED:
            pass
    check(lease.remaining >= 0, "no_overuse", lease=lease.id)


def _close_if_done(state: State, lease: Lease) -> None:
    """Close a lease that ends, or has nothing left, once no call is in flight."""
    exhausted = lease.status is LeaseStatus.OPEN and not lease.remaining
    ending = lease.status in (LeaseStatus.ORPHANED, LeaseStatus.DRAINING)
    if (exhausted or ending) and not lease.in_flight:
        _close(state, lease)


def _close(state: State, lease: Lease) -> None:
    """Release what was not delivered, keep what is owed, see whether the execution is over."""
    lease.status = LeaseStatus.CLOSED
    state.lease_ends.remove(lease)
    state.keys[lease.key].leases.pop(lease.id, None)
    intent, offer = state.intents[lease.intent], state.offers[lease.offer]
    freed = lease.held - lease.payment
    lease.held -= freed
    release(intent.order.money, freed)
    commit(state, intent, -freed)
    _close_capacity(state, offer, lease)
    intent.serving -= 1
    state.emit(
        LeaseClosed(
            lease=lease.id,
            intent=lease.intent,
            units=lease.units,
            delivered=lease.delivered,
            returned=lease.returned,
            payment=lease.payment,
        )
    )
    if lease.award:
        note_closed(state, lease)
    benched = state.conduct.close(lease.id, lease.delivered, state.now_ms)
    if benched is not None:
        state.emit(benched)
    end_if_sold(state, offer)
    execution = state.executions[lease.execution]
    execution.serving -= 1
    if lease.metered:
        meter_closed(state, lease)
    elif not execution.serving:
        finish_execution(state, execution)
    update_status(state, intent)


def _close_capacity(state: State, offer: OfferState, lease: Lease) -> None:
    """Used units are gone; unused ones go back to a live offer, or lapse.

    On chain an offer counts what was delivered. It is live only while its key is.
    """
    used = lease.delivered + lease.lapsed
    post(offer.capacity, state.units(SERVED, lease.resource), lease.reserved, used)
    lease.reserved = 0
    unused = lease.units - used
    in_time = offer.live and offer.order.until_ms >= state.now_ms
    if unused and in_time:
        lease.returned = unused
        state.schedule(state.now_ms, Due.RETURN_UNITS, lease.offer)
    else:
        transfer(offer.capacity, state.units(LAPSED, lease.resource), unused)
