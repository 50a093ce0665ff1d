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
from typing import Final, Never

import msgspec
import structlog

from contracts.bindings import ACCOUNT
from contracts.deploy import Deployment, verify
from intents.signature import SigningKey
from solver.core.state import Batch
from solver.engine.award import AwardSigner
from solver.engine.sequencer import Sequencer
from solver.settlement.alarm import Alarm, Alarms, log_alarm
from solver.settlement.batch import asks_contracts, encode_batch, gas_limit
from solver.settlement.chain import ChainClient
from solver.settlement.dispatch import Dispatch
from solver.settlement.fault import (
    BatchTooLarge,
    ChainUnreachable,
    OutboxForeign,
    RequestRefused,
    SessionRefused,
    SettlementFault,
)
from solver.settlement.follow import Follower
from solver.settlement.gap import GapFiller
from solver.settlement.metered import encode_metered
from solver.settlement.outbox import Entry, Outbox, Status
from solver.settlement.pace import Refusals, repeat
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.view import View, look
from solver.settlement.wallet import Wallet

MAY_SETTLE: Final = 1
FOREIGN_POOLED_MAX: Final = 64
"""Most transactions of our key in a node's pool, besides those of ours, that are believed."""

_log = structlog.get_logger()


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
        awards: AwardSigner,
        policy: SubmitPolicy | None = None,
        on_alarm: Callable[[Alarm], None] = log_alarm,
    ) -> None:
        self._chain = chain
        self._outbox = outbox
        self._sequencer = sequencer
        self._deployment = deployment
        self._key = key
        self._awards = awards
        self._policy = policy or SubmitPolicy()
        self._alarms = Alarms(on_alarm)
        self._dispatch = Dispatch(
            chain=chain,
            outbox=outbox,
            deployment=deployment,
            key=key,
            policy=self._policy,
            alarms=self._alarms,
        )
        self._follower = Follower(
            chain=chain,
            outbox=outbox,
            deployment=deployment,
            sender=key.address,
            policy=self._policy,
            alarms=self._alarms,
            dispatch=self._dispatch,
        )
        self._refusals = Refusals[int](self._policy.refused_retry_ms)
        self._gap = GapFiller(
            chain,
            key,
            chain_id=deployment.chain_id,
            patience_blocks=self._policy.bump_after_blocks,
        )
        self._settled: frozenset[int] = frozenset()
        """Open batches that the last view had as settled."""

    @property
    def alarms(self) -> dict[tuple[str, int], Alarm]:
        """What is wrong now, for health checks; entries go when their batch is final."""
        return self._alarms.standing

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

    async def run(self) -> Never:
        """Pass after pass until cancelled; an unreachable node only slows it down.

        Raises OutboxForeign, OutboxWriteFailed, SequencerStopped.
        """
        await repeat(self.step, self._policy.interval_ms, "submitter_waits")

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
        self._dispatch.begin_pass()
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
        return SubmitStatus(batches=tuple(batches), alarms=tuple(self._alarms.standing.values()))

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
                calldata = self._calldata(batch)
            except BatchTooLarge as fault:
                self._alarms.tell("batch_too_large", batch.number, str(fault))
                return
            if calldata is not None:
                await asyncio.to_thread(self._outbox.add, batch.number, batch.digest, calldata)
        elif entry.digest != batch.digest or entry.status is Status.FINAL:
            raise OutboxForeign(
                f"the outbox has batch {entry.number} {entry.status} as {entry.digest},"
                f" the core open as {batch.digest}"
            )

    def _calldata(self, batch: Batch) -> bytes | None:
        """What settles a batch; None while an address book for it is not final."""
        state = self._sequencer.market.state
        if batch.records:
            return encode_metered(state, batch, self._outbox.books())
        return encode_batch(state, batch, self._awards)

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
            self._follower.note_settled(entry, view, over=over)
        if entry.status is Status.SENT:
            await self._follower.follow(entry, view)

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
                fees = await self._dispatch.fees()
                await self._dispatch.sign_and_send(
                    entry, nonce=next(nonces), gas=gas, fees=fees, view=view
                )

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
            and _is_next(open_batches[entry.number], open_batches, view)
        ]
        return waiting[: max(0, self._policy.in_flight_max - flying)]

    def _may_open(self, number: int) -> bool:
        return self._refusals.may_try(number, self._sequencer.now_ms())

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
                self._refusals.forget(entry.number)
                self._alarms.forget("batch_refused", entry.number)
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
        self._refusals.note(number, self._sequencer.now_ms())
        self._alarms.tell("batch_refused", number, reason)

    def _free_nonces(self, view: View, entries: list[Entry]) -> Iterator[int]:
        """Nonces that nobody uses, as far as is known, from the lowest on: gaps come first."""
        if view.nonce_pending - view.nonce > self._policy.in_flight_max + FOREIGN_POOLED_MAX:
            raise ChainUnreachable(
                f"{view.nonce_pending - view.nonce} transactions of ours are said to be pending"
            )
        taken = {entry.nonce for entry in entries}
        first = max(view.nonce_pending, self._outbox.nonce_past())
        return (nonce for nonce in count(first) if nonce not in taken)

    async def _fill_gap(self, view: View) -> None:
        """Whatever is signed has to be reachable: no nonce below it may stay unused."""
        nonces = {
            entry.nonce: entry.number
            for entry in self._outbox.unfinished()
            if entry.status is Status.SENT and entry.nonce is not None
        }
        gap = self._gap.find(view, nonces)
        if not self._gap.is_open:
            for number in nonces.values():
                self._alarms.forget("nonce_gap", number)
        if gap is None:
            return
        reason = f"nonce {gap.first} is used by nobody, so {gap.above} has to wait"
        self._alarms.tell("nonce_gap", nonces[gap.above], reason)
        await self._gap.fill(gap, view, await self._dispatch.fees(), self._policy.max_fee_wei)

    def _clear(self, number: int) -> None:
        self._refusals.forget(number)
        self._dispatch.clear(number)
        self._follower.clear(number)
        self._alarms.forget_all(number)


def _is_next(batch: Batch, open_batches: dict[int, Batch], view: View) -> bool:
    """Whether no metered batch before it is still to be mined: what it takes goes on from there."""
    return not batch.records or all(
        number in view.settled
        for number, other in open_batches.items()
        if other.records and other.root_number < batch.root_number
    )


def _by_nonce(entry: Entry) -> tuple[bool, int, int]:
    """Those with a nonce first, so that a gap is filled before it grows."""
    return (entry.nonce is None, entry.nonce or 0, entry.number)
