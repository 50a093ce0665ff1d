"""Every bound of the gateway in one place, and the token buckets that hold the rates."""

from collections import Counter, OrderedDict
from typing import Final

import msgspec

from intents.reject import Reject, RejectCode, reject

MILLI: Final = 1_000
RETRY_MS: Final = 5_000
"""When to ask for a socket again."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway takes at most. The defaults suit one machine."""

    body_bytes_max: int = 64 * 1024
    batch_bytes_max: int = 256 * 1024
    bulk_bytes_max: int = 512 * 1024
    proxy_body_bytes_max: int = 1024 * 1024
    head_seconds_max: float = 10
    """From connecting to a complete first request head."""
    body_seconds_max: float = 20
    idle_seconds_max: float = 75
    """Between requests of a connection; a later head must be complete by then, too."""
    connections_max: int = 2_000
    connections_of_network_max: int = 500
    feed_connections_max: int = 256
    feed_connections_of_network_max: int = 64
    solver_connections_max: int = 64
    solver_connections_of_network_max: int = 16
    intake_connections_max: int = 64
    intake_connections_of_network_max: int = 16
    intake_messages_max: int = 8
    """Messages of one intake connection that are under way; no more are read meanwhile."""
    send_seconds_max: float = 10
    """How long a subscriber may take to read what was sent."""
    heartbeat_seconds: float = 20
    address_per_second: int = 200
    address_burst: int = 400
    account_per_second: int = 50
    account_burst: int = 100
    address_documents_per_second: int = 4_000
    """Signatures to verify of one network, in batches and on intake sockets."""
    address_documents_burst: int = 8_000
    account_documents_per_second: int = 4_000
    """Documents of one account, in batches and on intake sockets."""
    account_documents_burst: int = 8_000
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
    log_lines_per_second: int = 200
    """Beyond it requests are counted, not told one by one; failures of ours always are."""
    nonces_max: int = 200_000
    """Requests remembered against replay; beyond that new ones wait."""
    mandates_max: int = 200_000
    """Mandates whose last counter is remembered; see `mac`."""


class Buckets:
    """A token bucket per sender. Bounded: see `entries_max`.

    Of each one number is kept, in thousandths of a token: what has flowed in since time began
    when it will be full again. That is ahead of now by what is missing.
    """

    def __init__(self, *, per_second: int, burst: int, entries_max: int) -> None:
        self._per_second = per_second
        self._full = burst * MILLI
        self._entries_max = entries_max
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def take(self, sender: str, now_ms: int, tokens: int = 1) -> int:
        """Take tokens: 0, or for how many milliseconds there are not as many.

        More than ever are there at once (the burst) are taken when the bucket is full.
        """
        flowed = now_ms * self._per_second
        full_at = max(self._full_at.get(sender, flowed), flowed)
        taken = min(self._full, tokens * MILLI)
        lacking = full_at + taken - flowed - self._full
        self._full_at[sender] = full_at if lacking > 0 else full_at + taken
        self._full_at.move_to_end(sender)
        if len(self._full_at) > self._entries_max:
            self._full_at.popitem(last=False)
        return -(-lacking // self._per_second) if lacking > 0 else 0

    def wait_ms(self, sender: str, now_ms: int) -> int:
        """What `take` would answer for one token, without taking."""
        flowed = now_ms * self._per_second
        lacking = self._full_at.get(sender, flowed) + MILLI - flowed - self._full
        return -(-lacking // self._per_second) if lacking > 0 else 0

    def __len__(self) -> int:
        return len(self._full_at)


def limited(buckets: Buckets, sender: str, now_ms: int, tokens: int = 1) -> Reject | None:
    """Take tokens of the sender's. Rejects: rate_limited, with the time to wait."""
    wait_ms = buckets.take(sender, now_ms, tokens)
    return too_fast(wait_ms) if wait_ms else None


def too_fast(wait_ms: int) -> Reject:
    """The Reject of whoever has no token."""
    return reject(RejectCode.RATE_LIMITED, "you send faster than this", retry_after_ms=wait_ms)


class Places:
    """Places for connections or sockets of one kind: so many in all, so many for one network."""

    def __init__(self, places_max: int, of_network_max: int) -> None:
        self._places_max = places_max
        self._of_network_max = of_network_max
        self._taken: Counter[str] = Counter()

    def take(self, network: str) -> Reject | None:
        """Take a place. Rejects: busy."""
        if self._taken[network] >= self._of_network_max:
            return reject(
                RejectCode.BUSY,
                f"your network has {self._of_network_max} of these sockets open",
                hint="Close one, or send more over those that you have.",
                retry_after_ms=RETRY_MS,
            )
        if len(self) >= self._places_max:
            return reject(
                RejectCode.BUSY, "too many of these sockets are open", retry_after_ms=RETRY_MS
            )
        self._taken[network] += 1
        return None

    def give_back(self, network: str) -> None:
        """Have one place less."""
        self._taken[network] -= 1
        if not self._taken[network]:
            del self._taken[network]

    def __len__(self) -> int:
        return self._taken.total()
