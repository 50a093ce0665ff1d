"""Every outside fact that can reach the core, as one tagged union.

A command is complete: replaying the journal needs nothing else. `at_ms` is stamped by
the sequencer from its clock port and never falls. `Command` is what the journal stores.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from intents.bound import AMOUNT_MAX
from intents.document import Intent, Mandate, Offer, SpendReceipt
from solver.core.fact import Fact
from solver.core.quality import Floor


class Authority(IntEnum):
    """How a signature binds its account; the numbers are the contract's."""

    KEY = 0
    CONTRACT = 1
    SESSION = 2
    MANDATE = 3


class Mode(StrEnum):
    """How a resource trades."""

    CONTINUOUS = "continuous"
    EPOCH = "epoch"


class Outcome(StrEnum):
    """What became of one call.

    UNKNOWN is neither used nor unused: capacity counts as used, the buyer is not charged.
    """

    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


class KeyEnd(StrEnum):
    """Why a key left the pool."""

    REVOKED = "revoked"
    DEAD = "dead"


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `units` in any `seconds`."""

    units: int
    seconds: int


class Base(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True, gc=False
):
    """One journaled fact at `at_ms` (Unix milliseconds). It holds no cycles."""

    at_ms: int = 0


class Tick(Base, frozen=True, kw_only=True):
    """Time passed: whatever ended by now ends."""


class OpenResource(Base, frozen=True, kw_only=True):
    """The operator lists a resource (again, with the same terms, changes nothing)."""

    resource: str
    mode: Mode = Mode.CONTINUOUS


class PoolKey(Base, frozen=True, kw_only=True):
    """A sealed, healthy key joined the pool. Only its public description comes here.

    `limits` are the key's at its provider: units of all its resources count together.
    """

    key: str
    owner: str
    provider: str
    resources: tuple[str, ...]
    limits: tuple[Limit, ...] = ()


class RetireKey(Base, frozen=True, kw_only=True):
    """A key left the pool; its open leases move to other offers where they can."""

    key: str
    reason: KeyEnd


class SubmitIntent(Base, frozen=True, kw_only=True):
    """A verified intent, with who signed it and how that binds the account.

    `proof` is empty, or shows that the signature is over a tree with this intent in it. Under
    a mandate `signer` is the mandate's digest, and nothing is signed.
    """

    intent: Intent
    digest: str
    signer: str
    authority: Authority
    signature: str
    proof: str = ""


class SubmitOffer(Base, frozen=True, kw_only=True):
    """A verified offer."""

    offer: Offer
    digest: str
    signer: str
    authority: Authority
    signature: str


class SubmitMandate(Base, frozen=True, kw_only=True):
    """A verified mandate: intents may come under it without a signature of their own."""

    mandate: Mandate
    digest: str
    signer: str
    authority: Authority
    signature: str


class Leg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An intent of a bundle; `proof` shows that what was signed has it, and the terms."""

    intent: Intent
    digest: str
    proof: str


class SubmitBundle(Base, frozen=True, kw_only=True):
    """A verified bundle: its legs enter together or not at all.

    All of them are filled in one auction, or none; with `any_of`, one of them. `floor` is what
    the keys that serve them have to meet.
    """

    digest: str
    any_of: bool
    floor: Floor
    legs: tuple[Leg, ...]
    signer: str
    authority: Authority
    signature: str


class CancelDocument(Base, frozen=True, kw_only=True):
    """The account withdraws what is not filled of an intent, offer or bundle, or ends a mandate."""

    account: str
    digest: str


class SolutionFill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A solver proposes `units` of one intent from one offer."""

    intent: str
    offer: str
    units: int


class ClearedBook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a solution does in one book: fills, all at one price."""

    resource: str
    tick: int
    fills: tuple[SolutionFill, ...]


