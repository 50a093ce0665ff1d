"""What winners are paid: second prices, out of the surplus.

    reference = what the others could have had of what it won: W₋ᵢ − (W − scoreᵢ)
    reward    = score − reference                    ≥ 0, as W ≥ W₋ᵢ
    reference ≥ Σ b₂ over its buckets                as single bids could have had those

With W₋ᵢ the best score without the solver's bids, and b₂ the second-best solver's score for
a bucket alone. So rewards add up to no more than W − Σ b₂. If the search ended with a gap,
W is what was found and W₋ᵢ the least that is proven not to be exceeded: rewards are lower
by up to that gap, never negative, and the sums above hold as they stand.

Who pays it is `charge`; what a winner owes that does not deliver is `bond`.
"""

from collections.abc import Sequence

import msgspec

from solver.core.bid import Bid
from solver.core.relaxation import Work
from solver.core.winner import Competition, Selection


class Reward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A winning solver's, in micro-atoms, if it delivers."""

    solver: str
    score: int
    reference: int

    @property
    def amount(self) -> int:
        """What it is paid above nothing."""
        return self.score - self.reference


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
