"""What solvers send and are told: auctions, snapshots, solutions and what became of them."""

from typing import Annotated, Literal

from msgspec import Meta

from intents.bound import TICK_MAX
from intents.document import Hash, Units
from solver.core.auction import FILLS_MAX
from solver.gateway.wire import Counter, Sent, Told


class ProposedFill(Sent, frozen=True, kw_only=True):
    """Units of one intent from one offer."""

    intent: Hash
    offer: Hash
    units: Units


class SolutionMessage(Sent, frozen=True, kw_only=True):
    """A solver's sealed bid for an auction."""

    type: Literal["solution"]
    auction: Counter
    snapshot: Hash
    tick: Annotated[int, Meta(ge=0, le=TICK_MAX)]
    fills: Annotated[tuple[ProposedFill, ...], Meta(max_length=FILLS_MAX)]


class OrderTold(Told, frozen=True, kw_only=True):
    """An intent or offer of a snapshot."""

    id: str
    account: str
    tick: int
    units: int
    minimum: int


class SnapshotTold(Told, frozen=True, kw_only=True):
    """What is traded in one epoch, in price-time order."""

    auction: int
    resource: str
    asset: str
    closes_at_ms: int
    intents: tuple[OrderTold, ...]
    offers: tuple[OrderTold, ...]


class SolutionTold(Told, frozen=True, kw_only=True):
    """A solution that was proposed; told only once its auction has closed."""

    solver: str
    tick: int
    fills: tuple[ProposedFill, ...]


class AuctionTold(Told, frozen=True, kw_only=True):
    """An auction. Solutions are sealed, and the list empty, until it has closed."""

    auction: int
    snapshot: SnapshotTold
    snapshot_hash: str
    closed: bool
    winner: str
    score: str
    solutions: tuple[SolutionTold, ...]


class AuctionMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="auction"):
    """An auction is open: answer before `snapshot.closesAtMs`."""

    auction: int
    snapshot: SnapshotTold
    snapshot_hash: str


class AcceptedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="accepted"):
    """Your solution is in."""

    auction: int


class RejectedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="rejected"):
    """Your message was refused. `auction` is 0 where none could be read."""

    auction: int
    code: str
    message: str
    hint: str


class JudgedMessage(Told, frozen=True, kw_only=True, tag_field="type", tag="judged"):
    """What became of your solution; `code` is empty if it won."""

    auction: int
    rank: int
    score: str
    code: str
    reason: str
