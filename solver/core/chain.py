"""What finalised blocks say about accounts. Facts cannot be refused, only accounted for."""

from collections.abc import Callable
from copy import copy

from intents.reject import Reject, RejectCode, reject
from solver.core.bonding import (
    bond_deposited,
    bond_withdrawal_requested,
    bond_withdrawn,
    solver_penalised,
)
from solver.core.check import check, violate
from solver.core.command import ApplyBlocks, Authority
from solver.core.delivery import end_lease
from solver.core.event import ChainApplied, IntentStatus, SessionChanged
from solver.core.fact import (
    AllSessionsRevoked,
    BatchSettled,
    BlockMined,
    BondDeposited,
    BondWithdrawalRequested,
    BondWithdrawn,
    CapChanged,
    ClaimPaid,
    CounterpartyRuleChanged,
    Deposited,
    EpochBumped,
    Fact,
    FillSettled,
    FillSkipped,
    KeyGranted,
    KeyRotated,
    KeyTeamChanged,
    MeteredSettled,
    NonceCancelled,
    ReceiptClaimed,
    RecordSkipped,
    SessionRevoked,
    SolverPenalised,
    WithdrawalRequested,
    Withdrawn,
)
from solver.core.intake import emit_balance
from solver.core.ledger import CHAIN, hold, release, transfer
from solver.core.metered import claim_paid, metered_settled, record_skipped
from solver.core.metering import void_receipt
from solver.core.session import (
    charge,
    grant,
    is_within_caps,
    left_of,
    rotate,
    set_cap,
    set_rule,
    set_team,
)
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
    state.metering.chain_s = 0
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
            state.metering.claimed[fact.account] = None
            state.metering.claimants[fact.account] = fact.signer
            charge(state, fact.account, fact.signer, fact.amount)
            _end_demand(state, fact.account)
        case ClaimPaid():
            claim_paid(state, fact)
        case SessionRevoked():
            _revoke_session(state, fact.account, fact.session)
        case AllSessionsRevoked():
            for session in sorted(state.account(fact.account).sessions):
                _revoke_session(state, fact.account, session)
        case _:
            _apply_to_keys(state, fact)


def _apply_to_keys(state: State, fact: Fact) -> None:
    """What is told of caps, and of keys that the registry keeps."""
    match fact:
        case BlockMined():
            state.metering.chain_s = fact.time_s
        case KeyGranted():
            _grant_key(state, fact)
        case KeyRotated():
            rotate(state, fact.account, fact.session, fact.replacement)
        case KeyTeamChanged():
            set_team(state, fact.account, fact.session, fact.team)
            _end_beyond_caps(state, fact.account)
        case CapChanged():
            set_cap(state, fact)
            _end_beyond_caps(state, fact.account)
        case CounterpartyRuleChanged():
            set_rule(state, fact.account, fact.rule)
            _end_beyond_caps(state, fact.account)
        case _:
            _apply_to_bonds(state, fact)


def _apply_to_bonds(state: State, fact: Fact) -> None:
    """What is told of solvers' bonds."""
    match fact:
        case BondDeposited():
            bond_deposited(state, fact)
        case BondWithdrawalRequested():
            bond_withdrawal_requested(state, fact)
        case BondWithdrawn():
            bond_withdrawn(state, fact)
        case SolverPenalised():
            solver_penalised(state, fact)
        case _:
            violate("fact_is_known", kind=type(fact).__name__)


def _skip_fill(state: State, fact: FillSkipped) -> None:
    fill_skipped(state, fact)
    lease = state.leases[fact.fill]
    if is_buyers_fault(state, lease, fact.reason):
        _bar(state, lease.buyer, lease.filled_ms)


def _skip_record(state: State, fact: RecordSkipped) -> None:
    """A receipt that its account's own key signed can still be bad, but not on purpose.

    One that a claim has paid was not bad.
    """
    receipt, unpaid = record_skipped(state, fact)
    if receipt is None or receipt.authority is Authority.KEY:
        return
    if unpaid and fact.problem in PROBLEMS_OF_BUYERS:
        _bar(state, fact.account, max(lease.filled_ms for lease in unpaid))


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
    for intent in _standing_intents(state, account):
        if intent.asset == state.usdc:
            end_intent(state, intent, IntentStatus.CANCELLED)


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
    record = account.document_of(fact.nonce)
    if record is None:
        account.use(fact.nonce)
    else:
        _end_document(state, record)


def _grant_key(state: State, fact: KeyGranted) -> None:
    """A new grant replaces the terms and keeps what was spent and committed."""
    regain_trust(state, fact.account)
    before = copy(state.account(fact.account).sessions.get(fact.session))
    grant(state, fact)
    _go_on(state, fact.account, fact.session, before)


def _go_on(state: State, account: str, signer: str, before: Session | None) -> None:
    """A session is live on new terms; what these could refuse of what it signed ends."""
    session = state.accounts[account].sessions[signer]
    if before is not None and _takes_away(state, account, before, session):
        _end_signed_by(state, account, signer)
    session.live = True
    state.emit(SessionChanged(account=account, session=signer, live=True))


def _takes_away(state: State, account: str, before: Session, after: Session) -> bool:
    """Whether the new terms could refuse what the session signed under the old ones."""
    return (
        not after.permissions & MAY_SIGN
        or after.expires_at < before.expires_at
        or after.terms != before.terms
        or left_of(state, account, after) < 0
    )


def _end_beyond_caps(state: State, account: str) -> None:
    """A cap was lowered, or used up by another way: what may be refused now ends."""
    for signer, session in list(state.account(account).sessions.items()):
        if session.live and not is_within_caps(state, account, session):
            _end_signed_by(state, account, signer)


def _revoke_session(state: State, account: str, signer: str) -> None:
    """At once: what the key signed ends, its leases serve no more calls, its receipt is void."""
    session = state.account(account).sessions.get(signer)
    if session is None or not session.live:
        return
    session.live = False
    _end_signed_by(state, account, signer)
    void_receipt(state, account, signer)
    state.emit(SessionChanged(account=account, session=signer, live=False))


def _end_signed_by(state: State, account: str, signer: str) -> None:
    """What a key signed ends, mandates with what is under them; its leases serve no more."""
    _end_documents(state, account, lambda record: record.signer == signer)
    for intent in _standing_intents(state, account):
        if signer in (intent.signer, _mandate_signer(state, intent)):
            _end_leases(state, intent)


def _standing_intents(state: State, account: str) -> list[IntentState]:
    """Those that are not over: open, or with leases that are not settled yet."""
    return [one for one in state.account(account).standing if isinstance(one, IntentState)]


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


def _end_document(state: State, record: DocumentState) -> None:
    """What is over already stays as it is."""
    match record:
        case IntentState():
            end_intent(state, record, IntentStatus.CANCELLED)
        case OfferState():
            end_offer(state, record, "cancelled on chain")
        case MandateState():
            end_mandate(state, record, "cancelled on chain")
