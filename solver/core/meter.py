"""What a buyer owes by metered settlement, what of it it has signed for, and what the chain took.

Amounts are cumulative, as receipts are: the chain took `base`, a record under way takes more,
then comes what is closed and waits, oldest first. A receipt acknowledges some of these, from
the first on. What is not acknowledged, closed or not, is the market's risk: its exposure.
"""

import msgspec

from intents.bound import AMOUNT_MAX
from intents.document import SpendReceipt
from intents.receipt import ReceiptLine, lines_hash
from solver.core.command import Authority


class SignedReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt that was accepted: for the first `fills` that wait, from `base` up to `spent`."""

    epoch: int
    base: int
    spent: int
    lines: tuple[ReceiptLine, ...]
    fills: int
    signer: str
    authority: Authority
    signature: str
    bought: dict[str, int] = {}
    """Which session keys bought how many atoms of it; its account bought the rest."""

    @property
    def amount(self) -> int:
        """Atoms that the chain takes by it."""
        return self.spent - self.base

    def document(self, account: str) -> SpendReceipt:
        """What was signed."""
        return SpendReceipt(
            account=account,
            epoch=self.epoch,
            base=self.base,
            spent=self.spent,
            lines=lines_hash(self.lines),
        )


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A buyer's part of a metered batch: by its receipt, or without one on the operator's word."""

    batch: int
    account: str
    amount: int
    lines: tuple[ReceiptLine, ...]
    fills: int
    receipt: SignedReceipt | None = None


class Meter(msgspec.Struct, kw_only=True):
    """One buyer's. Fills are named by their leases."""

    base: int = 0
    """What the ledger on chain ever took by metered settlement, in final blocks."""
    uncovered: int = 0
    """What of that it took without a receipt, since the last one."""
    record: Record | None = None
    """What is under way: the next base follows from it, so there is one at a time."""
    waiting: list[str] = []
    """Closed, with something to pay, and in no batch; oldest first."""
    owed: int = 0
    """Atoms of what waits."""
    receipt: SignedReceipt | None = None
    """The newest, unless it is under way."""
    open: int = 0
    """Atoms that leases which are not closed come to, calls in flight included."""

    @property
    def next_base(self) -> int:
        """What the chain will have taken once the record under way is settled."""
        return self.base + (0 if self.record is None else self.record.amount)

    @property
    def acknowledged(self) -> int:
        """Up to where the buyer has signed."""
        if self.receipt is not None:
            return self.receipt.spent
        if self.record is not None and self.record.receipt is not None:
            return self.next_base
        return self.base - self.uncovered

    @property
    def exposure(self) -> int:
        """Atoms that were served, or are being served, without the buyer's word."""
        return self.next_base + self.owed + self.open - self.acknowledged

    @property
    def signed_fills(self) -> int:
        """How many of those that wait the receipt is for."""
        return 0 if self.receipt is None else self.receipt.fills


class Caps(msgspec.Struct, kw_only=True):
    """What all keys of an account together stand under: words of `intents.cap_word`, as hex."""

    root: str = ""
    """It has the rule for counterparties too."""
    teams: dict[int, str] = {}


class Trust(msgspec.Struct, kw_only=True):
    """How an account stands whose word can be taken back: see `solver.core.trust`."""

    unsettled: int = 0
    """Atoms that were served, or are being served, and are not final."""
    refusals: int = 0
    """How often the chain refused to pay what was served, once for each time it was barred."""
    barred: bool = False
    """Nothing is sold to it on such a word, until it says on chain that it goes on."""
    barred_ms: int = 0
    """When it was barred last."""


class Metering(msgspec.Struct, kw_only=True):
    """All buyers' meters, what of them a batch can take, and how far who is trusted."""

    uncovered_max: int = 0
    """Atoms that a buyer is served at most beyond what it signed for."""
    meters: dict[str, Meter] = {}
    signed: dict[str, None] = {}
    """Who has a receipt that a batch can take, the first that signed first."""
    unsigned: dict[str, int] = {}
    """Since when somebody has something waiting that it did not sign for; oldest first."""
    claimed: dict[str, None] = {}
    """Whose receipt was posted on chain and is not paid yet: all they have may leave then."""
    root_next: int = 0
    """The number of the next metered batch."""
    unsettled_max: int = AMOUNT_MAX
    """Atoms that are served at most on a word that can be taken back, until they are final."""
    trusts: dict[str, Trust] = {}
    """Of whom such a word was ever taken."""
    caps: dict[str, Caps] = {}
    """Of accounts that ever set one."""
    claimants: dict[str, str] = {}
    """By account, the key that signed a receipt which is claimed and not paid yet."""
    chain_s: int = 0
    """The time of the block that is being applied; 0 between blocks."""

    def of(self, account: str) -> Meter:
        """The account's meter, made on first use."""
        meter = self.meters.get(account)
        if meter is None:
            meter = self.meters[account] = Meter()
        return meter
