"""Opens sealed keys: the store, the key wrapper and the binding between them."""

import asyncio
import os
import threading
from typing import Final

from intents.reject import Reject
from solver.vault.seal import (
    DATA_KEY_BYTES,
    Binding,
    KeyWrapper,
    MovingWrapper,
    fingerprint_of,
    kek_id_of,
    rewrap,
    seal,
    unseal,
)
from solver.vault.secret import Secret
from solver.vault.store import KeyStore, Resealed, SealedKey
from solver.vault.template import Provider

KEY_VERSION: Final = 1
ROTATED_AT_ONCE_MAX: Final = 100
"""Keys of one transaction: how long calls wait at most while keys move."""
PEPPER: Final = "fingerprint pepper"
PEPPER_BINDING: Final = Binding(account="", key_id=PEPPER, version=1, provider="", host="")


class Keyring:
    """The keys of one vault, sealed at rest and opened one call at a time.

    `add` and `knows` wait for the disk: call them in a thread.
    """

    def __init__(self, store: KeyStore, wrapper: KeyWrapper) -> None:
        self._store = store
        self._wrapper = wrapper
        # No key is sealed under a wrapper that `rotate` has passed; one pepper is made.
        self._lock = threading.Lock()

    def add(
        self, secret: Secret, *, owner: str, provider: Provider, attested: bool, created_at_ms: int
    ) -> SealedKey | Reject:
        """Seal and keep a key; KEY_DUPLICATE if it is here already.

        Its id is its fingerprint, so a key that left and returns is the one that it was: the
        market goes on counting its windows (P4).
        """
        with self._lock:
            fingerprint = self._fingerprint(provider, secret)
            key_id = "0x" + fingerprint.hex()
            binding = Binding(
                account=owner,
                key_id=key_id,
                version=KEY_VERSION,
                provider=provider.name,
                host=provider.host,
            )
            key = SealedKey(
                key_id=key_id,
                owner=owner,
                provider=provider.name,
                host=provider.host,
                version=KEY_VERSION,
                attested=attested,
                created_at_ms=created_at_ms,
                fingerprint=fingerprint,
                sealed=seal(secret, binding, self._wrapper),
            )
            return self._store.put(key) or key

    def knows(self, provider: Provider, secret: Secret) -> bool:
        """Whether this very key is here for this provider's host."""
        with self._lock:
            return self._store.by_fingerprint(self._fingerprint(provider, secret)) is not None

    def record(self, key_id: str) -> SealedKey | None:
        """What is known of a key, or None."""
        return self._store.get(key_id)

    def open(self, key_id: str) -> Secret | None:
        """The key itself, to be closed by the caller; None if it is not here (any more).

        Raises a SealFault if the row was tampered with or belongs to another KEK.
        """
        key = self._store.get(key_id)
        return unseal(key.sealed, _binding(key), self._wrapper) if key else None

    def erase(self, key_id: str) -> bool:
        """Destroy a key. Once this returns, nothing can open it."""
        return self._store.delete(key_id)

    def key_ids(self) -> list[str]:
        """The id of every key that is here, in order. Blocking."""
        found: list[str] = []
        while page := self._store.page(after=found[-1] if found else ""):
            found += [key.key_id for key in page]
        return found

    async def rotate(self, new: KeyWrapper) -> int:
        """Move every sealed key under `new`'s KEK and use it from now on; how many moved.

        Calls go on meanwhile. If it is interrupted, all keys still open: do it again.
        """
        with self._lock:
            self._fingerprint_pepper().close()
            self._wrapper = MovingWrapper(self._wrapper, new)
            pepper = self._store.setting(PEPPER) or b""
            self._store.put_setting(PEPPER, rewrap(pepper, PEPPER_BINDING, self._wrapper, new))
        moved, after = 0, ""
        while page := self._store.page(after=after, rows_max=ROTATED_AT_ONCE_MAX):
            after = page[-1].key_id
            moved += self._store.reseal(self._rewrapped(page, new))
            await asyncio.sleep(0)
        self._wrapper = new
        return moved

    def _rewrapped(self, page: list[SealedKey], new: KeyWrapper) -> list[Resealed]:
        return [
            Resealed(key.key_id, key.sealed, rewrap(key.sealed, _binding(key), self._wrapper, new))
            for key in page
            if kek_id_of(key.sealed) != new.kek_id
        ]

    def _fingerprint(self, provider: Provider, secret: Secret) -> bytes:
        with self._fingerprint_pepper() as pepper:
            return fingerprint_of(pepper, provider.name, provider.host, secret)

    def _fingerprint_pepper(self) -> Secret:
        """Random, made on first use, sealed like a key: without it fingerprints say nothing."""
        sealed = self._store.setting(PEPPER)
        if sealed is None:
            with Secret(os.urandom(DATA_KEY_BYTES)) as fresh:
                sealed = seal(fresh, PEPPER_BINDING, self._wrapper)
            self._store.put_setting(PEPPER, sealed)
        return unseal(sealed, PEPPER_BINDING, self._wrapper)


def _binding(key: SealedKey) -> Binding:
    return Binding(
        account=key.owner,
        key_id=key.key_id,
        version=key.version,
        provider=key.provider,
        host=key.host,
    )
