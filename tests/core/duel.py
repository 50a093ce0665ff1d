"""The exchange and its naive twin, told the same; compared after every command by a hash.

Each command takes small integers only, so that Hypothesis and a seeded `Random` can drive
it alike (`COMMANDS` lists the ranges).
"""

from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Final, NamedTuple, TypeVar

import msgspec

from solver.core.book import Book, Order, Side, ask_order, bid_order
from solver.core.exchange import Exchange
from solver.core.ledger import CHAIN, Ledger, hold, post, transfer
from tests.core.naive_exchange import (
    MILLION,
    BookRow,
    FillRow,
    Image,
    NaiveExchange,
    NaiveOrder,
    OrderRow,
    Terms,
)

ACCOUNTS: Final = ("alice", "bob", "carol", "dave", "erin")
ASSET: Final = "atoms"
BOOKS: Final = {"continuous": True, "epoch": False}
FUNDS: Final = 10_000
LIVE_MAX: Final = 24
"""Beyond this many orders one is withdrawn for each that comes."""
LEASES_MAX: Final = 12
DUST: Final = 140
"""More asks than one execution takes."""

T = TypeVar("T")

COMMANDS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "bid": ((0, 4), (0, 7), (1, 9), (4, 12), (0, 2), (0, 9), (0, 11), (0, 60)),
    "ask": ((0, 4), (0, 7), (1, 9), (1, 9), (0, 2), (0, 11), (0, 60)),
    "cancel": ((0, 30),),
    "wake": ((0, 9),),
    "agree": ((0, 9), (0, 3), (0, 999)),
    "take": ((0, 9), (1, 5)),
    "close": ((0, 30), (0, 9)),
    "pass_time": ((0, 40),),
}
"""Every command and the range of each of its numbers."""
WEIGHTS: Final = {"bid": 10, "ask": 8, "agree": 4, "close": 6, "cancel": 2, "pass_time": 1}
STEPS_PER_DUST: Final = 4_000


class Lease(NamedTuple):
    """What a fill left to be served; a lease without a bid was paid for elsewhere."""

    buyer: str
    seller: str
    ask: str
    units: int
    tick: int
    cost: int


