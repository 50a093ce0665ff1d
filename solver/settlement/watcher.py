"""Tells the core what finalised blocks say. Nothing younger ever reaches it.

A pass reads the contracts' logs from after the cursor up to the finalised head, turns
them into facts and submits whole blocks, in order. Before anything is submitted, the
block that the cursor names must still be there: if not, the chain is another one and the
process has to stop (P8).
"""

from typing import Any, Final, Never

import msgspec
import structlog

from contracts import bindings
from contracts.bindings import BONDS, SETTLEMENT, RawLog, decode_log, topics_of
from contracts.deploy import Deployment
from contracts.metered import paid_buyers
from intents.receipt import lines_of
from intents.reject import Reject, RejectCode
from solver.core.check import check
from solver.core.command import ApplyBlocks
from solver.core.fact import (
    AllSessionsRevoked,
    BatchSettled,
    BlockMined,
    BondDeposited,
    BondWithdrawalRequested,
    BondWithdrawn,
    CapChanged,
    ClaimPaid,
    CounterpartyRuleChanged,
    Deposited,
    EpochBumped,
    Fact,
    FillSettled,
    FillSkipped,
    KeyGranted,
    KeyRotated,
    KeyTeamChanged,
    MeteredSettled,
    NonceCancelled,
    PaidRecord,
    ReceiptClaimed,
    RecordSkipped,
    SessionRevoked,
    SolverPenalised,
    WithdrawalRequested,
    Withdrawn,
)
from solver.engine.sequencer import Sequencer
from solver.settlement import ask
from solver.settlement.ask import Ask, Block
from solver.settlement.chain import ChainClient
from solver.settlement.fault import (
    ChainForked,
    ChainUnreachable,
    RangeTooLarge,
    SettlementFault,
)
from solver.settlement.pace import repeat

_SETTLEMENT_TOPICS: Final = topics_of(SETTLEMENT)
_BOND_TOPICS: Final = topics_of(BONDS)

_TIMED_TOPICS: Final = frozenset(
    bindings.topic_of(log)
    for log in (
        bindings.MeteredSettled,
        bindings.ReceiptClaimed,
        bindings.BatchSettled,
    )
)
"""Of logs that say, or come with, what a session's cap counts."""
_TEAM, _ROOT = 1, 2
"""Of the contract's Bearer."""

INTEGER_MAX: Final = 2**63 - 1
"""The journal's largest integer. Caps and requests above it mean the same as it: "all"."""

_log = structlog.get_logger()


class WatchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how much at once."""

    interval_ms: int = 500
    blocks_max: int = 1_000
    """Blocks in one pass; halved while the node says it is too much."""
    facts_max: int = 1_000
    """Facts in one command, unless a single block has more: blocks are not split."""
    idle_blocks: int = 64
    """Without facts the cursor moves in the journal only every so many blocks. Less than
    128, so that a node without an archive still knows the state at the cursor."""


class WatchStopped(SettlementFault):
    """The sequencer takes no more commands."""


class Watcher:
    """Call `start` once, then `run`, or `step` by hand."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        sequencer: Sequencer,
        deployment: Deployment,
        policy: WatchPolicy | None = None,
    ) -> None:
        self._chain = chain
        self._sequencer = sequencer
        self._deployment = deployment
        self._policy = policy or WatchPolicy()
        self._blocks_max = self._policy.blocks_max
        self._scanned = deployment.deploy_block - 1
        """Up to here all is read; at or after the core's cursor."""
        self._scanned_hash = ""

    async def start(self) -> None:
        """Hold the core's cursor against the chain.

        Raises ChainMismatch, ChainForked, ChainUnreachable.
        """
        await self._chain.start()
        state = self._sequencer.market.state
        if state.cursor < 0:
            return
        self._scanned, self._scanned_hash = state.cursor, state.cursor_hash
        await self._check_cursor()

    async def run(self) -> Never:
        """Pass after pass until cancelled; an unreachable node only slows it down.

        Raises ChainForked, ArtifactFault, WatchStopped, Violation.
        """
        await repeat(self.step, self._policy.interval_ms, "watcher_waits")

    async def step(self) -> bool:
        """One pass; whether there is more to read at once."""
        final = await self._chain.finalized()
        if final.number <= self._scanned:
            await self._check_not_behind(final)
            return False
        last = min(final.number, self._scanned + self._blocks_max)
        try:
            await self._read(last)
        except RangeTooLarge as fault:
            self._halve_blocks(fault)
            return True
        self._blocks_max = min(self._policy.blocks_max, self._blocks_max * 2)
        return last < final.number

    def _halve_blocks(self, fault: RangeTooLarge) -> None:
        if self._blocks_max == 1:
            raise ChainUnreachable(f"the node refuses a single block's logs: {fault}") from fault
        self._blocks_max //= 2

    async def _read(self, last: int) -> None:
        """Read some blocks, in order, and submit what counts of them.

        It is asked in one request, with the blocks at both ends: who answers has them, and so
        a node that is behind cannot pass off what it has not seen as nothing.
        """
        first = self._scanned + 1
        addresses, topics = [self._deployment.settlement], _SETTLEMENT_TOPICS
        if self._deployment.bonds:
            addresses, topics = [*addresses, self._deployment.bonds], topics + _BOND_TOPICS
        asks: list[Ask[Any]] = [
            ask.block(last),
            ask.block(self._scanned),
            ask.logs(first, last, topics=topics, addresses=addresses),
        ]
        block, scanned, logs = await self._chain.read_all(asks)
        self._check_still_there(scanned)
        if block is None:
            raise ChainUnreachable(f"finalised block {last} is not there")
        logs.sort(key=lambda log: (log.block_number, log.log_index))
        times = await self._times_of(logs)
        await self._submit(_facts_of(logs, times), last, block.hash)
        self._scanned, self._scanned_hash = last, block.hash

    async def _times_of(self, logs: list[RawLog]) -> dict[int, int]:
        """When the blocks were mined in which a session's cap may have been charged, by number.

        Their hashes are those that the logs name: so whoever answers has the same blocks.
        """
        timed = {log.block_number: log.block_hash for log in logs if log.topics[0] in _TIMED_TOPICS}
        blocks = await self._chain.read_all([ask.block(number) for number in timed])
        times = {}
        for (number, expected), block in zip(timed.items(), blocks, strict=True):
            if block is None or block.hash != expected:
                raise ChainUnreachable(f"block {number} of a log is not there")
            times[number] = block.timestamp
        return times

    async def _check_cursor(self) -> None:
        self._check_still_there(await self._chain.block(self._scanned))

    def _check_still_there(self, block: Block | None) -> None:
        """The block up to which all was read must be the one it was."""
        if not self._scanned_hash:
            return
        if block is None or block.hash != self._scanned_hash:
            found = block.hash if block else "nothing"
            raise ChainForked(
                f"block {self._scanned} was {self._scanned_hash} when it was final, and is"
                f" {found} now: the chain was reorganised deeply, or restarted"
            )

    async def _check_not_behind(self, final: Block) -> None:
        """A stale node may be waited for; one that says something else may not."""
        if final.number == self._scanned or not self._scanned_hash:
            return
        if await self._chain.block(self._scanned) is not None:
            await self._check_cursor()
        raise ChainUnreachable(f"finalised {final.number} is behind our block {self._scanned}")

    async def _submit(self, facts: list[tuple[RawLog, Fact]], last: int, last_hash: str) -> None:
        """Whole blocks, in commands of about facts_max; the last one moves the cursor on.

        A pass that failed half-way has submitted some of them. Told again as part of
        another range, with another last block, they would count twice.
        """
        cursor = self._sequencer.market.state.cursor
        facts = [(log, fact) for log, fact in facts if log.block_number > cursor]
        start = 0
        while len(facts) - start > self._policy.facts_max:
            end = start + self._policy.facts_max
            number = facts[end - 1][0].block_number
            while end < len(facts) and facts[end][0].block_number == number:
                end += 1
            if end == len(facts):
                break
            await self._apply(facts[start:end], number, facts[end - 1][0].block_hash)
            start = end
        idle = last - self._sequencer.market.state.cursor < self._policy.idle_blocks
        if facts[start:] or not idle:
            await self._apply(facts[start:], last, last_hash)

    async def _apply(self, facts: list[tuple[RawLog, Fact]], number: int, block_hash: str) -> None:
        command = ApplyBlocks(
            number=number, block_hash=block_hash, facts=tuple(fact for _, fact in facts)
        )
        result = await self._sequencer.submit(command)
        if not isinstance(result, Reject):
            return
        match result.code:
            case RejectCode.CURSOR_BEHIND:
                return  # a pass that failed half-way had already submitted these blocks
            case RejectCode.BUSY:
                raise ChainUnreachable("the market is busy")
            case _:
                raise WatchStopped(result.message)


