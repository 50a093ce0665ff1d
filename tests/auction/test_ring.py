"""Rings bring the relaxation nearer to what can be had, and never below it."""

import pytest

from solver.core.bid import Bid, weight
from solver.core.candidate import Candidate, pairs
from solver.core.proof import Case, Part, Proof, Ring, holds
from solver.core.relaxation import Relaxation, Work
from solver.core.ring import exceeded
from solver.core.winner import Competition
from tests.auction.bidding import LARGE, draw_bids, draw_seed

SEED = bytes(32)
TRIANGLE = [
    Bid(id=f"{one}{other}", solver=str(one), surplus={one: 10, other: 10})
    for one, other in ((1, 2), (2, 3), (1, 3))
]


def halves(bids: list[Bid], ties: bytes) -> tuple[list[Candidate], dict[int, float]]:
    """Bids as they are searched, and their shares where parts of bids may win."""
    candidates = [Candidate(number, bid, ties) for number, bid in enumerate(bids)]
    relaxation = Relaxation.of(sorted({b for bid in bids for b in bid.surplus}), Work(10**9))
    unit = max(one.weight for one in candidates)
    relaxation.add([(one.number, one.buckets, one.weight / unit) for one in candidates])
    relaxation.maximise()
    return candidates, relaxation.shares()


def claim(weight_max: int, *rings: Ring) -> Proof:
    """That none of the triangle's selections weighs more, without a case for it."""
    case = Case(prices={}, rings=rings)
    names = tuple(bid.id for bid in TRIANGLE)
    return Proof(parts=(Part(bids=names, weight_max=weight_max, case=case),), beaten={})


def test_three_that_overlap_each_other_are_one_at_most() -> None:
    """A ring proves it at once; half a bid each would be one and a half."""
    candidates, shares = halves(TRIANGLE, SEED)
    assert sum(shares.values()) == pytest.approx(1.5, abs=1e-3)
    assert exceeded(candidates, shares, Work(10**6)) == [(1, 2, 3)]
    winners = Competition(TRIANGLE, SEED).best()
    (part,) = winners.proof.parts
    assert winners.score == 20
    assert part.case.pair is None
    assert part.case.rings
    assert holds(winners.proof, TRIANGLE, SEED)


def test_a_ring_s_price_is_paid_for_every_pair_that_fits() -> None:
    """The checker takes the least that is right, and nothing below it."""
    most = max(weight(bid, SEED) for bid in TRIANGLE)
    right = Ring(buckets=(1, 2, 3), price=most)
    assert holds(claim(most, right), TRIANGLE, SEED)
    assert not holds(claim(most - 1, right), TRIANGLE, SEED)
    below = Ring(buckets=(7, 8), price=-1)
    assert not holds(claim(most - 1, right, below), TRIANGLE, SEED)
    twice = Ring(buckets=(1, 1), price=most)
    assert not holds(claim(most, twice), TRIANGLE, SEED)


@pytest.mark.parametrize("seed", range(8))
def test_rings_are_exceeded_by_shares_and_by_no_selection(seed: int) -> None:
    """Odd, exceeded, each once; and the winners have no more pairs than fit."""
    bids, ties = draw_bids(LARGE, seed), draw_seed(seed)
    candidates, shares = halves(bids, ties)
    rings = exceeded(candidates, shares, Work(10**9))
    won = Competition(bids, ties).best().bids
    assert len(set(rings)) == len(rings)
    for ring in rings:
        mask = sum(1 << bucket for bucket in ring)
        taken = sum(pairs(one.mask, mask) * shares.get(one.number, 0) for one in candidates)
        assert len(ring) % 2 == 1
        assert taken > len(ring) // 2
        assert sum(pairs(bid.mask, mask) for bid in bids if bid.id in won) <= len(ring) // 2


def test_large_auctions_have_rings() -> None:
    """Or the test above would look at none."""
    found = [halves(draw_bids(LARGE, seed), draw_seed(seed)) for seed in range(8)]
    assert sum(bool(exceeded(*one, Work(10**9))) for one in found) > 4


def test_work_that_ends_ends_the_search_for_rings() -> None:
    """However many ways round there are."""
    candidates, shares = halves(draw_bids(LARGE, 0), draw_seed(0))
    work = Work(0)
    assert len(exceeded(candidates, shares, work)) < len(exceeded(candidates, shares, Work(10**9)))
    assert work.left > -(10**6)


def test_without_who_won_nothing_the_same_win() -> None:
    """As a search among the others says."""
    bids, ties = draw_bids(LARGE, 3), draw_seed(3)
    competition = Competition(bids, ties)
    winners = competition.best()
    won = {bid.solver for bid in bids if bid.id in winners.bids}
    losers = sorted({bid.solver for bid in bids} - won)[:3]
    for loser in losers:
        rest = [bid for bid in bids if bid.solver != loser]
        assert competition.without(loser).bids == Competition(rest, ties).best().bids
    assert losers
