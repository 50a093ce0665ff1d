"""What the book alone would do: price-time, passing over intents that need a minimum."""

from solver.core.auction import Snapshot, Solution
from solver.strategies.clearing import by_price, cross


def price_time(snapshot: Snapshot) -> Solution | None:
    """The floor that every other solver has to beat."""
    simple = [intent for intent in snapshot.intents if intent.minimum == 1]
    return cross(by_price(simple), snapshot.offers)
