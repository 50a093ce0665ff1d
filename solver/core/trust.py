"""How far those are served who can take their word back: session keys, and contracts.

What they signed is served first, and judged by the chain later. Until then their owner can end
a session, lower its cap or spend it elsewhere, and a contract can change its mind. So what is
not final of it is bounded, and an account for which the chain refused to pay is barred until it
says on chain that it goes on; each time it is trusted with half as much.
"""

from typing import Final

from intents.reject import Reject, RejectCode, reject
from intents.rounding import payment_at
from solver.core.command import Authority
from solver.core.event import TrustChanged
from solver.core.lease import Lease
from solver.core.meter import Meter, Trust
from solver.core.state import IntentState, MandateState, State

BAD_SIGNATURE: Final = 8
SESSION_REFUSED: Final = 9
INSUFFICIENT_BALANCE: Final = 15
"""Of the contract's SkipReason, what a buyer can bring about after it was served."""
PROBLEMS_OF_BUYERS: Final = frozenset({2, 7, 8})
"""The same of its RecordProblem."""
RETRY_MS: Final = 2_000
"""About when some of it may be final."""

_KEY: Final = Authority.KEY
_SESSION: Final = Authority.SESSION
_CONTRACT: Final = Authority.CONTRACT


def authority_of(state: State, record: IntentState | MandateState) -> Authority:
    """How an intent binds its account: by itself, or as the mandate does that it is under."""
    mandate = state.mandates.get(record.signer)
    return record.authority if mandate is None else mandate.authority


def fault_in_bar(state: State, account: str) -> Reject | None:
    """Whether a word that can be taken back counts for nothing now. Rejects: account_barred."""
    trust = state.metering.trusts.get(account)
    if trust is None or not trust.barred:
        return None
    return reject(
        RejectCode.ACCOUNT_BARRED,
        f"the chain refused to pay what {account} had signed for, {trust.refusals} times in all",
    )


def fault_in_trust(state: State, lease: Lease, units: int) -> Reject | None:
    """Whether a call would be served on a word that may not hold.

    Rejects: account_barred, unsettled_exceeded.
    """
    if not _may_be_taken_back(state, lease):
        return None
    fault = fault_in_bar(state, lease.buyer)
    if fault is not None:
        return fault
    trust = state.metering.trusts.get(lease.buyer, _NOTHING)
    after = payment_at(lease.tick, lease.delivered + lease.in_flight + units)
    unsettled = trust.unsettled + after - lease.reach
    most = unsettled_max(state, trust)
    if unsettled <= most:
        return None
    return reject(
        RejectCode.UNSETTLED_EXCEEDED,
        f"{unsettled} atoms would wait to be final, of {most}",
        retry_after_ms=RETRY_MS,
    )


def unsettled_max(state: State, trust: Trust) -> int:
    """Half as much after each time, so that all of it together is less than twice the bound."""
    return state.metering.unsettled_max >> trust.refusals


def trust_of(state: State, account: str) -> Trust:
    """How an account stands; of one that never needed trust, that."""
    return state.metering.trusts.get(account, _NOTHING)


def count(state: State, lease: Lease, atoms: int) -> None:
    """So much more is served and not final, or less (negative), of what somebody may take back.

    What is metered counts whoever bought it, as any key may sign the receipt.
    """
    if atoms and is_counted(state, lease):
        trust = state.metering.trusts.get(lease.buyer)
        if trust is None:
            trust = state.metering.trusts[lease.buyer] = Trust()
        trust.unsettled += atoms


def is_counted(state: State, lease: Lease) -> bool:
    """Whether it counts as unsettled."""
    return lease.asset == state.usdc and (
        lease.metered or authority_of(state, state.intents[lease.intent]) is not _KEY
    )


def is_buyers_fault(state: State, lease: Lease, reason: int) -> bool:
    """Whether the chain skipped a line for what its buyer did with its word.

    The same reasons are told of a seller's. Its session can only have ended, which is known by
    now; where both are contracts, it is taken for the buyer's.
    """
    authority = authority_of(state, state.intents[lease.intent])
    if reason == INSUFFICIENT_BALANCE:
        return authority is not _KEY
    if reason == BAD_SIGNATURE:
        return authority is _CONTRACT
    return reason == SESSION_REFUSED and authority is _SESSION and _is_offer_good(state, lease)


def _is_offer_good(state: State, lease: Lease) -> bool:
    """Whether the chain had nothing against the session that signed the offer, if one did."""
    offer = state.offers[lease.offer]
    if offer.authority is not _SESSION:
        return True
    session = state.accounts[offer.account].sessions[offer.signer]
    return session.live and session.expires_at * 1_000 >= lease.filled_ms


def lose_trust(state: State, account: str, filled_ms: int) -> bool:
    """The chain refused what was served since then; whether that is told for the first time.

    What was served before the account was barred is one matter with what barred it.
    """
    trust = state.metering.trusts.setdefault(account, Trust())
    is_new = not trust.barred and filled_ms >= trust.barred_ms
    if is_new:
        trust.barred, trust.barred_ms = True, state.now_ms
        trust.refusals += 1
        _tell(state, account, trust)
    return is_new


def regain_trust(state: State, account: str) -> None:
    """The account said on chain that it goes on: by a grant, or by ending its epoch."""
    trust = state.metering.trusts.get(account)
    if trust is not None and trust.barred:
        trust.barred = False
        _tell(state, account, trust)


def _tell(state: State, account: str, trust: Trust) -> None:
    state.emit(TrustChanged(account=account, barred=trust.barred, refusals=trust.refusals))


def _may_be_taken_back(state: State, lease: Lease) -> bool:
    """By who bought it, or, where it is metered, by who signed the newest receipts."""
    return is_counted(state, lease) and (
        authority_of(state, state.intents[lease.intent]) is not _KEY
        or _is_receipt_doubtful(state, lease.buyer)
    )


def _is_receipt_doubtful(state: State, account: str) -> bool:
    """Whether a word that can be taken back is for what an account owes, sent or not."""
    meter = state.metering.meters.get(account, _NO_METER)
    under_way = None if meter.record is None else meter.record.receipt
    words = (meter.receipt, under_way)
    return any(word is not None and word.authority is not _KEY for word in words)


_NOTHING: Final = Trust()
_NO_METER: Final = Meter()
