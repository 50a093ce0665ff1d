"""Documents as the market remembers them.

A document comes as a msgspec Struct, whose fields cost compiled code a search each time. So
they are read once, kept in the record, and the Struct is made again for who asks for it.
"""

from typing import Final

from msgspec.structs import astuple
from mypy_extensions import i64, mypyc_attr

from intents.document import Intent, Mandate, Offer
from solver.core.book import Order
from solver.core.command import Authority
from solver.core.event import IntentStatus
from solver.core.ledger import Balance
from solver.core.roster import Member

# Bound once: looking an enumeration's member up costs as much as a record.
_OPEN: Final = IntentStatus.OPEN


@mypyc_attr(acyclic=True)
class DocumentState(Member):
    """What is remembered of any document: its fields, and who signed it how."""

    __slots__ = (
        "account",
        "asset",
        "authority",
        "digest",
        "epoch",
        "nonce",
        "resource",
        "signature",
        "signer",
        "starts_ms",
        "until_ms",
    )

    account: str
    resource: str
    asset: str
    epoch: int
    nonce: int
    starts_ms: int
    until_ms: int
    """When it ends by what it says itself; its order may end before."""

    def __init__(self, digest: str, signer: str, authority: Authority, signature: str) -> None:
        self.place = -1
        self.digest = digest
        self.signer = signer
        self.authority = authority
        self.signature = signature


@mypyc_attr(acyclic=True)
class IntentState(DocumentState):
    """An admitted intent. Its order holds the money of what is not filled."""

    __slots__ = (
        "ended",
        "filled_units",
        "immediate",
        "leases",
        "limit",
        "order",
        "proof",
        "serving",
        "status",
        "units",
        "units_min",
        "unsettled",
    )

    order: Order

    def __init__(
        self,
        *,
        document: Intent,
        digest: str,
        signer: str,
        authority: Authority,
        signature: str,
        proof: str,
    ) -> None:
        super().__init__(digest, signer, authority, signature)
        (
            self.account,
            self.resource,
            self.asset,
            self.units,
            self.units_min,
            self.limit,
            valid_from,
            valid_until,
            self.immediate,
            self.epoch,
            self.nonce,
        ) = astuple(document)
        self.starts_ms = milliseconds(valid_from)
        self.until_ms = milliseconds(valid_until)
        self.proof = proof
        """Where `signature` is over a tree of intents: what proves that this is one of them."""
        self.status = _OPEN
        self.filled_units = 0
        self.leases: list[str] = []
        self.serving = 0
        """Leases that are not closed yet."""
        self.unsettled = 0
        """Executions that are not final yet."""
        self.ended: IntentStatus | None = None
        """Why the unfilled rest ended, once it has."""

    @property
    def document(self) -> Intent:
        """What was signed."""
        return Intent(
            account=self.account,
            resource=self.resource,
            asset=self.asset,
            units=self.units,
            units_min=self.units_min,
            limit=self.limit,
            valid_from=seconds(self.starts_ms),
            valid_until=seconds(self.until_ms),
            immediate=self.immediate,
            epoch=self.epoch,
            nonce=self.nonce,
        )

    @property
    def tick(self) -> int:
        """The highest price at which it buys."""
        return self.order.tick

    @property
    def open_units(self) -> int:
        """Units that can still be filled."""
        return self.order.units

    @property
    def has_minimum(self) -> bool:
        """Whether an execution must fill more than one unit, and so counts all it filled."""
        return self.order.minimum > 1


@mypyc_attr(acyclic=True)
class OfferState(DocumentState):
    """An admitted offer. Its order has its units, free and reserved."""

    __slots__ = (
        "capacity",
        "key",
        "leases_kept",
        "limit",
        "live",
        "order",
        "units",
        "window_seconds",
        "window_units",
    )

    order: Order
    capacity: Balance
    """The account of its units: signed, reserved, and gone."""

    def __init__(
        self,
        *,
        document: Offer,
        digest: str,
        signer: str,
        authority: Authority,
        signature: str,
    ) -> None:
        super().__init__(digest, signer, authority, signature)
        (
            self.account,
            self.resource,
            self.asset,
            self.key,
            self.units,
            self.limit,
            self.window_units,
            self.window_seconds,
            valid_from,
            valid_until,
            self.epoch,
            self.nonce,
        ) = astuple(document)
        self.starts_ms = milliseconds(valid_from)
        self.until_ms = milliseconds(valid_until)
        self.live = True
        self.leases_kept = 0
        """Leases of it that are remembered; an offer is remembered as long."""

    @property
    def document(self) -> Offer:
        """What was signed."""
        return Offer(
            account=self.account,
            resource=self.resource,
            asset=self.asset,
            key=self.key,
            units=self.units,
            limit=self.limit,
            window_units=self.window_units,
            window_seconds=self.window_seconds,
            valid_from=seconds(self.starts_ms),
            valid_until=seconds(self.until_ms),
            epoch=self.epoch,
            nonce=self.nonce,
        )

    @property
    def tick(self) -> int:
        """The lowest price at which it sells."""
        return self.order.tick

    @property
    def open_units(self) -> int:
        """Units that can be sold now."""
        return self.order.units


@mypyc_attr(acyclic=True)
class MandateState(DocumentState):
    """A standing leave to buy. `committed` is what its intents' open parts and fills may cost."""

    __slots__ = ("committed", "intents", "limit", "live", "spent", "tick_max")

    def __init__(
        self, *, document: Mandate, digest: str, signer: str, authority: Authority, signature: str
    ) -> None:
        super().__init__(digest, signer, authority, signature)
        (
            self.account,
            self.resource,
            self.asset,
            self.tick_max,
            self.limit,
            valid_from,
            valid_until,
            self.epoch,
            self.nonce,
        ) = astuple(document)
        self.starts_ms = milliseconds(valid_from)
        self.until_ms = milliseconds(valid_until)
        self.live = True
        self.spent = 0
        self.committed = 0
        self.intents: dict[str, None] = {}
        """Its intents that are remembered, oldest first; it is remembered as long."""

    @property
    def document(self) -> Mandate:
        """What was signed."""
        return Mandate(
            account=self.account,
            resource=self.resource,
            asset=self.asset,
            tick_max=self.tick_max,
            limit=self.limit,
            valid_from=seconds(self.starts_ms),
            valid_until=seconds(self.until_ms),
            epoch=self.epoch,
            nonce=self.nonce,
        )


def milliseconds(signed: i64) -> int:
    """A signed time in the market's unit. Times have 40 bits: a machine word holds them."""
    return signed * 1_000


def seconds(at_ms: i64) -> int:
    """A signed time as it was signed."""
    return at_ms // 1_000
