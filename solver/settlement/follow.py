"""What became of a transaction, and what it needs next.

Whether it is mined the sender's nonce says, whether it settled the contract does; receipts
explain. Sending the same bytes again is always harmless, so that is what doubt leads to.
"""

import asyncio

import structlog

from contracts.deploy import Deployment, Receipt
from solver.settlement import ask
from solver.settlement.alarm import Alarms
from solver.settlement.chain import ChainClient
from solver.settlement.dispatch import Dispatch
from solver.settlement.fault import CallReverted, RequestRefused
from solver.settlement.outbox import Entry, Outbox, Version
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.transaction import bumped
from solver.settlement.view import View

_log = structlog.get_logger()


class Follower:
    """Remembers how long something has looked odd; all that counts is in the outbox."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        outbox: Outbox,
        deployment: Deployment,
        sender: str,
        policy: SubmitPolicy,
        alarms: Alarms,
        dispatch: Dispatch,
    ) -> None:
        self._chain = chain
        self._outbox = outbox
        self._deployment = deployment
        self._sender = sender
        self._policy = policy
        self._alarms = alarms
        self._dispatch = dispatch
        self._doubts: dict[int, int] = {}
        self._heard_at: dict[int, int] = {}
        """The final block with which a batch was first seen to be settled for good."""

    def clear(self, number: int) -> None:
        """The batch needs nothing more."""
        self._doubts.pop(number, None)
        self._heard_at.pop(number, None)

    async def follow(self, entry: Entry, view: View) -> None:
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
        if not await self._dispatch.send_again(entry.number, versions[-1].raw, view):
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
        elif found[-1].block_number > view.head.number:
            # A node that mines while it answers may tell the nonce of the block that is coming.
            told = (
                f"the receipt names a block {found[-1].block_number} that is not on the chain yet"
            )
            await self._doubt(entry, told, view)
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
        self._alarms.tell("receipt_contradicted", entry.number, told)
        if entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.fail, entry.number, told)

    def _trust(self, number: int) -> None:
        """Nothing of what was told contradicts anything else any more."""
        self._doubts.pop(number, None)
        self._alarms.forget("nonce_collision", number)
        self._alarms.forget("receipt_contradicted", number)

    async def _note_revert(self, entry: Entry, receipt: Receipt, view: View) -> None:
        """A case for a person, once it is final."""
        assert entry.nonce is not None
        self._trust(entry.number)
        reason = await self._reason(entry, receipt)
        self._alarms.tell("batch_reverted", entry.number, reason)
        if receipt.block_number <= view.final.number and entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.fail, entry.number, reason)

    async def _reason(self, entry: Entry, receipt: Receipt) -> str:
        """What the contract says to the same call just before the block."""
        try:
            await self._chain.call(
                self._deployment.operator_account,
                self._outbox.calldata(entry.number),
                sender=self._sender,
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
        """The nonce is used, and not by us. Once that is final, take another nonce.

        A node that mines while it answers may tell the nonce of the block that is coming, so
        what is not final is told when it is seen again.
        """
        assert entry.nonce is not None
        doubts = self._doubts[entry.number] = self._doubts.get(entry.number, 0) + 1
        if doubts == 1 and entry.nonce >= view.nonce_final:
            return
        self._alarms.tell(
            "nonce_collision", entry.number, f"nonce {entry.nonce} was used by another"
        )
        if entry.nonce < view.nonce_final:
            await asyncio.to_thread(self._outbox.release, entry.number)
            self._doubts.pop(entry.number, None)

    async def _bump_if_stuck(self, entry: Entry, versions: list[Version], view: View) -> None:
        """Replace what was not mined for some blocks, though it is next in line.

        What is behind is only replaced if it, too, pays less than the base fee: else it needs
        no more than that its turn comes.
        """
        assert entry.nonce is not None
        newest = versions[-1]
        waited = self._dispatch.blocks_waited(entry.number, view)
        stuck = entry.nonce == view.nonce or newest.fees.max_wei < view.head.base_fee_wei
        if not stuck or waited < self._policy.bump_after_blocks:
            return
        fees = bumped(newest.fees, await self._dispatch.fees())
        if len(versions) > self._policy.bumps_max or fees.max_wei > self._policy.max_fee_wei:
            reason = f"{len(versions)} versions, the last at {newest.fees.max_wei} wei per gas"
            self._alarms.tell("batch_stuck", entry.number, reason)
            return
        await self._dispatch.sign_and_send(
            entry, nonce=entry.nonce, gas=entry.gas, fees=fees, view=view
        )

    def note_settled(self, entry: Entry, view: View, *, over: bool) -> None:
        """The core has to hear of it from the watcher, some time after it is final."""
        self._alarms.forget("batch_reverted", entry.number)
        if over or (entry.nonce is not None and entry.nonce >= view.nonce_final):
            return
        waited = view.final.number - self._heard_at.setdefault(entry.number, view.final.number)
        if waited >= self._policy.unheard_blocks:
            reason = f"settled for good {waited} blocks ago, and the core has not heard of it"
            self._alarms.tell("batch_unheard", entry.number, reason)
