"""Winners are the best selection there is, and proven to be."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.core import bid as bid_module
from solver.core.bid import BIDS_MAX, BIDS_PER_SOLVER_MAX, BUCKETS_MAX, Bid
from solver.core.check import Violation
from solver.core.proof import holds
from solver.core.winner import Competition
from tests.auction.bidding import LARGE, LARGEST, Scenario, draw_bids, draw_seed, seeded
from tests.auction.ground import (
    check_best,
    check_gap,
    check_order,
    check_proof,
    check_ties,
)
from tests.auction.oracle import brute_force, greedy, score_by_cp_sat, score_by_highs

AUCTIONS: Final = int(os.environ.get("KEYFILL_AUCTIONS", "5000"))
LARGE_AUCTIONS: Final = max(4, AUCTIONS // 500)
CHUNKS: Final = 20
SEED: Final = bytes(32)


def a_bid(name: str, solver: str, **surplus: int) -> Bid:
    """`a_bid("x", "ann", b1=5)`: five micro-atoms in bucket 1."""
    return Bid(
        id=name, solver=solver, surplus={int(key[1:]): part for key, part in surplus.items()}
    )


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_p1_winners_are_the_best_selection(chunk: int) -> None:
    """P1: equal to brute force to the last bit of the tie-break, and the proof holds."""
    for seed in range(chunk, AUCTIONS, CHUNKS):
        check_best(seed)


@pytest.mark.parametrize("seed", range(LARGE_AUCTIONS))
def test_p1_large_auctions_equal_two_other_solvers(seed: int) -> None:
    """P1: 300 bids for 200 buckets: as HiGHS, and as CP-SAT, which counts in integers."""
    bids, ties = draw_bids(LARGE, seed), draw_seed(seed)
    winners = Competition(bids, ties).best()
    assert winners.score == score_by_highs(bids) == score_by_cp_sat(bids)
    assert winners.gap == 0
    assert holds(winners.proof, bids, ties)


@pytest.mark.parametrize("seed", range(max(2, LARGE_AUCTIONS // 5)))
def test_p1_a_thousand_bids_are_the_best_or_within_their_gap(seed: int) -> None:
    """P1: 1,000 bids: CP-SAT's score, or below it by no more than is said."""
    bids, ties = draw_bids(LARGEST, seed), draw_seed(seed)
    winners = Competition(bids, ties).best()
    assert winners.score <= score_by_cp_sat(bids) <= winners.score_max
    assert holds(winners.proof, bids, ties)


def test_greedy_s_smallest_counterexample() -> None:
    """10 against 9 and 9 that overlap it: greedy takes the 10, we the 18."""
    bids = [
        a_bid("a", "ann", b1=5, b2=5),
        a_bid("b", "bob", b1=4, b3=5),
        a_bid("c", "cid", b2=4, b4=5),
    ]
    assert sum(bid.score for bid in greedy(bids)) == 10
    assert Competition(bids, SEED).best().bids == ("b", "c")


def test_a_solver_wins_with_several_bids() -> None:
    """If they overlap nowhere."""
    bids = [a_bid("a", "ann", b1=5), a_bid("b", "ann", b2=5), a_bid("c", "bob", b1=4, b2=5)]
    assert Competition(bids, SEED).best().bids == ("a", "b")


def test_a_bid_without_surplus_wins_what_nobody_else_wants() -> None:
    """It still serves its users."""
    bids = [a_bid("a", "ann", b1=0), a_bid("b", "bob", b2=0, b3=0), a_bid("c", "cid", b3=1)]
    assert Competition(bids, SEED).best().bids == ("a", "c")


def test_nobody_bids() -> None:
    """Nobody wins, and that is proven."""
    winners = Competition([], SEED).best()
    assert (winners.bids, winners.score, winners.gap) == ((), 0, 0)
    assert holds(winners.proof, [], SEED)


def test_p9_order_decides_nothing() -> None:
    """P9: the same bids in another order, the same winners, rewards and proof."""
    for seed in range(300):
        check_order(seed)


def test_p9_ties_go_by_the_seed() -> None:
    """P9: of equal bids each wins about as often, whatever its name or size."""
    for seed in range(20):
        check_ties(seed)


_REPLAY: Final = """
from tests.auction.bidding import LARGE, draw_bids, draw_seed
from tests.auction.ground import run
print(run(draw_bids(LARGE, 1)[:150], draw_seed(1)))
"""


def test_p9_another_process_gives_the_same() -> None:
    """P9: whatever its hash seed, and however many threads numpy may use."""
    root = Path(__file__).parents[2]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _REPLAY],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
            capture_output=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert b"Selection" in outputs.pop()


@pytest.mark.parametrize("seed", range(30))
def test_work_that_ends_leaves_a_gap_and_the_same_answer(seed: int) -> None:
    """Little work: a valid selection, a bound that holds and is proven, in any order."""
    check_gap(seed)


