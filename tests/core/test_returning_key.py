"""A key that left the pool and is contributed again: P4 counts for the key, not for its stay."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import RejectCode
from solver.core import pool
from solver.core.command import Limit, PoolKey, StartCall
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    Bench,
    Person,
    a_bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    key_of,
)
from tests.core.ghost import Seen, most_in_any_window
from tests.core.sabotage import pure_only

LIMITS = (Limit(units=2, seconds=5), Limit(units=3, seconds=30))
KEY = key_of(bob, 1)


def test_a_key_that_comes_back_has_the_windows_that_it_left() -> None:
    """P4: revoked and contributed again, by whomever, it serves what its limits leave."""
    bench = a_bench().pooling(bob, number=1, limits=(Limit(units=2, seconds=60),))
    first = an_intent().units(3).limit(300).signed_by(alice)
    bench.do(an_offer().units(3).limit(3).from_key(KEY).signed_by(bob))
    bench.do(first)
    bench.use(bench.lease(first), 2)
    bench.retire(KEY)
    bench.do(_returned(carol, Limit(units=3, seconds=60)))
    second = an_intent().units(3).limit(300).signed_by(alice)
    bench.do(an_offer().units(3).limit(3).from_key(KEY).signed_by(carol))
    bench.do(second)
    lease = bench.lease(second)
    bench.use(lease)
    call = StartCall(lease=lease.id, call="late", units=2)
    assert bench.refuse(call) is RejectCode.WINDOW_EXHAUSTED
    bench.wait(61)
    bench.use(lease, 2)


def test_a_key_that_comes_back_has_its_longest_window() -> None:
    """P4: a shorter one forgot what the longer still counts."""
    bench = a_bench().pooling(bob, number=1, limits=LIMITS)
    bid = an_intent().units(3).limit(30).signed_by(alice)
    bench.do(an_offer().units(3).limit(3).from_key(KEY).signed_by(bob))
    bench.do(bid)
    bench.use(bench.lease(bid))
    bench.wait(6)
    bench.use(bench.lease(bid))
    bench.retire(KEY)
    bench.do(_returned(carol, *LIMITS))
    state = bench.market.state
    assert [window.occupied(state.now_ms) for window in state.windows[KEY, SEARCH]] == [1, 2]


def test_a_snapshot_keeps_what_a_key_used_before_it_left() -> None:
    """P4, P6: the state is the same after it, and so are the windows when the key is back."""
    bench = a_bench().pooling(bob, number=1, limits=(Limit(units=2, seconds=60),))
    first = an_intent().limit(300).signed_by(alice)
    bench.do(an_offer().from_key(KEY).signed_by(bob))
    bench.do(first)
    bench.use(bench.lease(first))
    bench.retire(KEY)
    again = load(dump(bench.market.state))
    for state in (bench.market.state, again):
        assert pool.pool_key(state, _returned(bob, Limit(units=2, seconds=60))) is None
        (window,) = state.windows[KEY, SEARCH]
        assert window.occupied(state.now_ms) == 1


@given(random=st.randoms(use_true_random=False))
def test_no_window_is_over_its_limit_however_often_a_key_returns(random: Random) -> None:
    """P4: what the upstream saw of one key, through all its stays and owners."""
    _comes_and_goes(random)


@pure_only
def test_a_return_with_fresh_windows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property above fails if what was used before is forgotten."""
    monkeypatch.setattr(pool, "_used", lambda *_: [])
    with pytest.raises(AssertionError, match="more than"):
        _comes_and_goes(Random(0))  # noqa: S311


def _comes_and_goes(random: Random) -> None:
    bench = a_bench().pooling(bob, number=1, limits=LIMITS)
    seen: list[Seen] = []
    owner = bob
    for _ in range(8):
        _serve(bench, owner, random, seen)
        bench.retire(KEY)
        bench.wait(random.choice((0, 1, 6, 20)))
        owner = random.choice((bob, carol))
        bench.do(_returned(owner, *LIMITS))
    for limit in LIMITS:
        most = most_in_any_window(sorted(seen), limit.seconds * 1_000)
        assert most <= limit.units, f"more than {limit.units} in {limit.seconds} s"


def _serve(bench: Bench, owner: Person, random: Random, seen: list[Seen]) -> None:
    """Calls through the key, as many as its windows let through."""
    intent = an_intent().units(4).limit(40).signed_by(alice)
    bench.do(an_offer().units(4).limit(4).from_key(KEY).signed_by(owner))
    bench.do(intent)
    lease = bench.lease(intent)
    for _ in range(4):
        window = bench.market.state.windows_of(KEY, "", SEARCH)
        if not any(one.wait_ms(1, bench.now_ms) for one in window):
            bench.use(lease)
            seen.append((bench.now_ms, 1))
        bench.wait(random.choice((0, 1, 3)))


def _returned(owner: Person, *limits: Limit) -> PoolKey:
    return PoolKey(
        key=KEY, owner=owner.address, provider="tavily", resources=(SEARCH,), limits=limits
    )
