"""Clear everybody at one price, minimums included: who would miss its minimum is passed over."""

from solver.core.auction import Snapshot, Solution
from solver.strategies.clearing import by_price, cross, one_by_one, unbundled
from solver.strategies.share import Rule


def uniform_price(snapshot: Snapshot, rule: Rule = Rule.TIME) -> list[Solution]:
    """For each book a crossing in which every intent that trades gets at least its minimum.

    One more for each quality that is asked for in it (`unbundled`). Intents are tried by
    price and time; one that would miss its minimum leaves what it might have had to those
    after it. Bundles of several legs are left to others.
    """
    return one_by_one(
        cross(book.resource, by_price(intents), book.offers, rule)
        for book, intents in unbundled(snapshot)
    )
