"""Signs, stores and sends, in this order: the only place where bytes for the chain are made."""

import asyncio

import structlog

from contracts.deploy import Deployment
from intents.signature import SigningKey
from solver.settlement.alarm import Alarms
from solver.settlement.chain import ChainClient, Fees
from solver.settlement.fault import AlreadyKnown, NonceTooLow, TransactionRefused, Underpriced
from solver.settlement.outbox import Entry, Outbox, Version
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.transaction import Transaction, sign
from solver.settlement.view import View

_log = structlog.get_logger()


class Dispatch:
    """One sender's way to the pool, for one pass after another."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        outbox: Outbox,
        deployment: Deployment,
        key: SigningKey,
        policy: SubmitPolicy,
        alarms: Alarms,
    ) -> None:
        self._chain = chain
        self._outbox = outbox
        self._deployment = deployment
        self._key = key
        self._policy = policy
        self._alarms = alarms
        self._fees_seen: Fees | None = None
        self._sent_block: dict[int, int] = {}
        """The head when the newest version was taken, or was first seen after a restart."""

    def begin_pass(self) -> None:
        """What was usual in the last one may not be any more."""
        self._fees_seen = None

    def clear(self, number: int) -> None:
        """The batch has no transaction any more."""
        self._sent_block.pop(number, None)

    def blocks_waited(self, number: int, view: View) -> int:
        """Blocks since the newest version was sent."""
        return view.head.number - self._sent_block.setdefault(number, view.head.number)

    async def fees(self) -> Fees:
        """The usual fees, within what we pay at most."""
        if self._fees_seen is None:
            self._fees_seen = self._capped(await self._chain.fees())
        return self._fees_seen

    def _capped(self, fees: Fees) -> Fees:
        most = self._policy.max_fee_wei
        return Fees(max_wei=min(fees.max_wei, most), tip_wei=min(fees.tip_wei, most))

    async def sign_and_send(
        self, entry: Entry, *, nonce: int, gas: int, fees: Fees, view: View
    ) -> None:
        """One more version of a batch's transaction. Raises ChainUnreachable, OutboxWriteFailed."""
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
        await self.send(entry.number, signed.raw)

    async def send(self, number: int, raw: bytes) -> bool:
        """Offer bytes to the pool; whether it took them. The rest the next pass finds out."""
        try:
            await self._chain.send(raw)
        except (AlreadyKnown, NonceTooLow, Underpriced) as fault:
            _log.info("batch_send_answer", batch=number, reason=str(fault))
        except TransactionRefused as fault:
            self._alarms.tell("batch_not_taken", number, str(fault))
        else:
            self._alarms.forget("batch_not_taken", number)
            return True
        return False

    async def send_again(self, number: int, raw: bytes, view: View) -> bool:
        """The same bytes once more; if they are taken, the waiting begins anew."""
        taken = await self.send(number, raw)
        if taken:
            self._sent_block[number] = view.head.number
        return taken
