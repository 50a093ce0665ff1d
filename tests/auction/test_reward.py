"""What winners are paid out of the surplus, and what is left to users."""

import os
from typing import Final

import msgspec
import pytest

from solver.core.bid import Bid, second_scores
from solver.core.reward import ATOM, Fate, payout, rewards
from solver.core.winner import Competition
from tests.auction.bidding import LARGE, SMALL, Scenario, draw_bids, draw_seed
from tests.auction.ground import check_payouts, check_rewards, check_truth, run

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
def test_p4_p8_p11_payouts(chunk: int) -> None:
    """P4: each bucket keeps its b₂; P8: transfers add up to zero; P11: within bounds."""
    for seed in range(chunk, AUCTIONS // 5, CHUNKS):
        check_payouts(seed)


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
    result = payout(paid[0], {"a": Fate.DELIVERED}, bids[:1], second_scores(bids), 0)
    assert (result.atoms, result.transfers) == (3, {1: -3})


def test_the_late_one_pays_and_never_whom_it_held_up() -> None:
    """Two winners; the first is late, and holds what the second needed."""
    bids = [
        single("a", "ann", 1, 10),
        single("b", "bob", 2, 10),
        single("c", "cid", 1, 6),
        single("d", "cid", 2, 8),
    ]
    _, (ann, bob) = run(bids, SEED)
    second = second_scores(bids)
    for penalty_max, pays in ((100, 6), (6, 6), (4, 4), (0, 0)):
        late = payout(ann, {"a": Fate.LATE}, bids[:1], second, penalty_max)
        assert (late.atoms, late.transfers) == (-pays, {1: pays})
        held = payout(bob, {"b": Fate.HELD}, bids[1:2], second, penalty_max)
        assert (held.atoms, held.transfers) == (0, {})


def test_what_is_delivered_in_part_counts() -> None:
    """Late with one of two: what was served counts against what others would have had."""
    bids = [
        single("a", "ann", 1, 10),
        single("b", "ann", 2, 10),
        single("c", "bob", 1, 4),
        single("d", "bob", 2, 2),
    ]
    _, (ann,) = run(bids, SEED)
    fates = {"a": Fate.DELIVERED, "b": Fate.LATE}
    result = payout(ann, fates, bids[:2], second_scores(bids), 100)
    assert (result.atoms, result.transfers) == (4, {1: -4})
    dear = [single("c", "bob", 1, 9), single("d", "bob", 2, 9)]
    _, (ann,) = run([*bids[:2], *dear], SEED)
    result = payout(ann, fates, bids[:2], second_scores([*bids[:2], *dear]), 100)
    assert (result.atoms, result.transfers) == (-8, {1: 0, 2: 8})


def test_a_bucket_below_its_second_best_is_made_whole() -> None:
    """A bundle that gives one bucket nothing: the other's surplus pays for it."""
    bundle = Bid(id="a", solver="ann", surplus={1: 20 * ATOM, 2: 0})
    bids = [bundle, single("b", "bob", 2, 5), single("c", "cid", 2, 5), single("d", "dee", 1, 1)]
    winners, (ann,) = run(bids, SEED)
    assert winners.bids == ("a",)
    result = payout(ann, {"a": Fate.DELIVERED}, [bundle], second_scores(bids), 0)
    assert (result.atoms, result.transfers) == (14, {1: -19, 2: 5})


def test_fractions_of_an_atom_go_to_users() -> None:
    """A reward of 2.9 atoms pays two; one that cannot pay for rounding pays nothing."""
    bids = [
        Bid(id="a", solver="ann", surplus={1: 5_900_000}),
        Bid(id="b", solver="bob", surplus={1: 3_000_000}),
    ]
    _, (ann,) = run(bids, SEED)
    assert payout(ann, {"a": Fate.DELIVERED}, bids[:1], second_scores(bids), 0).atoms == 2
    bundle = Bid(id="c", solver="ann", surplus={1: 0, 2: 1_000_000})
    singles = [
        Bid(id=f"s{bucket}{n}", solver=f"s{n}", surplus={bucket: 400_000})
        for bucket in (1, 2)
        for n in (1, 2)
    ]
    _, (ann,) = run([bundle, *singles], SEED)
    result = payout(ann, {"c": Fate.DELIVERED}, [bundle], second_scores([bundle, *singles]), 0)
    assert ann.amount == 200_000
    assert result.atoms == 0
    assert sum(result.transfers.values()) == 0


def test_a_large_auction_pays_for_itself() -> None:
    """100 bidders for 60 buckets: the same sums, with a reference for each winner."""
    bids = draw_bids(Scenario(buckets=60, bids=LARGE.bids // 3), 7)
    winners, paid = run(bids, draw_seed(7))
    assert len(paid) > 10
    assert all(reward.amount >= 0 for reward in paid)
    assert sum(reward.amount for reward in paid) <= winners.score - sum(
        second_scores(bids).values()
    )
