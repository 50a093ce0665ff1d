"""What is said of metered settlement: what a buyer may sign for, and what a batch paid for."""

from typing import Annotated

from msgspec import Meta

from intents.admission import Unverified
from intents.document import Address, SpendReceipt
from solver.core.command import Authority
from solver.core.metering import FILLS_PER_RECEIPT_MAX
from solver.gateway.wire import Sent, Told


class SpendingQuery(Sent, frozen=True, kw_only=True):
    """Whose."""

    account: Address


class SpendingBody(Sent, frozen=True, kw_only=True):
    """A buyer's word for the first `fills` that wait."""

    receipt: Unverified[SpendReceipt]
    fills: Annotated[int, Meta(ge=1, le=FILLS_PER_RECEIPT_MAX)]


class PaidTold(Told, frozen=True, kw_only=True):
    """What one seller gets."""

    seller: str
    amount: int


class OwedTold(Told, frozen=True, kw_only=True):
    """A fill that was served and is not signed for."""

    fill: str
    intent: str
    offer: str
    seller: str
    delivered: int
    payment: int


class SignedTold(Told, frozen=True, kw_only=True):
    """A buyer's receipt, by which anyone settles it without the market if it has to be."""

    document: SpendReceipt
    lines: tuple[PaidTold, ...]
    fills: int
    signer: str
    authority: Authority
    signature: str


class SpendingTold(Told, frozen=True, kw_only=True):
    """What an account owes by metered settlement. Atoms.

    `document` is what to sign for the first `fills` that wait: those of the newest `receipt`,
    then `owed`. `exposure` is what was served, or is being served, without its word;
    `uncoveredMax` is how far that goes. Only intents of at most `paymentMax` are metered.
    """

    document: SpendReceipt
    lines: tuple[PaidTold, ...]
    fills: int
    owed: tuple[OwedTold, ...]
    receipt: SignedTold | None
    exposure: int
    uncovered_max: int
    payment_max: int


class LeafTold(Told, frozen=True, kw_only=True):
    """A fill as the contract proves it from the batch's root."""

    fill: str
    intent: str
    offer: str
    buyer: str
    seller: str
    resource: str
    units: int
    delivered: int
    payment: int


class LeavesTold(Told, frozen=True, kw_only=True):
    """All fills of a metered batch, in the order of its tree; `number` is that on chain."""

    number: int
    root: str
    leaves: tuple[LeafTold, ...]
