"""Intents and offers: admitted, bound to their account, submitted, read, withdrawn."""

from collections.abc import Container, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from intents.admission import Unverified, Verified
from intents.document import Intent, Mandate, Offer
from intents.reject import Reject, RejectCode, reject
from solver.core.auction import sealed_offers
from solver.core.command import Authority, CancelDocument, SubmitOffer
from solver.core.state import (
    MAY_CANCEL,
    Account,
    IntentState,
    MandateState,
    OfferState,
    State,
)
from solver.gateway.auth import Caller
from solver.gateway.contract import ask_contract
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.single import signed_intent
from solver.gateway.view import intent_told, offer_told
from solver.gateway.wire import (
    DocumentsQuery,
    IntentsTold,
    IntentTold,
    Nothing,
    OffersTold,
    ResultTold,
)

D = TypeVar("D", Intent, Offer, Mandate)
S = TypeVar("S", IntentState, OfferState)
LOOKED_AT_MAX: Final = 10_000
"""Documents of an account that one page is sought among: two milliseconds."""
_MANDATE: Final = Authority.MANDATE


async def submit_intent(inbound: Inbound[Unverified[Intent], Nothing]) -> Answer:
    """Admit and submit a signed intent."""
    return await take_intent(inbound.gateway, inbound.raw, inbound.sender)


async def take_intent(gateway: Gateway, raw: bytes, sender: str) -> IntentTold | Reject:
    """Admit and submit the intent of a body."""
    cursor = gateway.feed.seq
    taken = await gateway.singles.take(raw)
    if isinstance(taken, Verified):
        taken = await _take_unexplained(gateway, taken, sender)
    if isinstance(taken, Reject):
        return taken
    return intent_told(gateway.state, gateway.state.intents[taken], cursor)


async def _take_unexplained(
    gateway: Gateway, verified: Verified[Intent], sender: str
) -> str | Reject:
    """Submit an intent that only its account's contract can explain."""
    bound = await bind(gateway, verified, sender)
    if isinstance(bound, Reject):
        return bound
    result = await gateway.sequencer.submit(signed_intent(verified, *bound))
    return result if isinstance(result, Reject) else verified.digest


