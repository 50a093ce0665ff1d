"""The order book of one resource and asset: price-time priority, nothing else.

A side is a dict of levels beside a list of them sorted by price, whose best stands last, where
takers come; a level is a linked list of orders in order of arrival. So resting at a known
price, cancelling and finding the best are O(1), nothing is searched at a busy level, and
nothing stays behind in an empty one. Bids with a minimum above one unit never rest as
makers: they wait beside the book, best price first, until enough supply is there at once.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final

from mypy_extensions import mypyc_attr
from sortedcontainers import SortedDict

from intents.bound import TICK_UNITS
from solver.core.check import violate
from solver.core.deadline import Timed
from solver.core.ledger import Balance

_AGE_MAX: Final = 1 << 62
MATCHES_MAX: Final = 128
"""Most asks that one execution takes: half of the lines that the contract accepts for an
intent, so that leases have room to move."""


@mypyc_attr(acyclic=True)
class Order(Timed):
    """An intent or offer as the book trades it; made by `bid_order` and `ask_order`.

    `units` is what can be filled now. A bid holds `held` atoms of `money`; `limit` for
    `total` units is what was signed. An ask is paid into `money`. Whoever has the same
    `money` is the same account.
    """

    __slots__ = (
        "book",
        "buys",
        "held",
        "id",
        "level",
        "limit",
        "minimum",
        "money",
        "next",
        "previous",
        "seq",
        "tick",
        "total",
        "units",
        "until_ms",
    )

    id: str
    book: "Book"
    money: Balance
    buys: bool
    tick: int
    units: int
    limit: int
    total: int
    minimum: int
    until_ms: int
    held: int
    seq: int
    level: "Level | None"
    previous: "Order | None"
    next: "Order | None"

    @property
    def account(self) -> str:
        """Whose it is."""
        return self.money.owner


def bid_order(  # noqa: PLR0917  positional: called for every order
    order_id: str,
    book: "Book",
    money: Balance,
    units: int,
    limit: int,
    minimum: int,
    until_ms: int,
) -> Order:
    """A bid of up to `limit` atoms for all its units, at the highest tick that this allows."""
    order = Order()
    order.due_slot = order.level = None
    order.id = order_id
    order.book = book
    order.money = money
    order.buys = True
    order.tick = limit * TICK_UNITS // units  # `bid_tick`: the call would be 2 % of a bid
    order.total = order.units = units
    order.held = order.limit = limit
    order.minimum = minimum
    order.until_ms = until_ms
    return order


def ask_order(  # noqa: PLR0917  positional: called for every order
    order_id: str, book: "Book", money: Balance, units: int, limit: int, until_ms: int
) -> Order:
    """An ask of at least `limit` atoms for all its units, at the lowest tick that this allows."""
    order = Order()
    order.due_slot = order.level = None
    order.id = order_id
    order.book = book
    order.money = money
    order.buys = False
    order.tick = (limit * TICK_UNITS + units - 1) // units  # `ask_tick`
    order.total = order.units = units
    order.limit = limit
    order.held = 0
    order.minimum = 1
    order.until_ms = until_ms
    return order


@mypyc_attr(acyclic=True)
class Level:
    """The orders at one price, oldest first."""

    __slots__ = ("first", "last", "side", "tick")

    def __init__(self, side: "Side", tick: int, first: Order) -> None:
        self.side = side
        self.tick = tick
        self.first = self.last = first

    def remove(self, order: Order) -> None:
        """Take an order that rests here out; the last one takes the level along."""
        before, after = order.previous, order.next
        order.level = order.previous = order.next = None
        if after is not None:
            after.previous = before
            if before is None:
                self.first = after
                return
        elif before is None:
            self.side.drop(self)
            return
        else:
            self.last = before
        before.next = after


@mypyc_attr(acyclic=True)
class Side:
    """One side of a book. `sign` is 1 where the highest price is best, −1 where the lowest is."""

    __slots__ = ("_levels", "best", "ladder", "ranks", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.best: Level | None = None
        self._levels: dict[int, Level] = {}
        self.ladder: list[Level] = []
        """Every level, the best last."""
        self.ranks: list[int] = []
        """sign × tick of every level, ascending, as the ladder is."""

    def append(self, order: Order) -> None:
        """Rest an order behind those of its price."""
        order.next = None
        level = self._levels.get(order.tick)
        if level is None:
            self._add_level(order)
            return
        last = level.last
        if last.seq >= order.seq:
            violate("level_in_order_of_time", order=order.id)
        order.level = level
        order.previous = last
        level.last = last.next = order

    def orders(self) -> Iterator[Order]:
        """All orders in priority order. The side must not change meanwhile."""
        for level in reversed(self.ladder):
            order: Order | None = level.first
            while order is not None:
                yield order
                order = order.next

    def part(self) -> None:
        """Nobody uses this side any more: have it know no level."""
        self.best = None
        self._levels.clear()
        self.ladder.clear()
        self.ranks.clear()

    def _add_level(self, first: Order) -> None:
        tick = first.tick
        level = self._levels[tick] = first.level = Level(self, tick, first)
        first.previous = None
        rank = self._rank(tick)
        ranks, ladder = self.ranks, self.ladder
        if not ranks or rank > ranks[-1]:
            ranks.append(rank)
            ladder.append(level)
            self.best = level
        else:
            place = bisect_left(ranks, rank)
            ranks.insert(place, rank)
            ladder.insert(place, level)

    def drop(self, level: Level) -> None:
        """Forget a level that nobody rests at."""
        tick = level.tick
        del self._levels[tick]
        rank = self._rank(tick)
        ranks, ladder = self.ranks, self.ladder
        if ranks[-1] == rank:
            ranks.pop()
            ladder.pop()
            self.best = ladder[-1] if ladder else None
        else:
            place = bisect_left(ranks, rank)
            del ranks[place]
            del ladder[place]

    def _rank(self, tick: int) -> int:
        return tick if self.sign > 0 else -tick


class Book:
    """Both sides of one resource in one asset."""

    def __init__(self, *, continuous: bool) -> None:
        self.continuous: Final = continuous
        self.buy: Final = Side(1)
        self.sell: Final = Side(-1)
        self._waiting: SortedDict[tuple[int, int], Order] = SortedDict()
        self.waiting_count = 0

    def wait(self, order: Order) -> None:
        """Keep a bid with a minimum beside the book."""
        self._waiting[-order.tick, order.seq] = order
        self.waiting_count += 1

    def stop_waiting(self, order: Order) -> None:
        """Forget a bid with a minimum, if it waits here. O(log n)."""
        self._waiting.pop((-order.tick, order.seq), None)
        self.waiting_count = len(self._waiting)

    def holds(self, order: Order) -> bool:
        """Whether it rests or waits here."""
        return order.level is not None or (-order.tick, order.seq) in self._waiting

    def part(self) -> None:
        """Nobody uses this book any more: have no order refer to another."""
        for order in (*self.bids(), *self.asks()):
            order.level = order.previous = order.next = None
        self.buy.part()
        self.sell.part()
        self._waiting.clear()

    def bids(self) -> Iterator[Order]:
        """Resting bids in priority order."""
        return self.buy.orders()

    def asks(self) -> Iterator[Order]:
        """Resting asks in priority order."""
        return self.sell.orders()

    def waiting_from(self, tick: int, at_most: int) -> list[Order]:
        """The first bids with a minimum that would pay `tick`; a copy, as trying changes them."""
        ranks = self._waiting.irange(maximum=(-tick, _AGE_MAX))
        return [self._waiting[rank] for rank in islice(ranks, at_most)]

    def waiting(self) -> list[Order]:
        """Bids with a minimum, in priority order; a copy, as trying them changes the book."""
        return list(self._waiting.values())
