"""A buyer: what it has, and what it signs to buy, one by one, in bulk, in bundles or by mandate."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from intents import document as signed
from intents.bundle import Terms
from intents.signature import SigningKey
from solver.client.bought import BoughtIntent
from solver.client.bundle import (
    BoughtBundle,
    BundleState,
    bundle_of,
    recurring,
    signed_bundle,
)
from solver.client.fault import Rejected
from solver.client.mandate import MandateSession
from solver.client.market import PAGE, Identity, Market
from solver.client.model import (
    Balance,
    Intent,
    Intents,
    Mandate,
    MandateSecret,
)
from solver.client.purchase import (
    Bought,
    Outcomes,
    Purchase,
    bought,
    parts_of,
    signed_bulk,
)
from solver.client.spending import Spending
from solver.client.stream import TARGET, Intake
from solver.client.watch import Watch


class Agent:
    """A buyer. With `account`, `key` is a session key of that account.

    `receipt_key` signs for what is owed by metered settlement, if `key` does not.
    """

    def __init__(
        self,
        market: Market,
        key: SigningKey,
        account: str | None = None,
        *,
        receipt_key: SigningKey | None = None,
    ) -> None:
        self.market: Final = market
        self.identity: Final = Identity.of(key, account)
        self.watch: Final = Watch(market, self.identity.account)
        self.spending: Final = Spending(market, self.identity.account, receipt_key or key)
        self._epoch = 0

    @property
    def account(self) -> str:
        """The account that pays."""
        return self.identity.account

    async def balance(self) -> Balance:
        """The account's money, epoch and session keys."""
        balance = await self.market.get("/v1/balance", Balance, signed_by=self.identity)
        self._epoch = balance.epoch
        return balance

    async def intent(
        self,
        resource: str,
        *,
        units: int,
        limit: int,
        asset: str | None = None,
        units_min: int = 1,
        immediate: bool = False,
        valid_seconds: int = 3_600,
        delay_seconds: int = 0,
    ) -> BoughtIntent:
        """Sign and submit: up to `limit` atoms in all for `units`. USDC unless told otherwise.

        Raises Rejected; submitting is safe to repeat, as the same document counts once.
        """
        purchase = Purchase(
            resource=resource,
            units=units,
            limit=limit,
            asset=asset,
            units_min=units_min,
            immediate=immediate,
            valid_seconds=valid_seconds,
            delay_seconds=delay_seconds,
        )
        try:
            return await self.submit(self._document(purchase))
        except Rejected as refused:
            if refused.code != "epoch_ended":
                raise
            await self.balance()
            return await self.submit(self._document(purchase))

    async def buy_many(self, purchases: Sequence[Purchase]) -> list[Bought]:
        """Submit many intents over one signature (one for each thousand of them).

        What became of each is told in order; raises Rejected only where all were refused.
        `find` gives a handle on one.
        """
        found = await self.submit_many([self._document(one) for one in purchases])
        late = [place for place, one in enumerate(found) if _is_of_an_old_epoch(one)]
        if late:
            await self.balance()
            again = await self.submit_many([self._document(purchases[place]) for place in late])
            for place, one in zip(late, again, strict=True):
                found[place] = one
        return found

    async def submit_many(self, documents: Sequence[signed.Intent]) -> list[Bought]:
        """Sign and submit documents of your own making; submitting them again is safe."""
        found: list[Bought] = []
        for part in parts_of(documents):
            body = signed_bulk(self.market, self.identity, part)
            told = await self.market.request(
                "POST", "/v1/intents/bulk", Outcomes, body=body, repeatable=True
            )
            found += bought(self.market, part, told.outcomes)
        return found

    async def buy_bundle(
        self,
        purchases: Sequence[Purchase],
        *,
        any_of: bool = False,
        success_min: int = 0,
        latency_max: int = 0,
    ) -> BoughtBundle:
        """Sign and submit what is bought together, each in full, or not at all.

        With `any_of` one of them is bought, and the others end. Served from keys alone of whose
        last calls `success_min` in a thousand succeeded, and half took `latency_max` ms at most;
        0 asks for nothing. One purchase alone is an intent with such a floor. Raises Rejected; all
        are of resources that trade in epochs, and good as long as the first.
        """
        terms = Terms(any=any_of, success_min=success_min, latency_max=latency_max)
        try:
            return await self._submit_bundle(purchases, terms)
        except Rejected as refused:
            if refused.code != "epoch_ended":
                raise
            await self.balance()
            return await self._submit_bundle(purchases, terms)

    async def _submit_bundle(self, purchases: Sequence[Purchase], terms: Terms) -> BoughtBundle:
        bundle = bundle_of(self.market, self.account, self._epoch, purchases, terms)
        body = signed_bundle(self.market, self.identity, bundle)
        told = await self.market.request(
            "POST", "/v1/bundles", BundleState, body=body, repeatable=True
        )
        return BoughtBundle(self, told, [BoughtIntent(self, leg) for leg in told.legs])

    async def find_bundle(self, digest: str) -> BoughtBundle:
        """A handle on a bundle that was submitted before."""
        told = await self.market.get(f"/v1/bundles/{digest}", BundleState)
        return BoughtBundle(self, told, [BoughtIntent(self, leg) for leg in told.legs])

    async def buy_recurring(
        self, purchase: Purchase, *, every_seconds: int, times: int
    ) -> list[Bought]:
        """Buy the same in each of so many periods, over one signature: "so many a day".

        The limits of all periods are held from now on.
        """

        async def submit() -> list[Bought]:
            first = self._document(purchase)
            return await self.submit_many(recurring(self.market, first, every_seconds, times))

        found = await submit()
        if any(map(_is_of_an_old_epoch, found)):
            # None was taken: all are of the same epoch.
            await self.balance()
            found = await submit()
        return found

    async def mandate(
        self,
        *,
        limit: int,
        tick_max: int,
        resource: str = "",
        asset: str | None = None,
        valid_seconds: int = 86_400,
    ) -> MandateSession:
        """Sign a mandate: buy within it without signing each intent.

        `limit` atoms in all at most, and at most `tick_max` atoms for 10⁶ units; an empty
        `resource` means any. Whoever knows its secret can use it up: keep the session.
        """
        document = signed.Mandate(
            account=self.account,
            resource=resource,
            asset=asset or self.market.signing.assets.usdc,
            tick_max=tick_max,
            limit=limit,
            valid_until=self.market.time_s() + valid_seconds,
            epoch=self._epoch,
            nonce=self.market.next_nonce(),
        )
        try:
            return await self.register(document)
        except Rejected as refused:
            if refused.code != "epoch_ended":
                raise
            await self.balance()
            return await self.register(msgspec.structs.replace(document, epoch=self._epoch))

    async def register(self, document: signed.Mandate) -> MandateSession:
        """Sign and register a mandate of your own making; again gives the same secret."""
        _, signature = self.market.sign(self.identity.key, document)
        told = await self.market.request(
            "POST",
            "/v1/mandates",
            MandateSecret,
            body={"document": document, "signature": signature},
            signed_by=self.identity,
            repeatable=True,
        )
        return MandateSession(self.market, self.identity, told)

    def resume(self, kept: MandateSecret) -> MandateSession:
        """Go on with a mandate that was registered before, from `MandateSession.kept`."""
        return MandateSession(self.market, self.identity, kept)

    async def find_mandate(self, digest: str) -> MandateSession:
        """A handle on a mandate without its secret: `replace_secret` gets it one, to buy with."""
        state = await self.market.get(f"/v1/mandates/{digest}", Mandate)
        return MandateSession(self.market, self.identity, MandateSecret(mandate=state, secret=""))

    @asynccontextmanager
    async def intake(self) -> AsyncIterator[Intake]:
        """A socket that intents are submitted on, until the block is left."""
        async with self.market.socket(TARGET) as socket:
            intake = Intake(self.market, self.identity, socket)
            task = self.market.keep(intake.read())
            try:
                yield intake
            finally:
                task.cancel()
                await asyncio.wait({task})

    def _document(self, purchase: Purchase) -> signed.Intent:
        return purchase.document(self.market, self.account, self._epoch)

    async def submit(self, document: signed.Intent) -> BoughtIntent:
        """Sign and submit a document of your own making.

        Where no answer comes, the fault names it: it may be in the market all the same.
        """
        digest, signature = self.market.sign(self.identity.key, document)
        body = {"document": document, "signature": signature}
        return BoughtIntent(self, await self.market.submit("/v1/intents", digest, body, Intent))

    async def find(self, digest: str) -> BoughtIntent:
        """A handle on an intent that was submitted before."""
        return BoughtIntent(self, await self.market.get(f"/v1/intents/{digest}", Intent))

    async def intents(self) -> AsyncIterator[BoughtIntent]:
        """The account's intents, newest first: also one whose submission got no answer."""
        async for page in self.market.pages(
            "/v1/intents", Intents, account=self.account, limit=PAGE
        ):
            for intent in page.intents:
                yield BoughtIntent(self, intent)


def _is_of_an_old_epoch(one: Bought) -> bool:
    return one.refused is not None and one.refused.code == "epoch_ended"
