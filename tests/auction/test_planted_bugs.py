"""Tests of the tests: each bug that is planted here is found within a few auctions."""

from collections.abc import Callable
from typing import Final

import pytest

from solver.core import bid, bond, candidate, charge, proof, reward, winner
from solver.core.winner import Competition, _Search
from tests.auction import ground
from tests.auction.sabotage import planted
from tests.core.sabotage import Patch, edited, seeds_until_caught

SEEDS: Final = 60

Check = Callable[[int], None]


BUGS: Final[dict[str, tuple[Check, Patch]]] = {
    "greedy, not exact": (
        ground.check_best,
        edited(_Search, "case", "if bound <= self.weight:", "if self.weight:"),
    ),
    "out too soon": (
        ground.check_best,
        edited(_Search, "case", "bound + min(0, excess)", "bound + 2 * min(0, excess)"),
    ),
    "half as good beats": (
        ground.check_best,
        edited(winner, "_beaten", ">= entry.weight", ">= entry.weight // 2"),
    ),
    "larger bids beat": (
        ground.check_best,
        edited(winner, "_beaten", "other.mask & ~entry.mask", "not other.mask & entry.mask"),
    ),
    "overlapping bids win": (
        ground.check_best,
        edited(_Search, "take", "taken |= entry.mask", "taken = entry.mask"),
    ),
    "only apart": (
        ground.check_best,
        edited(_Search, "_parted", "in (0, both)", "in (0,)"),
    ),
    "ties without the seed": (
        ground.check_ties,
        edited(bid, "weight", "seed + b", "bytes(32) + b"),
    ),
    "ties by place": (ground.check_ties, edited(bid, "weight", "+ tie", "+ 0")),
    "more bids win ties": (
        ground.check_ties,
        edited(bid, "weight", "WORD_BYTES * len(bid.surplus)", "WORD_BYTES"),
    ),
    "bids in the order they came": (
        ground.check_order,
        edited(Competition, "__init__", "sorted(bids, key=lambda bid: bid.id)", "list(bids)"),
    ),
    "reference with the winner's own bids": (
        ground.check_rewards,
        planted(reward, "reward_of", "competition.without(solver, work)", "competition.best()"),
    ),
    "reference of one bid gone": (
        ground.check_rewards,
        edited(Competition, "_of", "if bid.solver == solver", "if bid.id == solver"),
    ),
    "paid what it says": (
        ground.check_truth,
        planted(reward, "reward_of", "min(score, reference)", "0 * reference"),
    ),
    "second is first": (
        ground.check_rewards,
        planted(bid, "second_scores", ")[-2]", ")[-1]"),
    ),
    "bundles are single bids": (
        ground.check_rewards,
        planted(bid, "second_scores", "if len(bid.surplus) == 1", "if bid.surplus"),
    ),
    "no gap is told": (
        ground.check_gap,
        edited(winner._Group, "_search", "if case is None else search", "if False else search"),
    ),
    "rounded against users": (
        ground.check_charges,
        planted(charge, "parts_of", "mul_div_floor(", "1 + mul_div_floor("),
    ),
    "b₂ is not kept": (
        ground.check_charges,
        planted(charge, "parts_of", "second.get(bucket, 0)", "0"),
    ),
    "no cap": (
        ground.check_penalties,
        planted(bond, "penalty_of", "min(penalty_max, ", "max(penalty_max, "),
    ),
    "who delivers pays": (
        ground.check_penalties,
        planted(bond, "penalty_of", "max(0, missing)", "abs(missing)"),
    ),
    "a penalty lost": (
        ground.check_penalties,
        planted(bond, "penalty_of", "mul_div_ceil(max(0, missing), 1, ATOM)", "missing // ATOM"),
    ),
    "any claim holds": (
        ground.check_proof,
        edited(proof, "_case_holds", "<= weight_max:", "<= weight_max + (1 << 110):"),
    ),
    "negative prices": (
        ground.check_proof,
        edited(proof, "_case_holds", "price < 0", "price < -(1 << 200)"),
    ),
    "negative prices of rings": (
        ground.check_proof,
        edited(proof, "_case_holds", ", *(price for _, price in rings)", ","),
    ),
    "rings have no room": (
        ground.check_best,
        edited(candidate.Places, "add", "len(ring) // 2", "0"),
    ),
    "two buckets of a ring are two pairs": (
        ground.check_best,
        edited(candidate, "pairs", ".bit_count() // 2", ".bit_count()"),
    ),
    "bids left out": (
        ground.check_proof,
        planted(proof, "holds", "== set(weighed)", "<= set(weighed)"),
    ),
    "beaten by nobody": (
        ground.check_proof,
        edited(proof, "_is_beaten", "sum(their for _, their in by) >= least", "True"),
    ),
}


@pytest.mark.parametrize(("check", "bug"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_is_found(check: Check, bug: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a check that every auction of the tests passes."""
    bug(monkeypatch)
    assert seeds_until_caught(check, SEEDS) < SEEDS


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in BUGS.values()))
def test_without_a_bug_the_same_auctions_pass(check: Check) -> None:
    """What is found are the bugs."""
    assert seeds_until_caught(check, SEEDS // 3) == SEEDS // 3
