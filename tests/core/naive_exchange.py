"""The exchange once more, as plain as can be: a list that is looked through whenever asked.

It keeps the contract of `solver.core.exchange` and shares no line with it: no levels, no
links, no indexes, nothing remembered that can be found by looking. Books are small where
it is used, so that it may be slow.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

MILLION: Final = 10**6
ASKS_PER_EXECUTION: Final = 128

FillRow = tuple[str, str, int, int, int, int, int]
"""Bid, ask, units, tick, cost, freed, execution."""
OrderRow = tuple[str, int, int, int, int]
"""Name, place in time, tick, open units, atoms held."""
BookRow = tuple[list[str], list[str], list[str], list[int], list[int]]
"""Bids, waiting bids and asks by name, and the ticks of both sides' levels, the best first."""
AccountRow = tuple[str, int, int]
"""Name, owned, promised."""


class Image(NamedTuple):
    """All that can be seen of an exchange after a command."""

    seq: int
    fills: list[FillRow]
    ended: list[str]
    orders: list[OrderRow]
    books: list[BookRow]
    deadlines: list[str]
    accounts: list[AccountRow]


class Terms(NamedTuple):
    """An order as it is signed."""

    name: str
    book: str
    account: str
    buys: bool
    units: int
    limit: int
    minimum: int
    until_ms: int


@dataclass(eq=False)
class NaiveOrder:
    """Terms and where they stand.

    `timed` is when its deadline was set, in the order in which that happened; 0 without one.
    """

    terms: Terms
    tick: int
    units: int
    seq: int = 0
    is_here: bool = False
    timed: int = 0
    held: int = 0

    @property
    def waits(self) -> bool:
        """Whether it must be filled in pieces of more than one unit."""
        return self.terms.minimum > 1


@dataclass
class NaiveAccount:
    """What somebody owns, and has promised of it."""

    owned: int = 0
    promised: int = 0


