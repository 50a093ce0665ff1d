"""A few plain keys on a chain: for deploying, granting and depositing, not for batches.

Batches go through the submitter, which survives crashes; this forgets what it sent when
the process ends, and gives up after a while. It is the `ChainPort` that `contracts.deploy`
asks for.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from contracts.deploy import Receipt
from intents.rounding import mul_div_ceil
from intents.signature import SigningKey
from solver.settlement.chain import ChainClient
from solver.settlement.fault import AlreadyKnown, ChainUnreachable, NonceTooLow, TransactionRefused
from solver.settlement.transaction import GAS_MAX, Signed, Transaction, sign

POLL_S: Final = 0.05
SILENCES_MAX: Final = 3
"""So often on end nothing is heard of the node before we give up."""
GAS_MARGIN_PERCENT: Final = 130


class Wallet:
    """Sends transactions of its keys and waits until they are mined."""

    def __init__(
        self, chain: ChainClient, keys: Iterable[SigningKey], *, mined_within_s: float = 120
    ) -> None:
        self._chain = chain
        self._keys = {key.address: key for key in keys}
        self._mined_within_s = mined_within_s

    async def chain_id(self) -> int:
        """The node's chain id."""
        return await self._chain.chain_id()

    async def nonce(self, address: str) -> int:
        """The next nonce of an address, with what is in the pool."""
        return await self._chain.nonce(address, "pending")

    async def balance(self, address: str) -> int:
        """Wei that an address holds now."""
        return await self._chain.balance(address)

    async def code(self, address: str) -> bytes:
        """The code at an address."""
        return await self._chain.code(address)

    async def call(self, to: str, data: bytes) -> bytes:
        """What a call returns now."""
        return await self._chain.call(to, data)

    async def transact(
        self, sender: str, to: str | None, data: bytes, value_wei: int = 0
    ) -> Receipt:
        """Sign once, send, and wait for the receipt; what got lost on the way goes again as it was.

        Raises CallReverted (simulated first), TransactionRefused, ChainUnreachable: then
        nothing is known of what was sent, but its hash.
        """
        gas = GAS_MAX
        if to is not None and data:
            needed = await self._chain.estimate_gas(to, data, sender=sender)
            gas = min(GAS_MAX, mul_div_ceil(needed, GAS_MARGIN_PERCENT, 100))
        elif to is not None:
            gas = 21_000
        signed = sign(
            Transaction(
                chain_id=await self._chain.chain_id(),
                nonce=await self.nonce(sender),
                fees=await self._chain.fees(),
                gas=gas,
                to=to,
                value_wei=value_wei,
                data=data,
            ),
            self._keys[sender],
        )
        await self._send(signed)
        try:
            async with asyncio.timeout(self._mined_within_s):
                return await self._mined(signed)
        except TimeoutError as error:
            raise ChainUnreachable(f"{signed.hash} was not mined in time") from error

    async def _send(self, signed: Signed) -> None:
        """Offer it; a refusal counts unless it is of bytes that arrived twice."""
        try:
            await self._chain.send(signed.raw)
        except (AlreadyKnown, ChainUnreachable):
            return
        except NonceTooLow:
            if not await self._chain.is_known(signed.hash):
                raise

    async def _mined(self, signed: Signed) -> Receipt:
        silences = 0
        while True:
            try:
                receipt = await self._chain.receipt(signed.hash)
                if receipt is not None:
                    return receipt
                if not await self._chain.is_known(signed.hash):
                    await self._send_again(signed.raw)
                silences = 0
            except ChainUnreachable:
                silences += 1
                if silences == SILENCES_MAX:
                    raise
            await asyncio.sleep(POLL_S)

    async def _send_again(self, raw: bytes) -> None:
        """The same bytes, whose nonce may be used by now: by them, and the receipt will tell."""
        with suppress(TransactionRefused):
            await self._chain.send(raw)
