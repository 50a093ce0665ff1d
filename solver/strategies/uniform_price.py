"""Clear everybody at one price, minimums included: who would miss its minimum is passed over."""

from solver.core.auction import Snapshot, Solution
from solver.strategies.clearing import by_price, cross, unbundled
from solver.strategies.share import Rule


def uniform_price(snapshot: Snapshot, rule: Rule = Rule.TIME) -> list[Solution]:
    """For each book a crossing in which every intent that trades gets at least its minimum.

    Intents are tried by price and time; one that would miss its minimum leaves what it
    might have had to those after it. Bundles are left to others.
    """
    cleared = [
        cross(book.resource, by_price(intents), book.offers, rule)
        for book, intents in unbundled(snapshot)
    ]
    return [Solution(books=(book,)) for book in cleared if book is not None]
