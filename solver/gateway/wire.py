"""Every body of the API: what is sent to it, and what it answers.

The JSON schemas of /openapi.json are made from these. Names are camelCase, amounts are
atoms as JSON numbers (all below 2**53), times say their unit. Scores can exceed any JSON
number and are decimal text.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from intents.bound import NONCE_MAX
from intents.document import Address, Hash, Receipt
from solver.core.command import Authority, Mode
from solver.core.event import IntentStatus, LeaseStatus
from solver.gateway.port import ProviderInfo

PAGE_MAX: Final = 200
PAGE_DEFAULT: Final = 50
PATH_CHARS_MAX: Final = 4_096

Page = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
Asset = Address
ResourceName = Annotated[str, Meta(max_length=128)]
ProviderName = Annotated[str, Meta(max_length=128)]
Counter = Annotated[int, Meta(ge=0, le=NONCE_MAX)]
HeaderText = Annotated[str, Meta(max_length=8_190, pattern=r"^[\x20-\x7e]*$")]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]


class Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Something that a client sends."""


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that the market answers."""


# -- sent


class Nothing(Sent, frozen=True, kw_only=True):
    """No body, no query."""


class IntentBody(Sent, frozen=True, kw_only=True):
    """Names an intent."""

    intent: Hash


class CallBody(Sent, frozen=True, kw_only=True):
    """A call through the proxy. A `body` that is not text is sent as the JSON that it is."""

    method: Annotated[str, Meta(pattern="^[A-Z]{1,16}$")]
    path: Annotated[str, Meta(max_length=PATH_CHARS_MAX, pattern="^/")]
    query: (
        Annotated[str, Meta(max_length=8_192)] | dict[str, str | int | list[str | int]] | None
    ) = None
    headers: dict[HeaderName, HeaderText] | None = None
    body: Any = None


class DocumentsQuery(Sent, frozen=True, kw_only=True):
    """A page of an account's documents, newest first, after the one with this digest."""

    account: Address
    limit: Page = PAGE_DEFAULT
    after: Hash | None = None


class BookQuery(Sent, frozen=True, kw_only=True):
    """Which book. Without an asset: USDC."""

    resource: ResourceName
    asset: Asset | None = None
    depth: Page = 20


class FillsQuery(Sent, frozen=True, kw_only=True):
    """Fills of an intent or of an account (as buyer and as seller), newest first."""

    intent: Hash | None = None
    account: Address | None = None
    limit: Page = PAGE_DEFAULT


class IntentQuery(Sent, frozen=True, kw_only=True):
    """Names an intent."""

    intent: Hash


class PageQuery(Sent, frozen=True, kw_only=True):
    """How many."""

    limit: Page = PAGE_DEFAULT


class AfterQuery(Sent, frozen=True, kw_only=True):
    """From where on: `next` of the page before."""

    after: Counter = 0


class FeedQuery(Sent, frozen=True, kw_only=True):
    """Events after this cursor; only those that concern the account, if one is named."""

    cursor: Counter = 0
    account: Address | None = None


# -- told: the market


class HealthTold(Told, frozen=True, kw_only=True):
    """The server answers; degraded: `alarms` say what its operator should see to."""

    status: Literal["ok", "degraded"] = "ok"
    alarms: tuple[str, ...] = ()


class DomainTold(Told, frozen=True, kw_only=True):
    """The EIP-712 domain to sign for."""

    name: str
    version: str
    chain_id: int
    verifying_contract: str


class FieldTold(Told, frozen=True, kw_only=True):
    """A field of a signed document."""

    name: str
    type: str


class AssetsTold(Told, frozen=True, kw_only=True):
    """The addresses that name the two assets."""

    usdc: str
    credit: str


class SigningTold(Told, frozen=True, kw_only=True):
    """All that is needed to sign: domain, types, assets, and how requests are signed.

    `bulkTypes` has the primary type of a bulk, `BulkIntent`, for each height of its tree: a bulk
    of n intents has the least height, from 1 on, with 2**height of n or more. `bundleTypes` has
    that of a `Bundle`, by the same rule. `awardSigner` owns the operator's account: it signs what
    winning solvers are paid for.
    """

    domain: DomainTold
    types: dict[str, tuple[FieldTold, ...]]
    bulk_types: dict[str, tuple[FieldTold, ...]]
    bundle_types: dict[str, tuple[FieldTold, ...]]
    assets: AssetsTold
    award_signer: str
    request_seconds_max: int
    notes: tuple[str, ...]


class ResourceTold(Told, frozen=True, kw_only=True):
    """A listed resource."""

    resource: str
    mode: Mode


class ChainTold(Told, frozen=True, kw_only=True):
    """Up to which final block the market knows the chain; -1: none yet."""

    cursor: int
    block_hash: str


class MarketTold(Told, frozen=True, kw_only=True):
    """The market now. `feed` is the number of the newest event.

    Fills of intents that cost up to `meteredMax` in all are paid by what buyers sign for; 0: none.
    """

    time_ms: int
    resources: tuple[ResourceTold, ...]
    chain: ChainTold
    batches: int
    feed: int
    metered_max: int


