"""The two divisions of the project. Every rounding in Keyfill names one of them.

`payment_at` and `pro_rata` write the floor out, and where the product fits a machine word
let compiled code use one: every fill calls both.
"""

from typing import Final

from mypy_extensions import i64

from intents.bound import TICK_UNITS

WIDE: Final = 1 << 41
NARROW: Final = 1 << 21
"""Integers below these two have a product below 2⁶²; `TICK_UNITS` is below the second."""


def mul_div_floor(multiplicand: int, multiplier: int, divisor: int) -> int:
    """⌊multiplicand · multiplier / divisor⌋ for non-negative integers, divisor > 0."""
    return multiplicand * multiplier // divisor


def mul_div_ceil(multiplicand: int, multiplier: int, divisor: int) -> int:
    """⌈multiplicand · multiplier / divisor⌉ for non-negative integers, divisor > 0."""
    return -(-multiplicand * multiplier // divisor)


def bid_tick(limit: int, units: int) -> int:
    """The highest whole tick that a buyer's total allows: rounds down, for the buyer."""
    if limit < WIDE:
        wide: i64 = limit
        parts: i64 = units
        return wide * TICK_UNITS // parts
    return mul_div_floor(limit, TICK_UNITS, units)


def ask_tick(limit: int, units: int) -> int:
    """The lowest whole tick that a seller's total allows: rounds up, for the seller."""
    if limit < WIDE:
        wide: i64 = limit
        parts: i64 = units
        return -(-wide * TICK_UNITS // parts)
    return mul_div_ceil(limit, TICK_UNITS, units)


def payment_at(tick: int, delivered: int) -> int:
    """Atoms for `delivered` units at `tick`: rounds down, for the payer.

    With `bid_tick` and `ask_tick` it always lies within both signed totals:
    ⌊k·tick/10⁶⌋ ≤ ⌊k·L/U⌋ because tick ≤ ⌊L·10⁶/U⌋, and likewise from below.
    """
    if tick < WIDE and delivered < NARROW:
        wide: i64 = tick
        narrow: i64 = delivered
        return wide * narrow // TICK_UNITS
    return tick * delivered // TICK_UNITS


def pro_rata(limit: int, units: int, delivered: int) -> int:
    """⌊delivered · limit / units⌋: what a signed total means for a part of its units."""
    if limit < WIDE and delivered < NARROW:
        wide: i64 = limit
        narrow: i64 = delivered
        parts: i64 = units
        return narrow * wide // parts
    return delivered * limit // units
