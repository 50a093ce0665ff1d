"""Records of the core as the API tells them. Reads state, changes nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from intents.bound import RESOURCE_BYTES_MAX
from intents.reject import Reject, RejectCode, reject
from solver.core.auction import Auction, Proposed, Snapshot
from solver.core.bond import Bond
from solver.core.book import Order
from solver.core.conduct import (
    ANSWERED_FIRST,
    ANSWERED_MAX,
    BENCH_MS,
    CLEAN_PERIODS,
    FADED_FIRST,
    LEVEL_MAX,
    PERIOD_MS,
    RATE_PERCENT_MAX,
    Standing,
)
from solver.core.document import seconds
from solver.core.event import LeaseStatus
from solver.core.lease import Lease
from solver.core.state import (
    CREDIT,
    Account,
    Batch,
    IntentState,
    KeyState,
    MandateState,
    OfferState,
    Session,
    State,
)
from solver.core.trust import trust_of, unsettled_max
from solver.gateway.competition import (
    AuctionSummaryTold,
    BondRuleTold,
    BroughtTold,
    ConductRuleTold,
    ProposedBook,
    SnapshotTold,
    SolutionTold,
    SolversTold,
    SolverTold,
    WinnerTold,
)
from solver.gateway.many import MandateTold
from solver.gateway.pooled import CapacityTold, KeyTold, RatingTold, WindowTold
from solver.gateway.wire import (
    AmountTold,
    BalanceTold,
    BatchTold,
    BookTold,
    IntentTold,
    LeaseTold,
    LevelTold,
    OfferTold,
    SessionTold,
    Told,
)

ORDERS_MAX: Final = 10_000
"""Offers of one resource that a question about its capacity looks at."""
LEVEL_ORDERS_MAX: Final = 2_000
"""Orders of one side of a book that are added up into levels: about a millisecond."""
CONDUCT_RULE: Final = ConductRuleTold(
    rate_percent_max=RATE_PERCENT_MAX,
    faded_first=FADED_FIRST,
    answered_first=ANSWERED_FIRST,
    answered_max=ANSWERED_MAX,
    bench_ms=BENCH_MS,
    level_max=LEVEL_MAX,
    clean_ms=CLEAN_PERIODS * PERIOD_MS,
)
T = TypeVar("T", bound=Told)


def unlisted(resource: str) -> Reject:
    """A resource that was asked for, and that the market does not sell."""
    return reject(
        RejectCode.RESOURCE_UNKNOWN,
        f"{resource[:RESOURCE_BYTES_MAX]} is not listed",
        hint="GET /v1/market has what is.",
    )


def tell(record: object, kind: type[T]) -> T:
    """A record whose fields have the names of `kind`'s."""
    return msgspec.convert(record, kind, from_attributes=True)


def intent_told(state: State, intent: IntentState, cursor: int) -> IntentTold:
    """An intent. Its fields go in their order: by name they take eighteen times as long (3 µs)."""
    leases = [state.leases[lease] for lease in intent.leases]
    return IntentTold(
        intent.digest,
        intent.account,
        intent.resource,
        intent.asset,
        intent.units,
        intent.units_min,
        intent.limit,
        seconds(intent.starts_ms),
        seconds(intent.until_ms),
        intent.immediate,
        intent.epoch,
        intent.nonce,
        intent.signer,
        intent.authority,
        intent.tick,
        intent.status,
        intent.open_units,
        intent.filled_units,
        sum([lease.delivered for lease in leases]),
        sum([lease.payment for lease in leases if lease.status is LeaseStatus.SETTLED]),
        sum([lease.payment for lease in leases if lease.status not in _OVER]),
        tuple(intent.leases),
        cursor,
    )


def offer_told(offer: OfferState, cursor: int) -> OfferTold:
    """An offer."""
    return OfferTold(
        **msgspec.structs.asdict(offer.document),
        digest=offer.digest,
        signer=offer.signer,
        authority=offer.authority,
        tick=offer.tick,
        live=offer.live,
        open_units=offer.open_units,
        cursor=cursor,
    )


