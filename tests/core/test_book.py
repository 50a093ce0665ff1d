"""The exchange by hand: price-time priority, minimums, executions, and what stays behind."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from solver.core.book import MATCHES_MAX, Book, Order, ask_order, bid_order
from solver.core.check import Violation
from solver.core.exchange import Exchange
from solver.core.ledger import CHAIN, Ledger, hold, transfer
from tests.conftest import MACHINE
from tests.core.duel import COMMANDS, Duel

MILLION = 10**6
LATE_MS = 10**6


class DuelMachine(RuleBasedStateMachine):
    """The exchange against its naive twin; each rule compares everything that can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.duel = Duel()

    @rule(n=st.tuples(*(st.integers(*numbers) for numbers in COMMANDS["bid"])))
    def bid(self, n: tuple[int, ...]) -> None:
        self.duel.bid(*n)

    @rule(n=st.tuples(*(st.integers(*numbers) for numbers in COMMANDS["ask"])))
    def ask(self, n: tuple[int, ...]) -> None:
        self.duel.ask(*n)

    @rule(which=st.integers(0, 30))
    def cancel(self, which: int) -> None:
        self.duel.cancel(which)

    @rule(which=st.integers(0, 9))
    def wake(self, which: int) -> None:
        self.duel.wake(which)

    @rule(which=st.integers(0, 9), lines=st.integers(0, 3), seed=st.integers(0, 999))
    def agree(self, which: int, lines: int, seed: int) -> None:
        self.duel.agree(which, lines, seed)

    @rule(which=st.integers(0, 9), units=st.integers(1, 5))
    def take(self, which: int, units: int) -> None:
        self.duel.take(which, units)

    @rule(which=st.integers(0, 30), used=st.integers(0, 9))
    def close(self, which: int, used: int) -> None:
        self.duel.close(which, used)

    @rule(seconds=st.integers(0, 40))
    def pass_time(self, seconds: int) -> None:
        self.duel.pass_time(seconds)


TestDuelMachine = DuelMachine.TestCase
TestDuelMachine.settings = MACHINE