class Fast:
    """`solver.core.exchange` behind the commands of the naive one."""

    def __init__(self, books: dict[str, bool]) -> None:
        self.exchange: Final = Exchange()
        self.ledger: Final = Ledger()
        self.books: Final = {
            name: Book(continuous=continuous) for name, continuous in books.items()
        }
        self.orders: Final[dict[str, Order]] = {}
        self._fills: list[FillRow] = []
        self._ended: list[str] = []

    def fund(self, account: str, amount: int) -> None:
        """Money from outside."""
        outside = self.ledger.account(CHAIN, ASSET)
        transfer(outside, self.ledger.account(account, ASSET), amount)

    def admit(self, terms: Terms, *, asleep: bool) -> None:
        """Let an order in; one that sleeps has to end in its sleep too."""
        book, money = self.books[terms.book], self.ledger.account(terms.account, ASSET)
        if terms.buys:
            order = bid_order(
                terms.name,
                book,
                money,
                terms.units,
                terms.limit,
                terms.minimum,
                terms.until_ms,
            )
        else:
            order = ask_order(terms.name, book, money, terms.units, terms.limit, terms.until_ms)
        self.orders[terms.name] = order
        hold(money, order.held)
        if asleep:
            self.exchange.postpone(order)

    def enter(self, name: str) -> None:
        """Match and rest."""
        self.exchange.enter(self.orders[name])
        self._carry_out()

    def end(self, name: str) -> None:
        """Out for good."""
        self.exchange.end(self.orders.pop(name))

    def agree(self, bid: str, lines: list[tuple[str, int]], tick: int) -> None:
        """One execution of what was agreed."""
        asks = [(self.orders[ask], units, tick) for ask, units in lines]
        self.exchange.fill_together(self.orders[bid], asks)
        self._carry_out()

    def take(self, ask: str, units: int) -> None:
        """Units for a lease that is paid for elsewhere."""
        self.exchange.take_units(self.orders[ask], units)

    def pay(self, buyer: str, seller: str, cost: int, paid: int) -> None:
        """A part of what a fill held is paid, the rest released."""
        debit, credit = (self.ledger.account(name, ASSET) for name in (buyer, seller))
        post(debit, credit, cost, paid)

    def resell(self, ask: str, units: int) -> None:
        """Sell so many units now."""
        order = self.orders[ask]
        self.exchange.resell(order, units)
        self.exchange.retry_waiting(order.book)
        self._carry_out()

    def expire(self, now_ms: int) -> list[str]:
        """End all whose time is over."""
        names = []
        while (entry := self.exchange.deadlines.pop(now_ms)) is not None:
            assert isinstance(entry, Order)
            names.append(entry.id)
            self.end(entry.id)
        return names

    def image(self) -> Image:
        """Everything; what a command did is told once."""
        fills, ended = self._fills, self._ended
        self._fills, self._ended = [], []
        assert not self.exchange.fills
        assert not self.exchange.ended
        entries = self.exchange.deadlines.entries()
        balances = [balance for balance in self.ledger.balances() if balance.owner != CHAIN]
        return Image(
            self.exchange.seq,
            fills,
            ended,
            [_order_row(order) for order in self.orders.values()],
            [_book_row(book) for book in self.books.values()],
            [entry.id for entry in entries if isinstance(entry, Order)],
            sorted((one.owner, one.total, one.debits_pending) for one in balances),
        )

    def _carry_out(self) -> None:
        fills, ended = self.exchange.drain(), self.exchange.drain_ended()
        for fill in fills:
            terms = (fill.units, fill.tick, fill.cost, fill.freed, fill.execution)
            self._fills.append((fill.bid.id, fill.ask.id, *terms))
        for order in ended:
            assert not order.book.holds(order), "it is out of the book before it is ended"
            self._ended.append(order.id)
            self.exchange.end(order)
        for name in [fill.bid.id for fill in fills]:
            if name in self.orders and not self.orders[name].units:
                del self.orders[name]


