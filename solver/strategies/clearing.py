"""One book of an auction cleared at one price, in the form that solvers send."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from solver.core.auction import FILLS_MAX, Snapshot, SnapshotBook, SnapshotOrder
from solver.core.book import MATCHES_MAX
from solver.core.command import ClearedBook, SolutionFill
from solver.strategies.batch import clear_columns
from solver.strategies.column import Columns
from solver.strategies.crossing import Clearing, clear_book
from solver.strategies.pairing import within_bounds
from solver.strategies.queue import Queue
from solver.strategies.share import Rule

COLUMNS_MIN: Final = 5_000
"""From so many orders on columns are faster, even though they must be made first."""


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
    """Each book with those of its intents that can be filled by themselves, as far as they last."""
    legs = {leg for bundle in snapshot.bundles for leg in bundle.legs}
    for book in lasting(snapshot).books:
        yield book, [intent for intent in book.intents if intent.id not in legs]


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
