"""Small markets with substitutes, the best that can be had in them, and what must hold."""

from collections.abc import Sequence
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import strategies as st

from solver.strategies import flow
from solver.strategies.substitute import (
    Assignment,
    Network,
    SubstituteIntent,
    SubstituteOffer,
)
from solver.strategies.tatonnement import assign_nearly

Market = tuple[list[SubstituteIntent], list[SubstituteOffer]]
RESOURCES = ("search", "translate", "weather")

_choices = st.dictionaries(st.sampled_from(RESOURCES), st.integers(0, 9), min_size=1)
_intents = st.lists(st.tuples(_choices, st.integers(1, 2)), max_size=4)
_offers = st.lists(
    st.tuples(st.sampled_from(RESOURCES[:2]), st.integers(0, 9), st.integers(1, 2)), max_size=4
)


def _market(
    intents: Sequence[tuple[dict[str, int], int]], offers: Sequence[tuple[str, int, int]]
) -> Market:
    return (
        [
            SubstituteIntent(id=f"i{n}", choices=choices, units=units)
            for n, (choices, units) in enumerate(intents)
        ],
        [
            SubstituteOffer(id=f"o{n}", resource=resource, tick=tick, units=units)
            for n, (resource, tick, units) in enumerate(offers)
        ],
    )


small_markets = st.builds(_market, _intents, _offers)


def random_market(random: Random, *, orders: int, units_max: int, ticks: int) -> Market:
    """Half intents of one to three choices, half offers, around prices of each resource."""
    prices = {resource: random.randint(ticks // 2, ticks) for resource in RESOURCES}
    count = orders // 2
    intents = [
        (
            {
                resource: random.randint(prices[resource] // 2, prices[resource])
                for resource in random.sample(RESOURCES, random.randint(1, 3))
            },
            random.randint(1, units_max),
        )
        for _ in range(count)
    ]
    sold = [random.choice(RESOURCES) for _ in range(count)]
    offers = [
        (resource, random.randint(prices[resource] // 3, prices[resource]),
         random.randint(1, units_max))
        for resource in sold
    ]  # fmt: skip
    return _market(intents, offers)


def best_welfare(intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]) -> int:
    """Every unit of every intent with every unit of every offer, or with none."""
    wants = [intent.choices for intent in intents for _ in range(intent.units)]
    sells = [(offer.resource, offer.tick) for offer in offers for _ in range(offer.units)]

    @cache
    def best(want: int, left: int) -> int:
        if want == len(wants):
            return 0
        gains = [
            wants[want][resource] - tick + best(want + 1, left & ~(1 << place))
            for place, (resource, tick) in enumerate(sells)
            if left >> place & 1 and resource in wants[want]
        ]
        return max([best(want + 1, left), *gains])

    return best(0, (1 << len(sells)) - 1)


def check_assignment(
    intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer], found: Assignment
) -> None:
    """One price a resource, within every limit; nobody above its units; welfare as stated."""
    wants = {intent.id: intent for intent in intents}
    sells = {offer.id: offer for offer in offers}
    used = dict.fromkeys([*wants, *sells], 0)
    welfare = 0
    for fill in found.fills:
        intent, offer = wants[fill.intent], sells[fill.offer]
        assert fill.units > 0
        assert fill.resource == offer.resource
        assert offer.tick <= found.ticks[fill.resource] <= intent.choices[fill.resource]
        used[fill.intent] += fill.units
        used[fill.offer] += fill.units
        welfare += fill.units * (intent.choices[fill.resource] - offer.tick)
    assert all(used[name] <= intent.units for name, intent in wants.items())
    assert all(used[name] <= offer.units for name, offer in sells.items())
    assert welfare == found.welfare <= found.bound
    assert set(found.ticks) == {fill.resource for fill in found.fills}


def check_small_market(market: Market) -> None:
    """Both exact ways equal brute force; the near one is valid and its bound is one."""
    best = best_welfare(*market)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "MARGIN_ORDERS_MIN", 0)
        found = [flow.assign_exactly(*market), flow.assign_by_flow(*market)]
    for exact in found:
        check_assignment(*market, exact)
        assert exact.welfare == exact.bound == best
    near = assign_nearly(*market)
    check_assignment(*market, near)
    assert near.welfare <= best <= near.bound


def check_wrong_guess(market: Market, prices: Sequence[int], width: int) -> None:
    """From any prices, and any doubt about them: the best, or no answer."""
    network = Network.of(*market)
    some = np.array(prices[: len(network.resources)], np.int64)
    found = flow._proven(network, some, width)
    if found is not None:
        check_assignment(*market, found)
        assert found.welfare == best_welfare(*market)
