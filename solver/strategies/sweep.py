"""Uniform-price clearing of one book in plain Python: a sweep down the bids, O(n).

The price is the middle, rounded down, of all ticks at which the most units trade; these
run exactly from the highest ask to the lowest bid that trade. (Below the one fewer units
are for sale, above the other fewer are wanted; in between both sides reach the volume.)
A sweep looks at nobody's account: who would meet itself is `pairing`'s concern.
"""

from itertools import accumulate, groupby

from solver.strategies.queue import Crossing, Queue
from solver.strategies.share import Rule, share, share_by_price


def sweep(bids: Queue, asks: Queue, rule: Rule) -> Crossing | None:
    """Who gets what at one price, if each may trade with each; None if nothing crosses.

    A bid whose minimum cannot be met by what is left for it is passed over, and what it
    might have had is there for those after it. Without minimums no price trades more.
    """
    supply = [0, *accumulate(asks.units)]
    reach = _reach(bids, asks)
    if rule is Rule.TIME:
        bought = _bought_by_time(bids, supply, reach)
    else:
        bought = _bought_pro_rata(bids, supply, reach)
    volume = sum(bought)
    if not volume:
        return None
    sold = share_by_price(asks.ticks, asks.units, volume, rule)
    return Crossing.at_the_margin(bids, asks, bought, sold)


def _reach(bids: Queue, asks: Queue) -> list[int]:
    """For each bid, how many asks its limit reaches: ever fewer, as bids fall."""
    reached, reach = len(asks.ticks), []
    for tick in bids.ticks:
        while reached and asks.ticks[reached - 1] > tick:
            reached -= 1
        reach.append(reached)
    return reach


def _bought_by_time(bids: Queue, supply: list[int], reach: list[int]) -> list[int]:
    taken, bought = 0, []
    for units, minimum, reached in zip(bids.units, bids.minimums, reach, strict=True):
        left = supply[reached] - taken
        if left <= 0:
            break
        got = min(units, left) if left >= minimum else 0
        bought.append(got)
        taken += got
    return bought + [0] * (len(reach) - len(bought))


def _bought_pro_rata(bids: Queue, supply: list[int], reach: list[int]) -> list[int]:
    taken, bought = 0, []
    for _, places in groupby(range(len(reach)), key=bids.ticks.__getitem__):
        level = list(places)
        left = supply[reach[level[0]]] - taken
        if left <= 0:
            break
        got = _share_with_minimums(
            [bids.units[place] for place in level], [bids.minimums[place] for place in level], left
        )
        bought += got
        taken += sum(got)
    return bought + [0] * (len(reach) - len(bought))


def _share_with_minimums(units: list[int], minimums: list[int], left: int) -> list[int]:
    """Pro rata among those whose minimum their share meets.

    While some miss theirs, the later half of them (at least one) stands back.
    """
    wanted = list(units)
    while True:
        shares = share(wanted, left, Rule.PRO_RATA)
        unmet = [
            place
            for place, minimum in enumerate(minimums)
            if wanted[place] and minimum > 1 and shares[place] < minimum
        ]
        if not unmet:
            return shares
        for place in unmet[len(unmet) // 2 :]:
            wanted[place] = 0
