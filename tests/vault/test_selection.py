"""Strategies are deterministic and fair."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.vault.selection import Candidate, Strategy, least_recently_used, round_robin

LEASES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8, unique=True)


def candidates(leases: list[str], last_used_ms: int = 0) -> list[Candidate]:
    """Leases on keys of the same name."""
    return [
        Candidate(lease=lease, key=lease, resource="r", remaining=1, last_used_ms=last_used_ms)
        for lease in leases
    ]


@pytest.mark.parametrize("strategy", [round_robin, least_recently_used])
@given(leases=LEASES, data=st.data())
def test_the_order_is_a_permutation_that_input_order_does_not_change(
    strategy: Strategy, leases: list[str], data: st.DataObject
) -> None:
    """Nobody is lost or tried twice, and the answer depends on the facts alone."""
    after = data.draw(st.sampled_from(["", *leases]))
    shuffled = data.draw(st.permutations(candidates(leases)))
    ordered = strategy(candidates(leases), after)
    assert ordered == strategy(shuffled, after)
    assert sorted(each.lease for each in ordered) == sorted(leases)


@given(leases=LEASES, rounds=st.integers(1, 5))
def test_round_robin_serves_everyone_equally(leases: list[str], rounds: int) -> None:
    """After n·k picks among n leases, each was picked exactly k times."""
    picks: Counter[str] = Counter()
    after = ""
    for _ in range(rounds * len(leases)):
        after = round_robin(candidates(leases), after)[0].lease
        picks[after] += 1
    assert set(picks.values()) == {rounds}
    assert len(picks) == len(leases)


@given(leases=LEASES, rounds=st.integers(1, 5))
def test_least_recently_used_serves_everyone_equally(leases: list[str], rounds: int) -> None:
    """Picking the longest unused goes round as well, also when the clock stands still."""
    pool = {each.lease: each for each in candidates(leases)}
    picks: Counter[str] = Counter()
    after = ""
    for now_ms in range(1, rounds * len(leases) + 1):
        after = least_recently_used(list(pool.values()), after)[0].lease
        pool[after] = msgspec.structs.replace(pool[after], last_used_ms=now_ms)
        picks[after] += 1
    assert set(picks.values()) == {rounds}


def test_a_strategy_that_ignores_the_past_is_unfair() -> None:
    """The fairness test can fail: always taking the first starves the rest."""
    leases = ["a", "b", "c"]
    picks = Counter(min(leases) for _ in range(9))
    assert set(picks.values()) != {3}
