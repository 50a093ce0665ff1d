"""What solvers send and are told: auctions, snapshots, solutions and what became of them."""

from typing import Annotated

from msgspec import Meta

from intents.admission import Unverified
from intents.bound import TICK_MAX
from intents.document import Hash, Offer, Text, Units
from solver.core.auction import BOOKS_MAX, FILLS_MAX
from solver.core.bringing import BROUGHT_MAX
from solver.gateway.pooled import RatingTold
from solver.gateway.wire import Counter, Sent, Told

BroughtOffers = Annotated[tuple[Unverified[Offer], ...], Meta(max_length=BROUGHT_MAX)]
"""Signed offers of the solver's own account, for this solution alone: as POST /v1/offers takes."""


class ProposedFill(Sent, frozen=True, kw_only=True):
    """Units of one intent from one offer."""

    intent: Hash
    offer: Hash
    units: Units


class ProposedBook(Sent, frozen=True, kw_only=True):
    """A book cleared at one price."""

    resource: Text
    tick: Annotated[int, Meta(ge=0, le=TICK_MAX)]
    fills: Annotated[tuple[ProposedFill, ...], Meta(max_length=FILLS_MAX)]


class SolutionMessage(Sent, frozen=True, kw_only=True, tag_field="type", tag="solution"):
    """A solver's sealed bid for books of an auction: all of them, or none."""

    auction: Counter
    snapshot: Hash
    books: Annotated[tuple[ProposedBook, ...], Meta(max_length=BOOKS_MAX)]
    offers: BroughtOffers = ()


class DeltasMessage(Sent, frozen=True, kw_only=True, tag_field="type", tag="deltas"):
    """From now on tell what changed since the auction before, where that is shorter.

    With `full`, auctions that are open are told in full again, and no difference is from one
    before: ask so where a difference does not lead to its hash.
    """

    full: bool = False


class OrderTold(Told, frozen=True, kw_only=True):
    """An intent or offer of a snapshot; nothing is filled of it from `untilMs` on."""

    id: str
    account: str
    tick: int
    units: int
    minimum: int
    until_ms: int


class FloorTold(Told, frozen=True, kw_only=True):
    """What a rating has to meet; 0 asks for nothing."""

    success_min: int
    latency_max: int


class SnapshotBookTold(Told, frozen=True, kw_only=True):
    """What is traded of one resource, in price-time order.

    `ratings` are of offers, where an intent of the book asks for a quality.
    """

    resource: str
    intents: tuple[OrderTold, ...]
    offers: tuple[OrderTold, ...]
    ratings: dict[str, RatingTold]


class BundleTold(Told, frozen=True, kw_only=True):
    """Intents that are filled all or none; with `anyOf`, one of them at most.

    Only from offers whose rating meets `floor`.
    """

    id: str
    any_of: bool
    legs: tuple[str, ...]
    floor: FloorTold


class SnapshotTold(Told, frozen=True, kw_only=True):
    """What is traded in one epoch for one asset; `seedHash` commits to what decides ties."""

    auction: int
    asset: str
    closes_at_ms: int
    seed_hash: str
    books: tuple[SnapshotBookTold, ...]
    bundles: tuple[BundleTold, ...]


class BroughtTold(Told, frozen=True, kw_only=True):
    """An offer that a solution brought along.

    `rating` is its key's at that time, if an intent of the auction asks for a quality.
    """

    resource: str
    order: OrderTold
    rating: RatingTold | None = None


class SolutionTold(Told, frozen=True, kw_only=True):
    """A solution that was proposed; told only once its auction has closed."""

    solver: str
    bid: str
    books: tuple[ProposedBook, ...]
    brought: tuple[BroughtTold, ...]


class WinnerTold(Told, frozen=True, kw_only=True):
    """A winning solver; its reward is `score` − `reference`, in micro-atoms as text."""

    solver: str
    bids: tuple[str, ...]
    score: str
    reference: str


class AwardedFillTold(Told, frozen=True, kw_only=True):
    """A fill that pays its solver, by account and nonce of both its documents.

    `tick` is what the buyer pays, `charge` what of it is the solver's: atoms per 10⁶ units.
    """

    buyer: str
    buyer_nonce: int
    seller: str
    seller_nonce: int
    units: int
    tick: int
    charge: int


class AwardTold(Told, frozen=True, kw_only=True):
    """The operator's signed word on what a winner is paid for; GET /v1/eip712 has its type.

    `solution` is the root of the fills' tree. The chain takes none of them after `deadlineBlock`,
    but for those that are metered: these are paid by their buyers' receipts.
    """

    auction: int
    solver: str
    solution: str
    deadline_block: int
    signature: str
    fills: tuple[AwardedFillTold, ...]


class AuctionTold(Told, frozen=True, kw_only=True):
    """An auction, or a page of it. Until it has closed, solutions and seed are sealed, and empty.

    Where `next` is there, the rest comes `after` it: of books, bundles, solutions and awards
    this page has some, of `shrunk` what is about these, and of all else the whole.

    `shrunk` has the units that were live at the close, of orders that then had fewer than in
    the snapshot: with these, seed and solutions anyone judges it again. No selection of the
    solutions has more than `score` + `gap` micro-atoms. Where winners are paid, `deadlineBlock`
    is not 0, and `awards` has one for each that is to get something.
    """

    auction: int
    snapshot: SnapshotTold
    snapshot_hash: str
    closed: bool
    seed: str
    shrunk: dict[str, int]
    winners: tuple[WinnerTold, ...]
    score: str
    gap: str
    solutions: tuple[SolutionTold, ...]
    deadline_block: int
    awards: tuple[AwardTold, ...]
    next: int | None


