"""One simulated market: the production core, its participants, a chain, and virtual time.

Nothing here decides who trades with whom. Agents send commands, the core matches, and
the world carries the core's events to whoever must act on them, as the gateway would.
"""

from collections.abc import Callable
from heapq import nsmallest
from operator import itemgetter
from typing import Final

import msgspec

from intents.reject import Reject, RejectCode
from simulations.agent import RESOURCE, Buyer, Contributor, Identity
from simulations.chain import CountingChain
from simulations.clock import VirtualClock
from simulations.economy import AdaptiveThreshold, FixedThreshold, Served, Threshold
from simulations.scenario import Money, Parameters
from simulations.stream import stream
from simulations.tally import Tally
from simulations.theory import BALANCE_MAX, equilibrium
from solver.core.check import check
from solver.core.command import (
    Command,
    CutBatch,
    EndLeases,
    FinishCall,
    IssueCredits,
    OpenResource,
    Outcome,
    StartCall,
    Tick,
)
from solver.core.event import BatchCut, Event, Filled
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.core.state import CREDIT, LEASE_MS_MAX

USDC: Final = "0x" + "5d" * 20
ROUND_MS: Final = 2_000
"""Time from one request to the next; all of a round happens within it."""
PATIENCE_S: Final = 1
SERVICE_MS: Final = 50
FINALITY_MS: Final = 12_000
BATCH_FILLS_MAX: Final = 1_024


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One period: as many rounds as there are agents."""

    variant: str
    period: int
    at_ms: int
    requests: int
    broke: int
    """Refused by the market for want of funds."""
    unanswered: int
    """Expired as nobody offered."""
    failed: int
    served: int
    willing_mean: float
    threshold: int
    money_atoms: int
    """Of everybody, at the end of the period."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished run leaves."""

    parameters: Parameters
    rows: tuple[Row, ...]
    balances: tuple[int, ...]
    """Atoms of each agent at the end."""
    sources: dict[str, int]
    commands: int
    residual: int
    state_hash: str


class _Count:
    """What happened since the period began."""

    def __init__(self) -> None:
        self.requests = 0
        self.broke = 0
        self.failed = 0
        self.served = 0
        self.willing = 0


