"""The way to assign intents with substitutes that fits their number."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from solver.strategies.flow import NotSolvable, assign_exactly
from solver.strategies.substitute import Assignment, SubstituteIntent, SubstituteOffer
from solver.strategies.tatonnement import assign_nearly

EXACT_ORDERS_MAX: Final = 4_000
"""Up to here the exact way takes some ten milliseconds; beyond, the other is as good as exact."""


def assign(intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]) -> Assignment:
    """The best assignment where that is quick and OR-tools is installed, else a near one.

    `Assignment.gap` says how near.
    """
    if len(intents) + len(offers) <= EXACT_ORDERS_MAX:
        with suppress(NotSolvable):
            return assign_exactly(intents, offers)
    return assign_nearly(intents, offers)
