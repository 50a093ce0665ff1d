"""Matching with everything that a fill moves: money held, units, deadlines, minimums.

The exchange knows orders, not documents: who may trade what is decided before, what a
fill means for calls and payment after. Each call appends what happened to `fills` and
`ended`; whoever calls takes both before the next call. What a bid may still
cost stays held (`Order.held`); at a fill the part that pays for it stays held for the
lease, and the rest of the fill's share is the buyer's again at once.
"""

from typing import Final

from mypy_extensions import mypyc_attr

from intents.rounding import payment_at, pro_rata
from solver.core.book import MATCHES_MAX, Book, Order, Side
from solver.core.check import check, violate
from solver.core.deadline import Deadlines
from solver.core.ledger import release

RETRIES_MAX: Final = 1_000
"""Bids with a minimum that are tried again when supply arrives."""
LOOKS_MAX: Final = 1_024
"""Asks that are looked at for a minimum: nobody makes that dear by asks of its own."""


@mypyc_attr(acyclic=True)
class Fill:
    """`units` of `ask` for `bid` at `tick`; `cost` atoms stay held for it.

    `freed` is what the bid no longer holds: `cost` of it stays held, the rest was released.
    Fills with one `execution` were made at once and settle together.
    """

    __slots__ = ("ask", "bid", "cost", "execution", "freed", "tick", "units")

    bid: Order
    ask: Order
    units: int
    tick: int
    cost: int
    freed: int
    execution: int

    def row(self) -> tuple[str, str, int, int]:
        """Bid, ask, tick and units: what is public of it."""
        return self.bid.id, self.ask.id, self.tick, self.units


