"""Rings that a relaxation's shares exceed: found as shortest odd ways round.

Two doubtful bids that share a bucket are so far from each other as their shares stay below 1
together. An odd way from bid to bid back to the first that is shorter than 1 goes round an
odd number of buckets, of which the shares have more pairs than there are.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import combinations
from typing import Final

from solver.core.candidate import Buckets, Candidate, pairs
from solver.core.relaxation import SHARE_MIN, Work

EXCESS_MIN: Final = 0.02
"""Pairs by which shares exceed a ring that is worth a row."""
HALF_WAY: Final = 0.5
LOOK: Final = 500
"""Cells of a tableau that could be changed in the time of a look at a link."""
RING_MIN: Final = 3
RINGS_MAX: Final = 48
"""Of one search."""

Links = dict[int, list[tuple[int, int, float]]]
"""By bid: another, a bucket of both, and how far it is."""
Stop = tuple[int, int]
"""A bid, and whether the way to it is odd."""


def exceeded(
    candidates: Sequence[Candidate], shares: Mapping[int, float], work: Work
) -> list[Buckets]:
    """Rings that the shares exceed, those by most first."""
    doubtful = [c for c in candidates if SHARE_MIN < shares.get(c.number, 0) < 1 - SHARE_MIN]
    links = _links(doubtful, shares)
    found: dict[int, float] = {}
    for start in sorted(links):
        ring = _shortest(start, links, work)
        size = ring.bit_count()
        if ring in found or size < RING_MIN or size % 2 == 0:
            continue
        have = sum(pairs(c.mask, ring) * shares[c.number] for c in doubtful)
        if have > size // 2 + EXCESS_MIN:
            found[ring] = have - size // 2
    most = sorted(found, key=lambda ring: (-found[ring], ring))[:RINGS_MAX]
    return [tuple(b for b in range(ring.bit_length()) if ring >> b & 1) for ring in most]


def _links(doubtful: Sequence[Candidate], shares: Mapping[int, float]) -> Links:
    at: dict[int, list[int]] = {}
    for candidate in doubtful:
        for bucket in candidate.buckets:
            at.setdefault(bucket, []).append(candidate.number)
    links: Links = {candidate.number: [] for candidate in doubtful}
    for bucket, numbers in at.items():
        for one, other in combinations(numbers, 2):
            far = max(0.0, 1 - shares[one] - shares[other])
            if far <= HALF_WAY:
                links[one].append((other, bucket, far))
                links[other].append((one, bucket, far))
    return links


def _shortest(start: int, links: Links, work: Work) -> int:
    """The buckets, as bits, of the shortest odd way round from a bid; 0 if none is below 1.

    Ways are followed half round, and closed by a link between two that are both odd, or both
    even. What both go through first cancels out.
    """
    way: dict[Stop, int] = {}
    heap: list[tuple[float, int, int, int]] = [(0.0, start, 0, 0)]
    far_of: dict[Stop, float] = {}
    best, ring = 1 - EXCESS_MIN, 0
    while heap:
        far, bid, odd, buckets = heappop(heap)
        if 2 * far > best or work.left < 0:
            break
        if (bid, odd) in way:
            continue
        work.left -= LOOK * len(links[bid])
        way[bid, odd], far_of[bid, odd] = buckets, far
        for other, bucket, step in links[bid]:
            met = far_of.get((other, odd))
            if met is not None and far + step + met < best:
                best, ring = far + step + met, buckets ^ way[other, odd] ^ 1 << bucket
            if far + step <= HALF_WAY and (other, 1 - odd) not in way:
                heappush(heap, (far + step, other, 1 - odd, buckets ^ 1 << bucket))
    return ring
