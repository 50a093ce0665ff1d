"""Documents and keys entering and leaving the market. Rejects change nothing."""

from typing import Final

from intents.bound import AMOUNT_MAX
from intents.document import Intent, Mandate, Offer
from intents.reject import Reject, RejectCode, reject
from intents.rounding import bid_tick
from solver.core.book import ask_order, bid_order
from solver.core.command import (
    Authority,
    CancelDocument,
    IssueCredits,
    Limit,
    OpenResource,
    PoolKey,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
)
from solver.core.event import (
    BalanceChanged,
    IntentAccepted,
    IntentStatus,
    KeyPooled,
    MandateAccepted,
    OfferAccepted,
    ResourceOpened,
)
from solver.core.ledger import ISSUANCE, SUPPLY, transfer
from solver.core.state import (
    CREDIT,
    MAY_SIGN,
    Account,
    Due,
    IntentState,
    KeyState,
    MandateState,
    OfferState,
    Session,
    State,
)
from solver.core.trade import (
    carry_out,
    commit,
    end_intent,
    end_mandate,
    end_offer,
    intent_entered,
    signed_until_ms,
)

# Bound once: looking an enumeration's member up costs as much as a check.
_KEY: Final = Authority.KEY
_SESSION: Final = Authority.SESSION
_MANDATE: Final = Authority.MANDATE


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

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    epoch_ended, nonce_used, mandate_terms, insufficient_funds, session_cap_exceeded,
    mandate_exceeded.
    """
    document, digest = command.intent, command.digest
    authority, signer, limit = command.authority, command.signer, document.limit
    fault = _fault_in_document(state, command, document, known=digest in state.intents)
    if fault is None and authority is _MANDATE:
        fault = _fault_in_terms(state, command)
    fault = fault or _fault_in_funds(state, document, authority, signer)
    if fault is not None:
        return fault
    address, resource, units = document.account, document.resource, document.units
    book, money = (
        state.book(resource, document.asset),
        state.ledger.account(address, document.asset),
    )
    until_ms = signed_until_ms(state, address, document.valid_until, authority, signer)
    minimum, starts_ms = document.units_min, document.valid_from * 1_000
    if starts_ms > state.now_ms:
        order = bid_order(digest, book, money, units, limit, minimum, until_ms)
        state.exchange.postpone(order)
    else:
        order = state.exchange.buy(digest, book, money, units, limit, minimum, until_ms)
    intent = IntentState(
        document=document,
        digest=digest,
        signer=signer,
        authority=authority,
        signature=command.signature,
        proof=command.proof,
        order=order,
    )
    _remember(state, address, document.nonce, digest)
    state.intents[digest] = intent
    if authority is not _KEY:
        commit(state, intent, limit)
        if authority is _MANDATE:
            state.mandates[signer].intents[digest] = None
    state.emit(
        IntentAccepted(intent=digest, account=address, resource=resource, units=units, limit=limit)
    )
    if starts_ms <= state.now_ms:
        intent_entered(state, intent)
    else:
        state.schedule(starts_ms, Due.ACTIVATE_INTENT, digest)
    return None


def submit_offer(state: State, command: SubmitOffer) -> Reject | None:
    """Admit an offer, put its units on the capacity ledger, match it.

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    epoch_ended, nonce_used, key_unknown, key_not_live, not_authorized, resource_unknown (not
    a resource of the key).
    """
    document = command.offer
    known = command.digest in state.offers
    fault = _fault_in_document(state, command, document, known=known)
    fault = fault or _fault_in_key(state, document)
    if fault is not None:
        return fault
    digest, resource, address = command.digest, document.resource, document.account
    units, limit, starts_ms = document.units, document.limit, document.valid_from * 1_000
    book, money = (
        state.book(resource, document.asset),
        state.ledger.account(address, document.asset),
    )
    until_ms = signed_until_ms(
        state, address, document.valid_until, command.authority, command.signer
    )
    if starts_ms > state.now_ms:
        order = ask_order(digest, book, money, units, limit, until_ms)
        state.exchange.postpone(order)
    else:
        order = state.exchange.sell(digest, book, money, units, limit, until_ms)
    offer = OfferState(
        document=document,
        digest=command.digest,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
        order=order,
    )
    transfer(state.units(SUPPLY, document.resource), offer.capacity, document.units)
    _remember(state, document.account, document.nonce, command.digest)
    state.offers[command.digest] = offer
    state.keys[document.key].offers[command.digest] = None
    if document.window_seconds:
        window = Limit(units=document.window_units, seconds=document.window_seconds)
        state.set_limits(command.digest, (document.resource,), (window,))
    state.emit(
        OfferAccepted(
            offer=command.digest,
            account=document.account,
            resource=document.resource,
            units=document.units,
            limit=document.limit,
        )
    )
    if starts_ms <= state.now_ms:
        carry_out(state)
    else:
        state.schedule(starts_ms, Due.ACTIVATE_OFFER, digest)
    return None


def submit_mandate(state: State, command: SubmitMandate) -> Reject | None:
    """Admit a mandate: intents may be submitted under it from now on.

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    epoch_ended, nonce_used.
    """
    document = command.mandate
    known = command.digest in state.mandates
    fault = _fault_in_document(state, command, document, known=known)
    if fault is not None:
        return fault
    mandate = MandateState(
        document=document,
        digest=command.digest,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
    )
    _remember(state, document.account, document.nonce, command.digest)
    state.mandates[command.digest] = mandate
    state.emit(
        MandateAccepted(mandate=command.digest, account=document.account, limit=document.limit)
    )
    until_ms = signed_until_ms(
        state, document.account, document.valid_until, command.authority, command.signer
    )
    state.schedule(until_ms, Due.END_MANDATE, command.digest)
    return None


def cancel_document(state: State, command: CancelDocument) -> Reject | None:
    """Withdraw what is not filled, or a mandate with all that is open under it.

    Rejects: not_found, not_authorized, too_late, not_open.
    """
    intent = state.intents.get(command.digest)
    if intent is not None:
        return _fault_in_owner(intent, command) or _cancel_intent(state, intent)
    offer = state.offers.get(command.digest)
    if offer is not None:
        return _fault_in_owner(offer, command) or _cancel_offer(state, offer)
    mandate = state.mandates.get(command.digest)
    if mandate is not None:
        return _fault_in_owner(mandate, command) or _cancel_mandate(state, mandate)
    return reject(RejectCode.NOT_FOUND, f"no document {command.digest}")


def issue_credits(state: State, command: IssueCredits) -> Reject | None:
    """Mint credits, the one place that does. Rejects: limit_out_of_range."""
    if not 1 <= command.amount <= AMOUNT_MAX:
        return reject(RejectCode.LIMIT_OUT_OF_RANGE, f"issue 1 to {AMOUNT_MAX} credit atoms")
    owner = state.ledger.account(command.account, CREDIT)
    transfer(state.ledger.account(ISSUANCE, CREDIT), owner, command.amount)
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


def _remember(state: State, address: str, nonce: int, digest: str) -> None:
    account = state.account(address)
    account.nonces[nonce] = digest
    account.standing[digest] = None


def _fault_in_owner(
    record: IntentState | OfferState | MandateState, command: CancelDocument
) -> Reject | None:
    if record.document.account != command.account:
        return reject(RejectCode.NOT_AUTHORIZED, "it belongs to another account")
    return None


def _cancel_intent(state: State, intent: IntentState) -> Reject | None:
    if intent.ended is not None:
        return reject(RejectCode.NOT_OPEN, f"it has ended: {intent.status}")
    if not intent.open_units:
        return reject(RejectCode.TOO_LATE, "all its units were filled")
    end_intent(state, intent, IntentStatus.CANCELLED)
    return None


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


def _fault_in_document(
    state: State,
    command: SubmitIntent | SubmitOffer | SubmitMandate,
    document: Intent | Offer | Mandate,
    *,
    known: bool,
) -> Reject | None:
    """What intents, offers and mandates can all be refused for; a mandate may name no resource.

    `known` is whether there is a document of its kind with its digest: those of other kinds
    have other digests, as the kind is part of what is hashed.
    """
    resource = document.resource
    if known:
        return reject(RejectCode.ALREADY_KNOWN, f"{command.digest} was accepted before")
    if resource and resource not in state.resources:
        return reject(RejectCode.RESOURCE_UNKNOWN, resource)
    if document.valid_until * 1_000 <= state.now_ms:
        return reject(RejectCode.EXPIRED)
    address = document.account
    account = state.accounts.get(address)
    fault = _fault_in_authority(state, command, account, address)
    return fault or _fault_in_nonce(document, account)


def _fault_in_nonce(document: Intent | Offer | Mandate, account: Account | None) -> Reject | None:
    epoch, nonce = document.epoch, document.nonce
    current = 0 if account is None else account.epoch
    if epoch != current:
        return reject(RejectCode.EPOCH_ENDED, f"epoch {epoch}; the account is in {current}")
    if account is not None and account.has_used(nonce):
        return reject(RejectCode.NONCE_USED, f"nonce {nonce}")
    return None


def _fault_in_authority(
    state: State,
    command: SubmitIntent | SubmitOffer | SubmitMandate,
    account: Account | None,
    address: str,
) -> Reject | None:
    """Rejects by authority: not_authorized, session_expired, mandate_unknown, mandate_ended."""
    authority, signer = command.authority, command.signer
    if authority is _KEY and signer != address:
        return reject(RejectCode.NOT_AUTHORIZED, f"signed by {signer}")
    if authority is _SESSION:
        return _fault_in_session(state, account, signer, address)
    if authority is _MANDATE:
        if not isinstance(command, SubmitIntent):
            return reject(RejectCode.NOT_AUTHORIZED, "a mandate is for intents alone")
        return _fault_in_mandate(state, signer, address)
    return None


def _fault_in_session(
    state: State, account: Account | None, signer: str, address: str
) -> Reject | None:
    session = None if account is None else account.sessions.get(signer)
    if session is None or not session.live or not session.permissions & MAY_SIGN:
        return reject(
            RejectCode.NOT_AUTHORIZED,
            f"{signer} is no live session key of {address} that may sign",
        )
    if session.expires_at * 1_000 <= state.now_ms:
        return reject(RejectCode.SESSION_EXPIRED)
    return None


def _fault_in_mandate(state: State, digest: str, address: str) -> Reject | None:
    mandate = state.mandates.get(digest)
    if mandate is None:
        return reject(RejectCode.MANDATE_UNKNOWN, digest)
    if mandate.document.account != address:
        return reject(RejectCode.NOT_AUTHORIZED, "the mandate is another account's")
    if not mandate.live:
        return reject(RejectCode.MANDATE_ENDED, digest)
    return None


def _fault_in_terms(state: State, command: SubmitIntent) -> Reject | None:
    """Whether the mandate allows this intent at all."""
    document, terms = command.intent, state.mandates[command.signer].document
    tick = bid_tick(document.limit, document.units)
    if terms.resource and document.resource != terms.resource:
        return reject(RejectCode.MANDATE_TERMS, f"it is for {terms.resource}")
    if document.asset != terms.asset:
        return reject(RejectCode.MANDATE_TERMS, f"it pays in {terms.asset}")
    if tick > terms.tick_max:
        return reject(RejectCode.MANDATE_TERMS, f"it pays {terms.tick_max} at most, not {tick}")
    if terms.valid_from * 1_000 > state.now_ms:
        return reject(RejectCode.MANDATE_TERMS, f"it begins at {terms.valid_from}")
    return None


def _fault_in_funds(
    state: State, document: Intent, authority: Authority, signer: str
) -> Reject | None:
    """Precedence: insufficient_funds, session_cap_exceeded, mandate_exceeded."""
    limit = document.limit
    available = _spendable(state, document.account, document.asset)
    if available < limit:
        return reject(RejectCode.INSUFFICIENT_FUNDS, f"{available} atoms available, limit {limit}")
    if authority is _KEY:
        return None
    mandate: MandateState | None = None
    if authority is _MANDATE:
        mandate = state.mandates[signer]
        authority, signer = mandate.authority, mandate.signer
    if authority is _SESSION:
        session = state.accounts[document.account].sessions[signer]
        left = session.cap - session.spent - session.committed
        if left < limit:
            return reject(
                RejectCode.SESSION_CAP_EXCEEDED,
                f"{left} atoms left under the session's cap, limit {limit}",
            )
    if mandate is not None:
        left = mandate.document.limit - mandate.spent - mandate.committed
        if left < limit:
            return reject(
                RejectCode.MANDATE_EXCEEDED,
                f"{left} atoms left under the mandate, limit {limit}",
            )
    return None


def _spendable(state: State, address: str, asset: str) -> int:
    """What is available, less what a withdrawal asks for beyond what it could hold so far."""
    available = state.ledger.available(address, asset)
    if asset != state.usdc:
        return available
    account = state.accounts.get(address)
    if account is None:
        return available
    return available - (account.withdrawing - account.withdrawal_held)


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