class Duel:
    """Both exchanges, five rich people, and a clock."""

    def __init__(self) -> None:
        self.fast: Final = Fast(BOOKS)
        self.naive: Final = NaiveExchange(dict(BOOKS))
        self.both: Final = (self.fast, self.naive)
        self.count = 0
        self.fills = 0
        self.digest = b""
        self.leases: Final[deque[Lease]] = deque()
        self._asleep: Final[list[str]] = []
        self._now_s = 0
        for account in ACCOUNTS:
            self._fund(account)
        self._compare()

    # -- commands, by numbers

    def bid(  # noqa: PLR0917  numbers, as a driver draws them
        self,
        who: int,
        book: int,
        units: int,
        price: int,
        extra: int,
        minimum: int,
        flags: int,
        life: int,
    ) -> None:
        """Enter a bid; flags pick immediate, asleep, and a minimum of `minimum` units."""
        limit = units * price + (extra * units // 3)
        least = min(minimum, units) if flags in (4, 5, 6, 7) and minimum else 1
        self._submit(who, book, units, limit, least, life, buys=True, flags=flags)

    def ask(  # noqa: PLR0917
        self, who: int, book: int, units: int, price: int, extra: int, flags: int, life: int
    ) -> None:
        """Enter an ask; flags pick asleep."""
        limit = units * price + (extra * units // 3)
        self._submit(who, book, units, limit, 1, life, buys=False, flags=max(1, flags))

    def cancel(self, which: int) -> None:
        """Withdraw any order, whatever its state."""
        order = _pick(self.naive.orders, which)
        if order is not None:
            self._both_end(order.terms.name)
        self._compare()

    def wake(self, which: int) -> None:
        """What was admitted before its time becomes active."""
        known = {order.terms.name for order in self.naive.orders}
        asleep = [name for name in self._asleep if name in known]
        name = _pick(asleep, which)
        self._asleep[:] = [other for other in asleep if other != name]
        if name is not None:
            self._both_enter(name)
        self._compare()

    def agree(self, which: int, lines: int, seed: int) -> None:
        """Carry out what an auction might have decided, in the book that has epochs."""
        bids = [*self._line(buys=True), *self._line(buys=True, waits=True)]
        bid = _pick(bids, which)
        if bid is not None:
            agreed = self._agreement(bid, 1 + lines, Random(seed))  # noqa: S311  test data
            if agreed:
                tick = max(ask.tick for ask, _ in agreed)
                plan = [(ask.terms.name, units) for ask, units in agreed]
                for exchange in self.both:
                    exchange.agree(bid.terms.name, plan, tick)
        self._compare()

    def take(self, which: int, units: int) -> None:
        """Reserve units of a resting ask."""
        ask = _pick([o for o in self.naive.orders if o.is_here and not o.terms.buys], which)
        if ask is not None:
            units = min(units, ask.units)
            for exchange in self.both:
                exchange.take(ask.terms.name, units)
            self.leases.append(Lease("", ask.terms.account, ask.terms.name, units, 0, 0))
        self._compare()

    def close(self, which: int, used: int) -> None:
        """End a lease that used some of its units; the rest is sold again."""
        if self.leases:
            self.leases.rotate(-which)
            lease = self.leases.popleft()
            used = min(used, lease.units)
            if lease.buyer:
                paid = lease.tick * used // MILLION
                for exchange in self.both:
                    exchange.pay(lease.buyer, lease.seller, lease.cost, paid)
            self._sell_again(lease.ask, lease.units - used)
        self._compare()

    def pass_time(self, seconds: int) -> None:
        """What is due ends, in the same order."""
        self._now_s += seconds
        ended = [exchange.expire(self._now_s * 1_000) for exchange in self.both]
        assert ended[0] == ended[1]
        self._compare()

    def dust(self, seed: int) -> None:
        """More asks than one execution takes, then bids that want them all."""
        random = Random(seed)  # noqa: S311  test data
        for _ in range(DUST):
            self.ask(random.randint(1, 4), 0, 1, random.randint(1, 3), 0, 9, 60)
        least = random.choice((1, 2, DUST - 20, DUST))
        self._submit(0, 0, random.randint(DUST - 10, DUST), 5 * DUST, least, 60, buys=True, flags=9)
        self.ask(1, 0, 9, 1, 0, 9, 60)

    # -- how

    def step(self, random: Random) -> None:
        """One command, drawn at random, and one withdrawn order for each that is too many."""
        name = random.choices(_NAMES, cum_weights=_CUMULATED)[0]
        getattr(self, name)(*(random.randint(low, high) for low, high in COMMANDS[name]))
        if len(self.naive.orders) > LIVE_MAX:
            self.cancel(random.randint(0, 1_000))
        if len(self.leases) > LEASES_MAX:
            self.close(0, random.randint(0, 9))

    def _submit(  # noqa: PLR0917
        self,
        who: int,
        book: int,
        units: int,
        limit: int,
        minimum: int,
        life: int,
        *,
        buys: bool,
        flags: int,
    ) -> None:
        account = ACCOUNTS[who]
        name = f"{self.count}:{account}"
        if buys and self.naive.available(account) < limit:
            self._fund(account)
        until_ms = (self._now_s + 1 + life // 20 * 20) * 1_000
        terms = Terms(
            name=name,
            book="epoch" if book > 5 else "continuous",
            account=account,
            buys=buys,
            units=units,
            limit=limit,
            minimum=min(minimum, units),
            until_ms=until_ms,
        )
        for exchange in self.both:
            exchange.admit(terms, asleep=flags == 1)
        if flags == 1:
            self._asleep.append(name)
        else:
            self._both_enter(name)
            if not flags and terms.book == "continuous":
                self._both_end_what_is_left(name)
        self._compare()

    def _fund(self, account: str) -> None:
        for exchange in self.both:
            exchange.fund(account, FUNDS)

    def _both_enter(self, name: str) -> None:
        for exchange in self.both:
            exchange.enter(name)

    def _both_end(self, name: str) -> None:
        for exchange in self.both:
            exchange.end(name)

    def _both_end_what_is_left(self, name: str) -> None:
        """An immediate bid that was not filled at once."""
        if name in self.fast.orders:
            self.fast.end(name)
        if any(order.terms.name == name for order in self.naive.orders):
            self.naive.end(name)

    def _sell_again(self, ask: str, units: int) -> None:
        """What a lease did not use is free again; an ask with nothing left to sell is over."""
        order = next((o for o in self.naive.orders if o.terms.name == ask), None)
        if order is None:
            return
        if units:
            total = order.units + units
            for exchange in self.both:
                exchange.resell(ask, total)
        elif not order.units and all(lease.ask != ask for lease in self.leases):
            self._both_end(ask)

    def _line(self, *, buys: bool, waits: bool = False) -> list[NaiveOrder]:
        return self.naive._in_line("epoch", buys=buys, waits=waits)

    def _agreement(
        self, bid: NaiveOrder, lines: int, random: Random
    ) -> list[tuple[NaiveOrder, int]]:
        """Asks that the bid may take, as many units as it needs at least; empty if too few."""
        asks = [
            ask
            for ask in self._line(buys=False)
            if ask.tick <= bid.tick and ask.terms.account != bid.terms.account
        ]
        chosen = random.sample(asks, min(lines, len(asks)))
        wanted = random.randint(min(bid.terms.minimum, bid.units), bid.units)
        agreed = []
        for ask in chosen:
            units = min(ask.units, wanted)
            wanted -= units
            if units:
                agreed.append((ask, units))
        total = sum(units for _, units in agreed)
        return agreed if total >= bid.terms.minimum else []

    def _compare(self) -> None:
        """Fills, books, deadlines and balances, as one hash over all commands so far."""
        self.count += 1
        images = (self.fast.image(), self.naive.image())
        one, other = (blake2b(self.digest + _ENCODER.encode(image)).digest() for image in images)
        if one != other:
            for name, fast, naive in zip(Image._fields, *images, strict=True):
                assert fast == naive, f"{name} after command {self.count}"
        self.digest = one
        self.fills += len(images[0].fills)
        for bid, ask, units, tick, cost, _, _ in images[0].fills:
            self.leases.append(Lease(_owner(bid), _owner(ask), ask, units, tick, cost))


_ENCODER: Final = msgspec.msgpack.Encoder()
_NAMES: Final = list(COMMANDS)
_CUMULATED: Final = [
    sum(WEIGHTS.get(name, 1) for name in _NAMES[: place + 1]) for place in range(len(_NAMES))
]


def a_duel(seed: int, commands: int) -> Duel:
    """So many commands at least, from a seed; a swarm of small asks now and then."""
    random = Random(seed)  # noqa: S311  test data
    duel = Duel()
    while duel.count < commands:
        if not random.randrange(STEPS_PER_DUST):
            duel.dust(random.randrange(2**32))
        duel.step(random)
    return duel


def _owner(order: str) -> str:
    return order.partition(":")[2]


def _order_row(order: Order) -> OrderRow:
    return (order.id, order.seq, order.tick, order.units, order.held)


def _book_row(book: Book) -> BookRow:
    return (
        [order.id for order in book.bids()],
        [order.id for order in book.waiting()],
        [order.id for order in book.asks()],
        _ticks(book.buy),
        _ticks(book.sell),
    )


def _ticks(side: Side) -> list[int]:
    """The prices of a side's levels, the best first; a level that is empty would show."""
    ticks = [side.sign * rank for rank in reversed(side.ranks)]
    assert ([] if side.best is None else [side.best.tick]) == ticks[:1], "the best is known"
    return ticks


def _pick(things: Sequence[T], which: int) -> T | None:
    return things[which % len(things)] if things else None
