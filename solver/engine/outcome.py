"""What commands led to, as one running hash: every event of every group since the first.

The live market notes it with each group, and replay comes to the same or stops. It costs
what the group costs, where a hash of the whole state would cost what the market costs.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from solver.core.event import Event

NOTHING_YET: Final = bytes(32)
"""Before the first command."""
_encode: Final = msgspec.msgpack.Encoder().encode
_encode_large: Final = msgspec.json.Encoder().encode


def outcome_after(previous: bytes, events: Sequence[Sequence[Event]]) -> bytes:
    """The hash after one more group; `events` are those of each of its commands.

    Scores and sums may outgrow the 64 bits of MessagePack; such a group is hashed as JSON.
    """
    try:
        told = _encode(events)
    except OverflowError:
        told = _encode_large(events)
    hashed = sha256(previous)
    # Put together with the rest before, they would be copied: half as much time again.
    hashed.update(told)
    return hashed.digest()
