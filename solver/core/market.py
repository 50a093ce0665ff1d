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
from solver.core.chain import apply_blocks
from solver.core.check import check
from solver.core.command import (
    ApplyBlocks,
    CancelDocument,
    Command,
    CutBatch,
    EndLeases,
    FinishCall,
    IssueCredits,
    OpenAuction,
    OpenResource,
    PoolKey,
    ProposeSolution,
    RetireKey,
    StartCall,
    SubmitIntent,
    SubmitOffer,
    Tick,
)
from solver.core.contest import close_auction, open_auction, propose_solution
from solver.core.delivery import end_lease, end_leases, finish_call, retire_key, start_call
from solver.core.event import Event, IntentStatus
from solver.core.intake import (
    cancel_document,
    issue_credits,
    open_resource,
    pool_key,
    submit_intent,
    submit_offer,
)
from solver.core.settling import cut_batch
from solver.core.state import Due, State
from solver.core.trade import end_intent, end_offer, enter_intent, enter_offer, return_units

Handler = Callable[[State, Any], Reject | None]

_HANDLERS: Final[dict[type, Handler]] = {
    OpenResource: open_resource,
    PoolKey: pool_key,
    RetireKey: retire_key,
    SubmitIntent: submit_intent,
    SubmitOffer: submit_offer,
    CancelDocument: cancel_document,
    OpenAuction: open_auction,
    ProposeSolution: propose_solution,
    StartCall: start_call,
    FinishCall: finish_call,
    EndLeases: end_leases,
    IssueCredits: issue_credits,
    CutBatch: cut_batch,
    ApplyBlocks: apply_blocks,
}


class Market:
    """The aggregate. `state` may be read freely and is changed by `apply` alone."""

    def __init__(self, usdc: str) -> None:
        self.state: Final = State(usdc)

    def apply(self, command: Command) -> list[Event] | Reject:
        """Carry out one command at its `at_ms`."""
        state = self.state
        check(command.at_ms >= state.now_ms, "time_never_falls", at_ms=command.at_ms)
        before_ms = state.now_ms
        state.now_ms = command.at_ms
        state.events = []
        if isinstance(command, Tick):
            _tick(state)
        else:
            due_ms = state.next_due_ms
            check(due_ms is None or due_ms > command.at_ms, "time_is_ticked_first")
            refused = _HANDLERS[type(command)](state, command)
            if refused is not None:
                check(not state.events, "reject_changes_nothing", code=refused.code)
                state.now_ms = before_ms
                return refused
            _tick(state)
        return state.events

    def is_due(self, now_ms: int) -> bool:
        """Whether a `Tick` must come before anything else at this time."""
        due_ms = self.state.next_due_ms
        return due_ms is not None and due_ms <= now_ms


def _tick(state: State) -> None:
    """Handle all that is due, each at its own time, in order of time."""
    now_ms = state.now_ms
    while (item := state.pop_due(now_ms)) is not None:
        state.now_ms, due, subject = item
        _fall_due(state, due, subject)
    state.now_ms = now_ms


def _fall_due(state: State, due: Due, subject: str) -> None:
    match due:
        case Due.ACTIVATE_INTENT:
            intent = state.intents[subject]
            if intent.open_units:
                enter_intent(state, intent)
        case Due.ACTIVATE_OFFER:
            offer = state.offers[subject]
            if offer.live:
                enter_offer(state, offer)
        case Due.EXPIRE_INTENT:
            end_intent(state, state.intents[subject], IntentStatus.EXPIRED)
        case Due.EXPIRE_OFFER:
            end_offer(state, state.offers[subject], "expired")
        case Due.END_LEASE:
            end_lease(state, state.leases[subject])
        case Due.RETURN_UNITS:
            return_units(state, state.offers[subject])
        case Due.CLOSE_AUCTION:
            close_auction(state, int(subject))
