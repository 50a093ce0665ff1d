"""Who wins: bids that share no bucket and together weigh the most, exactly, in integers.

Branch and bound, on each group of bids that overlap. The relaxation guides: its prices,
rounded, bound what can still be won; bids that cannot be in a better selection are out; its
shares suggest a selection, what more to hold them to (`ring`), and which two buckets to part
by (in one bid together, or apart), until every case is closed. What closed them is kept as
the `Proof`.

The work is bounded by what is computed, not by a clock, so that what is found when it ends
is as replayable as a best selection: the same bids, in any order, give the same.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import shake_128
from itertools import combinations
from typing import Final

import msgspec
from msgspec.structs import replace

from intents.rounding import mul_div_ceil
from solver.core.bid import BUCKETS_MAX, SEED_BYTES, Bid, check_bids, score_of
from solver.core.candidate import Candidate, Places
from solver.core.proof import Case, Part, Proof
from solver.core.relaxation import SHARE_MIN, Relaxation, Work
from solver.core.ring import exceeded

WORK_MAX: Final = 1_500_000_000
"""Cells of a tableau that may be changed for one selection: one to three seconds."""
DEPTH_MAX: Final = 100
"""Cases within cases; a tableau is kept for each."""
HALF: Final = 0.5
MARGIN: Final = 1e-8
"""Of the heaviest bid: by so much losers' buckets are to cost more than they weigh."""


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bids that win together, by id; no others score more than `score_max`."""

    bids: tuple[str, ...]
    score: int
    score_max: int
    proof: Proof

    @property
    def gap(self) -> int:
        """Micro-atoms by which the best could be better; 0 if this is proven the best."""
        return self.score_max - self.score


class Competition:
    """All bids of one auction: the best selection, and the best without a solver's."""

    __slots__ = ("_bids", "_groups", "_seed", "_work_max")

    def __init__(self, bids: Sequence[Bid], seed: bytes, work_max: int = WORK_MAX) -> None:
        check_bids(bids, seed)
        self._bids = sorted(bids, key=lambda bid: bid.id)
        self._seed = seed
        self._work_max = work_max
        work = self.work()
        entries = [Candidate(number, bid, seed) for number, bid in enumerate(self._bids)]
        self._groups = [_Group(overlapping, work) for overlapping in _overlapping(entries)]

    def best(self) -> Selection:
        """The winners."""
        return self._joined([group.best for group in self._groups])

    def work(self) -> Work:
        """As much as the selection of the winners may take."""
        return Work(self._work_max)

    def turn(self, solver: str) -> bytes:
        """Orders solvers by the seed, where some have to come before others."""
        return shake_128(self._seed + solver.encode()).digest(SEED_BYTES)

    def without(self, solver: str, work: Work | None = None) -> Selection:
        """Who would win, had this solver not bid.

        The same as do win, if it is none of them: their proof holds for more than these bids.
        """
        theirs = self._of(solver)
        if theirs.isdisjoint(number for group in self._groups for number in group.best.chosen):
            return self.best()
        spent = work or self.work()
        return self._joined([group.without(theirs, spent) for group in self._groups])

    def bound_without(self, solver: str) -> int:
        """What `without` scores at most: a look at each bid, by the prices that all bids led to."""
        theirs = self._of(solver)
        return score_of(sum(group.bound_without(theirs) for group in self._groups))

    def _of(self, solver: str) -> set[int]:
        return {number for number, bid in enumerate(self._bids) if bid.solver == solver}

    def _joined(self, found: Sequence["_Found"]) -> Selection:
        proof = Proof(
            parts=tuple(
                Part(bids=self._names(one.kept), weight_max=one.weight_max, case=one.case)
                for one in found
            ),
            beaten={
                self._bids[number].id: self._names(by)
                for one in found
                for number, by in one.beaten.items()
            },
        )
        return Selection(
            bids=self._names(sorted(number for one in found for number in one.chosen)),
            score=score_of(sum(one.weight for one in found)),
            score_max=score_of(proof.weight_max),
            proof=proof,
        )

    def _names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple(self._bids[number].id for number in numbers)


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search of a group came to."""

    chosen: tuple[int, ...]
    weight: int
    weight_max: int
    case: Case
    kept: tuple[int, ...]
    beaten: dict[int, tuple[int, ...]]


def _overlapping(entries: Iterable[Candidate]) -> list[list[Candidate]]:
    """Groups of bids that overlap, themselves or through others.

    Small ones come first, so that a large one takes no work from them.
    """
    groups: list[tuple[int, list[Candidate]]] = []
    for entry in entries:
        mask, joined, apart = entry.mask, [entry], list[tuple[int, list[Candidate]]]()
        for group in groups:
            if group[0] & entry.mask:
                mask |= group[0]
                joined += group[1]
            else:
                apart.append(group)
        groups = [*apart, (mask, joined)]
    sorted_groups = [sorted(group, key=lambda entry: entry.number) for _, group in groups]
    return sorted(sorted_groups, key=lambda group: (len(group), group[0].number))


def _beaten(entries: Iterable[Candidate]) -> dict[int, tuple[int, ...]]:
    """Bids in whose place another, with single bids for what it leaves, weighs more.

    Who beats is never beaten: smaller bids come first, and of equal buckets the heavier.
    """
    single: dict[int, Candidate] = {}
    by_lowest: dict[int, list[Candidate]] = {}
    beaten: dict[int, tuple[int, ...]] = {}
    for entry in sorted(entries, key=lambda e: (len(e.buckets), -e.weight, e.number)):
        for other in (o for bucket in entry.buckets for o in by_lowest.get(bucket, ())):
            if other.mask & ~entry.mask:
                continue
            rest = [b for b in entry.buckets if b in single and not other.mask >> b & 1]
            if other.weight + sum(single[bucket].weight for bucket in rest) >= entry.weight:
                beaten[entry.number] = (other.number, *(single[b].number for b in rest))
                break
        else:
            by_lowest.setdefault(entry.buckets[0], []).append(entry)
            if len(entry.buckets) == 1:
                single[entry.buckets[0]] = entry
    return beaten


class _Group:
    """Bids that overlap: the best of them, and the relaxation to start from again."""

    __slots__ = ("_beaten", "_candidates", "_places", "_root", "_unit", "best")

    def __init__(self, candidates: list[Candidate], work: Work) -> None:
        self._candidates = candidates
        self._unit = max(one.weight for one in candidates)
        self._beaten = _beaten(candidates)
        self._places = Places(candidates)
        self._root = Relaxation.of(sorted({b for one in candidates for b in one.buckets}), work)
        self._root.add([self._column(one) for one in candidates if one.number not in self._beaten])
        self._root.maximise()
        self._tighten(work)
        self.best = self._search(candidates, self._beaten, self._root.copy(work), work, ())

    def _tighten(self, work: Work) -> None:
        """Rings for the relaxation that it exceeds as yet."""
        places = self._places.add(exceeded(self._candidates, self._root.shares(), work))
        sizes = [(place, self._places.size(place)) for place in places]
        self._root.limit(sizes, [(c.number, self._places.taken(c)) for c in self._candidates])
        self._root.remove(())

    def without(self, gone: Collection[int], work: Work) -> _Found:
        """The best of those that are not gone, from where the search of all began."""
        left = [one for one in self._candidates if one.number not in gone]
        if len(left) == len(self._candidates):
            return self.best
        beaten, root = _beaten(left), self._root.copy(work)
        back = [one for one in left if one.number in self._beaten and one.number not in beaten]
        root.add([self._column(one) for one in back])
        root.maximise()
        root.remove({*gone, *beaten})
        return self._search(left, beaten, root, work, self.best.chosen)

    def bound_without(self, gone: Collection[int]) -> int:
        """What no selection of those that are not gone exceeds."""
        left = [one for one in self._candidates if one.number not in gone]
        if len(left) == len(self._candidates):
            return self.best.weight_max
        prices = self._root.prices(self._unit)
        return min(
            self.best.weight_max, self._places.bound(prices, self._places.above(left, prices))
        )

    def _column(self, one: Candidate) -> tuple[int, list[int], float]:
        return one.number, self._places.taken(one), one.weight / self._unit

    def _search(
        self,
        candidates: list[Candidate],
        beaten: dict[int, tuple[int, ...]],
        root: Relaxation,
        work: Work,
        hint: Collection[int],
    ) -> _Found:
        kept = [one for one in candidates if one.number not in beaten]
        search = _Search(self._unit, self._places, work)
        search.take(sorted(kept, key=lambda one: (one.number not in hint, -one.weight, one.number)))
        prices = min(
            (root.prices(self._unit), _even_prices(kept)),
            key=lambda prices: search.bound(kept, prices),
        )
        case = search.case(root, kept, 0)
        if case is None:
            search.take([*search.chosen, *kept])
        return _Found(
            chosen=tuple(one.number for one in search.chosen),
            weight=search.weight,
            weight_max=search.bound(kept, prices) if case is None else search.weight,
            case=search.closed(prices) if case is None else case,
            kept=tuple(one.number for one in kept),
            beaten=beaten,
        )


class _Search:
    """The best found so far, and the cases that are left."""

    __slots__ = ("_places", "_unit", "_work", "chosen", "weight")

    def __init__(self, unit: int, places: Places, work: Work) -> None:
        self._unit = unit
        self._places = places
        self._work = work
        self.chosen: list[Candidate] = []
        self.weight = 0

    def bound(self, candidates: Sequence[Candidate], prices: dict[int, int]) -> int:
        """What no selection of these exceeds."""
        return self._places.bound(prices, self._places.above(candidates, prices))

    def take(self, entries: Iterable[Candidate]) -> None:
        """One after the other, what overlaps nothing before it; if that is better."""
        taken, total, chosen = 0, 0, list[Candidate]()
        for entry in entries:
            if not entry.mask & taken:
                taken |= entry.mask
                total += entry.weight
                chosen.append(entry)
        if total > self.weight:
            self.weight, self.chosen = total, chosen

    def case(self, guide: Relaxation, entries: list[Candidate], depth: int) -> Case | None:
        """Find what is better among these; why nothing else is, or None if work ends first."""
        prices, shares = guide.prices(self._unit), guide.shares()
        above = self._places.above(entries, prices)
        bound = self._places.bound(prices, above)
        if bound <= self.weight:
            return self.closed(prices)
        ranks = {
            entry.number: (-shares.get(entry.number, 0.0), -above[place])
            for place, entry in enumerate(entries)
        }
        self.take(sorted(entries, key=lambda entry: ranks[entry.number]))
        left = [
            e
            for e, excess in zip(entries, above, strict=True)
            if bound + min(0, excess) > self.weight
        ]
        if all(share > 1 - SHARE_MIN for share in shares.values()):
            exact = self._exact(guide, entries, shares)
            if self.bound(entries, exact) <= self.weight:
                return self.closed(exact)
        pair = _pair(left, shares, prices)
        if pair is None:
            self.take(left)
            return self.closed(prices)
        if depth == DEPTH_MAX or self._work.left < 0:
            return None
        guide.drop({entry.number for entry in entries} - {entry.number for entry in left})
        return self._parted(guide, left, prices, pair, depth)

    def _exact(
        self, guide: Relaxation, entries: Iterable[Candidate], winners: Collection[int]
    ) -> dict[int, int]:
        """Prices without their rounding: those that win cost what they weigh, others more.

        A float is never exactly on the bound, and bids whose buckets cost just what they
        weigh would stay in doubt. So losers are priced as if they weighed a little more.
        """
        guide.raise_all_but(winners, MARGIN)
        guide.maximise()
        exact = guide.prices(self._unit)
        winning = [entry for entry in entries if entry.number in winners]
        taken = {bucket for entry in winning for bucket in entry.buckets}
        exact = {p: price for p, price in exact.items() if p in taken or p >= BUCKETS_MAX}
        for entry in winning:
            dearest = max(entry.buckets, key=lambda bucket: exact.get(bucket, 0))
            rest = entry.weight - sum(exact.get(place, 0) for place in self._places.taken(entry))
            exact[dearest] = max(0, exact.get(dearest, 0) + rest)
        return exact

    def closed(self, prices: dict[int, int]) -> Case:
        """Prices as a proof has them: of buckets, and of rings."""
        of_buckets = {place: price for place, price in prices.items() if place < BUCKETS_MAX}
        return Case(prices=of_buckets, rings=self._places.rings(prices))

    def _parted(
        self,
        guide: Relaxation,
        left: list[Candidate],
        prices: dict[int, int],
        pair: tuple[int, int],
        depth: int,
    ) -> Case | None:
        """The pair's two cases, the likelier first; no work is spent on one alone."""
        both = 1 << pair[0] | 1 << pair[1]
        sides = {
            "apart": [entry for entry in left if entry.mask & both != both],
            "together": [entry for entry in left if entry.mask & both in (0, both)],
        }
        closed: dict[str, Case] = {}
        for side in sorted(sides, reverse=_share_of(left, guide.shares(), both) >= HALF):
            entries = sides[side]
            child = guide if closed else guide.copy(self._work)
            gone = {entry.number for entry in left} - {entry.number for entry in entries}
            child.remove(gone, self.weight / self._unit)
            case = self.case(child, entries, depth + 1)
            if case is None:
                return None
            closed[side] = case
        return replace(self.closed(prices), pair=pair, **closed)


