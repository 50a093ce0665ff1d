"""A sealed bid of an auction of many buckets, and the one order in which bids are weighed.

A bucket is what is sold to one winner: a resource in an epoch. A bid is a solution that was
judged and scored; it takes all its buckets or none. Its weight is its score with a seeded
number below, so that among equal scores one selection is the best, the same for everybody:

    weight = score · 2⁷² + one 64-bit word for each of its buckets

The words come from the seed, the solver and the bid's id. Selections that cover the same
buckets add up the same number of words, however many bids they are made of, so splitting a
bid wins no more ties. 256 words stay below 2⁷²: no word can outweigh a micro-atom.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import shake_128
from typing import Final

import msgspec

from solver.core.check import check

BUCKETS_MAX: Final = 256
BIDS_MAX: Final = 1_024
BIDS_PER_SOLVER_MAX: Final = 64
SURPLUS_MAX: Final = 2**128 - 1
"""Micro-atoms in one bucket."""
SEED_BYTES: Final = 32
TIE_BITS: Final = 72
WORD_BYTES: Final = 8


class Bid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Surplus in micro-atoms by bucket, as judged. The ids of one auction's bids differ."""

    id: str
    solver: str
    surplus: dict[int, int]

    @property
    def score(self) -> int:
        """Surplus of all its buckets."""
        return sum(self.surplus.values())

    @property
    def mask(self) -> int:
        """Its buckets as bits."""
        return sum(1 << bucket for bucket in self.surplus)


def check_bids(bids: Sequence[Bid], seed: bytes) -> None:
    """A caller's bug stops: bids were judged, so all of this was refused before."""
    check(len(seed) == SEED_BYTES, "seed_has_its_length", length=len(seed))
    check(len(bids) <= BIDS_MAX, "bids_within_bounds", bids=len(bids))
    check(len({bid.id for bid in bids}) == len(bids), "bids_have_ids_of_their_own")
    most = max(Counter(bid.solver for bid in bids).values(), default=0)
    check(most <= BIDS_PER_SOLVER_MAX, "bids_of_a_solver_within_bounds", bids=most)
    for bid in bids:
        check(bool(bid.surplus), "bid_takes_a_bucket", bid=bid.id)
        for bucket, surplus in bid.surplus.items():
            check(0 <= bucket < BUCKETS_MAX, "bucket_within_bounds", bucket=bucket)
            check(0 <= surplus <= SURPLUS_MAX, "surplus_within_bounds", surplus=surplus)


def weight(bid: Bid, seed: bytes) -> int:
    """Its score, and below that what decides between equals."""
    parts = (bid.solver.encode(), bid.id.encode())
    text = seed + b"".join(len(part).to_bytes(4) + part for part in parts)
    words = shake_128(text).digest(WORD_BYTES * len(bid.surplus))
    tie = sum(
        int.from_bytes(words[start : start + WORD_BYTES])
        for start in range(0, len(words), WORD_BYTES)
    )
    return (bid.score << TIE_BITS) + tie


def score_of(total: int) -> int:
    """Micro-atoms of a sum of weights."""
    return total >> TIE_BITS


def second_scores(bids: Sequence[Bid]) -> dict[int, int]:
    """By bucket, the second-best solver's best score for that bucket alone; 0 if none."""
    best: dict[int, dict[str, int]] = {}
    for bid in bids:
        for bucket in bid.surplus:
            of_bucket = best.setdefault(bucket, {})
            if len(bid.surplus) == 1:
                of_bucket[bid.solver] = max(bid.score, of_bucket.get(bid.solver, 0))
    return {bucket: sorted((0, 0, *scores.values()))[-2] for bucket, scores in sorted(best.items())}
