"""Tests of the tests: each sabotage of the core must be caught by a random walk.

A walk is what the state machine does, from a seed. What catches a sabotage is anything
that raises: a `check` of the core, an invariant, a ghost, the fake chain, the closing
phase, the upstream's count, or the replay.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from intents.reject import Reject, RejectCode
from solver.core import (
    auction,
    book,
    chain,
    contest,
    delivery,
    intake,
    invariant,
    ledger,
    market,
    settling,
    state,
    trade,
    window,
)
from tests.conftest import PROFILE
from tests.core.floor import a_walk

WALKS_MAX: Final = 250
STEPS: Final = 150

Patch = Callable[[pytest.MonkeyPatch], None]


def _nothing(*_: Any, **__: Any) -> None:
    """Sabotage by doing nothing."""


def _skip_code(code: RejectCode) -> Patch:
    """Authority without one of its checks."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = intake._fault_in_authority

        def blind(*arguments: Any) -> Reject | None:
            fault = original(*arguments)
            return None if fault is not None and fault.code is code else fault

        monkeypatch.setattr(intake, "_fault_in_authority", blind)

    return patch


def _window_forgets_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    original = window.Window.finish
    monkeypatch.setattr(
        window.Window,
        "finish",
        lambda self, started, _, now_ms: original(self, started, 0, now_ms),
    )


def _window_forgets_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.Window, "start", _nothing)
    monkeypatch.setattr(window, "check", _nothing)


def _window_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.Window, "wait_ms", lambda *_: 0)


