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
from collections import deque
from collections.abc import Iterator
from typing import Final

from solver.core.book import Order
from solver.core.command import Mode
from solver.core.exchange import Exchange
from solver.core.exchange import Fill as Filled
from solver.core.ledger import ISSUANCE, Balance, Ledger, transfer
from solver.core.state import State
from tests.bench.engine import Cancel, Engine, Fill, Submit
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

    def __init__(self, flow: Flow) -> None:
        state = a_state()
        self.exchange: Final = state.exchange
        self.book: Final = state.book(RESOURCE, ASSET)
        self.documents: Final = documents(flow)
        self.accounts: Final = {owner: rich(state.ledger, owner) for owner in (*BUYERS, *SELLERS)}
        self.placed: Final[list[Order | None]] = [None] * flow.order_count
        self.told: Final = deque[tuple[str, str, int, int]]()
        """Bid, ask, tick and units of each fill."""

    def fills(self) -> Iterator[Fill]:
        """The fills by the flow's numbers; the taker is who came later."""
        for bid, ask, tick, units in self.told:
            first, second = sorted((int(bid), int(ask)))
            yield second, first, int(tick), int(units)

    def expire(self, now_ms: int) -> None:
        """End every order whose time is over."""
        while (timed := self.exchange.deadlines.pop(now_ms)) is not None:
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
    source = str(sys.modules[Exchange.__module__].__file__)
    return Engine(_bid(floor), _ask(floor), _cancel(floor), floor.fills, source, TICK_SCALE)


def _bid(floor: Floor) -> Submit:
    exchange, book, accounts, signed = floor.exchange, floor.book, floor.accounts, floor.documents
    buy, drain = exchange.buy, exchange.drain
    placed, report, row = floor.placed, floor.told.extend, Filled.row

    def bid(order: int, tick: int, units: int) -> None:
        name, owner, limit, until_ms = signed[order]
        placed[order] = buy(name, book, accounts[owner], units, limit, 1, until_ms)
        if exchange.fills:
            report(map(row, drain()))
        if not order & LOOK_MASK:
            floor.expire(NOW_MS)

    return bid


def _ask(floor: Floor) -> Submit:
    exchange, book, accounts, signed = floor.exchange, floor.book, floor.accounts, floor.documents
    sell, drain = exchange.sell, exchange.drain
    placed, report, row = floor.placed, floor.told.extend, Filled.row

    def ask(order: int, tick: int, units: int) -> None:
        name, owner, limit, until_ms = signed[order]
        placed[order] = sell(name, book, accounts[owner], units, limit, until_ms)
        if exchange.fills:
            report(map(row, drain()))
        if not order & LOOK_MASK:
            floor.expire(NOW_MS)

    return ask


def _cancel(floor: Floor) -> Cancel:
    accounts, placed, end = floor.accounts, floor.placed, floor.exchange.end
    owners = [owner for _, owner, _, _ in floor.documents]

    def cancel(order: int) -> None:
        made = placed[order]
        if made is None or made.money is not accounts[owners[order]]:
            raise RuntimeError("not authorized")
        end(made)
        placed[order] = None

    return cancel
