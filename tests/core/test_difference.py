"""Differences of snapshots: said in few words, applied to the bit, and never to another one."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from solver.core import difference as differing
from solver.core.auction import Snapshot, SnapshotBook, SnapshotBundle, SnapshotOrder
from solver.core.difference import (
    DifferenceMisfit,
    SideDifference,
    SnapshotDifference,
    applied,
    difference,
)
from solver.core.quality import Floor, Rating
from tests.core.sabotage import pure_only
from tests.judging import book, order, snapshot

NAMES: Final = "abcde"
_Side = Callable[..., SideDifference | None]


def _orders(names: list[str], units: list[int], ticks: list[int]) -> tuple[SnapshotOrder, ...]:
    return tuple(order(n, n * 2, t, u) for n, u, t in zip(names, units, ticks, strict=False))


def _sides() -> st.SearchStrategy[tuple[SnapshotOrder, ...]]:
    """Some of a few orders in some order, most of them on the same terms."""
    return st.builds(
        _orders,
        st.lists(st.sampled_from(NAMES), unique=True),
        st.lists(st.integers(1, 3), min_size=5, max_size=5),
        st.lists(st.sampled_from([5, 5, 5, 6]), min_size=5, max_size=5),
    )


def _books() -> st.SearchStrategy[SnapshotBook]:
    ratings = st.dictionaries(
        st.sampled_from("ab"), st.builds(Rating, success=st.integers(0, 9), latency=st.just(1))
    )
    return st.builds(
        SnapshotBook,
        resource=st.sampled_from("xyz"),
        intents=_sides(),
        offers=_sides(),
        ratings=ratings,
    )


def _snapshots() -> st.SearchStrategy[Snapshot]:
    bundles = st.lists(
        st.builds(
            SnapshotBundle,
            id=st.sampled_from("pqr"),
            any_of=st.booleans(),
            legs=st.just(("a", "b")),
            floor=st.just(Floor()),
        ),
        unique_by=lambda bundle: bundle.id,
    )
    books = st.lists(_books(), unique_by=lambda one: one.resource, max_size=2)
    return st.builds(
        lambda books, bundles, auction: msgspec.structs.replace(
            snapshot(*books, bundles=bundles), auction=auction
        ),
        books,
        bundles,
        st.integers(1, 9),
    )


@given(_snapshots(), _snapshots())
def test_what_is_said_leads_to_the_snapshot_after(before: Snapshot, after: Snapshot) -> None:
    """Whatever changed: the same snapshot with the same hash, also by way of JSON."""
    text = msgspec.json.encode(difference(before, after))
    said = msgspec.json.decode(text, type=SnapshotDifference)
    assert applied(before, said) == after
    assert applied(before, said).digest() == after.digest()


@given(_snapshots())
def test_what_stayed_is_not_said(seen: Snapshot) -> None:
    """Of a snapshot that did not change, only the books' names are said."""
    said = difference(seen, seen)
    assert not said.bundles_went
    assert not said.bundles_came
    for told in said.books:
        assert msgspec.to_builtins(told) == {"resource": told.resource}


@given(_sides(), _sides())
def test_no_less_can_be_said(
    before: tuple[SnapshotOrder, ...], after: tuple[SnapshotOrder, ...]
) -> None:
    """What stays is the longest common run of both sides: found by trying all."""
    said = difference(snapshot(book(before, ())), snapshot(book(after, ())))
    old = [(one.id, one.tick) for one in before]
    new = [(one.id, one.tick) for one in after]
    longest = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, one in enumerate(old):
        for j, other in enumerate(new):
            longest[i + 1][j + 1] = (
                longest[i][j] + 1 if one == other else max(longest[i][j + 1], longest[i + 1][j])
            )
    side = said.books[0].intents
    assert len(old) - len(side.went if side else ()) == longest[-1][-1]


@given(_snapshots(), _snapshots(), _snapshots())
def test_another_base_leads_elsewhere(base: Snapshot, other: Snapshot, after: Snapshot) -> None:
    """Applied to the wrong snapshot it fails or has another hash, unless they are alike in it."""
    assume(base.books != other.books or base.bundles != other.bundles)
    said = difference(base, after)
    try:
        found = applied(other, said)
    except DifferenceMisfit:
        return
    assert (found.digest() == after.digest()) == (found == after)


@pytest.mark.parametrize(
    "side",
    [
        SideDifference(went=(2,)),
        SideDifference(went=(-1,)),
        SideDifference(changed=((2, 5),)),
        SideDifference(changed=((-1, 5),)),
        SideDifference(came=((4, order("c", "c", 5, 5)),)),
        SideDifference(came=((-1, order("c", "c", 5, 5)),)),
    ],
)
def test_places_that_do_not_exist_are_refused(side: SideDifference) -> None:
    """A difference that does not fit is named so, and is no accident."""
    before = snapshot(book((order("a", "a", 5, 5), order("b", "b", 5, 5)), ()))
    said = difference(before, before)
    (same,) = said.books
    odd = msgspec.structs.replace(said, books=(msgspec.structs.replace(same, intents=side),))
    with pytest.raises(DifferenceMisfit):
        applied(before, odd)


def _forget_units(side: _Side) -> _Side:
    def forgetful(*sides: Sequence[SnapshotOrder]) -> SideDifference | None:
        said = side(*sides)
        return said and msgspec.structs.replace(said, changed=())

    return forgetful


@pure_only
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not say that units changed leads to another snapshot."""
    monkeypatch.setattr(differing, "_side", _forget_units(differing._side))
    with pytest.raises(AssertionError):
        test_what_is_said_leads_to_the_snapshot_after()
