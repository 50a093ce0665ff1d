"""Documents as the market remembers them, and whose they are.

A document comes as a msgspec Struct, whose fields cost compiled code a search each time. So
they are read once, kept in the record, and the Struct is made again for who asks for it. A
record can also be made of the fields by who has no Struct of them (`Market.admit`).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import astuple
from mypy_extensions import i64, mypyc_attr

from intents.document import Intent, Mandate, Offer
from intents.place import Place
from solver.core.book import Order
from solver.core.check import violate
from solver.core.command import Authority
from solver.core.event import IntentStatus
from solver.core.ledger import Balance
from solver.core.nonce import Nonces
from solver.core.record import Session
from solver.core.roster import Member, Roster

# Bound once: compiled code looks what is another module's up each time.
_astuple: Final = astuple
# Bound once: looking an enumeration's member up costs as much as a record.
_OPEN: Final = IntentStatus.OPEN
_NONE: Final[list[str]] = []
"""Nobody adds to it."""


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
        "standing",
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
        self.standing = False
        """Whether it is admitted and not over."""


@mypyc_attr(acyclic=True)
class IntentState(DocumentState):
    """An admitted intent. Its order holds the money of what is not filled."""

    __slots__ = (
        "_leases",
        "ended",
        "filled_units",
        "immediate",
        "limit",
        "order",
        "proof_or_place",
        "serving",
        "status",
        "units",
        "units_min",
        "unsettled",
    )

    order: Order

    def __init__(  # noqa: PLR0917  positional: called for every intent, in the order of its fields
        self,
        account: str,
        resource: str,
        asset: str,
        units: int,
        units_min: int,
        limit: int,
        valid_from: int,
        valid_until: int,
        immediate: bool,  # noqa: FBT001
        epoch: int,
        nonce: int,
        digest: str,
        signer: str,
        authority: Authority,
        signature: str,
        proof: str | Place,
    ) -> None:
        super().__init__(digest, signer, authority, signature)
        self.account = account
        self.resource = resource
        self.asset = asset
        self.units = units
        self.units_min = units_min
        self.limit = limit
        self.starts_ms = milliseconds(valid_from)
        self.until_ms = milliseconds(valid_until)
        self.immediate = immediate
        self.epoch = epoch
        self.nonce = nonce
        self.proof_or_place = proof
        self.status = _OPEN
        self.filled_units = 0
        self._leases: list[str] | None = None
        """None as long as there are none: most intents rest, and a list takes 70 bytes."""
        self.serving = 0
        """Leases that are not closed yet."""
        self.unsettled = 0
        """Executions that are not final yet."""
        self.ended: IntentStatus | None = None
        """Why the unfilled rest ended, once it has."""

    @property
    def leases(self) -> Sequence[str]:
        """Its leases that are remembered, oldest first."""
        leases = self._leases
        return _NONE if leases is None else leases

    def add_lease(self, lease: str) -> None:
        """It was filled once more."""
        if self._leases is None:
            self._leases = [lease]
        else:
            self._leases.append(lease)

    @property
    def proof(self) -> str:
        """Where `signature` is over a tree of intents: what proves that this is one of them."""
        proof = self.proof_or_place
        return proof if isinstance(proof, str) else proof.proof()

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


def intent_record(
    document: Intent,
    *,
    digest: str,
    signer: str,
    authority: Authority,
    signature: str,
    proof: str = "",
) -> IntentState:
    """The record of an intent that there is a Struct of."""
    account, resource, asset, units, units_min, limit, start, end, immediate, epoch, nonce = (
        _astuple(document)
    )
    return IntentState(
        account,
        resource,
        asset,
        units,
        units_min,
        limit,
        start,
        end,
        immediate,
        epoch,
        nonce,
        digest,
        signer,
        authority,
        signature,
        proof,
    )


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

    def __init__(  # noqa: PLR0917  positional: called for every offer, in the order of its fields
        self,
        account: str,
        resource: str,
        asset: str,
        key: str,
        units: int,
        limit: int,
        window_units: int,
        window_seconds: int,
        valid_from: int,
        valid_until: int,
        epoch: int,
        nonce: int,
        digest: str,
        signer: str,
        authority: Authority,
        signature: str,
    ) -> None:
        super().__init__(digest, signer, authority, signature)
        self.account = account
        self.resource = resource
        self.asset = asset
        self.key = key
        self.units = units
        self.limit = limit
        self.window_units = window_units
        self.window_seconds = window_seconds
        self.starts_ms = milliseconds(valid_from)
        self.until_ms = milliseconds(valid_until)
        self.epoch = epoch
        self.nonce = nonce
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


def offer_record(
    document: Offer, *, digest: str, signer: str, authority: Authority, signature: str
) -> OfferState:
    """The record of an offer that there is a Struct of."""
    (
        account,
        resource,
        asset,
        key,
        units,
        limit,
        window_units,
        window_seconds,
        start,
        end,
        epoch,
        nonce,
    ) = astuple(document)
    return OfferState(
        account,
        resource,
        asset,
        key,
        units,
        limit,
        window_units,
        window_seconds,
        start,
        end,
        epoch,
        nonce,
        digest,
        signer,
        authority,
        signature,
    )


@mypyc_attr(acyclic=True)
class MandateState(DocumentState):
    """A standing leave to buy. `committed` is what its intents' open parts and fills may cost."""

    __slots__ = ("committed", "intents_kept", "limit", "live", "spent", "tick_max")

    limit: int
    tick_max: int

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
        self.intents_kept = 0
        """How many intents under it are remembered; it is remembered as long."""

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


