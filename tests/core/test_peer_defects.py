"""What was found wrong in other matching engines, held against ours.

One phantom quantity that made a sweep never end, fills that depended on when they were
fetched, cancels that searched a busy level, logs that nobody emptied, fills without their
maker. Each is tried on the exchange alone and on the whole market.
"""

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from solver.core.book import Book, Level, Order, ask_order, bid_order
from solver.core.check import Violation
from solver.core.command import CancelDocument
from solver.core.deadline import Deadlines, Timed
from solver.core.event import Event, Filled, OfferAccepted
from solver.core.exchange import Exchange, Fill
from solver.core.ledger import hold
from tests.bench import market as market_floor
from tests.bench import ours, traffic
from tests.bench.engine import by_four
from tests.bench.flow import ASK, BID, CANCEL, Flow
from tests.builder import a_bench, alice, an_intent, an_offer, bob, every
from tests.core.steps import steps_in

PURE: Final = str(sys.modules[Exchange.__module__].__file__).endswith(".py")
TICK: Final = 99_998
LATER_MS: Final = ours.NOW_MS + 60_000
CONTAINER_MAX: Final = 100
"""What no list or dict of an exchange may have entries for, however many orders it has."""
BLOCKS_MAX: Final = 300
"""Blocks of memory by which the interpreter itself may differ from one run to the next."""


class Venue:
    """An exchange with one book, driven by the flow's numbers."""

    def __init__(self) -> None:
        state = ours.a_state()
        self.exchange = state.exchange
        self.book = state.book(ours.RESOURCE, ours.ASSET)
        self.orders: dict[int, Order] = {}
        self._buyer = ours.rich(state.ledger, "buyer")
        self._seller = ours.rich(state.ledger, "seller")

    def bid(self, order: int, tick: int, units: int) -> Order:
        """Bid `tick` atoms for each unit."""
        money, limit = self._buyer, tick * units
        hold(money, limit)
        made = bid_order(str(order), self.book, money, units, limit, 1, LATER_MS)
        self.orders[order] = made
        self.exchange.buy(made)
        return made

    def ask(self, order: int, tick: int, units: int) -> Order:
        """Ask `tick` atoms for each unit."""
        made = ask_order(str(order), self.book, self._seller, units, tick * units, LATER_MS)
        self.orders[order] = made
        self.exchange.sell(made)
        return made

    def cancel(self, order: int) -> None:
        """Take an order out."""
        self.exchange.end(self.orders.pop(order))

    def run(self, flow: Flow, after: Callable[[int], None]) -> None:
        """Carry a flow out; `after` each event, which it gets the place of."""
        for place, (kind, order, tick, units) in enumerate(flow.events(0, len(flow))):
            if kind == CANCEL:
                self.cancel(order)
            else:
                (self.bid if kind == BID else self.ask)(order, tick, units)
            after(place)

    def close(self) -> None:
        """Cancel everything and forget it."""
        for order in list(self.orders):
            self.cancel(order)
        self.exchange.drain()


