"""Differences, word for word: what is said of a few changes, and what no side can have meant."""

from collections.abc import Sequence

import msgspec
import pytest

from solver.core.auction import SnapshotBook, SnapshotOrder
from solver.core.difference import DifferenceMisfit, SideDifference, applied, difference
from solver.core.quality import Rating
from tests.judging import RESOURCE, book, order, snapshot


def _orders(names: str) -> tuple[SnapshotOrder, ...]:
    return tuple(order(name, f"of {name}", 5, 9) for name in names)


def _applied(before: Sequence[SnapshotOrder], side: SideDifference) -> tuple[SnapshotOrder, ...]:
    seen = snapshot(book(before, ()))
    said = difference(seen, seen)
    (same,) = said.books
    told = msgspec.structs.replace(said, books=(msgspec.structs.replace(same, intents=side),))
    return applied(seen, told).books[0].intents


@pytest.mark.parametrize(
    ("before", "after", "went", "came"),
    [
        ("abcd", "bed", (0, 2), ((1, "e"),)),
        ("abcde", "cdaeb", (0, 1), ((2, "a"), (4, "b"))),
        ("abcdef", "bcafde", (0, 5), ((2, "a"), (3, "f"))),
        ("abcdef", "efabcd", (4, 5), ((0, "e"), (1, "f"))),
        ("ab", "", (0, 1), ()),
        ("", "ab", (), ((0, "a"), (1, "b"))),
    ],
)
def test_the_longest_run_stays(
    before: str, after: str, went: tuple[int, ...], came: tuple[tuple[int, str], ...]
) -> None:
    """What left by its place before, what came by its place after, and nothing else."""
    old, new = snapshot(book(_orders(before), ())), snapshot(book(_orders(after), ()))
    said = difference(old, new)
    arrived = tuple((place, _orders(name)[0]) for place, name in came)
    assert said.books[0].intents == SideDifference(went=went, came=arrived)
    assert said.books[0].offers is None
    assert applied(old, said) == new


def test_units_that_changed_are_said_by_place() -> None:
    """Of what stays, and only where they did: the first, the last, none of what went."""
    before = _orders("abcd")
    left = [msgspec.structs.replace(one, units=2) for one in before]
    after = (left[0], before[2], left[3])
    said = difference(snapshot(book((), before)), snapshot(book((), after)))
    assert said.books[0].offers == SideDifference(went=(1,), changed=((0, 2), (3, 2)))
    assert said.books[0].intents is None
    assert applied(snapshot(book((), before)), said) == snapshot(book((), after))


def test_other_terms_are_another_order() -> None:
    """Only units change in place: what has another limit went, and came."""
    before, after = order("a", "s", 5, 9), order("a", "s", 6, 9)
    said = difference(snapshot(book((before,), ())), snapshot(book((after,), ())))
    assert said.books[0].intents == SideDifference(went=(0,), came=((0, after),))


@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 1), (None, 1), (1, None)])
def test_ratings_are_said_where_they_changed(old: int | None, new: int | None) -> None:
    """All of a book, that there are none any more too; else those before hold."""

    def rated(success: int | None) -> SnapshotBook:
        ratings = {} if success is None else {"o": Rating(success=success, latency=1)}
        return SnapshotBook(resource=RESOURCE, intents=(), offers=(), ratings=ratings)

    said = difference(snapshot(rated(old)), snapshot(rated(new)))
    assert said.books[0].ratings == (None if old == new else rated(new).ratings)
    assert applied(snapshot(rated(old)), said) == snapshot(rated(new))


@pytest.mark.parametrize(
    "side",
    [
        SideDifference(went=(0, 2)),
        SideDifference(went=(-1, 0)),
        SideDifference(came=((3, order("c", "c", 5, 5)),)),
        SideDifference(came=((0, order("c", "c", 5, 5)), (4, order("d", "d", 5, 5)))),
        SideDifference(came=((-1, order("c", "c", 5, 5)), (0, order("d", "d", 5, 5)))),
        SideDifference(changed=((0, 1), (-1, 1))),
        SideDifference(changed=((0, 1), (2, 1))),
    ],
)
def test_one_place_too_far_is_refused(side: SideDifference) -> None:
    """Though others of its places are there; places do not count from the end."""
    with pytest.raises(DifferenceMisfit):
        _applied(_orders("ab"), side)


def test_the_first_and_the_last_place_are_places() -> None:
    """Changed, gone and come, at either end."""
    first, last = _orders("xy")
    side = SideDifference(went=(0, 1), changed=((0, 7), (1, 7)), came=((0, first), (1, last)))
    assert _applied(_orders("ab"), side) == (first, last)
    changed = _applied(_orders("ab"), SideDifference(changed=((0, 7), (1, 8))))
    assert [one.units for one in changed] == [7, 8]
    assert _applied((), SideDifference(came=((0, first),))) == (first,)
