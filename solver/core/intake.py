"""Documents and keys entering and leaving the market. Rejects change nothing."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from intents.bound import AMOUNT_MAX
from intents.reject import Reject, RejectCode, reject
from intents.rounding import bid_tick
from solver.core.book import ask_order, bid_order
from solver.core.command import (
    Authority,
    IssueCredits,
    Limit,
    OpenResource,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
)
from solver.core.document import intent_record, offer_record
from solver.core.event import (
    BalanceChanged,
    IntentAccepted,
    MandateAccepted,
    OfferAccepted,
    ResourceOpened,
)
from solver.core.ledger import ISSUANCE, SUPPLY, Balance, hold, transfer
from solver.core.session import fault_in_caps, fault_in_session
from solver.core.state import (
    CREDIT,
    DOCUMENTS_MAX,
    MAY_SIGN,
    STANDING_MAX,
    Account,
    DocumentState,
    Due,
    IntentState,
    MandateState,
    OfferState,
    Session,
    State,
)
from solver.core.trade import (
    carry_out,
    commit,
    intent_entered,
    signed_until_ms,
)
from solver.core.trust import fault_in_bar

# Bound once: compiled code looks a class of another module up each time.
_accepted: Final = IntentAccepted
_astuple: Final = astuple
# Bound once: looking an enumeration's member up costs as much as a check.
_KEY: Final = Authority.KEY
_SESSION: Final = Authority.SESSION
_MANDATE: Final = Authority.MANDATE
FULL_RETRY_MS: Final = 30_000
_NONCE_HINT: Final = "Count up from the highest that you used, or take the time in microseconds."


def open_resource(state: State, command: OpenResource) -> Reject | None:
    """List a resource. Rejects: already_known (same terms or other ones)."""
    if command.resource in state.resources:
        return reject(RejectCode.ALREADY_KNOWN, f"{command.resource} is listed")
    state.resources[command.resource] = command.mode
    state.emit(ResourceOpened(resource=command.resource, mode=command.mode))
    return None


def submit_intent(state: State, command: SubmitIntent) -> Reject | None:
    """Admit an intent: see `admit_intent`."""
    _, document, digest, signer, authority, signature, proof = _astuple(command)
    intent = intent_record(
        document,
        digest=digest,
        signer=signer,
        authority=authority,
        signature=signature,
        proof=proof,
    )
    return admit_intent(state, intent)


def admit_intent(state: State, intent: IntentState) -> Reject | None:
    """Admit an intent that is new here, hold its limit, match it.

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    epoch_ended, nonce_used, account_full, busy, mandate_terms, insufficient_funds,
    account_barred, session_terms, session_cap_exceeded, mandate_exceeded.
    """
    account = state.accounts.get(intent.account)
    mandate: MandateState | None = None
    fault = _fault_in_document(state, intent, account)
    if fault is None and intent.authority is _MANDATE:
        mandate = state.mandates[intent.signer]
        fault = _fault_in_terms(state, intent, mandate)
    fault = fault or _fault_in_funds(state, intent, account, mandate)
    if fault is not None:
        return fault
    _accept(state, intent, account, mandate, intent.limit)
    return None


def fault_in_leg(state: State, leg: IntentState, count: int) -> Reject | None:
    """The same of one of `count` legs that a bundle enters with, each looked at by itself."""
    account = state.accounts.get(leg.account)
    fault = _fault_in_document(state, leg, account, count)
    return fault or _fault_in_funds(state, leg, account, None)


def fault_in_sum(state: State, legs: Sequence[IntentState], total: int) -> Reject | None:
    """Whether their one signer can pay `total`. Rejects: the last of those of `admit_intent`."""
    leg = legs[0]
    available = _spendable(state, leg, state.accounts.get(leg.account))
    if available < total:
        return reject(RejectCode.INSUFFICIENT_FUNDS, f"{available} atoms available, limits {total}")
    if leg.authority is _SESSION:
        return fault_in_caps(state, leg.account, leg.signer, total)
    return None


def accept_leg(state: State, leg: IntentState, held: int) -> None:
    """Have a leg in which there is no fault enter; it holds its limit, or nothing (0)."""
    _accept(state, leg, state.accounts.get(leg.account), None, held)


def _accept(
    state: State,
    intent: IntentState,
    account: Account | None,
    mandate: MandateState | None,
    held: int,
) -> None:
    _enter_intent(state, intent, account, mandate, held)
    state.emit(
        _accepted(
            intent=intent.digest,
            account=intent.account,
            resource=intent.resource,
            units=intent.units,
            limit=intent.limit,
        )
    )
    if intent.starts_ms <= state.now_ms:
        intent_entered(state, intent)
    else:
        state.schedule(intent.starts_ms, Due.ACTIVATE_INTENT, intent.digest)


def submit_offer(state: State, command: SubmitOffer) -> Reject | None:
    """Admit an offer: see `admit_offer`."""
    _, document, digest, signer, authority, signature = astuple(command)
    offer = offer_record(
        document, digest=digest, signer=signer, authority=authority, signature=signature
    )
    return admit_offer(state, offer)


def admit_offer(state: State, offer: OfferState) -> Reject | None:
    """Admit an offer that is new here, put its units on the capacity ledger, match it.

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    epoch_ended, nonce_used, account_full, busy, key_unknown, key_not_live, not_authorized,
    resource_unknown (not a resource of the key).
    """
    fault = fault_in_offer(state, offer)
    if fault is not None:
        return fault
    _enter_offer(state, offer, apart=False)
    emit_offer(state, offer)
    if offer.starts_ms <= state.now_ms:
        carry_out(state)
    else:
        state.schedule(offer.starts_ms, Due.ACTIVATE_OFFER, offer.digest)
    return None


def fault_in_offer(state: State, offer: OfferState, count: int = 1) -> Reject | None:
    """The rejects of `admit_offer`, for one of `count` offers that enter together."""
    fault = _fault_in_document(state, offer, state.accounts.get(offer.account), count)
    return fault or _fault_in_key(state, offer)


def enter_offer_apart(state: State, offer: OfferState) -> None:
    """Have an offer in which there is no fault stand in no book, until it ends."""
    _enter_offer(state, offer, apart=True)


def emit_offer(state: State, offer: OfferState) -> None:
    """Tell the feed that an offer was admitted."""
    state.emit(
        OfferAccepted(
            offer=offer.digest,
            account=offer.account,
            resource=offer.resource,
            units=offer.units,
            limit=offer.limit,
        )
    )


def submit_mandate(state: State, command: SubmitMandate) -> Reject | None:
    """Admit a mandate: intents may be submitted under it from now on.

    Rejects, in order: already_known, resource_unknown, expired, `_fault_in_authority`,
    epoch_ended, nonce_used, account_full, busy.
    """
    _, document, digest, signer, authority, signature = astuple(command)
    mandate = MandateState(
        document=document, digest=digest, signer=signer, authority=authority, signature=signature
    )
    fault = _fault_in_document(state, mandate, state.accounts.get(mandate.account))
    if fault is not None:
        return fault
    state.account(mandate.account).remember(mandate)
    state.mandates[digest] = mandate
    state.emit(MandateAccepted(mandate=digest, account=mandate.account, limit=mandate.limit))
    state.schedule(signed_until_ms(state, mandate), Due.END_MANDATE, digest)
    return None


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


def _enter_intent(
    state: State,
    intent: IntentState,
    account: Account | None,
    mandate: MandateState | None,
    held: int,
) -> None:
    """Remember an intent, count it against its signer, and have its order matched."""
    if account is None:
        account = state.account(intent.account)
    account.remember(intent)
    book = state.book(intent.resource, intent.asset)
    money = state.money_of(account, intent.account, intent.asset)
    until_ms = signed_until_ms(state, intent)
    digest, units, limit, minimum = intent.digest, intent.units, intent.limit, intent.units_min
    hold(money, held)
    intent.order = bid_order(digest, book, money, units, limit, minimum, until_ms)
    intent.order.held = held
    if intent.starts_ms > state.now_ms:
        state.exchange.postpone(intent.order)
    else:
        state.exchange.buy(intent.order)
    state.intents[digest] = intent
    if intent.authority is not _KEY:
        commit(state, intent, held)
    if mandate is not None:
        mandate.intents_kept += 1


def _enter_offer(state: State, offer: OfferState, *, apart: bool) -> None:
    """Remember an offer, open the account of its units, and have its order matched, or not."""
    state.account(offer.account).remember(offer)
    book = state.book(offer.resource, offer.asset)
    money = state.money(offer.account, offer.asset)
    until_ms = signed_until_ms(state, offer)
    digest, units, limit = offer.digest, offer.units, offer.limit
    offer.order = ask_order(digest, book, money, units, limit, until_ms)
    if apart or offer.starts_ms > state.now_ms:
        state.exchange.postpone(offer.order)
    else:
        state.exchange.sell(offer.order)
    offer.capacity = Balance(digest, state.listing(offer.resource).units_asset)
    transfer(state.units(SUPPLY, offer.resource), offer.capacity, units)
    state.offers[digest] = offer
    if offer.window_seconds:
        window = Limit(units=offer.window_units, seconds=offer.window_seconds)
        state.set_limits(digest, (offer.resource,), (window,))


def _fault_in_document(
    state: State, record: DocumentState, account: Account | None, count: int = 1
) -> Reject | None:
    """What intents, offers and mandates can all be refused for; a mandate may name no resource.

    `account` is that of the record, if it has one; `count` documents enter together.
    """
    resource, digest = record.resource, record.digest
    is_used = account is not None and account.has_used(record.nonce)
    if is_used and state.document(digest) is not None:
        return reject(RejectCode.ALREADY_KNOWN, f"{digest} was accepted before")
    if resource and resource not in state.resources:
        return reject(RejectCode.RESOURCE_UNKNOWN, resource)
    if record.until_ms <= state.now_ms:
        return reject(RejectCode.EXPIRED)
    fault = _fault_in_authority(state, record, account)
    fault = fault or _fault_in_nonce(record, account, is_used=is_used)
    return fault or _fault_in_room(state, account, count)


def _fault_in_nonce(
    record: DocumentState, account: Account | None, *, is_used: bool
) -> Reject | None:
    epoch = 0 if account is None else account.epoch
    if record.epoch != epoch:
        return reject(RejectCode.EPOCH_ENDED, f"epoch {record.epoch}; the account is in {epoch}")
    if is_used:
        assert account is not None
        if record.nonce < account.nonce_min:
            lowest = account.nonce_min
            return reject(RejectCode.NONCE_USED, f"all below {lowest}", hint=_NONCE_HINT)
        return reject(RejectCode.NONCE_USED, f"nonce {record.nonce}")
    return None


def _fault_in_room(state: State, account: Account | None, count: int) -> Reject | None:
    if account is not None and account.standing_count + count > STANDING_MAX:
        standing = account.standing_count
        return reject(RejectCode.ACCOUNT_FULL, f"{standing} documents of the account stand")
    if state.documents_kept + count > DOCUMENTS_MAX:
        return reject(
            RejectCode.BUSY,
            f"the market holds {DOCUMENTS_MAX} documents, as many as it may",
            hint="What is open goes on and can be finished. Retry new work later.",
            retry_after_ms=FULL_RETRY_MS,
        )
    return None


def _fault_in_authority(
    state: State, record: DocumentState, account: Account | None
) -> Reject | None:
    """Rejects by authority: not_authorized, session_expired, mandate_unknown, mandate_ended."""
    authority = record.authority
    if authority is _KEY and record.signer != record.account:
        return reject(RejectCode.NOT_AUTHORIZED, f"signed by {record.signer}")
    if authority is _SESSION:
        return _fault_in_session(state, account, record.signer, record.account)
    if authority is _MANDATE:
        if not isinstance(record, IntentState):
            return reject(RejectCode.NOT_AUTHORIZED, "a mandate is for intents alone")
        return _fault_in_mandate(state, record.signer, record.account)
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
    if mandate.account != address:
        return reject(RejectCode.NOT_AUTHORIZED, "the mandate is another account's")
    if not mandate.live:
        return reject(RejectCode.MANDATE_ENDED, digest)
    return None


def _fault_in_terms(state: State, intent: IntentState, mandate: MandateState) -> Reject | None:
    """Whether the mandate allows this intent at all."""
    tick = bid_tick(intent.limit, intent.units)
    if mandate.resource and intent.resource != mandate.resource:
        return reject(RejectCode.MANDATE_TERMS, f"it is for {mandate.resource}")
    if intent.asset != mandate.asset:
        return reject(RejectCode.MANDATE_TERMS, f"it pays in {mandate.asset}")
    if tick > mandate.tick_max:
        return reject(RejectCode.MANDATE_TERMS, f"it pays {mandate.tick_max} at most, not {tick}")
    if mandate.starts_ms > state.now_ms:
        begins = mandate.document.valid_from
        return reject(RejectCode.MANDATE_TERMS, f"it begins at {begins}")
    return None


def _fault_in_funds(
    state: State, intent: IntentState, account: Account | None, mandate: MandateState | None
) -> Reject | None:
    """Rejects by what it may cost: the last of those of `admit_intent`."""
    limit, signer, authority = intent.limit, intent.signer, intent.authority
    available = _spendable(state, intent, account)
    if available < limit:
        return reject(RejectCode.INSUFFICIENT_FUNDS, f"{available} atoms available, limit {limit}")
    if authority is _KEY:
        return None
    if mandate is not None:
        authority, signer = mandate.authority, mandate.signer
    if authority is not _KEY and (fault := fault_in_bar(state, intent.account)):
        return fault
    if authority is _SESSION and (fault := fault_in_session(state, intent, signer)):
        return fault
    if mandate is not None:
        left = mandate.limit - mandate.spent - mandate.committed
        if left < limit:
            return reject(
                RejectCode.MANDATE_EXCEEDED,
                f"{left} atoms left under the mandate, limit {limit}",
            )
    return None


def _spendable(state: State, intent: IntentState, account: Account | None) -> int:
    """What is available, less what a withdrawal asks for beyond what it could hold so far.

    Nothing while a receipt of the account waits on chain: whatever it has may leave by that.
    """
    if account is None:
        return state.ledger.available(intent.account, intent.asset)
    money = account.money.get(intent.asset)
    if money is None:
        money = state.ledger.balance(intent.account, intent.asset)
    if intent.asset != state.usdc:
        return money.available
    if intent.account in state.metering.claimed:
        return 0
    return money.available - (account.withdrawing - account.withdrawal_held)


def _fault_in_key(state: State, offer: OfferState) -> Reject | None:
    key = state.keys.get(offer.key)
    if key is None:
        return reject(RejectCode.KEY_UNKNOWN, f"no pooled key {offer.key}")
    if not key.live:
        return reject(RejectCode.KEY_NOT_LIVE, f"{offer.key} left the pool")
    if key.owner != offer.account:
        return reject(RejectCode.NOT_AUTHORIZED, "the key belongs to another account")
    if offer.resource not in key.resources:
        return reject(RejectCode.RESOURCE_UNKNOWN, f"the key serves {', '.join(key.resources)}")
    return None
