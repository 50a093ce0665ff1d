"""Near-best assignment of intents with substitutes, with a proof of how near, without OR-tools.

Prices first: each resource is priced as if the prices of all others were given. An intent
would then pay for it, at most, its limit less what its best other choice would save it. From
above, such rounds close in on prices at which every resource is bought out just so. Then
each intent goes where it saves most, each resource is cleared, and what that leaves over
is assigned greedily.

Any prices also bound what anybody can reach (weak duality): no assignment has more welfare
than everybody would save if it could trade all it wants at those prices.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from intents.bound import TICK_MAX
from solver.strategies.column import Integers
from solver.strategies.substitute import Assignment, Network, SubstituteIntent, SubstituteOffer

ROUNDS: Final = 6
"""Rounds of prices. Each takes about two thirds off what is missed."""
STEP_QUARTERS: Final = 5
"""A step goes 5/4 of the way: rounds approach from one side, so a little more is nearer."""


def assign_nearly(
    intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]
) -> Assignment:
    """An assignment of nearly the most welfare, and a bound on it."""
    network = Network.of(intents, offers)
    if not len(network.limits):
        return network.assignment(np.zeros(0, np.int64), 0)
    starts = np.flatnonzero(np.diff(network.choosers, prepend=-1))
    prices = _prices(network, starts)
    units = _best_choices(network, prices, starts)
    units = _with_what_is_left(network, units)
    return network.assignment(units, _bound(network, prices, starts))


def _prices(network: Network, starts: Integers) -> Integers:
    """A price for each resource at which about as much is wanted as is for sale."""
    asks, resources = network.asks, len(network.resources)
    supply = np.zeros(resources, np.int64)
    np.add.at(supply, asks.books, asks.units)
    books = np.concatenate((network.choice_resources, asks.books))
    units = np.concatenate((network.units[network.choosers], asks.units))
    prices = np.full(resources, TICK_MAX, np.int64)
    for number in range(ROUNDS):
        worth = np.concatenate((_worth(network, prices, starts), asks.ticks))
        new = _bought_out(books, worth, units, supply)
        prices = prices + (new - prices) * STEP_QUARTERS // 4 if number else new
        prices = np.clip(prices, 0, TICK_MAX)
    return prices


def _worth(network: Network, prices: Integers, starts: Integers) -> Integers:
    """What each choice is worth to its intent, given what the others would save it."""
    savings = network.limits - prices[network.choice_resources]
    best = np.maximum.reduceat(savings, starts)[network.choosers]
    is_best = savings == best
    others = np.where(is_best, -TICK_MAX, savings)
    second = np.maximum.reduceat(others, starts)[network.choosers]
    other = np.where(is_best, second, best)
    worth: Integers = np.maximum(network.limits - np.maximum(other, 0), 0)
    return worth


def _bought_out(books: Integers, worth: Integers, units: Integers, supply: Integers) -> Integers:
    """The worth at which all for sale has a taker, by resource.

    Sellers take part as takers of their own units, so every resource finds takers.
    """
    keys = books * (TICK_MAX + 1) + (TICK_MAX - worth)
    order = np.argsort(keys)
    taken = np.cumsum(units[order])
    firsts = np.searchsorted(books[order], np.arange(len(supply)))
    before = np.where(firsts > 0, taken[firsts - 1], 0)
    return worth[order[np.searchsorted(taken, before + supply)]]


def _best_choices(network: Network, prices: Integers, starts: Integers) -> Integers:
    """All units of each intent on the first choice that saves most, if any saves."""
    savings = network.limits - prices[network.choice_resources]
    best = np.maximum.reduceat(savings, starts)
    chosen = np.flatnonzero((savings == best[network.choosers]) & (savings >= 0))
    chosen = chosen[np.diff(network.choosers[chosen], prepend=-1) > 0]
    units = np.zeros_like(network.limits)
    units[chosen] = network.units[network.choosers[chosen]]
    return units


def _with_what_is_left(network: Network, units: Integers) -> Integers:
    """Keep what clears, and assign the rest of intents to the rest of offers."""
    choices, clearings = network.clear(units)
    filled, open_units = np.zeros_like(units), network.units.copy()
    np.add.at(filled, choices, clearings.units)
    np.subtract.at(open_units, network.choosers, filled)
    left = network.asks.units.copy()
    np.subtract.at(left, clearings.asks, clearings.units)
    shelves = _shelves(network, left)
    cheapest = np.array([shelf[-1][0] if shelf else TICK_MAX for shelf in shelves], np.int64)
    saves = network.limits > cheapest[network.choice_resources]
    hopeful = np.flatnonzero(saves & (open_units[network.choosers] > 0))
    for choice in hopeful[np.argsort(-network.limits[hopeful], kind="stable")].tolist():
        chooser = int(network.choosers[choice])
        shelf = shelves[network.choice_resources[choice]]
        took = _take(shelf, int(network.limits[choice]), int(open_units[chooser]))
        filled[choice] += took
        open_units[chooser] -= took
    return filled


def _shelves(network: Network, left: Integers) -> list[list[list[int]]]:
    """Of each resource the ticks and units of offers with something left, cheapest last."""
    shelves: list[list[list[int]]] = [[] for _ in network.resources]
    rows = np.flatnonzero(left)
    for row in rows[np.argsort(-network.asks.ticks[rows], kind="stable")].tolist():
        shelf = shelves[network.asks.books[row]]
        shelf.append([int(network.asks.ticks[row]), int(left[row])])
    return shelves


def _take(shelf: list[list[int]], limit: int, wanted: int) -> int:
    """Take up to `wanted` units below a limit off a shelf."""
    took = 0
    while shelf and took < wanted and shelf[-1][0] < limit:
        units = min(wanted - took, shelf[-1][1])
        took += units
        shelf[-1][1] -= units
        if not shelf[-1][1]:
            shelf.pop()
    return took


def _bound(network: Network, prices: Integers, starts: Integers) -> int:
    """What everybody together would save if all could trade at these prices."""
    savings = network.limits - prices[network.choice_resources]
    best = np.maximum(np.maximum.reduceat(savings, starts), 0)
    gains = np.maximum(prices[network.asks.books] - network.asks.ticks, 0)
    return _product(best, network.units) + _product(gains, network.asks.units)


def _product(ticks: Integers, units: Integers) -> int:
    """The sum of products, which 64 bits would not hold."""
    return sum(tick * some for tick, some in zip(ticks.tolist(), units.tolist(), strict=True))
