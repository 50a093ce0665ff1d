"""What agents sign.

The annotations *are* the table of EIP-712 types: `intents.typed_data` derives type
strings, hashes and the Solidity constants from them, and msgspec checks the widths
when a document is decoded. Field names are camelCase on the wire, as wallets show them.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from intents.bound import (
    AMOUNT_MAX,
    EPOCH_MAX,
    NONCE_MAX,
    PERMISSIONS_MAX,
    SESSION_EPOCH_MAX,
    TEAM_MAX,
    TICK_MAX,
    TIME_S_MAX,
    UNITS_MAX,
)

# A pattern's "$" would let one newline through; the length does not.
Address = Annotated[
    str, Meta(pattern="^0x[0-9a-f]{40}$", max_length=42, extra={"eip712": "address"})
]
"""20 bytes, lower-case hex. Edges lower-case what they are given."""
Hash = Annotated[str, Meta(pattern="^0x[0-9a-f]{64}$", max_length=66, extra={"eip712": "bytes32"})]
Text = Annotated[str, Meta(max_length=4_096, extra={"eip712": "string"})]
Flag = Annotated[bool, Meta(extra={"eip712": "bool"})]
Units = Annotated[int, Meta(ge=0, le=UNITS_MAX, extra={"eip712": "uint64"})]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, extra={"eip712": "uint96"})]
Spent = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, extra={"eip712": "uint64"})]
Tick = Annotated[int, Meta(ge=0, le=TICK_MAX, extra={"eip712": "uint64"})]
Nonce = Annotated[int, Meta(ge=0, le=NONCE_MAX, extra={"eip712": "uint64"})]
Epoch = Annotated[int, Meta(ge=0, le=EPOCH_MAX, extra={"eip712": "uint32"})]
SessionEpoch = Annotated[int, Meta(ge=0, le=SESSION_EPOCH_MAX, extra={"eip712": "uint24"})]
Team = Annotated[int, Meta(ge=0, le=TEAM_MAX, extra={"eip712": "uint16"})]
Permissions = Annotated[int, Meta(ge=0, le=PERMISSIONS_MAX, extra={"eip712": "uint8"})]
Number = Annotated[int, Meta(ge=0, le=NONCE_MAX, extra={"eip712": "uint64"})]
"""Of an auction or a block."""
Seconds = Annotated[int, Meta(ge=0, le=TIME_S_MAX, extra={"eip712": "uint40"})]


class Document(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    gc=False,
):
    """Anything that is signed as EIP-712 typed data. It holds text and numbers: no cycles."""


class Intent(Document, frozen=True, kw_only=True):
    """A buyer's demand: up to `limit` atoms in all for `units` of `resource`.

    The limit is a total: k delivered units never cost more than ⌊k·limit/units⌋.
    `units_min` is the least that one execution serves; equal to `units` it means
    all-or-none. `immediate` means fill now or cancel the rest. Times are Unix seconds;
    the document is good from `valid_from` up to, not at, `valid_until`.
    """

    account: Address
    resource: Text
    asset: Address
    units: Units
    units_min: Units = 1
    limit: Amount
    valid_from: Seconds = 0
    valid_until: Seconds
    immediate: Flag = False
    epoch: Epoch = 0
    nonce: Nonce


class Offer(Document, frozen=True, kw_only=True):
    """A contributor's supply from one pooled key: `units` of `resource` for at least `limit`.

    k delivered units never pay less than ⌊k·limit/units⌋. At most `window_units` are
    served in any `window_seconds` (0 and 0: no window of its own).
    """

    account: Address
    resource: Text
    asset: Address
    key: Hash
    units: Units
    limit: Amount
    window_units: Units = 0
    window_seconds: Seconds = 0
    valid_from: Seconds = 0
    valid_until: Seconds
    epoch: Epoch = 0
    nonce: Nonce


class Mandate(Document, frozen=True, kw_only=True):
    """A buyer's standing leave: the market may buy for the account within these terms.

    Intents under a mandate need no signature of their own. All of them together cost at most
    `limit` atoms, and k delivered units of one fill at most ⌊k·tick_max/10⁶⌋. An empty
    `resource` means any.
    """

    account: Address
    resource: Text
    asset: Address
    tick_max: Tick
    limit: Amount
    valid_from: Seconds = 0
    valid_until: Seconds
    epoch: Epoch = 0
    nonce: Nonce


class Attestation(Document, frozen=True, kw_only=True):
    """A contributor's word that a key may serve third parties (`statement` is the text)."""

    account: Address
    provider: Text
    statement: Text
    issued_at: Seconds


class Request(Document, frozen=True, kw_only=True):
    """One HTTP request, signed instead of a password.

    `target` is path and query as sent, `body_hash` the keccak256 of the body's bytes.
    """

    account: Address
    method: Text
    target: Text
    body_hash: Hash
    nonce: Nonce
    expires_at: Seconds


class Receipt(Document, frozen=True, kw_only=True):
    """The market's word on what an intent has used: `delivered` units for `payment` atoms.

    Cumulative: a later one of the same intent replaces it. Signed by the operator's
    session key, which anyone can hold against the chain.
    """

    account: Address
    intent: Hash
    delivered: Units
    payment: Amount
    issued_at: Seconds


class SpendReceipt(Document, frozen=True, kw_only=True):
    """A buyer's word that it owes: `spent` atoms in all, `base` of which the chain has taken.

    Cumulative, so none settles twice: `base` is what the ledger counts before it, and a later
    one from the same base replaces it. `lines` is what each seller gets of the difference:
    keccak256 of 20 bytes of account and 8 of atoms for each, by ascending account.
    """

    account: Address
    epoch: Epoch = 0
    base: Spent
    spent: Spent
    lines: Hash


class SessionGrant(Document, frozen=True, kw_only=True):
    """An account's word that `key` may act for it, within these terms, until `expires_at`.

    `permissions` are bits of `intents.policy.Permission`. A term of zero, or an empty
    `resource`, limits nothing: no team, any resource, any price, any number of units, no cap of
    its own. In any `period` seconds the key moves at most `spend` atoms and `units` units, of
    which k cost at most ⌊k·tick_max/10⁶⌋. Its team's cap and its account's hold besides.
    `session_epoch` is the account's when it signs; the grant is spent once used.
    """

    account: Address
    key: Address
    team: Team = 0
    permissions: Permissions
    resource: Text = ""
    tick_max: Tick = 0
    units: Units = 0
    spend: Amount = 0
    period: Seconds = 0
    expires_at: Seconds
    session_epoch: SessionEpoch
    nonce: Nonce


class Award(Document, frozen=True, kw_only=True):
    """The market's word on what a solver won in an auction, and by when its fills can be settled.

    `solution` is the root of its fills' tree (`intents.award`); in blocks after `deadline_block`
    the chain takes none of them.
    """

    auction: Number
    solver: Address
    solution: Hash
    deadline_block: Number


SIGNED: Final[tuple[type[Document], ...]] = (
    Intent,
    Offer,
    Mandate,
    Attestation,
    Request,
    Receipt,
    SpendReceipt,
    SessionGrant,
    Award,
)
"""Every signed type, in the order in which documents and constants list them."""
