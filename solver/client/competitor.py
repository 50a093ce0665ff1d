"""A strategy that competes by itself: it answers every auction, and says what came of it.

What came of it is not taken from the market's word: each closed auction is judged again from
its record. In the shadow nothing is ever sent; the record is judged as if it had been.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from intents.signature import SigningKey
from solver.client.auction_page import all_of, page_told
from solver.client.fault import MarketFault, Rejected, Unexpected, Unreachable
from solver.client.market import Market, may_repeat, pause_seconds
from solver.client.model import Auction
from solver.client.record import Place, Replayed, record_of, replayed
from solver.client.solver import Desk, Solver
from solver.core.auction import (
    SOLUTIONS_MAX,
    SOLUTIONS_PER_SOLVER_MAX,
    Proposed,
    Snapshot,
    Solution,
)
from solver.core.auction import Auction as Record

TimedStrategy = Callable[[Snapshot, float], Sequence[Solution]]
"""Solutions to a snapshot, found in so many seconds; runs in a thread."""

THINKING_SHARE: Final = 0.5
"""Of the time until an auction closes; the rest is for the way there, and a busy machine."""
AUCTIONS_AT_ONCE_MAX: Final = 8
"""More that are open are passed over."""
RECORD_ATTEMPTS_MAX: Final = 40
RECORD_PAUSE_SECONDS: Final = 0.05
"""A market closes an auction some milliseconds after its time, later under load."""
PAUSES_GROW_MAX: Final = 7
"""So often the pause between connections grows; it is then some five seconds."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one auction. Surplus is in micro-atoms.

    `score` is of what won, else of the best solution; `reference` is what others could have had
    of what won: the difference is the reward. `rank` is the best solution's of `ranked` (0: none
    was judged). `reason` says why nothing won, and is empty if something did. `differs` names what
    the market published otherwise than its record leads to.
    """

    auction: int
    proposed: int = 0
    won: int = 0
    score: int = 0
    reference: int = 0
    charged: int = 0
    """What the fills that won are charged for it: what it is paid if all of them are delivered.

    The reward, but for what is rounded for the users; 0 where winners are not paid."""
    market_score: int = 0
    """What all winners have together, as the market published it."""
    rank: int = 0
    ranked: int = 0
    reason: str = ""
    differs: tuple[str, ...] = ()

    @property
    def reward(self) -> int:
        """What was won above what others could have had."""
        return self.score - self.reference if self.won else 0


class Competitor:
    """Runs a strategy against a market until it is cancelled; connects again by itself."""

    def __init__(
        self,
        url: str,
        key: SigningKey,
        strategy: TimedStrategy,
        *,
        tell: Callable[[Outcome], None],
        tell_fault: Callable[[MarketFault], None],
        shadow: bool = False,
    ) -> None:
        self._url = url
        self._key = key
        self._strategy = strategy
        self._tell = tell
        self._tell_fault = tell_fault
        self._shadow = shadow
        self._faults = 0
        """In a row."""

    async def run(self) -> None:
        """Compete. Raises Rejected where the market will not have this solver at all."""
        while True:
            try:
                async with Market(self._url) as market:
                    await self._compete(market)
                fault: MarketFault = Unreachable("the market closed the connection")
            except MarketFault as caught:
                if isinstance(caught, Rejected) and not may_repeat(caught, repeatable=True):
                    raise
                fault = caught
            self._tell_fault(fault)
            self._faults = min(self._faults + 1, PAUSES_GROW_MAX)
            await asyncio.sleep(pause_seconds(fault, self._faults))

    async def _compete(self, market: Market) -> None:
        """Until the connection ends; each auction by itself, as several are open at once."""
        running: set[asyncio.Task[None]] = set()
        refused: Rejected | None = None
        async with (
            Solver(market, self._key).connect() as desk,
            asyncio.TaskGroup() as tasks,
        ):
            try:
                async for auction in desk:
                    self._faults = 0
                    if len(running) < AUCTIONS_AT_ONCE_MAX:
                        running.add(task := tasks.create_task(self._take(market, desk, auction)))
                        task.add_done_callback(running.discard)
            except Rejected as said:
                # Out of the group, which would wrap it.
                refused = said
        if refused is not None:
            raise refused

    async def _take(self, market: Market, desk: Desk, auction: Auction) -> None:
        """One auction from its opening to what came of it; its faults are its own."""
        try:
            seconds = (auction.snapshot.closes_at_ms - market.time_ms()) / 1_000
            found = await asyncio.to_thread(
                self._strategy, auction.snapshot, max(0.0, seconds * THINKING_SHARE)
            )
            found = found[:SOLUTIONS_PER_SOLVER_MAX]
            refused = "" if self._shadow else await _propose(desk, auction, found)
            record = await _closed(market, auction)
            self._tell(outcome(record, self._key.address, found, refused, shadow=self._shadow))
        except MarketFault as fault:
            self._tell(Outcome(auction=auction.number, reason=str(fault)))


async def _propose(desk: Desk, auction: Auction, found: Sequence[Solution]) -> str:
    """Send all; why the last one that was refused was, if one was."""
    refused = ""
    for solution in found:
        try:
            await desk.propose(auction, solution)
        except Rejected as fault:
            refused = str(fault)
    return refused


async def _closed(market: Market, auction: Auction) -> Record:
    """The record, as soon as the market has closed it. Raises Unexpected if it does not."""
    left_ms = auction.snapshot.closes_at_ms - market.time_ms()
    await asyncio.sleep(max(0, left_ms) / 1_000)
    for _ in range(RECORD_ATTEMPTS_MAX):
        told = await page_told(market, auction.number)
        if told.closed:
            return record_of(await all_of(market, told))
        await asyncio.sleep(RECORD_PAUSE_SECONDS)
    raise Unexpected(f"auction {auction.number} is still open long after its time")


# -- what came of it


def outcome(
    record: Record, solver: str, found: Sequence[Solution], refused: str = "", *, shadow: bool
) -> Outcome:
    """What came of solutions to a closed auction; in the shadow, what would have come of them."""
    published = replayed(record)
    verdict = replayed(_with(record, solver, found)) if shadow else published
    own = [place for place in verdict.ranking if place.solver == solver]
    score, reference = _won(verdict, solver)
    return Outcome(
        auction=record.snapshot.auction,
        proposed=len(found),
        won=sum(not place.code for place in own),
        score=score or max((int(place.score) for place in own), default=0),
        reference=reference,
        charged=_charged(verdict, own),
        market_score=int(record.score),
        rank=own[0].rank if own else 0,
        ranked=len(verdict.ranking),
        reason=_reason(own, refused),
        differs=published.differs,
    )


def _with(record: Record, solver: str, found: Sequence[Solution]) -> Record:
    """The record, had these been proposed too, and nothing else by the same solver."""
    others = [one for one in record.proposed if one.solver != solver]
    own = {
        bid: Proposed(solver=solver, seq=len(others), bid=bid, solution=solution)
        for solution in found[: SOLUTIONS_MAX - len(others)]
        for bid in (solution.digest(solver),)
    }
    return msgspec.structs.replace(record, proposed=[*others, *own.values()])


def _won(verdict: Replayed, solver: str) -> tuple[int, int]:
    """Score and reference of what the solver won; zeros for nothing."""
    mine = [(int(won.score), int(won.reference)) for won in verdict.winners if won.solver == solver]
    return mine[0] if mine else (0, 0)


def _charged(verdict: Replayed, own: Sequence[Place]) -> int:
    """In micro-atoms, of all its solutions that won."""
    won = [charge for place in own for charge in verdict.charges.get(place.bid, ())]
    return sum(charge.units * (charge.bid_charge + charge.ask_charge) for charge in won)


def _reason(own: Sequence[Place], refused: str) -> str:
    """Of the best solution, as winners come first."""
    return own[0].code if own else refused or "nothing to propose"