def _window_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place is free one window after the call *started*."""
    original = window.Window.wait_ms

    def early(self: window.Window, units: int, now_ms: int) -> int:
        return 0 if original(self, units, now_ms) <= 10_000 else original(self, units, now_ms)

    monkeypatch.setattr(window.Window, "wait_ms", early)


def _minimum_is_one_less(monkeypatch: pytest.MonkeyPatch) -> None:
    original = book.Book.plan_bid

    def lenient(self: book.Book, bid: book.Order) -> list[book.Match]:
        minimum = bid.minimum
        bid.minimum = max(1, minimum - 1)
        plan = original(self, bid)
        bid.minimum = minimum
        return plan

    monkeypatch.setattr(book.Book, "plan_bid", lenient)
    original_end = trade.end_intent

    def keep_the_rest(*arguments: Any) -> None:
        if arguments[2] != "unfilled":
            original_end(*arguments)

    monkeypatch.setattr(trade, "end_intent", keep_the_rest)


def _pay_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments round up."""
    for module in (state, trade, delivery):
        monkeypatch.setattr(
            module, "payment_at", lambda tick, units: -(-tick * units // 10**6) + bool(units % 7)
        )


def _sell_at_the_takers_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price is one tick above what the buyer signed."""
    original = trade.open_lease

    def dear(*arguments: Any, tick: int, **rest: Any) -> Any:
        return original(*arguments, tick=arguments[2].tick + 1, **rest)

    monkeypatch.setattr(trade, "open_lease", dear)


def _leave_the_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a lease does not release what was not used."""
    monkeypatch.setattr(ledger.Ledger, "reduce", _nothing)


def _post_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ledger.Ledger.post

    def twice(self: ledger.Ledger, hold: str, amount: int) -> None:
        entry = self._holds[hold]
        original(self, hold, amount)
        self.transfer(entry.debit, entry.credit, entry.asset, amount, forced=True)

    monkeypatch.setattr(ledger.Ledger, "post", twice)


def _trade_with_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every order looks as if another account had made it."""
    original = book.Order

    def order(**terms: Any) -> book.Order:
        return original(**terms | {"account": f"{terms['account']}/{terms['seq']}"})

    monkeypatch.setattr(trade, "Order", order)


def _documents_never_end(name: str, module: Any = market) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(module, name, _nothing)


def _start_before_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are active as soon as they are known."""
    original = state.State.schedule

    def eager(self: state.State, at_ms: int, due: state.Due, subject: str) -> None:
        early = due in (state.Due.ACTIVATE_INTENT, state.Due.ACTIVATE_OFFER)
        original(self, self.now_ms + 1 if early else at_ms, due, subject)

    monkeypatch.setattr(state.State, "schedule", eager)


def _activate_before_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order in which the first version of the core handled what falls due at once."""
    monkeypatch.setattr(state, "_RANK", dict.fromkeys(state.Due, 0))


def _no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (intake, trade, delivery, settling):
        monkeypatch.setattr(module, "commit", _nothing)


def _cap_forgets_what_was_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spendless(state.Session):
        """A session whose spending is forgotten."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, 0 if name == "spent" else value)

    monkeypatch.setattr(chain, "Session", Spendless)


def _credits_cost_no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a session pays in credits is not counted."""
    original = settling._settle

    def settle(where: Any, lease: state.Lease, payment: int, **rest: Any) -> None:
        original(where, lease, payment, **rest)
        signer = where.intents[lease.intent].signer
        session = where.accounts[lease.buyer].sessions.get(signer)
        if session is not None and lease.asset == state.CREDIT:
            session.spent -= payment

    monkeypatch.setattr(settling, "_settle", settle)


def _window_per_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with two resources may be used twice as much."""
    original = state.State.set_limits

    def apart(self: state.State, subject: str, resources: tuple[str, ...], limits: Any) -> None:
        for resource in resources:
            original(self, subject, (resource,), limits)

    monkeypatch.setattr(state.State, "set_limits", apart)


def _overfill(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ask is reduced by one unit too few."""
    original = book.Book.reduce

    def less(self: book.Book, order: str, units: int) -> None:
        if units > 1:
            original(self, order, units - 1)
        else:
            original(self, order, units)

    monkeypatch.setattr(book.Book, "reduce", less)


def _take_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    original = auction.judge

    def worst(*arguments: Any) -> list[auction.Ranked]:
        ranking = original(*arguments)
        valid = [r for r in ranking if r.reason is None or r.reason.code is RejectCode.OUTBID]
        if len(valid) > 1:
            loser = valid[-1]
            chosen = msgspec.structs.replace(loser, reason=None)
            return [chosen, *(r for r in ranking if r is not loser)]
        return ranking

    monkeypatch.setattr(contest, "judge", worst)


def _score_units_only(monkeypatch: pytest.MonkeyPatch) -> None:
    original = auction._score

    def score(*arguments: Any) -> auction.Ranked:
        ranked = original(*arguments)
        units = sum(fill.units for fill in ranked.solution.fills)
        return msgspec.structs.replace(ranked, score=units)

    monkeypatch.setattr(auction, "_score", score)


def _no_sums_in_auctions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auction, "_fault_in_sums", _nothing)


def _fill_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cancelled since the snapshot still counts and is carried out."""
    original = auction._terms

    def terms(snapshot: auction.Snapshot, _: auction.OpenUnits) -> auction._Terms:
        units = {order.id: order.units for order in (*snapshot.intents, *snapshot.offers)}
        return original(snapshot, units.__getitem__)

    monkeypatch.setattr(auction, "_terms", terms)


def _score_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out of a solution still counts for its rank."""
    original = auction._score

    def score(terms: auction._Terms, proposed: auction.Proposed) -> auction.Ranked:
        ranked = original(terms, proposed)
        whole = sum(
            fill.units * (terms.intents[fill.intent].tick - terms.offers[fill.offer].tick)
            for fill in (proposed.solution.fills if ranked.reason is None else ())
        )
        return msgspec.structs.replace(ranked, score=whole)

    monkeypatch.setattr(auction, "_score", score)


def _money_leaves_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intents may spend what a withdrawal has asked for and a lease has freed since."""

    def available(where: state.State, account: str, asset: str) -> int:
        return where.ledger.available(account, asset)

    monkeypatch.setattr(intake, "_spendable", available)


def _moved_leases_keep_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are served twice: by the old lease and by the new one."""
    original = trade.open_lease

    def greedy(*arguments: Any, units: int, **rest: Any) -> Any:
        return original(*arguments, units=units + 1, **rest)

    monkeypatch.setattr(delivery, "open_lease", greedy)


def _unknown_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is delivered than a lease has."""

    def account_for(lease: state.Lease, _: Any, command: Any) -> None:
        lease.delivered += command.units

    monkeypatch.setattr(delivery, "_account_for", account_for)


def _skipped_lines_are_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    original = settling._settle

    def pay(where: Any, lease: state.Lease, payment: int, **rest: Any) -> None:
        original(where, lease, lease.payment if rest else payment, **rest)

    monkeypatch.setattr(settling, "_settle", pay)


def _no_minimum_on_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions with a minimum count what was delivered, and give the rest back."""
    monkeypatch.setattr(state.IntentState, "has_minimum", property(lambda _: False))


def _returned_units_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """On chain all that was filled counts, also what is sold again."""
    for module in (settling, invariant):
        monkeypatch.setattr(module, "counted_units", lambda _, lease: lease.units)


def _units_return_before_endings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back is sold before what is over at that instant has ended."""
    monkeypatch.setitem(state._RANK, state.Due.RETURN_UNITS, -1)


def _unknown_units_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the upstream may have counted is sold again."""
    original = delivery._close_capacity

    def close(where: state.State, intent: Any, lease: state.Lease) -> None:
        lease.lapsed = 0
        original(where, intent, lease)

    monkeypatch.setattr(delivery, "_close_capacity", close)


def _units_return_to_dead_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    original = delivery._close_capacity

    def close(where: state.State, intent: Any, lease: state.Lease) -> None:
        offer = where.offers[lease.offer]
        live, offer.live = offer.live, True
        original(where, intent, lease)
        offer.live = live

    monkeypatch.setattr(delivery, "_close_capacity", close)


SABOTAGES: Final[dict[str, Patch]] = {
    "skip the nonce check": _skip_code(RejectCode.NONCE_USED),
    "take any session": _documents_never_end("_end_signed_by", chain),
    "drop what a window finished": _window_forgets_finished,
    "drop what a window started": _window_forgets_starts,
    "never ask a window": _window_is_blind,
    "free windows ten seconds early": _window_counts_from_the_start,
    "minimum off by one": _minimum_is_one_less,
    "round payments up": _pay_one_more,
    "charge above the limit": _sell_at_the_takers_price,
    "forget to release a hold": _leave_the_hold,
    "post twice": _post_twice,
    "match with oneself": _trade_with_oneself,
    "fill expired intents": _documents_never_end("end_intent"),
    "fill expired offers": _documents_never_end("end_offer"),
    "never end a lease": _documents_never_end("end_lease"),
    "fill before time": _start_before_time,
    "activate before expiring": _activate_before_expiry,
    "count no cap": _no_cap,
    "forget what a session spent": _cap_forgets_what_was_paid,
    "let sessions spend credits freely": _credits_cost_no_cap,
    "give each resource of a key its own windows": _window_per_resource,
    "overfill": _overfill,
    "award the worst solution": _take_the_worst,
    "score by units": _score_units_only,
    "judge no sums": _no_sums_in_auctions,
    "fill what ended since the snapshot": _fill_what_ended,
    "score what ended since the snapshot": _score_what_ended,
    "spend what is being withdrawn": _money_leaves_twice,
    "serve moved units twice": _moved_leases_keep_their_units,
    "deliver more than leased": _unknown_is_delivered,
    "pay skipped lines": _skipped_lines_are_paid,
    "keep a cancelled order in the book": lambda monkeypatch: monkeypatch.setattr(
        book.Book, "remove", _nothing
    ),
    "forget minimums on chain": _no_minimum_on_chain,
    "count returned units on chain": _returned_units_count_too,
    "return units before endings": _units_return_before_endings,
    "return units of unknown outcome": _unknown_units_return,
    "return units to ended offers": _units_return_to_dead_offers,
    "forget what leases give back": _documents_never_end("return_units"),
    "forget cancelled nonces": _documents_never_end("_cancel_nonce", chain),
    "keep documents of an old epoch": _documents_never_end("_end_documents", chain),
}


def _walks_until_caught() -> int:
    for seed in range(WALKS_MAX):
        try:
            a_walk(seed, STEPS)
        except Exception:  # noqa: BLE001  whatever stops the walk has caught it
            return seed
    return WALKS_MAX


@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_a_planted_bug_is_caught(sabotage: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a bounded number of seeded walks something raises; a survivor blocks a release."""
    sabotage(monkeypatch)
    assert _walks_until_caught() < WALKS_MAX


def test_without_a_sabotage_the_same_walks_pass() -> None:
    """What catches the bugs above is the bugs, not the walks."""
    for seed in range(WALKS_MAX if PROFILE == "full" else 60):
        a_walk(seed, STEPS)
