"""Fills a nonce that nobody uses, so that what is signed above it can be mined.

It comes about when somebody else used our key and a reorganisation took that transaction
away, or when an outbox was lost together with what it had sent. A filler moves nothing:
lost, sent twice or replaced, it does no harm, and so it needs no record.
"""

from collections.abc import Collection
from typing import Final

import msgspec
import structlog

from intents.signature import SigningKey
from solver.settlement.chain import ChainClient, Fees
from solver.settlement.fault import TransactionRefused
from solver.settlement.transaction import Transaction, bumped, sign
from solver.settlement.view import View

FILL_MAX: Final = 16
"""Most nonces that are filled in one pass."""
FOREIGN_PATIENCE: Final = 4
"""So many times longer we wait for a transaction that is in the pool and is not ours."""
FILLER_GAS: Final = 50_000
"""A transfer takes 21,000, and more where the key has delegated code. The rest is not paid."""

_log = structlog.get_logger()


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Nonces from `first` on are missing below `above`, which is ours."""

    first: int
    above: int


class GapFiller:
    """Remembers for how many blocks a nonce has been missing, and what was offered for it."""

    def __init__(
        self, chain: ChainClient, key: SigningKey, *, chain_id: int, patience_blocks: int
    ) -> None:
        self._chain = chain
        self._key = key
        self._chain_id = chain_id
        self._patience_blocks = patience_blocks
        self._nonce: int | None = None
        self._since_block = 0
        self._offered: dict[int, Fees] = {}

    @property
    def is_open(self) -> bool:
        """Whether a nonce is missing, even if we still wait for whoever may have used it."""
        return self._nonce is not None

    def find(self, view: View, ours: Collection[int]) -> Gap | None:
        """The gap that keeps our transactions from being mined, once we waited long enough."""
        above = [nonce for nonce in ours if nonce > view.nonce]
        if view.nonce in ours or not above:
            self._nonce = None
            return None
        if self._nonce != view.nonce:
            self._nonce, self._since_block = view.nonce, view.head.number
        foreign = FOREIGN_PATIENCE if view.nonce_pending > view.nonce else 1
        if view.head.number - self._since_block < self._patience_blocks * foreign:
            return None
        return Gap(first=view.nonce, above=min(above))

    async def fill(self, gap: Gap, view: View, fees: Fees, most_wei: int) -> None:
        """Offer an empty transaction for each missing nonce, dearer than the last time.

        Raises ChainUnreachable: then some may be on their way.
        """
        self._since_block = view.head.number
        self._offered = {nonce: old for nonce, old in self._offered.items() if nonce >= gap.first}
        for nonce in range(gap.first, min(gap.above, gap.first + FILL_MAX)):
            old = self._offered.get(nonce)
            offer = fees if old is None else bumped(old, fees)
            if offer.max_wei > most_wei:
                offer = old or fees
            self._offered[nonce] = offer
            await self._send(nonce, offer)

    async def _send(self, nonce: int, fees: Fees) -> None:
        filler = Transaction(
            chain_id=self._chain_id,
            nonce=nonce,
            fees=fees,
            gas=FILLER_GAS,
            to=self._key.address,
            data=b"",
        )
        try:
            await self._chain.send(sign(filler, self._key).raw)
        except TransactionRefused as fault:
            _log.info("filler_refused", nonce=nonce, reason=str(fault))
        else:
            _log.info("filler_sent", nonce=nonce)
