"""An auction's record, fetched page by page and put together."""

from typing import Final

from msgspec.structs import replace

from solver.client.fault import Unexpected
from solver.client.market import Market
from solver.client.model import AuctionTold

PAGES_MAX: Final = 512
"""Of one auction: several times what the largest has."""


async def auction_told(market: Market, number: int) -> AuctionTold:
    """An auction with all its pages. Raises Rejected (auction_unknown), Unexpected."""
    return await all_of(market, await page_told(market, number))


async def page_told(market: Market, number: int, after: int = 0) -> AuctionTold:
    """One page: the first has what most auctions have. Raises Rejected (auction_unknown)."""
    return await market.get(f"/v1/auctions/{number}", AuctionTold, after=after)


async def all_of(market: Market, first: AuctionTold) -> AuctionTold:
    """The auction whose first page this is; begun again if it closes meanwhile."""
    told, pages = first, 1
    while told.next is not None:
        page = await page_told(market, told.auction, told.next)
        pages += 1
        if pages > PAGES_MAX:
            raise Unexpected(f"auction {told.auction} has more than {PAGES_MAX} pages")
        if page.closed == told.closed:
            told = _joined(told, page)
        else:
            told = await page_told(market, told.auction)
    return told


def _joined(told: AuctionTold, page: AuctionTold) -> AuctionTold:
    before, after = told.snapshot, page.snapshot
    parts = {name: [*before[name], *after[name]] for name in ("books", "bundles")}
    return replace(
        page,
        snapshot=after | parts,
        shrunk=told.shrunk | page.shrunk,
        solutions=(*told.solutions, *page.solutions),
        awards=(*told.awards, *page.awards),
    )
