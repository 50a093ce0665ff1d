"""Custody as the rest of Keyfill sees it: contribute, probe, revoke, and a proxy."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.core.command import Limit
from solver.vault.catalogue import Catalogue
from solver.vault.delivery import LOG, Delivery
from solver.vault.egress import Egress
from solver.vault.health import Health, probe_key
from solver.vault.keyring import Keyring
from solver.vault.proxy import Proxy
from solver.vault.seal import KeyWrapper
from solver.vault.secret import Secret, refuse_secret
from solver.vault.selection import Strategy, least_recently_used
from solver.vault.sharing import refuse_sharing
from solver.vault.store import KeyStore, SealedKey
from solver.vault.template import Provider

P = ParamSpec("P")
R = TypeVar("R")
ANYONE = ""
"""A buyer who is surely not the owner."""


class Contributed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public description of a pooled key: all that ever leaves the vault."""

    key_id: str
    owner: str
    provider: str
    resources: tuple[str, ...]
    limits: tuple[Limit, ...]


class Vault:
    """Holds keys so that they can be used and never read. There is no way to get one out."""

    def __init__(
        self,
        *,
        store: KeyStore,
        wrapper: KeyWrapper,
        catalogue: Catalogue,
        egress: Egress,
        clock_ms: Callable[[], int],
    ) -> None:
        self.catalogue = catalogue
        self._keyring = Keyring(store, wrapper)
        self._egress = egress
        self._clock_ms = clock_ms

    async def contribute(
        self, owner: str, provider: str, secret: Secret, *, attested: bool
    ) -> Contributed | Reject:
        """Check, seal and keep a key. `attested`: admission verified the owner's signature.

        A pooled key is there for strangers: what may not serve them is refused. Closes
        `secret`. Rejects, in order: provider_unknown, sharing_forbidden,
        attestation_missing, malformed, key_duplicate, health_check_failed.
        """
        with secret:
            template = self.catalogue.provider(provider)
            if template is None:
                return reject(RejectCode.PROVIDER_UNKNOWN, provider)
            refusal = await _to_its_end(self._refuse, template, owner, secret, attested=attested)
            if refusal is not None:
                return refusal
            health = await probe_key(self._egress, template, secret)
            if health is not Health.HEALTHY:
                return _unhealthy(health)
            key = await _to_its_end(
                self._keyring.add,
                secret,
                owner=owner,
                provider=template,
                attested=attested,
                created_at_ms=self._clock_ms(),
            )
        return key if isinstance(key, Reject) else self._contributed(key, template)

    def revoke(self, key_id: str) -> bool:
        """Erase a key at once; False if it was not here. Calls under way run to their end.

        Once this returns no further request carries the key.
        """
        erased = self._keyring.erase(key_id)
        LOG.info("key_revoked", key=key_id, erased=erased)
        return erased

    async def probe(self, key_id: str) -> Health | Reject:
        """Ask the provider about a pooled key, without using any of its units."""
        key = self._keyring.record(key_id)
        provider = self.catalogue.provider(key.provider) if key else None
        if key is None or provider is None or provider.host != key.host:
            return reject(RejectCode.KEY_UNKNOWN)
        secret = self._keyring.open(key_id)
        if secret is None:
            return reject(RejectCode.KEY_UNKNOWN)
        with secret:
            return await probe_key(self._egress, provider, secret)

    def describe(self, key_id: str) -> Contributed | None:
        """The public description of a key, or None if it is not here (any more).

        A key whose provider left the catalogue still has its owner, and no resources.
        """
        key = self._keyring.record(key_id)
        return self._contributed(key, self.catalogue.provider(key.provider)) if key else None

    def key_ids(self) -> list[str]:
        """Every key that is here. Blocking."""
        return self._keyring.key_ids()

    async def rotate(self, wrapper: KeyWrapper) -> int:
        """Move all keys under another key-encryption key while calls go on; how many moved."""
        return await self._keyring.rotate(wrapper)

    def proxy(self, delivery: Delivery, *, strategy: Strategy = least_recently_used) -> Proxy:
        """A proxy that serves the engine's leases with this vault's keys."""
        return Proxy(
            delivery=delivery,
            keyring=self._keyring,
            catalogue=self.catalogue,
            egress=self._egress,
            clock_ms=self._clock_ms,
            strategy=strategy,
        )

    def _refuse(
        self, provider: Provider, owner: str, secret: Secret, *, attested: bool
    ) -> Reject | None:
        """Everything that can be said before the provider is asked."""
        refusal = refuse_sharing(provider.sharing, owner=owner, buyer=ANYONE, attested=attested)
        refusal = refusal or refuse_secret(secret)
        if refusal is None and self._keyring.knows(provider, secret):
            refusal = reject(RejectCode.KEY_DUPLICATE, "this key is in the pool already")
        return refusal

    def _contributed(self, key: SealedKey, provider: Provider | None) -> Contributed:
        return Contributed(
            key_id=key.key_id,
            owner=key.owner,
            provider=key.provider,
            resources=tuple(resource.name for resource in provider.resources) if provider else (),
            limits=provider.limits if provider else (),
        )


async def _to_its_end(work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """In a thread, waited for even where we are cancelled: a secret stays open until then."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **named))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task})


def _unhealthy(health: Health) -> Reject:
    if health is Health.DEAD:
        return reject(RejectCode.HEALTH_CHECK_FAILED, "the provider refuses this key")
    message = "the provider gave no clear answer about this key"
    return reject(RejectCode.HEALTH_CHECK_FAILED, message, retry_after_ms=10_000)
