"""What competition adds to a book alone, where buyers want bundles and minimums.

    python -m tests.bench.gain [--auctions 100]

Each auction has six books, with sellers at rising prices, plain bids, bids with a minimum,
bundles of two or three books and any-ofs of two; half of what is bid for is in bundles. The
book alone serves the plain bids in price-time order. `gain` is how much more surplus the
winners have together, judged as the market does, once the others compete as well.
"""

import argparse
from collections.abc import Sequence
from random import Random
from typing import Final

from solver.core.auction import Snapshot, SnapshotBook, SnapshotBundle, SnapshotOrder
from solver.strategies import Strategy, price_time, uniform_price
from solver.strategies.milp import milp
from tests.bench.figure import print_figure
from tests.judging import book, judged, order, snapshot

BOOKS: Final = 6
SELLERS: Final = 8
PLAIN: Final = 6
PICKY: Final = 3
BUNDLES: Final = 8
ANY_OFS: Final = 4
MILLION: Final = 10**6
ATOM: Final = 10**6
"""Micro-atoms."""
FIELDS: Final[dict[str, Sequence[Strategy]]] = {
    "book": (price_time,),
    "batch": (price_time, uniform_price),
    "milp": (price_time, uniform_price, milp),
}


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--auctions", type=int, default=100)
    options = parser.parse_args()
    totals = dict.fromkeys(FIELDS, 0)
    for seed in range(options.auctions):
        seen = bundle_heavy(seed)
        for name, field in FIELDS.items():
            bids = [(one.__name__, each) for one in field for each in one(seen)]
            totals[name] += judged(seen, *bids).score
    for name in ("batch", "milp"):
        print_figure(
            f"surplus_with_{name}",
            totals[name] / ATOM,
            "atoms",
            "the book alone",
            totals["book"] / ATOM,
        )
    print_figure("surplus_gain_over_book", (totals["milp"] / totals["book"] - 1) * 100, "%")


def bundle_heavy(seed: int) -> Snapshot:
    """One auction of the flow: legs have a minimum of all their units."""
    random = Random(seed)  # noqa: S311  test data
    asks = {f"r{n}": [_ask(random, f"o{n}.{k}") for k in range(SELLERS)] for n in range(BOOKS)}
    bids: dict[str, list[SnapshotOrder]] = {resource: [] for resource in asks}
    for resource, side in bids.items():
        side += [_bid(random, f"{resource}.p{k}", 1) for k in range(PLAIN)]
        side += [_bid(random, f"{resource}.m{k}", 0) for k in range(PICKY)]
    bundles = [_bundle(random, bids, f"b{k}", any_of=k < ANY_OFS) for k in range(ANY_OFS + BUNDLES)]
    books = [_book(resource, bids[resource], asks[resource]) for resource in asks]
    return snapshot(*books, bundles=bundles)


def _ask(random: Random, name: str) -> SnapshotOrder:
    return order(name, f"seller-{name}", random.randint(2, 12) * MILLION, random.randint(2, 12))


def _bid(random: Random, name: str, minimum: int) -> SnapshotOrder:
    units = random.randint(2, 12)
    tick = random.randint(4, 14) * MILLION
    return order(name, f"buyer-{name}", tick, units, minimum or units)


def _bundle(
    random: Random, bids: dict[str, list[SnapshotOrder]], name: str, *, any_of: bool
) -> SnapshotBundle:
    resources = random.sample(sorted(bids), 2 if any_of else random.randint(2, 3))
    legs = []
    for resource in resources:
        units = random.randint(2, 12)
        leg = order(f"{name}.{resource}", name, random.randint(6, 16) * MILLION, units, units)
        bids[resource].append(leg)
        legs.append(leg.id)
    return SnapshotBundle(id=name, any_of=any_of, legs=tuple(legs))


def _book(
    resource: str, bids: Sequence[SnapshotOrder], asks: Sequence[SnapshotOrder]
) -> SnapshotBook:
    by_price = sorted(bids, key=lambda one: (-one.tick, one.id))
    return book(by_price, sorted(asks, key=lambda one: (one.tick, one.id)), resource)


if __name__ == "__main__":
    main()
