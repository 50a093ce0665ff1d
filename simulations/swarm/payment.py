"""The auditor's view of money: batches, what the chain said of them, and who owns how much."""

from collections.abc import Callable
from typing import Final

from intents.bound import ADDRESS_ZERO
from simulations.swarm.chain import Chain
from simulations.swarm.contract import SkipReason
from simulations.swarm.finding import expect
from simulations.swarm.paper import Fill, Mandates, Paper
from simulations.swarm.spending import Spendings
from simulations.swarm.trust import Trusts
from solver.core.command import Authority
from solver.core.event import (
    BalanceChanged,
    BatchCut,
    BatchFinal,
    ChainApplied,
    ClaimMoved,
    PaymentSettled,
    PaymentSkipped,
)

TAKEN_BACK: Final = (SkipReason.SESSION_REFUSED, SkipReason.BAD_SIGNATURE)
BLOCKS_BEHIND_MAX: Final = 32
"""The newest blocks, of which a market may have seen any number."""


class Payments:
    """From the feed and the final blocks alone: what was batched, paid, refused, and owned."""

    def __init__(  # noqa: PLR0917  each of another type
        self,
        usdc: str,
        papers: dict[str, Paper],
        fills: dict[str, Fill],
        mandates: Mandates,
        trusts: Trusts,
        spendings: Spendings,
    ) -> None:
        self._usdc = usdc
        self._papers = papers
        self._fills = fills
        self._mandates = mandates
        self._trusts = trusts
        self._spendings = spendings
        self.totals: dict[tuple[str, str], int] = {}
        self.clock_may_be_wrong = False
        self.chain: Chain | None = None
        self._issued = 0
        self._left: set[str] = set()
        """Accounts that took money out."""
        self._refused: set[str] = set()
        self._batches: dict[int, tuple[str, ...]] = {}
        self._final_batches: set[int] = set()

    # ---------------------------------------------------------------- batches

    def cut(self, _: int, event: BatchCut) -> None:
        """Fills are on their way."""
        expect(event.number == len(self._batches), "batches_are_numbered", number=event.number)
        for line in event.lines:
            fill = self._fills[line.fill]
            expect(fill.closed and fill.batch < 0 and not fill.over, "i16_batched_once")
            expect(line.payment == fill.payment, "batched_as_closed", fill=line.fill)
            fill.batch = event.number
        self._spendings.cut(event)
        self._batches[event.number] = tuple(line.fill for line in event.lines)

    def final(self, _: int, event: BatchFinal) -> None:
        """The chain has spoken for good."""
        expect(event.number not in self._final_batches, "i16_settled_once", number=event.number)
        self._final_batches.add(event.number)
        self._spendings.spoken(event.number)
        for name in self._batches[event.number]:
            fill = self._fills[name]
            expect(fill.over or fill.metered, "batch_speaks_of_each_line", fill=name)

    def settled(self, _: int, event: PaymentSettled) -> None:
        """A fill is paid."""
        fill = self._end(event.fill)
        intent, offer = self._papers[fill.intent], self._papers[fill.offer]
        paid = intent.document.asset
        parties = (intent.document.account, offer.document.account)
        expect((event.buyer, event.seller) == parties, "settled_between_parties", fill=event.fill)
        if intent.mandate:
            self._mandates.paid(intent.mandate, event.payment)
        if fill.metered:
            self._spendings.settled(event)
        else:
            due = fill.reward if event.payment else 0
            expect((event.reward or 0) == due, "reward_is_of_what_was_delivered", fill=event.fill)
            expect(event.payment == fill.payment, "settled_as_closed", fill=event.fill)
            is_batched = fill.batch >= 0 or paid != self._usdc or not event.payment
            expect(is_batched, "usdc_is_batched", fill=event.fill)
        reward = event.reward or 0
        self._move(event.buyer, event.seller, paid, event.payment - reward)
        if event.solver:
            self._move(event.buyer, event.solver, paid, reward)

    def skipped(self, _: int, event: PaymentSkipped) -> None:
        """A fill is not paid."""
        fill = self._end(event.fill)
        buyer = self._papers[fill.intent].document.account
        if fill.metered:
            self._spendings.skipped(buyer, event.fill, event.reason)
            return
        allowed = {
            SkipReason.EPOCH_ENDED,
            SkipReason.CANCELLED,
            *([SkipReason.EXPIRED] if self.clock_may_be_wrong else []),
            *(TAKEN_BACK if not all(map(self._is_as_known, (fill.intent, fill.offer))) else []),
            *([SkipReason.SESSION_REFUSED] if self.clock_may_be_wrong else []),
            *([SkipReason.INSUFFICIENT] if buyer in self._left | self._spendings.claimed else []),
            # What is left of an execution whose other lines were refused may be too little.
            *([SkipReason.BELOW_MINIMUM] if fill.intent in self._refused else []),
        }
        expect(event.reason in allowed, "skipped_for_a_reason", reason=event.reason)
        self._refused.add(fill.intent)

    def _is_as_known(self, name: str) -> bool:
        """Whether who signed a document may still do what it might when its word was taken."""
        paper = self._papers[name]
        as_known = self._spendings.keys.are_as_known(paper.document.account, paper.known)
        return paper.authority is Authority.KEY or as_known

    def _end(self, name: str) -> Fill:
        fill = self._fills[name]
        expect(fill.closed and not fill.over, "i16_settled_once", fill=name)
        fill.over = True
        self._trusts.over(self._papers[fill.intent].document.account, name)
        return fill

    # ---------------------------------------------------------------- balances

    def _move(self, buyer: str, seller: str, asset: str, amount: int) -> None:
        for account, change in ((buyer, -amount), (seller, amount)):
            key = (account, asset)
            self.totals[key] = self.totals.get(key, 0) + change

    def balance(self, _: int, event: BalanceChanged) -> None:
        """Money came in or went out; or credits."""
        key = (event.account, event.asset)
        known = self.totals.get(key, 0)
        match event.reason:
            case "deposited":
                expect(event.total > known, "a_deposit_adds", account=event.account)
            case "withdrawn":
                expect(event.total <= known, "a_withdrawal_takes", account=event.account)
                self._left.add(event.account)
            case "withdrawal requested":
                expect(event.total == known, "a_request_moves_nothing", account=event.account)
            case _:
                self._issued += event.total - known
        expect(event.total >= 0, "nobody_is_overdrawn", account=event.account)
        self.totals[key] = event.total

    def claim_moved(self, _: int, event: ClaimMoved) -> None:
        """A buyer's receipt moved money by itself."""
        self._spendings.claim_moved(event)
        self._move(event.buyer, event.seller, self._usdc, event.payment)

    def chain_applied(self, _: int, event: ChainApplied) -> None:
        """I17: the books are the contract's, as of that block."""
        assert self.chain is not None
        self._spendings.applied(event.number)
        found = self.chain.blocks[event.number].ledger.balances
        mine = {
            account: sum_ for (account, asset), sum_ in self.totals.items() if asset == self._usdc
        }
        for account in found.keys() | mine.keys():
            amounts = (mine.get(account, 0), found.get(account, 0))
            expect(amounts[0] == amounts[1], "i17_chain_matches_ledger", amounts=amounts)

    # ---------------------------------------------------------------- the end

    def unfinished(self) -> str:
        """A batch that is not final."""
        left = self._batches.keys() - self._final_batches
        return f"batch {min(left)}" if left else ""

    def reconcile(self, balance: Callable[[str, str], tuple[int, int]], granted: int) -> None:
        """At the end: what accounts are told they own is what these books say (P3, P10)."""
        credits_owned = sum(
            sum_ for (_, asset), sum_ in self.totals.items() if asset == ADDRESS_ZERO
        )
        expect(credits_owned == self._issued <= granted, "i2_credits_conserved")
        for (account, asset), mine in self.totals.items():
            total, available = balance(account, asset)
            expect(total == mine, "p10_balances_can_be_recomputed", account=account)
            leaving = asset == self._usdc and self._asks_to_leave(account)
            free = available == total or leaving
            expect(free, "i20_nothing_stays_held", account=account, asset=asset)

    def _asks_to_leave(self, account: str) -> bool:
        """Whether a withdrawal waits in a block that the market may be looking at."""
        assert self.chain is not None
        recent = self.chain.blocks[-BLOCKS_BEHIND_MAX:]
        return any(account in block.ledger.withdrawals for block in recent)
