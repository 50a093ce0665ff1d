"""What winners are paid out of the surplus, and what is left to users."""

import os
from typing import Final

import msgspec
import pytest

from solver.core.bid import Bid, second_scores
from solver.core.bond import ATOM
from solver.core.charge import parts_of
from solver.core.reward import Reward, rewards
from solver.core.winner import Competition
from tests.auction.bidding import LARGE, SMALL, Scenario, draw_bids, draw_seed
from tests.auction.ground import (
    ACCOUNT,
    check_charges,
    check_penalties,
    check_rewards,
    check_truth,
    run,
)

AUCTIONS: Final = int(os.environ.get("KEYFILL_AUCTIONS", "5000"))
CHUNKS: Final = 20
SEED: Final = bytes(32)


def single(name: str, solver: str, bucket: int, atoms: int) -> Bid:
    """A bid for one bucket."""
    return Bid(id=name, solver=solver, surplus={bucket: atoms * ATOM})


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_p2_p4_rewards_are_second_prices_out_of_the_surplus(chunk: int) -> None:
    """P2, P4: exact, never negative, and never more than W − Σ b₂ in all."""
    for seed in range(chunk, AUCTIONS * 2 // 5, CHUNKS):
        check_rewards(seed)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_p3_no_misreport_pays(chunk: int) -> None:
    """P3: not one of six scalings, nor a bid dropped or scored anew, for winners and losers."""
    for seed in range(chunk, AUCTIONS * 2 // 5, CHUNKS):
        check_truth(seed)


@pytest.mark.parametrize("seed", range(20))
def test_p3_nor_where_only_single_buckets_are_bid_for(seed: int) -> None:
    """P3: as in the auction of one thing, whose second price this is."""
    check_truth(seed, Scenario(buckets=8, bids=24, bundle_max=1))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_p4_p8_p11_charges_and_penalties(chunk: int) -> None:
    """P4: charges leave buckets their b₂; P8: they add up; P11: penalties are within bounds."""
    for seed in range(chunk, AUCTIONS // 5, CHUNKS):
        check_charges(seed)
        check_penalties(seed)


@pytest.mark.parametrize("seed", range(5))
def test_p4_a_gap_takes_from_rewards_and_from_nobody_else(seed: int) -> None:
    """P4: if work ends first: no reward below zero, references above b₂, the same sum."""
    bids, ties = draw_bids(Scenario(buckets=40, bids=90), seed), draw_seed(seed)
    second = second_scores(bids)
    exact = {reward.solver: reward.amount for reward in run(bids, ties)[1]}
    for work_max in (0, 50_000, 500_000):
        competition = Competition(bids, ties, work_max)
        winners = competition.best()
        paid = rewards(competition, winners, bids)
        for reward in paid:
            wins = [b for b in bids if b.id in winners.bids and b.solver == reward.solver]
            covered = sum(second[bucket] for bid in wins for bucket in bid.surplus)
            assert reward.amount >= 0
            assert reward.reference >= covered
            if winners.gap == 0:
                assert reward.amount <= exact[reward.solver]
        assert sum(reward.amount for reward in paid) <= winners.score - sum(second.values())


@pytest.mark.parametrize("seed", range(50))
def test_p12_ten_times_the_amounts_are_ten_times_the_rewards(seed: int) -> None:
    """P12: the same win, and every sum is ten times as large."""
    bids, ties = draw_bids(SMALL, seed), draw_seed(seed)
    tenfold = [
        msgspec.structs.replace(bid, surplus={b: 10 * part for b, part in bid.surplus.items()})
        for bid in bids
    ]
    winners, paid = run(bids, ties)
    large, largely = run(tenfold, ties)
    assert large.bids == winners.bids
    assert large.score == 10 * winners.score
    assert [(r.solver, r.amount, r.reference) for r in largely] == [
        (r.solver, 10 * r.amount, 10 * r.reference) for r in paid
    ]


def test_one_bucket_is_a_second_price_auction() -> None:
    """The best is paid what it is better by; users have what the second would have given."""
    bids = [single("a", "ann", 1, 10), single("b", "bob", 1, 7), single("c", "ann", 1, 9)]
    winners, paid = run(bids, SEED)
    assert winners.bids == ("a",)
    assert [(reward.solver, reward.amount // ATOM) for reward in paid] == [("ann", 3)]
    assert _parts(paid[0], bids[:1], bids) == {1: 3 * ATOM}


def test_p4_a_bundle_pays_out_of_what_is_above_the_second_price() -> None:
    """Of a bucket below its b₂ nothing is taken; users of both together have Σ b₂ at least."""
    bundle = Bid(id="a", solver="ann", surplus={1: 20 * ATOM, 2: 3 * ATOM})
    bids = [bundle, single("b", "bob", 2, 5), single("c", "cid", 2, 5), single("d", "dee", 1, 1)]
    winners, (ann,) = run(bids, SEED)
    assert winners.bids == ("a",)
    assert (ann.amount // ATOM, _parts(ann, [bundle], bids)) == (17, {1: 17 * ATOM, 2: 0})


def test_p4_nobody_else_can_lift_a_bucket() -> None:
    """Where bucket 1 is not called, all money there is for bucket 2's users is their own.

    So what is charged where it is delivered can never promise them the b₂ of a better bundle.
    """
    bundle = Bid(id="a", solver="ann", surplus={1: 20 * ATOM, 2: 3 * ATOM})
    bids = [bundle, single("b", "bob", 2, 5), single("c", "cid", 2, 5)]
    assert run(bids, SEED)[0].bids == ("a",)
    assert bundle.surplus[2] < second_scores(bids)[2]


REFERENCES: Final = {"of those that pass": False, "of all that pass without it": True}


@pytest.mark.parametrize("anew", REFERENCES.values(), ids=REFERENCES)
def test_p4_refusing_such_bundles_makes_lying_pay(*, anew: bool) -> None:
    """P3 would break, whoever passes when a reference is found: so the filter is none of ours."""
    bundle = Bid(id="z", solver="zoe", surplus={1: 20 * ATOM, 2: 3 * ATOM})
    rest = [bundle, single("c", "cid", 2, 5), single("d", "dee", 1, 1)]
    if anew:
        # Who says nothing of bucket 2 lets the bundle pass, and is paid for bucket 3.
        mine = [single("b", "bob", 2, 4), single("e", "bob", 3, 10)]
        lie = mine[1:]
    else:
        # Who says more than it has keeps the bundle out, and wins bucket 1.
        mine = [single("b", "bob", 2, 2), single("e", "bob", 1, 6)]
        lie = [single("b", "bob", 2, 4), mine[1]]
    assert _filtered_reward([*rest, *lie], "bob", anew=anew) > _filtered_reward(
        [*rest, *mine], "bob", anew=anew
    )
    assert sum(r.amount for r in run([*rest, *lie], SEED)[1] if r.solver == "bob") <= sum(
        r.amount for r in run([*rest, *mine], SEED)[1] if r.solver == "bob"
    )


def _filtered_reward(bids: list[Bid], solver: str, *, anew: bool) -> int:
    """Never below zero, had only bids won that leave no bucket below its b₂."""
    passing = _passing(bids)
    others = [bid for bid in bids if bid.solver != solver]
    left = _passing(others) if anew else [bid for bid in passing if bid.solver != solver]
    winners = Competition(passing, SEED).best()
    score = sum(bid.score for bid in bids if bid.solver == solver and bid.id in winners.bids)
    reference = Competition(left, SEED).best().score - (winners.score - score)
    return max(0, score - reference)


def _passing(bids: list[Bid]) -> list[Bid]:
    second = second_scores(bids)
    return [
        bid
        for bid in bids
        if len(bid.surplus) == 1 or all(part >= second[b] for b, part in bid.surplus.items())
    ]


def _parts(reward: Reward, wins: list[Bid], bids: list[Bid]) -> dict[int, int]:
    """What buckets are charged for a reward, were it an account's."""
    return parts_of(msgspec.structs.replace(reward, solver=ACCOUNT), wins, second_scores(bids))


def test_a_large_auction_pays_for_itself() -> None:
    """100 bidders for 60 buckets: the same sums, with a reference for each winner."""
    bids = draw_bids(Scenario(buckets=60, bids=LARGE.bids // 3), 7)
    winners, paid = run(bids, draw_seed(7))
    assert len(paid) > 10
    assert all(reward.amount >= 0 for reward in paid)
    assert sum(reward.amount for reward in paid) <= winners.score - sum(
        second_scores(bids).values()
    )
