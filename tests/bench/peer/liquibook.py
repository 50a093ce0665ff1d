"""liquibook 2.0.1: C++ behind SWIG, the way its documentation shows.

Its ids count from 1 in order of creation, as ours do from 0. A listener has to define
every callback; those that we need not know of do nothing.
"""

import importlib
from collections.abc import Iterator
from typing import Any, Final

from tests.bench.engine import Engine, Fill, Told, by_four
from tests.bench.flow import Flow

liquibook: Any = importlib.import_module("liquibook")

_KEPT: Final[list[Any]] = []
"""Listeners: a book has a bare pointer to its own."""


def engine(flow: Flow) -> Engine:
    """A book for this flow."""
    told = Told()
    listener = _listener(told)
    _KEPT.append(listener)
    book = liquibook.DepthOrderBook()
    book.set_order_listener(listener)
    placed: list[Any] = [None] * flow.order_count
    simple_order, add, withdraw = liquibook.SimpleOrder, book.add, book.cancel

    def bid(order: int, tick: int, units: int) -> None:
        made = placed[order] = simple_order(True, tick, units)
        add(made)

    def ask(order: int, tick: int, units: int) -> None:
        made = placed[order] = simple_order(False, tick, units)
        add(made)

    def cancel(order: int) -> None:
        withdraw(placed[order])
        placed[order] = None

    def fills() -> Iterator[Fill]:
        for taker, maker, tick, units in by_four(told):
            yield taker - 1, maker - 1, tick, units

    return Engine(bid, ask, cancel, fills, liquibook.__file__)


def _listener(told: Told) -> Any:
    extend = told.extend

    class Listener(liquibook.OrderListener):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            liquibook.OrderListener.__init__(self)

        def on_accept(self, order: Any) -> None:
            pass

        def on_cancel(self, order: Any) -> None:
            pass

        def on_fill(self, taker: Any, maker: Any, units: int, tick: int) -> None:
            extend((taker.order_id_, maker.order_id_, tick, units))

    return Listener()
