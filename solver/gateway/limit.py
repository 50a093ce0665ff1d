"""Every bound of the gateway in one place, and the token buckets that hold the rates."""

from collections import OrderedDict
from typing import Final

import msgspec

MILLI: Final = 1_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway takes at most. The defaults suit one machine."""

    body_bytes_max: int = 64 * 1024
    proxy_body_bytes_max: int = 1024 * 1024
    head_seconds_max: float = 10
    """From connecting to a complete first request head."""
    body_seconds_max: float = 20
    idle_seconds_max: float = 75
    """Between requests of a connection; a later head must be complete by then, too."""
    connections_max: int = 2_000
    feed_connections_max: int = 256
    solver_connections_max: int = 64
    send_seconds_max: float = 10
    """How long a subscriber may take to read what was sent."""
    heartbeat_seconds: float = 20
    address_per_second: int = 200
    address_burst: int = 400
    account_per_second: int = 50
    account_burst: int = 100
    refusals_per_second: int = 10
    """Calls on one grant that are refused, and so cost it nothing."""
    refusals_burst: int = 100
    contract_checks_per_second: int = 1
    contract_checks_burst: int = 10
    contract_checks_at_once_max: int = 16
    contract_check_seconds_max: float = 3
    probes_per_second: int = 1
    """Contributions and health checks of one network: each asks a provider about a key."""
    probes_burst: int = 10
    health_cached_ms: int = 5_000
    """For how long a key's health is told without asking again."""
    health_cached_max: int = 10_000
    buckets_max: int = 20_000
    """Senders remembered per bucket table; the least recent is forgotten."""
    nonces_max: int = 200_000
    """Requests remembered against replay; beyond that new ones wait."""


class Buckets:
    """A token bucket per sender, in thousandths of a token. Bounded: see `entries_max`."""

    def __init__(self, *, per_second: int, burst: int, entries_max: int) -> None:
        self._per_second = per_second
        self._full = burst * MILLI
        self._entries_max = entries_max
        self._buckets: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def take(self, sender: str, now_ms: int) -> int:
        """Take a token: 0, or for how many milliseconds there is none."""
        level, wait_ms = self._look(sender, now_ms)
        if not wait_ms:
            level -= MILLI
        self._buckets[sender] = (level, now_ms)
        self._buckets.move_to_end(sender)
        if len(self._buckets) > self._entries_max:
            self._buckets.popitem(last=False)
        return wait_ms

    def wait_ms(self, sender: str, now_ms: int) -> int:
        """What `take` would answer, without taking."""
        return self._look(sender, now_ms)[1]

    def _look(self, sender: str, now_ms: int) -> tuple[int, int]:
        level, at_ms = self._buckets.get(sender, (self._full, now_ms))
        level = min(self._full, level + max(0, now_ms - at_ms) * self._per_second)
        return level, 0 if level >= MILLI else -(-(MILLI - level) // self._per_second)

    def __len__(self) -> int:
        return len(self._buckets)
