"""Auctions of resources that trade in epochs: opened, bid for, judged, carried out."""

from typing import Final

from intents.reject import Reject, RejectCode, reject
from solver.core.auction import (
    FILLS_MAX,
    SOLUTIONS_MAX,
    SOLUTIONS_PER_SOLVER_MAX,
    Auction,
    Proposed,
    Ranked,
    Snapshot,
    SnapshotOrder,
    Solution,
    judge,
)
from solver.core.book import Order
from solver.core.command import Mode, OpenAuction, ProposeSolution
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    IntentStatus,
    SolutionAccepted,
    SolutionJudged,
)
from solver.core.state import AUCTIONS_KEPT_MAX, Due, State
from solver.core.trade import carry_out, end_intent, open_units

CONTESTED_LOOKS_MAX: Final = 32
"""Orders of each side that are looked at for one that somebody else can fill."""
AUCTION_ROWS_KEPT_MAX: Final = 500_000
"""Orders and proposed fills that closed auctions may hold together."""


def open_auction(state: State, command: OpenAuction) -> Reject | None:
    """Cut a snapshot, if there is anything to decide in this epoch.

    Rejects: resource_unknown, already_known (one at a time in each asset), not_open (nothing
    crosses).
    """
    if state.resources.get(command.resource) is not Mode.EPOCH:
        return reject(RejectCode.RESOURCE_UNKNOWN, f"{command.resource} has no epochs")
    if any(_is_under_way(auction, command) for auction in state.auctions.values()):
        return reject(RejectCode.ALREADY_KNOWN, "its auction in this asset is under way")
    book = state.books.get((command.resource, command.asset))
    if book is None:
        return reject(RejectCode.NOT_OPEN, "nothing to trade in this epoch")
    bids = sorted([*book.bids(), *book.waiting()], key=lambda order: (-order.tick, order.seq))
    intents = tuple(_seen(order) for order in bids)
    offers = tuple(_seen(order) for order in book.asks())
    if command.closes_at_ms <= state.now_ms or not _is_contested(state, intents, offers):
        return reject(RejectCode.NOT_OPEN, "nothing to trade in this epoch")
    snapshot = Snapshot(
        auction=state.next_seq(),
        resource=command.resource,
        asset=command.asset,
        closes_at_ms=command.closes_at_ms,
        intents=intents,
        offers=offers,
    )
    digest = snapshot.digest()
    state.auctions[snapshot.auction] = Auction(snapshot=snapshot, snapshot_digest=digest)
    state.schedule(command.closes_at_ms, Due.CLOSE_AUCTION, str(snapshot.auction))
    state.emit(
        AuctionOpened(
            auction=snapshot.auction,
            resource=command.resource,
            snapshot=digest,
            closes_at_ms=command.closes_at_ms,
        )
    )
    return None


def propose_solution(state: State, command: ProposeSolution) -> Reject | None:
    """Take a sealed bid; it is judged when the auction closes.

    Rejects, in order: auction_unknown, auction_closed, snapshot_mismatch, solution_limit,
    solution_duplicate.
    """
    auction = state.auctions.get(command.auction)
    if auction is None:
        return reject(RejectCode.AUCTION_UNKNOWN, f"no auction {command.auction}")
    if auction.closed:
        return reject(RejectCode.AUCTION_CLOSED, f"it closed at {auction.snapshot.closes_at_ms}")
    if command.snapshot != auction.snapshot_digest:
        return reject(RejectCode.SNAPSHOT_MISMATCH, f"the snapshot is {auction.snapshot_digest}")
    mine = [p.solution for p in auction.proposed if p.solver == command.solver]
    if (
        len(mine) >= SOLUTIONS_PER_SOLVER_MAX
        or len(auction.proposed) >= SOLUTIONS_MAX
        or len(command.fills) > FILLS_MAX
    ):
        return reject(
            RejectCode.SOLUTION_LIMIT,
            f"at most {SOLUTIONS_PER_SOLVER_MAX} solutions of {FILLS_MAX} fills a solver",
        )
    solution = Solution(tick=command.tick, fills=command.fills)
    if solution in mine:
        return reject(RejectCode.SOLUTION_DUPLICATE, "it was proposed before")
    auction.proposed.append(
        Proposed(solver=command.solver, seq=state.next_seq(), solution=solution)
    )
    state.emit(SolutionAccepted(auction=command.auction, solver=command.solver))
    return None