class AuctionSummaryTold(Told, frozen=True, kw_only=True):
    """An auction in a list; its score and gap are of its winners together, in micro-atoms."""

    auction: int
    asset: str
    resources: tuple[str, ...]
    closes_at_ms: int
    closed: bool
    solutions: int
    winners: tuple[WinnerTold, ...]
    score: str
    gap: str


class AuctionsTold(Told, frozen=True, kw_only=True):
    """Auctions, newest first. Older ones are in the market's journal."""

    auctions: tuple[AuctionSummaryTold, ...]


class ConductRuleTold(Told, frozen=True, kw_only=True):
    """Who is benched, and for how long. Counts are of units that own offers won.

    A fade that brings (faded + `fadedFirst`) / (answered + `answeredFirst`) above
    `ratePercentMax` benches for `benchMs`, doubled for each level; `cleanMs` without a fade take a
    level away. Beyond `answeredMax` both counts are halved; a bench begins them anew.
    """

    rate_percent_max: int
    faded_first: int
    answered_first: int
    answered_max: int
    bench_ms: int
    level_max: int
    clean_ms: int


class BondRuleTold(Told, frozen=True, kw_only=True):
    """A bid needs bond - withdrawing - exposure >= `bondMin` atoms; 0: it needs no bond.

    For each other auction that it bids in, `penaltyMax` counts as exposure too, which counts
    `exposurePercent`. Bonds are paid in at `contract`, which is empty where none is asked for.
    """

    bond_min: int
    exposure_percent: int
    penalty_max: int
    contract: str


class SolverTold(Told, frozen=True, kw_only=True):
    """A solver that won with offers of its own: what it answered for since its last bench.

    `answering` leases are not over yet. Benched while `benchedUntilMs` is ahead; a next bench is
    doubled `level` times. Of its `bond`, `withdrawing` atoms are asked back and stand for no bid;
    `exposure` is what its open awards ask for, penalties that are due among them.
    """

    solver: str
    answering: int
    answered: int
    faded: int
    level: int
    benched_until_ms: int
    bond: int
    withdrawing: int
    exposure: int
    penalties_paid: int


class SolversTold(Told, frozen=True, kw_only=True):
    """Those whose leases ended last come first, then who only has a bond; nobody else is here.

    `timeMs` is the market's.
    """

    time_ms: int
    rule: ConductRuleTold
    bond_rule: BondRuleTold
    solvers: tuple[SolverTold, ...]


class SolutionBody(Sent, frozen=True, kw_only=True):
    """A sealed bid for books of an auction: all of them, or none."""

    snapshot: Hash
    books: Annotated[tuple[ProposedBook, ...], Meta(max_length=BOOKS_MAX)]
    offers: BroughtOffers = ()


class AcceptedTold(Told, frozen=True, kw_only=True):
    """Your solution is in; `bid` is what `GET /v1/auctions/{number}` will call it."""

    auction: int
    bid: str


class AuctionMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="auction"):
    """An auction is open: answer before `snapshot.closesAtMs`."""

    auction: int
    snapshot: SnapshotTold
    snapshot_hash: str


class SideDeltaTold(Told, frozen=True, kw_only=True, omit_defaults=True):
    """Of one side of a book, orders that went, have other units, and came. Places are from 0.

    `went` has places, and `changed` [place, units], of the side before; `came` has [place, order]
    of the side after.
    """

    went: tuple[int, ...] = ()
    changed: tuple[tuple[int, int], ...] = ()
    came: tuple[tuple[int, OrderTold], ...] = ()


class BookDeltaTold(Told, frozen=True, kw_only=True, omit_defaults=True):
    """Of one book; what is not said of it is as before, `ratings` are said whole.

    A book that was not in the auction before has all its orders here.
    """

    resource: str
    intents: SideDeltaTold | None = None
    offers: SideDeltaTold | None = None
    ratings: dict[str, RatingTold] | None = None


class DeltaTold(Told, frozen=True, kw_only=True, omit_defaults=True):
    """What a snapshot has that the one before had not; of its books, in their order.

    Bundles go and come as orders do: a bundle with other terms is another one.
    """

    auction: int
    asset: str
    closes_at_ms: int
    seed_hash: str
    books: tuple[BookDeltaTold, ...]
    bundles_went: tuple[int, ...] = ()
    bundles_came: tuple[tuple[int, BundleTold], ...] = ()


class DeltaMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="delta"):
    """An auction is open, for those who asked: `delta` leads there from auction `base`."""

    auction: int
    base: int
    delta: DeltaTold
    snapshot_hash: str


class DeltasAcceptedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="deltas"):
    """Differences come from now on."""


class AcceptedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="accepted"):
    """Your solution is in; `bid` is what verdicts call it."""

    auction: int
    bid: str


class RejectedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="rejected"):
    """Your message was refused. `auction` is 0 where none could be read."""

    auction: int
    code: str
    message: str
    hint: str


class JudgedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="judged"):
    """What became of your solution; `code` is empty if it won."""

    auction: int
    bid: str
    rank: int
    score: str
    code: str
    reason: str
