"""One process of the market: the production parts, started and stopped as in `solver.run`."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from random import Random
from typing import Any, Final, cast

from intents.admission import Rules
from intents.reject import Reject
from simulations.swarm.auditor import Auditor
from simulations.swarm.clock import MachineClock
from simulations.swarm.disk import JOURNAL, OUTBOX, Disk, JournalDisk
from simulations.swarm.gate import Gate
from simulations.swarm.loop import Process, VirtualLoop
from simulations.swarm.person import CHAIN_ID, DEPLOYMENT, DOMAIN, LIBRARIAN, OPERATOR, OWNER
from simulations.swarm.snapshot import SnapshotFolder
from simulations.swarm.trust import UNSETTLED_MAX
from simulations.swarm.upstream import CATALOGUE, PROVIDER, FakeKeyring, Upstream, Vault
from simulations.swarm.writer import MortalWriter
from solver.bridge import MarketDelivery
from solver.core.command import (
    ApplyBlocks,
    Command,
    FinishCall,
    KeyEnd,
    OpenResource,
    RetireKey,
    SetBonds,
    SetMetering,
)
from solver.core.event import Event
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.core.state import CREDIT, IntentState, State
from solver.engine.award import AwardSigner
from solver.engine.batch import Entry
from solver.engine.competition import Competition
from solver.engine.feed import Feed
from solver.engine.recovery import lost_calls
from solver.engine.sequencer import Sequencer
from solver.engine.writer import Writer
from solver.journal import Genesis, Journal
from solver.journal.recovery import restore
from solver.settlement.alarm import Alarms
from solver.settlement.book import BookKeeper
from solver.settlement.chain import ChainClient
from solver.settlement.cutter import CutPolicy, Cutter
from solver.settlement.fault import ChainUnreachable, RequestRefused
from solver.settlement.outbox import Identity, Outbox
from solver.settlement.penalty import PenaltyKeeper
from solver.settlement.reconcile import Reconciliation, reconcile
from solver.settlement.signatures import ContractSignatures
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.submitter import Submitter
from solver.settlement.wallet import Wallet
from solver.settlement.watcher import Watcher, WatchPolicy
from solver.strategies import STRATEGIES, Strategy
from solver.vault.proxy import Proxy

AWARD_BLOCKS: Final = 1_000
BONDED_AWARD_BLOCKS: Final = 20
"""Where solvers have bonds: fewer than a bond needs to leave."""
IN_THREADS: Final = 0.5
"""Of processes: those that write their journal in a thread, beside which others go on."""
HOUSES: Final[tuple[dict[str, Strategy], ...]] = (STRATEGIES, {})
"""What a market itself proposes: all, or nothing, so that others win and are paid for it."""
EPOCH_MS: Final = 5_000
RECONCILE_S: Final = 20
RETRY_S: Final = 10
HASH_EVERY: Final = 32
MINED_WITHIN_S: Final = 30
CUT_POLICY: Final = CutPolicy(
    fills_max=2, interval_ms=500, metered_interval_ms=3_000, unsigned_ms=9_000
)
GENESIS: Final = Genesis(chain_id=CHAIN_ID, settlement=DEPLOYMENT.settlement, usdc=DEPLOYMENT.usdc)
RULES: Final = Rules(domain=DOMAIN, assets=frozenset({DEPLOYMENT.usdc, CREDIT}))


class StartFailed(Exception):
    """The process refuses to start; somebody starts it again."""


class BooksDiffer(Exception):
    """Book and chain do not agree (P7)."""


class WatchedMarket:
    """The real market; all invariants are checked after each command."""

    def __init__(self, market: Market, on_apply: Callable[[Entry, object], None]) -> None:
        self.market: Final = market
        self._on_apply = on_apply

    @property
    def state(self) -> State:
        """The market's."""
        return self.market.state

    def apply(self, command: Command) -> list[Event] | Reject:
        """The market's, then every invariant of the core."""
        result = self.market.apply(command)
        check_all(self.market.state)
        self._on_apply(command, result)
        return result

    def admit(self, intent: IntentState, at_ms: int) -> list[Event] | Reject:
        """The same of an intent's record."""
        result = self.market.admit(intent, at_ms)
        check_all(self.market.state)
        self._on_apply(intent, result)
        return result

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the market has
        return getattr(self.market, name)


