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

import msgspec
import numpy as np

from intents.bound import TICK_MAX
from solver.strategies.column import Integers
from solver.strategies.substitute import (
    Assignment,
    Network,
    SubstituteIntent,
    SubstituteOffer,
    greatest,
)

ROUNDS: Final = 6
"""Rounds of prices. Each takes about two thirds off what is missed."""
STEP_QUARTERS: Final = 5
"""A step goes 5/4 of the way: rounds approach from one side, so a little more is nearer."""


class Guess(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Prices at which about as much of each resource is wanted as is for sale."""

    prices: Integers
    step: int
    """The greatest change of the last round: about how far they may be off."""


def assign_nearly(
    intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]
) -> Assignment:
    """An assignment of nearly the most welfare, and a bound on it."""
    network = Network.of(intents, offers)
    prices = guess_prices(network).prices
    units = _with_what_is_left(network, _best_choices(network, prices))
    return network.assignment(*network.clear(units), network.bound(prices))


def guess_prices(network: Network) -> Guess:
    """Some rounds of prices, each of all resources at once."""
    asks, resources = network.asks, len(network.resources)
    supply = np.zeros(resources, np.int64)
    np.add.at(supply, asks.books, asks.units)
    books = np.concatenate((network.choice_resources, asks.books))
    units = np.concatenate((network.units[network.choosers], asks.units))
    prices = np.full(resources, TICK_MAX, np.int64)
    step = 0
    for number in range(ROUNDS):
        worth = np.concatenate((_worth(network, prices), asks.ticks))
        change = _bought_out(books, worth, units, supply) - prices
        step = int(np.abs(change).max(initial=0))
        prices = np.clip(prices + (change * STEP_QUARTERS // 4 if number else change), 0, TICK_MAX)
    return Guess(prices=prices, step=step)


def _worth(network: Network, prices: Integers) -> Integers:
    """What each choice is worth to its intent, given what the others would save it."""
    savings = network.savings(prices)
    best = greatest(savings, network.starts)[network.choosers]
    is_best = savings == best
    others = np.where(is_best, -TICK_MAX, savings)
    second = greatest(others, network.starts)[network.choosers]
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


def _best_choices(network: Network, prices: Integers) -> Integers:
    """All units of each intent on the first choice that saves most, if any saves."""
    savings = network.savings(prices)
    best = greatest(savings, network.starts)[network.choosers]
    chosen = np.flatnonzero((savings == best) & (savings >= 0))
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
