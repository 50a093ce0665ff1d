"""What finalised blocks say about accounts. Facts cannot be refused, only accounted for."""

from collections.abc import Callable

from intents.reject import Reject, RejectCode, reject
from solver.core.check import check
from solver.core.command import (
    AllSessionsRevoked,
    ApplyBlocks,
    Authority,
    BatchSettled,
    ClaimPaid,
    Deposited,
    EpochBumped,
    Fact,
    FillSettled,
    FillSkipped,
    MeteredSettled,
    NonceCancelled,
    ReceiptClaimed,
    RecordSkipped,
    SessionGranted,
    SessionRevoked,
    WithdrawalRequested,
    Withdrawn,
)
from solver.core.delivery import end_lease
from solver.core.event import ChainApplied, IntentStatus, SessionChanged
from solver.core.intake import emit_balance
from solver.core.ledger import CHAIN, hold, release, transfer
from solver.core.metered import claim_paid, metered_settled, record_skipped
from solver.core.settling import batch_settled, fill_settled, fill_skipped
from solver.core.state import (
    MAY_SIGN,
    DocumentState,
    IntentState,
    MandateState,
    OfferState,
    Session,
    State,
)
from solver.core.trade import end_intent, end_mandate, end_offer
from solver.core.trust import (
    PROBLEMS_OF_BUYERS,
    authority_of,
    is_buyers_fault,
    lose_trust,
    regain_trust,
)


def apply_blocks(state: State, command: ApplyBlocks) -> Reject | None:
    """Apply a range of finalised blocks once. Rejects: cursor_behind (already applied)."""
    if command.number <= state.cursor:
        return reject(RejectCode.CURSOR_BEHIND, f"applied up to block {state.cursor}")
    for fact in command.facts:
        _apply(state, fact)
    state.cursor = command.number
    state.cursor_hash = command.block_hash
    if command.facts:
        state.emit(ChainApplied(number=command.number, facts=len(command.facts)))
    return None


def _apply(state: State, fact: Fact) -> None:  # noqa: C901, PLR0912  one case a fact
    match fact:
        case Deposited():
            chain = state.ledger.account(CHAIN, state.usdc)
            transfer(chain, state.ledger.account(fact.account, state.usdc), fact.amount)
            emit_balance(state, fact.account, state.usdc, "deposited")
        case WithdrawalRequested():
            _request_withdrawal(state, fact)
        case Withdrawn():
            _withdraw(state, fact)
        case NonceCancelled():
            _cancel_nonce(state, fact)
        case EpochBumped():
            state.account(fact.account).epoch = fact.epoch
            regain_trust(state, fact.account)
            _end_documents(state, fact.account, lambda record: record.epoch != fact.epoch)
        case FillSettled():
            fill_settled(state, fact)
        case FillSkipped():
            _skip_fill(state, fact)
        case BatchSettled():
            batch_settled(state, fact)
        case MeteredSettled():
            metered_settled(state, fact)
        case RecordSkipped():
            _skip_record(state, fact)
        case ReceiptClaimed():
            state.account(fact.account)
            state.metering.claimed[fact.account] = None
            _end_demand(state, fact.account)
        case ClaimPaid():
            claim_paid(state, fact)
        case SessionGranted():
            _grant_session(state, fact)
        case SessionRevoked():
            _revoke_session(state, fact.account, fact.session)
        case AllSessionsRevoked():
            for session in sorted(state.account(fact.account).sessions):
                _revoke_session(state, fact.account, session)


def _skip_fill(state: State, fact: FillSkipped) -> None:
    fill_skipped(state, fact)
    lease = state.leases[fact.fill]
    if is_buyers_fault(state, lease, fact.reason):
        _bar(state, lease.buyer, lease.filled_ms)


def _skip_record(state: State, fact: RecordSkipped) -> None:
    """A receipt that its account's own key signed can still be bad, but not on purpose."""
    record = state.metering.of(fact.account).record
    record_skipped(state, fact)
    receipt = None if record is None else record.receipt
    if receipt is None or receipt.authority is Authority.KEY:
        return
    unpaid = state.metering.of(fact.account).waiting[: receipt.fills]
    if unpaid and fact.problem in PROBLEMS_OF_BUYERS:
        _bar(state, fact.account, max(state.leases[fill].filled_ms for fill in unpaid))


def _bar(state: State, account: str, filled_ms: int) -> None:
    """What was bought on a word that can be taken back ends, and its leases serve no more."""
    if not lose_trust(state, account, filled_ms):
        return
    for record in state.account(account).standing:
        if not isinstance(record, IntentState | MandateState):
            continue
        if authority_of(state, record) is Authority.KEY:
            continue
        _end_document(state, record)
        if isinstance(record, IntentState):
            _end_leases(state, record)


