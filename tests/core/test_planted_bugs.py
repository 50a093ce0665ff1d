"""Tests of the tests: each sabotage of the core must be caught by a random walk.

A walk is what the state machine does, from a seed. What catches a sabotage is a `check` of
the core, an invariant, a ghost, the fake chain, the closing phase, the upstream's count, or
the replay; any other error means that the sabotage itself is broken. Bugs that are planted
in the exchange, the deadlines, the memory and the snapshot have tests of their own
(`test_planted_exchange_bugs`, `test_planted_memory_bugs`).
"""

from typing import Any, Final

import msgspec
import pytest

from solver.core import (
    auction,
    book,
    chain,
    contest,
    delivery,
    event,
    exchange,
    intake,
    judge,
    lease,
    ledger,
    market,
    session,
    settling,
    state,
    trade,
    window,
)
from solver.core.nonce import Nonces
from tests.conftest import PROFILE
from tests.core.floor import a_walk
from tests.core.sabotage import (
    Patch,
    all_of,
    constant,
    edited,
    never,
    nothing,
    pure_only,
    seeds_until_caught,
    the_worst_wins,
)

WALKS_MAX: Final = 100
STEPS: Final = 220


def _window_forgets_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    original = window.Window.finish
    monkeypatch.setattr(
        window.Window,
        "finish",
        lambda self, started, _, now_ms: original(self, started, 0, now_ms),
    )


def _window_forgets_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.Window, "start", nothing)
    monkeypatch.setattr(window, "check", nothing)


def _window_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.Window, "wait_ms", lambda *_: 0)


