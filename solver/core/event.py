"""What the core says happened. Events are derived, never stored: replay makes them again."""

from enum import StrEnum

import msgspec
from msgspec import UNSET, UnsetType

from intents.reject import Reject
from solver.core.command import KeyEnd, Mode, Outcome


class IntentStatus(StrEnum):
    """Where an intent stands. The last five are final."""

    OPEN = "open"
    FILLED = "filled"
    DELIVERED = "delivered"
    SETTLED = "settled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNFILLED = "unfilled"


class LeaseStatus(StrEnum):
    """Where a lease stands: served, waiting for calls in flight, waiting for the chain, over.

    An orphaned lease lost its key: units that calls in flight give back move on too.
    """

    OPEN = "open"
    ORPHANED = "orphaned"
    DRAINING = "draining"
    CLOSED = "closed"
    BATCHED = "batched"
    SETTLED = "settled"
    SKIPPED = "skipped"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="event", gc=False):
    """One thing that happened, in the order in which it happened. It holds no cycles."""


class ResourceOpened(Event, frozen=True, kw_only=True):
    """A resource is listed."""

    resource: str
    mode: Mode


class KeyPooled(Event, frozen=True, kw_only=True):
    """A key may be offered from."""

    key: str
    owner: str
    provider: str
    resources: tuple[str, ...]


class KeyRetired(Event, frozen=True, kw_only=True):
    """A key serves no more."""

    key: str
    owner: str
    reason: KeyEnd


class IntentAccepted(Event, frozen=True, kw_only=True):
    """An intent was admitted and its limit is held."""

    intent: str
    account: str
    resource: str
    units: int
    limit: int


class BundleAccepted(Event, frozen=True, kw_only=True):
    """A bundle was admitted with its legs, each an intent of its own."""

    bundle: str
    account: str
    any_of: bool
    legs: tuple[str, ...]


class OfferAccepted(Event, frozen=True, kw_only=True):
    """An offer was admitted."""

    offer: str
    account: str
    resource: str
    units: int
    limit: int


class MandateAccepted(Event, frozen=True, kw_only=True):
    """The market may buy for the account, up to `limit` atoms in all."""

    mandate: str
    account: str
    limit: int


class MandateEnded(Event, frozen=True, kw_only=True):
    """Nothing more is bought under it; `reason` is for people."""

    mandate: str
    account: str
    reason: str


class Filled(Event, frozen=True, kw_only=True):
    """`units` of an intent are to be served by an offer at `tick`, until `until_ms`."""

    fill: str
    execution: int
    intent: str
    offer: str
    buyer: str
    seller: str
    resource: str
    units: int
    tick: int
    until_ms: int
    bid_charge: int | UnsetType = UNSET
    ask_charge: int | UnsetType = UNSET
    """What of `tick`, the buyer's price, is the solver's whose award this fill is of.

    The seller gets `ask_charge` less than the clearing price. Said only where it is charged, so
    that journals from before there were awards come to what they came to.
    """

    @property
    def price(self) -> int:
        """At which its book was cleared."""
        return self.tick - (self.bid_charge or 0)

    @property
    def charge(self) -> int:
        """The solver's part of a unit."""
        return (self.bid_charge or 0) + (self.ask_charge or 0)


class IntentEnded(Event, frozen=True, kw_only=True):
    """Nothing more will be filled, delivered or paid of it (by status)."""

    intent: str
    account: str
    status: IntentStatus


class OfferEnded(Event, frozen=True, kw_only=True):
    """Nothing more of it is sold; `reason` is for people.

    Of what was brought to an auction it is told at the close, after `OfferAccepted`.
    """

    offer: str
    account: str
    reason: str


class LeaseMoved(Event, frozen=True, kw_only=True):
    """The rest of a lease is served by another offer, at no more than the first price."""

    lease: str
    to_lease: str
    units: int


class CallStarted(Event, frozen=True, kw_only=True):
    """Units of a lease are reserved for a call."""

    call: str
    lease: str
    key: str
    resource: str
    units: int


class CallFinished(Event, frozen=True, kw_only=True):
    """What became of a call, and what was metered."""

    call: str
    lease: str
    outcome: Outcome
    units: int


class LeaseClosed(Event, frozen=True, kw_only=True):
    """Nothing more is served; `payment` is what its delivered units cost.

    `returned` units were not used and are for sale again.
    """

    lease: str
    intent: str
    units: int
    delivered: int
    returned: int
    payment: int


class AuctionOpened(Event, frozen=True, kw_only=True):
    """The snapshot itself is read from the market by its number."""

    auction: int
    resources: tuple[str, ...]
    asset: str
    snapshot: str
    seed_hash: str
    closes_at_ms: int


class SolutionAccepted(Event, frozen=True, kw_only=True):
    """A sealed bid is in. Told its solver alone: from who bids, and how often, others could learn.

    `bid` is a hash of what it says, which somebody could guess and try.
    """

    auction: int
    solver: str
    bid: str


