"""What the contract makes of metered batches and claims, in its plainest form."""

from typing import Final

from intents.receipt import ReceiptLine
from solver.core.command import ClaimPaid, Fact, MeteredSettled, PaidRecord, RecordSkipped
from solver.core.event import BatchCut
from solver.core.meter import Record, SignedReceipt
from solver.core.state import State

BALANCE_SHORT: Final = 2
CLAIM_PENDING: Final = 4
UNCOVERED_EXCEEDED: Final = 5
BAD_SIGNATURE: Final = 7
REFUSED: Final = 8


class MeteredChain:
    """Ledger, bases and attested sums. Of the market it reads what a batch carries."""

    def __init__(self, state: State, uncovered_cap: int) -> None:
        self._state = state
        self._cap = uncovered_cap
        self.balances: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.uncovered: dict[str, int] = {}
        self.claimed: dict[str, SignedReceipt] = {}

    def deposit(self, account: str, amount: int) -> None:
        """Money comes in."""
        self.balances[account] = self.balances.get(account, 0) + amount

    def settle(self, cut: BatchCut, refused: frozenset[str] = frozenset()) -> list[Fact]:
        """What the contract says of a batch; it refuses the receipts of some accounts."""
        batch = self._state.batches[cut.number]
        facts: list[Fact] = []
        paid: list[PaidRecord] = []
        for record in batch.records:
            problem = self._problem(record, refused)
            if problem:
                facts.append(
                    RecordSkipped(number=batch.root_number, account=record.account, problem=problem)
                )
                continue
            self._pay(record.account, record.lines)
            is_signed = record.receipt is not None
            before = self.uncovered.get(record.account, 0)
            self.uncovered[record.account] = 0 if is_signed else before + record.amount
            spent = self.spent[record.account]
            paid.append(PaidRecord(account=record.account, spent=spent, paid=record.amount))
        settled = MeteredSettled(number=batch.root_number, root=cut.digest, records=tuple(paid))
        return [*facts, settled]

    def post_claim(self, account: str, receipt: SignedReceipt) -> bool:
        """Somebody posts a receipt; whether its base is the ledger's."""
        if receipt.base != self.spent.get(account, 0):
            return False
        self.claimed[account] = receipt
        return True

    def execute_claim(self, account: str) -> list[Fact]:
        """The posted receipt is paid, as far as the balance goes."""
        receipt = self.claimed.pop(account, None)
        if receipt is None or receipt.base != self.spent.get(account, 0):
            return []
        owed = receipt.spent - receipt.base
        available = min(owed, self.balances[account])
        lines = tuple(
            ReceiptLine(seller=line.seller, amount=line.amount * available // owed)
            for line in receipt.lines
        )
        self._pay(account, lines)
        self.uncovered[account] = 0
        return [ClaimPaid(account=account, spent=self.spent[account], lines=lines)]

    def _problem(self, record: Record, refused: frozenset[str]) -> int:
        account, base = record.account, self.spent.get(record.account, 0)
        assert sum(line.amount for line in record.lines) == record.amount
        if self.balances[account] < record.amount:
            return BALANCE_SHORT
        if record.receipt is not None:
            if record.receipt.base != base or record.receipt.spent != base + record.amount:
                return BAD_SIGNATURE
            return REFUSED if account in refused else 0
        claim = self.claimed.get(account)
        if claim is not None and claim.base == base:
            return CLAIM_PENDING
        above = self.uncovered.get(account, 0) + record.amount > self._cap
        return UNCOVERED_EXCEEDED if above else 0

    def _pay(self, account: str, lines: tuple[ReceiptLine, ...]) -> None:
        for line in lines:
            self.balances[account] -= line.amount
            self.deposit(line.seller, line.amount)
            self.spent[account] = self.spent.get(account, 0) + line.amount
