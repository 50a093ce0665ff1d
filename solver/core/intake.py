"""Documents and keys entering and leaving the market. Rejects change nothing."""

from intents.bound import AMOUNT_MAX
from intents.document import Intent, Offer
from intents.reject import Reject, RejectCode, reject
from intents.rounding import ask_tick, bid_tick
from solver.core.command import (
    Authority,
    CancelDocument,
    IssueCredits,
    Limit,
    OpenResource,
    PoolKey,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import (
    BalanceChanged,
    IntentAccepted,
    IntentStatus,
    KeyPooled,
    OfferAccepted,
    ResourceOpened,
)
from solver.core.ledger import CLEARING, ISSUANCE, SUPPLY
from solver.core.state import (
    CREDIT,
    MAY_SIGN,
    Account,
    Due,
    IntentState,
    KeyState,
    OfferState,
    Session,
    State,
    capacity_asset,
    withdrawal_hold,
)
from solver.core.trade import (
    commit,
    end_intent,
    end_offer,
    enter_intent,
    enter_offer,
    signed_until_ms,
)


def open_resource(state: State, command: OpenResource) -> Reject | None:
    """List a resource. Rejects: already_known (same terms or other ones)."""
    if command.resource in state.resources:
        return reject(RejectCode.ALREADY_KNOWN, f"{command.resource} is listed")
    state.resources[command.resource] = command.mode
    state.emit(ResourceOpened(resource=command.resource, mode=command.mode))
    return None


def pool_key(state: State, command: PoolKey) -> Reject | None:
    """Add a key. Rejects: key_duplicate, resource_unknown."""
    if command.key in state.keys:
        return reject(RejectCode.KEY_DUPLICATE, command.key)
    for resource in command.resources:
        if resource not in state.resources:
            return reject(RejectCode.RESOURCE_UNKNOWN, resource)
    state.keys[command.key] = KeyState(
        owner=command.owner, provider=command.provider, resources=command.resources
    )
    state.set_limits(command.key, command.resources, command.limits)
    state.emit(
        KeyPooled(
            key=command.key,
            owner=command.owner,
            provider=command.provider,
            resources=command.resources,
        )
    )
    return None


def submit_intent(state: State, command: SubmitIntent) -> Reject | None:
    """Admit an intent, hold its limit, match it.

    Rejects, in order: already_known, resource_unknown, expired, then `_fault_in_authority`,
    insufficient_funds, session_cap_exceeded.
    """
    document = command.intent
    fault = _fault_in_document(state, command, document) or _fault_in_funds(state, command)
    if fault is not None:
        return fault
    intent = IntentState(
        document=document,
        digest=command.digest,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
        tick=bid_tick(document.limit, document.units),
        open_units=document.units,
    )
    state.account(document.account).nonces[document.nonce] = command.digest
    state.intents[command.digest] = intent
    state.ledger.hold(command.digest, document.account, CLEARING, document.asset, document.limit)
    commit(state, intent, document.limit)
    state.emit(
        IntentAccepted(
            intent=command.digest,
            account=document.account,
            resource=document.resource,
            units=document.units,
            limit=document.limit,
        )
    )
    state.schedule(signed_until_ms(state, intent), Due.EXPIRE_INTENT, command.digest)
    if document.valid_from * 1_000 > state.now_ms:
        state.schedule(document.valid_from * 1_000, Due.ACTIVATE_INTENT, command.digest)
    else:
        enter_intent(state, intent)
    return None


def submit_offer(state: State, command: SubmitOffer) -> Reject | None:
    """Admit an offer, put its units on the capacity ledger, match it.

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    key_unknown, key_not_live, not_authorized, resource_unknown (not a resource of the key).
    """
    document = command.offer
    fault = _fault_in_document(state, command, document) or _fault_in_key(state, document)
    if fault is not None:
        return fault
    offer = OfferState(
        document=document,
        digest=command.digest,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
        tick=ask_tick(document.limit, document.units),
    )
    state.account(document.account).nonces[document.nonce] = command.digest
    state.offers[command.digest] = offer
    state.keys[document.key].offers.append(command.digest)
    asset = capacity_asset(document.resource)
    state.ledger.transfer(SUPPLY, command.digest, asset, document.units)
    if document.window_seconds:
        limit = Limit(units=document.window_units, seconds=document.window_seconds)
        state.set_limits(command.digest, (document.resource,), (limit,))
    state.emit(
        OfferAccepted(
            offer=command.digest,
            account=document.account,
            resource=document.resource,
            units=document.units,
            limit=document.limit,
        )
    )
    state.schedule(signed_until_ms(state, offer), Due.EXPIRE_OFFER, command.digest)
    if document.valid_from * 1_000 > state.now_ms:
        state.schedule(document.valid_from * 1_000, Due.ACTIVATE_OFFER, command.digest)
    else:
        enter_offer(state, offer)
    return None


def cancel_document(state: State, command: CancelDocument) -> Reject | None:
    """Withdraw what is not filled. Rejects: not_found, not_authorized, too_late, not_open."""
    intent = state.intents.get(command.digest)
    offer = state.offers.get(command.digest)
    owner = intent or offer
    if owner is None:
        return reject(RejectCode.NOT_FOUND, f"no intent or offer {command.digest}")
    if owner.document.account != command.account:
        return reject(RejectCode.NOT_AUTHORIZED, "it belongs to another account")
    if intent is not None:
        if intent.ended is not None:
            return reject(RejectCode.NOT_OPEN, f"it has ended: {intent.status}")
        if not intent.open_units:
            return reject(RejectCode.TOO_LATE, "all its units were filled")
        end_intent(state, intent, IntentStatus.CANCELLED)
    elif offer is not None:
        if not offer.live:
            return reject(RejectCode.NOT_OPEN, "the offer has ended")
        end_offer(state, offer, "cancelled")
    return None


def issue_credits(state: State, command: IssueCredits) -> Reject | None:
    """Mint credits, the one place that does. Rejects: limit_out_of_range."""
    if not 1 <= command.amount <= AMOUNT_MAX:
        return reject(RejectCode.LIMIT_OUT_OF_RANGE, f"issue 1 to {AMOUNT_MAX} credit atoms")
    state.ledger.transfer(ISSUANCE, command.account, CREDIT, command.amount)
    emit_balance(state, command.account, CREDIT, command.reason)
    return None


def emit_balance(state: State, account: str, asset: str, reason: str) -> None:
    """Tell the feed what an account has now."""
    balance = state.ledger.balance(account, asset)
    state.emit(
        BalanceChanged(
            account=account,
            asset=asset,
            available=balance.available,
            total=balance.total,
            reason=reason,
        )
    )


def live_session(account: Account, signer: str, now_s: int) -> Session | None:
    """The account's session for this signer, if it is live now."""
    session = account.sessions.get(signer)
    return session if session and session.live and session.expires_at > now_s else None


def _fault_in_document(
    state: State, command: SubmitIntent | SubmitOffer, document: Intent | Offer
) -> Reject | None:
    if command.digest in state.intents or command.digest in state.offers:
        return reject(RejectCode.ALREADY_KNOWN, f"{command.digest} was accepted before")
    if document.resource not in state.resources:
        return reject(RejectCode.RESOURCE_UNKNOWN, document.resource)
    if document.valid_until * 1_000 <= state.now_ms:
        return reject(RejectCode.EXPIRED)
    return _fault_in_authority(state, command, document)


def _fault_in_authority(
    state: State, command: SubmitIntent | SubmitOffer, document: Intent | Offer
) -> Reject | None:
    """Precedence: not_authorized, session_expired, epoch_ended, nonce_used."""
    account = state.accounts.get(document.account, _UNSEEN)
    match command.authority:
        case Authority.KEY if command.signer != document.account:
            return reject(RejectCode.NOT_AUTHORIZED, f"signed by {command.signer}")
        case Authority.SESSION:
            session = account.sessions.get(command.signer)
            if session is None or not session.live or not session.permissions & MAY_SIGN:
                return reject(
                    RejectCode.NOT_AUTHORIZED,
                    f"{command.signer} is no live session key of {document.account} that may sign",
                )
            if session.expires_at * 1_000 <= state.now_ms:
                return reject(RejectCode.SESSION_EXPIRED)
    if document.epoch != account.epoch:
        return reject(
            RejectCode.EPOCH_ENDED, f"epoch {document.epoch}; the account is in {account.epoch}"
        )
    if document.nonce in account.nonces:
        return reject(RejectCode.NONCE_USED, f"nonce {document.nonce}")
    return None


def _fault_in_funds(state: State, command: SubmitIntent) -> Reject | None:
    document = command.intent
    available = _spendable(state, document.account, document.asset)
    if available < document.limit:
        return reject(
            RejectCode.INSUFFICIENT_FUNDS, f"{available} atoms available, limit {document.limit}"
        )
    if command.authority is Authority.SESSION:
        session = state.accounts[document.account].sessions[command.signer]
        left = session.cap - session.spent - session.committed
        if left < document.limit:
            return reject(
                RejectCode.SESSION_CAP_EXCEEDED,
                f"{left} atoms left under the session's cap, limit {document.limit}",
            )
    return None


def _spendable(state: State, account: str, asset: str) -> int:
    """What is available, less what a withdrawal asks for beyond what it could hold so far."""
    available = state.ledger.available(account, asset)
    if asset != state.usdc:
        return available
    withdrawing = state.accounts.get(account, _UNSEEN).withdrawing
    return available - (withdrawing - state.ledger.held(withdrawal_hold(account)))


def _fault_in_key(state: State, document: Offer) -> Reject | None:
    key = state.keys.get(document.key)
    if key is None:
        return reject(RejectCode.KEY_UNKNOWN, f"no pooled key {document.key}")
    if not key.live:
        return reject(RejectCode.KEY_NOT_LIVE, f"{document.key} left the pool")
    if key.owner != document.account:
        return reject(RejectCode.NOT_AUTHORIZED, "the key belongs to another account")
    if document.resource not in key.resources:
        return reject(RejectCode.RESOURCE_UNKNOWN, f"the key serves {', '.join(key.resources)}")
    return None


_UNSEEN = Account()
