"""What is said of pooled keys: who brings one, what they may do, how well they serve."""

from typing import Annotated, Final

from msgspec import Meta

from intents.admission import Unverified
from intents.document import Attestation, Hash
from solver.gateway.wire import PAGE_DEFAULT, Page, ProviderName, ResourceName, Sent, Told

SECRET_CHARS_MAX: Final = 8_192


class ContributeBody(Sent, frozen=True, kw_only=True):
    """A key to pool, with the signed attestation: without one it is refused."""

    provider: ProviderName
    secret: Annotated[str, Meta(min_length=1, max_length=SECRET_CHARS_MAX)]
    attestation: Unverified[Attestation] | None = None

    def __repr__(self) -> str:
        return f"ContributeBody(provider={self.provider!r})"


class KeyBody(Sent, frozen=True, kw_only=True):
    """Names a pooled key."""

    key: Hash


class KeyQuery(Sent, frozen=True, kw_only=True):
    """Names a pooled key."""

    key: Hash


class KeysQuery(Sent, frozen=True, kw_only=True):
    """A page of your keys, in the order in which they were pooled, after the one with this id."""

    limit: Page = PAGE_DEFAULT
    after: Hash | None = None


class CapacityQuery(Sent, frozen=True, kw_only=True):
    """One resource, or all."""

    resource: ResourceName | None = None


class ContributedTold(Told, frozen=True, kw_only=True):
    """The key is pooled; offers name it by this id."""

    key: str
    provider: str
    resources: tuple[str, ...]


class WindowTold(Told, frozen=True, kw_only=True):
    """At most `units` in any so many seconds, of which `occupied` are; of many keys their sums."""

    seconds: int
    units: int
    occupied: int


class RatingTold(Told, frozen=True, kw_only=True):
    """Of a key's newest calls `success` in a thousand succeeded; half took `latency` ms at most."""

    success: int
    latency: int


class KeyTold(Told, frozen=True, kw_only=True):
    """A key that is in the pool, or (`live` false) left it lately.

    `leases` are those that it serves; `rating` is null before it served a few calls.
    """

    key: str
    provider: str
    resources: tuple[str, ...]
    live: bool
    leases: int
    rating: RatingTold | None
    windows: tuple[WindowTold, ...]


class KeysTold(Told, frozen=True, kw_only=True):
    """A page; `next` is what to send as `after`, or null at the end."""

    keys: tuple[KeyTold, ...]
    next: str | None


class CapacityTold(Told, frozen=True, kw_only=True):
    """What stands to be sold of a resource for USDC. `bestTick` is null if nothing does."""

    resource: str
    keys: int
    offers: int
    units_free: int
    best_tick: int | None
    windows: tuple[WindowTold, ...]


class CapacitiesTold(Told, frozen=True, kw_only=True):
    """Capacity by resource."""

    resources: tuple[CapacityTold, ...]
