"""How intents under a mandate are authenticated: HMAC-SHA256 over the bytes that are sent.

The secret of a mandate is derived from the market's own, the mandate's digest and how often it
was replaced, and told to who registers the mandate; it is not stored. A MAC covers a counter
and the body. The counter is the sender's Unix milliseconds, or one more than its last: only a
higher one than before counts, never one ahead of the market's time by more than
`AHEAD_MS_MAX`. The memory of counters is this process's, so one that may have been used with
its predecessor is refused. That makes every MAC good once.
"""

import hmac
import re
from collections import OrderedDict
from typing import Final

import msgspec

from intents.bound import NONCE_MAX
from intents.reject import Reject, RejectCode, reject
from solver.gateway.rotation import Rotations

HEADER: Final = "Keyfill-Mac"
AHEAD_MS_MAX: Final = 2_000
COUNTER_BYTES: Final = 8
_CONTEXT: Final = b"keyfill mandate 1"
_FORM: Final = re.compile(r"([0-9]{1,16})\.([0-9a-f]{64})")


class Mac(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender says to prove that it knows a mandate's secret."""

    counter: int
    mac: str


class Macs:
    """Derives secrets and checks MACs. Has no repr of its secret."""

    def __init__(
        self, secret: bytes, rotations: Rotations, *, started_at_ms: int, mandates_max: int
    ) -> None:
        self._secret = secret
        self._rotations = rotations
        self._floor = started_at_ms + AHEAD_MS_MAX
        self._mandates_max = mandates_max
        self._counters: OrderedDict[str, int] = OrderedDict()

    def __repr__(self) -> str:
        return "Macs()"

    def __len__(self) -> int:
        return len(self._counters)

    def secret_of(self, mandate: str) -> bytes:
        """The 32 bytes that authenticate intents under the mandate of this digest."""
        count = self._rotations.count(mandate)
        which = count.to_bytes(COUNTER_BYTES, "big") if count else b""
        return hmac.digest(self._secret, _CONTEXT + bytes.fromhex(mandate[2:]) + which, "sha256")

    async def replace_secret(self, mandate: str) -> None:
        """Have another secret count from now on, and the one before no more."""
        await self._rotations.advance(mandate)

    def check(self, mandate: str, said: Mac, body: bytes, now_ms: int) -> Reject | None:
        """Take a MAC, once. Rejects: unauthenticated, replayed."""
        if not hmac.compare_digest(mac_of(self.secret_of(mandate), said.counter, body), said.mac):
            return _forged()
        if said.counter > now_ms + AHEAD_MS_MAX:
            return reject(
                RejectCode.UNAUTHENTICATED,
                f"the counter is ahead of the market's time, {now_ms} ms",
                hint="Count Unix milliseconds by the clock of GET /v1/market.",
            )
        if said.counter <= self._counters.get(mandate, -1):
            return reject(
                RejectCode.REPLAYED, f"counter {said.counter} was used or passed", hint=_HINT
            )
        if said.counter <= self._floor:
            return reject(
                RejectCode.UNAUTHENTICATED,
                "this counter may have been used before",
                hint=_HINT,
                retry_after_ms=max(1, self._floor + 1 - now_ms),
            )
        self._remember(mandate, said.counter)
        return None

    def _remember(self, mandate: str, counter: int) -> None:
        """What is forgotten for want of room raises the floor: it stays used."""
        self._counters[mandate] = counter
        self._counters.move_to_end(mandate)
        if len(self._counters) > self._mandates_max:
            _, forgotten = self._counters.popitem(last=False)
            self._floor = max(self._floor, forgotten)


def mac_of(secret: bytes, counter: int, body: bytes) -> str:
    """The MAC of a counter and a body, 64 hex digits."""
    return hmac.digest(secret, counter.to_bytes(COUNTER_BYTES, "big") + body, "sha256").hex()


def read_mac(values: list[str]) -> Mac | Reject:
    """The header's one value, `counter.mac`. Rejects: unauthenticated."""
    form = _FORM.fullmatch(values[0]) if len(values) == 1 else None
    if form is None or int(form[1]) > NONCE_MAX:
        return _forged()
    return Mac(counter=int(form[1]), mac=form[2])


def _forged() -> Reject:
    return reject(
        RejectCode.UNAUTHENTICATED,
        "this is no MAC of this mandate over these bytes",
        hint=f"Send `{HEADER}: counter.mac`, see Mandates in GET /openapi.json.",
    )


_HINT: Final = "Send again with a higher counter: Unix milliseconds, or one more than the last."
