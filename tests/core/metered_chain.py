"""What the contract makes of metered batches and claims, told as facts.

The rules are those of the swarm's contract (`simulations.swarm.metered_contract`); here nobody
signs, and what a batch carries is read from the market that cut it.
"""

from simulations.swarm.calldata import Revert
from simulations.swarm.metered_contract import Claim, RecordProblem, Sums
from solver.core.event import BatchCut
from solver.core.fact import ClaimPaid, Fact, MeteredSettled, PaidRecord, RecordSkipped
from solver.core.meter import Record, SignedReceipt
from solver.core.state import State

BAD_SIGNATURE = RecordProblem.BAD_SIGNATURE
CLAIM_PENDING = RecordProblem.CLAIM_PENDING


class MeteredChain(Sums):
    """The rules, and a market's batches."""

    def __init__(self, state: State, uncovered_cap: int) -> None:
        super().__init__(uncovered_cap)
        self._state = state

    def deposit(self, account: str, amount: int) -> None:
        """Money comes in."""
        self.balances[account] = self.balances.get(account, 0) + amount

    def settle(self, cut: BatchCut, refused: frozenset[str] = frozenset()) -> list[Fact]:
        """What the contract says of a batch; it refuses the receipts of some accounts."""
        batch = self._state.batches[cut.number]
        number = batch.root_number
        skipped: list[Fact] = []
        paid: list[PaidRecord] = []
        for record in batch.records:
            account = record.account
            problem = self._settle_record(record, refused)
            if problem:
                skipped.append(RecordSkipped(number=number, account=account, problem=problem))
                continue
            spent = self.spent[account]
            paid.append(PaidRecord(account=account, spent=spent, paid=record.amount))
        for told in paid:
            self.credit(next(one.lines for one in batch.records if one.account == told.account))
        return [*skipped, MeteredSettled(number=number, root=cut.digest, records=tuple(paid))]

    def post_claim(self, account: str, receipt: SignedReceipt) -> bool:
        """Somebody posts a receipt; whether the contract takes it."""
        claim = Claim(
            lines=receipt.lines,
            base=receipt.base,
            spent=receipt.spent,
            executable_at=0,
            signer=receipt.signer,
        )
        try:
            self.post(account, claim)
        except Revert:
            return False
        return True

    def execute_claim(self, account: str) -> list[Fact]:
        """The posted receipt is paid, as far as the balance goes."""
        if account not in self.claims:
            return []
        lines = self.pay_claim(account)
        return [ClaimPaid(account=account, spent=self.spent[account], lines=lines)]

    def _settle_record(self, record: Record, refused: frozenset[str]) -> int:
        assert sum(line.amount for line in record.lines) == record.amount
        assert all(line.seller != record.account for line in record.lines)
        receipt = record.receipt

        def judge(base: int, spent: int) -> int:
            assert receipt is not None
            if (receipt.base, receipt.spent) != (base, spent):
                return BAD_SIGNATURE
            return RecordProblem.SESSION_REFUSED if record.account in refused else 0

        return self.take(record.account, record.amount, None if receipt is None else judge)
