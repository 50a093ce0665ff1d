"""Clear everybody at one price, minimums included: drop whoever misses its minimum, again."""

from solver.core.auction import Snapshot, Solution
from solver.strategies.clearing import by_price, cross, filled_units


def uniform_price(snapshot: Snapshot) -> Solution | None:
    """A crossing in which every intent that trades gets at least its minimum.

    Each round drops the unmet intent of the lowest price and crosses again, so it ends
    after at most one round per intent.
    """
    intents = by_price(snapshot.intents)
    while intents:
        solution = cross(intents, snapshot.offers)
        if solution is None:
            return None
        filled = filled_units(solution)
        unmet = [order for order in intents if 0 < filled.get(order.id, 0) < order.minimum]
        if not unmet:
            return solution
        intents.remove(unmet[-1])
    return None
