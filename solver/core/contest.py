"""Auctions of resources that trade in epochs: opened, bid for, judged, carried out."""

from heapq import merge
from itertools import islice
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from intents.reject import Reject, RejectCode, reject
from solver.core.auction import (
    BOOKS_MAX,
    FILLS_MAX,
    FILLS_PER_AUCTION_MAX,
    FILLS_PER_SOLVER_MAX,
    ORDERS_MAX,
    ORDERS_PER_SIDE_MAX,
    SOLUTIONS_MAX,
    SOLUTIONS_PER_SOLVER_MAX,
    Auction,
    Proposed,
    Snapshot,
    SnapshotBook,
    SnapshotOrder,
    Solution,
    seed_hash,
)
from solver.core.award import AwardState, award_id, forget_settled
from solver.core.bonding import fault_in_bond, pledge
from solver.core.book import Order
from solver.core.bringing import (
    bring,
    brought_orders,
    fault_in_brought,
    shrunk_of,
    tell_brought,
    withdraw_brought,
)
from solver.core.bundling import choose_leg, seen_bundles, without_parts
from solver.core.charge import Charge
from solver.core.command import ClearedBook, Mode, OpenAuction, ProposeSolution
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    Awarded,
    Event,
    Filled,
    IntentStatus,
    SolutionAccepted,
    SolutionJudged,
)
from solver.core.judge import Scored, Verdict, judge
from solver.core.rating import ratings_of
from solver.core.state import AUCTIONS_KEPT_MAX, Due, State
from solver.core.trade import Awarding, carry_out, end_intent, open_units

AUCTION_ROWS_KEPT_MAX: Final = 500_000
"""Orders and proposed fills that closed auctions may hold together."""
DEMAND_AGAIN_MS: Final = 10_000
"""Demand that no offer crosses is shown again after so long at most."""


def open_auction(state: State, command: OpenAuction) -> Reject | None:
    """Cut a snapshot of the books in which there is anything to decide in this epoch.

    Rejects: too_large, resource_unknown, already_known (a book is in one auction at a time),
    not_open (nothing crosses).
    """
    refused = _fault_in(state, command)
    if refused is not None:
        return refused
    books = _contested(state, command)
    if command.closes_at_ms <= state.now_ms or not books:
        return reject(RejectCode.NOT_OPEN, "nothing to trade in this epoch")
    snapshot = Snapshot(
        auction=state.next_seq(),
        asset=command.asset,
        closes_at_ms=command.closes_at_ms,
        seed_hash=seed_hash(command.seed),
        books=books,
        bundles=seen_bundles(state, books),
    )
    digest = snapshot.digest()
    auction = Auction(
        snapshot=snapshot,
        snapshot_digest=digest,
        seed=command.seed,
        breaker=command.breaker or UNSET,
    )
    if command.deadline_block and command.asset == state.usdc:
        auction.deadline_block = command.deadline_block
    state.auctions[snapshot.auction] = auction
    state.schedule(command.closes_at_ms, Due.CLOSE_AUCTION, str(snapshot.auction))
    state.emit(
        AuctionOpened(
            auction=snapshot.auction,
            resources=_resources(snapshot),
            asset=snapshot.asset,
            snapshot=digest,
            seed_hash=snapshot.seed_hash,
            closes_at_ms=command.closes_at_ms,
        )
    )
    return None


