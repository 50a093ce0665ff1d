"""Upstreams behind the real proxy, and the keys that open them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Final

import msgspec

from simulations.swarm.fault import FaultKind, Faults
from solver.core.command import Limit, Mode
from solver.vault.catalogue import Catalogue
from solver.vault.egress import Egress, Exchange
from solver.vault.fault import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from solver.vault.keyring import Keyring
from solver.vault.operation import Outbound
from solver.vault.secret import Secret
from solver.vault.store import SealedKey
from solver.vault.template import (
    KeyPlace,
    Operation,
    PerCall,
    Probe,
    Provider,
    Resource,
    Sharing,
    Timeouts,
    UsageTokens,
)

SEARCH: Final = "sim/search:call"
CHAT: Final = "sim/chat:token"
RERANK: Final = "sim/rerank:call"
TRANSLATE: Final = "sim/translate:call"
OUTPUT_TOKENS: Final = 3
ANSWER_S: Final = 0.2
TIMEOUT_S: Final = 3.0

PROVIDER: Final = Provider(
    name="sim",
    title="Simulated upstream",
    base_url="https://upstream.invalid",
    sharing=Sharing.ALLOWED,
    attestation="I may.",
    key=KeyPlace(header="authorization", format="Bearer {key}"),
    probe=Probe(path="/probe"),
    timeouts=Timeouts(headers_ms=4_000, idle_ms=3_000, total_ms=20_000),
    resources=(
        Resource(
            name=SEARCH,
            unit="call",
            metering=PerCall(),
            operations=(Operation(method="GET", path="/search"),),
        ),
        Resource(
            name=CHAT,
            unit="token",
            metering=UsageTokens(prompt_bytes_per_token=16, output_default=OUTPUT_TOKENS),
            operations=(Operation(method="POST", path="/chat"),),
        ),
        Resource(
            name=RERANK,
            unit="call",
            trading=Mode.EPOCH,
            metering=PerCall(),
            operations=(Operation(method="GET", path="/rerank"),),
        ),
        Resource(
            name=TRANSLATE,
            unit="call",
            trading=Mode.EPOCH,
            metering=PerCall(),
            operations=(Operation(method="GET", path="/translate"),),
        ),
    ),
)
RESOURCES: Final = tuple(resource.name for resource in PROVIDER.resources)
CATALOGUE: Final = Catalogue({PROVIDER.name: PROVIDER})


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What the upstream counted, when: by its own clock and by the market's."""

    true_ms: int
    market_ms: int
    units: int


class HeldKey(msgspec.Struct, kw_only=True):
    """A contributor's key as upstream and vault know it."""

    owner: str
    secret: bytes
    limits: tuple[Limit, ...]
    alive: bool = True
    uses: list[Use] = []
    answered: int = 0
    """Units of answers that came whole."""


class Vault:
    """The sealed keys of one machine: they outlive its processes."""

    def __init__(self) -> None:
        self.keys: dict[str, HeldKey] = {}
        self._erased: dict[str, HeldKey] = {}

    def erase(self, key: str) -> None:
        """No new request carries it."""
        held = self.keys.pop(key, None)
        if held is not None:
            self._erased[key] = held

    def every(self) -> dict[str, HeldKey]:
        """Those that were erased, too: for the count at the end."""
        return self._erased | self.keys

    def holder_of(self, secret: bytes) -> HeldKey | None:
        """Which key these bytes are."""
        for held in (*self.keys.values(), *self._erased.values()):
            if held.secret == secret:
                return held
        return None


class FakeKeyring(Keyring):
    """The vault's keyring without its disk and its seals."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def record(self, key_id: str) -> SealedKey | None:
        """What is known of a key."""
        held = self._vault.keys.get(key_id)
        if held is None:
            return None
        return SealedKey(
            key_id=key_id,
            owner=held.owner,
            provider=PROVIDER.name,
            host=PROVIDER.host,
            version=1,
            attested=True,
            created_at_ms=0,
            fingerprint=b"",
            sealed=b"",
        )

    def open(self, key_id: str) -> Secret | None:
        """The key itself."""
        held = self._vault.keys.get(key_id)
        return Secret(held.secret) if held else None


class FakeExchange(Exchange):
    """An answer on its way."""

    def __init__(self, status: int, body: bytes, fault: FaultKind | None = None) -> None:
        self.status = status  # type: ignore[misc]
        self.headers = (("content-type", "application/json"),)  # type: ignore[misc]
        self._body = body
        self._fault = fault

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in two pieces, or less."""
        half = len(self._body) // 2
        yield self._body[:half]
        await asyncio.sleep(ANSWER_S)
        if self._fault is FaultKind.RESET:
            raise UpstreamBroken("the upstream's answer broke off")
        if self._fault is FaultKind.TIMEOUT_AFTER:
            raise UpstreamTimeout("the upstream's answer stopped coming")
        yield self._body[half:]

    def close(self) -> None:
        """Nothing to give back."""