def _request_withdrawal(state: State, fact: WithdrawalRequested) -> None:
    """Stop promising money that is about to leave: end open intents, hold what is free.

    What is leased already can still be settled on chain until the exit delay is over.
    """
    account = state.account(fact.account)
    money = state.ledger.account(fact.account, state.usdc)
    release(money, account.withdrawal_held)
    account.withdrawing, account.withdrawal_held = fact.amount, 0
    if fact.amount:
        _end_demand(state, fact.account)
        account.withdrawal_held = min(max(0, money.available), fact.amount)
        hold(money, account.withdrawal_held)
    emit_balance(state, fact.account, state.usdc, "withdrawal requested")


def _end_demand(state: State, account: str) -> None:
    """Its money is about to leave: open intents end. What is leased goes on, and is settled."""
    for record in state.account(account).standing:
        if isinstance(record, IntentState) and record.asset == state.usdc:
            end_intent(state, record, IntentStatus.CANCELLED)


def _withdraw(state: State, fact: Withdrawn) -> None:
    account = state.account(fact.account)
    money = state.ledger.account(fact.account, state.usdc)
    release(money, account.withdrawal_held)
    account.withdrawing, account.withdrawal_held = 0, 0
    transfer(money, state.ledger.account(CHAIN, state.usdc), fact.amount, forced=True)
    check(money.total >= 0, "chain_pays_no_more_than_it_has", account=fact.account)
    emit_balance(state, fact.account, state.usdc, "withdrawn")


def _cancel_nonce(state: State, fact: NonceCancelled) -> None:
    account = state.account(fact.account)
    digest = account.nonces.get(fact.nonce)
    if digest is None:
        account.use(fact.nonce)
    else:
        _end_document(state, state.document(digest))


def _grant_session(state: State, fact: SessionGranted) -> None:
    """A new grant replaces the terms and keeps what was spent and committed."""
    regain_trust(state, fact.account)
    sessions = state.account(fact.account).sessions
    session = sessions.get(fact.session)
    if session is None:
        sessions[fact.session] = Session(
            permissions=fact.permissions, expires_at=fact.expires_at, cap=fact.cap
        )
    else:
        if _takes_away(session, fact):
            _end_signed_by(state, fact.account, fact.session)
        session.permissions = fact.permissions
        session.expires_at = fact.expires_at
        session.cap = fact.cap
        session.live = True
    state.emit(SessionChanged(account=fact.account, session=fact.session, live=True))


def _revoke_session(state: State, account: str, signer: str) -> None:
    """At once: what the key signed ends, and its leases serve no more calls."""
    session = state.account(account).sessions.get(signer)
    if session is None or not session.live:
        return
    session.live = False
    _end_signed_by(state, account, signer)
    state.emit(SessionChanged(account=account, session=signer, live=False))


def _takes_away(session: Session, fact: SessionGranted) -> bool:
    """Whether the new terms could refuse what the session signed under the old ones."""
    return session.live and (
        not fact.permissions & MAY_SIGN
        or fact.expires_at < session.expires_at
        or fact.cap < session.spent + session.committed
    )


def _end_signed_by(state: State, account: str, signer: str) -> None:
    """What a key signed ends, mandates with what is under them; its leases serve no more."""
    _end_documents(state, account, lambda record: record.signer == signer)
    for record in state.account(account).standing:
        if not isinstance(record, IntentState):
            continue
        if signer in (record.signer, _mandate_signer(state, record)):
            _end_leases(state, record)


def _end_leases(state: State, intent: IntentState) -> None:
    for lease in list(intent.leases):
        end_lease(state, state.leases[lease])


def _mandate_signer(state: State, intent: IntentState) -> str:
    mandate = state.mandates.get(intent.signer)
    return "" if mandate is None else mandate.signer


def _end_documents(state: State, account: str, chosen: Callable[[DocumentState], bool]) -> None:
    for record in state.account(account).standing:
        if chosen(record):
            _end_document(state, record)


def _end_document(state: State, record: DocumentState | None) -> None:
    """What is over already stays as it is."""
    if isinstance(record, IntentState):
        end_intent(state, record, IntentStatus.CANCELLED)
    elif isinstance(record, OfferState):
        end_offer(state, record, "cancelled on chain")
    elif isinstance(record, MandateState):
        end_mandate(state, record, "cancelled on chain")
