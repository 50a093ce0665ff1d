"""What a fill gives: the right to calls, until it ends, and the fills that were made at once."""

from typing import Final

from mypy_extensions import mypyc_attr

from intents.rounding import payment_at
from solver.core.deadline import Timed
from solver.core.document import IntentState, OfferState
from solver.core.event import LeaseStatus

SERVING: Final = (LeaseStatus.OPEN, LeaseStatus.ORPHANED, LeaseStatus.DRAINING)
"""Leases that are not closed yet."""

# Bound once: looking an enumeration's member up costs as much as a record.
_LEASE_OPEN: Final = LeaseStatus.OPEN


@mypyc_attr(acyclic=True)
class Lease(Timed):
    """A fill and the right that it gives. `held` atoms and `reserved` units wait for its end.

    units = delivered + lapsed + in flight + withdrawn + returned + what may still be served.
    """

    __slots__ = (
        "asset",
        "award",
        "award_place",
        "batch",
        "buyer",
        "charge",
        "delivered",
        "execution",
        "filled_ms",
        "held",
        "id",
        "in_flight",
        "intent",
        "key",
        "lapsed",
        "last_used_ms",
        "metered",
        "offer",
        "reserved",
        "resource",
        "returned",
        "seller",
        "status",
        "tick",
        "units",
        "until_ms",
        "withdrawn",
    )

    def __init__(
        self,
        *,
        id: str,  # noqa: A002  a lease's id is its id
        execution: int,
        intent: IntentState,
        offer: OfferState,
        units: int,
        tick: int,
        held: int,
        until_ms: int,
        filled_ms: int,
        metered: bool,
    ) -> None:
        self.due_slot = None
        self.id = id
        self.execution = execution
        self.intent = intent.digest
        self.offer = offer.digest
        self.key = offer.key
        self.buyer = intent.account
        self.seller = offer.account
        self.resource = intent.resource
        self.asset = intent.asset
        self.units = units
        self.tick = tick
        self.until_ms = until_ms
        self.filled_ms = filled_ms
        self.metered = metered
        """Whether it is paid by what its buyer signs for, and not as a line of its own."""
        self.status = _LEASE_OPEN
        self.held = held
        self.reserved = units
        self.delivered = 0
        self.lapsed = 0
        """Used with an unknown outcome: capacity is gone, the buyer does not pay."""
        self.withdrawn = 0
        """Not servable any more, as its key left the pool and nobody took it over."""
        self.returned = 0
        """Unused at its end and back on the offer, for others to buy."""
        self.in_flight = 0
        self.last_used_ms = 0
        self.batch = -1
        """The number of the batch that it is a line of, once it is."""
        self.charge = 0
        """What of `tick` is the solver's, by whose award it settles."""
        self.award = ""
        self.award_place = 0
        """Which fill of the award it is."""

    @property
    def remaining(self) -> int:
        """Units that a new call may still reserve."""
        gone = self.delivered + self.lapsed + self.withdrawn + self.returned
        return self.units - gone - self.in_flight

    @property
    def payment(self) -> int:
        """Atoms for what was delivered: floor, for the buyer."""
        return payment_at(self.tick, self.delivered)

    @property
    def reward(self) -> int:
        """What of the payment is the solver's: floor, for the seller."""
        return payment_at(self.charge, self.delivered) if self.charge else 0

    @property
    def reach(self) -> int:
        """The same, once calls in flight are delivered too."""
        return payment_at(self.tick, self.delivered + self.in_flight)


@mypyc_attr(acyclic=True)
class Execution:
    """The fills of one intent that were made at once; unless metered, they settle in one batch."""

    __slots__ = ("id", "intent", "leases", "metered", "serving", "unsettled")

    def __init__(self, id: int, intent: str, *, metered: bool) -> None:  # noqa: A002
        self.id = id
        self.intent = intent
        self.metered = metered
        self.leases: list[str] = []
        self.serving = 0
        """Leases that are not closed yet."""
        self.unsettled = 0
        """Leases that are neither paid nor skipped yet."""
