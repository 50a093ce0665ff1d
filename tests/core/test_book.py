"""The book against its naive twin, and price-time priority by hand."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.core.book import MATCHES_MAX, Book, Match, Order
from solver.core.check import Violation
from solver.core.naive_book import NaiveBook

Step = tuple[str, int, int, int, int, int]

steps = st.lists(
    st.tuples(
        st.sampled_from(("bid", "ask", "bid", "ask", "remove", "fill", "plan_bid", "plan_ask")),
        st.integers(0, 3),
        st.integers(1, 6),
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(0, 30),
    ),
    max_size=40,
)


def _order(number: int, account: int, tick: int, units: int, minimum: int = 1) -> Order:
    return Order(
        id=f"order-{number}",
        account=f"account-{account}",
        tick=tick,
        seq=number,
        units=units,
        minimum=min(minimum, units),
    )


class Twins:
    """Both books, always told the same."""

    def __init__(self) -> None:
        self.book, self.naive = Book(), NaiveBook()
        self.known: list[str] = []
        self._number = 0

    def step(self, step: Step) -> None:
        """One command to both, and everything compared."""
        what, account, tick, units, minimum, which = step
        self._number += 1
        order = _order(self._number, account, tick, units, minimum if "bid" in what else 1)
        copy = msgspec.structs.replace(order)
        match what:
            case "bid":
                self._add(order)
                self.book.add_bid(order)
                self.naive.add_bid(copy)
            case "ask":
                self._add(order)
                self.book.add_ask(order)
                self.naive.add_ask(copy)
            case "remove":
                name = self.known[which % len(self.known)] if self.known else "nobody"
                self.book.remove(name)
                self.naive.remove(name)
            case "fill":
                self._fill(which, units)
            case _:
                self._carry_out(order, bid=what == "plan_bid")
        self.compare()

    def compare(self) -> None:
        """Equal dumps."""
        assert self.book.dump() == self.naive.dump()

    def _add(self, order: Order) -> None:
        self.known.append(order.id)

    def _open(self) -> dict[str, int]:
        orders = [*self.naive.bids(), *self.naive.waiting(), *self.naive.asks()]
        return {order.id: order.units for order in orders}

    def _fill(self, which: int, units: int) -> None:
        opened = self._open()
        if opened:
            name = sorted(opened)[which % len(opened)]
            for book in (self.book, self.naive):
                book.reduce(name, min(units, opened[name]))

    def _carry_out(self, taker: Order, *, bid: bool) -> None:
        plan = self.book.plan_bid(taker) if bid else self.book.plan_ask(taker)
        naive = self.naive.plan_bid(taker) if bid else self.naive.plan_ask(taker)
        assert plan == naive
        for match in plan:
            for book in (self.book, self.naive):
                book.reduce(match.ask if bid else match.bid, match.units)


@given(steps=steps)
def test_both_books_agree_after_every_command(steps: list[Step]) -> None:
    """Fast and obviously right books give equal plans and equal dumps, always."""
    twins = Twins()
    for step in steps:
        twins.step(step)


def test_a_waiting_bid_below_its_minimum_rests_by_arrival() -> None:
    """When less than its minimum is left it rests, before those who came later."""
    twins = Twins()
    twins.step(("bid", 0, 5, 4, 3, 0))
    twins.step(("bid", 1, 5, 2, 1, 0))
    for book in (twins.book, twins.naive):
        book.reduce("order-1", 3)
    twins.compare()
    assert [order.id for order in twins.book.bids()] == ["order-1", "order-2"]
    assert twins.book.waiting() == []
    assert "order-1" in twins.book
    assert twins.book.remove("order-1") is not None
    assert "order-1" not in twins.book


def test_price_then_time() -> None:
    """The best price first, within a price who came first, at the maker's tick."""
    book = Book()
    for number, tick in ((1, 9), (2, 7), (3, 7), (4, 8)):
        book.add_ask(_order(number, number, tick, 1))
    plan = book.plan_bid(_order(9, 0, 8, 5))
    assert [(match.ask, match.tick) for match in plan] == [
        ("order-2", 7),
        ("order-3", 7),
        ("order-4", 8),
    ]
    for number, tick in ((5, 3), (6, 5), (7, 5)):
        book.add_bid(_order(number, number, tick, 1))
    plan = book.plan_ask(_order(10, 0, 4, 5))
    assert [(match.bid, match.tick) for match in plan] == [("order-6", 5), ("order-7", 5)]


def test_nobody_takes_its_own_order() -> None:
    """Own orders are passed over, on both sides."""
    book = Book()
    book.add_ask(_order(1, 0, 1, 5))
    book.add_ask(_order(2, 1, 2, 5))
    assert [match.ask for match in book.plan_bid(_order(3, 0, 9, 9))] == ["order-2"]
    book.add_bid(_order(4, 2, 9, 1))
    assert book.plan_ask(_order(5, 2, 1, 1)) == []


@pytest.mark.parametrize(("supply", "expected"), [(4, 0), (5, 5), (9, 9), (12, 10)])
def test_a_minimum_is_met_at_once_or_not_at_all(supply: int, expected: int) -> None:
    """Ten units, at least five: nothing, or five and more."""
    book = Book()
    book.add_ask(_order(1, 1, 1, supply))
    plan = book.plan_bid(_order(2, 0, 1, 10, minimum=5))
    assert sum(match.units for match in plan) == expected


def test_one_plan_takes_no_more_asks_than_the_contract_settles() -> None:
    """Dust offers cannot blow an execution up; all-or-none beyond the bound waits."""
    book = Book()
    for number in range(1, MATCHES_MAX + 10):
        book.add_ask(_order(number, number, 1, 1))
    everything = MATCHES_MAX + 9
    assert len(book.plan_bid(_order(1_000, 0, 1, everything))) == MATCHES_MAX
    assert book.plan_bid(_order(1_001, 0, 1, everything, minimum=everything)) == []


def test_misuse_is_a_violation() -> None:
    """A book that is told nonsense stops the process instead of guessing."""
    book = Book()
    book.add_bid(_order(1, 1, 1, 1))
    with pytest.raises(Violation, match="order_id_new"):
        book.add_bid(_order(1, 1, 1, 1))
    with pytest.raises(Violation, match="order_open"):
        book.add_ask(_order(2, 1, 1, 0))
    for units in (0, -1, 2):
        with pytest.raises(Violation, match="reduce_within_order"):
            book.reduce("order-1", units)
    assert book.remove("order-1") == _order(1, 1, 1, 1)
    assert book.remove("order-1") is None
    assert Match(bid="a", ask="b", units=1, tick=1).units == 1
