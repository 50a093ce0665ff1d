"""Gets every batch that the core cut onto the chain, once, whatever happens on the way.

The order is always: sign, store on disk, send, look. Nothing is concluded from a send:
its outcome may be unknown, so each pass looks for every hash that was ever signed for a
batch and asks the contract whether the number is settled, before it does anything else.
What is final the core decides, from the watcher's facts; the contract settles a number
once. README.md tells the states and what happens on each fault.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

import msgspec
import structlog

from contracts.bindings import ACCOUNT
from contracts.deploy import Deployment, Receipt, verify
from intents.signature import SigningKey
from solver.core.state import Batch
from solver.engine.sequencer import Sequencer
from solver.settlement import ask
from solver.settlement.batch import asks_contracts, encode_batch, gas_limit
from solver.settlement.chain import ChainClient, Fees
from solver.settlement.fault import (
    AlreadyKnown,
    BatchTooLarge,
    CallReverted,
    ChainUnreachable,
    NonceTooLow,
    OutboxForeign,
    RequestRefused,
    SessionRefused,
    SettlementFault,
    TransactionRefused,
    Underpriced,
)
from solver.settlement.gap import GapFiller
from solver.settlement.outbox import Entry, Outbox, Status, Version
from solver.settlement.transaction import Transaction, bumped, sign
from solver.settlement.view import View, look
from solver.settlement.wallet import Wallet

MAY_SETTLE: Final = 1
FOREIGN_POOLED_MAX: Final = 64
"""Most transactions of our key in a node's pool, besides those of ours, that are believed."""
BACKOFF_DOUBLINGS_MAX: Final = 6

_log = structlog.get_logger()


class SubmitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient, and how generous."""

    interval_ms: int = 500
    bump_after_blocks: int = 3
    """A transaction that is next in line and still not mined after this many is replaced."""
    bumps_max: int = 12
    """1.125¹² is about four times the first fee."""
    max_fee_wei: int = 500 * 10**9
    """No version pays more per gas than this."""
    in_flight_max: int = 8
    """Most batches that are signed and not mined. Nodes keep 16 or more for a sender."""
    doubts_max: int = 3
    """A contradiction is told when it was seen in so many passes on end."""
    unheard_blocks: int = 64
    """A batch that was settled for good so many final blocks ago should be known to the core."""
    refused_retry_ms: int = 1_000
    """Wait before a refused batch is simulated again; doubles up to 64 times this."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should see. Names are fixed, reasons are words."""

    name: str
    batch: int
    reason: str


class OpenBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that is not final yet; `reason` where it failed."""

    number: int
    status: Status
    nonce: int | None
    versions: int
    reason: str


class SubmitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a health check shows: `failed` batches wait for a person and `Submitter.retry`."""

    batches: tuple[OpenBatch, ...]
    alarms: tuple[Alarm, ...]

    @property
    def failed(self) -> tuple[int, ...]:
        """The numbers that `retry` takes."""
        return tuple(batch.number for batch in self.batches if batch.status is Status.FAILED)


class _Wait(msgspec.Struct, frozen=True, kw_only=True):
    until_ms: int
    refusals: int


def log_alarm(alarm: Alarm) -> None:
    """The default: an error in the log."""
    _log.error(alarm.name, batch=alarm.batch, reason=alarm.reason)