@mypyc_attr(acyclic=True)
class Account(Nonces):
    """What is remembered of an account beside its balances."""

    __slots__ = (
        "_by_nonce",
        "_documents",
        "epoch",
        "money",
        "sessions",
        "standing_count",
        "withdrawal_held",
        "withdrawing",
    )

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.money: dict[str, Balance] = {}
        """Its accounts in the ledger, by asset, as far as they were looked for here."""
        self.sessions: dict[str, Session] = {}
        self._documents = Roster()
        """Those of it that are remembered."""
        self._by_nonce: dict[int, DocumentState] | None = None
        """The same by nonce, from when that is asked for until they change."""
        self.standing_count = 0
        """How many documents of it are not over."""
        self.withdrawing = 0
        self.withdrawal_held = 0

    @property
    def documents(self) -> list[DocumentState]:
        """Its documents that are remembered, oldest first; a copy."""
        return [one for one in self._documents.members() if isinstance(one, DocumentState)]

    def before(self, record: DocumentState | None = None) -> Iterator[DocumentState]:
        """The same newest first, or those before one of them; none may come or go meanwhile."""
        for one in self._documents.before(record):
            if isinstance(one, DocumentState):
                yield one

    @property
    def standing(self) -> list[DocumentState]:
        """Those of them that are not over."""
        return [record for record in self.documents if record.standing]

    def document_of(self, nonce: int) -> DocumentState | None:
        """The document that used this nonce, if it is remembered.

        The first question after a change looks at all there are: a block may ask often.
        """
        if self._by_nonce is None:
            self._by_nonce = {record.nonce: record for record in self.documents}
        return self._by_nonce.get(nonce)

    def remember(self, record: DocumentState) -> None:
        """A new document of it is admitted, and stands."""
        self.use(record.nonce)
        self.keep(record)
        self.stand(record)

    def keep(self, record: DocumentState) -> None:
        """A document of it is remembered, whose nonce was used."""
        self._documents.add(record)
        self._by_nonce = None

    def stand(self, record: DocumentState) -> None:
        """A document that is remembered is not over."""
        record.standing = True
        self.standing_count += 1

    def dismiss(self, record: DocumentState) -> None:
        """A document of it is over."""
        if not record.standing:
            violate("stands_until_it_is_over", document=record.digest)
        record.standing = False
        self.standing_count -= 1

    def forget(self, record: DocumentState) -> None:
        """A document of it is not remembered any more; its nonce stays used, as on chain."""
        self._documents.remove(record)
        self._by_nonce = None


def milliseconds(signed: i64) -> int:
    """A signed time in the market's unit. Times have 40 bits: a machine word holds them."""
    return signed * 1_000


def seconds(at_ms: i64) -> int:
    """A signed time as it was signed."""
    return at_ms // 1_000