class CarriedOffer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A verified offer that a solution brings along, for itself alone."""

    offer: Offer
    digest: str
    signer: str
    authority: Authority
    signature: str


class OpenAuction(Base, frozen=True, kw_only=True):
    """Cut the snapshot of resources that trade in epochs; solvers bid for any of them at once.

    Bids are due before `closes_at_ms`; the first tick from then on judges them. `seed`, 32
    bytes as hex, decides between equals: its hash is told at once, itself at the close. What
    its winners are awarded can be settled up to `deadline_block`; with 0 they are paid nothing.
    """

    resources: tuple[str, ...]
    asset: str
    closes_at_ms: int
    seed: str
    breaker: bool = False
    """Whether winners answer for what their own offers do not deliver: see `conduct`."""
    deadline_block: int = 0
    demand: bool = False
    """Whether solvers see what no offer crosses, to bring some, and when each order ends."""


class ProposeSolution(Base, frozen=True, kw_only=True):
    """A solver's sealed bid: books cleared together or not at all, of the snapshot so hashed."""

    auction: int
    solver: str
    snapshot: str
    books: tuple[ClearedBook, ...]
    offers: tuple[CarriedOffer, ...] = ()
    """Capacity of the solver's own, which only its solutions fill from."""


class StartCall(Base, frozen=True, kw_only=True):
    """Reserve `units` of a lease and of its key's windows, before the upstream is asked."""

    lease: str
    call: str
    units: int


class FinishCall(Base, frozen=True, kw_only=True):
    """What became of a started call; `units` is what was metered."""

    call: str
    outcome: Outcome
    units: int
    sellers_fault: bool = False
    """Its key was limited or dead, or its upstream out of reach or broken."""


class EndLeases(Base, frozen=True, kw_only=True):
    """The buyer is done: close the intent's leases now, release what is unused."""

    account: str
    intent: str


class IssueCredits(Base, frozen=True, kw_only=True):
    """The one way in which credits come into being, with its reason for the audit."""

    account: str
    amount: int
    reason: str


class CutBatch(Base, frozen=True, kw_only=True):
    """Put finished executions into the next batch for the chain.

    `bytes_max` and `gas_max` bound the transaction: nodes take 128 KiB and EIP-7825
    allows 16,777,216 gas.
    """

    fills_max: int
    bytes_max: int = 118_000
    gas_max: int = 16_500_000


class SetMetering(Base, frozen=True, kw_only=True):
    """From now on fills of intents that cost up to `payment_max` in all are metered; 0: none.

    A buyer is served `uncovered_max` atoms at most beyond what it signed for; the contract's
    `uncoveredCap` is no less. On the word of a session key or a contract, which can be taken
    back until it is settled, it is served `unsettled_max` atoms at most that are not final.
    """

    payment_max: int
    uncovered_max: int
    unsettled_max: int = AMOUNT_MAX


class SetBonds(Base, frozen=True, kw_only=True):
    """From now on a bid needs a bond of `bond_min` atoms beyond its solver's exposure; 0: none.

    Exposure counts `exposure_percent` of each penalty that can come, `penalty_max` atoms an
    award at most; the contract's cap is no less.
    """

    bond_min: int
    exposure_percent: int = 100
    penalty_max: int = 0
    contract: str = ""
    """Where bonds are paid in: what is told to solvers, and decides nothing."""


class AcceptReceipt(Base, frozen=True, kw_only=True):
    """A buyer's verified word that it owes for the first `fills` that wait, with who signed it."""

    receipt: SpendReceipt
    fills: int
    signer: str
    authority: Authority
    signature: str


class CutMetered(Base, frozen=True, kw_only=True):
    """Put receipts into the next metered batch, and what nobody signed for in `unsigned_ms`.

    `bytes_max` and `gas_max` as of `CutBatch`.
    """

    fills_max: int
    unsigned_ms: int
    bytes_max: int = 118_000
    gas_max: int = 16_500_000


class ApplyBlocks(Base, frozen=True, kw_only=True):
    """The contracts' logs of finalised blocks after the cursor, up to and with `number`.

    All facts of a range come together, so that a range is applied once or not at all.
    """

    number: int
    block_hash: str
    facts: tuple[Fact, ...]


Command = (
    Tick
    | OpenResource
    | PoolKey
    | RetireKey
    | SubmitIntent
    | SubmitOffer
    | SubmitMandate
    | SubmitBundle
    | CancelDocument
    | OpenAuction
    | ProposeSolution
    | StartCall
    | FinishCall
    | EndLeases
    | IssueCredits
    | CutBatch
    | ApplyBlocks
    | SetMetering
    | AcceptReceipt
    | CutMetered
    | SetBonds
)

ENCODER: Final = msgspec.msgpack.Encoder()
DECODER: Final[msgspec.msgpack.Decoder[Command]] = msgspec.msgpack.Decoder(Command)
