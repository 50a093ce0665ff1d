"""P1 to P11: what must hold of every auction, each with a bug that only breaks its promise.

P1 the best selection · P2 no winner is paid below zero · P3 no misreport pays · P4 users keep
the second price, or all that they had · P5 one price a bucket · P6 losers change nothing · P7 more
surplus wins on · P8 charges add up to the reward · P9 order decides nothing · P10 names gain
within a bound · P11 penalties have a cap.

More auctions of P1 to P4, P8, P9 and P11 are in `test_winner` and `test_reward`.
"""

from collections.abc import Callable
from typing import Final

import pytest

from solver.core import bid, bond, charge, reward, winner
from solver.core.winner import Competition, _Search
from tests.auction import ground
from tests.auction.sabotage import planted
from tests.core.sabotage import Patch, edited, seeds_until_caught

AUCTIONS: Final = 100
PLANTED_AUCTIONS: Final = 200

Check = Callable[[int], object]

PROPERTIES: Final[dict[str, tuple[Check, Patch]]] = {
    "p1_the_best_selection_wins": (
        ground.check_best,
        edited(_Search, "case", "if bound <= self.weight:", "if self.weight:"),
    ),
    "p2_rewards_are_exact_and_never_negative": (
        ground.check_rewards,
        planted(reward, "reward_of", "min(score, reference)", "reference + 1"),
    ),
    "p3_no_misreport_pays": (
        ground.check_truth,
        planted(reward, "reward_of", "min(score, reference)", "0 * reference"),
    ),
    "p4_users_keep_the_second_price": (
        ground.check_charges,
        planted(charge, "parts_of", "second.get(bucket, 0)", "0"),
    ),
    "p5_a_bucket_has_one_winner": (
        ground.check_disjoint,
        edited(_Search, "take", "taken |= entry.mask", "taken = entry.mask"),
    ),
    "p6_who_loses_might_as_well_not_have_bid": (
        ground.check_losers,
        edited(winner, "_beaten", ">= entry.weight", ">= entry.weight // 2"),
    ),
    "p7_a_winner_that_bids_more_wins_on": (
        ground.check_raised,
        edited(bid, "weight", "bid.score <<", "(bid.score ^ 1 << bid.score.bit_length() // 2) <<"),
    ),
    "p8_charges_add_up_to_the_reward": (
        ground.check_charges,
        planted(charge, "parts_of", "mul_div_floor(", "1 + mul_div_floor("),
    ),
    "p9_order_decides_nothing": (
        ground.check_order,
        edited(Competition, "__init__", "sorted(bids, key=lambda bid: bid.id)", "list(bids)"),
    ),
    "p10_two_names_gain_within_the_bound": (
        ground.check_names,
        planted(reward, "reward_of", "min(score, reference)", "0 * reference"),
    ),
    "p11_penalties_have_a_cap": (
        ground.check_penalties,
        planted(bond, "penalty_of", "min(penalty_max, ", "max(penalty_max, "),
    ),
}


@pytest.mark.parametrize("check", [check for check, _ in PROPERTIES.values()], ids=PROPERTIES)
def test_property_of_every_auction(check: Check) -> None:
    """P1 to P11: as their names say, of seeded auctions."""
    for seed in range(AUCTIONS):
        check(seed)


@pytest.mark.parametrize(("check", "bug"), PROPERTIES.values(), ids=PROPERTIES)
def test_a_bug_that_breaks_a_property_is_found(
    check: Check, bug: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1 to P11: none of them would hold of anything."""
    bug(monkeypatch)
    assert seeds_until_caught(check, PLANTED_AUCTIONS) < PLANTED_AUCTIONS


def test_p10_two_names_can_gain() -> None:
    """P10: VCG is not proof against several names: so a bond is sized for the bound."""
    assert max(ground.check_names(seed) for seed in range(AUCTIONS)) > 0
