"""Our exchange with nothing prepared: for the bytes that an order at rest takes.

Every integer and every id is made when its order is, so that all of what an order holds is
counted, and so is an index by id. Ids are as short as the flow's numbers; a document's
digest has 66 characters, 59 bytes more, which its own record holds anyway.
"""

import sys

from intents.bound import TICK_UNITS
from solver.core.book import Order, ask_order, bid_order
from solver.core.exchange import Exchange
from solver.core.ledger import hold
from tests.bench.engine import Engine
from tests.bench.flow import Flow
from tests.bench.ours import (
    ASSET,
    BUYERS,
    LIFE_MS,
    NOW_MS,
    RESOURCE,
    SECONDS,
    SELLERS,
    TRADERS,
    a_state,
    rich,
)


def engine(flow: Flow) -> Engine:
    """An exchange that only takes orders that rest."""
    state = a_state()
    exchange, book = state.exchange, state.book(RESOURCE, ASSET)
    accounts = {owner: rich(state.ledger, owner) for owner in (*BUYERS, *SELLERS)}
    placed: dict[str, Order] = {}

    def bid(order: int, tick: int, units: int) -> None:
        name, money = str(order), accounts[BUYERS[order % TRADERS]]
        limit, until_ms = tick // TICK_UNITS * units, _until_ms(order)
        hold(money, limit)
        made = bid_order(name, book, money, units, limit, 1, until_ms)
        placed[name] = made
        exchange.buy(made)

    def ask(order: int, tick: int, units: int) -> None:
        name, money = str(order), accounts[SELLERS[order % TRADERS]]
        limit, until_ms = tick // TICK_UNITS * units, _until_ms(order)
        made = ask_order(name, book, money, units, limit, until_ms)
        placed[name] = made
        exchange.sell(made)

    def cancel(order: int) -> None:
        exchange.end(placed.pop(str(order)))

    source = str(sys.modules[Exchange.__module__].__file__)
    return Engine(bid, ask, cancel, lambda: (), source, TICK_UNITS)


def _until_ms(order: int) -> int:
    return NOW_MS + LIFE_MS + 1_000 * (order % SECONDS)
