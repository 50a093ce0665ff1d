"""Exact assignment of intents with substitutes, as a minimum-cost flow.

Units flow from intents over their choices to resources, and on to a sink over one arc per
offer; what stays unfilled has an arc of its own, of no cost. With n intents of k choices
and m offers these are n·k + n + m arcs, where pairs of intents and offers would be n·m.
It needs OR-tools: `pip install keyfill[substitutes]`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from solver.strategies.column import Integers
from solver.strategies.margin import Margin, margin_at, supporting_prices, whole
from solver.strategies.substitute import Assignment, Network, SubstituteIntent, SubstituteOffer
from solver.strategies.tatonnement import guess_prices

if TYPE_CHECKING:
    from ortools.graph.python.min_cost_flow import (
        SimpleMinCostFlow,
    )


MARGIN_ORDERS_MIN: Final = 500
"""From so many orders on it pays to guess prices first."""
WIDENINGS: Final = (3, 9)
"""Within how many times the last step of a guess orders are in doubt; then everything is."""


class NotSolvable(Exception):
    """The exact way cannot be taken; the message says why, and what to do."""


def assign_exactly(
    intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]
) -> Assignment:
    """The assignment of the most welfare.

    Of many orders only those near the prices are searched, if that can be proven to do.

    Raises:
        NotSolvable: OR-tools is not installed, or ticks times orders outgrow its integers.
    """
    network = Network.of(intents, offers)
    _solver()
    if len(intents) + len(offers) >= MARGIN_ORDERS_MIN:
        guess = guess_prices(network)
        for widening in WIDENINGS:
            assignment = _proven(network, guess.prices, guess.step * widening)
            if assignment is not None:
                return assignment
    return _by_whole_flow(network)


def assign_by_flow(
    intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]
) -> Assignment:
    """The same welfare with no guess: the whole network in one flow.

    Raises:
        NotSolvable: as above.
    """
    return _by_whole_flow(Network.of(intents, offers))


def _by_whole_flow(network: Network) -> Assignment:
    zero = np.zeros(len(network.resources), np.int64)
    choices, clearings = network.clear(_flow(network, whole(network), zero))
    return network.assignment(choices, clearings, network.welfare(choices, clearings))


def _proven(network: Network, prices: Integers, width: int) -> Assignment | None:
    """The best assignment if what is in doubt within `width` of prices suffices for it."""
    try:
        units = _flow(network, margin_at(network, prices, width), prices)
    except NotSolvable:
        return None
    choices, clearings = network.clear(units)
    bound = network.bound(supporting_prices(network, choices, clearings))
    if network.welfare(choices, clearings) < bound:
        return None
    return network.assignment(choices, clearings, bound)


def _flow(network: Network, margin: Margin, prices: Integers) -> Integers:
    """Units of each choice: all of those that are sure, and the cheapest flow of the rest."""
    choosers, asks = network.choosers[margin.choices], network.asks.rows(margin.asks)
    intents, tails = np.unique(choosers, return_inverse=True)
    count, sink = len(intents), len(intents) + len(margin.surplus)
    costs = (
        -network.savings(prices)[margin.choices],
        np.zeros(count, np.int64),
        asks.ticks - prices[asks.books],
    )
    flows = _solve(
        np.concatenate((tails, np.arange(count), count + asks.books)),
        np.concatenate(
            (
                count + network.choice_resources[margin.choices],
                np.full(count + len(margin.asks), sink),
            )
        ),
        np.concatenate((network.units[choosers], network.units[intents], asks.units)),
        np.concatenate(costs),
        np.concatenate((network.units[intents], margin.surplus)),
    )
    units = np.zeros_like(network.limits)
    units[margin.sure] = network.units[network.choosers[margin.sure]]
    units[margin.choices] = flows[: len(margin.choices)]
    return units


def _solve(
    tails: Integers, heads: Integers, capacities: Integers, costs: Integers, supplies: Integers
) -> Integers:
    """Units on each arc; the last node, the sink, takes all that others supply.

    Costs are divided by what all have in common, which changes nothing but makes the
    solver's integers smaller: it then needs fewer rounds.
    """
    solver = _solver()
    unit = max(1, int(np.gcd.reduce(costs)))
    solver.add_arcs_with_capacity_and_unit_cost(
        tails.astype(np.int32), heads.astype(np.int32), capacities, costs // unit
    )
    nodes = np.arange(len(supplies) + 1, dtype=np.int32)
    solver.set_nodes_supplies(nodes, np.append(supplies, -supplies.sum()))
    status = solver.solve()
    if status != solver.OPTIMAL:
        raise NotSolvable(f"min-cost flow ended with {status.name}: assign nearly instead")
    return np.asarray(solver.flows(np.arange(len(tails), dtype=np.int32)), np.int64)


def _solver() -> "SimpleMinCostFlow":
    try:
        from ortools.graph.python.min_cost_flow import (  # noqa: PLC0415  an optional extra
            SimpleMinCostFlow,
        )
    except ImportError as missing:
        raise NotSolvable(
            "exact substitutes need OR-tools: install the extra keyfill[substitutes]"
        ) from missing
    return SimpleMinCostFlow()
