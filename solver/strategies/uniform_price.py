"""Clear everybody at one price, minimums included: who would miss its minimum is passed over."""

from solver.core.auction import Snapshot, Solution
from solver.strategies.clearing import by_price, cross
from solver.strategies.share import Rule


def uniform_price(snapshot: Snapshot, rule: Rule = Rule.TIME) -> Solution | None:
    """A crossing in which every intent that trades gets at least its minimum.

    Intents are tried by price and time; one that would miss its minimum leaves what it
    might have had to those after it.
    """
    return cross(by_price(snapshot.intents), snapshot.offers, rule)
