"""Auctions on a bench: opened, and bid for."""

from collections.abc import Mapping, Sequence
from typing import Any

from solver.core.command import OpenAuction, ProposeSolution, SolutionFill
from solver.core.event import AuctionOpened
from tests.builder import SEARCH, USDC, Bench, only
from tests.judging import SEED, cleared

Line = tuple[str, str, int]
"""A fill: intent, offer and units."""


def opened(
    bench: Bench,
    *,
    resources: Sequence[str] = (SEARCH,),
    asset: str = USDC,
    seconds: int = 1,
    **terms: Any,
) -> AuctionOpened:
    """An auction that closes in so many seconds."""
    command = OpenAuction(
        resources=tuple(resources),
        asset=asset,
        closes_at_ms=bench.now_ms + seconds * 1_000,
        seed=SEED,
        **terms,
    )
    return only(bench.do(command), AuctionOpened)


def proposal(auction: AuctionOpened, solver: str, tick: int, *lines: Line) -> ProposeSolution:
    """A bid for its first book."""
    return proposal_of(auction, solver, tick, {auction.resources[0]: lines})


def proposal_of(
    auction: AuctionOpened, solver: str, tick: int, fills: Mapping[str, Sequence[Line]]
) -> ProposeSolution:
    """A bid for some of its books, in their order: fills by resource, all at one price."""
    books = [
        cleared(tick, [SolutionFill(intent=i, offer=o, units=n) for i, o, n in lines], resource)
        for resource in auction.resources
        if (lines := fills.get(resource))
    ]
    return ProposeSolution(
        auction=auction.auction, solver=solver, snapshot=auction.snapshot, books=tuple(books)
    )
