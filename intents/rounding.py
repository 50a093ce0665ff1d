"""The two divisions of the project. Every rounding in Keyfill names one of them.

`payment_at` and `pro_rata` write the floor out: every fill calls both.
"""

from intents.bound import TICK_UNITS


def mul_div_floor(multiplicand: int, multiplier: int, divisor: int) -> int:
    """⌊multiplicand · multiplier / divisor⌋ for non-negative integers, divisor > 0."""
    return multiplicand * multiplier // divisor


def mul_div_ceil(multiplicand: int, multiplier: int, divisor: int) -> int:
    """⌈multiplicand · multiplier / divisor⌉ for non-negative integers, divisor > 0."""
    return -(-multiplicand * multiplier // divisor)


def bid_tick(limit: int, units: int) -> int:
    """The highest whole tick that a buyer's total allows: rounds down, for the buyer."""
    return mul_div_floor(limit, TICK_UNITS, units)


def ask_tick(limit: int, units: int) -> int:
    """The lowest whole tick that a seller's total allows: rounds up, for the seller."""
    return mul_div_ceil(limit, TICK_UNITS, units)


def payment_at(tick: int, delivered: int) -> int:
    """Atoms for `delivered` units at `tick`: rounds down, for the payer.

    With `bid_tick` and `ask_tick` it always lies within both signed totals:
    ⌊k·tick/10⁶⌋ ≤ ⌊k·L/U⌋ because tick ≤ ⌊L·10⁶/U⌋, and likewise from below.
    """
    return tick * delivered // TICK_UNITS


def pro_rata(limit: int, units: int, delivered: int) -> int:
    """⌊delivered · limit / units⌋: what a signed total means for a part of its units."""
    return delivered * limit // units