class Submitter:
    """One sender's batches. Call `start` once, then `run`, or `step` by hand."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        outbox: Outbox,
        sequencer: Sequencer,
        deployment: Deployment,
        key: SigningKey,
        policy: SubmitPolicy | None = None,
        on_alarm: Callable[[Alarm], None] = log_alarm,
    ) -> None:
        self._chain = chain
        self._outbox = outbox
        self._sequencer = sequencer
        self._deployment = deployment
        self._key = key
        self._policy = policy or SubmitPolicy()
        self._on_alarm = on_alarm
        self._waits: dict[int, _Wait] = {}
        self._sent_block: dict[int, int] = {}
        """The head when the newest version was taken, or was first seen after a restart."""
        self._gap = GapFiller(
            chain,
            key,
            chain_id=deployment.chain_id,
            patience_blocks=self._policy.bump_after_blocks,
        )
        self._fees_seen: Fees | None = None
        """Asked for at most once a pass."""
        self._doubts: dict[int, int] = {}
        self._heard_at: dict[int, int] = {}
        self._settled: frozenset[int] = frozenset()
        """Open batches that the last view had as settled."""
        self.alarms: Final[dict[tuple[str, int], Alarm]] = {}
        """What is wrong now, for health checks; entries go when their batch is final."""

    async def start(self) -> None:
        """Refuse to work where it cannot be right.

        Raises ChainMismatch, DeploymentFault (not our contracts), SessionRefused (the key
        may not settle), ChainUnreachable.
        """
        await self._chain.start()
        await verify(Wallet(self._chain, ()), self._deployment)
        live = ACCOUNT.function("isSessionLive")
        data = live.encode(self._key.address, MAY_SETTLE)
        answer = await self._chain.call(self._deployment.operator_account, data)
        if live.decode_outputs(answer) != (True,):
            raise SessionRefused(
                f"{self._key.address} may not settle for {self._deployment.operator_account}"
            )

    async def run(self) -> None:
        """Pass after pass until cancelled; an unreachable node only slows it down.

        Raises OutboxForeign, OutboxWriteFailed, SequencerStopped.
        """
        failures = 0
        while True:
            try:
                await self.step()
                failures = 0
            except (ChainUnreachable, RequestRefused) as fault:
                failures = min(failures + 1, BACKOFF_DOUBLINGS_MAX)
                _log.warning("submitter_waits", reason=str(fault))
            await asyncio.sleep(self._policy.interval_ms * 2**failures / 1_000)

    async def step(self) -> None:
        """One pass over all open batches, lowest nonce first.

        It works on a copy of what the core says, made before it waits for the journal: a
        crash must not leave a transaction for a batch that is then cut anew, otherwise.
        Raises SequencerStopped where that copy may never be on disk.
        """
        open_batches = self._open_batches()
        await self._sequencer.durable()
        for batch in open_batches.values():
            await self._admit(batch)
        entries = self._outbox.unfinished()
        if not entries:
            return
        self._fees_seen = None
        view = await self._look(entries)
        fault = await self._follow_all(entries, view, open_batches)
        if fault is not None:
            raise fault
        await self._open_all(view, open_batches)
        await self._fill_gap(view)

    async def _follow_all(
        self, entries: list[Entry], view: View, open_batches: dict[int, Batch]
    ) -> ChainUnreachable | None:
        """Each on its own: that nothing is known of one must not keep the others waiting."""
        first: ChainUnreachable | None = None
        for entry in sorted(entries, key=_by_nonce):
            try:
                await self._advance(entry, view, over=entry.number not in open_batches)
            except ChainUnreachable as fault:
                first = first or fault
        return first

    def backlog(self) -> int:
        """How many batches are not mined yet, as far as the last pass saw."""
        batches = self._sequencer.market.state.batches.values()
        return sum(not batch.final and batch.number not in self._settled for batch in batches)

    def _open_batches(self) -> dict[int, Batch]:
        batches = self._sequencer.market.state.batches
        return {
            number: msgspec.structs.replace(batch)
            for number, batch in batches.items()
            if not batch.final
        }

    def status(self) -> SubmitStatus:
        """Batches that are not final, and what is wrong now. A few reads of the outbox."""
        batches = [
            OpenBatch(
                number=entry.number,
                status=entry.status,
                nonce=entry.nonce,
                versions=len(self._outbox.versions(entry.number)),
                reason=entry.reason,
            )
            for entry in self._outbox.unfinished()
        ]
        return SubmitStatus(batches=tuple(batches), alarms=tuple(self.alarms.values()))

    async def retry(self, number: int) -> bool:
        """Try a failed batch again with a new transaction, once what was wrong is mended."""
        entry = self._outbox.entry(number)
        if entry is None or entry.status is not Status.FAILED:
            return False
        await asyncio.to_thread(self._outbox.release, number)
        self._clear(number)
        return True

    async def _admit(self, batch: Batch) -> None:
        """Keep the calldata of a new batch; hold a known one to what was kept."""
        entry = self._outbox.entry(batch.number)
        if entry is None:
            try:
                calldata = encode_batch(self._sequencer.market.state, batch)
            except BatchTooLarge as fault:
                self._alarm("batch_too_large", batch.number, str(fault))
                return
            await asyncio.to_thread(self._outbox.add, batch.number, batch.digest, calldata)
        elif entry.digest != batch.digest or entry.status is Status.FINAL:
            raise OutboxForeign(
                f"the outbox has batch {entry.number} {entry.status} as {entry.digest},"
                f" the core open as {batch.digest}"
            )

    async def _look(self, entries: list[Entry]) -> View:
        view = await look(
            self._chain,
            self._deployment,
            self._key.address,
            self._sequencer.market.state,
            (entry.number for entry in entries),
        )
        self._settled = view.settled
        return view

    async def _advance(self, entry: Entry, view: View, *, over: bool) -> None:
        if over and (entry.nonce is None or entry.nonce < view.nonce_final):
            await asyncio.to_thread(self._outbox.finish, entry.number)
            self._clear(entry.number)
            return
        if entry.number in view.settled:
            self._note_settled(entry, view, over=over)
        if entry.status is Status.SENT:
            await self._follow(entry, view)

    def _note_settled(self, entry: Entry, view: View, *, over: bool) -> None:
        """The core has to hear of it from the watcher, some time after it is final."""
        self._forget("batch_reverted", entry.number)
        if over or (entry.nonce is not None and entry.nonce >= view.nonce_final):
            return
        waited = view.final.number - self._heard_at.setdefault(entry.number, view.final.number)
        if waited >= self._policy.unheard_blocks:
            reason = f"settled for good {waited} blocks ago, and the core has not heard of it"
            self._alarm("batch_unheard", entry.number, reason)

    # ------------------------------------------------------------------ first send

    async def _open_all(self, view: View, open_batches: dict[int, Batch]) -> None:
        """Simulate, sign, store and send what waits, as much as may be in flight at once.

        All are simulated together; one that is refused lets those behind it pass.
        """
        entries = self._outbox.unfinished()
        due = self._due(entries, view, open_batches)
        if not due:
            return
        gas_limits = await self._gas_limits(due, open_batches)
        nonces = self._free_nonces(view, entries)
        for entry, gas in zip(due, gas_limits, strict=True):
            if gas is not None:
                fees = await self._fees()
                await self._send_new(entry, nonce=next(nonces), gas=gas, fees=fees, view=view)

    def _due(self, entries: list[Entry], view: View, open_batches: dict[int, Batch]) -> list[Entry]:
        flying = sum(
            entry.status is Status.SENT and entry.nonce is not None and entry.nonce >= view.nonce
            for entry in entries
        )
        waiting = [
            entry
            for entry in entries
            if entry.status is Status.WAITING
            and entry.number in open_batches
            and entry.number not in view.settled
            and self._may_open(entry.number)
            and self._is_open(entry.number)
        ]
        return waiting[: max(0, self._policy.in_flight_max - flying)]

    def _may_open(self, number: int) -> bool:
        wait = self._waits.get(number)
        return wait is None or self._sequencer.now_ms() >= wait.until_ms

    def _is_open(self, number: int) -> bool:
        """Still, as the core has it by now."""
        batch = self._sequencer.market.state.batches.get(number)
        return batch is not None and not batch.final

    async def _gas_limits(
        self, due: list[Entry], open_batches: dict[int, Batch]
    ) -> list[int | None]:
        """What to send each with; None where the simulation says not to.

        A batch whose simulation alone gets no answer waits like one that was refused.
        """
        state = self._sequencer.market.state
        asks = [asks_contracts(state, open_batches[entry.number]) for entry in due]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._gas_limit(entry.number, asks_contracts=asked))
                for entry, asked in zip(due, asks, strict=True)
            ]
        results = [task.result() for task in tasks]
        faults = [result for result in results if isinstance(result, ChainUnreachable)]
        if len(faults) == len(results):
            raise faults[0]
        limits: list[int | None] = []
        for entry, result in zip(due, results, strict=True):
            if isinstance(result, int):
                self._waits.pop(entry.number, None)
                self._forget("batch_refused", entry.number)
                limits.append(result)
            else:
                self._postpone(entry.number, str(result))
                limits.append(None)
        return limits

    async def _gas_limit(self, number: int, *, asks_contracts: bool) -> int | SettlementFault:
        try:
            estimate = await self._chain.estimate_gas(
                self._deployment.operator_account,
                self._outbox.calldata(number),
                sender=self._key.address,
            )
            return gas_limit(number, estimate, asks_contracts=asks_contracts)
        except (BatchTooLarge, ChainUnreachable, RequestRefused) as fault:
            return fault

    def _postpone(self, number: int, reason: str) -> None:
        """Nothing was sent, no nonce is used: look again later, less and less often."""
        wait = self._waits.get(number)
        refusals = min(wait.refusals + 1 if wait else 0, BACKOFF_DOUBLINGS_MAX)
        until_ms = self._sequencer.now_ms() + self._policy.refused_retry_ms * 2**refusals
        self._waits[number] = _Wait(until_ms=until_ms, refusals=refusals)
        self._alarm("batch_refused", number, reason)

    def _free_nonces(self, view: View, entries: list[Entry]) -> Iterator[int]:
        """Nonces that nobody uses, as far as is known, from the lowest on: gaps come first."""
        if view.nonce_pending - view.nonce > self._policy.in_flight_max + FOREIGN_POOLED_MAX:
            raise ChainUnreachable(
                f"{view.nonce_pending - view.nonce} transactions of ours are said to be pending"
            )
        taken = {entry.nonce for entry in entries}
        first = max(view.nonce_pending, self._outbox.nonce_past())
        return (nonce for nonce in count(first) if nonce not in taken)

    async def _send_new(
        self, entry: Entry, *, nonce: int, gas: int, fees: Fees, view: View
    ) -> None:
        signed = sign(
            Transaction(
                chain_id=self._deployment.chain_id,
                nonce=nonce,
                fees=fees,
                gas=gas,
                to=self._deployment.operator_account,
                data=self._outbox.calldata(entry.number),
            ),
            self._key,
        )
        version = Version(hash=signed.hash, raw=signed.raw, fees=fees)
        # The point of no return: once stored, these bytes may reach the chain at any time.
        await asyncio.to_thread(self._outbox.store, entry.number, nonce, gas, version)
        _log.info("batch_signed", batch=entry.number, nonce=nonce, hash=signed.hash)
        self._sent_block[entry.number] = view.head.number
        await self._send(entry.number, signed.raw)

    async def _send(self, number: int, raw: bytes) -> bool:
        """Offer bytes to the pool; whether it took them. The rest the next pass finds out."""
        try:
            await self._chain.send(raw)
        except (AlreadyKnown, NonceTooLow, Underpriced) as fault:
            _log.info("batch_send_answer", batch=number, reason=str(fault))
        except TransactionRefused as fault:
            self._alarm("batch_not_taken", number, str(fault))
        else:
            self._forget("batch_not_taken", number)
            return True
        return False

    # ------------------------------------------------------------------ after that

    async def _follow(self, entry: Entry, view: View) -> None:
        """Is its nonce used? If not, see that it gets mined; if so, see what came of it.

        Receipts are not asked before: what one says of a transaction whose nonce is not used
        is out of date, or not true.
        """
        assert entry.nonce is not None
        versions = self._outbox.versions(entry.number)
        if entry.nonce < view.nonce:
            await self._conclude(entry, versions, view)
            return
        self._trust(entry.number)
        if await self._is_pooled(versions):
            await self._bump_if_stuck(entry, versions, view)
            return
        _log.info("batch_sent_again", batch=entry.number, nonce=entry.nonce)
        if await self._send(entry.number, versions[-1].raw):
            self._sent_block[entry.number] = view.head.number
        else:
            await self._bump_if_stuck(entry, versions, view)

    async def _is_pooled(self, versions: list[Version]) -> bool:
        """Whether the node has any of them."""
        known = await self._chain.read_all([ask.is_known(one.hash) for one in versions])
        return any(known)

    async def _conclude(self, entry: Entry, versions: list[Version], view: View) -> None:
        """The nonce is used: by a version that settled, by one that did not, or by another."""
        if entry.number in view.settled:
            self._trust(entry.number)
            return
        receipts = await self._chain.read_all([ask.receipt(one.hash) for one in versions])
        found = [receipt for receipt in receipts if receipt is not None]
        if not found:
            await self._note_collision(entry, view)
        elif found[-1].succeeded:
            told = "the receipt says that it succeeded, the contract does not have it"
            await self._doubt(entry, told, view)
        elif not await self._is_on_chain(found[-1]):
            told = f"the receipt names a block {found[-1].block_number} that is not on the chain"
            await self._doubt(entry, told, view)
        else:
            await self._note_revert(entry, found[-1], view)

    async def _is_on_chain(self, receipt: Receipt) -> bool:
        block = await self._chain.block(receipt.block_number)
        return block is not None and block.hash == receipt.block_hash

    async def _doubt(self, entry: Entry, told: str, view: View) -> None:
        """A reorganisation may pass by; what lasts is told, and if final waits for a person."""
        assert entry.nonce is not None
        doubts = self._doubts[entry.number] = self._doubts.get(entry.number, 0) + 1
        if doubts < self._policy.doubts_max:
            return
        self._alarm("receipt_contradicted", entry.number, told)
        if entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.fail, entry.number, told)

    def _trust(self, number: int) -> None:
        """Nothing of what was told contradicts anything else any more."""
        self._doubts.pop(number, None)
        self._forget("nonce_collision", number)
        self._forget("receipt_contradicted", number)

    async def _note_revert(self, entry: Entry, receipt: Receipt, view: View) -> None:
        """A case for a person, once it is final."""
        assert entry.nonce is not None
        self._trust(entry.number)
        reason = await self._reason(entry, receipt)
        self._alarm("batch_reverted", entry.number, reason)
        if receipt.block_number <= view.final.number and entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.fail, entry.number, reason)

    async def _reason(self, entry: Entry, receipt: Receipt) -> str:
        """What the contract says to the same call just before the block."""
        try:
            await self._chain.call(
                self._deployment.operator_account,
                self._outbox.calldata(entry.number),
                sender=self._key.address,
                gas=entry.gas,
                at=receipt.block_number - 1,
            )
        except CallReverted as fault:
            return fault.reason
        except RequestRefused as fault:
            return f"reverted, and cannot be simulated: {fault}"
        return (
            f"reverted with {receipt.gas_used} of {entry.gas} gas, though its simulation does not"
        )

    async def _note_collision(self, entry: Entry, view: View) -> None:
        """The nonce is used, and not by us. Once that is final, take another nonce."""
        assert entry.nonce is not None
        self._alarm("nonce_collision", entry.number, f"nonce {entry.nonce} was used by another")
        if entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.release, entry.number)

    async def _bump_if_stuck(self, entry: Entry, versions: list[Version], view: View) -> None:
        """Replace what was not mined for some blocks, though it is next in line.

        What is behind is only replaced if it, too, pays less than the base fee: else it needs
        no more than that its turn comes.
        """
        assert entry.nonce is not None
        newest = versions[-1]
        waited = view.head.number - self._sent_block.setdefault(entry.number, view.head.number)
        stuck = entry.nonce == view.nonce or newest.fees.max_wei < view.head.base_fee_wei
        if not stuck or waited < self._policy.bump_after_blocks:
            return
        fees = bumped(newest.fees, await self._fees())
        if len(versions) > self._policy.bumps_max or fees.max_wei > self._policy.max_fee_wei:
            reason = f"{len(versions)} versions, the last at {newest.fees.max_wei} wei per gas"
            self._alarm("batch_stuck", entry.number, reason)
            return
        await self._send_new(entry, nonce=entry.nonce, gas=entry.gas, fees=fees, view=view)

    async def _fill_gap(self, view: View) -> None:
        """Whatever is signed has to be reachable: no nonce below it may stay unused."""
        nonces = {
            entry.nonce: entry.number
            for entry in self._outbox.unfinished()
            if entry.status is Status.SENT and entry.nonce is not None
        }
        gap = self._gap.find(view, nonces)
        if gap is None:
            for number in nonces.values():
                self._forget("nonce_gap", number)
            return
        reason = f"nonce {gap.first} is used by nobody, so {gap.above} has to wait"
        self._alarm("nonce_gap", nonces[gap.above], reason)
        await self._gap.fill(gap, view, await self._fees(), self._policy.max_fee_wei)

    # ------------------------------------------------------------------ small things

    async def _fees(self) -> Fees:
        """The usual fees, within what we pay at most."""
        if self._fees_seen is None:
            self._fees_seen = self._capped(await self._chain.fees())
        return self._fees_seen

    def _capped(self, fees: Fees) -> Fees:
        most = self._policy.max_fee_wei
        return Fees(max_wei=min(fees.max_wei, most), tip_wei=min(fees.tip_wei, most))

    def _alarm(self, name: str, number: int, reason: str) -> None:
        """Raise an alarm, once for each name, batch and reason."""
        alarm = Alarm(name=name, batch=number, reason=reason)
        if self.alarms.get((name, number)) != alarm:
            self.alarms[(name, number)] = alarm
            self._on_alarm(alarm)

    def _forget(self, name: str, number: int) -> None:
        self.alarms.pop((name, number), None)

    def _clear(self, number: int) -> None:
        self._waits.pop(number, None)
        self._sent_block.pop(number, None)
        self._doubts.pop(number, None)
        self._heard_at.pop(number, None)
        for key in [key for key in self.alarms if key[1] == number]:
            del self.alarms[key]


def _by_nonce(entry: Entry) -> tuple[bool, int, int]:
    """Those with a nonce first, so that a gap is filled before it grows."""
    return (entry.nonce is None, entry.nonce or 0, entry.number)
