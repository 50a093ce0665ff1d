"""The best way at hand to assign intents with substitutes."""

from collections.abc import Sequence

from solver.strategies.flow import NotSolvable, assign_exactly
from solver.strategies.substitute import Assignment, SubstituteIntent, SubstituteOffer
from solver.strategies.tatonnement import assign_nearly


def assign(intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]) -> Assignment:
    """The best assignment where OR-tools is installed and can hold it, else a near one.

    `Assignment.gap` says how near.
    """
    try:
        return assign_exactly(intents, offers)
    except NotSolvable:
        return assign_nearly(intents, offers)
