"""Rewards within bounded work: what is not searched is bounded, and only ever pays less."""

import pytest

from solver.core.relaxation import Work
from solver.core.reward import reward_of, rewards
from solver.core.winner import Competition, Selection
from tests.auction.bidding import LARGE, SMALL, draw_bids, draw_seed

AUCTIONS = 60


@pytest.mark.parametrize("seed", range(AUCTIONS))
def test_a_bound_pays_no_more_than_the_search_and_never_less_than_nothing(seed: int) -> None:
    """Whoever's reference is not searched for has one that is no lower, and at most its score."""
    bids, ties = draw_bids(SMALL, seed), draw_seed(seed)
    competition = Competition(bids, ties)
    winners = competition.best()
    spent = Work(0)
    for exact in rewards(competition, winners, bids):
        bound = reward_of(exact.solver, exact.score, competition, winners, spent)
        assert exact.reference <= bound.reference <= exact.score
        assert competition.bound_without(exact.solver) >= competition.without(exact.solver).score


class Watched(Competition):
    """Notes whose reference is searched for."""

    asked: set[str]

    def without(self, solver: str, work: Work | None = None) -> Selection:
        self.asked.add(solver)
        return super().without(solver, work)


def test_all_references_share_one_bound() -> None:
    """With little work some are searched for and some are not; who, the seed says, not the name."""
    bids = draw_bids(LARGE, 1)
    searched = set[frozenset[str]]()
    for seed in (1, 2):
        competition = Watched(bids, draw_seed(seed), 20_000_000)
        competition.asked = set()
        winners = competition.best()
        rewards(competition, winners, bids)
        won = {bid.solver for bid in bids if bid.id in set(winners.bids)}
        assert competition.asked
        assert competition.asked < won
        searched.add(frozenset(competition.asked))
    assert len(searched) > 1
