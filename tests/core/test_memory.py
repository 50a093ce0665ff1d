"""What is over leaves nothing behind: no order, level, deadline, index, cycle or scan."""

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from intents.reject import RejectCode
from solver.core import state as state_module
from solver.core.book import Level, Order
from solver.core.command import CancelDocument, SubmitIntent
from solver.core.deadline import TIMES_SPARE_MAX, Deadlines
from solver.core.exchange import Fill
from solver.core.lease import Execution, Lease
from solver.core.nonce import NONCES_PER_WORD
from solver.core.snapshot import dump, load
from solver.core.state import DUE_SPARE_MAX, Account, IntentState, MandateState, OfferState, State
from tests.builder import Bench, a_bench, a_mandate, alice, an_intent, an_offer, bob
from tests.core.floor import a_walk
from tests.core.sabotage import pure_only
from tests.core.steps import steps_in

RECORDS: Final = (Order, Level, Fill, IntentState, OfferState, MandateState, Lease, Execution)
"""None of these outlives the documents it belongs to."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only reference counting frees anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _alive() -> Counter[str]:
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, RECORDS))


def _nothing_stands(state: State) -> None:
    """Every book, deadline and index is empty."""
    assert not state.exchange.fills
    assert not state.exchange.ended
    for book in state.books.values():
        for side in (book.buy, book.sell):
            assert (side.ranks, side._levels, side.best) == ([], {}, None)
        assert (book.waiting(), book.waiting_count) == ([], 0)
    for deadlines in (state.exchange.deadlines, state.lease_ends):
        assert (deadlines.entries(), deadlines.next_ms) == ([], None)
    assert (state.calls, state.executions, list(state.ready), state.due) == ({}, {}, [], [])
    for key in state.keys.values():
        assert key.leases == {}
    assert not any(account.standing for account in state.accounts.values())


def _nothing_is_remembered(state: State) -> None:
    """No document, lease, or window of an offer; nonces are bits."""
    assert (state.intents, state.offers, state.mandates, state.leases) == ({}, {}, {}, {})
    assert not state.finished
    assert {subject for subject, _ in state.windows} <= state.keys.keys()
    assert not any(account.documents for account in state.accounts.values())


@pytest.mark.parametrize("seed", range(8))
def test_after_everything_ended_nothing_stands(seed: int) -> None:
    """What is remembered for readers stands in no book, index or heap."""
    _nothing_stands(a_walk(seed, 200).market.state)


@pure_only
@pytest.mark.usefixtures("no_collector")
def test_what_is_forgotten_is_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By reference counting alone, wherever it was linked in: there are no cycles."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 0)
    before = _alive()
    floors = [a_walk(seed, 200) for seed in range(8)]
    for floor in floors:
        _nothing_stands(floor.market.state)
        _nothing_is_remembered(floor.market.state)
    assert _alive() == before
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        ours = [one for one in gc.garbage if type(one).__module__.startswith("solver.core")]
        assert ours == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_filled_orders_know_no_neighbours() -> None:
    """Orders that stood together at one price refer to nothing once they are out."""
    bench = a_bench(watched=False)
    offers = [an_offer().units(2).limit(2).signed_by(bob) for _ in range(50)]
    for offer in offers:
        bench.do(offer)
    bench.do(an_intent().units(99).limit(99).signed_by(alice))
    *filled, last = [bench.market.state.offers[offer.digest].order for offer in offers]
    for order in filled:
        assert (order.level, order.previous, order.next, order.due_slot) == (None,) * 4
    assert (last.units, last.previous, last.next) == (1, None, None)
    assert last.level is not None


@pure_only
def test_few_finished_documents_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest ones, of either side; what is live is never forgotten."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 5)
    bench = a_bench()
    live = an_intent().signed_by(alice)
    bench.do(live)
    ended = [_cancelled(bench) for _ in range(20)]
    state = bench.market.state
    assert list(state.intents) == [live.digest, *(one.digest for one in ended[-5:])]
    assert bench.refuse(ended[-1]) is RejectCode.ALREADY_KNOWN
    assert bench.refuse(ended[0]) is RejectCode.NONCE_USED


@pure_only
def test_a_mandate_ends_though_its_oldest_intents_are_forgotten_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each intent that ends with its mandate may push another of the same mandate's out."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 1)
    bench = a_bench()
    mandate = a_mandate().signed_by(alice)
    bench.do(mandate)
    first, second, third = (an_intent().under(mandate, alice) for _ in range(3))
    for command in (first, second, third):
        bench.do(command)
    bench.do(CancelDocument(account=alice.address, digest=third.digest))
    bench.do(CancelDocument(account=alice.address, digest=mandate.digest))
    assert list(bench.market.state.intents) == [second.digest]
    assert bench.mandate(mandate).intents_kept == 1
    _cancelled(bench)
    _cancelled(bench)
    assert bench.market.state.mandates == {}


def test_cancelled_deadlines_are_not_kept() -> None:
    """Of thousands of documents with times of their own, no more than the spare ones stay."""
    bench = a_bench(watched=False)
    for number in range(3 * TIMES_SPARE_MAX):
        command = an_intent().until(3_600 + number).signed_by(alice)
        bench.do(command)
        bench.do(CancelDocument(account=alice.address, digest=command.digest))
    deadlines = bench.market.state.exchange.deadlines
    assert len(deadlines._slots) == len(deadlines._times) <= TIMES_SPARE_MAX + 1


def test_a_removed_entry_keeps_no_neighbour() -> None:
    """Whoever keeps what has ended keeps nothing else of its time by it."""
    deadlines, orders = Deadlines(), [Lease.__new__(Lease) for _ in range(3)]
    for order in orders:
        order.due_slot = None
        deadlines.add(order, 5)
    deadlines.remove(orders[1])
    assert (orders[1].due_slot, orders[1].due_previous, orders[1].due_next) == (None, None, None)
    assert deadlines.entries() == [orders[0], orders[2]]


def test_cancelled_starts_and_mandates_are_not_kept() -> None:
    """What would have fallen due of documents that ended early is dropped long before its time."""
    bench = a_bench(watched=False)
    for _ in range(2 * DUE_SPARE_MAX):
        for command in (
            a_mandate().signed_by(alice),
            an_intent().not_before(3_000).signed_by(alice),
            an_offer().not_before(3_000).signed_by(bob),
        ):
            bench.do(command)
            account = alice if command.signer == alice.address else bob
            bench.do(CancelDocument(account=account.address, digest=command.digest))
    live = a_mandate().signed_by(alice)
    bench.do(live)
    state = bench.market.state
    assert len(state.due) <= DUE_SPARE_MAX + 2
    assert [subject for _, _, _, subject in state.awaited()] == [live.digest]
    assert load(dump(state)).hash() == state.hash()


def test_used_nonces_in_a_row_are_bits() -> None:
    """Six thousand of them are a hundred numbers; none of them can be used again."""
    account = Account()
    for nonce in range(6_000):
        account.use(nonce)
    assert len(account.used()) == 6_000 // NONCES_PER_WORD
    assert all(account.has_used(nonce) for nonce in range(6_000))
    assert not account.has_used(6_000)
    assert not account.has_used(2**53 - 1)


@pure_only
@pytest.mark.parametrize("place", [0, 1, -1], ids=["first", "second", "last"])
def test_cancelling_looks_at_nothing_else(place: int) -> None:
    """As many steps in a level of a thousand as in one of ten, wherever the order stands."""
    assert _steps_of_cancel(10, place) == _steps_of_cancel(1_000, place)


def _steps_of_cancel(orders: int, place: int) -> int:
    bench = a_bench(watched=False)
    commands = [an_intent().until(600 + n).limit(10).signed_by(alice) for n in range(orders)]
    for command in commands:
        bench.do(command)
    command = commands[place]
    cancel = CancelDocument(account=alice.address, digest=command.digest, at_ms=bench.now_ms)
    steps = steps_in(lambda: bench.market.apply(cancel), under="/solver/core/")
    assert steps > 20
    return steps


def _cancelled(bench: Bench) -> SubmitIntent:
    command = an_intent().signed_by(alice)
    bench.do(command)
    bench.do(CancelDocument(account=alice.address, digest=command.digest))
    return command


@pure_only
@pytest.mark.usefixtures("no_collector")
def test_a_dropped_market_is_freed_at_once() -> None:
    """With all that stands in it: orders that rest, wait or sleep, leases and their deadlines."""
    before = _alive()
    bench = a_bench(watched=False)
    for number in range(20):
        bench.do(an_intent().limit(2 + number % 3).signed_by(alice))
        bench.do(an_intent().units(50).all_or_none().limit(100).signed_by(alice))
        bench.do(an_intent().not_before(60).signed_by(alice))
    bench.do(an_offer().units(5).limit(5).signed_by(bob))
    bench.do(an_offer().units(99).limit(9_900).signed_by(bob))
    assert bench.market.state.leases
    assert _alive() != before
    del bench
    assert _alive() == before
