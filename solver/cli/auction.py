"""`keyfill auction`: past competitions, each of them judged again, with other strategies too.

Exit codes of `replay`: 0 it comes to what was told; 1 there is no such record; 70 it does not.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from intents.signature import SigningKey
from solver.cli.context import CommandFailed, Context
from solver.cli.journal import opened
from solver.cli.strategy import Name, Seed, strategy_of, tell
from solver.cli.trade import LOCAL
from solver.client import Market as MarketClient
from solver.client.auction_page import auction_told
from solver.client.competitor import outcome
from solver.client.model import AuctionsTold, AuctionSummary, AuctionTold
from solver.client.record import awards_differ, record_of, replayed
from solver.core.auction import SOLUTIONS_PER_SOLVER_MAX, Auction
from solver.core.event import AuctionClosed
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, apply_group

DIFFERS = 70
"""Exit code of a verdict that does not follow from its record (EX_SOFTWARE)."""

app = App(name="auction", help="Past competitions, judged again, with other strategies too.")


@app.command(name="list")
async def newest(
    *,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    context: Context = LOCAL,
) -> None:
    """The newest auctions: who won, with how much surplus."""
    async with MarketClient(context.market_url()) as market:
        told = await market.get("/v1/auctions", AuctionsTold, limit=limit)
        context.show_rows("auctions", [_row(one) for one in told.auctions])


Number = Annotated[int, Parameter(help="As `keyfill auction list` has it.")]
Folder = Annotated[
    Path | None,
    Parameter(help="Folder of a market: take the record from its journal, however old it is."),
]


@app.command
async def replay(
    number: Number,
    /,
    *,
    journal: Folder = None,
    context: Context = LOCAL,
) -> None:
    """Judge an auction again from its record, and compare with what the market told.

    Prints the verdict as one line of JSON: of one record the same bytes on any machine. The exit
    code is 70 where it differs.
    """
    if journal is None:
        told = await _told(context, number)
        found = replayed(record_of(told))
        if awards_differ(told):
            found = msgspec.structs.replace(found, differs=(*found.differs, "awards"))
    else:
        found = replayed(_kept(journal, number))
    sys.stdout.write(found.text().decode() + "\n")
    if found.differs:
        sys.stderr.write(f"the market told otherwise: {', '.join(found.differs)}\n")
        sys.exit(DIFFERS)


@app.command
async def shadow(
    number: Number,
    /,
    *,
    strategy: Name,
    seconds: Annotated[float, Parameter(help="What it may think, if it keeps to that.")] = 1.0,
    seed: Seed = 0,
    journal: Folder = None,
    context: Context = LOCAL,
) -> None:
    """Run a strategy on a past auction: what would it have won beside those who were there?

    Nothing is sent. Score, reference and reward are surplus in micro-atoms.
    """
    timed = strategy_of(strategy, seed)
    record = _kept(journal, number) if journal else record_of(await _told(context, number))
    found = timed(record.snapshot, seconds)[:SOLUTIONS_PER_SOLVER_MAX]
    nobody = SigningKey.generate().address
    tell(outcome(record, nobody, found, shadow=True), as_json=context.json, shadow=True)


async def _told(context: Context, number: int) -> AuctionTold:
    async with MarketClient(context.market_url()) as market:
        return await auction_told(market, number)


def _kept(folder: Path, number: int) -> Auction:
    """What the journal leads to, as the auction closes."""
    with opened(folder) as reader:
        recovered = Recovered(market=Market(reader.genesis.usdc), feed=Feed())
        for group in reader.read():
            for events in apply_group(recovered, group):
                for event in events:
                    if isinstance(event, AuctionClosed) and event.auction == number:
                        return _found(recovered, number)
    raise CommandFailed(f"no auction {number} has closed in the journal of {folder}")


def _found(recovered: Recovered, number: int) -> Auction:
    try:
        return recovered.market.state.auctions[number]
    except KeyError:
        raise CommandFailed(f"auction {number} was forgotten in the group it closed in") from None


def _row(one: AuctionSummary) -> dict[str, Any]:
    return {
        "auction": one.auction,
        "asset": one.asset,
        "books": len(one.resources),
        "solutions": one.solutions,
        "winners": [winner.solver for winner in one.winners],
        "score": one.score if one.closed else "open",
        "gap": one.gap,
    }