class World:
    """Build one per run; `run` may be called once."""

    def __init__(
        self, parameters: Parameters, on_period: Callable[[int], None] = lambda _: None
    ) -> None:
        self.parameters = parameters
        self.market = Market(USDC)
        self.clock = VirtualClock()
        self.chain = CountingChain(self._account_of)
        self.commands = 0
        self.rows: list[Row] = []
        self.threshold = _threshold_of(parameters)
        self._on_period = on_period
        self._asset = CREDIT if parameters.money is Money.CREDIT else USDC
        self._demand = stream(parameters.seed, "demand")
        self._upstream = stream(parameters.seed, "upstream")
        self._rounds = 0
        self._count = _Count()
        price, seed = parameters.price_atoms, parameters.seed
        identities = [Identity(index) for index in range(parameters.agents)]
        self._buyers = [Buyer(identity, self._asset, price) for identity in identities]
        self._contributors = [Contributor(who, self._asset, price, seed) for who in identities]
        accounts = [identity.account for identity in identities]
        self.tally = Tally(self.market.state.ledger, self._asset, accounts)

    def run(self) -> Run:
        """Play all rounds, let everything end and settle, check everything once more."""
        self._apply(OpenResource(resource=RESOURCE))
        for contributor in self._contributors:
            self._apply(contributor.pool())
        self._give(self.parameters.issuance.starter_atoms, "starter")
        self.clock.after(ROUND_MS, self._round)
        self.clock.run()
        self._wind_down()
        return Run(
            parameters=self.parameters,
            rows=tuple(self.rows),
            balances=tuple(self.tally.total.values()),
            sources=dict(self.tally.sources),
            commands=self.commands,
            residual=self.tally.residual(),
            state_hash=self.market.state.hash(),
        )

    def check_everything(self) -> None:
        """Every invariant of the core and every account of the tally."""
        check_all(self.market.state)
        self.tally.reconcile()

    # A round: one request, the first offers that answer it, one call.

    def _round(self) -> None:
        self._rounds += 1
        self._count.requests += 1
        buyer = self._buyers[self._demand.randrange(self.parameters.agents)]
        ceiling = self.threshold.threshold * self.parameters.price_atoms
        total = self.tally.total
        willing = [c for c in self._contributors if total[c.account] < ceiling]
        self._count.willing += len(willing)
        until_s = self.clock.now_s + PATIENCE_S
        answer = self._apply(buyer.request(self.clock.now_ms, until_s))
        if isinstance(answer, Reject):
            check(answer.code is RejectCode.INSUFFICIENT_FUNDS, "only_the_broke_are_refused")
            self._count.broke += 1
        else:
            self._call_for_offers(willing, buyer.identity.account, until_s)
        self._schedule_next()

    def _schedule_next(self) -> None:
        parameters = self.parameters
        if self._rounds % parameters.agents == 0:
            self.clock.after(ROUND_MS, self._end_period)
        if parameters.money is Money.USDC and self._rounds % parameters.settle_rounds == 0:
            self.clock.after(ROUND_MS, self._cut_batch)
        if self._rounds % parameters.check_rounds == 0:
            self.clock.after(ROUND_MS, self.check_everything)
        if self._rounds < parameters.rounds:
            self.clock.after(ROUND_MS, self._round)

    def _call_for_offers(self, willing: list[Contributor], buyer: str, until_s: int) -> None:
        """The quickest contributors' offers reach the book, each at its own time."""
        drawn = [(c.reaction_ms(), c) for c in willing if c.account != buyer]
        for reaction_ms, contributor in nsmallest(
            self.parameters.responders, drawn, key=itemgetter(0)
        ):
            self.clock.after(int(reaction_ms), self._offering(contributor, until_s))

    def _offering(self, contributor: Contributor, until_s: int) -> Callable[[], None]:
        return lambda: self._must(contributor.offer(self.clock.now_ms, until_s))

    def _start_call(self, fill: Filled) -> None:
        self._must(
            StartCall(at_ms=self.clock.now_ms, lease=fill.fill, call=fill.fill, units=fill.units)
        )
        self.clock.after(SERVICE_MS, lambda: self._finish_call(fill))

    def _finish_call(self, fill: Filled) -> None:
        failed = self._upstream.randrange(1_000) < self.parameters.failed_calls_per_thousand
        outcome = Outcome.FAILED if failed else Outcome.DELIVERED
        now_ms = self.clock.now_ms
        self._must(
            FinishCall(
                at_ms=now_ms, call=fill.fill, outcome=outcome, units=0 if failed else fill.units
            )
        )
        if failed:
            self._count.failed += 1
            self._must(EndLeases(at_ms=now_ms, account=fill.buyer, intent=fill.intent))
        else:
            self._count.served += 1

    # Money and time.

    def _give(self, amount: int, reason: str) -> None:
        """The same to everyone: issued as credits, or deposited on chain."""
        for account in self.tally.total:
            self.tally.came_in(account, amount, reason)
            if self._asset == CREDIT:
                now_ms = self.clock.now_ms
                self._must(
                    IssueCredits(at_ms=now_ms, account=account, amount=amount, reason=reason)
                )
            else:
                self.chain.deposit(account, amount)
        if self._asset != CREDIT:
            self._must(self.chain.mine(self.clock.now_ms))
        self.tally.reconcile()

    def _end_period(self) -> None:
        """Agents learn what they saw, grants are paid, the period is recorded."""
        count, issuance = self._count, self.parameters.issuance
        willing_mean = count.willing / self.parameters.agents
        funded = count.requests - count.broke
        self.threshold.learn(Served(funded=funded, served=count.served, willing_mean=willing_mean))
        if issuance.uptime_atoms:
            self._give(issuance.uptime_atoms, "uptime")
        self.rows.append(self._row(willing_mean))
        self._count = _Count()
        self._on_period(self._rounds)

    def _row(self, willing_mean: float) -> Row:
        count = self._count
        return Row(
            variant=self.parameters.variant,
            period=len(self.rows) + 1,
            at_ms=self.clock.now_ms,
            requests=count.requests,
            broke=count.broke,
            unanswered=count.requests - count.broke - count.failed - count.served,
            failed=count.failed,
            served=count.served,
            willing_mean=willing_mean,
            threshold=self.threshold.threshold,
            money_atoms=self.tally.money,
        )

    def _cut_batch(self) -> None:
        answer = self._apply(CutBatch(at_ms=self.clock.now_ms, fills_max=BATCH_FILLS_MAX))
        if isinstance(answer, Reject):
            check(answer.code is RejectCode.NOTHING_TO_SETTLE, "a_batch_is_cut")
            return
        for event in answer:
            if isinstance(event, BatchCut):
                self.chain.settle(event)
        self.clock.after(FINALITY_MS, lambda: self._must(self.chain.mine(self.clock.now_ms)))

    def _wind_down(self) -> None:
        """Let all that is open end and settle; then book and chain must agree."""
        self.clock.after(LEASE_MS_MAX, lambda: self._must(Tick(at_ms=self.clock.now_ms)))
        self.clock.after(LEASE_MS_MAX, self._cut_batch)
        self.clock.run()
        self.check_everything()
        check(not self.market.state.executions, "everything_settles_in_the_end")
        if self._asset == USDC:
            check(self.chain.balances == self.tally.total, "book_and_chain_agree")

    # The market.

    def _must(self, command: Command) -> None:
        """Apply what the market has no reason to refuse."""
        answer = self._apply(command)
        check(not isinstance(answer, Reject), "the_world_knows_the_rules", answer=answer)

    def _apply(self, command: Command) -> list[Event] | Reject:
        """One command, after whatever fell due before it; then act on what happened."""
        if self.market.is_due(command.at_ms) and not isinstance(command, Tick):
            self._apply(Tick(at_ms=command.at_ms))
        self.commands += 1
        answer = self.market.apply(command)
        if isinstance(answer, Reject):
            return answer
        self.tally.observe(answer)
        for event in answer:
            if isinstance(event, Filled):
                self._start_call(event)
        return answer

    def _account_of(self, digest: str) -> str:
        state = self.market.state
        record = state.intents.get(digest) or state.offers[digest]
        return record.document.account


def _threshold_of(parameters: Parameters) -> Threshold:
    if parameters.threshold is not None:
        return FixedThreshold(parameters.threshold)
    starter = parameters.issuance.starter_atoms / parameters.price_atoms
    start = min(BALANCE_MAX, equilibrium(starter, parameters.preference))
    return AdaptiveThreshold(start, parameters.preference, parameters.memory_periods)