def mandate_told(mandate: MandateState) -> MandateTold:
    """A mandate."""
    return MandateTold(
        **msgspec.structs.asdict(mandate.document),
        digest=mandate.digest,
        signer=mandate.signer,
        authority=mandate.authority,
        live=mandate.live,
        spent=mandate.spent,
        committed=mandate.committed,
    )


def lease_told(lease: Lease) -> LeaseTold:
    """A fill with its lease."""
    fields = {
        name: getattr(lease, name) for name in LeaseTold.__struct_fields__ if name != "filled_at_ms"
    }
    return LeaseTold(**fields, filled_at_ms=lease.filled_ms)


def batch_told(batch: Batch) -> BatchTold:
    """A batch."""
    return tell(batch, BatchTold)


def snapshot_told(snapshot: Snapshot) -> SnapshotTold:
    """A snapshot."""
    return tell(snapshot, SnapshotTold)


def auction_summary_told(auction: Auction) -> AuctionSummaryTold:
    """An auction in few words; how many solutions there are is sealed as well."""
    snapshot = auction.snapshot
    return AuctionSummaryTold(
        auction=snapshot.auction,
        asset=snapshot.asset,
        resources=tuple(book.resource for book in snapshot.books),
        closes_at_ms=snapshot.closes_at_ms,
        closed=auction.closed,
        solutions=len(auction.proposed) if auction.closed else 0,
        winners=tuple(tell(winner, WinnerTold) for winner in auction.winners),
        score=auction.score,
        gap=auction.gap,
    )


def solvers_told(state: State, now_ms: int, count: int) -> SolversTold:
    """Solvers that answer for offers of their own, the latest first, and the breaker's rule."""
    conduct = state.conduct
    answering = Counter(answer.solver for answer in conduct.answers.values())
    bonds = state.bonds
    names = dict.fromkeys([*reversed(conduct.standings), *answering, *bonds.by_solver])
    return SolversTold(
        time_ms=now_ms,
        rule=CONDUCT_RULE,
        bond_rule=tell(bonds.rule, BondRuleTold),
        solvers=tuple(_solver_told(state, name, answering[name]) for name in islice(names, count)),
    )


def _solver_told(state: State, name: str, answering: int) -> SolverTold:
    standing = state.conduct.standings.get(name, _NEW)
    bond = state.bonds.by_solver.get(name, _NO_BOND)
    return SolverTold(
        solver=name,
        answering=answering,
        answered=standing.answered,
        faded=standing.faded,
        level=standing.level_at(state.now_ms),
        benched_until_ms=standing.benched_until_ms,
        bond=bond.amount,
        withdrawing=bond.withdrawing,
        exposure=state.bonds.exposure(name, 0),
        penalties_paid=bond.paid,
    )


def balance_told(state: State, address: str) -> BalanceTold:
    """An account; one that was never seen has nothing."""
    account = state.accounts.get(address, _UNSEEN)
    trust = trust_of(state, address)
    return BalanceTold(
        account=address,
        epoch=account.epoch,
        usdc=_amount_told(state, address, state.usdc),
        credit=_amount_told(state, address, CREDIT),
        sessions=tuple(
            _session_told(signer, session) for signer, session in sorted(account.sessions.items())
        ),
        unsettled=trust.unsettled,
        unsettled_max=unsettled_max(state, trust),
        barred=trust.barred,
    )


def book_told(state: State, resource: str, asset: str, depth: int) -> BookTold:
    """The best `depth` levels of both sides."""
    book = state.books.get((resource, asset))
    if book is None:
        return BookTold(
            resource=resource, asset=asset, bids=(), asks=(), waiting=0, truncated=False
        )
    bids, bids_left = _levels(book.bids(), depth)
    asks, asks_left = _levels(book.asks(), depth)
    return BookTold(
        resource=resource,
        asset=asset,
        bids=bids,
        asks=asks,
        waiting=book.waiting_count,
        truncated=bids_left or asks_left,
    )


