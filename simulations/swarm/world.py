"""A world from a seed: everything put together, struck by faults, then left in peace.

First `steps` steps with the faults of this seed. Then no faults and no new business:
within a bounded time everything must have come to its end, and all books must agree.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from tiny_keccak import keccak256

from simulations.stream import stream
from simulations.swarm.auditor import Auditor
from simulations.swarm.bond import BONDED
from simulations.swarm.buyer import Buyer
from simulations.swarm.chain import BLOCK_S, FINALITY_BLOCKS, Chain
from simulations.swarm.client import Client, Surroundings
from simulations.swarm.clock import MachineClock
from simulations.swarm.competitor import competing
from simulations.swarm.contract import Ledger
from simulations.swarm.disk import JOURNAL, Disk, JournalDisk
from simulations.swarm.fault import NEVER, FaultKind, Faults
from simulations.swarm.finding import expect
from simulations.swarm.gate import Gate
from simulations.swarm.habit import habit
from simulations.swarm.log import Damage
from simulations.swarm.loop import PowerCut, Process, VirtualLoop
from simulations.swarm.metered_contract import UNCOVERED_CAP
from simulations.swarm.mount import mounted
from simulations.swarm.network import Network
from simulations.swarm.node import GENESIS, Machine, Node, PublicFeed, StartFailed
from simulations.swarm.outside import Outside
from simulations.swarm.owner import Owner
from simulations.swarm.person import BUYERS, DEPLOYMENT, DOMAIN, PEOPLE, SELLERS
from simulations.swarm.registry import Registry
from simulations.swarm.rpc import Provider, client_of
from simulations.swarm.seller import Seller
from simulations.swarm.trust import UNSETTLED_MAX
from simulations.swarm.upstream import RESOURCES, Upstream, Vault, overuse
from solver.core.check import Violation
from solver.core.command import SetMetering
from solver.engine.feed import Feed
from solver.engine.sequencer import SequencerStopped
from solver.journal import Journal, JournalFault, JournalWriteFailed
from solver.journal.recovery import restore
from solver.settlement.fault import ChainUnreachable, OutboxWriteFailed, RequestRefused
from solver.settlement.watcher import WatchStopped

CALM_S_MAX: Final = 400
CALM_LOOK_S: Final = 2.0
CATCH_UP_MS: Final = 60_000
START_ATOMS: Final = 100_000
METERED: Final = SetMetering(
    payment_max=3_000, uncovered_max=UNCOVERED_CAP, unsettled_max=UNSETTLED_MAX
)
RECEIPT_STEPS: Final = 12
"""About as many steps has a process to do from a receipt's arrival to its answer."""

EXPECTED: Final = (
    JournalWriteFailed,
    OutboxWriteFailed,
    SequencerStopped,
    WatchStopped,
    StartFailed,
    ChainUnreachable,
    RequestRefused,
)
"""Faults that end a process without being anybody's mistake: it is started again."""


Trace = Callable[[float, str, object], None]
"""Told of everything worth telling: when, what kind, and what."""


def _no_trace(_: float, __: str, ___: object) -> None:
    """Tell nobody."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one world came to."""

    seed: int
    steps: int
    commands: int
    events: int
    starts: int
    seconds: int
    chain_hash: str
    """Commits to every event, to the state on the way, and to the state at the end."""
    faults: dict[str, int]