def rows(fills: list[Fill]) -> list[tuple[int, int, int, int]]:
    """Bid, ask, atoms for each unit, and units of each fill."""
    found = [fill.row() for fill in fills]
    return [(int(bid), int(ask), tick // 10**6, units) for bid, ask, tick, units in found]


def expected_rows(drawn: traffic.Traffic) -> list[tuple[int, int, int, int]]:
    """The reference's fills in the same form."""
    bids = {
        order
        for kind, order in zip(drawn.flow.kinds, drawn.flow.orders, strict=True)
        if kind == BID
    }
    return [
        (*((taker, maker) if taker in bids else (maker, taker)), tick, units)
        for taker, maker, tick, units in by_four(drawn.reference.fills)
    ]


# -- 1: cancelling what is partly filled left its first quantity in the level


def test_a_cancelled_rest_leaves_nothing_to_sweep() -> None:
    """After a partly filled bid is cancelled, the next ask at its price rests whole."""
    venue = Venue()
    for order, units in enumerate((62, 8, 72)):
        venue.bid(order, TICK, units)
    venue.ask(3, TICK, 135)
    assert rows(venue.exchange.drain()) == [(0, 3, TICK, 62), (1, 3, TICK, 8), (2, 3, TICK, 65)]
    venue.cancel(2)
    second = venue.ask(4, TICK, 135)
    assert venue.exchange.drain() == []
    assert (list(venue.book.bids()), list(venue.book.asks())) == ([], [second])
    assert second.units == 135


def test_the_market_sweeps_nothing_of_a_cancelled_rest() -> None:
    """The same through the market: the second offer finds nothing and rests whole."""
    bench = a_bench()
    bids = [an_intent().units(units).limit(units * 9).signed_by(alice) for units in (62, 8, 72)]
    for bid in bids:
        bench.do(bid)
    first = bench.do(an_offer().units(135).limit(135 * 9).signed_by(bob))
    assert [fill.units for fill in every(first, Filled)] == [62, 8, 65]
    bench.do(CancelDocument(account=alice.address, digest=bids[2].digest))
    offer = an_offer().units(135).limit(135 * 9).signed_by(bob)
    assert [type(event) for event in bench.do(offer)] == [OfferAccepted]
    assert bench.market.state.offers[offer.digest].open_units == 135


# -- 2: fills fetched late were other fills


@pytest.mark.parametrize("every_so_many", [1, 2, 16, 128])
def test_fills_do_not_depend_on_when_they_are_fetched(every_so_many: int) -> None:
    """Whether drained after each command or each 128, the fills are the reference's."""
    drawn = traffic.mixed(3_000)
    venue = Venue()
    told: list[Fill] = []

    def drain(place: int) -> None:
        if place % every_so_many == 0:
            told.extend(venue.exchange.drain())

    venue.run(drawn.flow, drain)
    told.extend(venue.exchange.drain())
    assert rows(told) == expected_rows(drawn)


@pytest.mark.parametrize("flow", [lambda: traffic.mixed(2_000), lambda: traffic.burst(2_000)])
def test_the_markets_events_stay_as_they_were_told(flow: Callable[[], traffic.Traffic]) -> None:
    """Events read only after the last command are the reference's fills, in order."""
    drawn = flow()
    market = market_floor.a_market()
    answers = [market_floor.do(market, command) for command in market_floor.commands(drawn.flow)]
    fills = [event for events in answers for event in events if isinstance(event, Filled)]
    assert [_row_of(fill) for fill in fills] == expected_rows(drawn)


def _row_of(fill: Filled) -> tuple[int, int, int, int]:
    return int(fill.intent, 16), int(fill.offer, 16), fill.tick // 10**6, fill.units


# -- 3: a cancel searched its level


@pytest.mark.parametrize("side", [BID, ASK])
def test_a_cancel_at_a_busy_level_takes_no_more_steps(side: int) -> None:
    """Lines executed are the same for 10,000 orders at one price and end as for 10."""
    for part in (0.0, 0.5, 0.999):
        few, many = _crowded(side, 10), _crowded(side, 10_000)
        assert _steps_of_cancel(few, int(10 * part)) == _steps_of_cancel(many, int(10_000 * part))


def test_no_container_grows_with_the_orders_of_a_level() -> None:
    """Orders of one price and one deadline are linked: nothing there is to be searched."""
    venue = _crowded(BID, 10_000)
    sizes = dict(_containers(venue.exchange, venue.book))
    assert sizes
    assert {name: size for name, size in sizes.items() if size > CONTAINER_MAX} == {}


def test_a_market_cancels_at_a_busy_level_in_as_few_steps() -> None:
    """A cancel's lines are the same beside 1,000 intents of one price as beside 10."""
    assert _steps_in_market(10) == _steps_in_market(1_000)


def _crowded(side: int, orders: int) -> Venue:
    venue = Venue()
    for order in range(orders):
        (venue.bid if side == BID else venue.ask)(order, TICK, 7)
    return venue


def _steps_of_cancel(venue: Venue, order: int) -> int:
    made = venue.orders[order]
    return steps_in(lambda: venue.exchange.end(made))


def _steps_in_market(intents: int) -> int:
    flow = Flow()
    for order in range(intents):
        flow.append((BID, order, TICK, 7))
    flow.append((CANCEL, intents // 2, 0, 0))
    market = market_floor.a_market()
    *submits, cancel = market_floor.commands(flow)
    for submit in submits:
        market_floor.do(market, submit)
    return steps_in(lambda: market_floor.do(market, cancel))


def _containers(exchange: Exchange, book: Book) -> Iterator[tuple[str, int]]:
    """Every container of an exchange and a book with its size, links not followed."""
    owners = [exchange, exchange.deadlines, book, book.buy, book.sell, book.buy.best]
    for owner in owners:
        for name in dir(owner):
            part = getattr(owner, name, None)
            if isinstance(part, list | dict | set | deque) and not name.startswith("__"):
                yield f"{type(owner).__name__}.{name}", len(part)


# -- 4: what was over was kept


def test_an_exchange_keeps_nothing_of_what_is_over() -> None:
    """A flow that ends empty leaves as many blocks of memory as the one before it."""
    flow = traffic.mixed(5_000).flow
    venue = Venue()
    blocks = [_blocks_after(venue, flow) for _ in range(4)]
    assert abs(blocks[-1] - blocks[1]) < BLOCKS_MAX, blocks
    assert (venue.exchange.fills, venue.exchange.ended) == ([], [])
    assert venue.exchange.deadlines.next_ms is None


def _blocks_after(venue: Venue, flow: Flow) -> int:
    told = [0]

    def drain(place: int) -> None:
        told[0] += len(venue.exchange.drain())

    venue.run(flow, drain)
    venue.close()
    gc.collect()
    return sys.getallocatedblocks()


def test_a_market_keeps_no_fill_and_no_order_of_what_is_over() -> None:
    """After a flow whose rests are all cancelled, books, fills and deadlines are empty."""
    drawn = traffic.mixed(1_000)
    for order in list(drawn.reference.resting):
        drawn.flow.append((CANCEL, order, 0, 0))
    market = market_floor.a_market()
    for command in market_floor.commands(drawn.flow):
        market_floor.do(market, command)
    exchange = market.state.exchange
    (book,) = market.state.books.values()
    assert (exchange.fills, exchange.ended) == ([], [])
    assert (list(book.bids()), list(book.asks()), book.waiting()) == ([], [], [])
    assert exchange.deadlines.next_ms is None


# -- 5: fills did not say with whom


def test_every_fill_names_the_maker_that_stood_first() -> None:
    """In bursts that sweep many makers, each fill names its own, in order of time."""
    drawn = traffic.burst(3_000)
    venue = Venue()
    told: list[Fill] = []
    venue.run(drawn.flow, lambda _: told.extend(venue.exchange.drain()))
    makers = [(fill.bid, fill.ask) for fill in told]
    assert rows(told) == expected_rows(drawn)
    assert len(set(makers)) == len(makers)


def test_the_market_tells_both_sides_of_each_fill() -> None:
    """Each Filled names an intent and an offer that were submitted, and their accounts."""
    drawn = traffic.mixed(500)
    market = market_floor.a_market()
    told: list[Event] = []
    for command in market_floor.commands(drawn.flow):
        told += market_floor.do(market, command)
    fills = every(told, Filled)
    state = market.state
    assert len(fills) == len(drawn.reference.fills) // 4
    for fill in fills:
        assert fill.buyer == state.intents[fill.intent].document.account
        assert fill.seller == state.offers[fill.offer].document.account


# -- the tests themselves: each defect, planted in our exchange, is found


def _keep_partly_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Level.remove

    def remove(level: Level, order: Order) -> None:
        if order.units in {0, order.total}:
            original(level, order)

    monkeypatch.setattr(Level, "remove", remove)


def _tell_the_newest_fill_only(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Exchange.drain
    monkeypatch.setattr(Exchange, "drain", lambda exchange: original(exchange)[-1:])


def _search_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Level.remove

    def remove(level: Level, order: Order) -> None:
        found = order.level.first if order.level else None
        while found is not None and found is not order:
            found = found.next
        original(level, order)

    monkeypatch.setattr(Level, "remove", remove)


def _list_every_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Deadlines.add

    def add(deadlines: Deadlines, entry: Timed, at_ms: int) -> None:
        original(deadlines, entry, at_ms)
        deadlines._times.append(at_ms)

    monkeypatch.setattr(Deadlines, "add", add)


def _log_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Exchange.end
    log: list[Order] = []

    def end(exchange: Exchange, order: Order) -> None:
        original(exchange, order)
        log.append(order)

    monkeypatch.setattr(Exchange, "end", end)


def _keep_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadlines, "remove", lambda *_: None)


def _name_the_bid_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(fill: Fill) -> tuple[str, str, int, int]:
        return fill.bid.id, fill.bid.id, fill.tick, fill.units

    monkeypatch.setattr(Fill, "row", row)


PLANTED: Final[list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], None]]]] = [
    (_keep_partly_filled, test_a_cancelled_rest_leaves_nothing_to_sweep),
    (_keep_partly_filled, test_the_market_sweeps_nothing_of_a_cancelled_rest),
    (_tell_the_newest_fill_only, lambda: test_fills_do_not_depend_on_when_they_are_fetched(16)),
    (_search_the_level, lambda: test_a_cancel_at_a_busy_level_takes_no_more_steps(BID)),
    (_search_the_level, test_a_market_cancels_at_a_busy_level_in_as_few_steps),
    (_list_every_deadline, test_no_container_grows_with_the_orders_of_a_level),
    (_log_what_ended, test_an_exchange_keeps_nothing_of_what_is_over),
    (_keep_deadlines, test_a_market_keeps_no_fill_and_no_order_of_what_is_over),
    (_name_the_bid_twice, test_every_fill_names_the_maker_that_stood_first),
]


@pytest.mark.skipif(not PURE, reason="compiled classes cannot be patched")
@pytest.mark.parametrize(("plant", "test"), PLANTED)
def test_a_planted_defect_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    test: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the defect in place its test fails."""
    plant(monkeypatch)
    with pytest.raises((AssertionError, Violation)):
        test()
