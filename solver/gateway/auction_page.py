"""An auction's record, page by page: one answer is bounded, whatever was bid for.

A record is a row of parts: the snapshot's books and bundles, and once it has closed its solutions
and awards. A page has as many whole parts as fit; most auctions are one page.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from msgspec.structs import replace

from solver.core.auction import Auction, Proposed, SnapshotBook, SnapshotBundle
from solver.core.award import AwardState
from solver.engine.award import SignedAward
from solver.gateway.competition import AuctionTold, AwardedFillTold, AwardTold, WinnerTold
from solver.gateway.view import snapshot_told, solution_told, tell

ROWS_MAX: Final = 8_192
"""Orders, ratings, legs and fills of a page: some two megabytes. A larger part is one alone."""
_Part = SnapshotBook | SnapshotBundle | Proposed | AwardState


def auction_told(
    auction: Auction,
    awards: Iterable[AwardState],
    signed: Callable[[AwardState], SignedAward],
    after: int = 0,
) -> AuctionTold:
    """The page after so many parts; its solutions only once nobody can answer them any more."""
    snapshot = auction.snapshot
    parts: list[_Part] = [*snapshot.books, *snapshot.bundles]
    if auction.closed:
        parts += [*auction.proposed, *awards]
    page = _page(parts, after)
    shown = replace(
        snapshot,
        books=tuple(part for part in page if isinstance(part, SnapshotBook)),
        bundles=tuple(part for part in page if isinstance(part, SnapshotBundle)),
    )
    following = after + len(page)
    return AuctionTold(
        auction=snapshot.auction,
        snapshot=snapshot_told(shown),
        snapshot_hash=auction.snapshot_digest,
        closed=auction.closed,
        seed=auction.seed if auction.closed else "",
        shrunk=_shrunk(auction, page),
        winners=tuple(tell(winner, WinnerTold) for winner in auction.winners),
        score=auction.score,
        gap=auction.gap,
        solutions=tuple(solution_told(part) for part in page if isinstance(part, Proposed)),
        deadline_block=auction.deadline_block or 0,
        awards=tuple(_award_told(signed(part)) for part in page if isinstance(part, AwardState)),
        next=following if page and following < len(parts) else None,
    )


def _page(parts: Sequence[_Part], after: int) -> list[_Part]:
    page: list[_Part] = []
    rows = 0
    for part in islice(parts, after, None):
        rows += _rows(part)
        if page and rows > ROWS_MAX:
            break
        page.append(part)
    return page


def _rows(part: _Part) -> int:
    match part:
        case SnapshotBook():
            return 1 + part.orders_count + len(part.ratings)
        case SnapshotBundle():
            return 1 + len(part.legs)
        case Proposed():
            books, brought = part.solution.books, part.solution.brought
            return 1 + len(books) + part.solution.fills_count + len(brought)
        case AwardState():
            return 1 + len(part.fills)


def _shrunk(auction: Auction, page: Iterable[_Part]) -> dict[str, int]:
    """Of the orders that the page has."""
    shrunk = auction.shrunk
    named: list[str] = []
    for part in page if shrunk else ():
        if isinstance(part, SnapshotBook):
            named += [order.id for order in (*part.intents, *part.offers)]
        elif isinstance(part, Proposed):
            named += [brought.order.id for brought in part.solution.brought]
    return {name: shrunk[name] for name in named if name in shrunk}


def _award_told(signed: SignedAward) -> AwardTold:
    award = signed.document
    return AwardTold(
        auction=award.auction,
        solver=award.solver,
        solution=award.solution,
        deadline_block=award.deadline_block,
        signature=signed.signature,
        fills=tuple(tell(fill, AwardedFillTold) for fill in signed.fills),
    )
