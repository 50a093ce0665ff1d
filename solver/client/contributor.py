"""What a seller does: pool a key, offer its units, take it back."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from intents import document as signed
from intents.rounding import ask_tick
from intents.signature import SigningKey
from solver.client.fault import Rejected
from solver.client.market import PAGE, Identity, Market
from solver.client.model import Balance, Health, Key, Keys, Offer, Offers, Pooled, Result
from solver.core.auction import SnapshotOrder


class SignedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer that was signed and is nowhere yet; solutions name it by its digest."""

    digest: str
    document: signed.Offer
    signature: str

    @property
    def order(self) -> SnapshotOrder:
        """It as the offers of a snapshot are, for a strategy that may fill from it too."""
        return SnapshotOrder(
            id=self.digest,
            account=self.document.account,
            tick=ask_tick(self.document.limit, self.document.units),
            units=self.document.units,
            minimum=1,
        )


class Contributor:
    """A seller. With `account`, `key` is a session key of that account."""

    def __init__(self, market: Market, key: SigningKey, account: str | None = None) -> None:
        self.market: Final = market
        self.identity: Final = Identity.of(key, account)
        self._epoch = 0

    @property
    def account(self) -> str:
        """The account that is paid."""
        return self.identity.account

    async def balance(self) -> Balance:
        """The account's money, epoch and session keys."""
        balance = await self.market.get("/v1/balance", Balance, signed_by=self.identity)
        self._epoch = balance.epoch
        return balance

    async def contribute(self, provider: str, secret: str, *, attest: bool = False) -> Pooled:
        """Pool an API key. Never repeated by itself once it may have got through.

        `attest=True` signs the provider's attestation (see `Market.providers`): read it
        first. Without one a key is refused (attestation_missing), and so is any key of a
        provider whose terms are not known to allow sharing (sharing_forbidden).
        """
        body: dict[str, object] = {"provider": provider, "secret": secret}
        if attest:
            body["attestation"] = await self._attestation(provider)
        return await self.market.request(
            "POST",
            "/v1/keys/contribute",
            Pooled,
            body=body,
            signed_by=self.identity,
            repeatable=False,
        )

    async def offer(
        self,
        resource: str,
        *,
        key: str,
        units: int,
        limit: int,
        asset: str | None = None,
        window: tuple[int, int] = (0, 0),
        valid_seconds: int = 86_400,
    ) -> Offer:
        """Sign and submit: `units` for at least `limit` atoms in all.

        `window` is (units, seconds): at most so many in any so many seconds.
        """
        until_s = self.market.time_s() + valid_seconds

        def document() -> signed.Offer:
            return self._document(resource, key, units, limit, asset, window, until_s)

        try:
            return await self.submit(document())
        except Rejected as refused:
            if refused.code != "epoch_ended":
                raise
            await self.balance()
            return await self.submit(document())

    def sign_offer(
        self,
        resource: str,
        *,
        key: str,
        units: int,
        limit: int,
        asset: str | None = None,
        valid_seconds: int = 3_600,
    ) -> SignedOffer:
        """Sign and send nothing: for `Desk.propose`, whose solution brings it along."""
        until_s = self.market.time_s() + valid_seconds
        document = self._document(resource, key, units, limit, asset, (0, 0), until_s)
        digest, signature = self.market.sign(self.identity.key, document)
        return SignedOffer(digest=digest, document=document, signature=signature)

    def _document(  # noqa: PLR0917  an offer's terms, in its order
        self,
        resource: str,
        key: str,
        units: int,
        limit: int,
        asset: str | None,
        window: tuple[int, int],
        until_s: int,
    ) -> signed.Offer:
        return signed.Offer(
            account=self.account,
            resource=resource,
            asset=asset or self.market.signing.assets.usdc,
            key=key,
            units=units,
            limit=limit,
            window_units=window[0],
            window_seconds=window[1],
            valid_until=until_s,
            epoch=self._epoch,
            nonce=self.market.next_nonce(),
        )

    async def submit(self, document: signed.Offer) -> Offer:
        """Sign and submit a document of your own making.

        Where no answer comes, the fault names it: it may be in the market all the same.
        """
        digest, signature = self.market.sign(self.identity.key, document)
        body = {"document": document, "signature": signature}
        return await self.market.submit("/v1/offers", digest, body, Offer)

    async def offers(self) -> AsyncIterator[Offer]:
        """The account's offers, newest first, also those of which nobody knows any more."""
        async for page in self.market.pages("/v1/offers", Offers, account=self.account, limit=PAGE):
            for offer in page.offers:
                yield offer

    async def withdraw(self, offer: str) -> None:
        """Sell no more of an offer. Raises Rejected (not_open)."""
        await self.market.request(
            "DELETE", f"/v1/offers/{offer}", Result, signed_by=self.identity, repeatable=True
        )

    async def keys(self) -> list[Key]:
        """The account's keys, oldest first; of those that left the pool the newest."""
        pages = self.market.pages("/v1/keys", Keys, signed_by=self.identity)
        return [key async for page in pages for key in page.keys]

    async def health(self, key: str) -> Health:
        """Whether a key is alive."""
        return await self.market.get("/v1/keys/health", Health, signed_by=self.identity, key=key)

    async def revoke(self, key: str) -> None:
        """Take a key out at once and have it erased."""
        await self.market.request(
            "DELETE",
            "/v1/keys/revoke",
            Result,
            body={"key": key},
            signed_by=self.identity,
            repeatable=True,
        )

    async def _attestation(self, provider: str) -> dict[str, object]:
        known = {told.name: told for told in (await self.market.providers()).providers}
        if provider not in known:
            raise Rejected("provider_unknown", f"this market takes {', '.join(sorted(known))}")
        document = signed.Attestation(
            account=self.account,
            provider=provider,
            statement=known[provider].attestation,
            issued_at=self.market.time_s(),
        )
        _, signature = self.market.sign(self.identity.key, document)
        return {"document": document, "signature": signature}
