"""Whether an account contract accepts a signature (EIP-1271), asked as Settlement asks."""

from typing import Final

from contracts.bindings import ACCOUNT, MAGIC_1271, SETTLEMENT
from contracts.deploy import Deployment
from solver.settlement.chain import ChainClient
from solver.settlement.fault import RequestRefused

AUTHORITY_GAS: Final = 200_000
"""What the contract forwards; more could pass here and fail there."""
_INTRINSIC_GAS: Final = 21_000
_CALLDATA_BYTE_GAS: Final = 40
"""The floor of EIP-7623, the dearest a byte can be."""
WORD: Final = 32


class ContractSignatures:
    """Asks the newest block. The answer can change: the contract asks again when it settles."""

    def __init__(self, chain: ChainClient, deployment: Deployment) -> None:
        self._chain = chain
        self._settlement = deployment.settlement

    async def is_valid(self, account: str, digest: str, signature: str) -> bool:
        """Whether `account` answers the magic value. A revert, an empty or other answer is no.

        Raises ChainUnreachable: then nothing is known, and nothing should be admitted.
        """
        data = ACCOUNT.function("isValidSignature").encode(
            bytes.fromhex(digest[2:]), bytes.fromhex(signature[2:])
        )
        gas = AUTHORITY_GAS + _INTRINSIC_GAS + _CALLDATA_BYTE_GAS * len(data)
        try:
            answer = await self._chain.call(account, data, sender=self._settlement, gas=gas)
        except RequestRefused:
            return False
        return len(answer) >= WORD and answer[:WORD] == MAGIC_1271.ljust(WORD, b"\0")

    async def is_session(self, account: str, key: str, permissions: int) -> bool:
        """Whether the session registry has the key as one that may do all of it now.

        Raises ChainUnreachable.
        """
        asked = SETTLEMENT.function("isSessionLive")
        answer = await self._chain.call(self._settlement, asked.encode(account, key, permissions))
        return asked.decode_outputs(answer) == (True,)
