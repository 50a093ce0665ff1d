"""Exact assignment of intents with substitutes, as a minimum-cost flow.

Units flow from intents over their choices to resources, and on to a sink over one arc per
offer; what stays unfilled has an arc of its own, of no cost. With n intents of k choices
and m offers these are n·k + n + m arcs, where pairs of intents and offers would be n·m.
It needs OR-tools: `pip install keyfill[substitutes]`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from solver.strategies.column import Integers
from solver.strategies.substitute import Assignment, Network, SubstituteIntent, SubstituteOffer

if TYPE_CHECKING:
    from ortools.graph.python.min_cost_flow import (  # type: ignore[import-untyped]  # has none
        SimpleMinCostFlow,
    )


class NotSolvable(Exception):
    """The exact way cannot be taken; the message says why, and what to do."""


def assign_exactly(
    intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]
) -> Assignment:
    """The assignment of the most welfare.

    Raises:
        NotSolvable: OR-tools is not installed, or ticks times orders outgrow its integers.
    """
    network = Network.of(intents, offers)
    return network.assignment(_cheapest_flow(network))


def _cheapest_flow(network: Network) -> Integers:
    """Units of each choice."""
    solver = _solver()
    tails, heads, capacities, costs = _arcs(network)
    solver.add_arcs_with_capacity_and_unit_cost(
        tails.astype(np.int32), heads.astype(np.int32), capacities, costs
    )
    sink = len(network.units) + len(network.resources)
    sources = np.append(np.arange(len(network.units)), sink).astype(np.int32)
    solver.set_nodes_supplies(sources, np.append(network.units, -network.units.sum()))
    status = solver.solve()
    if status != solver.OPTIMAL:
        raise NotSolvable(f"min-cost flow ended with {status.name}: assign greedily instead")
    flows: Integers = solver.flows(np.arange(len(network.limits), dtype=np.int32))
    return np.asarray(flows, np.int64)


def _arcs(network: Network) -> tuple[Integers, Integers, Integers, Integers]:
    """Tail, head, capacity and cost: choices first, then what is left over, then offers.

    A cost is divided by what all ticks have in common, which changes nothing but makes
    the solver's integers smaller: it then needs fewer rounds.
    """
    count, asks = len(network.units), network.asks
    sink = count + len(network.resources)
    unit = max(1, int(np.gcd.reduce(np.concatenate((network.limits, asks.ticks)))))
    return (
        np.concatenate((network.choosers, np.arange(count), count + asks.books)),
        np.concatenate((count + network.choice_resources, np.full(count + len(asks.ticks), sink))),
        np.concatenate((network.units[network.choosers], network.units, asks.units)),
        np.concatenate((-network.limits // unit, np.zeros(count, np.int64), asks.ticks // unit)),
    )


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
