"""How the exchange numbers what happens, and where a minimum meets the contract's bound."""

import pytest

from solver.core.book import MATCHES_MAX, Book, ask_order, bid_order
from solver.core.exchange import Exchange
from solver.core.ledger import CHAIN, Ledger, hold, transfer

MILLION = 10**6
LATE_MS = 10**9


class _Trading:
    def __init__(self) -> None:
        self.exchange, self.ledger, self.book = Exchange(), Ledger(), Book(continuous=True)

    def bid(self, units: int, minimum: int = 1) -> None:
        money = self.ledger.account("buyer", "usdc")
        transfer(self.ledger.account(CHAIN, "usdc"), money, 9 * units)
        name = f"bid-{self.exchange.seq}"
        hold(money, 9 * units)
        bid = bid_order(name, self.book, money, units, 9 * units, minimum, LATE_MS)
        self.exchange.buy(bid)

    def asks(self, count: int) -> None:
        money = self.ledger.account("seller", "usdc")
        for _ in range(count):
            name = f"ask-{self.exchange.seq}"
            self.exchange.sell(ask_order(name, self.book, money, 1, 5, LATE_MS))


def test_what_happens_is_numbered_without_gaps() -> None:
    """A journal of an older version replays to the same lease ids: they are made of these."""
    trading = _Trading()
    exchange = trading.exchange
    assert exchange.seq == 0
    assert [exchange.next_seq(), exchange.next_seq()] == [1, 2]
    trading.asks(3)
    assert [order.seq for order in trading.book.asks()] == [3, 4, 5]
    trading.bid(2)
    assert exchange.seq == 7, "the bid and its one execution"
    assert [fill.execution for fill in exchange.drain()] == [7, 7]
    trading.bid(2)
    assert [fill.execution for fill in exchange.drain()] == [9]
    trading.asks(1)
    assert [fill.execution for fill in exchange.drain()] == [11]
    assert exchange.seq == 11


@pytest.mark.parametrize(
    ("minimum", "asks", "filled"),
    [
        (MATCHES_MAX, MATCHES_MAX, MATCHES_MAX),
        (MATCHES_MAX, MATCHES_MAX - 1, 0),
        (MATCHES_MAX + 1, MATCHES_MAX + 1, 0),
        (MATCHES_MAX - 1, MATCHES_MAX, MATCHES_MAX),
    ],
)
def test_a_minimum_is_met_by_one_execution_or_not(minimum: int, asks: int, filled: int) -> None:
    """As many asks as one execution takes may serve it, and not one more."""
    trading = _Trading()
    trading.asks(asks)
    trading.bid(max(minimum, MATCHES_MAX), minimum)
    fills = trading.exchange.drain()
    assert sum(fill.units for fill in fills) == filled
    assert len({fill.execution for fill in fills}) == bool(filled)
    assert trading.book.waiting_count == (not filled)


@pytest.mark.parametrize(("asks", "filled"), [(MATCHES_MAX, MATCHES_MAX), (MATCHES_MAX - 1, 0)])
def test_a_waiting_bid_is_served_as_soon_as_it_can_be(asks: int, filled: int) -> None:
    """By the very ask that completes its minimum."""
    trading = _Trading()
    trading.bid(MATCHES_MAX, MATCHES_MAX)
    trading.asks(asks)
    assert sum(fill.units for fill in trading.exchange.drain()) == filled
