"""What the book alone would do: price-time, passing over intents that need a minimum."""

from solver.core.auction import Snapshot, Solution
from solver.strategies.clearing import by_price, cross, one_by_one, unbundled


def price_time(snapshot: Snapshot) -> list[Solution]:
    """The floor that every other solver has to beat, book by book; see `unbundled`."""
    return one_by_one(
        cross(
            book.resource,
            by_price([intent for intent in intents if intent.minimum == 1]),
            book.offers,
        )
        for book, intents in unbundled(snapshot)
    )
