"""Whether a key is alive: asked with the provider's probe, which costs nothing.

Only a probe can call a key dead. What clients send, and what comes back to them, at most
changes the order in which keys are tried (`Marks`).
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Final

from solver.vault.egress import Egress
from solver.vault.fault import EgressFault
from solver.vault.operation import Outbound
from solver.vault.secret import Secret
from solver.vault.template import Provider

MARKS_MAX: Final = 10_000
COOL_MS_MAX: Final = 60_000


class Health(StrEnum):
    """What a probe found. UNKNOWN: the upstream gave no clear answer."""

    HEALTHY = "healthy"
    DEAD = "dead"
    UNKNOWN = "unknown"


async def probe_key(egress: Egress, provider: Provider, secret: Secret) -> Health:
    """Ask the provider about a key. Nothing of the answer but its status is read."""
    probe = provider.probe
    outbound = Outbound(
        method=probe.method, path=probe.path, query=probe.query, headers=(), body=b""
    )
    try:
        exchange = await egress.send(provider, outbound, secret)
    except EgressFault:
        return Health.UNKNOWN
    exchange.close()
    if exchange.status in probe.ok:
        return Health.HEALTHY
    return Health.DEAD if exchange.status in probe.dead else Health.UNKNOWN


class Marks:
    """Passive notes about keys, forgotten at the latest when there are too many.

    `cool` puts a key behind the others for a while; `confirmed` remembers that a probe
    found it alive, so that refused requests do not each cost a probe.
    """

    def __init__(self) -> None:
        self._cool_until_ms: OrderedDict[str, int] = OrderedDict()
        self._healthy_until_ms: OrderedDict[str, int] = OrderedDict()

    def cool(self, key: str, until_ms: int) -> None:
        """The upstream limited this key: prefer others until then."""
        _note(self._cool_until_ms, key, until_ms)

    def is_cool(self, key: str, now_ms: int) -> bool:
        """Whether others should go first."""
        return self._cool_until_ms.get(key, 0) > now_ms

    def confirmed(self, key: str, until_ms: int) -> None:
        """A probe found this key alive; trust that until then."""
        _note(self._healthy_until_ms, key, until_ms)

    def is_confirmed(self, key: str, now_ms: int) -> bool:
        """Whether a probe found it alive a moment ago."""
        return self._healthy_until_ms.get(key, 0) > now_ms


def _note(notes: OrderedDict[str, int], key: str, until_ms: int) -> None:
    notes[key] = until_ms
    notes.move_to_end(key)
    while len(notes) > MARKS_MAX:
        notes.popitem(last=False)
