"""The two divisions of the project. Every rounding in Keyfill names one of them.

What every order and every fill needs writes its own out. Compiled, a product of `int`s below
2³⁰ is one of machine words; that of a tick and units is larger, so `payment_at` asks for one.
"""

from typing import Final

from mypy_extensions import i64

from intents.bound import TICK_UNITS

WIDE: Final = 1 << 41
NARROW: Final = 1 << 21
"""Integers below these two have a product below 2⁶²."""


def mul_div_floor(multiplicand: int, multiplier: int, divisor: int) -> int:
    """⌊multiplicand · multiplier / divisor⌋ for non-negative integers, divisor > 0."""
    return multiplicand * multiplier // divisor


def mul_div_ceil(multiplicand: int, multiplier: int, divisor: int) -> int:
    """⌈multiplicand · multiplier / divisor⌉ for non-negative integers, divisor > 0."""
    return -(-multiplicand * multiplier // divisor)


def bid_tick(limit: int, units: int) -> int:
    """The highest whole tick that a buyer's total allows: rounds down, for the buyer."""
    return limit * TICK_UNITS // units


def ask_tick(limit: int, units: int) -> int:
    """The lowest whole tick that a seller's total allows: rounds up, for the seller."""
    return (limit * TICK_UNITS + units - 1) // units


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
    return delivered * limit // units
