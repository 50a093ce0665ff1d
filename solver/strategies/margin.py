"""What prices leave in doubt, and what they prove.

At prices near the right ones most orders are clear: an intent that saves far more on one
choice than on all others takes it, an offer far below the price sells. Only the rest has
to be searched. Afterwards prices that support the outcome prove that it is the best, or
show that too much was taken as clear.
"""

from typing import Final

import msgspec
import numpy as np

from solver.strategies.batch import Clearings
from solver.strategies.column import Integers
from solver.strategies.substitute import Network, greatest

PROOF_ROUNDS_MAX: Final = 64
"""A chain of resources longer than this is not followed; then there is no proof."""
NEVER: Final = -(2**60)
"""Below every difference of ticks."""


class Margin(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What is taken as clear, and what is open."""

    sure: Integers
    """Choices that are taken whole."""
    choices: Integers
    """Choices in doubt."""
    asks: Integers
    """Offers in doubt."""
    surplus: Integers
    """By resource, the units of sure choices less those of sure offers."""


def whole(network: Network) -> Margin:
    """Everything in doubt."""
    return Margin(
        sure=np.zeros(0, np.int64),
        choices=np.arange(len(network.limits)),
        asks=np.arange(len(network.asks.ticks)),
        surplus=np.zeros(len(network.resources), np.int64),
    )


def margin_at(network: Network, prices: Integers, width: int) -> Margin:
    """What is in doubt if no price is off by more than `width`."""
    savings = network.savings(prices)
    best = greatest(savings, network.starts)[network.choosers]
    possible = np.flatnonzero((savings + 2 * width >= best) & (savings + width >= 0))
    choosers = network.choosers[possible]
    alone = np.bincount(choosers, minlength=len(network.units))[choosers] == 1
    is_sure = alone & (savings[possible] > width)
    sure, asks = possible[is_sure], network.asks
    dearer = asks.ticks - prices[asks.books]
    sold = dearer < -width
    surplus = np.zeros(len(network.resources), np.int64)
    np.add.at(surplus, network.choice_resources[sure], network.units[network.choosers[sure]])
    np.subtract.at(surplus, asks.books[sold], asks.units[sold])
    return Margin(
        sure=sure,
        choices=possible[~is_sure],
        asks=np.flatnonzero(np.abs(dearer) <= width),
        surplus=surplus,
    )


def supporting_prices(network: Network, choices: Integers, clearings: Clearings) -> Integers:
    """The lowest prices at which nobody would rather have less, more or something else.

    They exist if and only if the outcome is the best; what comes back then has a bound
    equal to its welfare. A price is at least what was paid for it, what is wanted in vain,
    and what makes those who took another resource keep to that.
    """
    count = len(network.resources)
    filled, left = np.zeros_like(network.limits), network.units.copy()
    np.add.at(filled, choices, clearings.units)
    np.subtract.at(left, network.choosers, filled)
    prices = np.zeros(count, np.int64)
    vain = np.flatnonzero(left[network.choosers] > 0)
    np.maximum.at(prices, network.choice_resources[vain], network.limits[vain])
    np.maximum.at(prices, network.asks.books[clearings.asks], network.asks.ticks[clearings.asks])
    above = _differences(network, np.flatnonzero(filled))
    for _ in range(PROOF_ROUNDS_MAX):
        raised = np.maximum(prices, (prices[:, None] + above).max(axis=0, initial=0))
        if np.array_equal(raised, prices):
            break
        prices = raised
    return prices


def _differences(network: Network, taken: Integers) -> Integers:
    """How much dearer than resource r (row) resource s (column) has to be, at least.

    For each choice that was taken, of r, and each other that its intent has, of s.
    """
    count, intents = len(network.resources), network.choosers[taken]
    counts = np.bincount(network.choosers, minlength=len(network.units))[intents]
    firsts = np.repeat(network.starts[intents] - (np.cumsum(counts) - counts), counts)
    others = firsts + np.arange(len(firsts))
    mine = np.repeat(taken, counts)
    above = np.full(count * count, NEVER, np.int64)
    pairs = network.choice_resources[mine] * count + network.choice_resources[others]
    np.maximum.at(above, pairs, network.limits[others] - network.limits[mine])
    return above.reshape(count, count)