def propose_solution(state: State, command: ProposeSolution) -> Reject | None:
    """Take a sealed bid; it is judged when the auction closes.

    Rejects, in order: auction_unknown, auction_closed, snapshot_mismatch, solver_benched, those of
    `fault_in_bond`, solution_limit, solution_duplicate, those of `fault_in_brought`.
    """
    auction = state.auctions.get(command.auction)
    if auction is None:
        return reject(RejectCode.AUCTION_UNKNOWN, f"no auction {command.auction}")
    refused = _fault_in_place(auction, command)
    if refused is not None:
        return refused
    solution = Solution(books=command.books, brought=brought_orders(state, auction, command))
    refused = state.conduct.fault(command.solver, state.now_ms) if auction.breaker is True else None
    refused = refused or fault_in_bond(state, command)
    refused = refused or _beyond_limits(auction, command.solver, solution.fills_count)
    if refused is not None:
        return refused
    bid = solution.digest(command.solver)
    if any(bid == other.bid for other in auction.proposed):
        return reject(RejectCode.SOLUTION_DUPLICATE, "it was proposed before")
    refused = fault_in_brought(state, auction, command)
    if refused is not None:
        return refused
    bring(state, auction, command)
    auction.proposed.append(
        Proposed(solver=command.solver, seq=state.next_seq(), bid=bid, solution=solution)
    )
    state.emit(SolutionAccepted(auction=command.auction, solver=command.solver, bid=bid))
    return None


def close_auction(state: State, number: int) -> None:
    """Judge all solutions, tell each its rank, carry out those that win."""
    auction = state.auctions[number]
    auction.closed = True
    auction.shrunk = _shrunk(state, auction.snapshot) | shrunk_of(state, auction)
    tell_brought(state, auction)
    verdict = judge(auction)
    for rank, ranked in enumerate(verdict.ranking, start=1):
        proposed = ranked.scored.proposed
        state.emit(
            SolutionJudged(
                auction=number,
                solver=proposed.solver,
                bid=proposed.bid,
                rank=rank,
                score=ranked.scored.score,
                reason=ranked.reason,
            )
        )
    auction.winners = verdict.winners
    auction.score, auction.gap = str(verdict.score), str(verdict.gap)
    told = len(state.events)
    for win in verdict.wins:
        awarding = _awarding(state, auction, win, verdict)
        _carry_out(state, win, awarding, answered_for=auction.breaker is True)
    state.emit(
        AuctionClosed(
            auction=number,
            resources=_resources(auction.snapshot),
            asset=auction.snapshot.asset,
            seed=auction.seed,
            ticks={book.resource: book.tick for win in verdict.wins for book in win.solution.books},
            winners=verdict.winners,
            score=verdict.score,
            gap=verdict.gap,
        )
    )
    withdraw_brought(state, auction)
    _tell_awards(state, auction, state.events[told:])
    _end_immediate(state, auction)
    _forget_old_auctions(state)


def _fault_in(state: State, command: OpenAuction) -> Reject | None:
    resources = command.resources
    if len(resources) > BOOKS_MAX or len(set(resources)) != len(resources):
        return reject(RejectCode.TOO_LARGE, f"an auction has {BOOKS_MAX} books, each once")
    for resource in resources:
        if state.resources.get(resource) is not Mode.EPOCH:
            return reject(RejectCode.RESOURCE_UNKNOWN, f"{resource} has no epochs")
    for auction in state.auctions.values():
        if not auction.closed and auction.snapshot.asset == command.asset:
            for resource in _resources(auction.snapshot):
                if resource in resources:
                    return reject(
                        RejectCode.ALREADY_KNOWN, f"{resource} in this asset is in an auction"
                    )
    return None


def _fault_in_place(auction: Auction, command: ProposeSolution) -> Reject | None:
    """Whether the auction takes answers to what this one is to."""
    if auction.closed:
        return reject(RejectCode.AUCTION_CLOSED, f"it closed at {auction.snapshot.closes_at_ms}")
    if command.snapshot != auction.snapshot_digest:
        return reject(RejectCode.SNAPSHOT_MISMATCH, f"the snapshot is {auction.snapshot_digest}")
    return None