def _facts_of(logs: list[RawLog], times: dict[int, int]) -> list[tuple[RawLog, Fact]]:
    """What logs mean, in their order, with the times of blocks that have one."""
    facts: list[tuple[RawLog, Fact]] = []
    told = None
    for raw in logs:
        log = decode_log(raw)
        fact = None if log is None else fact_of(log)
        if fact is None:
            continue
        if raw.block_number in times and raw.block_number != told:
            told = raw.block_number
            facts.append((raw, BlockMined(time_s=times[told])))
        facts.append((raw, fact))
    return facts


def fact_of(log: bindings.Log) -> Fact | None:  # noqa: C901, PLR0911, PLR0912  a table
    """What a log of the settlement contract means to the core."""
    match log:
        case bindings.Deposited():
            check(log.balance_after <= INTEGER_MAX, "deposit_fits_ledger", account=log.account)
            return Deposited(account=log.account, amount=log.amount)
        case bindings.WithdrawalRequested():
            return WithdrawalRequested(account=log.account, amount=min(log.amount, INTEGER_MAX))
        case bindings.WithdrawalCancelled():
            return WithdrawalRequested(account=log.account, amount=0)
        case bindings.Withdrawn():
            return Withdrawn(account=log.account, amount=log.amount)
        case bindings.Cancelled():
            return NonceCancelled(account=log.account, nonce=log.nonce)
        case bindings.EpochBumped():
            return EpochBumped(account=log.account, epoch=log.epoch)
        case bindings.FillSettled():
            return FillSettled(fill=log.fill, payment=log.payment)
        case bindings.FillSkipped():
            return FillSkipped(fill=log.fill, reason=log.reason)
        case bindings.BatchSettled():
            return BatchSettled(number=log.number, digest=log.batch_hash)
        case bindings.MeteredSettled():
            return MeteredSettled(number=log.number, root=log.root, records=_paid(log.buyers))
        case bindings.RecordSkipped():
            return RecordSkipped(number=log.number, account=log.account, problem=log.problem)
        case bindings.ReceiptClaimed():
            return ReceiptClaimed(
                account=log.account, signer=log.signer, amount=log.spent - log.base
            )
        case bindings.ClaimExecuted():
            lines = lines_of(bytes.fromhex(log.sellers[2:]))
            return ClaimPaid(account=log.account, spent=log.spent, lines=lines)
        case bindings.RegistryLog():
            return _registry_fact(log)
        case _:
            return _bond_fact(log)


def _bond_fact(log: bindings.Log) -> Fact | None:
    """What a log of the solvers' bonds means."""
    match log:
        case bindings.BondDeposited():
            check(log.amount_after <= INTEGER_MAX, "bond_fits_ledger", solver=log.solver)
            return BondDeposited(solver=log.solver, amount=log.amount)
        case bindings.BondWithdrawalRequested():
            return BondWithdrawalRequested(solver=log.solver, amount=min(log.amount, INTEGER_MAX))
        case bindings.BondWithdrawn():
            return BondWithdrawn(solver=log.solver, amount=log.amount)
        case bindings.SolverPenalised():
            return SolverPenalised(auction=log.auction, solver=log.solver, paid=log.paid)
    return None


def _registry_fact(log: bindings.RegistryLog) -> Fact | None:  # noqa: PLR0911  a table
    account = log.account
    match log:
        case bindings.RegistrySessionGranted():
            return KeyGranted(
                account=account,
                session=log.key,
                word=hex(log.word),
                terms=hex(log.terms),
                units=hex(log.units),
            )
        case bindings.RegistrySessionRotated():
            return KeyRotated(account=account, session=log.key, replacement=log.replacement)
        case bindings.RegistrySessionRevoked():
            return SessionRevoked(account=account, session=log.key)
        case bindings.RegistrySessionsRevoked():
            return AllSessionsRevoked(account=account)
        case bindings.RegistrySessionTeamChanged():
            return KeyTeamChanged(account=account, session=log.key, team=log.team)
        case bindings.RegistryCounterpartyRuleChanged():
            return CounterpartyRuleChanged(account=account, rule=log.rule)
        case bindings.RegistryCapChanged() if log.bearer in (_TEAM, _ROOT):
            return CapChanged(account=account, team=log.id, word=hex(log.word))
    return None


def _paid(buyers: str) -> tuple[PaidRecord, ...]:
    return tuple(
        PaidRecord(account=told.account, spent=told.spent, paid=told.paid)
        for told in paid_buyers(bytes.fromhex(buyers[2:]))
    )
