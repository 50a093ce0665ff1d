"""Records that are rare or plain data. Those that every trade touches are in `state`."""

import msgspec

from solver.core.event import BatchLine
from solver.core.meter import Record


class Session(msgspec.Struct, kw_only=True):
    """A session key of an account, as the chain last said. Atoms.

    `spent` and `committed` (the most that its open intents and unsettled fills can still
    cost) are ours, and count every asset: an atom of credit uses the cap as one of USDC
    does. The chain's cap is USDC alone, so nothing that passes here is refused there.
    """

    permissions: int
    expires_at: int
    cap: int
    live: bool = True
    spent: int = 0
    committed: int = 0
    word: str = ""
    """Its cap and what counts against it, as hex; the rest follows from it."""
    terms: str = ""
    units: str = ""
    """Another word, if it has a cap on units."""
    units_in_flight: int = 0
    team: int = 0
    predecessor: str = ""
    """The key that it replaced: what that one promised and is not settled yet is its own too."""


class Call(msgspec.Struct, kw_only=True):
    """A call in flight."""

    lease: str
    units: int
    started_ms: int


class Batch(msgspec.Struct, kw_only=True):
    """A batch that was cut; `resolved` counts lines that the chain has spoken on."""

    number: int
    digest: str
    lines: tuple[BatchLine, ...]
    resolved: int = 0
    paid: int = 0
    skipped: int = 0
    final: bool = False
    root_number: int = -1
    """Its own number on chain, where it is metered: these have no gaps."""
    records: tuple[Record, ...] = ()
    """Who pays how much in it, in the order of its lines, where it is metered."""
