"""The packed cap does what the same cap as lists and numbers does, bit by bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents import cap_word
from intents.bound import PERIOD_S_MAX
from intents.cap_word import CAP_MAX, CapPeriodInvalid
from tests.builder import START_S
from tests.intents.naive_cap import NaiveCap

INDEX_MAX_S = (2**27 - 1) * 30
"""When the last bucket of the shortest length begins."""

caps = st.one_of(st.integers(0, 5_000), st.integers(0, 2**40), st.integers(0, 2**90))
periods = st.one_of(st.integers(1, 2_000), st.integers(1, PERIOD_S_MAX))
waits = st.one_of(st.integers(0, 300), st.integers(0, 40_000), st.integers(0, PERIOD_S_MAX))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), waits, caps),
        st.tuples(st.just("charge_all"), waits, st.just(0)),
        st.tuples(st.just("set"), waits, caps, periods),
        st.tuples(st.just("lift"), waits, st.just(0)),
    ),
    max_size=30,
)


def _do(naive: NaiveCap, word: int, step: tuple[str, int, int, int], now: int) -> int:
    """One step of both; the packed word after it."""
    kind, _, amount, period_s = step
    if kind == "set":
        naive.roll(now).set(amount, period_s, now)
        return cap_word.with_cap(word, amount, period_s, now)
    if kind == "lift":
        naive.capped = False
        return cap_word.without_cap(word)
    if kind == "charge_all":
        amount = cap_word.left_at(word, now) or 0
    after = cap_word.charge(word, amount, now)
    if not naive.capped or not amount:
        assert after == word
        return word
    rolled = NaiveCap(**{**vars(naive), "ended": list(naive.ended)}).roll(now)
    fits = amount <= CAP_MAX and rolled.charge(amount)
    assert (after is not None) == fits
    if after is None:
        return word
    vars(naive).update(vars(rolled))
    return after


@given(steps=steps, start=st.sampled_from((0, START_S, INDEX_MAX_S - 5_000)))
def test_a_word_is_what_the_lists_say(steps: list[tuple[str, int, int, int]], start: int) -> None:
    """Through any charges, caps and waits, all 181 bits, what is spent, and what is left."""
    naive, word, now = NaiveCap(), 0, start
    for step in steps:
        now += step[1]
        word = _do(naive, word, (*step, 0)[:4], now)
        assert word == naive.word()
        rolled = NaiveCap(**{**vars(naive), "ended": list(naive.ended)}).roll(now)
        assert cap_word.spent_at(word, now) == rolled.spent()
        assert cap_word.left_at(word, now) == rolled.left()
        assert cap_word.is_capped(word) == naive.capped
        assert cap_word.period_of(word) == naive.length * 240
        if naive.capped:
            assert cap_word.cap_of(word) == naive.mantissa * 2**naive.exponent // 2_048


def test_the_last_bucket_there_is_charges_and_none_after_it() -> None:
    """Beyond the index's 27 bits nothing is left, however much time passed."""
    word = cap_word.with_cap(0, 1_000, 240, START_S)
    after = cap_word.charge(word, 1_000, INDEX_MAX_S)
    assert after is not None
    assert (cap_word.left_at(after, INDEX_MAX_S + 29), cap_word.left_at(word, INDEX_MAX_S)) == (
        0,
        1_000,
    )
    assert cap_word.left_at(word, INDEX_MAX_S + 30) == 0
    assert cap_word.charge(word, 1, INDEX_MAX_S + 30) is None


def test_the_largest_cap_can_be_charged_whole_and_no_atom_more() -> None:
    """CAP_MAX is 2,047 units of 2⁶³; a larger cap is that one."""
    assert CAP_MAX == 2_047 * 2**63
    word = cap_word.with_cap(0, CAP_MAX + 1, 240, START_S)
    assert word == cap_word.with_cap(0, CAP_MAX, 240, START_S)
    assert cap_word.left_at(word, START_S) == CAP_MAX
    assert cap_word.charge(word, CAP_MAX + 1, START_S) is None
    full = cap_word.charge(word, CAP_MAX, START_S)
    assert full is not None
    assert cap_word.left_at(full, START_S) == 0


def test_an_amount_above_any_cap_is_refused_before_it_is_counted() -> None:
    """Even of a word whose cap says more than a word can keep."""
    word = cap_word.with_cap(0, CAP_MAX, 240, START_S) | 0x3FFFFF << 158
    assert cap_word.charge(word, CAP_MAX + 1, START_S) is None
    assert cap_word.charge(word, CAP_MAX, START_S) is not None


def test_the_longest_period_is_kept_and_no_longer_one() -> None:
    """From one second to PERIOD_S_MAX."""
    assert cap_word.period_of(cap_word.with_cap(0, 1, PERIOD_S_MAX, START_S)) >= PERIOD_S_MAX
    assert cap_word.period_of(cap_word.with_cap(0, 1, 1, START_S)) == 240
    for period_s in (0, -1, PERIOD_S_MAX + 1):
        with pytest.raises(CapPeriodInvalid):
            cap_word.with_cap(0, 1, period_s, START_S)


def test_nothing_charged_is_nothing_written() -> None:
    """Not even that time passed."""
    word = cap_word.charge(cap_word.with_cap(0, 1_000, 240, START_S), 7, START_S)
    assert word is not None
    assert cap_word.charge(word, 0, START_S + 100) == word


def test_a_cap_that_is_set_again_stays_as_fine_as_it_was() -> None:
    """Also where all of the most that its unit can say is spent."""
    word = cap_word.charge(cap_word.with_cap(0, 2_047, 240, START_S), 2_047, START_S)
    assert word is not None
    assert cap_word.with_cap(word, 2_047, 240, START_S) == word


def test_nothing_is_left_of_a_cap_that_was_lowered_below_what_is_spent() -> None:
    """Nor can it be promised, however coarse its unit."""
    for cap in (1_000, 2**30, 2**60):
        word = cap_word.charge(cap_word.with_cap(0, cap, 240, START_S), cap, START_S)
        assert word is not None
        assert (cap_word.left_at(word, START_S), cap_word.promisable_at(word, START_S)) == (0, 0)
        for lower in (cap - 1, cap - cap // 2**20 - 1, cap // 2, 0):
            lowered = cap_word.with_cap(word, lower, 240, START_S)
            assert cap_word.left_at(lowered, START_S) == 0
            assert cap_word.promisable_at(lowered, START_S) == 0
