"""A bid as it is searched, and what no two bids can have together.

Places are what prices are put on. The first are buckets, which fit one bid each. Others are
rings: an odd number k of buckets. Who has two of them has a pair, and disjoint bids have
⌊k/2⌋ pairs of k buckets at most. Parts of bids know no such bound (three halves, of which
each two share a bucket, fit), so rings bring the relaxation nearer to what can be had.
"""

from collections.abc import Iterable, Mapping, Sequence

from solver.core.bid import BUCKETS_MAX, Bid, weight
from solver.core.proof import Ring

Buckets = tuple[int, ...]


class Candidate:
    """One bid."""

    __slots__ = ("buckets", "mask", "number", "weight")

    def __init__(self, number: int, bid: Bid, seed: bytes) -> None:
        self.number = number
        self.mask = bid.mask
        self.buckets = sorted(bid.surplus)
        self.weight = weight(bid, seed)


class Places:
    """The buckets, and the rings that were found among some candidates."""

    __slots__ = ("_candidates", "_rings", "_sizes", "_taken")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._taken = {one.number: list(one.buckets) for one in candidates}
        self._sizes = [1] * BUCKETS_MAX
        self._rings: list[Buckets] = []

    def add(self, rings: Iterable[Buckets]) -> list[int]:
        """More rings; their numbers."""
        first = len(self._sizes)
        for place, ring in enumerate(rings, first):
            mask = sum(1 << bucket for bucket in ring)
            for one in self._candidates:
                self._taken[one.number] += [place] * pairs(one.mask, mask)
            self._sizes.append(len(ring) // 2)
            self._rings.append(ring)
        return list(range(first, len(self._sizes)))

    def size(self, place: int) -> int:
        """How many bids fit into a bucket, or pairs into a ring."""
        return self._sizes[place]

    def taken(self, one: Candidate) -> list[int]:
        """The places that a bid takes; a ring's number stands there once for each pair."""
        return self._taken[one.number]

    def above(self, candidates: Iterable[Candidate], prices: Mapping[int, int]) -> list[int]:
        """What each weighs above the prices of its places."""
        price_of, taken = [prices.get(place, 0) for place in range(len(self._sizes))], self._taken
        return [
            one.weight - sum([price_of[place] for place in taken[one.number]])  # faster than lazily
            for one in candidates
        ]

    def bound(self, prices: Mapping[int, int], above: Iterable[int]) -> int:
        """What no selection exceeds: all that fits, paid for, and what is above."""
        paid = sum(price * self._sizes[place] for place, price in prices.items())
        return paid + sum(excess for excess in above if excess > 0)

    def rings(self, prices: Mapping[int, int]) -> tuple[Ring, ...]:
        """Those that have a price."""
        return tuple(
            Ring(buckets=self._rings[place - BUCKETS_MAX], price=price)
            for place, price in sorted(prices.items())
            if place >= BUCKETS_MAX and price
        )


def pairs(mask: int, ring: int) -> int:
    """How many pairs of a ring's buckets a bid has."""
    return (mask & ring).bit_count() // 2
