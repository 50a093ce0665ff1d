"""What goes on around a market and comes with no message: blocks, gifts, clocks, pauses."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Any, Final

from simulations.swarm.chain import BLOCK_S, REORG_BLOCKS_MAX, Chain
from simulations.swarm.clock import HOUR_MS
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.finding import Finding
from simulations.swarm.habit import Habit
from simulations.swarm.node import Machine, Node
from simulations.swarm.person import PEOPLE
from solver.core.command import IssueCredits
from solver.journal import JournalLocked

CHAOS_S: Final = 1.0
GRANT_ATOMS: Final = 20_000
COIN: Final = 0.5


class Outside:
    """Of one world.

    `node` is the process that runs now, if one does; `is_damaged`, whether somebody has to see to
    the journal first.
    """

    def __init__(
        self,
        machine: Machine,
        chain: Chain,
        faults: Faults,
        random: Random,
        *,
        habit: Habit,
        node: Callable[[], Node | None],
        is_damaged: Callable[[], bool],
    ) -> None:
        self._machine = machine
        self._chain = chain
        self._faults = faults
        self._random = random
        self._node = node
        self._is_damaged = is_damaged
        self._sleeps_ms = list(habit.sleeps_ms)
        self._habit = habit
        self.granted = 0
        """Credits that the operator handed out, or tried to."""

    def works(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What goes on at once, in the order of its beginning."""
        yield self._mine_forever()
        yield self._chaos()
        yield self._snapshot_forever()
        yield self._issue_forever()

    # ---------------------------------------------------------------- the chain

    async def _mine_forever(self) -> None:
        strike = self._faults.strike
        while True:
            await asyncio.sleep(BLOCK_S)
            self._chain.mine()
            self._execute_claims()
            if strike(FaultKind.REORG):
                self._chain.reorganise(self._random.randint(1, REORG_BLOCKS_MAX))
            if self._chain.tells_of_keys and strike(FaultKind.GRANT_UNDONE):
                depth = self._random.randint(1, REORG_BLOCKS_MAX)
                self._chain.reorganise(depth, forgets_keys=True)
            if self._chain.tells_of_penalties and strike(FaultKind.PENALTY_UNDONE):
                self._chain.reorganise(self._random.randint(1, REORG_BLOCKS_MAX))

    def _execute_claims(self) -> None:
        """Whoever waits for money comes back for it, some time after it is due."""
        head = self._chain.head
        for account, claim in head.ledger.claims.items():
            if head.time_s >= claim.executable_at and self._random.random() < COIN:
                self._chain.act("execute", account, buyer=account)

    # ---------------------------------------------------------------- people with access

    async def _issue_forever(self) -> None:
        """The operator hands out credits."""
        while self._faults.active:
            node = self._node()
            if node is not None and node.gate is not None:
                self._machine.loop.spawn(self._issue(node), node.process)
            await asyncio.sleep(self._random.uniform(1, 4))

    async def _issue(self, node: Node) -> None:
        assert node.sequencer is not None
        account = self._random.choice(PEOPLE).account
        self.granted += GRANT_ATOMS
        await node.sequencer.submit(
            IssueCredits(account=account, amount=GRANT_ATOMS, reason="a gift")
        )

    async def _snapshot_forever(self) -> None:
        """Another process takes snapshots, beside a market that may or may not run."""
        while True:
            await asyncio.sleep(self._random.uniform(8, 30))
            if not self._is_damaged():
                self._machine.snapshots.take(self._machine.disk)

    # ---------------------------------------------------------------- trouble

    async def _chaos(self) -> None:
        """What does not come with a message, a block or a write."""
        disk = self._machine.disk
        while self._faults.active:
            await asyncio.sleep(CHAOS_S)
            self._disturb_clock()
            if disk.full and self._random.random() < 0.2:  # noqa: PLR2004  somebody tidies up
                disk.full = False
            node = self._node()
            if node is not None:
                self._disturb(node)

    def _disturb_clock(self) -> None:
        strike, random, clock = self._faults.strike, self._random, self._machine.clock
        if strike(FaultKind.CLOCK_SKEW):
            clock.step(random.randint(-HOUR_MS, HOUR_MS))
        if strike(FaultKind.CLOCK_BACKWARDS):
            clock.step(-random.randint(1, HOUR_MS))
        if strike(FaultKind.CLOCK_FREEZE):
            clock.freeze()
            self._machine.loop.call_later(random.uniform(1, 10), clock.thaw)
        if self._may_sleep() and strike(FaultKind.WINDOW_ROLLED):
            random.shuffle(self._sleeps_ms)
            clock.sleep(self._sleeps_ms.pop())

    def _may_sleep(self) -> bool:
        """Once or twice; for buckets' sake when there is something in one."""
        head = self._chain.head
        counts = not self._habit.one_price or head.ledger.is_charged(head.time_s)
        return bool(self._sleeps_ms) and counts

    def _disturb(self, node: Node) -> None:
        loop = self._machine.loop
        if self._faults.strike(FaultKind.PAUSE):
            node.process.paused = True
            loop.call_later(self._random.uniform(1, 20), loop.resume, node.process)
        if node.gate is not None and self._faults.strike(FaultKind.TWO_ENGINES):
            Node(self._machine, self._random, 0, self._second_ended).start()
        if node.gate is not None:
            self._repeat_facts(node)

    def _repeat_facts(self, node: Node) -> None:
        """A range of blocks that was applied is told once more."""
        blocks = self._machine.last_blocks
        if blocks is None or blocks.number > node.state.cursor:
            return
        if self._faults.strike(FaultKind.DUPLICATE_FACTS):
            assert node.sequencer is not None
            self._machine.loop.spawn(node.sequencer.submit(blocks), node.process)

    def _second_ended(self, node: Node, error: BaseException) -> None:
        """Two engines on one journal: the second must be refused."""
        node.process.alive = False
        if not isinstance(error, JournalLocked):
            loop = self._machine.loop
            loop.failure = loop.failure or Finding("two_engines", error=error)