class PublicFeed(Feed):
    """The real feed, read by the auditor the moment that something is published."""

    def __init__(self, auditor: Auditor, seq: int) -> None:
        super().__init__(seq=seq)
        self._auditor = auditor

    def extend(self, times_ms: Sequence[int], told: Sequence[Sequence[Event]]) -> None:
        """Publish."""
        seq = self.seq + 1
        super().extend(times_ms, told)
        for at_ms, events in zip(times_ms, told, strict=True):
            self._auditor.publish(seq, at_ms, list(events))
            seq += len(events)


class Machine:
    """What a process finds when it starts, and leaves behind when it ends."""

    def __init__(  # noqa: PLR0917  each of another type
        self,
        loop: VirtualLoop,
        clock: MachineClock,
        disk: Disk,
        chain: ChainClient,
        vault: Vault,
        upstream: Upstream,
        auditor: Auditor,
    ) -> None:
        self.loop: Final = loop
        self.clock: Final = clock
        self.disk: Final = disk
        self.snapshots: Final = SnapshotFolder()
        self.chain: Final = chain
        self.vault: Final = vault
        self.upstream: Final = upstream
        self.auditor: Final = auditor
        self.applied = 0
        self.hashes: Final = blake2b(digest_size=32)
        self.on_recovered: Callable[[], None] = lambda: None
        self.on_receipt: Callable[[], None] = lambda: None
        self.rule = SetMetering(payment_max=0, uncovered_max=0, unsettled_max=UNSETTLED_MAX)
        """What its owner has set."""
        self.bond_rule: SetBonds | None = None
        """The same of solvers' bonds; None: it asks for none."""
        self.last_blocks: ApplyBlocks | None = None

    def market_ms(self) -> int:
        """The market's time, as anybody may ask for it."""
        return max(self.clock.now_ms(), self.auditor.last_ms)

    def note(self, state: State, command: Entry) -> None:
        """A command was applied."""
        self.applied += 1
        if isinstance(command, ApplyBlocks):
            self.last_blocks = command
        if self.applied % HASH_EVERY == 0:
            self.hashes.update(state.hash().encode())


