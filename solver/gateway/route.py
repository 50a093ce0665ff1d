"""The one table of routes: what is served, described and tested is this."""

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from intents.admission import Unverified
from intents.bulk import INTENTS_MAX, UnverifiedBulk
from intents.document import Intent, Mandate, Offer
from intents.reject import RejectCode as R
from solver.core.state import MAY_CANCEL, MAY_SIGN
from solver.gateway import (
    document,
    feed,
    intake,
    key,
    lease,
    mandate,
    market,
    proxy,
    solve,
    stream,
)
from solver.gateway.gateway import Handler
from solver.gateway.limit import Limits
from solver.gateway.port import KeyHealth
from solver.gateway.wire import (
    AuctionTold,
    BalanceTold,
    BatchesTold,
    BatchTold,
    BookQuery,
    BookTold,
    CallBody,
    CapacitiesTold,
    CapacityQuery,
    ContributeBody,
    ContributedTold,
    DocumentsQuery,
    FeedQuery,
    FillsQuery,
    FillsTold,
    GrantTold,
    HealthTold,
    IntentBody,
    IntentQuery,
    IntentsTold,
    IntentTold,
    KeyBody,
    KeyQuery,
    LeasesTold,
    MandateSecretTold,
    MandateTold,
    MarketTold,
    Nothing,
    OffersTold,
    OfferTold,
    OutcomesTold,
    PageQuery,
    ProvidersTold,
    ReceiptTold,
    ResultTold,
    SigningTold,
)
from solver.verifier.batch import BATCH_MAX

PROXY_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method and path. `told` None: a socket, or an upstream's own answer."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: Any = None
    """Type of the JSON body; None: there is none, or it is passed through (`raw`)."""
    query: Any = Nothing
    """Type of the query; None: it is passed through."""
    told: type[msgspec.Struct] | None = None
    status: int = 200
    permissions: int = 0
    """Signed requests only; a session key needs one of these."""
    granted: bool = False
    """Needs a grant."""
    verified: bool = False
    """Its body goes to the verifiers as it came, who decode it."""
    maced: bool = False
    """Needs a MAC under a mandate."""
    bytes_max: Callable[[Limits], int] = attrgetter("body_bytes_max")
    """How large a body may be."""
    raw: bool = False
    socket: bool = False
    rejects: Sequence[R] = ()
    """Codes of its own, beside those that any request can get."""

    @property
    def signed(self) -> bool:
        """Whether it takes signed requests only."""
        return bool(self.permissions)

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return re.findall("{([a-z]+)}", self.path)

    @property
    def pattern(self) -> str:
        """The path with what each name may stand for, as the router wants it."""
        return re.sub("{([a-z]+)}", lambda name: f"{{{name[1]}:{PATTERNS[name[1]]}}}", self.path)


