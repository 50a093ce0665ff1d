"""Documents that their owners take back. What was filled stays filled."""

from typing import Final

from intents.reject import Reject, RejectCode, reject
from solver.core.bundle import Bundle
from solver.core.command import CancelDocument
from solver.core.event import IntentStatus
from solver.core.state import DocumentState, IntentState, MandateState, OfferState, State
from solver.core.trade import end_intent, end_mandate, end_offer

_CANCELLED: Final = IntentStatus.CANCELLED


def cancel_document(state: State, command: CancelDocument) -> Reject | None:
    """Withdraw a document: see `cancel`."""
    return cancel(state, command.account, command.digest)


def cancel(state: State, account: str, digest: str) -> Reject | None:
    """Withdraw what is not filled, a bundle with all its legs, or a mandate with what is under it.

    Rejects: not_found, not_authorized, too_late, not_open.
    """
    intent = state.intents.get(digest)
    if intent is not None:
        return _fault_in_owner(intent, account) or _cancel_intent(state, intent)
    offer = state.offers.get(digest)
    if offer is not None:
        return _fault_in_owner(offer, account) or _cancel_offer(state, offer)
    mandate = state.mandates.get(digest)
    if mandate is not None:
        return _fault_in_owner(mandate, account) or _cancel_mandate(state, mandate)
    bundle = state.bundles.by_digest.get(digest)
    if bundle is not None:
        return _cancel_bundle(state, account, bundle)
    return reject(RejectCode.NOT_FOUND, f"no document {digest}")


def _fault_in_owner(record: DocumentState, account: str) -> Reject | None:
    if record.account != account:
        return reject(RejectCode.NOT_AUTHORIZED, "it belongs to another account")
    return None


def _cancel_intent(state: State, intent: IntentState) -> Reject | None:
    if intent.ended is not None:
        return reject(RejectCode.NOT_OPEN, f"it has ended: {intent.status}")
    if not intent.open_units:
        return reject(RejectCode.TOO_LATE, f"all its units were filled{_by_award(state, intent)}")
    end_intent(state, intent, _CANCELLED)
    return None


def _by_award(state: State, intent: IntentState) -> str:
    """Which auctions' awards took it, if any did."""
    awards = {state.leases[lease].award for lease in intent.leases}
    auctions = sorted({state.awards[award].auction for award in awards if award in state.awards})
    return "".join(f", by the award of auction {number}" for number in auctions)


def _cancel_bundle(state: State, account: str, bundle: Bundle) -> Reject | None:
    """The leg that something was filled of speaks for all; else any one takes the others along."""
    legs = [state.intents[leg] for leg in bundle.legs if leg in state.intents]
    leg = next((leg for leg in legs if leg.filled_units), legs[0])
    return _fault_in_owner(leg, account) or _cancel_intent(state, leg)


def _cancel_offer(state: State, offer: OfferState) -> Reject | None:
    if not offer.live:
        return reject(RejectCode.NOT_OPEN, "the offer has ended")
    end_offer(state, offer, "cancelled")
    return None


def _cancel_mandate(state: State, mandate: MandateState) -> Reject | None:
    if not mandate.live:
        return reject(RejectCode.NOT_OPEN, "the mandate has ended")
    end_mandate(state, mandate, "cancelled")
    return None
