"""The crossing at one price that both strategies build on."""

from collections.abc import Sequence

from solver.core.auction import SnapshotOrder, Solution
from solver.core.command import SolutionFill


def cross(intents: Sequence[SnapshotOrder], offers: Sequence[SnapshotOrder]) -> Solution | None:
    """Fill the dearest bids from the cheapest asks while they cross; None if none do.

    Both sides come in priority order. The one price is the floor of the middle between
    the last bid and the last ask that traded, so it lies within every limit.
    """
    open_units = {offer.id: offer.units for offer in offers}
    fills: list[SolutionFill] = []
    lowest_bid, highest_ask = 0, 0
    for intent in intents:
        wanted = intent.units
        for offer in offers:
            if offer.tick > intent.tick or not wanted:
                break
            units = min(wanted, open_units[offer.id])
            if not units or offer.account == intent.account:
                continue
            open_units[offer.id] -= units
            wanted -= units
            fills.append(SolutionFill(intent=intent.id, offer=offer.id, units=units))
            lowest_bid, highest_ask = intent.tick, max(highest_ask, offer.tick)
    if not fills or lowest_bid < highest_ask:
        return None
    return Solution(tick=(lowest_bid + highest_ask) // 2, fills=tuple(fills))


def by_price(orders: Sequence[SnapshotOrder]) -> list[SnapshotOrder]:
    """Bids in falling order of price; equal prices keep their order of time."""
    return sorted(orders, key=lambda order: -order.tick)


def filled_units(solution: Solution) -> dict[str, int]:
    """Units of each intent in a solution."""
    units: dict[str, int] = {}
    for fill in solution.fills:
        units[fill.intent] = units.get(fill.intent, 0) + fill.units
    return units
