"""Each record as `solver.core.snapshot` reads it; the classes' fields are the format.

What writes them, in the same order, is `solver.core.row`.
"""

import msgspec

from intents.document import Mandate
from solver.core.auction import Auction
from solver.core.award import AwardState
from solver.core.bond import Bonds
from solver.core.bundle import Bundle
from solver.core.command import Authority, Mode
from solver.core.conduct import Conduct
from solver.core.event import IntentStatus, LeaseStatus
from solver.core.meter import Metering
from solver.core.record import Batch, Call, Session
from solver.core.state import DueEntry

Sums = tuple[str, str, str]
"""A balance, as text: sums of many amounts outgrow the 64 bits of MessagePack."""


class Image(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A record as an array of its fields: no names are written, and none may be missing."""


class BalanceImage(Image, frozen=True):
    """Whose, of what, how much."""

    owner: str
    asset: str
    sums: Sums


class AccountImage(Image, frozen=True):
    """An account beside its balances."""

    address: str
    epoch: int
    sessions: dict[str, Session]
    used: dict[int, int]
    standing: list[int]
    withdrawing: int
    withdrawal_held: int


class KeyImage(Image, frozen=True):
    """A key of the pool."""

    key: str
    owner: str
    provider: str
    resources: tuple[str, ...]
    live: bool
    calls: list[int]


class OrderImage(Image, frozen=True):
    """What an order has beside its document."""

    seq: int
    units: int
    held: int
    until_ms: int
    in_book: bool


class IntentImage(Image, frozen=True):
    """An intent, as it was signed and as it stands."""

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
    digest: str
    signer: str
    authority: Authority
    signature: str
    proof: str
    order: OrderImage
    status: IntentStatus
    ended: IntentStatus | None
    filled_units: int
    serving: int
    unsettled: int


class OfferImage(Image, frozen=True):
    """An offer, as it was signed and as it stands."""

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
    digest: str
    signer: str
    authority: Authority
    signature: str
    order: OrderImage
    capacity: Sums
    live: bool
    leases_kept: int


class MandateImage(Image, frozen=True):
    """A mandate, and what it is used for."""

    document: Mandate
    digest: str
    signer: str
    authority: Authority
    signature: str
    live: bool
    spent: int
    committed: int
    intents: list[str]


class LeaseImage(Image, frozen=True):
    """A lease."""

    id: str
    execution: int
    intent: str
    offer: str
    units: int
    tick: int
    held: int
    until_ms: int
    filled_ms: int
    status: LeaseStatus
    reserved: int
    delivered: int
    lapsed: int
    withdrawn: int
    returned: int
    in_flight: int
    last_used_ms: int
    batch: int
    charge: int = 0
    award: str = ""
    award_place: int = 0


class ExecutionImage(Image, frozen=True):
    """An execution whose leases are not all over."""

    id: int
    intent: str
    metered: bool
    serving: int
    unsettled: int


class WindowsImage(Image, frozen=True):
    """One subject's: the same windows for each of its resources."""

    subject: str
    resources: list[str]
    windows: list[tuple[int, int, int, list[tuple[int, int]]]]


class StateImage(Image, frozen=True):
    """All of it, in the order in which it is written."""

    version: int
    usdc: str
    now_ms: int
    seq: int
    cursor: int
    cursor_hash: str
    resources: dict[str, Mode]
    books: list[tuple[str, str]]
    balances: list[BalanceImage]
    accounts: list[AccountImage]
    keys: list[KeyImage]
    intents: list[IntentImage]
    offers: list[OfferImage]
    mandates: list[MandateImage]
    bundles: list[Bundle]
    leases: list[LeaseImage]
    executions: list[ExecutionImage]
    calls: dict[str, Call]
    windows: list[WindowsImage]
    auctions: dict[int, Auction]
    ready: list[int]
    batches: dict[int, Batch]
    batch_next: int
    metered_max: int
    metering: Metering
    finished: list[str]
    due: list[DueEntry]
    order_ends: list[str]
    conduct: Conduct = msgspec.field(default_factory=Conduct)
    """Missing where it is empty, as in every state from before it was kept."""
    awards: dict[str, AwardState] = {}
    """Left out where there are none."""
    bonds: Bonds = msgspec.field(default_factory=Bonds)
    """The same."""
