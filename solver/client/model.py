"""The market's answers as values. Fields that a newer server adds are passed over."""

from typing import Any

import msgspec

from intents import document as signed
from solver.core.auction import Snapshot
from solver.core.event import Won


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that the market told."""


class Page(Model, frozen=True, kw_only=True):
    """A part of a list; `next` is what to ask for the part after it by, None at the end."""

    next: str | None


class Domain(Model, frozen=True, kw_only=True):
    """The EIP-712 domain."""

    chain_id: int
    verifying_contract: str


class Assets(Model, frozen=True, kw_only=True):
    """The addresses that name the two assets."""

    usdc: str
    credit: str


class Signing(Model, frozen=True, kw_only=True):
    """What to sign for."""

    domain: Domain
    assets: Assets
    request_seconds_max: int
    award_signer: str = ""
    """Whose signature an award needs; without one none is believed."""


class Listed(Model, frozen=True, kw_only=True):
    """A listed resource and how it trades."""

    resource: str
    mode: str


class Now(Model, frozen=True, kw_only=True):
    """The market now."""

    time_ms: int
    feed: int
    resources: tuple[Listed, ...]
    metered_max: int = 0


class Intent(Model, frozen=True, kw_only=True):
    """An intent and what became of it."""

    digest: str
    status: str
    resource: str
    asset: str
    units: int
    limit: int
    open_units: int
    filled_units: int
    delivered_units: int
    paid: int
    owed: int
    leases: tuple[str, ...]
    cursor: int

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status not in ("open", "filled", "delivered")


class Intents(Page, frozen=True, kw_only=True):
    """Intents of an account."""

    intents: tuple[Intent, ...]


class Mandate(Model, frozen=True, kw_only=True):
    """A mandate and how far it is used. `committed`: what is open or not settled may cost."""

    digest: str
    account: str
    resource: str
    asset: str
    tick_max: int
    limit: int
    valid_until: int
    epoch: int
    live: bool
    spent: int
    committed: int


class MandateSecret(Model, frozen=True, kw_only=True):
    """A mandate, and the secret that authenticates intents under it."""

    mandate: Mandate
    secret: str

    def __repr__(self) -> str:
        return f"MandateSecret(mandate={self.mandate.digest})"


class Offer(Model, frozen=True, kw_only=True):
    """An offer and what is left of it."""

    digest: str
    key: str
    resource: str
    units: int
    limit: int
    live: bool
    open_units: int


class Offers(Page, frozen=True, kw_only=True):
    """Offers of an account."""

    offers: tuple[Offer, ...]


class Lease(Model, frozen=True, kw_only=True):
    """A fill and the lease that it gave."""

    id: str
    intent: str
    offer: str
    status: str
    units: int
    tick: int
    delivered: int
    remaining: int
    payment: int
    until_ms: int


class Leases(Model, frozen=True, kw_only=True):
    """An intent's leases."""

    leases: tuple[Lease, ...]


class Receipt(Model, frozen=True, kw_only=True):
    """What an intent has used so far: a signed document, who signed it, the signature.

    `signer` is the operator's session key: `isSessionLive` of the operator's account tells.
    """

    document: signed.Receipt
    signer: str
    signature: str


class Grant(Model, frozen=True, kw_only=True):
    """A bearer token for an intent's leases."""

    grant: str
    expires_at_ms: int

    def __repr__(self) -> str:
        return f"Grant(expires_at_ms={self.expires_at_ms})"


class Amount(Model, frozen=True, kw_only=True):
    """What an account has of an asset."""

    available: int
    total: int
    held: int


class Session(Model, frozen=True, kw_only=True):
    """A session key of an account."""

    address: str
    permissions: int
    expires_at: int
    cap: int
    spent: int
    committed: int
    live: bool


class Balance(Model, frozen=True, kw_only=True):
    """An account's money, epoch and session keys."""

    account: str
    epoch: int
    usdc: Amount
    credit: Amount
    sessions: tuple[Session, ...]
    unsettled: int = 0
    """Atoms that session keys or the account's contract bought, and that are not final."""
    unsettled_max: int = 0
    """No more than this is served on their word."""
    barred: bool = False
    """The chain refused to pay what they had signed for: they buy nothing."""


class Pooled(Model, frozen=True, kw_only=True):
    """A key that is pooled; offers name it by its id."""

    key: str
    provider: str
    resources: tuple[str, ...]


class Window(Model, frozen=True, kw_only=True):
    """At most `units` in any so many seconds; `occupied` are at the moment."""

    seconds: int
    units: int
    occupied: int


class Rating(Model, frozen=True, kw_only=True):
    """Of a key's newest calls `success` in a thousand succeeded; half took `latency` ms at most."""

    success: int
    latency: int


class Key(Model, frozen=True, kw_only=True):
    """A key that is in the pool, or (not `live`) left it lately; `leases` are those it serves."""

    key: str
    provider: str
    resources: tuple[str, ...]
    live: bool
    leases: int
    rating: Rating | None
    windows: tuple[Window, ...]


class Keys(Page, frozen=True, kw_only=True):
    """Keys of an account."""

    keys: tuple[Key, ...]


class Provider(Model, frozen=True, kw_only=True):
    """Whose keys are taken, and on which terms."""

    name: str
    title: str
    sharing: str
    attestation: str
    resources: tuple[str, ...]


class Providers(Model, frozen=True, kw_only=True):
    """All of them."""

    providers: tuple[Provider, ...]


class Health(Model, frozen=True, kw_only=True):
    """What custody knows of a key."""

    key: str
    provider: str
    status: str
    checked_at_ms: int


class Result(Model, frozen=True, kw_only=True):
    """It was done."""

    result: str


class Event(Model, frozen=True, kw_only=True):
    """One event of the feed; `facts` are all of its fields."""

    seq: int
    at_ms: int
    event: str
    facts: dict[str, Any]


class Auction(Model, frozen=True, kw_only=True):
    """An auction to bid in, and the hash that its solutions must name."""

    number: int
    snapshot: Snapshot
    snapshot_hash: str


class AuctionSummary(Model, frozen=True, kw_only=True):
    """An auction in a list, newest first."""

    auction: int
    asset: str
    resources: tuple[str, ...]
    closes_at_ms: int
    closed: bool
    solutions: int
    winners: tuple[Won, ...]
    score: str
    gap: str


class AuctionsTold(Model, frozen=True, kw_only=True):
    """The newest auctions."""

    auctions: tuple[AuctionSummary, ...]


class SolutionTold(Model, frozen=True, kw_only=True):
    """A solution of an auction that has closed."""

    solver: str
    bid: str
    books: tuple[dict[str, Any], ...]
    brought: tuple[dict[str, Any], ...] = ()


class AwardTold(Model, frozen=True, kw_only=True):
    """What a winner is to be paid for, as the operator signed it."""

    auction: int
    solver: str
    solution: str
    deadline_block: int
    signature: str
    fills: tuple[dict[str, Any], ...]


class AuctionTold(Model, frozen=True, kw_only=True):
    """All that the market tells of one auction; a page of it, where `next` is there."""

    auction: int
    snapshot: dict[str, Any]
    snapshot_hash: str
    closed: bool
    seed: str
    shrunk: dict[str, int]
    winners: tuple[Won, ...]
    score: str
    gap: str
    solutions: tuple[SolutionTold, ...]
    deadline_block: int = 0
    awards: tuple[AwardTold, ...] = ()
    next: int | None = None


class Verdict(Model, frozen=True, kw_only=True):
    """What became of a solution; `code` is empty if it won. The score is exact."""

    auction: int
    bid: str
    rank: int
    score: int
    code: str
    reason: str