class World:
    """Build one, `run` it once."""

    def __init__(self, seed: int, steps: int, trace: Trace = _no_trace) -> None:
        self.seed: Final = seed
        self._steps = steps
        self._trace = trace
        self.faults: Final = Faults(seed)
        self._random = stream(seed, "world")
        delays = stream(seed, "threads")
        self.loop: Final = VirtualLoop(lambda: delays.uniform(0.0002, 0.004), self._between)
        self._outside: Final = Process("outside", mortal=False)
        self.clock: Final = MachineClock(self.loop)
        self.auditor: Final = Auditor(DEPLOYMENT.usdc)
        self.disk: Final = Disk(self.faults, stream(seed, "disk"))
        self.vault: Final = Vault()
        names = {keccak256(name.encode()).hex(): name for name in ("", *RESOURCES)}
        self._registry = Registry(DOMAIN.prefix(), DEPLOYMENT.usdc, names)
        self.chain: Final = self._new_chain()
        self.auditor.see(self.chain)
        wrong = self.faults.has("clock")
        self.auditor.payments.clock_may_be_wrong = wrong
        self.auditor.spendings.clock_may_be_wrong = wrong
        self.auditor.on_event = lambda event: self._tell("event", event)
        self.faults.on_strike = lambda kind: self._tell("fault", kind.value)
        provider = Provider(self.chain, DEPLOYMENT, self.faults, stream(seed, "rpc"))
        upstream = Upstream(self.vault, self.faults, stream(seed, "upstream"), self._times_ms)
        self.machine: Final = Machine(
            self.loop,
            self.clock,
            self.disk,
            client_of(provider),
            self.vault,
            upstream,
            self.auditor,
        )
        self.machine.on_recovered = self._notice_damage
        self.machine.on_receipt = self._threaten
        self._habit = habit(seed, self.faults)
        if self._habit.is_metered:
            self.machine.rule = METERED
        if self._habit.is_bonded:
            self.machine.bond_rule = BONDED
            self.auditor.bonds.is_on = True
        self.network: Final = Network(
            self.loop, self.faults, stream(seed, "network"), self._outside.context, self._reached
        )
        self.node: Node | None = None
        self._around: Final = Outside(
            self.machine,
            self.chain,
            self.faults,
            self._random,
            habit=self._habit,
            node=lambda: self.node,
            is_damaged=lambda: self._damage is not None,
        )
        self.starts = 0
        self._damage: Damage | None = None
        self._crash_at = self.faults.gap(FaultKind.CRASH_AT_AWAIT)
        self._doomed_at = NEVER
        self._next_look_s = 0.0
        self._is_closing = False
        self._promised = 0
        """Number of the last command that some process knew to be on disk."""
        self._buyers: list[Buyer] = []

    # ---------------------------------------------------------------- the course of things

    def run(self) -> Report:
        """Live through it. Raises whatever the world finds wrong."""
        with mounted(self.disk, self.seed, self._new_feed, is_crowded=self.faults.has("load")):
            try:
                self._begin()
                self.loop.run_steps(self._steps, lambda: False)
                self._calm_down()
                self._settle()
                return self._report(self._close())
            finally:
                self._dispose()

    def _begin(self) -> None:
        self._start()
        around = Surroundings(
            network=self.network,
            chain=self.chain,
            market_ms=self.machine.market_ms,
            auditor=self.auditor,
            registry=self._registry,
            faults=self.faults,
            habit=self._habit,
            seed=self.seed,
        )
        self._buyers = [Buyer(person, around) for person in self._habit.buyers]
        sellers = [Seller(person, around) for person in (*SELLERS, BUYERS[0])]
        clients: list[Client] = [*self._buyers, *sellers]
        for person in PEOPLE:
            self.chain.act("deposit", person.account, amount=START_ATOMS)
            Owner(person, self.chain, self.faults, self._habit).begin()
        works = [*competing(around, sellers), *self._around.works()]
        for block in range(FINALITY_BLOCKS + 1):
            self.chain.mine(self.chain.blocks[0].time_s + (block + 1) * BLOCK_S)
        for client in clients:
            self.loop.spawn(client.live(), self._outside)
        for work in works:
            self.loop.spawn(work, self._outside)

    def _calm_down(self) -> None:
        """No more faults; what they left behind is mended."""
        self.faults.active = False
        self.disk.full = False
        self._catch_up()
        if self.node is not None and self.node.process.paused:
            self.loop.resume(self.node.process)
        for buyer in self._buyers:
            self.loop.spawn(buyer.make_up(), self._outside)

    def _catch_up(self) -> None:
        """A document may be good for an hour, if somebody saw a clock that was an hour ahead."""
        late_ms = self.auditor.latest_end_ms() - CATCH_UP_MS
        self.clock.catch_up(max(self.machine.market_ms(), late_ms))

    def _settle(self) -> None:
        """P9: everything comes to its end within a bounded time."""
        deadline_s = self.loop.now_s + CALM_S_MAX
        is_over = False
        while not is_over and self.loop.now_s <= deadline_s:
            self.loop.run_steps(self._steps * 20 + 200_000, lambda: self._is_over(deadline_s))
            self._publish()
            # What was published last may have begun something.
            is_over = not self.auditor.unfinished()
        left = self.auditor.unfinished()
        expect(not left, "p9_everything_ends", left=left, seconds=CALM_S_MAX)
        expect(self.node is not None and self.node.gate is not None, "p9_the_market_is_up")

    def _publish(self) -> None:
        """Have what waited for a full disk told: it is applied, and nobody has heard of it."""
        if self.node is not None and self.node.sequencer is not None:
            durable = self.loop.spawn(self.node.sequencer.durable(), self.node.process)
            self.loop.run_steps(self._steps, durable.done)

    def _is_over(self, deadline_s: float) -> bool:
        if self.loop.now_s < self._next_look_s:
            return False
        self._next_look_s = self.loop.now_s + CALM_LOOK_S
        if self.loop.now_s > deadline_s:
            return True
        left_ms = int((deadline_s - self.loop.now_s) * 1_000)
        if self.auditor.latest_end_ms() > self.machine.market_ms() + left_ms:
            self._catch_up()  # it was on its way when the calm began
        up = self.node is not None and self.node.gate is not None
        if not up or self.auditor.unfinished() or not self.chain.is_settled:
            return False
        if self.chain.head.ledger.claims:
            return False
        return not self._differing()

    def _differing(self) -> list[str]:
        """Whose money is not what the chain says (P7)."""
        final = self.chain.final.ledger.balances
        totals = self.auditor.payments.totals
        return [
            person.name
            for person in PEOPLE
            if totals.get((person.account, DEPLOYMENT.usdc), 0) != final.get(person.account, 0)
        ]

    def _close(self) -> str:
        """The last audit; the hash of the final state."""
        node = self.node
        assert node is not None
        state = node.state
        self.auditor.payments.reconcile(
            lambda owner, asset: (
                state.ledger.balance(owner, asset).total,
                state.ledger.balance(owner, asset).available,
            ),
            self._around.granted,
        )
        expect(not self._differing(), "p7_book_and_chain_agree", who=self._differing())
        by_market = self.faults.has("clock")
        for key, held in self.vault.every().items():
            limit = overuse(held, by_market_clock=by_market)
            expect(limit is None, "i12_limit_never_exceeded", key=key, limit=limit)
            charged = self.auditor.charged(key)
            expect(charged <= held.answered, "p2_paid_for_answers_only", key=key, units=charged)
        expect(not state.bonds.pledges, "i20_no_pledge_stays", left=list(state.bonds.pledges))
        self._is_closing = True
        engine = node.stop()
        self.loop.run_steps(self._steps, engine.done)
        live_hash = state.hash()
        node.process.die()
        expect(self._replayed() == live_hash, "i14_replay_equal")
        return live_hash

    def _replayed(self) -> str:
        """The state that a third party gets from the journal."""
        reader = Process("reader", mortal=False)

        def read() -> str:
            journal = Journal.open(JOURNAL, GENESIS, JournalDisk(self.disk))
            return restore(journal, None).recovered.market.state.hash()

        return reader.context.run(read)

    def _tell(self, kind: str, what: object) -> None:
        self._trace(self.loop.now_s, kind, what)

    def _report(self, state_hash: str) -> Report:
        hashes = self.machine.hashes
        hashes.update(self.auditor.chain_hash.encode())
        hashes.update(state_hash.encode())
        return Report(
            seed=self.seed,
            steps=self.loop.steps,
            commands=self.machine.applied,
            events=len(self.auditor.entries),
            starts=self.starts,
            seconds=int(self.loop.now_s),
            chain_hash=hashes.hexdigest(),
            faults={kind.value: count for kind, count in sorted(self.faults.count.items())},
        )

    # ---------------------------------------------------------------- processes

    def _reached(self) -> tuple[Gate, Process] | None:
        node = self.node
        return (node.gate, node.process) if node is not None and node.gate is not None else None

    def _start(self) -> None:
        self.starts += 1
        self._tell("start", f"process {self.starts}")
        node = Node(self.machine, self._random, self.starts, self._ended)
        node.process.on_death = lambda: self._died(node)
        self.node = node
        node.start()

    def _died(self, node: Node) -> None:
        """However a process ended: its files are given up, and somebody starts another."""
        self._tell("death", node.process.name)
        if node.sequencer is not None:
            self._promised = max(self._promised, node.sequencer.seq)
        self.disk.release(node.process)
        if self.node is node and not self._is_closing:
            self.node = None
            self.machine.snapshots.disturb(self.faults, self._random)
            if self._damage is None and self.faults.may(FaultKind.BIT_FLIP):
                self._damage = self.disk.damage(JOURNAL, self._promised)
                if self._damage is not None:
                    self.faults.note(self._damage.kind)
            self.loop.spawn(self._restart(), self._outside)

    async def _restart(self) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 4))
        # Whoever starts a process again sees to the disk first.
        self.disk.full = False
        if self.node is None:
            self._start()

    def _ended(self, node: Node, error: BaseException) -> None:
        """A process gave up by itself: rightly so?"""
        self._tell("end", f"{type(error).__name__} {error}")
        if self._is_closing:
            return
        halted = node.sequencer is None and isinstance(error, JournalFault | Violation)
        if self._damage is not None and halted:
            self._damage.mend()
            self._damage = None
        elif not isinstance(error, (*EXPECTED, PowerCut)):
            self.loop.failure = self.loop.failure or error
            return
        self.loop.call_soon(node.process.die, context=self._outside.context)

    def _notice_damage(self) -> None:
        """A process has recovered: from a damaged journal it must not (P8)."""
        damage = self._damage
        expect(damage is None, "p8_damage_halts", kind=damage.kind if damage else "")

    def _between(self, process: Process) -> None:
        """Between two steps of a process: it may be its last."""
        if self.loop.steps >= self._crash_at:
            self._crash_at = self.loop.steps + self.faults.gap(FaultKind.CRASH_AT_AWAIT)
            if self.faults.active:
                self.faults.note(FaultKind.CRASH_AT_AWAIT)
                process.die()
        elif self.loop.steps >= self._doomed_at:
            self._doomed_at = NEVER
            if self.faults.active:
                self.faults.note(FaultKind.CRASH_AT_RECEIPT)
                process.die()

    def _threaten(self) -> None:
        """A receipt has arrived: its process may die at any await before it is answered."""
        if self.faults.may(FaultKind.CRASH_AT_RECEIPT):
            self._doomed_at = self.loop.steps + self._random.randint(1, RECEIPT_STEPS)

    # ---------------------------------------------------------------- small things

    def _times_ms(self) -> tuple[int, int]:
        return self.clock.true_ms(), self.machine.market_ms()

    def _new_chain(self) -> Chain:
        ledger = Ledger(self._registry)
        return Chain(
            ledger,
            self.faults,
            stream(self.seed, "chain"),
            lambda: self.clock.true_ms() // 1_000,
        )

    def _new_feed(self, *, seq: int = 0) -> Feed:
        """Whoever replays the journal tells the auditor what it led to: it is always the same."""
        return PublicFeed(self.auditor, seq)

    def _dispose(self) -> None:
        """Leave nothing for the garbage collector to unwind."""
        running = [self.node.process] if self.node is not None else []
        self.loop.dispose(*running, self._outside)
