"""Closed forms against published and independently computed values."""

import pytest

from simulations.theory import (
    Odds,
    Preference,
    best_reply,
    crash_money_per_agent,
    equilibrium,
    served_share,
    wealth,
    wealth_ratio,
)


def test_wealth_is_the_maximum_entropy_distribution() -> None:
    """V1: k = 5, m = 2 gives a ratio of 0.839769 and these shares."""
    ratio = wealth_ratio(2, 5)
    assert ratio == pytest.approx(0.839769, abs=1e-6)
    expected = [0.24678, 0.20724, 0.17403, 0.14615, 0.12273, 0.10307]
    assert wealth(ratio, 5) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("money", "threshold", "share"), [(2, 5, 0.75322), (4, 25, 0.80280), (1, 1_000, 0.5)]
)
def test_served_share(money: float, threshold: int, share: float) -> None:
    """V2, and V7 as its limit: without thresholds m / (1 + m) of requests are served."""
    assert served_share(money, threshold) == pytest.approx(share, abs=1e-5)


@pytest.mark.parametrize("threshold", [3, 40, 160])
def test_wealth_sums_to_one_at_any_ratio(threshold: int) -> None:
    """Large and small ratios neither overflow nor vanish."""
    for ratio in (0.0, 1e-9, 0.5, 1.0, 2.0, 1e6):
        assert sum(wealth(ratio, threshold)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("money", "threshold"), [(1, 49), (3, 31), (5, 26), (7, 23), (9, 20), (10, 18)]
)
def test_equilibrium_threshold_falls_with_money(money: float, threshold: int) -> None:
    """V3: the more money, the less of it an agent works for (within 1)."""
    assert abs(equilibrium(money, Preference()) - threshold) <= 1


def test_crash_lies_where_it_was_found_before() -> None:
    """V3: service at 10.25 credits per agent, none at 10.5."""
    assert equilibrium(10.25, Preference()) > 0
    assert equilibrium(10.5, Preference()) == 0
    assert 10.25 < crash_money_per_agent(Preference()) <= 10.5


def test_nobody_serves_for_credits_that_buy_nothing() -> None:
    """Where no request is answered, a credit is worthless."""
    assert best_reply(Odds(earn=1.0, spend=0.0), Preference()) == 0


def test_best_reply_is_the_optimum_of_value_iteration() -> None:
    """Policy iteration finds the threshold that plain value iteration finds."""
    preference, odds, top = Preference(), Odds(earn=0.9, spend=0.95), 60
    values = [0.0] * (top + 1)
    for _ in range(6_000):
        values = [_improve(values, balance, odds, preference) for balance in range(top + 1)]
    threshold = next(b for b in range(top) if values[b + 1] - values[b] <= preference.cost)
    assert best_reply(odds, preference) == threshold


def _improve(values: list[float], balance: int, odds: Odds, preference: Preference) -> float:
    """One step of value iteration of the same continuous-time choice."""
    here = values[balance]
    gain = 0.0
    if balance:
        gain += odds.spend * (preference.benefit + values[balance - 1] - here)
    if balance < len(values) - 1:
        gain += odds.earn * max(0.0, values[balance + 1] - here - preference.cost)
    return here + 0.25 * (gain - (1.0 - preference.discount) * here)