def test_little_work_leaves_some_gap() -> None:
    """Or the test above would prove nothing about gaps."""
    gaps = [
        Competition(draw_bids(Scenario(buckets=12, bids=36), seed), draw_seed(seed), 2_000)
        .best()
        .gap
        for seed in range(30)
    ]
    assert any(gaps)


_surplus = st.dictionaries(st.integers(0, 5), st.integers(0, 4), min_size=1, max_size=4)


@given(st.lists(_surplus, max_size=12), st.binary(min_size=32, max_size=32))
def test_any_few_bids_equal_brute_force(drawn: list[dict[int, int]], ties: bytes) -> None:
    """Equal buckets, equal scores, none at all: whatever is drawn."""
    bids = [Bid(id=str(n), solver=str(n % 3), surplus=surplus) for n, surplus in enumerate(drawn)]
    winners = Competition(bids, ties).best()
    assert winners.proof.weight_max == brute_force(bids, ties)
    assert winners.gap == 0
    assert holds(winners.proof, bids, ties)


def test_equal_bids_in_great_number_end_in_time() -> None:
    """A thousand bids of one score for random buckets: bounded work, a gap that is said."""
    random = seeded(5)
    bids = [
        Bid(id=str(n), solver=str(n), surplus=dict.fromkeys(random.sample(range(256), 3), 10**9))
        for n in range(BIDS_MAX)
    ]
    winners = Competition(bids, SEED, 100_000_000).best()
    assert 0 < winners.score <= winners.score_max <= 256 * 10**9 + 1
    assert holds(winners.proof, bids, SEED)


@pytest.mark.parametrize("seed", range(60))
def test_scores_of_any_size_together_are_exact(seed: int) -> None:
    """From one micro-atom to the most there can be, in one auction: floats see only the largest."""
    random = seeded(f"sizes {seed}")
    bids = [
        Bid(
            id=str(n),
            solver=str(n % 9),
            surplus={
                bucket: random.getrandbits(random.randint(1, 128))
                for bucket in random.sample(range(10), random.randint(1, 4))
            },
        )
        for n in range(30)
    ]
    winners = Competition(bids, draw_seed(seed)).best()
    assert winners.proof.weight_max == brute_force(bids, draw_seed(seed))
    assert holds(winners.proof, bids, draw_seed(seed))


def test_the_greatest_scores_are_exact() -> None:
    """Where floats know nothing of the last digits, integers decide by them."""
    most = 2**128 - 1
    bids = [
        a_bid("a", "ann", b1=most, b2=most),
        a_bid("b", "bob", b1=most),
        a_bid("c", "cid", b2=most - 1),
        a_bid("d", "dee", b2=most, b3=0),
    ]
    winners = Competition(bids, SEED).best()
    assert winners.score == winners.score_max == 2 * most
    assert winners.proof.weight_max == brute_force(bids, SEED)


def test_a_proof_of_something_else_does_not_hold() -> None:
    """The checker knows nothing of the search, and believes nothing."""
    for seed in range(30):
        check_proof(seed)


def test_a_proof_survives_its_archive() -> None:
    """As JSON, whose integers have any size."""
    bids, ties = draw_bids(LARGE, 3), draw_seed(3)
    winners = Competition(bids, ties).best()
    again = msgspec.json.decode(msgspec.json.encode(winners), type=type(winners))
    assert again == winners
    assert holds(again.proof, bids, ties)


_MANY: Final[list[tuple[str, dict[str, Any]]]] = [
    ("seed_has_its_length", {"seed": bytes(31)}),
    ("bids_within_bounds", {"count": BIDS_MAX + 1, "solvers": BIDS_MAX}),
    ("bids_of_a_solver_within_bounds", {"count": BIDS_PER_SOLVER_MAX + 1}),
    ("bids_have_ids_of_their_own", {"count": 2, "ids": 1}),
    ("bid_takes_a_bucket", {"surplus": {}}),
    ("bucket_within_bounds", {"surplus": {BUCKETS_MAX: 1}}),
    ("surplus_within_bounds", {"surplus": {0: bid_module.SURPLUS_MAX + 1}}),
    ("surplus_within_bounds", {"surplus": {0: -1}}),
]


@pytest.mark.parametrize(("name", "wrong"), _MANY)
def test_bids_beyond_their_bounds_stop(name: str, wrong: dict[str, Any]) -> None:
    """They were judged before: what is wrong here is a caller's bug."""
    bids = [
        Bid(
            id=str(n % wrong.get("ids", BIDS_MAX + 1)),
            solver=str(n % wrong.get("solvers", 1)),
            surplus=wrong.get("surplus", {0: 1}),
        )
        for n in range(wrong.get("count", 1))
    ]
    with pytest.raises(Violation, match=name):
        Competition(bids, wrong.get("seed", SEED))
