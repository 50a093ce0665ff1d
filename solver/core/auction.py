"""One epoch's competition as data: the snapshot solvers see, what they propose, what it led to.

A solution says for any of the snapshot's books how it clears them, each at one price. It
is a bid for those books together: it wins all of them or none.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from solver.core.bid import BIDS_MAX, BIDS_PER_SOLVER_MAX, BUCKETS_MAX
from solver.core.command import ClearedBook
from solver.core.event import Won
from solver.core.quality import Floor, Rating

BOOKS_MAX: Final = BUCKETS_MAX
ORDERS_PER_SIDE_MAX: Final = 4_096
"""Of one book, the best first: what is behind waits for an epoch in which it is among them."""
ORDERS_MAX: Final = 65_536
"""Of all books; those of which no order fits any more wait for the next auction."""
SOLUTIONS_PER_SOLVER_MAX: Final = BIDS_PER_SOLVER_MAX
SOLUTIONS_MAX: Final = BIDS_MAX
FILLS_MAX: Final = 4_096
"""Of one solution."""
FILLS_PER_SOLVER_MAX: Final = 8_192
FILLS_PER_AUCTION_MAX: Final = 65_536


class SnapshotOrder(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename="camel",
):
    """An intent or offer as solvers see it. What ends by `until_ms` is not filled then or later.

    Named and written as the API does: a told order is this one. 0 stands where ends are not
    told, as they were not at first: such a hash goes without.
    """

    id: str
    account: str
    tick: int
    units: int
    minimum: int
    until_ms: int = 0


class SnapshotBook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is traded of one resource, in price-time order."""

    resource: str
    intents: tuple[SnapshotOrder, ...]
    offers: tuple[SnapshotOrder, ...]
    ratings: dict[str, Rating] = {}
    """Of offers, where an intent of the book asks for a quality; an offer without one has none."""

    @property
    def orders_count(self) -> int:
        """Of both sides."""
        return len(self.intents) + len(self.offers)


class SnapshotBundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Intents of the books that are filled all or none; with `any_of`, one of them at most.

    From offers alone whose rating meets `floor`.
    """

    id: str
    any_of: bool
    legs: tuple[str, ...]
    floor: Floor = Floor()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is traded in one epoch for one asset; `seed_hash` commits to what decides ties."""

    auction: int
    asset: str
    closes_at_ms: int
    seed_hash: str
    books: tuple[SnapshotBook, ...]
    bundles: tuple[SnapshotBundle, ...] = ()

    def digest(self) -> str:
        """The hash that a solution must name."""
        return "0x" + blake2b(msgspec.msgpack.encode(self), digest_size=32).hexdigest()


class BroughtOffer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An offer of the solver's own, of which nobody knew before.

    `rating` is its key's when it was brought, if an intent of the auction asks for a quality.
    """

    resource: str
    order: SnapshotOrder
    rating: Rating | None = None


class Solution(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Books cleared together or not at all. A strategy returns this; a solver sends it.

    It may fill from what it brought, beside the snapshot's offers.
    """

    books: tuple[ClearedBook, ...]
    brought: tuple[BroughtOffer, ...] = ()

    @property
    def fills_count(self) -> int:
        """Of all its books."""
        return sum(len(book.fills) for book in self.books)

    def digest(self, solver: str) -> str:
        """The id of the bid that this solver makes with it: of what it says, not when."""
        text = msgspec.json.encode([solver, self])
        return "0x" + blake2b(text, digest_size=16).hexdigest()


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """A solution that arrived in time, in form, and is not judged yet; `seq` says when."""

    solver: str
    seq: int
    bid: str
    solution: Solution


class Auction(msgspec.Struct, kw_only=True):
    """One auction's record: with its seed, all that anyone needs to judge it again."""

    snapshot: Snapshot
    snapshot_digest: str
    seed: str
    proposed: list[Proposed] = []
    closed: bool = False
    shrunk: dict[str, int] = {}
    """Units that were live at the close, of orders that had fewer than in the snapshot."""
    winners: tuple[Won, ...] = ()
    score: str = "0"
    """As text: surplus in micro-atoms outgrows 64 bits."""
    gap: str = "0"
    breaker: bool | UnsetType = UNSET
    """Whether winners answer for their own offers; said only where they do."""
    deadline_block: int | UnsetType = UNSET
    """Of its awards; unset, and not written down, where winners are not paid."""


def brought_of(auction: Auction) -> Iterator[SnapshotOrder]:
    """All that was brought to an auction, each once."""
    found = {one.order.id: one.order for made in auction.proposed for one in made.solution.brought}
    return iter(found.values())


def sealed_offers(auctions: Iterable[Auction]) -> set[str]:
    """Those that were brought to auctions that are open."""
    return {order.id for one in auctions if not one.closed for order in brought_of(one)}


def seed_hash(seed: str) -> str:
    """What is told of a seed before the close."""
    return "0x" + blake2b(bytes.fromhex(seed), digest_size=32).hexdigest()
