"""Auctions on a bench: opened, and bid for."""

from collections.abc import Sequence
from typing import Any

from solver.core.command import OpenAuction, ProposeSolution, SolutionFill
from solver.core.event import AuctionOpened
from tests.builder import SEARCH, USDC, Bench, only
from tests.judging import SEED, solution


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


def proposal(
    auction: AuctionOpened, solver: str, tick: int, *lines: tuple[str, str, int]
) -> ProposeSolution:
    """A bid for its first book: intent, offer and units of each fill, at one price."""
    fills = [SolutionFill(intent=i, offer=o, units=n) for i, o, n in lines]
    return ProposeSolution(
        auction=auction.auction,
        solver=solver,
        snapshot=auction.snapshot,
        books=solution(tick, fills, auction.resources[0]).books,
    )
