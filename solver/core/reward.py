"""What winners are paid, what who does not deliver pays, and what each bucket's users get.

All of it comes out of the surplus of the winner's own buckets, so transfers add up to zero
atoms, winner by winner:

    reference = what the others could have had of what it won: W₋ᵢ − (W − scoreᵢ)
    reward    = score − reference                    ≥ 0, as W ≥ W₋ᵢ
    reference ≥ Σ b₂ over its buckets                as single bids could have had those

With W₋ᵢ the best score without the solver's bids, and b₂ the second-best solver's score for
a bucket alone. So rewards add up to no more than W − Σ b₂. If the search ended with a gap,
W is what was found and W₋ᵢ the least that is proven not to be exceeded: rewards are lower
by up to that gap, never negative, and the sums above hold as they stand.

A winner is judged by what it delivered, in atoms:

    earned = score of what it delivered, and of what another's late fill held up
    earned ≥ reference: it is paid max(0, score of what it delivered − reference)
    else:               it pays min(penalty_max, reference − earned)
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from intents.rounding import mul_div_ceil, mul_div_floor
from solver.core.bid import Bid
from solver.core.check import check
from solver.core.relaxation import Work
from solver.core.winner import Competition, Selection

ATOM: Final = 10**6
"""Micro-atoms."""


class Fate(StrEnum):
    """What became of a winning bid."""

    DELIVERED = "delivered"
    LATE = "late"
    """Not delivered in time, by its solver's fault."""
    HELD = "held"
    """Not delivered, as another solver's late fill held what it needed."""


class Reward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A winning solver's, in micro-atoms, if it delivers."""

    solver: str
    score: int
    reference: int

    @property
    def amount(self) -> int:
        """What it is paid above nothing."""
        return self.score - self.reference


class Payout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Atoms: what the solver gets (or pays, below zero), what each bucket's users get.

    The sum of all is zero.
    """

    solver: str
    atoms: int
    transfers: dict[int, int]


def rewards(competition: Competition, winners: Selection, bids: Sequence[Bid]) -> list[Reward]:
    """Of each winning solver, by name.

    All references together take as much work as the winners did at most. Once that is spent,
    the rest, in an order that the seed draws, are bounds: no lower, so rewards are no higher.
    """
    won = set(winners.bids)
    scores: dict[str, int] = {}
    for bid in bids:
        if bid.id in won:
            scores[bid.solver] = scores.get(bid.solver, 0) + bid.score
    found, work = dict[str, Reward](), competition.work()
    for solver in sorted(scores, key=competition.turn):
        found[solver] = reward_of(solver, scores[solver], competition, winners, work)
    return [found[solver] for solver in sorted(found)]


def reward_of(
    solver: str,
    score: int,
    competition: Competition,
    winners: Selection,
    work: Work | None = None,
) -> Reward:
    """Of one of the winners, whose bids that won have this score together."""
    if work is None or work.left > 0:
        others = competition.without(solver, work).score_max
    else:
        others = competition.bound_without(solver)
    reference = others - (winners.score - score)
    return Reward(solver=solver, score=score, reference=min(score, reference))


def payout(
    reward: Reward,
    fates: Mapping[str, Fate],
    wins: Sequence[Bid],
    second: Mapping[int, int],
    penalty_max: int,
) -> Payout:
    """What is paid when all is over; `wins` are the solver's, `fates` theirs by id.

    `second` is b₂ by bucket, `penalty_max` is in atoms.
    """
    by_fate = {fate: [bid for bid in wins if fates[bid.id] is fate] for fate in Fate}
    delivered, late = by_fate[Fate.DELIVERED], by_fate[Fate.LATE]
    served = sum(bid.score for bid in delivered)
    missed = reward.reference - served - sum(bid.score for bid in by_fate[Fate.HELD])
    paid, transfers = _divide(_surplus(delivered), max(0, served - reward.reference), second)
    if missed > 0:
        penalty = min(penalty_max, mul_div_ceil(missed, 1, ATOM))
        paid, transfers = -penalty, transfers | _compensate(_surplus(late), penalty, second)
    return Payout(solver=reward.solver, atoms=paid, transfers=transfers)


def _surplus(bids: Sequence[Bid]) -> dict[int, int]:
    """By bucket; winning bids share none."""
    return {bucket: part for bid in bids for bucket, part in sorted(bid.surplus.items())}


def _divide(
    surplus: Mapping[int, int], reward: int, second: Mapping[int, int]
) -> tuple[int, dict[int, int]]:
    """The reward in atoms, and what each bucket's users get beside their surplus.

    Every bucket keeps its b₂. What is above that pays, in proportion, for the reward and for
    buckets that are below. Each transfer is rounded up, for the users, and the reward pays
    for it: less than an atom a bucket. A reward too small for that is zero, and then
    transfers are rounded to add up to zero, none by a whole atom.
    """
    floors = {bucket: second.get(bucket, 0) for bucket in surplus}
    above = {bucket: max(0, part - floors[bucket]) for bucket, part in surplus.items()}
    left, total = sum(surplus.values()) - sum(floors.values()) - reward, sum(above.values())
    check(left >= 0, "reward_within_surplus", left=left)
    moved = {
        bucket: floors[bucket] + mul_div_ceil(above[bucket], left, max(1, total)) - part
        for bucket, part in surplus.items()
    }
    down = {bucket: micro // ATOM for bucket, micro in moved.items()}
    paid = max(0, -sum(-(-micro // ATOM) for micro in moved.values()))
    extra = -paid - sum(down.values())
    neediest = sorted(moved, key=lambda bucket: (-(moved[bucket] % ATOM), bucket))
    return paid, down | {bucket: down[bucket] + 1 for bucket in neediest[:extra]}


def _compensate(
    surplus: Mapping[int, int], penalty: int, second: Mapping[int, int]
) -> dict[int, int]:
    """The penalty to the users of what was not delivered, by b₂; equally where there is none."""
    shares = {bucket: second.get(bucket, 0) for bucket in surplus}
    if not any(shares.values()):
        shares = dict.fromkeys(shares, 1)
    total = sum(shares.values())
    parts = {bucket: mul_div_floor(penalty, share, total) for bucket, share in shares.items()}
    left = penalty - sum(parts.values())
    return {
        bucket: part + (place < left) for place, (bucket, part) in enumerate(sorted(parts.items()))
    }
