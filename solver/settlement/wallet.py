"""A few plain keys on a chain: for deploying, granting and depositing, not for batches.

Batches go through the submitter, which survives crashes; this waits for a receipt and
gives up. It is the `ChainPort` that `contracts.deploy` asks for.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from contracts.deploy import Receipt
from intents.rounding import mul_div_ceil
from intents.signature import SigningKey
from solver.settlement.chain import ChainClient
from solver.settlement.fault import ChainUnreachable
from solver.settlement.transaction import GAS_MAX, Transaction, sign

POLL_S: Final = 0.05
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
        """Sign, send, and wait for the receipt.

        Raises CallReverted (simulated first), TransactionRefused, ChainUnreachable.
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
        await self._chain.send(signed.raw)
        try:
            async with asyncio.timeout(self._mined_within_s):
                return await self._mined(signed.hash)
        except TimeoutError as error:
            raise ChainUnreachable(f"{signed.hash} was not mined in time") from error

    async def _mined(self, transaction_hash: str) -> Receipt:
        while True:
            receipt = await self._chain.receipt(transaction_hash)
            if receipt is not None:
                return receipt
            await asyncio.sleep(POLL_S)