class ProvidersTold(Told, frozen=True, kw_only=True):
    """Every provider whose keys are taken."""

    providers: tuple[ProviderInfo, ...]


class LevelTold(Told, frozen=True, kw_only=True):
    """A price: atoms per 10⁶ units, and what stands there."""

    tick: int
    units: int
    orders: int


class BookTold(Told, frozen=True, kw_only=True):
    """The best levels of a book. `waiting`: bids with a minimum, which no level counts.

    `truncated`: more orders stand in the book than were looked at.
    """

    resource: str
    asset: str
    bids: tuple[LevelTold, ...]
    asks: tuple[LevelTold, ...]
    waiting: int
    truncated: bool


# -- told: documents and leases


# Not by name only, as the others: see `view.intent_told`.
class IntentTold(Told, frozen=True):
    """An intent and what became of it. `paid` is final, `owed` is delivered and not yet.

    `cursor`: everything up to this event of the feed is in here.
    """

    digest: str
    account: str
    resource: str
    asset: str
    units: int
    units_min: int
    limit: int
    valid_from: int
    valid_until: int
    immediate: bool
    epoch: int
    nonce: int
    signer: str
    authority: Authority
    tick: int
    status: IntentStatus
    open_units: int
    filled_units: int
    delivered_units: int
    paid: int
    owed: int
    leases: tuple[str, ...]
    cursor: int


class OfferTold(Told, frozen=True, kw_only=True):
    """An offer and what is left of it."""

    digest: str
    account: str
    resource: str
    asset: str
    key: str
    units: int
    limit: int
    window_units: int
    window_seconds: int
    valid_from: int
    valid_until: int
    epoch: int
    nonce: int
    signer: str
    authority: Authority
    tick: int
    live: bool
    open_units: int
    cursor: int


class IntentsTold(Told, frozen=True, kw_only=True):
    """A page; `next` is what to send as `after`, or null at the end."""

    intents: tuple[IntentTold, ...]
    next: str | None


class OffersTold(Told, frozen=True, kw_only=True):
    """A page; `next` is what to send as `after`, or null at the end."""

    offers: tuple[OfferTold, ...]
    next: str | None


class LeaseTold(Told, frozen=True, kw_only=True):
    """A fill and the lease that it gave."""

    id: str
    intent: str
    offer: str
    key: str
    buyer: str
    seller: str
    resource: str
    asset: str
    units: int
    tick: int
    filled_at_ms: int
    until_ms: int
    status: LeaseStatus
    delivered: int
    lapsed: int
    withdrawn: int
    in_flight: int
    remaining: int
    payment: int


class FillsTold(Told, frozen=True, kw_only=True):
    """Fills, newest first."""

    fills: tuple[LeaseTold, ...]


class LeasesTold(Told, frozen=True, kw_only=True):
    """An intent's leases, oldest first."""

    leases: tuple[LeaseTold, ...]


class ReceiptTold(Told, frozen=True, kw_only=True):
    """A signed receipt: the document, who signed, and the signature over its typed data."""

    document: Receipt
    signer: str
    signature: str


class GrantTold(Told, frozen=True, kw_only=True):
    """A bearer token for an intent's leases."""

    grant: str
    expires_at_ms: int


class ResultTold(Told, frozen=True, kw_only=True):
    """It was done."""

    result: Literal["accepted"] = "accepted"


# -- told: accounts


class AmountTold(Told, frozen=True, kw_only=True):
    """What an account has of an asset; total = available + held."""

    available: int
    total: int
    held: int


class SessionTold(Told, frozen=True, kw_only=True):
    """A session key as the chain last said; `spent` is what its last charge left counted."""

    address: str
    permissions: int
    expires_at: int
    cap: int
    spent: int
    committed: int
    live: bool


class BalanceTold(Told, frozen=True, kw_only=True):
    """An account's money, epoch and session keys, and how far they and its contract are trusted.

    What they sign is served while `unsettled` atoms, which are not final, are at most
    `unsettledMax`; `barred` where the chain refused to pay what they had signed for.
    """

    account: str
    epoch: int
    usdc: AmountTold
    credit: AmountTold
    sessions: tuple[SessionTold, ...]
    unsettled: int
    unsettled_max: int
    barred: bool


# -- told: settlement and competition


class LineTold(Told, frozen=True, kw_only=True):
    """One fill of a batch."""

    fill: str
    intent: str
    offer: str
    units: int
    delivered: int
    payment: int


class BatchTold(Told, frozen=True, kw_only=True):
    """A batch; `resolved` lines were paid or skipped on chain."""

    number: int
    digest: str
    lines: tuple[LineTold, ...]
    resolved: int
    paid: int
    skipped: int
    final: bool


class BatchesTold(Told, frozen=True, kw_only=True):
    """Batches, newest first."""

    batches: tuple[BatchTold, ...]


# -- told: sockets


class CursorLine(Told, frozen=True, kw_only=True, tag_field="event", tag="Cursor"):
    """Nothing of yours happened up to here; a place to follow from."""

    seq: int
    at_ms: int