def capacity_told(state: State, resources: Iterable[str], now_ms: int) -> tuple[CapacityTold, ...]:
    """What each resource's pooled keys and standing offers add up to."""
    keys: dict[str, list[str]] = {resource: [] for resource in resources}
    for key, pooled in state.keys.items():
        for resource in pooled.resources if pooled.live else ():
            if resource in keys:
                keys[resource].append(key)
    return tuple(_capacity_of(state, resource, pool, now_ms) for resource, pool in keys.items())


def _capacity_of(state: State, resource: str, keys: list[str], now_ms: int) -> CapacityTold:
    book = state.books.get((resource, state.usdc))
    asks = list(islice(book.asks(), ORDERS_MAX)) if book else []
    return CapacityTold(
        resource=resource,
        keys=len(keys),
        offers=len(asks),
        units_free=sum(ask.units for ask in asks),
        best_tick=asks[0].tick if asks else None,
        windows=_windows_told(state, keys, resource, now_ms),
    )


def key_told(state: State, name: str, key: KeyState, now_ms: int) -> KeyTold:
    """A pooled key, as its owner sees it."""
    rating = key.seen.rating()
    return KeyTold(
        key=name,
        provider=key.provider,
        resources=key.resources,
        live=key.live,
        leases=len(key.leases),
        rating=None if rating is None else tell(rating, RatingTold),
        # Its resources share their windows.
        windows=_windows_told(state, [name], key.resources[0], now_ms) if key.resources else (),
    )


def _windows_told(
    state: State, keys: Iterable[str], resource: str, now_ms: int
) -> tuple[WindowTold, ...]:
    sums: dict[int, tuple[int, int]] = {}
    for key in keys:
        for window in state.windows.get((key, resource), []):
            units, occupied = sums.get(window.limit.seconds, (0, 0))
            sums[window.limit.seconds] = (
                units + window.limit.units,
                occupied + window.occupied(now_ms),
            )
    return tuple(
        WindowTold(seconds=window, units=units, occupied=occupied)
        for window, (units, occupied) in sorted(sums.items())
    )


def _levels(orders: Iterator[Order], depth: int) -> tuple[tuple[LevelTold, ...], bool]:
    """The best levels, and whether a level may be incomplete."""
    levels: dict[int, tuple[int, int]] = {}
    for seen, order in enumerate(orders):
        if seen >= LEVEL_ORDERS_MAX:
            return _levels_told(levels), True
        if order.tick not in levels and len(levels) == depth:
            break
        units, count = levels.get(order.tick, (0, 0))
        levels[order.tick] = (units + order.units, count + 1)
    return _levels_told(levels), False


def _levels_told(levels: dict[int, tuple[int, int]]) -> tuple[LevelTold, ...]:
    return tuple(
        LevelTold(tick=tick, units=units, orders=orders) for tick, (units, orders) in levels.items()
    )


def _amount_told(state: State, address: str, asset: str) -> AmountTold:
    balance = state.ledger.balance(address, asset)
    return AmountTold(available=balance.available, total=balance.total, held=balance.debits_pending)


def _session_told(address: str, session: Session) -> SessionTold:
    return SessionTold(
        address=address,
        permissions=session.permissions,
        expires_at=session.expires_at,
        cap=session.cap,
        spent=session.spent,
        committed=session.committed,
        live=session.live,
    )


def solution_told(proposed: Proposed) -> SolutionTold:
    """A solution with what it brought; for auctions that have closed."""
    books = msgspec.convert(proposed.solution.books, tuple[ProposedBook, ...], from_attributes=True)
    brought = msgspec.convert(
        proposed.solution.brought, tuple[BroughtTold, ...], from_attributes=True
    )
    return SolutionTold(solver=proposed.solver, bid=proposed.bid, books=books, brought=brought)


_OVER: Final = (LeaseStatus.SETTLED, LeaseStatus.SKIPPED)
_UNSEEN: Final = Account()
_NEW: Final = Standing()
_NO_BOND: Final = Bond()
