"""The market as one pure state machine: `apply(command) → events, or a Reject`.

The same commands give the same events and the same state hash, in any process. A Reject
leaves the state as it was, to the bit; a Violation means memory is wrong and the process
must stop. Time enters only through commands, and what falls due is handled by `Tick`
alone: a command stamped after something fell due is a caller's bug, so that no fill can
be made after a deadline. Units that a command gives back fall due at once, at its end,
where nothing else looks at the book.
"""

from collections.abc import Callable
from typing import Any, Final

from intents.reject import Reject
from solver.core.bonding import set_bonds
from solver.core.book import Order
from solver.core.bundling import submit_bundle
from solver.core.cancel import cancel, cancel_document
from solver.core.chain import apply_blocks
from solver.core.check import check, violate
from solver.core.command import (
    AcceptReceipt,
    ApplyBlocks,
    CancelDocument,
    Command,
    CutBatch,
    CutMetered,
    EndLeases,
    FinishCall,
    IssueCredits,
    OpenAuction,
    OpenResource,
    PoolKey,
    ProposeSolution,
    RetireKey,
    SetBonds,
    SetMetering,
    StartCall,
    SubmitBundle,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
    Tick,
)
from solver.core.contest import close_auction, open_auction, propose_solution
from solver.core.delivery import end_lease, end_leases, finish_call, retire_key, start_call
from solver.core.event import Event, IntentStatus
from solver.core.intake import (
    admit_intent,
    admit_offer,
    issue_credits,
    open_resource,
    submit_intent,
    submit_mandate,
    submit_offer,
)
from solver.core.lease import Lease
from solver.core.metered import cut_metered
from solver.core.metering import accept_receipt, set_metering
from solver.core.pool import pool_key
from solver.core.settling import cut_batch
from solver.core.state import Due, IntentState, OfferState, State
from solver.core.trade import (
    carry_out,
    end_intent,
    end_mandate,
    end_offer,
    enter_intent,
    enter_offer,
    return_units,
)

Handler = Callable[[State, Any], Reject | None]

# Bound once: compiled code looks up a class of another module, or an enumeration's member.
_TICK: Final = Tick
_EXPIRED: Final = IntentStatus.EXPIRED
_HANDLERS: Final[dict[type, Handler]] = {
    OpenResource: open_resource,
    PoolKey: pool_key,
    RetireKey: retire_key,
    SubmitIntent: submit_intent,
    SubmitOffer: submit_offer,
    SubmitMandate: submit_mandate,
    SubmitBundle: submit_bundle,
    CancelDocument: cancel_document,
    OpenAuction: open_auction,
    ProposeSolution: propose_solution,
    StartCall: start_call,
    FinishCall: finish_call,
    EndLeases: end_leases,
    IssueCredits: issue_credits,
    CutBatch: cut_batch,
    ApplyBlocks: apply_blocks,
    SetMetering: set_metering,
    AcceptReceipt: accept_receipt,
    CutMetered: cut_metered,
    SetBonds: set_bonds,
}


class Market:
    """The aggregate. `state` may be read freely and is changed by `apply` alone.

    It starts empty, or goes on from a state that was loaded.
    """

    def __init__(self, usdc: str, state: State | None = None) -> None:
        self.state: Final = State(usdc) if state is None else state

    def apply(self, command: Command) -> list[Event] | Reject:
        """Carry out one command at its `at_ms`."""
        state = self.state
        before_ms = self._begin(command.at_ms)
        refused: Reject | None = None
        if type(command) is not _TICK:
            self._check_ticked()
            refused = _HANDLERS[type(command)](state, command)
        return self._end(refused, before_ms)

    def admit(self, record: IntentState | OfferState, at_ms: int) -> list[Event] | Reject:
        """Carry out the SubmitIntent or SubmitOffer that has this record's fields.

        It is for who has no command of it. The record is the market's from now on; one that
        was refused is nobody's.
        """
        state, before_ms = self.state, self._begin(at_ms)
        self._check_ticked()
        if isinstance(record, IntentState):
            return self._end(admit_intent(state, record), before_ms)
        return self._end(admit_offer(state, record), before_ms)

    def cancel(self, account: str, digest: str, at_ms: int) -> list[Event] | Reject:
        """Carry out the CancelDocument that has these fields."""
        before_ms = self._begin(at_ms)
        self._check_ticked()
        return self._end(cancel(self.state, account, digest), before_ms)

    def is_due(self, now_ms: int) -> bool:
        """Whether a `Tick` must come before anything else at this time."""
        return self.state.is_due(now_ms)

    def _begin(self, at_ms: int) -> int:
        """Have this be the market's time; what it was before."""
        state = self.state
        before_ms = state.now_ms
        if at_ms < before_ms:
            violate("time_never_falls", at_ms=at_ms)
        state.now_ms = at_ms
        state.events = []
        return before_ms

    def _check_ticked(self) -> None:
        """What falls due is handled by a `Tick`, before anything else at that time."""
        state = self.state
        if state.is_due(state.now_ms):
            violate("time_is_ticked_first")

    def _end(self, refused: Reject | None, before_ms: int) -> list[Event] | Reject:
        """What came of it, with all that fell due by it."""
        state = self.state
        if refused is not None:
            check(not state.events, "reject_changes_nothing", code=refused.code)
            state.now_ms = before_ms
            return refused
        _tick(state)
        state.forget_finished()
        return state.events


def _tick(state: State) -> None:
    """Handle all that is due, each at its own time, in order of time.

    At one time leases end first, then documents, so that nothing over is filled by the rest.
    """
    now_ms = state.now_ms
    while state.is_due(now_ms):
        at_ms = state.next_due_ms
        assert at_ms is not None
        state.now_ms = at_ms
        lease = state.lease_ends.pop(at_ms)
        if lease is not None:
            assert isinstance(lease, Lease)
            end_lease(state, lease)
            continue
        order = state.exchange.deadlines.pop(at_ms)
        if order is not None:
            assert isinstance(order, Order)
            _expire(state, order)
            continue
        due, subject = state.pop_due()
        _fall_due(state, due, subject)
    state.now_ms = now_ms


def _expire(state: State, order: Order) -> None:
    if order.buys:
        end_intent(state, state.intents[order.id], _EXPIRED)
    else:
        end_offer(state, state.offers[order.id], "expired")


def _fall_due(state: State, due: Due, subject: str) -> None:
    """It is awaited: what is over, or even forgotten, by then `State` has passed over."""
    if due is Due.CLOSE_AUCTION:
        close_auction(state, int(subject))
    elif due is Due.END_MANDATE:
        end_mandate(state, state.mandates[subject], "expired")
    elif due is Due.ACTIVATE_INTENT:
        enter_intent(state, state.intents[subject])
    elif due is Due.ACTIVATE_OFFER:
        enter_offer(state, state.offers[subject])
    else:
        _return_units(state, subject)


def _return_units(state: State, first: str) -> None:
    """All that comes back at this time; then bids that wait for enough supply are tried once."""
    books: dict[tuple[str, str], None] = {}
    subject: str | None = first
    while subject is not None:
        offer = state.offers[subject]
        if offer.live:
            return_units(state, offer)
            books[offer.resource, offer.asset] = None
        subject = state.pop_due_if(Due.RETURN_UNITS)
    for resource, asset in books:
        state.exchange.retry_waiting(state.book(resource, asset))
        carry_out(state)
