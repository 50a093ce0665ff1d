"""Snapshots and solutions in few words, and one auction of them judged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from solver.core.auction import (
    Auction,
    Proposed,
    Snapshot,
    SnapshotBook,
    SnapshotBundle,
    SnapshotOrder,
    Solution,
    seed_hash,
)
from solver.core.command import ClearedBook, SolutionFill
from solver.core.judge import Verdict, judge

SEED: Final = "5e" * 32
RESOURCE: Final = "tavily/search:call"
ASSET: Final = "0x" + "05" * 20


def order(name: str, account: str, tick: int, units: int, minimum: int = 1) -> SnapshotOrder:
    return SnapshotOrder(id=name, account=account, tick=tick, units=units, minimum=minimum)


def book(
    intents: Iterable[SnapshotOrder], offers: Iterable[SnapshotOrder], resource: str = RESOURCE
) -> SnapshotBook:
    return SnapshotBook(resource=resource, intents=tuple(intents), offers=tuple(offers))


def snapshot(*books: SnapshotBook, bundles: Sequence[SnapshotBundle] = ()) -> Snapshot:
    return Snapshot(
        auction=1,
        asset=ASSET,
        closes_at_ms=1,
        seed_hash=seed_hash(SEED),
        books=books,
        bundles=tuple(bundles),
    )


def fills(text: str) -> tuple[SolutionFill, ...]:
    """Fills from text such as i1 o1 3, i2 o2 4."""
    parts = [part.split() for part in text.split(",") if part.strip()]
    return tuple(SolutionFill(intent=i, offer=o, units=int(units)) for i, o, units in parts)


def cleared(
    tick: int, lines: str | Iterable[SolutionFill], resource: str = RESOURCE
) -> ClearedBook:
    made = fills(lines) if isinstance(lines, str) else tuple(lines)
    return ClearedBook(resource=resource, tick=tick, fills=made)


def solution(tick: int, lines: str | Iterable[SolutionFill], resource: str = RESOURCE) -> Solution:
    """Of one book."""
    return Solution(books=(cleared(tick, lines, resource),))


def orders_of(seen: Snapshot) -> list[SnapshotOrder]:
    """Of both sides of all books."""
    return [one for each in seen.books for one in (*each.intents, *each.offers)]


def an_auction(
    seen: Snapshot,
    proposals: Iterable[tuple[str, Solution]],
    live: Mapping[str, int] | None = None,
) -> Auction:
    """A record at its close; `live` has the units of orders that changed since the snapshot."""
    changed = live or {}
    return Auction(
        snapshot=seen,
        snapshot_digest=seen.digest(),
        seed=SEED,
        proposed=[
            Proposed(solver=solver, seq=seq, bid=proposed.digest(solver), solution=proposed)
            for seq, (solver, proposed) in enumerate(proposals)
        ],
        shrunk={
            one.id: changed[one.id]
            for one in orders_of(seen)
            if changed.get(one.id, one.units) < one.units
        },
    )


def judged(
    seen: Snapshot,
    *proposals: tuple[str, Solution],
    live: Mapping[str, int] | None = None,
) -> Verdict:
    return judge(an_auction(seen, proposals, live))


def codes(verdict: Verdict) -> list[str]:
    """Of each solution in its place: why it did not win, or nothing."""
    return [ranked.reason.code if ranked.reason else "" for ranked in verdict.ranking]
