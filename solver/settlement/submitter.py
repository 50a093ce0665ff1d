"""Gets every batch that the core cut onto the chain, once, whatever happens on the way.

The order is always: sign, store on disk, send, look. Nothing is concluded from a send:
its outcome may be unknown, so each pass looks for every hash that was ever signed for a
batch and asks the contract whether the number is settled, before it does anything else.
What is final the core decides, from the watcher's facts; the contract settles a number
once. README.md tells the states and what happens on each fault.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from contracts.bindings import ACCOUNT, SETTLEMENT
from contracts.deploy import Deployment, Receipt, verify
from intents.signature import SigningKey
from solver.core.state import Batch
from solver.engine.sequencer import Sequencer
from solver.settlement.ask import Block, Tag
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
    TransactionRefused,
    Underpriced,
)
from solver.settlement.outbox import Entry, Outbox, Status, Version
from solver.settlement.transaction import Transaction, bumped, sign
from solver.settlement.wallet import Wallet

MAY_SETTLE: Final = 1
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


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """What the chain said at the start of a pass."""

    head: Block
    final: Block
    nonce: int
    nonce_final: int


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
        view = await self._look()
        for entry in sorted(entries, key=_by_nonce):
            await self._advance(entry, view, over=entry.number not in open_batches)

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

    async def _look(self) -> _View:
        final = await self._chain.finalized()
        return _View(
            final=final,
            nonce_final=await self._chain.nonce(self._key.address, final.number),
            head=await self._chain.head(),
            nonce=await self._chain.nonce(self._key.address),
        )

    async def _advance(self, entry: Entry, view: _View, *, over: bool) -> None:
        if over and (entry.nonce is None or entry.nonce < view.nonce_final):
            await asyncio.to_thread(self._outbox.finish, entry.number)
            self._clear(entry.number)
        elif entry.status is Status.SENT:
            await self._follow(entry, view)
        elif entry.status is Status.WAITING and not over:
            await self._open(entry, view)

    # ------------------------------------------------------------------ first send

    async def _open(self, entry: Entry, view: _View) -> None:
        """Simulate, sign, store, send; unless it is settled already or has to wait."""
        if not self._may_open(entry.number) or await self._is_settled(entry.number):
            return
        account = self._deployment.operator_account
        try:
            estimate = await self._chain.estimate_gas(
                account, entry.calldata, sender=self._key.address
            )
            state = self._sequencer.market.state
            asks = asks_contracts(state, state.batches[entry.number])
            gas = gas_limit(entry.number, estimate, asks_contracts=asks)
        except (CallReverted, BatchTooLarge) as fault:
            self._postpone(entry.number, str(fault))
            return
        self._waits.pop(entry.number, None)
        self._forget("batch_refused", entry.number)
        fees = self._capped(await self._chain.fees())
        nonce = max(
            self._outbox.nonce_next(), await self._chain.nonce(self._key.address, "pending")
        )
        await self._send_new(entry, nonce=nonce, gas=gas, fees=fees, view=view)

    def _may_open(self, number: int) -> bool:
        sent = sum(entry.status is Status.SENT for entry in self._outbox.unfinished())
        wait = self._waits.get(number)
        return sent < self._policy.in_flight_max and (
            wait is None or self._sequencer.now_ms() >= wait.until_ms
        )

    def _postpone(self, number: int, reason: str) -> None:
        """Nothing was sent, no nonce is used: look again later, less and less often."""
        wait = self._waits.get(number)
        refusals = min(wait.refusals + 1 if wait else 0, BACKOFF_DOUBLINGS_MAX)
        until_ms = self._sequencer.now_ms() + self._policy.refused_retry_ms * 2**refusals
        self._waits[number] = _Wait(until_ms=until_ms, refusals=refusals)
        self._alarm("batch_refused", number, reason)

    async def _send_new(
        self, entry: Entry, *, nonce: int, gas: int, fees: Fees, view: _View
    ) -> None:
        signed = sign(
            Transaction(
                chain_id=self._deployment.chain_id,
                nonce=nonce,
                fees=fees,
                gas=gas,
                to=self._deployment.operator_account,
                data=entry.calldata,
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

    async def _follow(self, entry: Entry, view: _View) -> None:
        """Find out what became of a transaction, by all its hashes, and see to the next step."""
        assert entry.nonce is not None
        versions = self._outbox.versions(entry.number)
        for version in reversed(versions):
            receipt = await self._chain.receipt(version.hash)
            if receipt is not None:
                self._forget("nonce_collision", entry.number)
                if not receipt.succeeded:
                    await self._note_revert(entry, receipt, view)
                return
        if view.nonce > entry.nonce:
            await self._note_collision(entry, view)
        elif await self._is_pooled(versions):
            await self._bump_if_stuck(entry, versions, view)
        else:
            _log.info("batch_sent_again", batch=entry.number, nonce=entry.nonce)
            if await self._send(entry.number, versions[-1].raw):
                self._sent_block[entry.number] = view.head.number
            else:
                await self._bump_if_stuck(entry, versions, view)

    async def _is_pooled(self, versions: list[Version]) -> bool:
        for version in reversed(versions):
            if await self._chain.is_known(version.hash):
                return True
        return False

    async def _note_revert(self, entry: Entry, receipt: Receipt, view: _View) -> None:
        """Harmless if the number is settled, else a case for a person, once it is final."""
        if await self._is_settled(entry.number):
            return
        reason = await self._reason(entry, receipt)
        self._alarm("batch_reverted", entry.number, reason)
        if receipt.block_number <= view.final.number:
            await asyncio.to_thread(self._outbox.fail, entry.number, reason)

    async def _reason(self, entry: Entry, receipt: Receipt) -> str:
        """What the contract says to the same call just before the block."""
        try:
            await self._chain.call(
                self._deployment.operator_account,
                entry.calldata,
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

    async def _note_collision(self, entry: Entry, view: _View) -> None:
        """The nonce is used, and not by us. Once that is final, take another nonce."""
        assert entry.nonce is not None
        if await self._is_settled(entry.number):
            return
        self._alarm("nonce_collision", entry.number, f"nonce {entry.nonce} was used by another")
        if entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.release, entry.number)

    async def _bump_if_stuck(self, entry: Entry, versions: list[Version], view: _View) -> None:
        """Replace what is next in line and was not mined for some blocks."""
        assert entry.nonce is not None
        newest = versions[-1]
        sent_block = self._sent_block.setdefault(entry.number, view.head.number)
        waited = view.head.number - sent_block
        if entry.nonce != view.nonce or waited < self._policy.bump_after_blocks:
            return
        fees = bumped(newest.fees, await self._chain.fees())
        if len(versions) > self._policy.bumps_max or fees.max_wei > self._policy.max_fee_wei:
            reason = f"{len(versions)} versions, the last at {newest.fees.max_wei} wei per gas"
            self._alarm("batch_stuck", entry.number, reason)
            return
        await self._send_new(entry, nonce=entry.nonce, gas=entry.gas, fees=fees, view=view)

    # ------------------------------------------------------------------ small things

    async def _is_settled(self, number: int, at: Tag = "latest") -> bool:
        function = SETTLEMENT.function("isBatchSettled")
        answer = await self._chain.call(self._deployment.settlement, function.encode(number), at=at)
        return function.decode_outputs(answer) == (True,)

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
        for key in [key for key in self.alarms if key[1] == number]:
            del self.alarms[key]


def _by_nonce(entry: Entry) -> tuple[bool, int, int]:
    """Those with a nonce first, so that a gap is filled before it grows."""
    return (entry.nonce is None, entry.nonce or 0, entry.number)