class Trading:
    """An exchange with one book, on which orders are one line each."""

    def __init__(self, *, continuous: bool = True) -> None:
        self.exchange = Exchange()
        self.ledger = Ledger()
        self.orders: dict[str, Order] = {}
        self.book = Book(continuous=continuous)

    def bid(
        self, name: str, price: int, units: int, *, by: str = "buyer", minimum: int = 1
    ) -> list[tuple[str, str, int, int]]:
        """A bid at so many atoms a unit; what it filled: bid, ask, units, price."""
        money = self.ledger.account(by, "usdc")
        limit = price * units
        transfer(self.ledger.account(CHAIN, "usdc"), money, limit)
        hold(money, limit)
        bid = bid_order(name, self.book, money, units, limit, minimum, LATE_MS)
        self.orders[name] = bid
        self.exchange.buy(bid)
        return self.filled()

    def ask(
        self, name: str, price: int, units: int, *, by: str = "seller"
    ) -> list[tuple[str, str, int, int]]:
        """An ask at so many atoms a unit; what it filled: bid, ask, units, price."""
        money = self.ledger.account(by, "usdc")
        ask = ask_order(name, self.book, money, units, price * units, LATE_MS)
        self.orders[name] = ask
        self.exchange.sell(ask)
        return self.filled()

    def filled(self) -> list[tuple[str, str, int, int]]:
        """What was filled since the last look."""
        fills = self.exchange.drain()
        return [(f.bid.id, f.ask.id, f.units, f.tick // MILLION) for f in fills]

    def standing(self) -> tuple[list[str], list[str], list[str]]:
        """Bids, waiting bids, asks."""
        bids, waiting, asks = self.book.bids(), self.book.waiting(), self.book.asks()
        return ([o.id for o in bids], [o.id for o in waiting], [o.id for o in asks])


def test_price_then_time() -> None:
    """The best price first, within a price who came first, at the maker's price."""
    asks = Trading()
    for name, price in (("nine", 9), ("seven", 7), ("seven too", 7), ("eight", 8)):
        asks.ask(name, price, 1)
    assert asks.bid("all", 8, 5) == [
        ("all", "seven", 1, 7),
        ("all", "seven too", 1, 7),
        ("all", "eight", 1, 8),
    ]
    assert asks.standing() == (["all"], [], ["nine"])
    bids = Trading()
    for name, price in (("three", 3), ("five", 5), ("five too", 5)):
        bids.bid(name, price, 1)
    assert bids.ask("all", 4, 5) == [("five", "all", 1, 5), ("five too", "all", 1, 5)]
    assert bids.standing() == (["three"], [], ["all"])


def test_a_partly_filled_order_keeps_its_place() -> None:
    """Who is not filled whole stays first at its price, on both sides."""
    trading = Trading()
    trading.ask("first", 5, 3)
    trading.ask("second", 5, 3)
    trading.bid("a", 5, 1)
    assert trading.bid("b", 5, 3) == [("b", "first", 2, 5), ("b", "second", 1, 5)]
    trading = Trading()
    trading.bid("first", 5, 3)
    trading.bid("second", 5, 3)
    trading.ask("a", 5, 1)
    assert trading.ask("b", 5, 3) == [("first", "b", 2, 5), ("second", "b", 1, 5)]


def test_nobody_takes_its_own_order() -> None:
    """Own orders are passed over, on both sides, and stay."""
    trading = Trading()
    trading.ask("own", 1, 5, by="alice")
    trading.ask("other", 2, 5, by="bob")
    assert trading.bid("bid", 9, 9, by="alice") == [("bid", "other", 5, 2)]
    assert trading.standing() == (["bid"], [], ["own"])
    assert trading.ask("ask", 1, 1, by="alice") == []
    assert trading.standing() == (["bid"], [], ["own", "ask"])


@pytest.mark.parametrize(("supply", "expected"), [(4, 0), (5, 5), (9, 9), (12, 10)])
def test_a_minimum_is_met_at_once_or_not_at_all(supply: int, expected: int) -> None:
    """Ten units, at least five: nothing, or five and more; a rest below it leaves."""
    trading = Trading()
    trading.ask("supply", 1, supply)
    fills = trading.bid("bid", 1, 10, minimum=5)
    assert sum(units for _, _, units, _ in fills) == expected
    waits = expected in (0, 5)
    assert trading.standing()[1] == (["bid"] if waits else [])
    assert [order.id for order in trading.exchange.drain_ended()] == (["bid"] * (expected == 9))


def test_own_supply_meets_no_minimum() -> None:
    """Nor does a higher price: a minimum counts what the bid may take."""
    trading = Trading()
    trading.ask("own", 1, 5, by="alice")
    trading.ask("dear", 3, 5)
    trading.ask("other", 1, 4)
    assert trading.bid("bid", 2, 5, by="alice", minimum=5) == []
    assert trading.ask("more", 2, 1) == [("bid", "other", 4, 1), ("bid", "more", 1, 2)]


def test_waiting_bids_are_tried_by_price_then_time() -> None:
    """Bids with a minimum stand behind plain bids, the best of them first; nobody jumps."""
    trading = Trading()
    for name, price in (("low", 4), ("high", 5), ("high too", 5)):
        trading.bid(name, price, 2, minimum=2)
    trading.bid("plain", 4, 1)
    assert trading.standing() == (["plain"], ["high", "high too", "low"], [])
    assert trading.ask("ask", 4, 4) == [("plain", "ask", 1, 4), ("high", "ask", 2, 4)]
    assert trading.standing() == ([], ["high too", "low"], ["ask"])
    assert trading.ask("one more", 4, 1) == [
        ("high too", "ask", 1, 4),
        ("high too", "one more", 1, 4),
    ]


def test_one_execution_takes_no_more_asks_than_the_contract_settles() -> None:
    """Dust offers cannot blow an execution up; all-or-none beyond the bound waits."""
    trading = Trading()
    for number in range(MATCHES_MAX + 9):
        trading.ask(f"dust {number}", 1, 1)
    everything = MATCHES_MAX + 9
    assert trading.bid("all or none", 1, everything, minimum=everything) == []
    trading.bid("as much", 2, everything, by="other")
    trading.exchange.enter(trading.orders["all or none"])
    assert trading.filled() == []


def test_the_bound_divides_a_large_bid_into_executions() -> None:
    """A plain bid for more dust than one execution takes is two executions, 128 asks first."""
    trading = Trading()
    money = trading.ledger.account("buyer", "usdc")
    transfer(trading.ledger.account(CHAIN, "usdc"), money, 1_000)
    for number in range(MATCHES_MAX + 9):
        trading.ask(f"dust {number}", 1, 1)
    hold(money, 137)
    trading.exchange.buy(bid_order("bid", trading.book, money, 137, 137, 1, LATE_MS))
    numbers = [fill.execution for fill in trading.exchange.drain()]
    assert [numbers.count(number) for number in sorted(set(numbers))] == [MATCHES_MAX, 9]


def test_makers_are_executions_of_their_own() -> None:
    """An ask that takes two bids makes two executions: each intent settles by itself."""
    trading = Trading()
    trading.bid("one", 2, 1)
    trading.bid("two", 2, 1)
    money = trading.ledger.account("seller", "usdc")
    ask = ask_order("ask", trading.book, money, 2, 2, LATE_MS)
    trading.exchange.enter(ask)
    first, second = (fill.execution for fill in trading.exchange.drain())
    assert first < second


def test_units_that_return_keep_the_place_of_what_rests() -> None:
    """Nobody loses its turn by selling; who had sold out has to stand in line again."""
    trading = Trading()
    trading.ask("first", 5, 3)
    trading.ask("second", 5, 3)
    first = trading.orders["first"]
    trading.exchange.take_units(first, 1)
    trading.exchange.resell(first, 3)
    assert (trading.standing()[2], first.units) == (["first", "second"], 3)
    trading.exchange.take_units(first, 3)
    assert trading.standing()[2] == ["second"]
    trading.exchange.resell(first, 2)
    assert (trading.standing()[2], first.units) == (["second", "first"], 2)


def test_an_epoch_book_only_rests() -> None:
    """Nothing trades before its auction, whatever crosses."""
    trading = Trading(continuous=False)
    assert trading.ask("ask", 1, 5) == trading.bid("bid", 9, 5) == []
    assert trading.bid("minimum", 9, 5, minimum=2) == []
    assert trading.standing() == (["bid"], ["minimum"], ["ask"])


def test_agreed_fills_are_one_execution_at_one_price() -> None:
    """The agreed price stands for all of them; what falls below its minimum leaves."""
    trading = Trading(continuous=False)
    trading.ask("one", 1, 2)
    trading.ask("two", 2, 2)
    trading.bid("bid", 9, 5, minimum=3)
    lines = [(trading.orders[ask], units, 4 * MILLION) for ask, units in (("one", 2), ("two", 1))]
    trading.exchange.fill_together(trading.orders["bid"], lines)
    assert trading.filled() == [("bid", "one", 2, 4), ("bid", "two", 1, 4)]
    assert [order.id for order in trading.exchange.drain_ended()] == ["bid"]
    assert trading.standing() == ([], [], ["two"])


def test_misuse_is_a_violation() -> None:
    """An exchange that is told nonsense stops the process instead of guessing."""
    trading = Trading(continuous=False)
    trading.ask("ask", 9, 2)
    trading.bid("bid", 5, 2)
    ask, bid = trading.orders["ask"], trading.orders["bid"]
    for units in (0, -1, 3):
        with pytest.raises(Violation, match="no_overfill"):
            trading.exchange.take_units(ask, units)
        with pytest.raises(Violation, match="no_overfill"):
            trading.exchange.fill_together(bid, [(ask, units, 5 * MILLION)])
    with pytest.raises(Violation, match="fill_within_limit"):
        trading.exchange.fill_together(bid, [(ask, 2, 9 * MILLION)])
    with pytest.raises(Violation, match="level_in_order_of_time"):
        trading.book.sell.append(ask)
    with pytest.raises(Violation, match="never_overdrawn"):
        hold(bid.money, 1)
