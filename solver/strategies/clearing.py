"""One book of an auction cleared at one price, in the form that solvers send."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from solver.core.auction import FILLS_MAX, Snapshot, SnapshotBook, SnapshotOrder, Solution
from solver.core.book import MATCHES_MAX
from solver.core.command import ClearedBook, SolutionFill
from solver.core.quality import Floor, Rating
from solver.strategies.batch import clear_columns
from solver.strategies.column import Columns
from solver.strategies.crossing import Clearing, clear_book
from solver.strategies.pairing import within_bounds
from solver.strategies.queue import Queue
from solver.strategies.share import Rule

COLUMNS_MIN: Final = 5_000
"""From so many orders on columns are faster, even though they must be made first."""
FLOORS_MAX: Final = 4
"""Of one book that are tried, those of the dearest intents: others are left to other solvers."""


def cross(
    resource: str,
    intents: Sequence[SnapshotOrder],
    offers: Sequence[SnapshotOrder],
    rule: Rule = Rule.TIME,
) -> ClearedBook | None:
    """The most units that can trade at one price; None if nothing crosses.

    Both sides come in price-time order. The price is the floor of the middle between the
    lowest bid and the highest ask that trade. A solution has a bounded number of fills:
    where there are more, those of the dearest bids are kept.
    """
    bids, asks = Queue.of(intents), Queue.of(offers)
    clearing = _clear(bids, asks, rule)
    if clearing is None:
        return None
    lines = within_bounds(
        clearing.lines, bids.minimums, lines_max=FILLS_MAX, lines_per_bid_max=MATCHES_MAX
    )
    fills = tuple(
        SolutionFill(intent=intents[bid].id, offer=offers[ask].id, units=units)
        for bid, ask, units in lines
    )
    return ClearedBook(resource=resource, tick=clearing.tick, fills=fills) if fills else None


def one_by_one(cleared: Iterable[ClearedBook | None]) -> list[Solution]:
    """A solution of each book that was cleared; the same one once."""
    return [Solution(books=(book,)) for book in dict.fromkeys(cleared) if book is not None]


def by_price(orders: Sequence[SnapshotOrder]) -> list[SnapshotOrder]:
    """Bids in falling order of price; equal prices keep their order of time."""
    return sorted(orders, key=lambda order: -order.tick)


def lasting(snapshot: Snapshot) -> Snapshot:
    """The same without orders that end by its close: nothing would be filled of them."""
    closes_at_ms = snapshot.closes_at_ms
    books = tuple(
        [
            replace(
                book,
                intents=_lasting(book.intents, closes_at_ms),
                offers=_lasting(book.offers, closes_at_ms),
            )
            for book in snapshot.books
        ]
    )
    return replace(snapshot, books=books)


def _lasting(orders: Sequence[SnapshotOrder], closes_at_ms: int) -> tuple[SnapshotOrder, ...]:
    """Where ends are not told (0), nobody knows."""
    return tuple([one for one in orders if not 0 < one.until_ms <= closes_at_ms])


def unbundled(snapshot: Snapshot) -> Iterator[tuple[SnapshotBook, list[SnapshotOrder]]]:
    """Each book with those of its intents that can be filled by themselves, as far as they last.

    After all of them, those books again in which such an intent asks for a quality, once for
    each floor: with the offers alone that meet it, and all intents that may be filled from
    any of these. Whatever of a book wins, it is one crossing of it.
    """
    legs = {leg for bundle in snapshot.bundles for leg in bundle.legs}
    floors = {one.legs[0]: one.floor for one in snapshot.bundles if len(one.legs) == 1}
    books = lasting(snapshot).books
    for book in books:
        yield book, [one for one in book.intents if one.id not in legs]
    for book in books:
        asked = dict.fromkeys([floors[one.id] for one in book.intents if one.id in floors])
        for floor in list(asked)[:FLOORS_MAX]:
            bound = legs - {leg for leg, least in floors.items() if _covers(floor, least)}
            good = [one for one in book.offers if _meets(book.ratings.get(one.id), floor)]
            intents = [one for one in book.intents if one.id not in bound]
            yield replace(book, offers=tuple(good)), intents


def _meets(rating: Rating | None, floor: Floor) -> bool:
    return not floor.asks or (rating is not None and rating.meets(floor))


def _covers(floor: Floor, other: Floor) -> bool:
    """Whether what meets the one meets the other."""
    is_quick = not other.latency_max or 0 < floor.latency_max <= other.latency_max
    return floor.success_min >= other.success_min and is_quick


def filled_units(cleared: ClearedBook) -> dict[str, int]:
    """Units of each intent in a cleared book."""
    units: dict[str, int] = {}
    for fill in cleared.fills:
        units[fill.intent] = units.get(fill.intent, 0) + fill.units
    return units


def _clear(bids: Queue, asks: Queue, rule: Rule) -> Clearing | None:
    if len(bids.ticks) + len(asks.ticks) < COLUMNS_MIN:
        return clear_book(bids, asks, rule)
    codes = {account: code for code, account in enumerate(dict.fromkeys(_accounts(bids, asks)))}
    cleared = clear_columns(
        Columns.of(bids, codes), Columns.of(asks, codes), book_count=1, rule=rule
    )
    tick, lines = int(cleared.ticks[0]), cleared.lines()
    return Clearing(tick=tick, lines=lines) if lines else None


def _accounts(bids: Queue, asks: Queue) -> list[int | str]:
    return [*bids.accounts, *asks.accounts]
