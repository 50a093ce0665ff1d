"""The peer of `clearing`: sort each side of each book, and sweep both with two pointers."""

Order = tuple[int, int, int]
"""Book, tick, units; a row's place is its time."""
Side = list[tuple[int, int, int]]
"""Price from the best one on, place, units."""


def clear_plainly(
    bids: list[Order], asks: list[Order], books: int
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The price of each book, -1 if nothing trades, and fills by place of bid and ask."""
    buying: list[Side] = [[] for _ in range(books)]
    selling: list[Side] = [[] for _ in range(books)]
    for place, (book, tick, units) in enumerate(bids):
        buying[book].append((-tick, place, units))
    for place, (book, tick, units) in enumerate(asks):
        selling[book].append((tick, place, units))
    fills: list[tuple[int, int, int]] = []
    ticks = [_sweep(*sides, fills) for sides in zip(buying, selling, strict=True)]
    return ticks, fills


def _sweep(bids: Side, asks: Side, fills: list[tuple[int, int, int]]) -> int:
    bids.sort()
    asks.sort()
    offers = iter(asks)
    ask_tick, ask, left = next(offers, (1 << 62, 0, 0))
    lowest_bid = highest_ask = -1
    for negated, bid, units in bids:
        wanted = units
        while wanted and ask_tick <= -negated:
            joined = min(wanted, left)
            fills.append((bid, ask, joined))
            lowest_bid, highest_ask = -negated, ask_tick
            wanted -= joined
            left -= joined
            if not left:
                ask_tick, ask, left = next(offers, (1 << 62, 0, 0))
        if ask_tick > -negated:
            break
    return (lowest_bid + highest_ask) // 2
