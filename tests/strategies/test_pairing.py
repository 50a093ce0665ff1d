"""Who meets whom: the same units for everybody, and nobody itself if that can be."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from solver.strategies.pairing import Line, Swaps, pair, part, within_bounds
from tests.strategies.book import amounts

units = st.lists(st.integers(0, 5), min_size=1, max_size=7)
accounts = st.lists(st.integers(0, 3), min_size=7, max_size=7)


def _evened(bought: list[int], sold: list[int]) -> tuple[list[int], list[int]]:
    """The shorter side gets one more order, so that sums are equal."""
    more = sum(bought) - sum(sold)
    return [*bought, max(0, -more)], [*sold, max(0, more)]


@given(bought=units, sold=units)
def test_everybody_gets_its_units_in_few_lines(bought: list[int], sold: list[int]) -> None:
    """Pairs are unique, in order of both sides, and fewer than orders that trade."""
    bought, sold = _evened(bought, sold)
    lines = pair(bought, sold)
    assert amounts(lines, 0, len(bought)) == bought
    assert amounts(lines, 1, len(sold)) == sold
    assert len(lines) <= max(0, sum(map(bool, bought)) + sum(map(bool, sold)) - 1)
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)
    assert [line[1] for line in lines] == sorted(line[1] for line in lines)


@given(bought=units, sold=units, buyers=accounts, sellers=accounts)
def test_accounts_part_if_and_only_if_they_can(
    bought: list[int], sold: list[int], buyers: list[int], sellers: list[int]
) -> None:
    """Impossible exactly if one account has more on its two sides than trades; else exact."""
    bought, sold = _evened(bought, sold)
    buyers, sellers = [*buyers, 8][-len(bought) :], [*sellers, 9][-len(sold) :]
    lines = part(pair(bought, sold), buyers, sellers)
    possible = all(
        sum(u for u, who in zip(bought, buyers, strict=True) if who == account)
        + sum(u for u, who in zip(sold, sellers, strict=True) if who == account)
        <= sum(bought)
        for account in range(4)
    )
    assert (lines is not None) == possible
    if lines is not None:
        assert amounts(lines, 0, len(bought)) == bought
        assert amounts(lines, 1, len(sold)) == sold
        assert all(buyers[bid] != sellers[ask] for bid, ask, _ in lines)
        assert len({line[:2] for line in lines}) == len(lines)
        assert all(line[2] for line in lines)


def test_lines_that_need_no_swap_stay() -> None:
    """Price-time pairs are kept wherever nobody meets itself."""
    lines: list[Line] = [(0, 0, 2), (1, 0, 1), (1, 1, 4)]
    assert part(lines, [1, 2], [3, 4]) == lines
    assert part(lines, [1, 2], [3, 2]) is None
    assert part([(0, 0, 2), (1, 1, 2)], [1, 2], [1, 2]) == [(0, 1, 2), (1, 0, 2)]


class _Counted(list[int]):
    """Buyers of lines; counts how often one is looked at."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)


def test_swaps_take_time_in_proportion_to_lines() -> None:
    """Everybody meets itself: no line is searched again for each of them."""
    count = 2_000
    buyers = _Counted(range(count))
    swaps = Swaps(buyers, range(count), [3] * count)
    assert swaps.free_all()
    assert buyers.looks < 10 * count


lines = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(1, 5)),
    unique_by=lambda line: line[:2],
    max_size=20,
).map(sorted)


@given(
    made=lines,
    minimums=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    most=st.integers(0, 20),
    most_per_bid=st.integers(1, 6),
)
def test_a_solution_is_cut_to_its_bounds(
    made: list[Line], minimums: list[int], most: int, most_per_bid: int
) -> None:
    """I21: never more lines than allowed; bids whole or not at all, none below its minimum."""
    kept = within_bounds(made, minimums, lines_max=most, lines_per_bid_max=most_per_bid)
    assert len(kept) <= most
    assert [line for line in made if line in kept] == kept
    for bid in range(5):
        before = [line for line in made if line[0] == bid]
        after = [line for line in kept if line[0] == bid]
        assert after in ([], before[:most_per_bid])
        assert not after or sum(line[2] for line in after) >= minimums[bid]
    if len(made) <= most and most_per_bid >= 6 and max(minimums) == 1:
        assert len({line[0] for line in kept}) == len({line[0] for line in made})
