"""The book in its plainest form: one list a side, sorted when asked.

Slow and obviously right. Tests run it beside `Book` and compare after every command.
"""

import msgspec

from solver.core.book import MATCHES_MAX, Match, Order


class NaiveBook:
    """Same contract as `solver.core.book.Book`."""

    def __init__(self) -> None:
        self._bids: list[Order] = []
        self._asks: list[Order] = []

    def add_bid(self, order: Order) -> None:
        self._bids.append(order)

    def add_ask(self, order: Order) -> None:
        self._asks.append(order)

    def remove(self, order_id: str) -> None:
        self._bids = [order for order in self._bids if order.id != order_id]
        self._asks = [order for order in self._asks if order.id != order_id]

    def reduce(self, order_id: str, units: int) -> None:
        for order in self._bids + self._asks:
            if order.id == order_id:
                order.units -= units
                order.minimum = min(order.minimum, max(order.units, 1))
        self._bids = [order for order in self._bids if order.units]
        self._asks = [order for order in self._asks if order.units]

    def plan_bid(self, bid: Order) -> list[Match]:
        plan = self._plan(
            bid.units, [a for a in self.asks() if _trade(bid, a)][:MATCHES_MAX], bid, "ask"
        )
        return plan if sum(m.units for m in plan) >= min(bid.minimum, bid.units) else []

    def plan_ask(self, ask: Order) -> list[Match]:
        return self._plan(ask.units, [b for b in self.bids() if _trade(b, ask)], ask, "bid")

    def bids(self) -> list[Order]:
        return sorted((o for o in self._bids if o.minimum == 1), key=lambda o: (-o.tick, o.seq))

    def asks(self) -> list[Order]:
        return sorted(self._asks, key=lambda o: (o.tick, o.seq))

    def waiting(self) -> list[Order]:
        return sorted((o for o in self._bids if o.minimum > 1), key=lambda o: (-o.tick, o.seq))

    def dump(self) -> object:
        sides = (self.bids(), self.asks(), self.waiting())
        return [[msgspec.structs.astuple(order) for order in side] for side in sides]

    @staticmethod
    def _plan(wanted: int, makers: list[Order], taker: Order, side: str) -> list[Match]:
        plan: list[Match] = []
        for maker in makers:
            units = min(wanted - sum(match.units for match in plan), maker.units)
            if units:
                bid, ask = (taker, maker) if side == "ask" else (maker, taker)
                plan.append(Match(bid=bid.id, ask=ask.id, units=units, tick=maker.tick))
        return plan


def _trade(bid: Order, ask: Order) -> bool:
    return bid.tick >= ask.tick and bid.account != ask.account
