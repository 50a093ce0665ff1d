"""How the exchange numbers what happens, and where a minimum meets its bounds."""

import pytest

from solver.core.book import MATCHES_MAX, Book, Order, ask_order, bid_order
from solver.core.exchange import LOOKS_MAX, Exchange
from solver.core.ledger import CHAIN, Ledger, hold, transfer

MILLION = 10**6
LATE_MS = 10**9


class _Trading:
    def __init__(self, *, continuous: bool = True) -> None:
        self.exchange, self.ledger = Exchange(), Ledger()
        self.book = Book(continuous=continuous)

    def bid(self, units: int, minimum: int = 1) -> Order:
        """At 9 atoms a unit."""
        money = self.ledger.account("buyer", "usdc")
        transfer(self.ledger.account(CHAIN, "usdc"), money, 9 * units)
        name = f"bid-{self.exchange.seq}"
        hold(money, 9 * units)
        bid = bid_order(name, self.book, money, units, 9 * units, minimum, LATE_MS)
        self.exchange.buy(bid)
        return bid

    def asks(self, count: int, *, of: str = "seller", price: int = 5) -> list[Order]:
        """Of one unit each."""
        money = self.ledger.account(of, "usdc")
        asks = [
            ask_order(f"ask-{of}-{number}", self.book, money, 1, price, LATE_MS)
            for number in range(count)
        ]
        for ask in asks:
            self.exchange.sell(ask)
        return asks


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


@pytest.mark.parametrize(("own", "filled"), [(LOOKS_MAX - 2, 2), (LOOKS_MAX - 1, 0)])
def test_a_minimum_is_looked_for_among_so_many_asks(own: int, filled: int) -> None:
    """The bidder's own count: nobody makes a look dear by them. The last one looked at serves."""
    trading = _Trading()
    trading.asks(own, of="buyer")
    trading.asks(2)
    trading.bid(2, 2)
    assert sum(fill.units for fill in trading.exchange.drain()) == filled
    assert trading.book.waiting_count == (not filled)


@pytest.mark.parametrize(
    ("minimum", "units", "stands"), [(3, 4, True), (3, 5, False), (1, 6, True), (1, 7, False)]
)
def test_what_an_auction_leaves_of_a_bid_stands_while_its_minimum_can_be_met(
    minimum: int, units: int, *, stands: bool
) -> None:
    """To the last unit. The rest of one that cannot is to be ended; where nothing is, nothing."""
    trading = _Trading(continuous=False)
    exchange, bid = trading.exchange, trading.bid(7, minimum)
    exchange.fill_together(bid, [(ask, 1, 5 * MILLION) for ask in trading.asks(units)])
    assert (bid in trading.book.bids() or trading.book.waiting_count == 1) is stands
    assert exchange.drain_ended() == ([] if stands or not bid.units else [bid])


def test_what_is_sold_again_has_the_next_number() -> None:
    """A place in time of its own, right after what happened last."""
    trading = _Trading()
    (ask,) = trading.asks(1)
    trading.bid(1)
    before = trading.exchange.seq
    trading.exchange.resell(ask, 1)
    assert (ask.seq, trading.exchange.seq) == (before + 1, before + 1)


@pytest.mark.parametrize(
    ("price", "continuous", "filled"), [(9, True, 1), (10, True, 0), (9, False, 0)]
)
def test_what_is_sold_again_meets_who_waits(price: int, filled: int, *, continuous: bool) -> None:
    """At the price of both or better, and only where orders trade as they come."""
    trading = _Trading(continuous=continuous)
    exchange = trading.exchange
    (ask,) = trading.asks(1, price=price)
    exchange.take_units(ask, 1)
    trading.bid(1)
    exchange.resell(ask, 1)
    assert len(exchange.drain()) == filled
    assert (ask.level is None) == bool(filled)