def close_auction(state: State, number: int) -> None:
    """Judge all solutions, tell each its rank, carry out the best."""
    auction = state.auctions[number]
    auction.closed = True
    ranking = judge(auction, lambda order: open_units(state, order))
    for rank, ranked in enumerate(ranking, start=1):
        state.emit(
            SolutionJudged(
                auction=number,
                solver=ranked.proposed.solver,
                rank=rank,
                score=ranked.score,
                reason=ranked.reason,
            )
        )
    winner = ranking[0] if ranking and ranking[0].reason is None else None
    if winner is not None:
        auction.winner = winner.proposed.solver
        auction.score = str(winner.score)
        _carry_out(state, winner)
    state.emit(
        AuctionClosed(
            auction=number,
            resource=auction.snapshot.resource,
            winner=auction.winner,
            tick=winner.solution.tick if winner else 0,
            score=winner.score if winner else 0,
        )
    )
    _end_immediate(state, auction)
    _forget_old_auctions(state)


def _is_under_way(auction: Auction, command: OpenAuction) -> bool:
    snapshot = auction.snapshot
    same_book = (snapshot.resource, snapshot.asset) == (command.resource, command.asset)
    return same_book and not auction.closed


def _is_contested(
    state: State, intents: tuple[SnapshotOrder, ...], offers: tuple[SnapshotOrder, ...]
) -> bool:
    """Whether a bid meets another's ask, or an immediate intent waits for its end."""
    if any(
        bid.tick >= ask.tick and bid.account != ask.account
        for bid in intents[:CONTESTED_LOOKS_MAX]
        for ask in offers[:CONTESTED_LOOKS_MAX]
    ):
        return True
    return any(state.intents[order.id].immediate for order in intents)


def _carry_out(state: State, winner: Ranked) -> None:
    """Execute what still counts of the winning fills, intent by intent, at the one price."""
    solution, lines = winner.solution, dict[str, list[tuple[Order, int]]]()
    for fill in solution.fills:
        ask = state.offers[fill.offer].order
        lines.setdefault(fill.intent, []).append((ask, fill.units))
    for digest, mine in lines.items():
        state.exchange.fill_together(state.intents[digest].order, mine, solution.tick)
        carry_out(state)


def _end_immediate(state: State, auction: Auction) -> None:
    """An immediate intent has had its one auction: what is left of it ends."""
    for order in auction.snapshot.intents:
        intent = state.intents.get(order.id)
        if intent is not None and intent.immediate:
            end_intent(state, intent, IntentStatus.UNFILLED)


def _seen(order: Order) -> SnapshotOrder:
    return SnapshotOrder(
        id=order.id,
        account=order.account,
        tick=order.tick,
        units=order.units,
        minimum=order.minimum,
    )


def _forget_old_auctions(state: State) -> None:
    """Keep the newest that are closed, as many as memory is given for."""
    kept, rows = 0, 0
    for number in sorted(state.auctions, reverse=True):
        auction = state.auctions[number]
        if auction.closed:
            kept += 1
            rows += _rows(auction)
            if kept > AUCTIONS_KEPT_MAX or (kept > 1 and rows > AUCTION_ROWS_KEPT_MAX):
                del state.auctions[number]


def _rows(auction: Auction) -> int:
    """Orders and fills that a record holds."""
    fills = sum(len(proposed.solution.fills) for proposed in auction.proposed)
    return len(auction.snapshot.intents) + len(auction.snapshot.offers) + fills
