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
    """What a seller gets, or a solver, which stands in a line like one."""

    seller: str
    amount: int


class OwedAwardTold(Told, frozen=True, kw_only=True):
    """Why a solver has a part of a fill: what its award says of the fill, and the proof of that.

    The award of `auction` to `solver` is in `awards`. The fill's leaf is of the buyer, its nonce,
    the seller, its nonce, `units`, `tick` and `charge`; `proof` is height u8, index u16, siblings.
    """

    auction: int
    solver: str
    buyer_nonce: int
    seller_nonce: int
    units: int
    tick: int
    charge: int
    proof: str


class OwedTold(Told, frozen=True, kw_only=True):
    """A fill that was served and is not signed for.

    Of `payment` the seller has all but `reward`, which is the solver's by `award`.
    """

    fill: str
    intent: str
    offer: str
    seller: str
    delivered: int
    payment: int
    reward: int
    award: OwedAwardTold | None


class SignedAwardTold(Told, frozen=True, kw_only=True):
    """An award as `awardSigner` of GET /v1/eip712 signed it; `solution` is the fills' root."""

    auction: int
    solver: str
    solution: str
    deadline_block: int
    signature: str


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
    `awards` are those that fills of `owed` are charged for: hold them against it before signing.
    """

    document: SpendReceipt
    lines: tuple[PaidTold, ...]
    fills: int
    owed: tuple[OwedTold, ...]
    awards: tuple[SignedAwardTold, ...]
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
    auction: int
    solver: str
    reward: int


class LeavesTold(Told, frozen=True, kw_only=True):
    """All fills of a metered batch, in the order of its tree; `number` is that on chain."""

    number: int
    root: str
    leaves: tuple[LeafTold, ...]
