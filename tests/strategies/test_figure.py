"""The benchmark of clearing: it compares results before it times anything."""

import numpy as np
import pytest

from solver.strategies.batch import clear_columns
from tests.bench import clearing
from tests.bench.clearing_plain import Order, clear_plainly


def test_rounds_of_the_benchmark_run() -> None:
    """On few orders: every way agrees with its peer, and all times are told."""
    assert set(clearing.clearing(2_000)) == {"ours", "peer", "pro_rata"}
    times = clearing.substitutes(1_000)
    assert times["gap"] == 0.0
    assert 0.0 <= times["near_gap"] <= times["near_gap_proven"] < 5.0


@pytest.mark.parametrize("part", ["prices", "units"])
def test_a_peer_that_differs_ends_the_benchmark(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is printed for a result that is not the peer's."""

    def off(bids: list[Order], asks: list[Order], books: int) -> tuple[list[int], list[Order]]:
        ticks, fills = clear_plainly(bids, asks, books)
        if part == "prices":
            return [tick + 1 for tick in ticks], fills
        return ticks, [(fills[0][0], fills[0][1], fills[0][2] + 1), *fills[1:]]

    monkeypatch.setattr(clearing, "clear_plainly", off)
    with pytest.raises(SystemExit, match=f"{part} differ"):
        clearing.clearing(2_000)


def test_books_of_the_benchmark_cross() -> None:
    """About half of each side trades, as between people who mean to."""
    bids, asks = clearing._columns(5_000, 1, 1.02), clearing._columns(5_000, 2, 0.98)
    cleared = clear_columns(bids, asks, book_count=clearing.RESOURCES)
    assert 0.3 < len(np.unique(cleared.bids)) / 5_000 < 0.8