class Exchange:
    """All books' orders. It numbers what happens (`seq`), for everyone who needs an order."""

    def __init__(self) -> None:
        self.seq = 0
        self.deadlines: Final = Deadlines()
        self.fills: list[Fill] = []
        self.ended: list[Order] = []
        """Bids whose rest fell below their minimum: out of the book, and to be ended."""

    def next_seq(self) -> int:
        """A number that orders everything that happens."""
        self.seq += 1
        return self.seq

    def postpone(self, order: Order) -> None:
        """Keep a new order until it enters, or ends at its deadline before."""
        order.seq = 0
        self.deadlines.add(order, order.until_ms)

    def enter(self, order: Order) -> None:
        """Have an order that was postponed, or left the book, enter as if it were new."""
        self.deadlines.remove(order)
        if order.buys:
            self.buy(order)
        else:
            self.sell(order)

    def buy(self, bid: Order) -> None:
        """Match a bid that is new with what rests, then rest what is left of it.

        In a book that is not continuous it only rests. What rests ends at its deadline.
        """
        self.seq = bid.seq = self.seq + 1
        book = bid.book
        best = book.sell.best
        if best is not None and best.tick <= bid.tick and book.continuous:
            self._buy(bid)
        if bid.minimum == 1:
            if bid.units:
                book.buy.append(bid)
                self.deadlines.add(bid, bid.until_ms)
        elif bid.units >= bid.minimum:
            book.wait(bid)
            self.deadlines.add(bid, bid.until_ms)

    def sell(self, ask: Order) -> None:
        """The same of an ask; what is left may be what bids with a minimum waited for."""
        self.seq = ask.seq = self.seq + 1
        book = ask.book
        best = book.buy.best
        if best is not None and best.tick >= ask.tick and book.continuous:
            self._sell(ask)
        if ask.units:
            book.sell.append(ask)
            self.deadlines.add(ask, ask.until_ms)
            if book.waiting_count:
                self.retry_waiting(book)

    def end(self, order: Order) -> None:
        """Take an order out for good: nothing of it is open, nothing is held for it."""
        level = order.level  # `_leave`, written out: a call less for each cancel
        if level is not None:
            level.remove(order)
        elif order.minimum > 1:
            order.book.stop_waiting(order)
        self.deadlines.remove(order)
        order.units = 0
        held = order.held
        if held:
            order.held = 0
            release(order.money, held)

    def fill_together(self, bid: Order, lines: list[tuple[Order, int, int]]) -> None:
        """One execution of agreed fills: ask, units, tick. The caller checked the limits."""
        execution = self.next_seq()
        for ask, units, tick in lines:
            check(0 < units <= bid.units and units <= ask.units, "no_overfill")
            self._move(bid, ask, units, tick, execution)
            if not ask.units:
                self._leave(ask)
        if bid.units < bid.minimum:
            self._leave(bid)
            if bid.units:
                self.ended.append(bid)

    def take_units(self, ask: Order, units: int) -> None:
        """Take units of a resting ask for a lease that is paid for already."""
        check(0 < units <= ask.units, "no_overfill")
        ask.units -= units
        if not ask.units:
            self._leave(ask)

    def resell(self, ask: Order, units: int) -> None:
        """Sell `units` of an ask instead of what it has open.

        One that rests keeps its place in time; one that was sold takes a new one. Waiting
        bids are for the caller to try again, once after all that comes back together.
        """
        rests = ask.level is not None
        ask.units = units
        if not rests:
            self.seq += 1
            ask.seq = self.seq
            self._enter_ask(ask)

    def retry_waiting(self, book: Book) -> None:
        """Try bids with a minimum again, as takers, best price first, RETRIES_MAX at most."""
        best = book.sell.best
        if best is None or not book.continuous:
            return
        for bid in book.waiting_from(best.tick, RETRIES_MAX):
            best = book.sell.best
            if best is None or best.tick > bid.tick:
                return
            if self._is_minimum_met(bid):
                self._leave(bid)
                self._buy(bid)
                if bid.units >= bid.minimum:
                    book.wait(bid)
                    self.deadlines.add(bid, bid.until_ms)

    def drain(self) -> list[Fill]:
        """Take the fills since the last call."""
        fills = self.fills
        self.fills = []
        return fills

    def drain_ended(self) -> list[Order]:
        """Take the bids that left the book unfilled: what they hold is for the caller to end."""
        ended = self.ended
        if ended:
            self.ended = []
        return ended

    def _enter_ask(self, ask: Order) -> None:
        """Match it with plain bids, rest what is left."""
        book = ask.book
        best = book.buy.best
        if best is not None and best.tick >= ask.tick and book.continuous:
            self._sell(ask)
        if ask.units:
            book.sell.append(ask)
            self.deadlines.add(ask, ask.until_ms)

    def _buy(self, bid: Order) -> None:
        """One execution after the other, each of at most MATCHES_MAX asks and its minimum."""
        sell = bid.book.sell
        while True:
            best = sell.best
            if best is None or best.tick > bid.tick:
                return
            if bid.minimum > 1 and not self._is_minimum_met(bid):
                return
            if not self._take_asks(bid, sell):
                return
            if bid.units < bid.minimum:
                if bid.units:
                    self.ended.append(bid)
                return

    def _take_asks(self, bid: Order, side: Side) -> bool:
        """One execution from the best asks; False where there was nothing to take."""
        money, tick, execution, matches = bid.money, bid.tick, 0, 0
        place = len(side.ladder)
        while place:
            place -= 1
            level = side.ladder[place]
            price = level.tick
            if price > tick:
                break
            ask: Order | None = level.first
            while ask is not None:
                after = ask.next
                if ask.money is not money:
                    if not execution:
                        self.seq += 1
                        execution = self.seq
                    units = ask.units
                    if units <= bid.units:
                        self._move(bid, ask, units, price, execution)
                        level.remove(ask)
                        self.deadlines.remove(ask)
                    else:
                        self._move(bid, ask, bid.units, price, execution)
                    matches += 1
                    if not bid.units or matches == MATCHES_MAX:
                        return True
                ask = after
        return matches > 0

    def _sell(self, ask: Order) -> None:
        """Take the best bids, each an execution of its own."""
        side, money, tick = ask.book.buy, ask.money, ask.tick
        place = len(side.ladder)
        while place and ask.units:
            place -= 1
            level = side.ladder[place]
            price = level.tick
            if price < tick:
                return
            bid: Order | None = level.first
            while bid is not None and ask.units:
                after = bid.next
                if bid.money is not money:
                    self.seq += 1
                    units = bid.units
                    if units <= ask.units:
                        self._move(bid, ask, units, price, self.seq)
                        level.remove(bid)
                        self.deadlines.remove(bid)
                    else:
                        self._move(bid, ask, ask.units, price, self.seq)
                bid = after

    def _is_minimum_met(self, bid: Order) -> bool:
        """Whether one execution can serve the bid's minimum, looking at LOOKS_MAX asks at most."""
        wanted = min(bid.minimum, bid.units)
        matches, looks = 0, 0
        side = bid.book.sell
        place = len(side.ladder)
        while place:
            place -= 1
            level = side.ladder[place]
            if level.tick > bid.tick:
                return False
            ask: Order | None = level.first
            while ask is not None:
                looks += 1
                if ask.money is not bid.money:
                    wanted -= ask.units
                    matches += 1
                    if wanted <= 0:
                        return True
                if matches == MATCHES_MAX or looks == LOOKS_MAX:
                    return False
                ask = ask.next
        return False

    def _move(self, bid: Order, ask: Order, units: int, tick: int, execution: int) -> None:
        """What a fill moves."""
        left = bid.units - units
        keep = pro_rata(bid.limit, bid.total, left) if left else 0
        cost = payment_at(tick, units)
        freed = bid.held - keep
        if cost > freed:
            violate("fill_within_limit", order=bid.id)
        bid.units = left
        bid.held = keep
        bid.money.debits_pending += cost - freed
        ask.units -= units
        fill = Fill()
        fill.bid = bid
        fill.ask = ask
        fill.units = units
        fill.tick = tick
        fill.cost = cost
        fill.freed = freed
        fill.execution = execution
        self.fills.append(fill)

    def _leave(self, order: Order) -> None:
        """Out of the book, and with nothing to end at its deadline."""
        level = order.level
        if level is not None:
            level.remove(order)
        elif order.minimum > 1:
            order.book.stop_waiting(order)
        self.deadlines.remove(order)
