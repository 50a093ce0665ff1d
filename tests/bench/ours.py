"""Keyfill's exchange with all that an order of the market goes through in it.

64 accounts, 32 that buy and 32 that sell (peers do not look for self-matches, so the flow
has none, but the check is made). Every bid has its whole limit held, and freed again as it
fills or ends; what an ask sells is counted down with its bid; every order has a deadline
one to eleven minutes away, and the clock is looked at every 64 orders; whoever cancels must
be the owner. Fills are drained after every call, by the ids that the orders came with.

What a signed document says (its id, its owner, its limit, its end) is made before the clock
starts, as prices are. Looking the owner's account up and deriving the price from the limit
is not.
"""

import sys
from collections.abc import Iterator
from typing import Final

from solver.core.book import Order, ask_order, bid_order
from solver.core.command import Mode
from solver.core.ledger import ISSUANCE, Balance, Ledger, hold, transfer
from solver.core.state import State
from tests.bench.engine import Engine, Fill, Told, by_four
from tests.bench.flow import ASK, BID, CANCEL, Flow

TRADERS: Final = 32
"""Accounts on each side."""
MONEY: Final = 10**18
"""What every account has, in atoms: enough for all that it ever bids."""
TICK_SCALE: Final = 10**6
"""Our ticks to one of the flow: a price of the flow is atoms for a unit, so nothing rounds."""
ASSET: Final = "0x" + "05" * 20
RESOURCE: Final = "bench/flow:call"
NOW_MS: Final = 1_700_000_000_000
LIFE_MS: Final = 60_000
"""The shortest life of an order."""
SECONDS: Final = 600
"""Deadlines fall on this many different seconds."""
LOOK_MASK: Final = 63
"""The clock is looked at when no bit of this is set in an order's number."""

BUYERS: Final = tuple(f"buyer-{number}" for number in range(TRADERS))
SELLERS: Final = tuple(f"seller-{number}" for number in range(TRADERS))

Document = tuple[str, str, int, int]
"""Id, owner, limit, deadline."""


class Floor:
    """An exchange with one book, rich accounts, and the documents of a flow."""

    __slots__ = ("accounts", "book", "documents", "exchange", "placed", "told")

    def __init__(self, flow: Flow) -> None:
        state = a_state()
        self.exchange: Final = state.exchange
        self.book: Final = state.book(RESOURCE, ASSET)
        self.documents: Final = documents(flow)
        self.accounts: Final = {owner: rich(state.ledger, owner) for owner in (*BUYERS, *SELLERS)}
        self.placed: Final[list[Order | None]] = [None] * flow.order_count
        self.told: Final = Told()

    def bid(self, order: int, _tick: int, units: int) -> None:
        """A document's intent."""
        name, owner, limit, until_ms = self.documents[order]
        exchange, money = self.exchange, self.accounts[owner]
        hold(money, limit)
        made = bid_order(name, self.book, money, units, limit, 1, until_ms)
        exchange.buy(made)
        if exchange.fills:
            self._tell(made)
        if made.units:
            self.placed[order] = made
        if not order & LOOK_MASK:
            self._expire()

    def ask(self, order: int, _tick: int, units: int) -> None:
        """A document's offer."""
        name, owner, limit, until_ms = self.documents[order]
        exchange, money = self.exchange, self.accounts[owner]
        made = ask_order(name, self.book, money, units, limit, until_ms)
        exchange.sell(made)
        if exchange.fills:
            self._tell(made)
        if made.units:
            self.placed[order] = made
        if not order & LOOK_MASK:
            self._expire()

    def cancel(self, order: int) -> None:
        """End an order, if its owner asks."""
        made = self.placed[order]
        if made is None or made.money.owner != self.documents[order][1]:
            raise RuntimeError("not authorized")
        self.exchange.end(made)
        self.placed[order] = None

    def _tell(self, taker: Order) -> None:
        """Tell what was filled, and forget makers of which nothing is left, as a market does."""
        told, placed = self.told, self.placed
        for fill in self.exchange.drain():
            bid, ask = fill.bid, fill.ask
            told.extend((bid.id, ask.id, fill.tick, fill.units))
            maker = ask if bid is taker else bid
            if not maker.units:
                placed[int(maker.id)] = None

    def _expire(self) -> None:
        """End every order whose time is over."""
        while (timed := self.exchange.deadlines.pop(NOW_MS)) is not None:
            assert isinstance(timed, Order)
            self.exchange.end(timed)


def a_state() -> State:
    """The state of a market that lists one resource, to be traded continuously."""
    state = State(ASSET)
    state.resources[RESOURCE] = Mode.CONTINUOUS
    return state


def rich(ledger: Ledger, owner: str) -> Balance:
    """The account of somebody who can pay for everything."""
    balance = ledger.account(owner, ASSET)
    transfer(ledger.account(ISSUANCE, ASSET), balance, MONEY)
    return balance


def documents(flow: Flow) -> list[Document]:
    """What the flow's orders would have signed."""
    owners = {BID: BUYERS, ASK: SELLERS}
    deadlines = [NOW_MS + LIFE_MS + 1_000 * second for second in range(SECONDS)]
    made: list[Document] = []
    for kind, order, tick, units in flow.events(0, len(flow)):
        if kind != CANCEL:
            owner = owners[kind][order % TRADERS]
            made.append((str(order), owner, tick * units, deadlines[order % SECONDS]))
    return made


def engine(flow: Flow) -> Engine:
    """An exchange for this flow."""
    floor = Floor(flow)
    source = str(sys.modules["solver.core.exchange"].__file__)
    return Engine(
        floor.bid, floor.ask, floor.cancel, lambda: _fills(floor.told), source, TICK_SCALE
    )


def _fills(told: Told) -> Iterator[Fill]:
    """The fills by the flow's numbers; the taker is who came later."""
    for bid, ask, tick, units in by_four(told):
        first, second = sorted((int(bid), int(ask)))
        yield second, first, int(tick), int(units)
