"""Two peers of one author: a book that appends its trades to a log, which we empty.

Their ids are the numbers from 1, as text, in order of creation, as ours are from 0.
Prices may be any number that compares: integers are the fastest.
"""

import importlib
from collections.abc import Iterator
from typing import Any

from tests.bench.engine import Engine, Fill, Told, by_four
from tests.bench.flow import Flow


def log_engine(module: str, flow: Flow) -> Engine:
    """A book of `module` for this flow."""
    peer: Any = importlib.import_module(module)
    book = peer.OrderBook()
    told = Told()
    names: list[str] = [""] * flow.order_count
    make, add, withdraw = peer.Order, book.add_limit_order, book.cancel_order
    bid_side, ask_side = peer.OrderSide.BID, peer.OrderSide.ASK
    log = book.trade_log

    def drain() -> None:
        for trade in log:
            told.extend((trade.aggressor_id, trade.filler_id, trade.price, trade.quantity_filled))
        log.clear()

    def bid(order: int, tick: int, units: int) -> None:
        made = make(side=bid_side, price=tick, original_quantity=units)
        names[order] = made.order_id
        add(made)
        if log:
            drain()

    def ask(order: int, tick: int, units: int) -> None:
        made = make(side=ask_side, price=tick, original_quantity=units)
        names[order] = made.order_id
        add(made)
        if log:
            drain()

    def cancel(order: int) -> None:
        withdraw(names[order])

    def fills() -> Iterator[Fill]:
        for taker, maker, tick, units in by_four(told):
            yield int(taker) - 1, int(maker) - 1, tick, units

    return Engine(bid, ask, cancel, fills, peer.__file__)
