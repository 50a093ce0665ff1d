"""Keyfill's exchange with all that an order of the market goes through in it.

64 accounts, 32 that buy and 32 that sell (peers do not look for self-matches, so the flow
has none, but the check is made). Every bid has its whole limit held, and freed again as it
fills or ends; every ask's units are an account of their own; every order has a deadline
one to eleven minutes away, and the clock is looked at every 64 orders; whoever cancels must
be the owner. Fills are drained after every call, and who is filled is forgotten.
"""

import sys
from collections.abc import Callable
from typing import Final

from solver.core.book import Book, Order
from solver.core.exchange import Exchange
from solver.core.ledger import CLEARING, ISSUANCE, LAPSED, SERVED, SUPPLY, Balance, transfer
from tests.bench.engine import Engine

TRADERS: Final = 32
"""Accounts on each side: a power of two."""
MONEY: Final = 10**18
"""What every account has, in atoms: enough for all that it ever bids."""
TICK_UNITS: Final = 10**6
ASSET: Final = "0x" + "00" * 20
UNITS: Final = "units:bench/flow:call"
NOW_MS: Final = 1_700_000_000_000
LIFE_MS: Final = 60_000
"""The shortest life of an order."""
SECONDS: Final = 600
"""Deadlines fall on this many different seconds."""
BATCH: Final = 64
"""Orders between two looks at the clock: a power of two."""


class Floor:
    """An exchange with one book and rich accounts."""

    def __init__(self) -> None:
        self.exchange: Final = Exchange()
        self.book: Final = a_book()
        self.buyers: Final = [_rich(f"buyer-{number}") for number in range(TRADERS)]
        self.sellers: Final = [_rich(f"seller-{number}") for number in range(TRADERS)]
        self.placed: Final[list[Order | None]] = []

    def expire(self, now_ms: int) -> None:
        """End every order whose time is over."""
        while (timed := self.exchange.deadlines.pop(now_ms)) is not None:
            assert isinstance(timed, Order)
            self.exchange.end(timed)


def a_book() -> Book:
    """A continuous book of one resource in one asset."""
    return Book(
        clearing=Balance(CLEARING, ASSET),
        supply=Balance(SUPPLY, UNITS),
        served=Balance(SERVED, UNITS),
        lapsed=Balance(LAPSED, UNITS),
        continuous=True,
    )


def engine(orders: int) -> Engine:
    """An exchange that is asked for up to `orders` orders."""
    floor = Floor()
    floor.placed.extend([None] * orders)
    fills: list[int] = []
    return Engine(
        _bid(floor, orders, fills),
        _ask(floor, orders, fills),
        _cancel(floor),
        fills,
        str(sys.modules[Exchange.__module__].__file__),
        TICK_UNITS,
    )


def _bid(floor: Floor, orders: int, fills: list[int]) -> Callable[[int, int, int], None]:
    exchange, book, buyers, placed = floor.exchange, floor.book, floor.buyers, floor.placed
    admit, enter, drain, end = exchange.admit_bid, exchange.enter, exchange.drain, exchange.end
    names, deadlines = _names(orders), _deadlines()

    def bid(order: int, tick: int, units: int) -> None:
        money = buyers[order % TRADERS]
        limit = tick * units // TICK_UNITS
        if money.available < limit:
            raise RuntimeError("insufficient funds")
        until_ms = deadlines[order % SECONDS]
        made = admit(names[order], book, money, tick, units, limit, 1, until_ms)
        placed[order] = made
        enter(made)
        if exchange.fills:
            for fill in drain()[0]:
                ask = fill.ask
                maker = int(ask.id)
                fills.extend((order, maker, fill.tick, fill.units))
                if not ask.units:
                    end(ask)
                    placed[maker] = None
            if not made.units:
                placed[order] = None
        if not order % BATCH:
            floor.expire(NOW_MS)

    return bid


def _ask(floor: Floor, orders: int, fills: list[int]) -> Callable[[int, int, int], None]:
    exchange, book, sellers, placed = floor.exchange, floor.book, floor.sellers, floor.placed
    admit, enter, drain, end = exchange.admit_ask, exchange.enter, exchange.drain, exchange.end
    names, deadlines = _names(orders), _deadlines()

    def ask(order: int, tick: int, units: int) -> None:
        money = sellers[order % TRADERS]
        name = names[order]
        limit = tick * units // TICK_UNITS
        until_ms = deadlines[order % SECONDS]
        made = admit(name, book, money, Balance(name, UNITS), tick, units, limit, until_ms)
        placed[order] = made
        enter(made)
        if exchange.fills:
            for fill in drain()[0]:
                maker = int(fill.bid.id)
                fills.extend((order, maker, fill.tick, fill.units))
                if not fill.bid.units:
                    placed[maker] = None
            if not made.units:
                end(made)
                placed[order] = None
        if not order % BATCH:
            floor.expire(NOW_MS)

    return ask


def _cancel(floor: Floor) -> Callable[[int], None]:
    buyers, sellers, placed, end = floor.buyers, floor.sellers, floor.placed, floor.exchange.end

    def cancel(order: int) -> None:
        made = placed[order]
        assert made is not None
        owner = buyers[order % TRADERS] if made.is_bid else sellers[order % TRADERS]
        if made.money is not owner:
            raise RuntimeError("not authorized")
        end(made)
        placed[order] = None

    return cancel


def _names(orders: int) -> list[str]:
    return [str(order) for order in range(orders)]


def _deadlines() -> list[int]:
    return [NOW_MS + LIFE_MS + 1_000 * second for second in range(SECONDS)]


def _rich(owner: str) -> Balance:
    balance = Balance(owner, ASSET)
    transfer(Balance(ISSUANCE, ASSET), balance, MONEY)
    return balance