class SolutionJudged(Event, frozen=True, kw_only=True):
    """Every proposed solution gets this once: won, or why not."""

    auction: int
    solver: str
    bid: str
    rank: int
    score: int
    """Surplus in micro-atoms (atoms per 10⁶): exact, no rounding."""
    reason: Reject | None = None


class Won(msgspec.Struct, frozen=True, kw_only=True):
    """A winning solver: its bids' score together, and what of that the others could have had.

    In micro-atoms, as text, as they outgrow 64 bits. The difference is its reward, and never
    negative.
    """

    solver: str
    bids: tuple[str, ...]
    score: str
    reference: str


class AuctionClosed(Event, frozen=True, kw_only=True):
    """Who won, and at which price each book was cleared; none where nobody did.

    No selection of the bids scores more than `score + gap`: at 0 this is proven the best.
    """

    auction: int
    resources: tuple[str, ...]
    asset: str
    seed: str
    ticks: dict[str, int]
    winners: tuple[Won, ...]
    score: int
    gap: int


class SolverBenched(Event, frozen=True, kw_only=True):
    """A solver's own offers did not deliver what auctions gave them: it proposes nothing till then.

    `faded` of the `answered` units that were counted last.
    """

    solver: str
    until_ms: int
    answered: int
    faded: int


class Awarded(Event, frozen=True, kw_only=True):
    """A winner is to be paid: `fills` of the auction carry charges, and settle with its award."""

    auction: int
    solver: str
    fills: int
    deadline_block: int


class BondsSet(Event, frozen=True, kw_only=True):
    """What bids need from now on: see `bond.Rule`."""

    bond_min: int
    exposure_percent: int
    penalty_max: int


class BondChanged(Event, frozen=True, kw_only=True):
    """The chain holds `amount` atoms for a solver now; `withdrawing` of them are asked back."""

    solver: str
    amount: int
    withdrawing: int
    reason: str


class PenaltyDue(Event, frozen=True, kw_only=True):
    """So many units of an award faded, and all it was pledged for is over.

    Its solver's bond owes `amount` atoms, after the deadline block; 0: what it delivered was
    worth as much as what others could have.
    """

    auction: int
    solver: str
    units: int
    amount: int
    deadline_block: int


class Penalised(Event, frozen=True, kw_only=True):
    """The bond of an award's solver paid its buyers, on chain, so many atoms."""

    auction: int
    solver: str
    paid: int


class MeteringSet(Event, frozen=True, kw_only=True):
    """Which fills are metered from now on, and how much a buyer may owe without its word."""

    payment_max: int
    uncovered_max: int
    unsettled_max: int


class TrustChanged(Event, frozen=True, kw_only=True):
    """The chain refused to pay what an account had signed for, or the account goes on after that.

    While it is barred, nothing is sold to it on the word of a session key or a contract.
    """

    account: str
    barred: bool
    refusals: int


class ReceiptAccepted(Event, frozen=True, kw_only=True):
    """A buyer acknowledged what it owes: `spent` atoms in all, the first `fills` that wait.

    Told again where its batch met an epoch that had just ended: the next one takes it.
    """

    account: str
    spent: int
    fills: int


class ReceiptLapsed(Event, frozen=True, kw_only=True):
    """A receipt that was accepted cannot settle any more: what it is for waits for another one."""

    account: str
    spent: int


class ClaimMoved(Event, frozen=True, kw_only=True):
    """A claim on chain paid a seller for nothing that the market knows of."""

    buyer: str
    seller: str
    payment: int


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    """One fill as it goes on chain: `units` count against both documents."""

    fill: str
    intent: str
    offer: str
    units: int
    delivered: int
    payment: int


class BatchCut(Event, frozen=True, kw_only=True):
    """`digest` commits to number and lines; the chain records it."""

    number: int
    digest: str
    lines: tuple[BatchLine, ...]


class BatchFinal(Event, frozen=True, kw_only=True):
    """Every line of a batch is paid or skipped, in a final block."""

    number: int
    paid: int
    skipped: int


class PaymentSettled(Event, frozen=True, kw_only=True):
    """A fill is paid for, for good."""

    fill: str
    buyer: str
    seller: str
    payment: int
    solver: str | UnsetType = UNSET
    reward: int | UnsetType = UNSET
    """What of the payment is the solver's, and not the seller's; said only where it is charged."""


class PaymentSkipped(Event, frozen=True, kw_only=True):
    """The contract refused the line; nothing was paid for it."""

    fill: str
    buyer: str
    seller: str
    reason: int


class BalanceChanged(Event, frozen=True, kw_only=True):
    """What an account has of an asset now. Atoms."""

    account: str
    asset: str
    available: int
    total: int
    reason: str


class SessionChanged(Event, frozen=True, kw_only=True):
    """A session key of an account came to life or ended."""

    account: str
    session: str
    live: bool


class ChainApplied(Event, frozen=True, kw_only=True):
    """Final blocks up to `number` are in the books."""

    number: int
    facts: int
