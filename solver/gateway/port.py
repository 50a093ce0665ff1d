"""What the gateway needs of others; `solver.run` puts the adapters behind these.

Each is as small as the routes that use it. A port returns a Reject for what it refuses;
what it raises is a fault of its own and reaches the user as a 500 without details.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from intents.admission import Verified
from intents.document import Attestation
from intents.reject import Reject
from solver.core.command import Limit


class ProviderInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A provider as contributors see it. `attestation` is the text that they sign."""

    name: str
    title: str
    sharing: str
    attestation: str
    resources: tuple[str, ...]
    limits: tuple[Limit, ...] = ()


class Contributed(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was sealed and found healthy: its public description."""

    key: str
    provider: str
    resources: tuple[str, ...]
    limits: tuple[Limit, ...] = ()


class KeyHealth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What custody knows of a key. `checked_at_ms` is 0 where nobody asked yet."""

    key: str
    provider: str
    status: str
    checked_at_ms: int = 0


class ProxyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the client asked for it: an origin-form path, never a host.

    Header names are lower case; what authenticates the client to us is not among them.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class ProxyAnswer(Protocol):
    """An upstream's answer on its way to the client; iterate over it for the body.

    `units` is None until the body has ended. Iterating may raise: part of an answer came.
    """

    @property
    def status(self) -> int:
        """The upstream's status."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers that may be passed on."""
        ...

    @property
    def lease(self) -> str:
        """The lease that serves the call."""
        ...

    @property
    def units(self) -> int | None:
        """What was metered."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, chunk by chunk as it comes."""
        ...

    async def aclose(self) -> None:
        """The client needs no more; the call is finished with what was handed out."""
        ...


class Custody(Protocol):
    """The vault as the gateway sees it."""

    def providers(self) -> Sequence[ProviderInfo]:
        """Every provider whose keys are taken."""
        ...

    async def contribute(
        self, owner: str, provider: str, secret: str, attestation: Verified[Attestation] | None
    ) -> Contributed | Reject:
        """Seal a key and check its health; the gateway then has it pooled."""
        ...

    async def revoke(self, owner: str, key: str) -> Reject | None:
        """Erase a key. Erasing what is erased is fine."""
        ...

    async def health(self, owner: str, key: str) -> KeyHealth | Reject:
        """Whether a key is alive."""
        ...

    async def call(self, intent: str, request: ProxyRequest) -> ProxyAnswer | Reject:
        """Serve a call from the leases of an intent. Reserving and metering are custody's."""
        ...


class ContractSignatures(Protocol):
    """Signatures of accounts that are contracts (EIP-1271)."""

    async def is_valid(self, account: str, digest: str, signature: str) -> bool:
        """Whether the account says that it signed. Asks a node."""
        ...

    async def is_session(self, account: str, key: str, permissions: int) -> bool:
        """Whether the registry has the key as one that may do all of it. Asks a node."""
        ...
