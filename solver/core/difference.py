"""What an auction's snapshot has that the one before had not: said, and applied again.

`applied(before, difference(before, after))` is `after`, to the bit: whoever has the one snapshot
gets the other in a few bytes, and knows by its hash that it has it. Places count from 0. Nothing
is taken on trust: what does not fit raises `DifferenceMisfit`.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from solver.core.auction import Snapshot, SnapshotBook, SnapshotBundle, SnapshotOrder
from solver.core.quality import Rating

T = TypeVar("T")


class DifferenceMisfit(Exception):
    """It was made from another snapshot than the one it is applied to."""


class _Difference(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Says nothing of what stayed as it was."""


class SideDifference(_Difference, frozen=True, kw_only=True):
    """Of one side of a book: which left, which have other units, which came and stand where.

    Places of what went or changed are in the side before, of what came in the side after.
    """

    went: tuple[int, ...] = ()
    changed: tuple[tuple[int, int], ...] = ()
    came: tuple[tuple[int, SnapshotOrder], ...] = ()


class BookDifference(_Difference, frozen=True, kw_only=True):
    """Of one book; one that is new has all its orders here. `ratings` replace those before."""

    resource: str
    intents: SideDifference | None = None
    offers: SideDifference | None = None
    ratings: dict[str, Rating] | None = None


class SnapshotDifference(_Difference, frozen=True, kw_only=True):
    """Of all books that are in the snapshot after, in its order; others left."""

    auction: int
    asset: str
    closes_at_ms: int
    seed_hash: str
    books: tuple[BookDifference, ...]
    bundles_went: tuple[int, ...] = ()
    bundles_came: tuple[tuple[int, SnapshotBundle], ...] = ()


def difference(before: Snapshot, after: Snapshot) -> SnapshotDifference:
    """What is to be said to somebody who has the snapshot before."""
    old = {book.resource: book for book in before.books}
    went, came = _replaced(before.bundles, after.bundles, lambda bundle: bundle)
    return SnapshotDifference(
        auction=after.auction,
        asset=after.asset,
        closes_at_ms=after.closes_at_ms,
        seed_hash=after.seed_hash,
        books=tuple([_book(old.get(book.resource), book) for book in after.books]),
        bundles_went=went,
        bundles_came=came,
    )


def applied(before: Snapshot, said: SnapshotDifference) -> Snapshot:
    """The snapshot after. Raises DifferenceMisfit."""
    old = {book.resource: book for book in before.books}
    try:
        return Snapshot(
            auction=said.auction,
            asset=said.asset,
            closes_at_ms=said.closes_at_ms,
            seed_hash=said.seed_hash,
            books=tuple([_book_after(old.get(book.resource), book) for book in said.books]),
            bundles=_edited(before.bundles, said.bundles_went, said.bundles_came),
        )
    except IndexError as error:
        raise DifferenceMisfit("a place that the snapshot before does not have") from error


def _book(before: SnapshotBook | None, after: SnapshotBook) -> BookDifference:
    before = before or _NONE
    return BookDifference(
        resource=after.resource,
        intents=_side(before.intents, after.intents),
        offers=_side(before.offers, after.offers),
        ratings=None if before.ratings == after.ratings else after.ratings,
    )


def _book_after(before: SnapshotBook | None, said: BookDifference) -> SnapshotBook:
    before = before or _NONE
    return SnapshotBook(
        resource=said.resource,
        intents=_side_after(before.intents, said.intents),
        offers=_side_after(before.offers, said.offers),
        ratings=before.ratings if said.ratings is None else said.ratings,
    )


def _side(before: Sequence[SnapshotOrder], after: Sequence[SnapshotOrder]) -> SideDifference | None:
    if before == after:
        return None
    went, came = _replaced(before, after, _terms)
    units = {order.id: order.units for order in after}
    gone = set(went)
    return SideDifference(
        went=went,
        changed=tuple(
            (place, units[order.id])
            for place, order in enumerate(before)
            if place not in gone and units[order.id] != order.units
        ),
        came=came,
    )


def _side_after(
    before: tuple[SnapshotOrder, ...], said: SideDifference | None
) -> tuple[SnapshotOrder, ...]:
    if said is None:
        return before
    changed = list(before)
    for place, units in said.changed:
        if place < 0:
            raise IndexError
        changed[place] = replace(changed[place], units=units)
    return _edited(changed, said.went, said.came)


def _terms(order: SnapshotOrder) -> Hashable:
    """What an order has for good: only its units change."""
    return order.id, order.account, order.tick, order.minimum, order.until_ms


def _replaced(
    before: Sequence[T], after: Sequence[T], name: Callable[[T], Hashable]
) -> tuple[tuple[int, ...], tuple[tuple[int, T], ...]]:
    """Places of those before that leave, those that come with theirs: as few as there can be.

    What stays is the longest run that has one order in both.
    """
    places = {name(one): place for place, one in enumerate(before)}
    known = [(places[name(one)], place) for place, one in enumerate(after) if name(one) in places]
    stays = _rising(known)
    kept_before, kept_after = {old for old, _ in stays}, {new for _, new in stays}
    went = tuple(place for place in range(len(before)) if place not in kept_before)
    came = tuple((place, one) for place, one in enumerate(after) if place not in kept_after)
    return went, came


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest part of pairs, sorted by their second, whose first rise too; the last first."""
    ends: list[int] = []
    last: list[int] = []
    parents: list[int] = []
    for index, (old, _) in enumerate(pairs):
        place = bisect_left(ends, old)
        parents.append(last[place - 1] if place else -1)
        ends[place : place + 1], last[place : place + 1] = [old], [index]
    found, index = [], last[-1] if last else -1
    while index >= 0:
        found.append(pairs[index])
        index = parents[index]
    return found


def _edited(
    before: Sequence[T], went: Sequence[int], came: Sequence[tuple[int, T]]
) -> tuple[T, ...]:
    """What stayed with what came put at its places. Raises IndexError."""
    if went and not 0 <= min(went) <= max(went) < len(before):
        raise IndexError
    gone = set(went)
    stayed = (one for place, one in enumerate(before) if place not in gone)
    arrived = dict(came)
    length = len(before) - len(gone) + len(arrived)
    if arrived and not 0 <= min(arrived) <= max(arrived) < length:
        raise IndexError
    return tuple([arrived[n] if n in arrived else next(stayed) for n in range(length)])


_NONE: Final = SnapshotBook(resource="", intents=(), offers=())
