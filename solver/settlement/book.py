"""Address books: contracts whose code lists accounts, so that a batch names one in two bytes.

Nobody trusts a book, since what is signed are addresses; so one that is deployed twice costs
gas and nothing else, and only what is final is remembered.
"""

import asyncio
from typing import Final, Never

import msgspec
import structlog

from contracts.metered import BOOK_ADDRESSES_MAX, book_code
from solver.engine.sequencer import Sequencer
from solver.settlement.chain import ChainClient
from solver.settlement.fault import ChainUnreachable
from solver.settlement.outbox import Outbox
from solver.settlement.pace import repeat
from solver.settlement.wallet import Wallet

_STOP: Final = b"\x00"
_log = structlog.get_logger()


class _Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A book that is mined."""

    address: str
    accounts: tuple[str, ...]
    block_number: int


class BookKeeper:
    """Deploys a book as soon as a metered batch has accounts that are in none."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        outbox: Outbox,
        sequencer: Sequencer,
        wallet: Wallet,
        sender: str,
        interval_ms: int = 500,
    ) -> None:
        """`sender` is a key of the wallet that pays for books and does nothing else."""
        self._chain = chain
        self._outbox = outbox
        self._sequencer = sequencer
        self._wallet = wallet
        self._sender = sender
        self._interval_ms = interval_ms
        self._draft: _Draft | None = None

    async def run(self) -> Never:
        """Step after step until cancelled; an unreachable node only slows it down."""
        await repeat(self.step, self._interval_ms, "books_wait")

    async def step(self) -> None:
        """Keep the draft if it is final by now; else write one if anybody is missing."""
        if self._draft is not None:
            await self._keep(self._draft)
            return
        missing = self._missing()[:BOOK_ADDRESSES_MAX]
        if not missing:
            return
        receipt = await self._wallet.transact(self._sender, None, book_code(missing))
        if not receipt.succeeded or receipt.contract_address is None:
            raise ChainUnreachable(f"the book in {receipt.transaction_hash} was not created")
        self._draft = _Draft(
            address=receipt.contract_address.lower(),
            accounts=tuple(missing),
            block_number=receipt.block_number,
        )

    async def _keep(self, draft: _Draft) -> None:
        final = await self._chain.finalized()
        if final.number < draft.block_number:
            return
        code = await self._chain.code(draft.address)
        listed = b"".join(bytes.fromhex(account[2:]) for account in draft.accounts)
        self._draft = None
        if code == _STOP + listed:
            await asyncio.to_thread(self._outbox.add_book, draft.address, draft.accounts)
            _log.info("book_kept", address=draft.address, accounts=len(draft.accounts))

    def _missing(self) -> list[str]:
        """Who has a part in an open metered batch, and stands in no book."""
        known = {account for book in self._outbox.books().values() for account in book}
        parties: dict[str, None] = {}
        for batch in self._sequencer.market.state.batches.values():
            for record in () if batch.final else batch.records:
                parties |= {record.account: None} | {line.seller: None for line in record.lines}
        return [account for account in parties if account not in known]