def _window_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place is free one window after the call *started*."""
    original = window.Window.wait_ms

    def early(self: window.Window, units: int, now_ms: int) -> int:
        return 0 if original(self, units, now_ms) <= 10_000 else original(self, units, now_ms)

    monkeypatch.setattr(window.Window, "wait_ms", early)


def _minimum_is_one_less(monkeypatch: pytest.MonkeyPatch) -> None:
    original = exchange.Exchange._is_minimum_met

    def lenient(self: exchange.Exchange, bid: book.Order) -> bool:
        bid.minimum -= 1
        met = original(self, bid)
        bid.minimum += 1
        return met

    monkeypatch.setattr(exchange.Exchange, "_is_minimum_met", lenient)


def _pay_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments round up."""
    for module in (lease, exchange, delivery):
        monkeypatch.setattr(
            module, "payment_at", lambda tick, units: -(-tick * units // 10**6) + bool(units % 7)
        )


def _sell_at_the_takers_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price is one tick above what the buyer signed."""
    original = trade.open_lease

    def dear(*arguments: Any, tick: int, **rest: Any) -> Any:
        return original(*arguments, tick=arguments[2].tick + 1, **rest)

    monkeypatch.setattr(trade, "open_lease", dear)


def _post_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    post = ledger.post

    def twice(debit: ledger.Balance, credit: ledger.Balance, held: int, amount: int) -> None:
        post(debit, credit, held, amount)
        ledger.transfer(debit, credit, amount, forced=True)

    for module in (delivery, settling):
        monkeypatch.setattr(module, "post", twice)


def _start_before_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are active as soon as they are known."""
    original = state.State.schedule

    def eager(self: state.State, at_ms: int, due: state.Due, subject: str) -> None:
        early = due in (state.Due.ACTIVATE_INTENT, state.Due.ACTIVATE_OFFER)
        original(self, self.now_ms + 1 if early else at_ms, due, subject)

    monkeypatch.setattr(state.State, "schedule", eager)


def _before_endings(*kinds: state.Due) -> Patch:
    """What falls due at the time at which something ends comes first."""
    ranks = {state._RANK[kind] for kind in kinds}
    first = "        lease = state.lease_ends.pop(at_ms)"
    early = f"        if state.due and state.due[0][0] <= at_ms and state.due[0][1] in {ranks}:"
    handled = "            _fall_due(state, *state.pop_due())\n            continue"
    return edited(market, "_tick", first, f"{early}\n{handled}\n{first}")


def _no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (intake, trade, delivery, settling):
        monkeypatch.setattr(module, "commit", nothing)


def _cap_forgets_what_was_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spendless(state.Session):
        """A session whose spending is forgotten."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, 0 if name == "spent" else value)

    monkeypatch.setattr(session, "Session", Spendless)


def _credits_cost_no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a session pays in credits is not counted."""
    original = settling.settle

    def settle(where: Any, lease: lease.Lease, payment: int, reward: int = 0, **rest: Any) -> None:
        original(where, lease, payment, reward, **rest)
        signer = where.intents[lease.intent].signer
        key = where.accounts[lease.buyer].sessions.get(signer)
        if key is not None and lease.asset == state.CREDIT:
            key.spent -= payment

    monkeypatch.setattr(settling, "settle", settle)


def _window_per_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with two resources may be used twice as much."""
    original = state.State.set_limits

    def apart(
        self: state.State, subject: str, resources: tuple[str, ...], *limits_and_use: Any
    ) -> None:
        for resource in resources:
            original(self, subject, (resource,), *limits_and_use)

    monkeypatch.setattr(state.State, "set_limits", apart)


def _score_units_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def units(solution: auction.Solution, terms: judge._Terms) -> dict[int, int]:
        return {
            terms.books[book.resource].bucket: sum(fill.units for fill in book.fills)
            for book in solution.books
        }

    monkeypatch.setattr(judge, "_surplus", units)


def _no_sums_in_auctions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_fault_in_sums", nothing)


def _fill_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cancelled since the snapshot still counts and is carried out."""
    monkeypatch.setattr(contest, "_shrunk", lambda *_: {})


def _score_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out of a solution still counts for its rank."""
    original = judge._score

    def score(terms: judge._Terms, proposed: auction.Proposed) -> judge.Scored:
        scored = original(terms, proposed)
        if scored.reason is not None:
            return scored
        whole = judge._surplus(proposed.solution, terms)
        return msgspec.structs.replace(scored, surplus=whole)

    monkeypatch.setattr(judge, "_score", score)


def _promise_less_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others could have had is said to be more than the winner has."""
    original = judge._winners

    def dearer(*arguments: Any) -> tuple[event.Won, ...]:
        return tuple(
            msgspec.structs.replace(won, reference=str(int(won.score) + 1))
            for won in original(*arguments)
        )

    monkeypatch.setattr(judge, "_winners", dearer)


def _money_leaves_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intents may spend what a withdrawal has asked for and a lease has freed since."""

    def available(where: state.State, intent: state.IntentState, _account: object) -> int:
        return where.ledger.available(intent.account, intent.asset)

    monkeypatch.setattr(intake, "_spendable", available)


def _moved_leases_keep_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are served twice: by the old lease and by the new one."""
    original = trade.open_lease

    def greedy(*arguments: Any, units: int, **rest: Any) -> Any:
        return original(*arguments, units=units + 1, **rest)

    monkeypatch.setattr(delivery, "open_lease", greedy)


def _unknown_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is delivered than a lease has."""

    def account_for(lease: lease.Lease, _: Any, command: Any) -> None:
        lease.delivered += command.units

    monkeypatch.setattr(delivery, "_account_for", account_for)


def _skipped_lines_are_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    original = settling.settle

    def pay(where: Any, lease: lease.Lease, payment: int, reward: int = 0, **rest: Any) -> None:
        original(where, lease, lease.payment if rest else payment, reward, **rest)

    monkeypatch.setattr(settling, "settle", pay)


def _no_minimum_on_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions with a minimum count what was delivered, also against the intent."""
    monkeypatch.setattr(state.IntentState, "has_minimum", property(lambda _: False))


def _unknown_units_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the upstream may have counted is sold again."""
    original = delivery._close_capacity

    def close(where: state.State, offer: Any, lease: lease.Lease) -> None:
        lease.lapsed = 0
        original(where, offer, lease)

    monkeypatch.setattr(delivery, "_close_capacity", close)


def _units_return_to_dead_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    original = delivery._close_capacity

    def close(where: state.State, offer: Any, lease: lease.Lease) -> None:
        live, offer.live = offer.live, True
        original(where, offer, lease)
        offer.live = live

    monkeypatch.setattr(delivery, "_close_capacity", close)


SABOTAGES: Final[dict[str, Patch]] = {
    "skip the nonce check": never("has_used", state.Account),
    "take any session": never("_end_signed_by", chain),
    "drop what a window finished": _window_forgets_finished,
    "drop what a window started": _window_forgets_starts,
    "never ask a window": _window_is_blind,
    "free windows ten seconds early": _window_counts_from_the_start,
    "minimum off by one": _minimum_is_one_less,
    "round payments up": _pay_one_more,
    "charge above the limit": _sell_at_the_takers_price,
    "forget to release a hold": never("release", delivery),
    "post twice": _post_twice,
    "match with oneself": edited(
        exchange.Exchange, "_take_asks", "if ask.money is not money:", "if ask.units:"
    ),
    "sell to oneself": edited(
        exchange.Exchange, "_sell", "if bid.money is not money:", "if bid.units:"
    ),
    "fill expired intents": never("end_intent", market),
    "fill expired offers": never("end_offer", market),
    "never end a lease": never("end_lease", market),
    "fill before time": _start_before_time,
    "activate before expiring": _before_endings(
        state.Due.ACTIVATE_INTENT, state.Due.ACTIVATE_OFFER
    ),
    "count no cap": _no_cap,
    "forget what a session spent": _cap_forgets_what_was_paid,
    "let sessions spend credits freely": _credits_cost_no_cap,
    "give each resource of a key its own windows": _window_per_resource,
    "overfill": edited(
        exchange.Exchange, "_move", "ask.units -= units", "ask.units -= max(1, units - 1)"
    ),
    "award the worst solution": the_worst_wins,
    "score by units": _score_units_only,
    "judge no sums": _no_sums_in_auctions,
    "reward below zero": _promise_less_than_nothing,
    "fill what ended since the snapshot": _fill_what_ended,
    "score what ended since the snapshot": _score_what_ended,
    "spend what is being withdrawn": _money_leaves_twice,
    "serve moved units twice": _moved_leases_keep_their_units,
    "deliver more than leased": _unknown_is_delivered,
    "pay skipped lines": _skipped_lines_are_paid,
    "keep a cancelled order in the book": edited(
        exchange.Exchange, "end", "level.remove(order)", "pass"
    ),
    "forget minimums on chain": _no_minimum_on_chain,
    "sell delivered units again": edited(
        delivery, "_close_capacity", "lease.delivered + lease.lapsed", "lease.lapsed"
    ),
    "return units before endings": _before_endings(state.Due.RETURN_UNITS),
    "return units of unknown outcome": _unknown_units_return,
    "return units to ended offers": _units_return_to_dead_offers,
    "forget what leases give back": never("return_units", market),
    "use a forgotten nonce again": all_of(
        constant(state, "FINISHED_KEPT_MAX", 1),
        edited(Nonces, "use", "self._bits |=", "word |="),
    ),
    "never end a mandate": never("end_mandate", market),
    "let mandates outlive their sessions": edited(
        chain, "_end_document", 'end_mandate(state, record, "cancelled on chain")', "pass"
    ),
    "serve what a mandate's session bought once it is revoked": edited(
        chain,
        "_end_signed_by",
        "(intent.signer, _mandate_signer(state, intent))",
        "(intent.signer,)",
    ),
    "leave a mandate's intents open": edited(
        trade, "end_mandate", "end_intent(state, record", "(state, record"
    ),
    "look at no terms of a mandate": never("_fault_in_terms", intake),
    "count nothing that a mandate spends": edited(trade, "spend", "mandate.spent += atoms", "pass"),
    "count nothing that a mandate may spend": edited(
        trade, "commit", "mandate.committed += atoms", "pass"
    ),
    "let mandates pass their session's cap": edited(
        trade, "commit", "authority, signer = mandate.authority, mandate.signer", "pass"
    ),
    "sell what came back after its end": edited(
        trade, "return_units", "if offer.order.until_ms <= state.now_ms:", "if False:"
    ),
    "reserve nothing for a fill": edited(
        trade, "_lease_fill", "hold(offer.capacity, fill.units)", "pass"
    ),
    "forget cancelled nonces": never("_cancel_nonce", chain),
    "keep documents of an old epoch": never("_end_documents", chain),
}


@pure_only
@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_a_planted_bug_is_caught(sabotage: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a bounded number of seeded walks something raises; a survivor blocks a release."""
    sabotage(monkeypatch)
    assert seeds_until_caught(lambda seed: a_walk(seed, STEPS), WALKS_MAX) < WALKS_MAX


def test_without_a_sabotage_the_same_walks_pass() -> None:
    """What catches the bugs above is the bugs, not the walks."""
    for seed in range(WALKS_MAX if PROFILE == "full" else 60):
        a_walk(seed, STEPS)
