"""Signs for what an account owes by metered settlement, if its own count says that it owes it.

One signature covers all calls since the last one; the market serves a buyer only so far without.
What is counted here is what the agent's calls may cost at the prices it signed: a receipt is
never for more in all, nor for anything that this agent did not buy, nor to a solver for what no
award of the market's shows (`awarded`). An account that several
agents buy for lets one of them sign, with `sign(trusting=True)`.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Final

import msgspec

from intents.document import SpendReceipt
from intents.receipt import ReceiptLine, in_order, lines_hash
from intents.rounding import pro_rata
from intents.signature import SigningKey
from solver.client.awarded import Awards
from solver.client.fault import MarketFault, NotOwed, Rejected
from solver.client.market import Market
from solver.client.model import Intent
from solver.client.owed import Owed, Statement

PAUSE_SECONDS: Final = 1.0
"""How long a call that is not near the cap waits for others that one signature covers too."""
ATTEMPTS_MAX: Final = 5
USES_MAX: Final = 10_000
"""Intents that are remembered; a fill of an older one is not signed for by itself."""
STALE: Final = "receipt_stale"


class _Use(msgspec.Struct, kw_only=True):
    """What calls on one intent used, by our count; of a stream no more is known than its bound."""

    units_max: int
    limit: int
    units: int = 0

    def cost_of(self, units: int) -> int:
        """The most that so many units cost by what was signed."""
        return pro_rata(self.limit, self.units_max, units)


class Spending:
    """What one agent's calls may cost, and its signatures for that."""

    def __init__(self, market: Market, account: str, key: SigningKey) -> None:
        self._market = market
        self._account = account
        self._key = key
        self._uses: dict[str, _Use] = {}
        self._base: int | None = None
        """Where the ledger, or what was signed before us, stood when we began to count."""
        self._counted = 0
        self._unsigned = 0
        self._half = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self.fault: MarketFault | None = None
        """Why nothing was signed the last time."""

    @property
    def counted(self) -> int:
        """Atoms that all calls so far may cost at most, by what was signed for them."""
        return self._counted

    def used(self, intent: Intent, units: int | None) -> None:
        """A call ended; None: nobody told what it used. Has it signed for, in a while."""
        if not self._is_metered(intent):
            return
        use = self._uses.setdefault(intent.digest, _Use(units_max=intent.units, limit=intent.limit))
        before = use.cost_of(use.units)
        use.units = use.units_max if units is None else min(use.units_max, use.units + units)
        more = use.cost_of(use.units) - before
        self._counted += more
        self._unsigned += more
        if len(self._uses) > USES_MAX:
            del self._uses[next(iter(self._uses))]
        self.due()

    def due(self) -> None:
        """See in a while whether there is something to sign, or at once near the cap."""
        if not self._uses:
            return
        if self._unsigned >= self._half:
            self._wake.set()
        if self._task is None:
            self._market.on_leaving(self._sign_rest)
        if self._task is None or self._task.done():
            self._task = self._market.keep(self._sign_on())

    async def statement(self) -> Statement:
        """What the market says is owed, and what to sign for it."""
        return await self._market.get("/v1/spending", Statement, account=self._account)

    async def sign(self, *, trusting: bool = False) -> Statement:
        """Sign for what is owed, as far as our own count goes; what is owed after that.

        `trusting` takes the market's word for it, as for what other agents of the account
        bought. Raises NotOwed where we can sign for nothing of it, Rejected.
        """
        async with self._turn:
            for attempt in range(ATTEMPTS_MAX):
                told = await self.statement()
                self._unsigned, self._half = 0, told.uncovered_max // 2
                if not told.owed:
                    break
                document, fills = told.document, told.fills
                if not trusting:
                    document, fills = self._counted_part(told)
                try:
                    return await self._send(document, fills)
                except Rejected as refused:
                    # Somebody else signed meanwhile, or the market settled.
                    if refused.code != STALE or attempt == ATTEMPTS_MAX - 1:
                        raise
            return told

    async def _send(self, document: SpendReceipt, fills: int) -> Statement:
        _, signature = self._market.sign(self._key, document)
        body = {"receipt": {"document": document, "signature": signature}, "fills": fills}
        return await self._market.request(
            "POST", "/v1/spending", Statement, body=body, repeatable=True
        )

    async def _sign_on(self) -> None:
        """Sign until nothing is left that can be signed for."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), PAUSE_SECONDS)
            self._wake.clear()
            try:
                told = await self.sign()
                self.fault = None
            except MarketFault as fault:
                self.fault = fault
                return
            if not self._unsigned and not told.owed:
                return

    async def _sign_rest(self) -> None:
        """What was used last: nobody is here later to sign for it."""
        if self._unsigned or (self._task is not None and not self._task.done()):
            await self.sign()

    def _is_metered(self, intent: Intent) -> bool:
        return (
            intent.limit <= self._market.metered_max
            and intent.asset == self._market.signing.assets.usdc
        )

    # -- the market's word against our count

    def _counted_part(self, told: Statement) -> tuple[SpendReceipt, int]:
        """What to sign for the first fills that are ours, at our price, and how many these are.

        What another call has used meanwhile, and did not tell us yet, is left for the next one.
        """
        amounts = Counter(self._signed_before(told))
        document = told.document
        if self._base is None:
            self._base = document.base + amounts.total()
        most = self._base + self._counted
        units = Counter[str]()
        before = fills = told.fills - len(told.owed)
        awards, reason = Awards(self._market, self._account, told), ""
        for owed in told.owed:
            units[owed.intent] += owed.delivered
            reason = self._fault_in(owed, units[owed.intent]) or awards.fault_in(owed)
            if not reason and document.base + amounts.total() + owed.payment > most:
                reason = f"by our count {most} atoms are owed in all, not more"
            if reason:
                break
            amounts[owed.seller] += owed.payment - owed.reward
            if owed.award is not None:
                amounts[owed.award.solver] += owed.reward
            fills += 1
        if fills == before:
            raise NotOwed(reason)
        return msgspec.structs.replace(
            document,
            account=self._account,
            spent=document.base + amounts.total(),
            lines=lines_hash(in_order(amounts)),
        ), fills

    def _fault_in(self, owed: Owed, units: int) -> str:
        use = self._uses.get(owed.intent)
        if use is None:
            return f"fill {owed.fill} is of an intent that this agent did not use"
        if units > use.units:
            return f"{use.units} units of intent {owed.intent} were used, not {units}"
        if owed.payment > use.cost_of(owed.delivered):
            return f"{owed.payment} atoms for fill {owed.fill} are above the limit"
        return ""

    def _signed_before(self, told: Statement) -> dict[str, int]:
        """What the receipt that the market has says, if it is one of our key's."""
        receipt = told.receipt
        if receipt is None:
            return {}
        lines = tuple(ReceiptLine(seller=one.seller, amount=one.amount) for one in receipt.lines)
        is_ours = (
            self._market.signer_of(receipt.document, receipt.signature) == self._key.address
            and receipt.document.base == told.document.base
            and receipt.document.lines == lines_hash(lines)
        )
        if not is_ours:
            raise NotOwed("the receipt that the market has is not of this key")
        return {line.seller: line.amount for line in lines}
