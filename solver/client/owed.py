"""What the market says that an account owes by metered settlement, fill by fill."""

from typing import Annotated

from msgspec import Meta

from intents.document import Address, Amount, Hash, Nonce, Number, SpendReceipt, Tick, Units
from solver.client.model import Model

Proof = Annotated[str, Meta(pattern="^0x([0-9a-f]{2})*$", max_length=2_048)]
"""As hex."""


class Paid(Model, frozen=True, kw_only=True):
    """What one seller gets, or one solver."""

    seller: Address
    amount: Amount


class FillAward(Model, frozen=True, kw_only=True):
    """What an award says of a fill, and the proof that it is one of its fills."""

    auction: Number
    solver: Address
    buyer_nonce: Nonce
    seller_nonce: Nonce
    units: Units
    tick: Tick
    charge: Tick
    proof: Proof


class Owed(Model, frozen=True, kw_only=True):
    """A fill that was served and is not signed for; `reward` of `payment` is a solver's."""

    fill: str
    intent: str
    seller: Address
    delivered: Units
    payment: Amount
    reward: Amount = 0
    award: FillAward | None = None


class SignedAward(Model, frozen=True, kw_only=True):
    """What a winner of an auction is paid for: `solution` is the root of its fills."""

    auction: Number
    solver: Address
    solution: Hash
    deadline_block: Number
    signature: str


class Signed(Model, frozen=True, kw_only=True):
    """A receipt that the market has."""

    document: SpendReceipt
    lines: tuple[Paid, ...]
    fills: int
    signer: str
    signature: str


class Statement(Model, frozen=True, kw_only=True):
    """What the market says that an account owes."""

    document: SpendReceipt
    lines: tuple[Paid, ...]
    fills: int
    owed: tuple[Owed, ...]
    receipt: Signed | None
    exposure: int
    uncovered_max: int
    payment_max: int
    awards: tuple[SignedAward, ...] = ()