class Node:
    """From recovery to its end. `on_end` hears why, where it was not killed."""

    def __init__(
        self,
        machine: Machine,
        random: Random,
        number: int,
        on_end: Callable[["Node", BaseException], None],
    ) -> None:
        self.machine: Final = machine
        self.process: Final = Process(f"node-{number}")
        self.gate: Gate | None = None
        self.sequencer: Sequencer | None = None
        self._engine: asyncio.Task[None] | None = None
        self._random = random
        self._on_end = on_end

    def start(self) -> None:
        """Recover and run, in the process of its own."""
        self._run(self._live())

    @property
    def state(self) -> State:
        """Of a process that has recovered."""
        assert self.sequencer is not None
        return self.sequencer.market.state

    # ---------------------------------------------------------------- life

    def stop(self) -> "asyncio.Task[None]":
        """End cleanly, as at Ctrl-C: what was applied is journaled, with its hash."""
        assert self._engine is not None
        self._engine.cancel()
        return self._engine

    def _run(self, part: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """If any part fails, all stop (P8): the world judges why."""
        return self.machine.loop.spawn(part, self.process, lambda error: self._on_end(self, error))

    async def _live(self) -> None:
        sequencer = self._recover()
        self._engine = self._run(sequencer.run())
        self._run(sequencer.run_timer())
        await self._settle_start(sequencer)
        awards = AwardSigner(OWNER, DOMAIN)
        outbox = Outbox(
            OUTBOX,
            Identity(
                chain_id=CHAIN_ID, account=DEPLOYMENT.operator_account, sender=OPERATOR.address
            ),
        )
        submitter = Submitter(
            chain=self.machine.chain,
            outbox=outbox,
            sequencer=sequencer,
            deployment=DEPLOYMENT,
            key=OPERATOR,
            awards=awards,
            policy=SubmitPolicy(interval_ms=2_000, refused_retry_ms=500),
            on_alarm=lambda _: None,
        )
        watcher = Watcher(
            chain=self.machine.chain,
            sequencer=sequencer,
            deployment=DEPLOYMENT,
            policy=WatchPolicy(interval_ms=2_000, idle_blocks=16, facts_max=2),
        )
        await submitter.start()
        await watcher.start()
        cutter = Cutter(sequencer, CUT_POLICY)
        keeper = BookKeeper(
            chain=self.machine.chain,
            outbox=outbox,
            sequencer=sequencer,
            wallet=Wallet(self.machine.chain, [LIBRARIAN], mined_within_s=MINED_WITHIN_S),
            sender=LIBRARIAN.address,
            interval_ms=2_000,
        )
        penalties = PenaltyKeeper(
            chain=self.machine.chain,
            sequencer=sequencer,
            deployment=DEPLOYMENT,
            wallet=Wallet(self.machine.chain, [OWNER], mined_within_s=MINED_WITHIN_S),
            awards=awards,
            alarms=Alarms(lambda _: None),
            interval_ms=2_000,
            refused_retry_ms=500,
        )
        is_bonded = self.machine.bond_rule is not None
        competition = Competition(
            sequencer,
            {} if is_bonded else self._random.choice(HOUSES),
            epoch_ms=EPOCH_MS,
            assets=(DEPLOYMENT.usdc, CREDIT),
            award_blocks=BONDED_AWARD_BLOCKS if is_bonded else AWARD_BLOCKS,
            randomness=self._random.randbytes,
        )
        settling = (submitter.run(), watcher.run(), keeper.run(), cutter.run(), penalties.run())
        for part in (*settling, competition.run()):
            self._run(part)
        self._run(self._reconcile_forever())
        self._run(self._retry_forever(submitter))
        proxy = Proxy(
            delivery=MarketDelivery(sequencer),
            keyring=FakeKeyring(self.machine.vault),
            catalogue=CATALOGUE,
            egress=self.machine.upstream,
            clock_ms=sequencer.now_ms,
        )
        self.gate = Gate(
            sequencer,
            proxy,
            self.machine.vault,
            RULES,
            awards,
            signatures=ContractSignatures(self.machine.chain, DEPLOYMENT),
            on_receipt=self.machine.on_receipt,
        )

    def _recover(self) -> Sequencer:
        journal = Journal.open(JOURNAL, GENESIS, JournalDisk(self.machine.disk))
        found = restore(journal, self.machine.snapshots.path).recovered
        self.machine.auditor.recovered(found.feed.seq)
        self.machine.on_recovered()
        watched = cast("Market", WatchedMarket(found.market, self._note))
        clock = self.machine.clock
        writer = Writer() if self._random.random() < IN_THREADS else MortalWriter()
        self.sequencer = Sequencer(
            watched, journal, clock, found.feed, found.outcome, writer=writer
        )
        return self.sequencer

    def _note(self, command: Entry, result: object) -> None:
        if not isinstance(result, Reject):
            self.machine.note(self.state, command)

    async def _settle_start(self, sequencer: Sequencer) -> None:
        """What `solver.run` brings together again after a crash."""
        state, vault = sequencer.market.state, self.machine.vault
        for lost in lost_calls(sequencer.market):
            await self._require(sequencer, lost)
        for resource in PROVIDER.resources:
            if resource.name not in state.resources:
                opened = OpenResource(resource=resource.name, mode=resource.trading)
                await self._require(sequencer, opened)
        rule, metering = self.machine.rule, state.metering
        known = (state.metered_max, metering.uncovered_max, metering.unsettled_max)
        if known != (rule.payment_max, rule.uncovered_max, rule.unsettled_max):
            await self._require(sequencer, rule)
        bonds = self.machine.bond_rule
        if bonds is not None and not state.bonds.rule.is_on:
            await self._require(sequencer, bonds)
        for key in list(vault.keys):
            if key not in state.keys or not state.keys[key].live:
                vault.erase(key)
        for key, record in list(state.keys.items()):
            if record.live and key not in vault.keys:
                await self._require(sequencer, RetireKey(key=key, reason=KeyEnd.REVOKED))

    @staticmethod
    async def _require(
        sequencer: Sequencer,
        command: FinishCall | OpenResource | RetireKey | SetBonds | SetMetering,
    ) -> None:
        result = await sequencer.submit(command)
        if isinstance(result, Reject):
            raise StartFailed(f"{type(command).__name__}: {result.code}")

    # ---------------------------------------------------------------- what operators do

    async def _reconcile_forever(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_S)
            found = await self._reconciled()
            if found is not None and not found.is_clean:
                raise BooksDiffer(f"{found.differences}")

    async def _reconciled(self) -> Reconciliation | None:
        try:
            return await reconcile(self.machine.chain, self.state, DEPLOYMENT)
        except (ChainUnreachable, RequestRefused, ExceptionGroup):
            return None  # the node is away; asked again

    @staticmethod
    async def _retry_forever(submitter: Submitter) -> None:
        """A person looks at failed batches now and then, and has them tried again."""
        while True:
            await asyncio.sleep(RETRY_S)
            for number in submitter.status().failed:
                await submitter.retry(number)
