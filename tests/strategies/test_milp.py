"""The exact solver: against all that could be done, and within what the market accepts."""

import sys
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.bound import TICK_MAX, UNITS_MAX
from solver.core.auction import Snapshot, SnapshotBook, SnapshotBundle, SnapshotOrder, Solution
from solver.core.quality import Floor, Rating
from solver.strategies import milp as module
from solver.strategies.chance import by_chance
from solver.strategies.flow import NotSolvable
from solver.strategies.milp import milp
from solver.strategies.uniform_price import uniform_price
from tests.judging import book, codes, judged, order, snapshot

PROVEN_SECONDS: Final = 60.0
"""So long that no search of so few orders ends early, even on a busy machine."""


@st.composite
def _books(draw: st.DrawFn) -> Snapshot:
    """One to three books of up to three intents and two offers, some joined by bundles."""
    small, accounts = st.integers(1, 2), st.sampled_from("abc")
    books = []
    for name in range(draw(st.integers(1, 3))):
        intents = [
            order(f"{name}i{n}", draw(accounts), draw(st.integers(2, 9)), units, least)
            for n in range(draw(st.integers(1, 3)))
            for units in (draw(small),)
            for least in (draw(st.integers(1, units)),)
        ]
        offers = [
            order(f"{name}o{n}", draw(accounts), draw(st.integers(1, 7)), draw(small))
            for n in range(draw(st.integers(1, 2)))
        ]
        books.append(
            book(
                sorted(intents, key=lambda one: -one.tick),
                sorted(offers, key=lambda one: one.tick),
                f"p{name}/r:call",
            )
        )
    return _bundled(draw, books)


def _bundled(draw: st.DrawFn, books: list[SnapshotBook]) -> Snapshot:
    """Some of the intents as legs, in whatever order, of up to two bundles."""
    legs = draw(st.permutations([one.id for each in books for one in each.intents]))
    sizes = draw(st.lists(st.integers(1, 3), max_size=2))
    bundles = []
    for number, size in enumerate(sizes):
        chosen, legs = legs[:size], legs[size:]
        if len(chosen) == size:
            any_of = draw(st.booleans())
            bundles.append(
                SnapshotBundle(
                    id=f"b{number}",
                    any_of=any_of,
                    legs=tuple(chosen),
                    floor=Floor(success_min=draw(st.sampled_from((0, 0, 500, 900)))),
                )
            )
    return snapshot(*(_rated(draw, each) for each in books), bundles=bundles)


def _rated(draw: st.DrawFn, each: SnapshotBook) -> SnapshotBook:
    """Offers of good keys, of bad ones, and of keys that nobody knows."""
    ratings = {
        offer.id: Rating(success=success, latency=1)
        for offer in each.offers
        if (success := draw(st.sampled_from((0, 400, 500, 1_000))))
    }
    return msgspec.structs.replace(each, ratings=ratings)


# -- everything that can be done


def _most_surplus(seen: Snapshot) -> int:
    """Of all ways to fill pairs in all books, the best that keeps every rule."""
    floors = {leg: bundle.floor for bundle in seen.bundles for leg in bundle.legs}
    ways = [_ways(each, floors) for each in seen.books]
    return max(
        sum(surplus for _, surplus in chosen)
        for chosen in product(*(way.items() for way in ways))
        if _keeps_bundles(seen, frozenset[str]().union(*(filled for filled, _ in chosen)))
    )


def _ways(each: SnapshotBook, floors: Mapping[str, Floor]) -> Mapping[frozenset[str], int]:
    """The best surplus of a book, by which legs are filled in it."""
    best: dict[frozenset[str], int] = {}
    pairs = [
        (i, o)
        for i in each.intents
        for o in each.offers
        if i.account != o.account and _is_good_enough(floors.get(i.id), each.ratings.get(o.id))
    ]
    for units in product(*(range(min(i.units, o.units) + 1) for i, o in pairs)):
        lines = [(i, o, n) for (i, o), n in zip(pairs, units, strict=True) if n]
        if _is_allowed(lines):
            filled = frozenset(i.id for i, _, _ in lines if i.id in floors)
            surplus = sum(n * (i.tick - o.tick) for i, o, n in lines)
            best[filled] = max(surplus, best.get(filled, surplus))
    return best


def _is_good_enough(floor: Floor | None, rating: Rating | None) -> bool:
    return floor is None or not floor.asks or (rating is not None and rating.meets(floor))


def _is_allowed(lines: list[tuple[SnapshotOrder, SnapshotOrder, int]]) -> bool:
    if not lines:
        return True
    if min(i.tick for i, _, _ in lines) < max(o.tick for _, o, _ in lines):
        return False
    totals = list(_totals(lines))
    return all(least <= units <= most for units, least, most in totals)


def _totals(
    lines: list[tuple[SnapshotOrder, SnapshotOrder, int]],
) -> Iterator[tuple[int, int, int]]:
    """Of each order that trades: units, and the least and the most of them."""
    for one in {o.id: o for line in lines for o in line[:2]}.values():
        yield sum(n for i, o, n in lines if one in (i, o)), one.minimum, one.units


