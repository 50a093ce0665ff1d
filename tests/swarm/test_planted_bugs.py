"""Tests of the tests: each sabotage must be found within a hundred worlds.

What finds it is a check of the core, an invariant, the auditor, the fake contract, a
process that ends without a reason, the phase without faults, or the replay.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from intents import admission, cap_word
from intents.reject import Reject
from intents.typed_data import digest
from simulations.swarm import (
    bond_contract,
    disk,
    gate,
    metered_contract,
    node,
    session_contract,
)
from simulations.swarm.finding import Finding
from simulations.swarm.world import World
from solver import bridge
from solver.core import (
    bond,
    bonding,
    cancel,
    chain,
    conduct,
    contest,
    delivery,
    exchange,
    intake,
    judge,
    ledger,
    market,
    metered,
    metering,
    session,
    settling,
    state,
    trade,
    window,
)
from solver.core.check import Violation
from solver.core.command import Authority, Outcome
from solver.core.fact import Deposited
from solver.engine import award as engine_award
from solver.engine import rerun, sequencer
from solver.gateway import spending
from solver.journal import JournalFault, extent, journal, mark, record
from solver.journal import recovery as restoring
from solver.settlement import follow, penalty, watcher
from solver.settlement.chain import ChainClient
from solver.settlement.fault import SettlementFault
from solver.settlement.signatures import ContractSignatures
from solver.vault.scrub import Scrubber
from tests.core.sabotage import (
    Patch,
    all_of,
    edited,
    never,
    nothing,
    pure_only,
    the_worst_wins,
)

WORLDS_MAX: Final = 100
FOUND: Final = (Finding, Violation, KeyError, JournalFault, SettlementFault, node.BooksDiffer)
"""What a world raises when something is wrong; a KeyError is the core's, of a record that is gone
twice. Anything else: the sabotage is broken."""
STEPS: Final = 2_000


def _set(module: Any, name: str, value: Any) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


def _windows_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place is free a second before its window is over."""
    original = window.Window.wait_ms

    def early(self: window.Window, units: int, now_ms: int) -> int:
        wait_ms = original(self, units, now_ms)
        return 0 if wait_ms <= 1_000 else wait_ms

    monkeypatch.setattr(window.Window, "wait_ms", early)


