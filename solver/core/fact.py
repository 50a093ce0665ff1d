"""What the chain can tell the core: each decoded log of the contracts, as one tagged union."""

import msgspec

from intents.receipt import ReceiptLine


class ChainFact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """One decoded log of the contracts."""


class Deposited(ChainFact, frozen=True, kw_only=True):
    """`amount` atoms of USDC came into the account at the contract."""

    account: str
    amount: int


class WithdrawalRequested(ChainFact, frozen=True, kw_only=True):
    """The account asks for `amount` atoms back; the exit delay runs."""

    account: str
    amount: int
    """0: the request was taken back."""


class Withdrawn(ChainFact, frozen=True, kw_only=True):
    """`amount` atoms left the contract."""

    account: str
    amount: int


class NonceCancelled(ChainFact, frozen=True, kw_only=True):
    """The account cancelled one nonce on chain, used or not."""

    account: str
    nonce: int


class EpochBumped(ChainFact, frozen=True, kw_only=True):
    """The account cancelled all on chain: only documents of `epoch` count now."""

    account: str
    epoch: int


class FillSettled(ChainFact, frozen=True, kw_only=True):
    """The contract moved `payment` atoms for a line of a batch."""

    fill: str
    payment: int


class FillSkipped(ChainFact, frozen=True, kw_only=True):
    """The contract refused a line; `reason` is its SkipReason."""

    fill: str
    reason: int


class BatchSettled(ChainFact, frozen=True, kw_only=True):
    """The contract recorded a batch, after speaking on each of its lines."""

    number: int
    digest: str


class PaidRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a metered batch took from a buyer: `spent` is the ledger's after it."""

    account: str
    spent: int
    paid: int


class MeteredSettled(ChainFact, frozen=True, kw_only=True):
    """The contract moved the sums of a metered batch; what is not among these it skipped before."""

    number: int
    root: str
    records: tuple[PaidRecord, ...]


class RecordSkipped(ChainFact, frozen=True, kw_only=True):
    """The contract refused a record; `problem` is its RecordProblem."""

    number: int
    account: str
    problem: int


class ReceiptClaimed(ChainFact, frozen=True, kw_only=True):
    """Somebody posted a receipt of the account, to have it paid without the operator.

    Until then a larger one can take its place: all that the account has may leave. A session
    key that signed it is charged `amount` at most.
    """

    account: str
    signer: str = ""
    amount: int = 0


class ClaimPaid(ChainFact, frozen=True, kw_only=True):
    """A buyer's receipt was settled without the operator: `lines` is what was really paid."""

    account: str
    spent: int
    lines: tuple[ReceiptLine, ...]


class SessionRevoked(ChainFact, frozen=True, kw_only=True):
    """The account ended one session."""

    account: str
    session: str


class AllSessionsRevoked(ChainFact, frozen=True, kw_only=True):
    """The account ended every session."""

    account: str


class BlockMined(ChainFact, frozen=True, kw_only=True):
    """What follows, up to the next of these, is of a block of this time (Unix seconds)."""

    time_s: int


class KeyGranted(ChainFact, frozen=True, kw_only=True):
    """The registry lets a key act for the account: its words afterwards, as hex."""

    account: str
    session: str
    word: str
    terms: str
    units: str


class KeyRotated(ChainFact, frozen=True, kw_only=True):
    """Another key took over all that a session may do and has done."""

    account: str
    session: str
    replacement: str


class KeyTeamChanged(ChainFact, frozen=True, kw_only=True):
    """A key of the registry stands under another team's cap; 0: under none."""

    account: str
    session: str
    team: int


class CapChanged(ChainFact, frozen=True, kw_only=True):
    """The registry has another cap of a team, or of the whole account (0): its word, as hex."""

    account: str
    team: int
    word: str


class CounterpartyRuleChanged(ChainFact, frozen=True, kw_only=True):
    """Whom the keys of an account may pay; 0: anyone."""

    account: str
    rule: int


class BondDeposited(ChainFact, frozen=True, kw_only=True):
    """`amount` atoms of USDC were added to a solver's bond."""

    solver: str
    amount: int


class BondWithdrawalRequested(ChainFact, frozen=True, kw_only=True):
    """A solver asks for `amount` atoms of its bond back; two exit delays run."""

    solver: str
    amount: int
    """0: the request was taken back."""


class BondWithdrawn(ChainFact, frozen=True, kw_only=True):
    """`amount` atoms left a solver's bond."""

    solver: str
    amount: int


class SolverPenalised(ChainFact, frozen=True, kw_only=True):
    """A solver's bond paid `paid` atoms to buyers of an award, whose deposits come beside this."""

    auction: int
    solver: str
    paid: int


Fact = (
    Deposited
    | WithdrawalRequested
    | Withdrawn
    | NonceCancelled
    | EpochBumped
    | FillSettled
    | FillSkipped
    | BatchSettled
    | MeteredSettled
    | RecordSkipped
    | ReceiptClaimed
    | ClaimPaid
    | SessionRevoked
    | AllSessionsRevoked
    | BlockMined
    | KeyGranted
    | KeyRotated
    | KeyTeamChanged
    | CapChanged
    | CounterpartyRuleChanged
    | BondDeposited
    | BondWithdrawalRequested
    | BondWithdrawn
    | SolverPenalised
)