async def submit_offer(inbound: Inbound[Unverified[Offer], Nothing]) -> Answer:
    """Admit and submit a signed offer."""
    gateway = inbound.gateway
    cursor = gateway.feed.seq
    verified = await gateway.verifiers.offer(inbound.raw, gateway.now_ms() // 1_000)
    if isinstance(verified, Reject):
        return verified
    bound = await bind(gateway, verified, inbound.sender)
    if isinstance(bound, Reject):
        return bound
    signer, authority = bound
    result = await gateway.sequencer.submit(
        SubmitOffer(
            offer=verified.document,
            digest=verified.digest,
            signer=signer,
            authority=authority,
            signature=verified.signature,
        )
    )
    if isinstance(result, Reject):
        return result
    return offer_told(gateway.state.offers[verified.digest], cursor)


async def bind(
    gateway: Gateway, verified: Verified[D], sender: str
) -> tuple[str, Authority] | Reject:
    """Who signed and how that binds the account.

    The account's key and its session keys are known here; only what neither explains
    costs a question to the chain. Rejects: rate_limited, busy, not_authorized.
    """
    account, signer = verified.document.account, verified.signer
    sessions = gateway.state.accounts.get(account, _UNSEEN).sessions
    if signer is not None and (signer == account or signer in sessions):
        refused = limited(gateway.rates.accounts, account, gateway.now_ms())
        authority = Authority.KEY if signer == account else Authority.SESSION
        return refused or (signer, authority)
    valid = await ask_contract(gateway, account, verified.digest, verified.signature, sender)
    if isinstance(valid, Reject):
        return valid
    if not valid:
        return reject(
            RejectCode.NOT_AUTHORIZED, f"{signer or 'this signature'} does not speak for {account}"
        )
    return account, Authority.CONTRACT


async def read_intent(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """One intent."""
    digest = inbound.path("digest")
    intent = inbound.gateway.state.intents.get(digest)
    if intent is None:
        return _unknown(digest)
    return intent_told(inbound.gateway.state, intent, inbound.gateway.feed.seq)


async def read_offer(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """One offer."""
    digest = inbound.path("digest")
    offer = inbound.gateway.state.offers.get(digest)
    if offer is None or digest in sealed_offers(inbound.gateway.state.auctions.values()):
        return _unknown(digest)
    return offer_told(offer, inbound.gateway.feed.seq)


async def list_intents(inbound: Inbound[Nothing, DocumentsQuery]) -> Answer:
    """A page of an account's intents."""
    state, cursor = inbound.gateway.state, inbound.gateway.feed.seq
    page = _page(inbound, state.intents)
    if isinstance(page, Reject):
        return page
    return IntentsTold(
        intents=tuple(intent_told(state, one, cursor) for one in page.documents), next=page.next
    )


async def list_offers(inbound: Inbound[Nothing, DocumentsQuery]) -> Answer:
    """A page of an account's offers, without those that are sealed."""
    state, cursor = inbound.gateway.state, inbound.gateway.feed.seq
    page = _page(inbound, state.offers, sealed_offers(state.auctions.values()))
    if isinstance(page, Reject):
        return page
    return OffersTold(
        offers=tuple(offer_told(one, cursor) for one in page.documents), next=page.next
    )


async def cancel_intent(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Withdraw what is not filled of an intent."""
    digest = inbound.path("digest")
    return await _cancel(inbound, digest, inbound.gateway.state.intents.get(digest))


async def cancel_offer(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Withdraw what is not sold of an offer."""
    digest = inbound.path("digest")
    return await _cancel(inbound, digest, inbound.gateway.state.offers.get(digest))


async def _cancel(
    inbound: Inbound[Nothing, Nothing], digest: str, document: IntentState | OfferState | None
) -> Answer:
    caller = inbound.caller
    if document is None:
        return _unknown(digest)
    if not may_withdraw(caller, signed_for(inbound.gateway.state, document)):
        return reject(RejectCode.NOT_AUTHORIZED, "it is not yours to withdraw")
    result = await inbound.gateway.sequencer.submit(
        CancelDocument(account=caller.account, digest=digest)
    )
    return result if isinstance(result, Reject) else ResultTold()


def signed_for(
    state: State, document: IntentState | OfferState
) -> IntentState | OfferState | MandateState:
    """What was signed for it: itself, or the mandate that it is under."""
    return state.mandates[document.signer] if document.authority is _MANDATE else document


def may_withdraw(caller: Caller, document: IntentState | OfferState | MandateState) -> bool:
    """Whether the caller may withdraw it: it may act on it, or cancel anything of the account."""
    if caller.may_touch(document):
        return True
    may = caller.permissions is not None and bool(caller.permissions & MAY_CANCEL)
    return may and document.document.account == caller.account


class _Page(NamedTuple, Generic[S]):
    documents: list[S]
    next: str | None


def _page(
    inbound: Inbound[Nothing, DocumentsQuery],
    table: Mapping[str, S],
    hidden: Container[str] = (),
) -> _Page[S] | Reject:
    """The account's documents that a table has, from where the query goes on.

    One that is hidden is passed over, and as unknown as any other to go on after. Among many of
    other kinds a page may be short, or empty, and go on.
    """
    state, query = inbound.gateway.state, inbound.query
    after = None
    if query.after is not None:
        after = state.document(query.after)
        if after is None or query.after in hidden or after.account != query.account:
            return _unknown(query.after)
    page: list[S] = []
    cursor = None
    account = state.accounts.get(query.account, _UNSEEN)
    for looked_at, record in enumerate(account.before(after)):
        if looked_at == LOOKED_AT_MAX:
            return _Page(page, cursor)
        if record.digest in hidden:
            continue
        found = table.get(record.digest)
        if found is not None:
            if len(page) == query.limit:
                return _Page(page, page[-1].digest)
            page.append(found)
        cursor = record.digest
    return _Page(page, None)


def _unknown(digest: str) -> Reject:
    return reject(RejectCode.NOT_FOUND, f"nothing here has the digest {digest[:66]}")


_UNSEEN = Account()