def _ledger_is_one_sided(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer forgets the payer."""

    def lopsided(_: Any, credit: ledger.Balance, amount: int, **__: Any) -> None:
        credit.credits_posted += amount

    for module in (chain, intake, trade, delivery):
        if hasattr(module, "transfer"):
            monkeypatch.setattr(module, "transfer", lopsided)


def _handled(name: str, patch: Patch, module: Any) -> Patch:
    """A command's handler is changed, also where the market keeps it."""

    def both(monkeypatch: pytest.MonkeyPatch) -> None:
        before = getattr(module, name)
        patch(monkeypatch)
        for command, handler in list(market._HANDLERS.items()):
            if handler is before:
                monkeypatch.setitem(market._HANDLERS, command, getattr(module, name))

    return both


def _paid_twice(state: Any, fact: Any) -> None:
    """What the chain said of a claim is heard twice."""
    metered.claim_paid(state, fact)
    metered.claim_paid(state, fact)


def _unknown_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not know what became of a call charges for it."""
    original = bridge.MarketDelivery.finish_call

    async def charge(
        self: bridge.MarketDelivery, call: str, outcome: Outcome, units: int, **blame: bool
    ) -> None:
        paid = Outcome.DELIVERED if outcome is Outcome.UNKNOWN else outcome
        await original(self, call, paid, max(1, units), **blame)

    monkeypatch.setattr(bridge.MarketDelivery, "finish_call", charge)


def _deposits_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher tells twice what came in."""
    original = watcher.fact_of

    def double(log: Any) -> Any:
        fact = original(log)
        if isinstance(fact, Deposited):
            return Deposited(account=fact.account, amount=2 * fact.amount)
        return fact

    monkeypatch.setattr(watcher, "fact_of", double)


async def _nothing_later(*_: Any, **__: Any) -> None:
    """Sabotage of a coroutine by doing nothing."""


def _believe_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document counts as signed by its account, whatever the signature is."""

    def admit(sent: Any, rules: Any, now_s: int) -> Any:
        found = admission.admit(sent, rules, now_s)
        if not isinstance(found, Reject) or not found.code.startswith("signature"):
            return found
        return admission.Verified(
            document=sent.document,
            digest="0x" + digest(rules.domain.prefix(), sent.document).hex(),
            signer=sent.document.account,
            signature=sent.signature,
        )

    monkeypatch.setattr(gate, "admit", admit)


def _believe_known_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain is not asked about a key that the market has heard of."""
    original = spending._bind

    async def bound(
        gateway: Any, verified: admission.Verified[Any], sender: str
    ) -> tuple[str, Authority] | Reject:
        account = gateway.state.accounts.get(verified.document.account)
        if account is not None and verified.signer in account.sessions:
            return verified.signer or "", Authority.SESSION
        return await original(gateway, verified, sender)

    monkeypatch.setattr(spending, "_bind", bound)


async def _as_its_key(_: Any, verified: admission.Verified[Any], __: str) -> tuple[str, Authority]:
    """Whoever signed a receipt is the account's key."""
    return verified.signer or "", Authority.KEY


async def _is_not_so(*_: Any) -> bool:
    """Sabotage of a question that is always answered with no."""
    return False


async def _is_valid(*_: Any) -> bool:
    """Every contract says yes, also where there is none."""
    return True


def _unverified(log: record.Log, up_to: record.End) -> Iterator[record.Record]:
    """Every record as it stands, whatever its chain says."""
    place = log.start.place
    while place < up_to.place and (found := log.record_at(place)) is not None:
        yield found
        place = found.end.place


_WRITE: Final = "        if batch.applied:\n            await self._write(batch)\n"
_PUBLISH: Final = "        self.feed.extend(batch.times_ms, batch.told)\n"

SABOTAGES: Final[dict[str, Patch]] = {
    # The core.
    "skip the nonce check": _set(state.Account, "has_used", lambda *_: False),
    "free windows a second early": _windows_end_early,
    "calls in flight fill no window": edited(
        window.Window,
        "wait_ms",
        "self._in_flight_units + self._finished_units + units",
        "self._finished_units + units",
    ),
    "never ask a window": _set(window.Window, "wait_ms", lambda *_: 0),
    "the windows of offers are forgotten": edited(
        state.State, "windows_of", " + self.windows.get((offer, resource), [])", ""
    ),
    "snapshots forget what windows hold": edited(
        window.Window, "image", "entry[0] + self._span_ms > now_ms", "entry[0] > now_ms"
    ),
    "lease money is not released": never("release", delivery),
    "fill after the deadline": never("end_intent", market),
    "sell after the deadline": never("end_offer", market),
    "never end a lease": never("end_lease", market),
    "ignore minimums": _set(exchange.Exchange, "_is_minimum_met", lambda *_: True),
    "settle a line twice": _handled(
        "cut_batch",
        edited(
            settling,
            "cut_batch",
            "[batch_line(state, lease, number) for lease in leases]",
            "[batch_line(state, lease, number) for lease in (*leases, *leases)]",
        ),
        settling,
    ),
    "one-sided ledger": _ledger_is_one_sided,
    "count no cap": all_of(
        *(_set(module, "commit", nothing) for module in (intake, trade, delivery, settling))
    ),
    "fill what was cancelled": edited(exchange.Exchange, "end", "level.remove(order)", "pass"),
    "the taker sets the price": edited(
        exchange.Exchange,
        "_take_asks",
        "price = level.tick",
        "price = tick if level.tick <= tick else level.tick",
    ),
    "match with oneself": edited(
        exchange.Exchange, "_take_asks", "if ask.money is not money:", "if ask.units:"
    ),
    "orphaned leases are never moved": _handled(
        "retire_key",
        edited(delivery, "retire_key", "lease.status is LeaseStatus.OPEN", "lease.key is None"),
        delivery,
    ),
    "the worst solution wins": the_worst_wins,
    "judge no sums": _set(judge, "_fault_in_sums", nothing),
    "count blocks twice": _handled(
        "apply_blocks",
        edited(chain, "apply_blocks", "command.number <= state.cursor", "command.number < 0"),
        chain,
    ),
    "cancel for strangers": _set(cancel, "_fault_in_owner", nothing),
    "the choice of an any-of has no money": _set(contest, "choose_leg", nothing),
    "two of an any-of": _set(trade, "_end_alternatives", nothing),
    "bundles are judged leg by leg": _set(judge, "_fault_in_bundles", nothing),
    "what is brought goes on": _set(contest, "withdraw_brought", nothing),
    "what is brought is not told": _set(contest, "tell_brought", nothing),
    "trust without a bound": never("fault_in_trust", delivery),
    "a reject leaves a trace": edited(
        market.Market, "_end", "state.now_ms = before_ms", "state.exchange.next_seq()"
    ),
    # Metered settlement.
    "nobody has to sign": never("fault_in_meter", metering),
    "calls in flight are not owed": edited(
        metering,
        "fault_in_meter",
        "lease.delivered + lease.in_flight + units",
        "lease.delivered",
    ),
    "anyone signs": all_of(  # The gateway asks first, the core again.
        _set(spending, "_bind", _as_its_key),
        edited(
            metering, "_fault_in_receipt", "command.signer != receipt.account", "not command.signer"
        ),
    ),
    "a settled record leaves the base": edited(metered, "_pay", "meter.base += paid.paid", "pass"),
    "a metered reward is the seller's": edited(
        metering, "shares_of", "reward = lease.reward", "reward = 0"
    ),
    "a metered reward is paid twice": edited(
        metering,
        "shares_of",
        "shares.get(solver, 0) + reward",
        "shares.get(solver, 0) + 2 * reward",
    ),
    "a metered reward is another's": edited(
        metering, "shares_of", "_, solver = awarded_by(lease.award)", "solver = lease.buyer"
    ),
    "calls are not metered": never("note_reach", delivery),
    "the operator attests what was signed": edited(
        metered, "_record_of", "receipt = meter.receipt", "receipt = None"
    ),
    "a claim is forgotten": _set(chain, "claim_paid", nothing),
    "a claim counts twice": _set(chain, "claim_paid", _paid_twice),
    "forget receipts on recovery": edited(
        rerun._Commands,
        "carry_out",
        "return market.apply(command)",
        "return market.apply(command) if 'Receipt' not in type(command).__name__ else []",
    ),
    "winners are paid by no award that the market signed": edited(
        engine_award.AwardSigner, "_sign", "self._key.sign", "SigningKey.generate().sign"
    ),
    # The engine.
    "publish before it is durable": edited(
        sequencer.Sequencer,
        "_carry_out",
        _WRITE + _PUBLISH,
        _PUBLISH + _WRITE,
    ),
    "answer before it is durable": edited(
        sequencer.Sequencer,
        "_carry_out",
        _WRITE,
        "        batch.answer()\n" + _WRITE,
    ),
    "let time fall": _set(sequencer.Sequencer, "now_ms", lambda self: self._clock.now_ms()),
    "apply twice on recovery": edited(
        rerun._Commands,
        "carry_out",
        "return market.apply(command)",
        "return (market.apply(command), market.apply(command))[0]",
    ),
    "forget calls in flight": _set(node, "lost_calls", lambda _: []),
    # The journal.
    "no sync before the answer": edited(journal.Journal, "append", "self._file.sync()", "pass"),
    "ignore the lock": _set(
        disk.Disk, "lock", lambda self, path: disk._Lock(self._locks, path.name)
    ),
    "believe flipped bits": _set(extent, "read_verified", _unverified),
    "believe a tail that was cut off": never("move", mark.Mark),
    "believe any snapshot": edited(
        restoring,
        "_loaded",
        "state.usdc != source.genesis.usdc or state.hash() != header.state_hash",
        "setattr(state, 'batch_next', state.batch_next + 1)",
    ),
    # Settlement.
    "believe blocks that are not final": _set(ChainClient, "finalized", ChainClient.head),
    "count a deposit twice": _deposits_count_twice,
    "send nothing a second time": all_of(
        _set(follow.Follower, "_bump_if_stuck", _nothing_later),
        edited(follow.Follower, "_is_pooled", "return any(known)", "return True"),
    ),
    # Solvers' bonds.
    "bid without a bond": never("fault_in_bond", contest),
    "what is asked back still stands": edited(
        bonding, "bond_withdrawal_requested", ".withdrawing = fact.amount", ".withdrawing = 0"
    ),
    "count a bond twice": edited(
        bonding, "bond_deposited", "amount += fact.amount", "amount += 2 * fact.amount"
    ),
    "forget that a bond paid": edited(
        bonding, "solver_penalised", "bond.amount -= fact.paid", "pass"
    ),
    "owe a penalty for ever": edited(
        bonding, "solver_penalised", "_release(state, award_id(fact.auction, fact.solver))", "pass"
    ),
    "penalise who delivered": edited(
        bonding,
        "note_closed",
        "min(answer.failed, answer.units - lease.delivered)",
        "answer.units",
    ),
    "penalise for what nobody else had": edited(
        bond, "shares_of", "sum(faded.values()) - pledge.reward", "sum(faded.values())"
    ),
    "answer for what others sold": edited(
        bonding, "pledge", " or event.seller != award.solver", ""
    ),
    "nobody fails": _set(conduct.Conduct, "note_failed", nothing),
    "take no penalties": _set(penalty.PenaltyKeeper, "step", _nothing_later),
    "take penalties again": all_of(  # The keeper asks first, the contract knows.
        _set(penalty.PenaltyKeeper, "_is_taken", _is_not_so),
        edited(
            bond_contract.BondLedger,
            "execute",
            "(award.auction, award.solver) in self.penalised",
            "award.auction < 0",
        ),
    ),
    # The same of the contract.
    "the chain pays buyers what it does not take": edited(
        bond_contract.BondLedger, "_penalise", "left - amount, paid + amount", "left, paid"
    ),
    "the chain lets bonds leave at once": edited(
        bond_contract.BondLedger, "_bond_withdraw", "now_s < at_s", "now_s < 0"
    ),
    # The vault and its bridge.
    "let key bytes through": _set(Scrubber, "feed", lambda _, chunk: chunk),
    "charge what is unknown": _unknown_is_charged,
    "never finish a call": _set(bridge.MarketDelivery, "finish_call", _nothing_later),
    # Keys and contracts that act for accounts.
    "serve who was revoked": never("_revoke_session", chain),
    "let any receipt be signed": all_of(  # The gateway asks the chain, the core what it was told.
        _believe_known_keys, never("may_sign_receipt", metering)
    ),
    "promise without the margin": edited(
        cap_word, "promisable_at", "max(0, left - rounding_of(word))", "left"
    ),
    "count no team's cap": edited(session, "_caps_over", 'caps.teams.get(team, "")', '""'),
    "believe any contract": _set(ContractSignatures, "is_valid", _is_valid),
    # The same of the contract: what its caps and revocations hold.
    "the chain charges no team": edited(
        session_contract.SessionLedger,
        "_verdict",
        "self.caps.get((account, team), 0) if team else 0",
        "0",
    ),
    "the chain charges no account": edited(
        session_contract.SessionLedger, "_verdict", "root=self.caps.get((account, 0), 0)", "root=0"
    ),
    "the chain forgets a window": edited(
        cap_word, "_ring_at", "if elapsed > BUCKETS:", "if elapsed > 0:"
    ),
    "the chain settles what was revoked": edited(
        session_contract.SessionLedger, "_revoke", "permissions=0, ", ""
    ),
    "the chain settles what was revoked with all": edited(
        session_contract.SessionLedger,
        "_revoke_all",
        "self.session_epochs[account] = epoch",
        "epoch",
    ),
    "the chain believes a former owner": edited(
        metered_contract.MeteredLedger, "is_bound", 'signer == speaker != ""', 'signer != ""'
    ),
    # Admission, as the gate uses it.
    "believe any signature": _believe_signatures,
}


def _worlds_until_found() -> int:
    for seed in range(WORLDS_MAX):
        try:
            World(seed, STEPS).run()
        except FOUND:
            return seed
    return WORLDS_MAX


@pure_only
@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_a_planted_bug_is_found(sabotage: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a hundred worlds something is found wrong; a survivor blocks a release."""
    sabotage(monkeypatch)
    assert _worlds_until_found() < WORLDS_MAX
