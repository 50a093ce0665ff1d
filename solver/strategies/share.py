"""Who gets how much when there is too little for everybody: by time, or pro rata.

Price comes first under both rules: a better price is filled whole before a worse one gets
anything. So they give the same units and the same surplus in sum, and differ only in who
of equal price has them.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby

from intents.rounding import mul_div_floor
from solver.core.check import check


class Rule(StrEnum):
    """How orders of one price divide what is not enough for all of them."""

    TIME = "time"
    """First come, first served."""
    PRO_RATA = "pro_rata"
    """In proportion to their units; single units left over go by largest remainder."""


def share(units: Sequence[int], open_units: int, rule: Rule) -> list[int]:
    """Divide `open_units` among orders of one price, which come in order of time.

    The sum is exact: all that is open, or all that is wanted if that is less. Nobody gets
    more than its units, nor, pro rata, less than its share rounded down.
    """
    check(open_units >= 0, "share_not_negative", open_units=open_units)
    if sum(units) <= open_units:
        return list(units)
    return _by_time(units, open_units) if rule is Rule.TIME else _pro_rata(units, open_units)


def share_by_price(
    ticks: Sequence[int], units: Sequence[int], open_units: int, rule: Rule
) -> list[int]:
    """Divide `open_units` among orders in price-time order: the best price first, and whole."""
    shares: list[int] = []
    for _, level in groupby(range(len(ticks)), key=ticks.__getitem__):
        if not open_units:
            break
        level_shares = share([units[place] for place in level], open_units, rule)
        open_units -= sum(level_shares)
        shares += level_shares
    return shares + [0] * (len(ticks) - len(shares))


def _by_time(units: Sequence[int], open_units: int) -> list[int]:
    shares = []
    for wanted in units:
        shares.append(min(wanted, open_units))
        open_units -= shares[-1]
    return shares


def _pro_rata(units: Sequence[int], open_units: int) -> list[int]:
    """Largest remainder (Hamilton's rule): floors, then one unit each by remainder, then time."""
    total = sum(units)
    shares = [mul_div_floor(open_units, wanted, total) for wanted in units]
    remainders = [open_units * wanted % total for wanted in units]
    first = sorted(range(len(units)), key=lambda place: (-remainders[place], place))
    for place in first[: open_units - sum(shares)]:
        shares[place] += 1
    return shares