@dataclass
class NaiveExchange:
    """Every order that is not over, in order of admission. `books` tells which are continuous."""

    books: dict[str, bool]
    seq: int = 0
    deadlines: int = 0
    """How many were set so far."""
    orders: list[NaiveOrder] = field(default_factory=list)
    accounts: dict[str, NaiveAccount] = field(default_factory=dict)
    fills: list[FillRow] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    # -- commands

    def fund(self, account: str, amount: int) -> None:
        """Money from outside."""
        self._account(account).owned += amount

    def admit(self, terms: Terms, *, asleep: bool) -> None:
        """Hold all that it can cost."""
        scaled = terms.limit * MILLION
        tick = scaled // terms.units if terms.buys else -(-scaled // terms.units)
        order = NaiveOrder(terms, tick, terms.units)
        self.orders.append(order)
        if terms.buys:
            order.held = terms.limit
            self._account(terms.account).promised += terms.limit
        if asleep:
            self._set_deadline(order)

    def enter(self, name: str) -> None:
        """Trade at once what can be traded, then stand in line."""
        order = self.order(name)
        self.seq += 1
        order.seq = self.seq
        continuous = self.books[order.terms.book]
        if continuous:
            (self._buy if order.terms.buys else self._sell)(order)
        self._rest(order)
        if order.is_here and not order.terms.buys:
            self.retry(order.terms.book)
        self._end_what_is_too_small()

    def retry(self, book: str) -> None:
        """Try who waits for enough supply again, one after the other."""
        for bid in self._in_line(book, buys=True, waits=True) if self.books[book] else ():
            units = bid.units
            self._buy(bid)
            if bid.units < units:
                self._rest(bid)
        self._end_what_is_too_small()

    def end(self, name: str) -> None:
        """Give back what is held; nothing of it is known any more."""
        order = self.order(name)
        self._account(order.terms.account).promised -= order.held
        self.orders.remove(order)

    def agree(self, bid: str, lines: list[tuple[str, int]], tick: int) -> None:
        """One execution of what was agreed."""
        buyer = self.order(bid)
        self.seq += 1
        for name, units in lines:
            self._fill(buyer, self.order(name), units, tick, self.seq)
        self._leave_if_too_small(buyer)
        self._end_what_is_too_small()

    def take(self, ask: str, units: int) -> None:
        """Units for a lease that is paid for elsewhere."""
        order = self.order(ask)
        order.units -= units
        if not order.units:
            self._leave(order)

    def pay(self, buyer: str, seller: str, cost: int, paid: int) -> None:
        """A part of what a fill held is paid, the rest released."""
        self._account(buyer).promised -= cost
        self._account(buyer).owned -= paid
        self._account(seller).owned += paid

    def resell(self, ask: str, units: int) -> None:
        """Sell so many units now; who had sold out stands behind all who came since."""
        order = self.order(ask)
        order.units = units
        if order.is_here:
            self.retry(order.terms.book)
        else:
            self.enter(ask)

    def expire(self, now_ms: int) -> list[str]:
        """End all whose time is over: by time, then by age."""
        due = [o for o in self._timed() if o.terms.until_ms <= now_ms]
        for order in due:
            self.end(order.terms.name)
        return [order.terms.name for order in due]

    # -- what can be seen

    def order(self, name: str) -> NaiveOrder:
        """An order that is not forgotten."""
        (found,) = [order for order in self.orders if order.terms.name == name]
        return found

    def available(self, account: str) -> int:
        """What may still be promised."""
        return self._account(account).owned - self._account(account).promised

    def image(self) -> Image:
        """Everything; what a command did is told once."""
        fills, ended = self.fills, self.ended
        self.fills, self.ended = [], []
        return Image(
            self.seq,
            fills,
            ended,
            [(o.terms.name, o.seq, o.tick, o.units, o.held) for o in self.orders],
            [self._book_row(book) for book in self.books],
            [order.terms.name for order in self._timed()],
            [(n, a.owned, a.promised) for n, a in sorted(self.accounts.items())],
        )

    # -- how

    def _account(self, name: str) -> NaiveAccount:
        return self.accounts.setdefault(name, NaiveAccount())

    def _book_row(self, book: str) -> BookRow:
        bids, asks = self._in_line(book, buys=True), self._in_line(book, buys=False)
        waiting = self._in_line(book, buys=True, waits=True)
        return (
            [order.terms.name for order in bids],
            [order.terms.name for order in waiting],
            [order.terms.name for order in asks],
            sorted({order.tick for order in bids}, reverse=True),
            sorted({order.tick for order in asks}),
        )

    def _in_line(self, book: str, *, buys: bool, waits: bool = False) -> list[NaiveOrder]:
        """Who stands on one side, the best price first, then who came first."""
        here = [
            order
            for order in self.orders
            if order.is_here
            and order.terms.book == book
            and order.terms.buys == buys
            and order.waits == waits
        ]
        return sorted(here, key=lambda o: (-o.tick if buys else o.tick, o.seq))

    def _timed(self) -> list[NaiveOrder]:
        """Those with a deadline, by time, then by when it was set."""
        timed = [order for order in self.orders if order.timed]
        return sorted(timed, key=lambda order: (order.terms.until_ms, order.timed))

    def _set_deadline(self, order: NaiveOrder) -> None:
        self.deadlines += 1
        order.timed = self.deadlines

    def _rest(self, order: NaiveOrder) -> None:
        order.is_here = order.units >= order.terms.minimum
        order.timed = 0
        if order.is_here:
            self._set_deadline(order)

    def _leave(self, order: NaiveOrder) -> None:
        order.is_here = False
        order.timed = 0

    def _buy(self, bid: NaiveOrder) -> None:
        while bid.units >= bid.terms.minimum:
            asks = [
                ask
                for ask in self._in_line(bid.terms.book, buys=False)
                if ask.tick <= bid.tick and ask.terms.account != bid.terms.account
            ][:ASKS_PER_EXECUTION]
            if sum(ask.units for ask in asks) < bid.terms.minimum:
                return
            self.seq += 1
            for ask in asks:
                if bid.units:
                    self._fill(bid, ask, min(bid.units, ask.units), ask.tick, self.seq)
        self._leave_if_too_small(bid)

    def _sell(self, ask: NaiveOrder) -> None:
        for bid in self._in_line(ask.terms.book, buys=True):
            other = bid.terms.account != ask.terms.account
            if other and bid.tick >= ask.tick and ask.units:
                self.seq += 1
                self._fill(bid, ask, min(bid.units, ask.units), bid.tick, self.seq)
                self._leave_if_too_small(bid)

    def _fill(self, bid: NaiveOrder, ask: NaiveOrder, units: int, tick: int, number: int) -> None:
        cost = units * tick // MILLION
        keep = (bid.units - units) * bid.terms.limit // bid.terms.units
        freed = bid.held - keep
        self._account(bid.terms.account).promised += cost - freed
        bid.held = keep
        bid.units -= units
        ask.units -= units
        if not ask.units:
            self._leave(ask)
        self.fills.append((bid.terms.name, ask.terms.name, units, tick, cost, freed, number))

    def _leave_if_too_small(self, bid: NaiveOrder) -> None:
        if bid.units < bid.terms.minimum:
            self._leave(bid)
            if bid.units:
                self.ended.append(bid.terms.name)

    def _end_what_is_too_small(self) -> None:
        for order in list(self.orders):
            if order.terms.buys and order.units < order.terms.minimum:
                self.end(order.terms.name)