def _keeps_bundles(seen: Snapshot, filled: frozenset[str]) -> bool:
    counts = [(len(filled & {*bundle.legs}), bundle) for bundle in seen.bundles]
    return all(
        count <= 1 if bundle.any_of else count in (0, len(bundle.legs)) for count, bundle in counts
    )


# -- what must hold


def _score(seen: Snapshot, solutions: list[Solution]) -> int:
    """All of them win together: none has a fault, none is in another's way."""
    verdict = judged(seen, *(("milp", one) for one in solutions))
    assert codes(verdict) == [""] * len(solutions), verdict.ranking
    return verdict.score


@given(seen=_books())
def test_nothing_that_could_be_done_has_more_surplus(seen: Snapshot) -> None:
    """Bundles, floors, minimums, own offers: as much as the best of all fills, all of it sound."""
    assert _score(seen, milp(seen, PROVEN_SECONDS)) == _most_surplus(seen)


@given(seen=_books())
def test_books_are_bid_for_together_only_where_a_bundle_is_filled(seen: Snapshot) -> None:
    """Who bids for more books at once than it must loses all of them to who is better in one."""
    for solution in milp(seen, PROVEN_SECONDS):
        filled = [{fill.intent for fill in each.fills} for each in solution.books]
        reached, rest = filled[0], filled[1:]
        wholes = [{*b.legs} for b in seen.bundles if not b.any_of]
        for _ in solution.books:
            linked = reached.union(*(legs for legs in wholes if legs & reached))
            reached = reached.union(*(one for one in rest if one & linked))
        assert all(one <= reached for one in rest)


def test_a_search_without_time_proposes_what_is_plain() -> None:
    """No time at all: what `uniform_price` would, never less."""
    seen = snapshot(book([order("i", "a", 9, 5, 5)], [order("o", "b", 1, 5)]))
    assert milp(seen, 0.0) == uniform_price(seen)


def test_what_the_search_cannot_hold_is_cleared_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices and units as great as can be signed, or too many orders: no fault, no overflow."""
    tall = book([order("i", "a", TICK_MAX, UNITS_MAX)], [order("o", "b", 1, UNITS_MAX)])
    assert milp(snapshot(tall)) == uniform_price(snapshot(tall))
    picky = book([order("i", "a", 9, 3, 3), order("j", "a", 8, 4, 4)], [order("o", "b", 1, 4)])
    exact = _score(snapshot(picky), milp(snapshot(picky), PROVEN_SECONDS))
    monkeypatch.setattr(module, "ORDERS_MAX", 2)
    assert _score(snapshot(picky), milp(snapshot(picky), PROVEN_SECONDS)) == 24 < exact == 28


def _asking(*, any_of: bool = False) -> Snapshot:
    """Two wholes, of which one asks for what one of two offers is just good enough for."""
    rated = msgspec.structs.replace(
        book(
            [order("i", "a", 9, 3, 3), order("j", "b", 8, 3, 3)],
            [order("o", "c", 1, 3), order("p", "d", 2, 3)],
        ),
        ratings={"o": Rating(success=899, latency=1), "p": Rating(success=900, latency=1)},
    )
    floor = Floor(success_min=900)
    bundle = SnapshotBundle(id="x", any_of=any_of, legs=("i",), floor=floor)
    return snapshot(rated, bundles=[bundle])


@pytest.mark.parametrize("any_of", [False, True])
def test_who_asks_for_a_quality_gets_good_offers(*, any_of: bool) -> None:
    """The others take the cheaper one that is not good enough, so nothing is left undone."""
    seen = _asking(any_of=any_of)
    (solution,) = milp(seen, PROVEN_SECONDS)
    lines = [(fill.intent, fill.offer, fill.units) for fill in solution.books[0].fills]
    assert lines == [("i", "p", 3), ("j", "o", 3)]
    assert _score(seen, [solution]) == 42


def test_floors_with_too_many_offers_are_left_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves either of the two, and not both."""
    monkeypatch.setattr(module, "PAIRS_MAX", 0)
    assert _score(_asking(), milp(_asking(), PROVEN_SECONDS)) == 21


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a silent second best: who asks for the exact solver is told that it is not there."""
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(NotSolvable, match=r"keyfill\[substitutes\]"):
        milp(snapshot())


@given(seen=_books(), seed=st.integers(0, 9))
def test_chance_is_sound_and_repeats_itself(seen: Snapshot, seed: int) -> None:
    """Whatever is drawn, the market takes it; the same seed draws the same."""
    drawn = by_chance(seen, seed)
    _score(seen, drawn)
    assert by_chance(seen, seed) == drawn


def test_seeds_draw_different_solutions() -> None:
    """Of twenty orders ten seeds draw more than one solution."""
    intents, offers = (
        [order(f"{side}{n}", side, tick, 1) for n in range(10)]
        for side, tick in (("i", 9), ("o", 1))
    )
    seen = snapshot(book(intents, offers))
    assert len({tuple(by_chance(seen, seed)) for seed in range(10)}) > 1
