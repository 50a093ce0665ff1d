"""What a question about the book costs is bounded, whatever stands in it."""

from types import SimpleNamespace
from typing import cast

from msgspec.structs import asdict

from intents.bound import RESOURCE_BYTES_MAX
from solver.core.book import ask_order
from solver.core.command import Mode
from solver.core.event import LeaseStatus
from solver.core.state import IntentState, State
from solver.gateway.view import LEVEL_ORDERS_MAX, book_told, intent_told, unlisted
from solver.gateway.wire import IntentTold
from tests.builder import USDC, alice
from tests.gateway.world import DOCS


def a_state(asks: int) -> State:
    """A book with so many asks, ten to a level."""
    state = State(USDC)
    state.resources[DOCS] = Mode.CONTINUOUS
    book, money = state.book(DOCS, USDC), state.ledger.account(alice.address, USDC)
    for number in range(asks):
        state.exchange.enter(ask_order(f"{number}", book, money, 10**6, 1 + number // 10, 10**6))
    return state


def test_a_resource_that_is_not_sold_is_named() -> None:
    """By what was asked for, cut where no resource is longer, and with where to look."""
    refused = unlisted("datasette/docs:call")
    assert "datasette/docs:call" in refused.message
    assert refused.hint
    assert len(unlisted("x" * 10**6).message) < 2 * RESOURCE_BYTES_MAX


def test_a_book_tells_when_it_looked_at_a_part() -> None:
    """Up to the bound levels are whole; beyond it what is told says that it is a part."""
    whole = book_told(a_state(LEVEL_ORDERS_MAX), DOCS, USDC, depth=200)
    assert (len(whole.asks), whole.truncated) == (LEVEL_ORDERS_MAX // 10, False)
    part = book_told(a_state(LEVEL_ORDERS_MAX * 2), DOCS, USDC, depth=400)
    assert (sum(level.orders for level in part.asks), part.truncated) == (LEVEL_ORDERS_MAX, True)
    few = book_told(a_state(LEVEL_ORDERS_MAX * 2), DOCS, USDC, depth=3)
    assert (sum(level.orders for level in few.asks), few.truncated) == (30, False)


def test_each_field_of_an_intent_is_told_under_its_name() -> None:
    """Though they are given by their places: each has another value here."""
    plain = {
        name: number
        for number, name in enumerate(IntentTold.__struct_fields__, 1)
        if name not in {"valid_from", "valid_until", "delivered_units", "paid", "owed", "leases"}
    }
    leases = {
        "a": SimpleNamespace(delivered=100, payment=1_000, status=LeaseStatus.SETTLED),
        "b": SimpleNamespace(delivered=200, payment=2_000, status=LeaseStatus.OPEN),
        "c": SimpleNamespace(delivered=400, payment=4_000, status=LeaseStatus.SKIPPED),
    }
    record = SimpleNamespace(**plain, starts_ms=70_000, until_ms=80_000, leases=["a", "b", "c"])
    state = SimpleNamespace(leases=leases)
    told = intent_told(cast("State", state), cast("IntentState", record), plain["cursor"])
    times = {"valid_from": 70, "valid_until": 80}
    sums = {"delivered_units": 700, "paid": 1_000, "owed": 2_000, "leases": ("a", "b", "c")}
    assert asdict(told) == plain | times | sums
