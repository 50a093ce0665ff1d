"""Roundings: the two divisions, and the theorem that no tick breaks a signed total."""

from fractions import Fraction
from math import ceil, floor

from hypothesis import assume, example, given
from hypothesis import strategies as st

from intents.bound import AMOUNT_MAX, TICK_MAX, TICK_UNITS, UNITS_MAX
from intents.rounding import (
    ask_tick,
    bid_tick,
    mul_div_ceil,
    mul_div_floor,
    payment_at,
    pro_rata,
)

naturals = st.integers(0, 2**100)
totals = st.sampled_from((1, 2, AMOUNT_MAX)) | st.integers(1, AMOUNT_MAX)
counts = st.sampled_from((1, 2, 3, UNITS_MAX)) | st.integers(1, UNITS_MAX)
shares = st.fractions(0, 1)


@given(a=naturals, b=naturals, c=st.integers(1, 2**100))
def test_divisions_are_exact(a: int, b: int, c: int) -> None:
    """Floor and ceiling of the true quotient, at any size."""
    assert mul_div_floor(a, b, c) == floor(Fraction(a * b, c))
    assert mul_div_ceil(a, b, c) == ceil(Fraction(a * b, c))


@given(limit=totals, units=counts)
def test_ticks_round_for_who_signed(limit: int, units: int) -> None:
    """A bid's tick is the highest below its price, an ask's the lowest above."""
    price = Fraction(limit * TICK_UNITS, units)
    assert bid_tick(limit, units) <= price < bid_tick(limit, units) + 1
    assert ask_tick(limit, units) - 1 < price <= ask_tick(limit, units)


@given(bid=totals, ask=totals, bid_units=counts, ask_units=counts, data=st.data())
def test_payment_is_within_both_totals(
    bid: int, ask: int, bid_units: int, ask_units: int, data: st.DataObject
) -> None:
    """At any tick that both sides accept, any part delivered pays what both signed (P2)."""
    low, high = ask_tick(ask, ask_units), bid_tick(bid, bid_units)
    assume(low <= high)
    tick = data.draw(st.integers(low, high))
    delivered = data.draw(st.integers(0, min(bid_units, ask_units)))
    paid = payment_at(tick, delivered)
    assert pro_rata(ask, ask_units, delivered) <= paid <= pro_rata(bid, bid_units, delivered)


@given(tick=st.integers(0, TICK_MAX), first=counts, second=counts)
@example(tick=1, first=999_999, second=1)
def test_parts_cost_no_more_than_the_whole(tick: int, first: int, second: int) -> None:
    """Splitting never costs a payer more, and at most one atom is dust per split."""
    whole = payment_at(tick, first + second)
    parts = payment_at(tick, first) + payment_at(tick, second)
    assert whole - 1 <= parts <= whole


@given(limit=totals, units=counts, share=shares, within=shares)
def test_a_part_is_held_by_what_the_rest_frees(
    limit: int, units: int, share: Fraction, within: Fraction
) -> None:
    """A fill's cost fits into what its intent frees: ⌊L·a/U⌋ - ⌊L·(a-k)/U⌋ covers k units."""
    open_units = max(1, floor(units * share))
    filled = floor(open_units * within)
    freed = pro_rata(limit, units, open_units) - pro_rata(limit, units, open_units - filled)
    assert payment_at(bid_tick(limit, units), filled) <= freed
