"""What a question about the book costs is bounded, whatever stands in it."""

from intents.bound import RESOURCE_BYTES_MAX
from solver.core.book import ask_order
from solver.core.command import Mode
from solver.core.state import State
from solver.gateway.view import LEVEL_ORDERS_MAX, book_told, unlisted
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