def _beyond_limits(auction: Auction, solver: str, fills: int) -> Reject | None:
    """What one solution, one solver and all of them may say."""
    count = mine = all_fills = 0
    for proposed in auction.proposed:
        other = proposed.solution.fills_count
        all_fills += other
        if proposed.solver == solver:
            count += 1
            mine += other
    if (
        count >= SOLUTIONS_PER_SOLVER_MAX
        or len(auction.proposed) >= SOLUTIONS_MAX
        or fills > FILLS_MAX
        or mine + fills > FILLS_PER_SOLVER_MAX
        or all_fills + fills > FILLS_PER_AUCTION_MAX
    ):
        return reject(
            RejectCode.SOLUTION_LIMIT,
            f"at most {SOLUTIONS_PER_SOLVER_MAX} solutions a solver, of {FILLS_MAX} fills each and"
            f" {FILLS_PER_SOLVER_MAX} together",
        )
    return None


def _resources(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple([book.resource for book in snapshot.books])


def _contested(state: State, command: OpenAuction) -> tuple[SnapshotBook, ...]:
    """The books in which there is anything to decide, as far as they fit.

    Each turn leaves out what was a part of a bundle alone, or is the last.
    """
    books = tuple([_seen_book(state, name, command) for name in command.resources])
    since = _demand_shown(state, command)
    while True:
        contested = _fitting(state, books, since)
        books = without_parts(state, contested)
        if books is contested:
            return _rated(state, contested)


def _demand_shown(state: State, command: OpenAuction) -> int | None:
    """Intents that came after this number are shown without an offer; None: no such is.

    Each is when it is new, and once in a while again, with all that stands: a solver that has
    nothing to bring today may have some later, and one that was away hears of it.
    """
    if not command.demand:
        return None
    for auction in reversed(state.auctions.values()):
        if auction.snapshot.asset == command.asset:
            shown = auction.snapshot.closes_at_ms // DEMAND_AGAIN_MS
            is_again = shown < command.closes_at_ms // DEMAND_AGAIN_MS
            return 0 if is_again else auction.snapshot.auction
    return 0


def _fitting(
    state: State, books: tuple[SnapshotBook, ...], since: int | None
) -> tuple[SnapshotBook, ...]:
    fitting: list[SnapshotBook] = []
    room = ORDERS_MAX
    for book in books:
        if book.orders_count <= room and _is_contested(state, book, since):
            room -= book.orders_count
            fitting.append(book)
    return tuple(fitting)


def _seen_book(state: State, resource: str, command: OpenAuction) -> SnapshotBook:
    book = state.books.get((resource, command.asset))
    if book is None:
        return SnapshotBook(resource=resource, intents=(), offers=())
    bids = merge(book.bids(), book.waiting_from(0, ORDERS_PER_SIDE_MAX), key=_priority)
    intents = islice(bids, ORDERS_PER_SIDE_MAX)
    offers = islice(book.asks(), ORDERS_PER_SIDE_MAX)
    return SnapshotBook(
        resource=resource,
        intents=tuple([_seen(order, command) for order in intents]),
        offers=tuple([_seen(order, command) for order in offers]),
    )


def _priority(bid: Order) -> tuple[int, int]:
    return -bid.tick, bid.seq


def _rated(state: State, books: tuple[SnapshotBook, ...]) -> tuple[SnapshotBook, ...]:
    """The same with what is known of the keys, if anyone asks."""
    if not state.bundles.by_digest:
        return books
    return tuple([msgspec.structs.replace(book, ratings=ratings_of(state, book)) for book in books])


def _is_contested(state: State, book: SnapshotBook, since: int | None) -> bool:
    """Whether a bid meets another's ask, or may meet what is brought, or waits for its end."""
    if _is_crossed(book):
        return True
    intents = (state.intents[order.id] for order in book.intents)
    return any(
        intent.immediate or (since is not None and intent.order.seq > since) for intent in intents
    )


def _is_crossed(book: SnapshotBook) -> bool:
    """Whether a bid meets the ask of another account; both sides are sorted, the best first.

    One look at each order: of the asks only the best counts, and the best of all other accounts.
    """
    if not book.offers:
        return False
    best = book.offers[0]
    others = next((ask for ask in book.offers if ask.account != best.account), None)
    for bid in book.intents:
        if bid.tick < best.tick:
            return False
        if bid.account != best.account or (others is not None and bid.tick >= others.tick):
            return True
    return False


def _shrunk(state: State, snapshot: Snapshot) -> dict[str, int]:
    """Units that are live now, of orders that have fewer than in the snapshot."""
    shrunk: dict[str, int] = {}
    for book in snapshot.books:
        for order in (*book.intents, *book.offers):
            units = open_units(state, order.id)
            if units < order.units:
                shrunk[order.id] = units
    return shrunk


def _awarding(state: State, auction: Auction, win: Scored, verdict: Verdict) -> Awarding | None:
    """What the fills of a winning solution are charged for its solver, if anything."""
    charges = verdict.charges.get(win.proposed.bid)
    deadline_block = auction.deadline_block
    if charges is None or isinstance(deadline_block, UnsetType):
        return None
    number, solver = auction.snapshot.auction, win.proposed.solver
    award = state.awards.setdefault(
        award_id(number, solver),
        AwardState(auction=number, solver=solver, deadline_block=deadline_block),
    )
    return Awarding(award, {(charge.intent, charge.offer): charge for charge in charges})


def _carry_out(state: State, win: Scored, awarding: Awarding | None, *, answered_for: bool) -> None:
    """Execute a winner's fills, intent by intent, at the one price of each book and its charges."""
    told = len(state.events)
    charges = {} if awarding is None else awarding.charges
    for book in win.solution.books:
        for digest, lines in _lines(state, book, charges).items():
            intent = state.intents[digest]
            choose_leg(state, intent)
            state.exchange.fill_together(intent.order, lines)
            carry_out(state, awarding)
    solver = win.proposed.solver
    for event in state.events[told:] if answered_for else ():
        if isinstance(event, Filled) and event.seller == solver:
            state.conduct.answer(event.fill, solver=solver, units=event.units, now_ms=state.now_ms)


def _lines(
    state: State, book: ClearedBook, charges: dict[tuple[str, str], Charge]
) -> dict[str, list[tuple[Order, int, int]]]:
    """By intent, each with what the buyer pays for it."""
    lines: dict[str, list[tuple[Order, int, int]]] = {}
    for fill in book.fills:
        ask = state.offers[fill.offer].order
        charge = charges.get((fill.intent, fill.offer))
        tick = book.tick if charge is None else book.tick + charge.bid_charge
        lines.setdefault(fill.intent, []).append((ask, fill.units, tick))
    return lines


def _tell_awards(state: State, auction: Auction, told: list[Event]) -> None:
    for won in auction.winners:
        award = state.awards.get(award_id(auction.snapshot.auction, won.solver))
        if award is not None:
            state.emit(
                Awarded(
                    auction=award.auction,
                    solver=award.solver,
                    fills=len(award.fills),
                    deadline_block=award.deadline_block,
                )
            )
            if auction.breaker is True:
                pledge(state, award, won, told)


def _end_immediate(state: State, auction: Auction) -> None:
    """An immediate intent has had its one auction: what is left of it ends."""
    for book in auction.snapshot.books:
        for order in book.intents:
            intent = state.intents.get(order.id)
            if intent is not None and intent.immediate:
                end_intent(state, intent, IntentStatus.UNFILLED)


def _seen(order: Order, command: OpenAuction) -> SnapshotOrder:
    return SnapshotOrder(
        id=order.id,
        account=order.account,
        tick=order.tick,
        units=order.units,
        minimum=order.minimum,
        until_ms=order.until_ms if command.demand else 0,
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
                for won in auction.winners:
                    name = award_id(number, won.solver)
                    forget_settled(state.awards, state.auctions, name)


def _rows(auction: Auction) -> int:
    """Orders and fills that a record holds."""
    orders = sum([book.orders_count for book in auction.snapshot.books])
    return orders + sum([proposed.solution.fills_count for proposed in auction.proposed])
