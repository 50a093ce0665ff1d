"""What competition adds to a book alone, where buyers want bundles and minimums.

    python -m tests.bench.gain [--auctions 100]
    python -m tests.bench.gain --deltas    # the bytes alone

Each auction has six books, with sellers at rising prices, plain bids, bids with a minimum,
bundles of two or three books and any-ofs of two; half of what is bid for is in bundles. The
book alone serves the plain bids in price-time order. `gain` is how much more surplus the
winners have together, judged as the market does, once the others compete as well.

The bytes are of one market's auctions, each after the one before: what the uniform price clears
is filled and leaves, and a tenth of another auction's orders come. They are what a solver's socket
is sent, with ids and accounts as long as real ones.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import Final

from msgspec.structs import replace

from solver.core.auction import Auction, Snapshot, SnapshotBook, SnapshotBundle, SnapshotOrder
from solver.gateway.auction_line import AuctionLines
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
    parser.add_argument("--deltas", action="store_true")
    options = parser.parse_args()
    print_bytes(options.auctions)
    if not options.deltas:
        print_gains(options.auctions)


def print_gains(auctions: int) -> None:
    """Surplus with and without competition."""
    totals = dict.fromkeys(FIELDS, 0)
    for seed in range(auctions):
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


def print_bytes(auctions: int) -> None:
    """Of all auctions but the first: told in full, and as what changed since the one before."""
    lines, full, delta = AuctionLines(), 0, 0
    before = _an_auction(0, bundle_heavy(0))
    for number in range(1, auctions):
        after = _an_auction(number, _later(before.snapshot, number))
        full += len(lines.full(after))
        delta += len(lines.since(after, before))
        before = after
    count = auctions - 1
    print_figure("snapshot_bytes_delta", delta / count, "bytes", "in full", full / count)


def _an_auction(number: int, seen: Snapshot) -> Auction:
    seen = replace(seen, auction=number, books=tuple(map(_named, seen.books)))
    return Auction(snapshot=seen, snapshot_digest=seen.digest(), seed="")


def _named(told: SnapshotBook) -> SnapshotBook:
    """With ids and accounts as long as real ones."""
    return replace(
        told,
        intents=tuple(map(_with_hashes, told.intents)),
        offers=tuple(map(_with_hashes, told.offers)),
    )


def _with_hashes(one: SnapshotOrder) -> SnapshotOrder:
    if one.id.startswith("0x"):
        return one
    name, account = (sha256(text.encode()).hexdigest() for text in (one.id, one.account))
    return replace(one, id="0x" + name, account="0x" + account[:40])


def _later(seen: Snapshot, seed: int) -> Snapshot:
    """The books after an epoch: what was filled has left, and others have come."""
    filled = Counter[str]()
    for found in uniform_price(seen):
        for cleared in found.books:
            for fill in cleared.fills:
                filled[fill.intent] += fill.units
                filled[fill.offer] += fill.units
    coming = {one.resource: one for one in bundle_heavy(seed).books}
    random = Random(seed)  # noqa: S311  test data
    books = []
    for old in seen.books:
        new = coming[old.resource]
        bids = _left(old.intents, filled) + _some(random, new.intents, seed)
        asks = _left(old.offers, filled) + _some(random, new.offers, seed)
        books.append(_book(old.resource, bids, asks))
    return snapshot(*books)


def _left(orders: Sequence[SnapshotOrder], filled: Counter[str]) -> list[SnapshotOrder]:
    return [
        replace(one, units=one.units - filled[one.id])
        for one in orders
        if one.units - filled[one.id] >= one.minimum
    ]


def _some(random: Random, orders: Sequence[SnapshotOrder], seed: int) -> list[SnapshotOrder]:
    """A tenth of them, under names of this epoch."""
    count = -(-len(orders) // 10)
    return [replace(one, id=f"{one.id}@{seed}") for one in random.sample(orders, count)]


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