class Upstream(Egress):
    """The way out, and what is at its end."""

    def __init__(
        self,
        vault: Vault,
        faults: Faults,
        random: Random,
        times_ms: Callable[[], tuple[int, int]],
    ) -> None:
        self._vault = vault
        self._faults = faults
        self._random = random
        self._times_ms = times_ms

    async def send(self, provider: Provider, outbound: Outbound, secret: Secret) -> Exchange:
        """One request."""
        del provider
        with secret.exposed() as view:
            key = bytes(view)
        held = self._vault.holder_of(key)
        if self._faults.strike(FaultKind.UNREACHABLE):
            raise UpstreamUnreachable("no connection")
        await asyncio.sleep(self._random.uniform(ANSWER_S / 5, ANSWER_S))
        if held is None or not held.alive or self._dies(held):
            return FakeExchange(401, b'{"error": "no such key"}')
        if outbound.path == "/probe":
            return FakeExchange(200, b"{}")
        return await self._answer(outbound, held)

    def _dies(self, held: HeldKey) -> bool:
        """The provider revokes the key."""
        if self._faults.strike(FaultKind.REFUSED):
            held.alive = False
        return not held.alive

    async def _answer(self, outbound: Outbound, held: HeldKey) -> Exchange:
        strike, bound = self._faults.strike, _units_max(outbound)
        used = bound if outbound.method == "GET" else self._random.randint(1, bound)
        if strike(FaultKind.TIMEOUT_BEFORE):
            self._count(held, bound)
            await asyncio.sleep(TIMEOUT_S)
            raise UpstreamTimeout("no answer in time")
        if strike(FaultKind.LIMITED):
            self._count(held, bound)
            return FakeExchange(429, b"{}")
        if strike(FaultKind.SERVER_ERROR):
            self._count(held, bound)
            return FakeExchange(503, b'{"error": "later"}')
        for fault in (FaultKind.RESET, FaultKind.TIMEOUT_AFTER):
            if strike(fault):
                self._count(held, bound)
                return FakeExchange(200, _body(outbound, used), fault)
        if outbound.method == "POST" and strike(FaultKind.WRONG_USAGE):
            used = self._random.choice((0, 1, bound + 1, 1_000))
        self._count(held, min(used, bound))
        held.answered += used
        echo = held.secret if strike(FaultKind.KEY_ECHOED) else b""
        return FakeExchange(200, _body(outbound, used, echo))

    def _count(self, held: HeldKey, units: int) -> None:
        true_ms, market_ms = self._times_ms()
        held.uses.append(Use(true_ms=true_ms, market_ms=market_ms, units=units))


def _units_max(outbound: Outbound) -> int:
    """What the market reserved: the provider's own formula, from the request."""
    if outbound.method == "GET":
        return 1
    fields = msgspec.json.decode(outbound.body)
    output = fields.pop("max_completion_tokens")
    return -(-len(msgspec.json.encode(fields)) // 16) + int(output)


def _body(outbound: Outbound, used: int, echo: bytes = b"") -> bytes:
    text = "x" * 20 + echo.decode()
    if outbound.method == "GET":
        return msgspec.json.encode({"rows": [text, text]})
    return msgspec.json.encode({"text": text, "usage": {"total_tokens": used}})


def overuse(held: HeldKey, *, by_market_clock: bool) -> Limit | None:
    """The first limit that some window, both ends counted, exceeded at the upstream."""
    times = [(use.market_ms if by_market_clock else use.true_ms, use.units) for use in held.uses]
    times.sort()
    for limit in held.limits:
        first, total = 0, 0
        for at_ms, units in times:
            total += units
            while times[first][0] < at_ms - limit.seconds * 1_000:
                total -= times[first][1]
                first += 1
            if total > limit.units:
                return limit
    return None