def _even_prices(entries: Iterable[Candidate]) -> dict[int, int]:
    """No bid weighs more than its buckets cost: a bound that takes no work."""
    prices: dict[int, int] = {}
    for entry in entries:
        part = mul_div_ceil(entry.weight, 1, len(entry.buckets))
        prices |= {bucket: max(part, prices.get(bucket, 0)) for bucket in entry.buckets}
    return prices


def _share_of(entries: Iterable[Candidate], shares: dict[int, float], mask: int) -> float:
    return sum(shares.get(e.number, 0.0) for e in entries if e.mask & mask == mask)


def _pair(
    left: Sequence[Candidate], shares: dict[int, float], prices: dict[int, int]
) -> tuple[int, int] | None:
    """Two buckets to part by; None if no two bids overlap.

    Some bid has both and some bid has one, so both cases have fewer bids. Best are two of
    which the shares cannot decide.
    """
    at: dict[int, float] = {}
    both: dict[tuple[int, int], float] = {}
    for entry in left:
        share = shares.get(entry.number, 0.0)
        for bucket in entry.buckets:
            at[bucket] = at.get(bucket, 0.0) + share
        if 0 < share < 1 - SHARE_MIN:
            for pair in combinations(entry.buckets, 2):
                both[pair] = both.get(pair, 0.0) + share
    doubt = {
        pair: min(share, (at[pair[0]] + at[pair[1]]) * HALF - share) for pair, share in both.items()
    }
    worth = {
        pair: amount * (prices.get(pair[0], 0) + prices.get(pair[1], 0))
        for pair, amount in doubt.items()
        if amount > SHARE_MIN
    }
    best = max(worth, key=lambda pair: (worth[pair], pair), default=None)
    if best is not None:
        return best
    return _overlap(left)


def _overlap(left: Iterable[Candidate]) -> tuple[int, int] | None:
    """A bucket that two bids have, with one that only one of them has."""
    owner: dict[int, Candidate] = {}
    for entry in left:
        for bucket in entry.buckets:
            other = owner.setdefault(bucket, entry)
            if other is not entry:
                apart = entry.mask ^ other.mask
                return bucket, apart.bit_length() - 1
    return None
