"""Capacity that a solver brings along: signed offers that stand for its own solutions alone.

They are admitted with the solution and are in no book: nobody else can fill from them, and nobody
hears of them before the auction closes. Meanwhile they are offers like any other, that end with
their key, their nonce or their time. At the close what did not win, or is left, is withdrawn.
"""

from typing import Final

from intents.reject import Reject, RejectCode, reject
from intents.rounding import ask_tick
from solver.core.auction import Auction, BroughtOffer, SnapshotOrder, brought_of
from solver.core.command import CarriedOffer, ProposeSolution
from solver.core.document import OfferState, offer_record
from solver.core.intake import emit_offer, enter_offer_apart, fault_in_offer
from solver.core.quality import Rating
from solver.core.state import State
from solver.core.trade import emit_offer_ended, end_offer, open_units

BROUGHT_MAX: Final = 16
"""Offers of one solution."""


def fault_in_brought(state: State, auction: Auction, command: ProposeSolution) -> Reject | None:
    """Whether these offers may stand for this solution.

    Rejects, in order: solution_limit; of each: not_authorized (another's), not_open (not valid
    yet), resource_unknown (no book of the auction), those of `admit_offer`, nonce_used (two of
    one nonce).
    """
    if len(command.offers) > BROUGHT_MAX:
        return reject(RejectCode.SOLUTION_LIMIT, f"a solution brings {BROUGHT_MAX} offers at most")
    new = _new(auction, command)
    for one in command.offers:
        fault = _fault_in_terms(state, auction, command.solver, one)
        if fault is None and one in new:
            fault = fault_in_offer(state, _record(one), len(new))
        if fault is not None:
            return fault
    if len({one.offer.nonce for one in new}) != len(new):
        return reject(RejectCode.NONCE_USED, "two offers of the solution have one nonce")
    return None


def bring(state: State, auction: Auction, command: ProposeSolution) -> None:
    """Admit the offers in which there is no fault, apart from every book."""
    for one in _new(auction, command):
        enter_offer_apart(state, _record(one))


def brought_orders(
    state: State, auction: Auction, command: ProposeSolution
) -> tuple[BroughtOffer, ...]:
    """The offers as the judge sees them, whether or not there is a fault in them."""
    asks = any(bundle.floor.asks for bundle in auction.snapshot.bundles)
    return tuple(
        [
            BroughtOffer(
                resource=one.offer.resource,
                order=SnapshotOrder(
                    id=one.digest,
                    account=one.offer.account,
                    tick=ask_tick(one.offer.limit, one.offer.units),
                    units=one.offer.units,
                    minimum=1,
                ),
                rating=_rating(state, one) if asks else None,
            )
            for one in command.offers
        ]
    )


def _rating(state: State, one: CarriedOffer) -> Rating | None:
    key = state.keys.get(one.offer.key)
    return None if key is None else key.seen.rating()


def shrunk_of(state: State, auction: Auction) -> dict[str, int]:
    """Units that are live of what was brought, where they are fewer than were signed."""
    live = ((order, open_units(state, order.id)) for order in brought_of(auction))
    return {order.id: units for order, units in live if units < order.units}


def tell_brought(state: State, auction: Auction) -> None:
    """From the close on everybody may know, of those that ended before it too."""
    for offer in _remembered(state, auction):
        emit_offer(state, offer)
        if not offer.live:
            emit_offer_ended(state, offer, "ended before its auction closed")


def withdraw_brought(state: State, auction: Auction) -> None:
    """What did not win, or is left, is nobody's any more."""
    for offer in _remembered(state, auction):
        end_offer(state, offer, "brought to an auction that is over")


def _remembered(state: State, auction: Auction) -> list[OfferState]:
    """What was brought; in a long epoch with much traffic, what ended early may be forgotten."""
    found = (state.offers.get(order.id) for order in brought_of(auction))
    return [offer for offer in found if offer is not None]


def _new(auction: Auction, command: ProposeSolution) -> list[CarriedOffer]:
    """Those that no solution brought to this auction before, each once. All are the solver's."""
    known = {order.id for order in brought_of(auction)}
    distinct = {one.digest: one for one in command.offers}
    return [one for digest, one in distinct.items() if digest not in known]


def _fault_in_terms(
    state: State, auction: Auction, solver: str, one: CarriedOffer
) -> Reject | None:
    offer, snapshot = one.offer, auction.snapshot
    if offer.account != solver:
        return reject(RejectCode.NOT_AUTHORIZED, "a solution brings offers of its solver alone")
    if offer.valid_from * 1_000 > state.now_ms:
        return reject(RejectCode.NOT_OPEN, f"{one.digest} is not valid yet")
    books = {book.resource for book in snapshot.books}
    if offer.resource not in books or offer.asset != snapshot.asset:
        return reject(RejectCode.RESOURCE_UNKNOWN, f"{offer.resource} has no book in this auction")
    return None


def _record(one: CarriedOffer) -> OfferState:
    return offer_record(
        one.offer,
        digest=one.digest,
        signer=one.signer,
        authority=one.authority,
        signature=one.signature,
    )