PATTERNS: Final = {
    "digest": "0[xX][0-9a-fA-F]{64}",
    "number": "[0-9]{1,15}",
    "provider": "[a-z0-9-]{1,40}",
    "path": ".*",
}
"""What a name in a path stands for."""
_ADMISSION: Final = (
    R.WRONG_DOMAIN,
    R.RESOURCE_INVALID,
    R.ASSET_UNKNOWN,
    R.UNITS_OUT_OF_RANGE,
    R.LIMIT_OUT_OF_RANGE,
    R.MINIMUM_OUT_OF_RANGE,
    R.WINDOW_OUT_OF_RANGE,
    R.PRICE_OUT_OF_RANGE,
    R.VALIDITY_EMPTY,
    R.EXPIRED,
    R.VALIDITY_TOO_LONG,
    R.SIGNATURE_MALFORMED,
    R.SIGNATURE_HIGH_S,
    R.SIGNATURE_INVALID,
)
_AUTHORITY: Final = (
    R.NOT_AUTHORIZED,
    R.SESSION_EXPIRED,
    R.EPOCH_ENDED,
    R.NONCE_USED,
    R.ALREADY_KNOWN,
    R.RESOURCE_UNKNOWN,
)
_SEQUENCED: Final = (R.BUSY, R.SHUTTING_DOWN)
SIGNED: Final = (
    R.UNAUTHENTICATED,
    R.EXPIRED,
    R.VALIDITY_TOO_LONG,
    R.SIGNATURE_MALFORMED,
    R.SIGNATURE_HIGH_S,
    R.SIGNATURE_INVALID,
    R.NOT_AUTHORIZED,
    R.REPLAYED,
    R.BUSY,
)
"""What any signed request can get."""
ANY: Final = (R.MALFORMED, R.TOO_LARGE, R.UNSUPPORTED_MEDIA_TYPE, R.RATE_LIMITED)
"""What any request can get."""
_PROXY: Final = (
    R.UNAUTHENTICATED,
    R.EXPIRED,
    R.LEASE_UNKNOWN,
    R.LEASE_ENDED,
    R.LEASE_EXHAUSTED,
    R.WINDOW_EXHAUSTED,
    R.OPERATION_FORBIDDEN,
    R.SHARING_FORBIDDEN,
    R.UPSTREAM_FAILED,
    R.UPSTREAM_TIMEOUT,
    *_SEQUENCED,
)

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/healthz",
        handler=market.healthz,
        summary="Whether the server answers",
        told=HealthTold,
    ),
    Route(
        method="GET",
        path="/v1/eip712",
        handler=market.signing,
        summary="What to sign, and for which domain",
        told=SigningTold,
    ),
    Route(
        method="GET",
        path="/v1/market",
        handler=market.market,
        summary="Time, resources, chain cursor, batches",
        told=MarketTold,
    ),
    Route(
        method="GET",
        path="/v1/providers",
        handler=market.providers,
        summary="Whose keys are taken, and on which terms",
        told=ProvidersTold,
    ),
    Route(
        method="POST",
        path="/v1/intents",
        handler=document.submit_intent,
        summary="Submit a signed intent",
        body=Unverified[Intent],
        verified=True,
        told=IntentTold,
        status=201,
        rejects=(
            *_ADMISSION,
            *_AUTHORITY,
            R.INSUFFICIENT_FUNDS,
            R.SESSION_CAP_EXCEEDED,
            *_SEQUENCED,
        ),
    ),
    Route(
        method="POST",
        path="/v1/intents/batch",
        handler=intake.submit_batch,
        summary=f"Submit up to {BATCH_MAX} signed intents; an outcome for each",
        body=tuple[Unverified[Intent], ...],
        verified=True,
        bytes_max=attrgetter("batch_bytes_max"),
        told=OutcomesTold,
        rejects=_SEQUENCED,
    ),
    Route(
        method="POST",
        path="/v1/intents/bulk",
        handler=intake.submit_bulk,
        summary=f"Submit up to {INTENTS_MAX} intents over one signature; an outcome for each",
        body=UnverifiedBulk,
        verified=True,
        bytes_max=attrgetter("bulk_bytes_max"),
        told=OutcomesTold,
        rejects=(
            R.WRONG_DOMAIN,
            R.SIGNATURE_MALFORMED,
            R.SIGNATURE_HIGH_S,
            R.SIGNATURE_INVALID,
            *_SEQUENCED,
        ),
    ),
    Route(
        method="GET",
        path="/v1/intake",
        handler=stream.intake,
        summary="Submit intents over a WebSocket, answered in order",
        socket=True,
        rejects=(R.BUSY,),
    ),
    Route(
        method="POST",
        path="/v1/mandates",
        handler=mandate.submit_mandate,
        summary="Register a signed mandate; the answer has its secret",
        body=Unverified[Mandate],
        told=MandateSecretTold,
        status=201,
        permissions=MAY_SIGN,
        rejects=(*_ADMISSION, *_AUTHORITY, *_SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/mandates/{digest}",
        handler=mandate.read_mandate,
        summary="One mandate and how far it is used",
        told=MandateTold,
        rejects=(R.MANDATE_UNKNOWN,),
    ),
    Route(
        method="DELETE",
        path="/v1/mandates/{digest}",
        handler=mandate.end_mandate,
        summary="Withdraw a mandate, and what is open under it",
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.MANDATE_UNKNOWN, R.NOT_OPEN, *_SEQUENCED),
    ),
    Route(
        method="POST",
        path="/v1/mandates/{digest}/intents",
        handler=mandate.submit_mandated,
        summary=f"Submit up to {BATCH_MAX} intents under a mandate; an outcome for each",
        body=tuple[Intent, ...],
        verified=True,
        maced=True,
        bytes_max=attrgetter("batch_bytes_max"),
        told=OutcomesTold,
        rejects=(
            R.UNAUTHENTICATED,
            R.REPLAYED,
            R.MANDATE_UNKNOWN,
            R.MANDATE_ENDED,
            *_SEQUENCED,
        ),
    ),
    Route(
        method="GET",
        path="/v1/intents",
        handler=document.list_intents,
        summary="An account's intents, page by page",
        query=DocumentsQuery,
        told=IntentsTold,
    ),
    Route(
        method="GET",
        path="/v1/intents/{digest}",
        handler=document.read_intent,
        summary="One intent: status, units, leases, paid so far",
        told=IntentTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/intents/{digest}",
        handler=document.cancel_intent,
        summary="Withdraw what is not filled of an intent",
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.NOT_FOUND, R.TOO_LATE, R.NOT_OPEN, *_SEQUENCED),
    ),
    Route(
        method="POST",
        path="/v1/offers",
        handler=document.submit_offer,
        summary="Submit a signed offer",
        body=Unverified[Offer],
        verified=True,
        told=OfferTold,
        status=201,
        rejects=(*_ADMISSION, *_AUTHORITY, R.KEY_UNKNOWN, R.KEY_NOT_LIVE, *_SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/offers",
        handler=document.list_offers,
        summary="An account's offers, page by page",
        query=DocumentsQuery,
        told=OffersTold,
    ),
    Route(
        method="GET",
        path="/v1/offers/{digest}",
        handler=document.read_offer,
        summary="One offer and what is left of it",
        told=OfferTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/offers/{digest}",
        handler=document.cancel_offer,
        summary="Withdraw what is not sold of an offer",
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.NOT_FOUND, R.NOT_OPEN, *_SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/book",
        handler=market.book,
        summary="The best levels of a book",
        query=BookQuery,
        told=BookTold,
        rejects=(R.RESOURCE_UNKNOWN, R.ASSET_UNKNOWN),
    ),
    Route(
        method="GET",
        path="/v1/fills",
        handler=lease.list_fills,
        summary="Fills of an intent or of an account, newest first",
        query=FillsQuery,
        told=FillsTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/v1/leases",
        handler=lease.list_leases,
        summary="An intent's leases",
        query=IntentQuery,
        told=LeasesTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/v1/receipts",
        handler=lease.receipt,
        summary="What an intent has used so far, signed by the market",
        query=IntentQuery,
        told=ReceiptTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="POST",
        path="/v1/leases/grant",
        handler=lease.grant_leases,
        summary="A bearer token for an intent's leases",
        body=IntentBody,
        told=GrantTold,
        permissions=MAY_SIGN,
        rejects=(R.NOT_FOUND, R.LEASE_UNKNOWN, R.LEASE_ENDED),
    ),
    Route(
        method="POST",
        path="/v1/leases/end",
        handler=lease.end_leases,
        summary="Close an intent's leases, release what is unused",
        body=IntentBody,
        told=ResultTold,
        permissions=MAY_SIGN,
        rejects=(R.NOT_FOUND, *_SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/batches",
        handler=market.batches,
        summary="The newest batches",
        query=PageQuery,
        told=BatchesTold,
    ),
    Route(
        method="GET",
        path="/v1/batches/{number}",
        handler=market.batch,
        summary="One batch",
        told=BatchTold,
        rejects=(R.BATCH_UNKNOWN,),
    ),
    Route(
        method="GET",
        path="/v1/auctions/{number}",
        handler=market.auction,
        summary="One auction; its solutions once it has closed",
        told=AuctionTold,
        rejects=(R.AUCTION_UNKNOWN,),
    ),
    Route(
        method="GET",
        path="/v1/balance",
        handler=market.balance,
        summary="Your money, epoch and session keys",
        told=BalanceTold,
        permissions=MAY_SIGN | MAY_CANCEL,
    ),
    Route(
        method="GET",
        path="/v1/keys/balance",
        handler=market.balance,
        summary="The same as /v1/balance",
        told=BalanceTold,
        permissions=MAY_SIGN | MAY_CANCEL,
    ),
    Route(
        method="POST",
        path="/v1/keys/contribute",
        handler=key.contribute,
        summary="Pool a key",
        body=ContributeBody,
        told=ContributedTold,
        status=201,
        permissions=MAY_SIGN,
        rejects=(
            R.PROVIDER_UNKNOWN,
            R.SHARING_FORBIDDEN,
            R.ATTESTATION_MISSING,
            R.HEALTH_CHECK_FAILED,
            R.KEY_DUPLICATE,
            R.RESOURCE_UNKNOWN,
            R.WRONG_DOMAIN,
            *_SEQUENCED,
        ),
    ),
    Route(
        method="GET",
        path="/v1/keys/capacity",
        handler=key.capacity,
        summary="What can be bought, per resource",
        query=CapacityQuery,
        told=CapacitiesTold,
        rejects=(R.RESOURCE_UNKNOWN,),
    ),
    Route(
        method="POST",
        path="/v1/keys/proxy",
        handler=proxy.call,
        summary="A call on a lease, described in JSON",
        body=CallBody,
        granted=True,
        bytes_max=attrgetter("proxy_body_bytes_max"),
        rejects=_PROXY,
    ),
    Route(
        method="DELETE",
        path="/v1/keys/revoke",
        handler=key.revoke,
        summary="Take your key out and erase it",
        body=KeyBody,
        told=ResultTold,
        permissions=MAY_SIGN,
        rejects=(R.KEY_UNKNOWN, *_SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/keys/health",
        handler=key.health,
        summary="Whether your key is alive",
        query=KeyQuery,
        told=KeyHealth,
        permissions=MAY_SIGN,
        rejects=(R.KEY_UNKNOWN,),
    ),
    Route(
        method="GET",
        path="/v1/feed",
        handler=feed.follow,
        summary="Every event from a cursor on, over a WebSocket",
        query=FeedQuery,
        socket=True,
        rejects=(R.BUSY,),
    ),
    Route(
        method="GET",
        path="/v1/solve",
        handler=solve.solve,
        summary="Auctions and solutions, over a WebSocket",
        socket=True,
        rejects=(R.BUSY,),
    ),
    *(
        Route(
            method=method,
            path="/v1/proxy/{provider}/{path}",
            handler=proxy.pass_through,
            summary="A call on a lease, passed through; use it as a base URL",
            query=None,
            granted=True,
            bytes_max=attrgetter("proxy_body_bytes_max"),
            raw=True,
            rejects=_PROXY,
        )
        for method in PROXY_METHODS
    ),
)
