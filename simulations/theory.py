"""What the scrip literature predicts, in closed form, to hold the simulated market against.

Model: each of n agents asks for one unit of service per period on average and pays one
credit; an agent serves while it owns fewer than `threshold` credits. Then wealth is a
truncated geometric distribution (Kash, Friedman & Halpern, "An equilibrium analysis of
scrip systems"), and a threshold is a best reply to how easily credits are earned and spent.
"""

from typing import Final

import msgspec

from solver.core.check import check

BALANCE_MAX: Final = 160
"""Whole credits up to which the best reply looks; far above any reply to a useful market."""
RATIO_MAX: Final = 1e6
POLICY_STEPS_MAX: Final = 64
CRASH_STEP: Final = 0.01


class Preference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What service is worth to an agent, in units of being served once."""

    benefit: float = 1.0
    cost: float = 0.065
    """Of serving once."""
    discount: float = 0.97
    """Of one period: the time in which an agent wants one unit of service on average."""


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """How easily credits come and go, as an agent can observe it."""

    earn: float
    """Units sold per period by an agent that offers all the time."""
    spend: float
    """Share of funded requests that are served."""


def wealth(ratio: float, threshold: int) -> list[float]:
    """Share of agents that own 0, 1 … `threshold` credits: proportional to ratioⁱ."""
    top = threshold if ratio > 1.0 else 0
    weights = [ratio ** float(i - top) for i in range(threshold + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def wealth_ratio(money_per_agent: float, threshold: int) -> float:
    """The ratio at which `wealth` has this mean; needs 0 < money_per_agent < threshold."""
    check(0 < money_per_agent < threshold, "money_fits_below_threshold", threshold=threshold)
    low, high = 0.0, RATIO_MAX
    for _ in range(200):
        middle = (low + high) / 2
        mean = sum(i * share for i, share in enumerate(wealth(middle, threshold)))
        low, high = (middle, high) if mean < money_per_agent else (low, middle)
    return (low + high) / 2


def served_share(money_per_agent: float, threshold: int) -> float:
    """Share of requests served in the long run: all but those of agents with nothing.

    Equals (r - r^(k+1)) / (1 - r^(k+1)) with r the wealth ratio and k the threshold.
    """
    return 1.0 - wealth(wealth_ratio(money_per_agent, threshold), threshold)[0]


def best_reply(odds: Odds, preference: Preference) -> int:
    """The threshold that serves an agent best at these odds; 0: never serve."""
    threshold = BALANCE_MAX
    for _ in range(POLICY_STEPS_MAX):
        improved = _improved(_values(threshold, odds, preference), preference)
        if improved == threshold:
            break
        threshold = improved
    return threshold


def equilibrium(money_per_agent: float, preference: Preference) -> int:
    """The threshold that is a best reply to everyone having it; 0: the market crashes.

    Best replies are iterated from the most generous one down, so that the result is the
    equilibrium with the most service.
    """
    threshold = BALANCE_MAX
    while threshold > money_per_agent:
        odds = Odds(earn=wealth_ratio(money_per_agent, threshold), spend=1.0)
        reply = best_reply(odds, preference)
        if reply >= threshold:
            return threshold
        threshold = reply
    return 0


def crash_money_per_agent(preference: Preference) -> float:
    """Credits per agent above which nobody serves in equilibrium, to `CRASH_STEP`."""
    low, high = CRASH_STEP, float(BALANCE_MAX)
    while high - low > CRASH_STEP:
        middle = (low + high) / 2
        low, high = (middle, high) if equilibrium(middle, preference) else (low, middle)
    return high


def _improved(values: list[float], preference: Preference) -> int:
    """Serve exactly where one more credit is worth more than it costs."""
    for balance in range(BALANCE_MAX):
        if values[balance + 1] - values[balance] <= preference.cost:
            return balance
    return BALANCE_MAX


def _values(threshold: int, odds: Odds, preference: Preference) -> list[float]:
    """Discounted value of each balance under a threshold: a tridiagonal system (Thomas)."""
    decay = 1.0 - preference.discount
    above: list[float] = []
    right: list[float] = []
    for balance in range(BALANCE_MAX + 1):
        spend = odds.spend if balance else 0.0
        earn = odds.earn if balance < threshold and balance < BALANCE_MAX else 0.0
        pivot = decay + spend + earn - spend * (above[-1] if above else 0.0)
        gain = spend * preference.benefit - earn * preference.cost
        above.append(earn / pivot)
        right.append((gain + spend * (right[-1] if right else 0.0)) / pivot)
    for balance in range(BALANCE_MAX - 1, -1, -1):
        right[balance] += above[balance] * right[balance + 1]
    return right
