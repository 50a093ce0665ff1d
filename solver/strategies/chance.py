"""Some sound solution, drawn by a seed: what tests put beside solvers that try."""

from collections.abc import Iterator, Sequence
from hashlib import shake_128
from typing import Final

from solver.core.auction import Snapshot, SnapshotOrder, Solution
from solver.strategies.clearing import by_price, cross, one_by_one, unbundled

_BITS: Final = 8


def by_chance(snapshot: Snapshot, seed: int = 0) -> list[Solution]:
    """Of each book a crossing of about half of the orders; the same seed draws the same."""
    return one_by_one(
        cross(
            book.resource,
            by_price(_some(intents, snapshot, seed)),
            _some(book.offers, snapshot, seed),
        )
        for book, intents in unbundled(snapshot)
    )


def _some(orders: Sequence[SnapshotOrder], snapshot: Snapshot, seed: int) -> list[SnapshotOrder]:
    text = f"{seed} {snapshot.digest()} {orders[0].id if orders else ''}".encode()
    drawn = _bits(shake_128(text).digest(-(-len(orders) // _BITS)))
    return [order for order, taken in zip(orders, drawn, strict=False) if taken]


def _bits(drawn: bytes) -> Iterator[bool]:
    return (bool(byte >> place & 1) for byte in drawn for place in range(_BITS))
