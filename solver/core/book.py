"""The order book of one resource and asset: price-time priority, nothing else.

The book plans matches and keeps what rests; it moves no money. Bids with a minimum above
one unit never rest as makers: they wait beside the book and are tried again as takers
whenever supply arrives, best price first, so that a minimum is met at once or not at all.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
from sortedcontainers import SortedDict

from solver.core.check import check

MATCHES_MAX: Final = 128
"""Most asks that one execution takes: half of the lines that the contract accepts for an
intent, so that leases have room to move."""


class Order(msgspec.Struct, kw_only=True):
    """What the book knows of an intent or offer. `units` is what is still open."""

    id: str
    account: str
    tick: int
    seq: int
    units: int
    minimum: int = 1


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A planned fill between a bid and an ask at the maker's tick."""

    bid: str
    ask: str
    units: int
    tick: int


Level = dict[str, Order]


class Book:
    """Levels of resting orders; within a level the dict's order is that of `seq`."""

    def __init__(self) -> None:
        self._bids: SortedDict[int, Level] = SortedDict()
        self._asks: SortedDict[int, Level] = SortedDict()
        self._waiting: SortedDict[tuple[int, int], Order] = SortedDict()
        self._orders: dict[str, Order] = {}

    def __contains__(self, order: str) -> bool:
        return order in self._orders

    def units_of(self, order_id: str) -> int:
        """Units of an order that rest here; 0 if it does not."""
        order = self._orders.get(order_id)
        return order.units if order else 0

    def add_bid(self, order: Order) -> None:
        """Rest a bid, or keep it waiting if it has a minimum above one."""
        self._register(order)
        if order.minimum > 1:
            self._waiting[(-order.tick, order.seq)] = order
        else:
            _rest(self._bids, -order.tick, order)

    def add_ask(self, order: Order) -> None:
        """Rest an ask."""
        self._register(order)
        _rest(self._asks, order.tick, order)

    def remove(self, order_id: str) -> Order | None:
        """Take an order out, wherever it is; None if it is not here. O(1) within a level."""
        order = self._orders.pop(order_id, None)
        if order is None:
            return None
        if self._waiting.pop((-order.tick, order.seq), None) is None:
            bids = self._bids.get(-order.tick, {})
            side, price = (
                (self._bids, -order.tick) if order_id in bids else (self._asks, order.tick)
            )
            level = side[price]
            del level[order_id]
            if not level:
                del side[price]
        return order

    def reduce(self, order_id: str, units: int) -> None:
        """`units` of a resting order are filled; a filled order leaves the book."""
        order = self._orders[order_id]
        check(0 < units <= order.units, "reduce_within_order", order=order_id, units=units)
        order.units -= units
        if not order.units:
            self.remove(order_id)
        elif order.minimum > order.units:
            self._lower_minimum(order)

    def plan_bid(self, bid: Order) -> list[Match]:
        """What `bid` would take at once, at the asks' ticks; empty if its minimum is not met.

        At most MATCHES_MAX asks: ask again after carrying a plan out.
        """
        wanted = bid.units
        plan: list[Match] = []
        for ask in self.asks():
            if ask.tick > bid.tick or not wanted or len(plan) == MATCHES_MAX:
                break
            if ask.account == bid.account:
                continue
            units = min(wanted, ask.units)
            plan.append(Match(bid=bid.id, ask=ask.id, units=units, tick=ask.tick))
            wanted -= units
        return plan if bid.units - wanted >= min(bid.minimum, bid.units) else []

    def plan_ask(self, ask: Order) -> list[Match]:
        """What `ask` would take now from resting bids, at their ticks."""
        wanted = ask.units
        plan: list[Match] = []
        for bid in self.bids():
            if bid.tick < ask.tick or not wanted:
                break
            if bid.account == ask.account:
                continue
            units = min(wanted, bid.units)
            plan.append(Match(bid=bid.id, ask=ask.id, units=units, tick=bid.tick))
            wanted -= units
        return plan

    def bids(self) -> Iterator[Order]:
        """Resting bids in priority order."""
        return (order for level in self._bids.values() for order in level.values())

    def asks(self) -> Iterator[Order]:
        """Resting asks in priority order."""
        return (order for level in self._asks.values() for order in level.values())

    def waiting(self) -> list[Order]:
        """Bids with a minimum, in priority order; a copy, as trying them changes the book."""
        return list(self._waiting.values())

    def dump(self) -> object:
        """All orders in priority order, for the state hash and for comparing books."""
        return [
            [msgspec.structs.astuple(order) for order in side]
            for side in (self.bids(), self.asks(), self._waiting.values())
        ]

    def _register(self, order: Order) -> None:
        check(order.id not in self._orders, "order_id_new", order=order.id)
        check(order.units > 0, "order_open", order=order.id)
        self._orders[order.id] = order

    def _lower_minimum(self, order: Order) -> None:
        self.remove(order.id)
        order.minimum = order.units
        self.add_bid(order)


def _rest(side: "SortedDict[int, Level]", price: int, order: Order) -> None:
    """Put an order into its level by `seq`: nearly always at the end."""
    level = side.setdefault(price, {})
    late = bool(level) and level[next(reversed(level))].seq > order.seq
    level[order.id] = order
    if late:
        side[price] = dict(sorted(level.items(), key=lambda entry: entry[1].seq))
