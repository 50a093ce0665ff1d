"""Which keys are good enough for what asks for a quality."""

from solver.core.auction import SnapshotBook
from solver.core.quality import Rating
from solver.core.state import State


def is_good_enough(state: State, intent: str, offer: str) -> bool:
    """Whether an offer's key meets the floor that an intent was signed with, if it was."""
    bundle = state.bundles.of(intent)
    if bundle is None or not bundle.floor.asks:
        return True
    rating = rating_of(state, offer)
    return rating is not None and rating.meets(bundle.floor)


def ratings_of(state: State, book: SnapshotBook) -> dict[str, Rating]:
    """Those of a book's offers whose keys have one, if an intent in the book asks for it."""
    bundles = (state.bundles.of(order.id) for order in book.intents)
    if not any(bundle is not None and bundle.floor.asks for bundle in bundles):
        return {}
    found = {order.id: rating_of(state, order.id) for order in book.offers}
    return {offer: rating for offer, rating in found.items() if rating is not None}


def rating_of(state: State, offer: str) -> Rating | None:
    """What the newest calls of an offer's key say."""
    return state.keys[state.offers[offer].key].seen.rating()
