"""A second market, as plain as can be, for simple flow: same fills, same final balances."""

from dataclasses import dataclass, field
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from solver.core.command import CancelDocument, SubmitIntent, SubmitOffer
from solver.core.event import Filled
from tests.builder import Bench, a_bench, alice, an_intent, an_offer, bob, carol, dave, every

PEOPLE: Final = (alice, bob, carol, dave)
MILLION: Final = 10**6


@dataclass
class Plain:
    """One order of the plain market: prices are atoms a unit, so that nothing rounds."""

    name: int
    who: int
    buys: bool
    price: int
    units: int


@dataclass
class PlainMarket:
    """Good-till-time orders, one list, matched by looking at all of it."""

    orders: list[Plain] = field(default_factory=list)
    trades: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Buy order, sell order, units, price."""

    def enter(self, new: Plain) -> None:
        """Take from the best opposite orders, one by one, then rest."""
        while new.units:
            others = [o for o in self.orders if self._can_trade(new, o)]
            if not others:
                break
            best = min(others, key=lambda o: (o.price if new.buys else -o.price, o.name))
            units = min(new.units, best.units)
            pair = (new.name, best.name) if new.buys else (best.name, new.name)
            self.trades.append((*pair, units, best.price))
            new.units -= units
            best.units -= units
        self.orders.append(new)

    def cancel(self, name: int) -> None:
        """Forget an order."""
        for order in self.orders:
            if order.name == name:
                order.units = 0

    @staticmethod
    def _can_trade(new: Plain, other: Plain) -> bool:
        low, high = (other, new) if new.buys else (new, other)
        return (
            other.units > 0
            and other.buys != new.buys
            and other.who != new.who
            and low.price <= high.price
        )


flow = st.lists(
    st.tuples(
        st.sampled_from(("buy", "sell", "buy", "sell", "cancel")),
        st.integers(0, 3),
        st.integers(1, 9),
        st.integers(1, 20),
    ),
    max_size=30,
)


def _submit(bench: Bench, order: Plain) -> tuple[SubmitIntent | SubmitOffer, list[Filled]]:
    who = PEOPLE[order.who]
    if order.buys:
        bid = an_intent().units(order.units).limit(order.units * order.price).signed_by(who)
        return bid, every(bench.do(bid), Filled)
    ask = an_offer().units(order.units).limit(order.units * order.price).signed_by(who)
    return ask, every(bench.do(ask), Filled)


@given(flow=flow)
def test_the_core_trades_as_the_plain_market_does(flow: list[tuple[str, int, int, int]]) -> None:
    """Every trade, in order, at the same price; then every balance after settlement."""
    plain, bench = PlainMarket(), a_bench().pooling(alice, dave)
    names: dict[str, int] = {}
    commands: list[tuple[int, SubmitIntent | SubmitOffer]] = []
    trades: list[tuple[int, int, int, int]] = []
    for number, (what, who, price, units) in enumerate(flow):
        if what == "cancel" and commands:
            name, command = commands[price % len(commands)]
            plain.cancel(name)
            document = command.intent if isinstance(command, SubmitIntent) else command.offer
            bench.attempt(CancelDocument(account=document.account, digest=command.digest))
        elif what != "cancel":
            order = Plain(name=number, who=who, buys=what == "buy", price=price, units=units)
            command, fills = _submit(bench, order)
            names[command.digest] = number
            commands.append((number, command))
            plain.enter(order)
            trades += [(names[f.intent], names[f.offer], f.units, f.tick // MILLION) for f in fills]
    assert trades == plain.trades
    _settle_everything(bench)
    owner = {number: flow[number][1] for number in names.values()}
    for place, person in enumerate(PEOPLE):
        earned = sum(n * p for _, sell, n, p in trades if owner[sell] == place)
        paid = sum(n * p for buy, _, n, p in trades if owner[buy] == place)
        assert bench.total(person) == bench.available(person) == 10**9 + earned - paid


def _settle_everything(bench: Bench) -> None:
    """Every lease is used in full, every batch is paid."""
    for lease in list(bench.market.state.leases.values()):
        bench.use(lease, lease.units)
    bench.closing()
