"""What commands led to, as one running hash: every event of every group since the first.

The live market notes it with each group, and replay comes to the same or stops. It costs
what the group costs, where a hash of the whole state would cost what the market costs.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from solver.core.event import Event

NOTHING_YET: Final = bytes(32)
"""Before the first command."""
# JSON, as scores and sums outgrow the 64 bits of MessagePack.
_ENCODER: Final = msgspec.json.Encoder()


def outcome_after(previous: bytes, events: Sequence[Sequence[Event]]) -> bytes:
    """The hash after one more group; `events` are those of each of its commands."""
    return blake2b(previous + _ENCODER.encode(events), digest_size=32).digest()
