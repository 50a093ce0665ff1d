"""Why no selection of bids weighs more: checked without the search that found it.

Put a price on each bucket. Whatever is selected, buckets are paid for at most once, so it
weighs at most

    Σ prices + Σ what each bid weighs above the prices of its buckets

whatever the prices are. A ring of k buckets may have a price too, on each pair of them that a
bid has: disjoint bids have ⌊k/2⌋ pairs at most, so that many are paid for. If the sum is no
more than was claimed, the claim is proven. If it is more, a bid that weighs so little, against
its prices, that no selection with it can exceed the claim is out. If those left do not overlap,
their sum is the bound. Else two buckets are named: in any selection they are in one bid
together, or apart. Both cases have fewer bids, and a proof each.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from solver.core.bid import Bid, weight


class Ring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some buckets, and the price of a pair of them."""

    buckets: tuple[int, ...]
    price: int


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices by bucket and of rings, and what becomes of the bids they leave in doubt."""

    prices: dict[int, int]
    rings: tuple[Ring, ...] = ()
    pair: tuple[int, int] | None = None
    apart: "Case | None" = None
    together: "Case | None" = None


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some of the bids, and the most that a selection of them weighs."""

    bids: tuple[str, ...]
    weight_max: int
    case: Case


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All bids are in a part, or beaten: others, in a part and within its buckets, weigh more."""

    parts: tuple[Part, ...]
    beaten: dict[str, tuple[str, ...]]

    @property
    def weight_max(self) -> int:
        """What no selection exceeds."""
        return sum(part.weight_max for part in self.parts)


Weighed = tuple[int, int]
"""Buckets as bits, and a weight."""


def holds(proof: Proof, bids: Sequence[Bid], seed: bytes) -> bool:
    """Whether it shows that no selection weighs more than it says.

    The time it takes is that of reading it: a look at each bid for each case.
    """
    weighed = {bid.id: (bid.mask, weight(bid, seed)) for bid in bids}
    kept = {name for part in proof.parts for name in part.bids}
    return (
        kept.isdisjoint(proof.beaten)
        and kept | set(proof.beaten) == set(weighed)
        and all(_is_beaten(name, by, kept, weighed) for name, by in proof.beaten.items())
        and all(_part_holds(part, weighed) for part in proof.parts)
    )


def _is_beaten(
    name: str, others: Sequence[str], kept: set[str], weighed: Mapping[str, Weighed]
) -> bool:
    mask, least = weighed[name]
    by = [weighed[other] for other in others if other in kept]
    within = all(theirs & ~mask == 0 for theirs, _ in by)
    return within and _are_disjoint(by) and sum(their for _, their in by) >= least


def _part_holds(part: Part, weighed: Mapping[str, Weighed]) -> bool:
    return _case_holds(part.case, [weighed[name] for name in part.bids], part.weight_max)


def _case_holds(case: Case, bids: Sequence[Weighed], weight_max: int) -> bool:
    rings = [(_mask(ring.buckets), ring.price) for ring in case.rings]
    if any(price < 0 for price in (*case.prices.values(), *(price for _, price in rings))):
        return False
    above = [weight - _price(mask, case.prices, rings) for mask, weight in bids]
    paid = sum(case.prices.values()) + sum(mask.bit_count() // 2 * price for mask, price in rings)
    bound = paid + sum(max(0, excess) for excess in above)
    if bound <= weight_max:
        return True
    left = [
        bid for bid, excess in zip(bids, above, strict=True) if bound + min(0, excess) > weight_max
    ]
    if case.pair is None or case.apart is None or case.together is None:
        return _are_disjoint(left) and sum(weight for _, weight in left) <= weight_max
    pair = _mask(case.pair)
    apart = [bid for bid in left if bid[0] & pair != pair]
    together = [bid for bid in left if bid[0] & pair in (0, pair)]
    return _case_holds(case.apart, apart, weight_max) and _case_holds(
        case.together, together, weight_max
    )


def _mask(buckets: Iterable[int]) -> int:
    return sum(1 << bucket for bucket in set(buckets))


def _price(mask: int, prices: Mapping[int, int], rings: Sequence[Weighed]) -> int:
    total = sum((mask & ring).bit_count() // 2 * price for ring, price in rings)
    while mask:
        lowest = mask & -mask
        total += prices.get(lowest.bit_length() - 1, 0)
        mask ^= lowest
    return total


def _are_disjoint(bids: Sequence[Weighed]) -> bool:
    taken = 0
    for mask, _ in bids:
        if mask & taken:
            return False
        taken |= mask
    return True
