"""Tests of the tests: what keeps too much, forgets too much, or is lost in a snapshot shows."""

from collections.abc import Callable
from typing import Final

import pytest

from solver.core import nonce, snapshot, state, trade
from solver.core.book import Book, Level, Side
from solver.core.deadline import Deadlines
from solver.core.exchange import Exchange
from solver.core.nonce import Nonces
from solver.core.roster import Roster
from solver.core.state import Account, State
from solver.core.window import Window
from tests.builder import a_bench
from tests.core import test_forget_pinned, test_memory, test_roster
from tests.core.floor import a_walk
from tests.core.relay import a_relay
from tests.core.sabotage import (
    Patch,
    all_of,
    constant,
    edited,
    never,
    pure_only,
    seeds_until_caught,
)

RELAYS_MAX: Final = 40
STEPS: Final = 150

LOST: Final[dict[str, Patch]] = {
    "mix up the places in time": edited(
        snapshot, "_load_orders", "key=lambda order: order.seq", "key=lambda order: -order.seq"
    ),
    "lose the places in time": edited(
        snapshot, "_fill_order", "row.seq, row.units", "1, row.units"
    ),
    "lose a deadline": edited(snapshot, "load", "in image.order_ends:", "in image.order_ends[1:]:"),
    "lose the order of deadlines": edited(
        snapshot, "load", "in image.order_ends:", "in reversed(image.order_ends):"
    ),
    "lose the end of a lease": edited(
        snapshot, "_load_leases", "if row.until_ms > image.now_ms:", "if row.in_flight:"
    ),
    "end a lease again": edited(
        snapshot, "_load_leases", "if row.until_ms > image.now_ms:", "if row:"
    ),
    "lose whose key a lease is": edited(
        snapshot, "_load_leases", "if row.status in SERVING:", "if row.in_flight:"
    ),
    "lose what falls due": edited(snapshot, "load", "state.due = image.due", "pass"),
    "lose what windows finished": edited(
        Window, "image", "self._in_flight_units, live)", "self._in_flight_units, [])"
    ),
    "give each resource of a key its own windows": edited(
        snapshot,
        "load",
        "state.windows[windows.subject, resource] = shared",
        "state.windows[windows.subject, resource] = [_window_from(x) for x in windows.windows]",
    ),
    "count anew": edited(snapshot, "load", "state.exchange.seq = image.seq", "pass"),
    "forget what was forgotten": all_of(
        constant(state, "FINISHED_KEPT_MAX", 2),
        edited(
            snapshot,
            "_load_accounts",
            "account.recall(row.used)",
            "pass",
        ),
    ),
}


@pure_only
@pytest.mark.parametrize("sabotage", LOST.values(), ids=LOST)
def test_what_a_snapshot_loses_shows(sabotage: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loaded market has other bytes at once, or says something else later."""
    sabotage(monkeypatch)
    assert seeds_until_caught(lambda seed: a_relay(seed, STEPS), RELAYS_MAX) < RELAYS_MAX


def _nothing_stays(_: int) -> None:
    floor = a_walk(1, 200)
    test_memory._nothing_stands(floor.market.state)
    test_memory._nothing_is_remembered(floor.market.state)


def _nonces_find_documents(_: int) -> None:
    test_forget_pinned.test_the_chain_cancels_by_nonce_what_is_remembered(a_bench())


def _order_knows_nobody(_: int) -> None:
    test_memory.test_filled_orders_know_no_neighbours()


def _entry_knows_nobody(_: int) -> None:
    test_memory.test_a_removed_entry_keeps_no_neighbour()


def _times_are_few(_: int) -> None:
    test_memory.test_cancelled_deadlines_are_not_kept()


def _cancel_is_short(_: int) -> None:
    test_memory.test_cancelling_looks_at_nothing_else(-1)


def _nonces_are_bits(_: int) -> None:
    test_memory.test_used_nonces_in_a_row_are_bits()


def _rosters_are_short(_: int) -> None:
    test_roster.test_a_roster_has_no_more_places_than_it_needs()


def _dropped_is_freed(_: int) -> None:
    test_memory.test_a_dropped_market_is_freed_at_once()


FORGETFUL: Final = constant(state, "FINISHED_KEPT_MAX", 0)
KEPT: Final[dict[str, tuple[Patch, Callable[[int], object]]]] = {
    "forget no offer that sold": (
        all_of(
            FORGETFUL,
            edited(
                State,
                "_forget_leases",
                "if not offer.live and not offer.leases_kept:",
                "if not offer:",
            ),
        ),
        _nothing_stays,
    ),
    "never forget": (all_of(FORGETFUL, never("forget_finished", State)), _nothing_stays),
    "keep the windows of offers": (
        all_of(FORGETFUL, edited(State, "_forget", "self.windows.pop(", "self.windows.get(")),
        _nothing_stays,
    ),
    "let an offer stand that is over": (
        edited(trade, "end_offer", "state.accounts[offer.account].dismiss(offer)", "pass"),
        lambda seed: a_walk(seed, 100),
    ),
    "let an account keep what is forgotten": (
        all_of(
            FORGETFUL,
            edited(State, "_forget", "self.accounts[record.account].forget(record)", "pass"),
        ),
        _nothing_stays,
    ),
    "find by nonce what was there before": (
        all_of(FORGETFUL, edited(Account, "keep", "self._by_nonce = None", "pass")),
        _nonces_find_documents,
    ),
    "find by nonce what is forgotten": (
        all_of(FORGETFUL, edited(Account, "forget", "self._by_nonce = None", "pass")),
        _nonces_find_documents,
    ),
    "never close ranks": (never("_close_ranks", Roster), _rosters_are_short),
    "keep an empty level": (never("drop", Side), _nothing_stays),
    "leave links in an order": (
        edited(
            Level,
            "remove",
            "order.level = order.previous = order.next = None",
            "order.level = None",
        ),
        _order_knows_nobody,
    ),
    "leave the level in an order": (
        edited(Level, "remove", "order.level = order.previous", "order.previous"),
        _order_knows_nobody,
    ),
    "leave links in what had a deadline": (
        edited(
            Deadlines,
            "remove",
            "entry.due_slot = entry.due_previous = entry.due_next = None",
            "entry.due_slot = None",
        ),
        _entry_knows_nobody,
    ),
    "never forget empty times": (never("_grow_idle", Deadlines), _times_are_few),
    "search a level": (
        edited(
            Exchange,
            "end",
            "level = order.level",
            "level = order.level\n    for _ in order.book.bids():\n        pass",
        ),
        _cancel_is_short,
    ),
    "part no order of a dropped market": (never("part", Book), _dropped_is_freed),
    "part no level of a dropped market": (never("part", Side), _dropped_is_freed),
    "part no deadline of a dropped market": (never("part", Deadlines), _dropped_is_freed),
    "keep a word a nonce": (constant(nonce, "NONCES_PER_WORD", 1), _nonces_are_bits),
    "forget that a nonce was used": (
        edited(Nonces, "use", "self._bits |=", "word |="),
        _nonces_are_bits,
    ),
}


@pure_only
@pytest.mark.parametrize(("sabotage", "test"), KEPT.values(), ids=KEPT)
def test_what_stays_behind_shows(
    sabotage: Patch, test: Callable[[int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in the test that is there for it."""
    sabotage(monkeypatch)
    assert seeds_until_caught(test, 3) < 3
