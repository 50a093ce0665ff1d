"""The auditor's view of metered settlement: who owes what, on whose word, and what was taken.

Its own count, from fills, signatures, the feed and final blocks: what waits of each buyer in
which order, what a receipt may be for, and how far a buyer is served without one.
"""

import msgspec

from contracts.metered import paid_buyers, paid_sellers
from intents.document import SpendReceipt
from intents.receipt import in_order, lines_hash
from simulations.swarm.award import Awards
from simulations.swarm.caps import Keys
from simulations.swarm.chain import Chain
from simulations.swarm.finding import expect
from simulations.swarm.metered_contract import (
    ATTESTED,
    EXECUTED,
    SETTLED,
    SKIPPED,
    UNCOVERED_CAP,
    RecordProblem,
)
from simulations.swarm.paper import TICK_UNITS, Fill, Paper
from simulations.swarm.person import PEOPLE
from solver.core.command import Authority
from solver.core.event import (
    BatchCut,
    ChainApplied,
    ClaimMoved,
    Event,
    Filled,
    MeteringSet,
    PaymentSettled,
    ReceiptAccepted,
    ReceiptLapsed,
)
from solver.gateway.owed import SpendingTold

_AUTHORITIES = {person.account: person.authority for person in PEOPLE}
_SIGN_NO_RECEIPTS = {person.key.address for person in PEOPLE if not person.signs_receipts}


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where an account was told that its word counts, and how often a word had ended."""

    spent: int
    voids: int


class Spending(msgspec.Struct, kw_only=True):
    """One buyer's."""

    waiting: list[str] = []
    """Fills that are closed and in no batch, oldest first."""
    open: dict[str, None] = {}
    """Fills that are not closed."""
    under_way: list[str] = []
    amount: int = 0
    """Of what is under way."""
    batch: int = -1
    is_signed: bool = False
    """Whether what is under way rests on a receipt."""
    authority: Authority = Authority.KEY
    """How what it signs binds it."""
    receipt: ReceiptAccepted | None = None
    """The newest, if no batch has it and it has not lapsed."""
    known: int = 0
    """The block up to which whoever took that word knew what its signer may."""
    known_under_way: int = 0
    """The same of what is under way."""
    voids: int = 0
    """How many receipts came to nothing."""
    moved: int = 0
    """What the feed says that metered settlement ever took."""
    spent: int = 0
    """The same of the ledger, as of the last block that was told."""
    uncovered: int = 0
    signed: dict[int, list[SpendReceipt]] = {}
    """All that it ever signed, by its sum."""

    @property
    def base(self) -> int:
        """Where the next receipt begins."""
        return self.spent + self.amount

    @property
    def acknowledged(self) -> int:
        """Up to where its word counts."""
        if self.receipt is not None:
            return self.receipt.spent
        return self.base if self.is_signed else self.spent - self.uncovered


class Spendings:
    """Of all buyers; and what sellers got."""

    def __init__(
        self, usdc: str, papers: dict[str, Paper], fills: dict[str, Fill], awards: Awards
    ) -> None:
        self._awards = awards
        self._usdc = usdc
        self._papers = papers
        self._fills = fills
        self._accounts: dict[str, Spending] = {}
        self._rule = MeteringSet(payment_max=0, uncovered_max=0, unsettled_max=0)
        self._executions: dict[int, bool] = {}
        self._earned: dict[str, int] = {}
        """By seller: what the feed says, less what the chain's logs say."""
        self.chain: Chain | None = None
        self.blocks = 0
        """Up to here all that is final was told."""
        self.executed: set[str] = set()
        """Whose claims were paid in the blocks that are being told."""
        self.claimed: set[str] = set()
        """Whose claims were ever paid."""
        self._ended: set[str] = set()
        """Who ever ended an epoch."""
        self._rests_on: dict[tuple[str, int, int], int] = {}
        """By account, base and sum: the block that a receipt rests on, at the least."""
        self.clock_may_be_wrong = False
        self.keys = Keys(papers, fills)
        self.problems: dict[str, int] = {}
        """Whose records were skipped in these blocks, and why."""

    def of(self, account: str) -> Spending:
        """The account's, made on first use."""
        spending = self._accounts.get(account)
        if spending is None:
            spending = Spending(authority=_AUTHORITIES.get(account, Authority.KEY))
            self._accounts[account] = spending
        return spending

    def rests_on(self, account: str, signer: str) -> int:
        """The final block now; -1 if the account's owner there is another, and may stay it."""
        assert self.chain is not None
        final = self.chain.final
        return final.number if final.ledger.owners.get(account, signer) == signer else -1

    # ---------------------------------------------------------------- what clients know

    def sign(self, receipt: SpendReceipt, signer: str) -> None:
        """A client signs what it owes, or anything else."""
        place = receipt.account, receipt.base, receipt.spent
        self.keys.signers[place] = signer
        known = self.rests_on(receipt.account, signer)
        self._rests_on[place] = min(known, self._rests_on.get(place, known))
        self.of(receipt.account).signed.setdefault(receipt.spent, []).append(receipt)

    def owes(self, account: str) -> bool:
        """Whether something waits that it has not signed for."""
        spending = self.of(account)
        signed = 0 if spending.receipt is None else spending.receipt.fills
        return len(spending.waiting) > signed

    def promised(self, account: str) -> Promise:
        """What whoever asks next may rely on."""
        spending = self.of(account)
        return Promise(spent=spending.acknowledged, voids=spending.voids)

    def heard(self, account: str, told: SpendingTold, promised: Promise) -> None:
        """P1: a receipt that was accepted still counts, whatever has crashed since."""
        counts = told.document.base if told.receipt is None else told.receipt.document.spent
        voids = self.of(account).voids
        kept = counts >= promised.spent or voids > promised.voids
        expect(kept, "p1_accepted_receipt_counts", account=account, counts=counts)
        self._awards.heard(account, told)

    # ---------------------------------------------------------------- fills

    def ruled(self, _: int, event: MeteringSet) -> None:
        """The operator says what is metered from now on."""
        expect(event.uncovered_max <= UNCOVERED_CAP, "rule_is_within_the_contracts_cap")
        self._rule = event

    def filled(self, event: Filled) -> None:
        """A fill: metered if it is small and its buyer can sign for it."""
        fill, paper = self._fills[event.fill], self._papers[event.intent]
        document = paper.document
        is_small = document.limit <= self._rule.payment_max
        signs = paper.signer not in _SIGN_NO_RECEIPTS and getattr(document, "units_min", 1) <= 1
        metered = is_small and signs and document.asset == self._usdc
        fill.metered = self._executions.setdefault(event.execution, metered)
        if fill.metered:
            self.of(event.buyer).open[event.fill] = None

    def served(self, account: str, name: str) -> None:
        """A call has started: whoever does not sign is served up to the cap, calls included."""
        if not self._fills[name].metered:
            return
        spending = self.of(account)
        owed = sum(self._fills[fill].payment for fill in spending.waiting)
        reach = sum(_reach(self._fills[fill]) for fill in spending.open)
        exposure = spending.base + owed + reach - spending.acknowledged
        within = exposure <= self._rule.uncovered_max
        expect(within, "unsigned_is_bounded", account=account, exposure=exposure)

    def closed(self, account: str, name: str) -> None:
        """A fill is over for calls: what it comes to waits for its buyer's word."""
        fill = self._fills[name]
        if not fill.metered:
            return
        spending = self.of(account)
        del spending.open[name]
        if fill.payment:
            spending.waiting.append(name)

    # ---------------------------------------------------------------- receipts

    def accepted(self, _: int, event: ReceiptAccepted) -> None:
        """A receipt counts: it was signed, and is for the first that wait, to the atom."""
        spending = self.of(event.account)
        if event.account in self.problems and spending.under_way:
            self._speak(event.account, spending, again=True)
        before = spending.receipt
        facts = {"account": event.account, "spent": event.spent}
        expect(before is None or event.spent > before.spent, "receipts_never_fall", **facts)
        amounts: dict[str, int] = {}
        for name in spending.waiting[: event.fills]:
            fill, seller = self._fills[name], self._seller(name)
            expect(fill.solver or not fill.charge, "signed_for_a_shown_award", fill=name)
            amounts[seller] = amounts.get(seller, 0) + fill.payment - fill.reward
            amounts[fill.solver] = amounts.get(fill.solver, 0) + fill.reward
        expect(0 < event.fills <= len(spending.waiting), "receipt_is_for_what_waits", **facts)
        expect(event.spent == spending.base + sum(amounts.values()), "receipt_adds_up", **facts)
        lines = lines_hash(in_order(amounts))
        signed = [
            receipt
            for receipt in spending.signed.get(event.spent, ())
            if (receipt.base, receipt.lines) == (spending.base, lines)
        ]
        expect(signed, "accepted_was_signed", **facts)
        place = event.account, spending.base, event.spent
        # What is a contract's the chain was asked about before.
        spending.known = self._rests_on[place]
        if spending.authority is Authority.SESSION:
            known = self.keys.speaks(event.account, self.keys.signers[place])
            expect(known, "the_revoked_sign_nothing", **facts)
            spending.known = self.blocks
        spending.receipt = event

    def lapsed(self, _: int, event: ReceiptLapsed) -> None:
        """A receipt came to nothing: only what the chain did can have moved its base."""
        spending = self.of(event.account)
        known = spending.receipt is not None and spending.receipt.spent == event.spent
        expect(known, "lapses_once", account=event.account)
        moved = event.account in self.executed | self.problems.keys() | self.keys.ended
        expect(moved, "p1_receipt_lapses_for_a_reason", account=event.account)
        spending.receipt, spending.voids = None, spending.voids + 1

    # ---------------------------------------------------------------- batches

    def cut(self, event: BatchCut) -> None:
        """Fills are on their way: of each buyer the oldest, as many as its receipt is for."""
        taken: dict[str, list[str]] = {}
        for line in event.lines:
            if self._fills[line.fill].metered:
                taken.setdefault(self._buyer(line.fill), []).append(line.fill)
        for account, names in taken.items():
            spending = self.of(account)
            receipt = spending.receipt
            expect(not spending.under_way and spending.batch < 0, "one_record_at_a_time")
            expect(spending.waiting[: len(names)] == names, "oldest_first", account=account)
            as_signed = receipt is None or receipt.fills == len(names)
            expect(as_signed, "batched_as_signed", account=account)
            spending.waiting = spending.waiting[len(names) :]
            spending.under_way = names
            spending.amount = sum(self._fills[name].payment for name in names)
            spending.batch, spending.is_signed = event.number, receipt is not None
            spending.known_under_way = spending.known
            spending.receipt = None

    def spoken(self, number: int) -> None:
        """The chain has spoken on a batch; what it refused of a receipt waits again, first."""
        for account, spending in self._accounts.items():
            if spending.batch == number:
                self._speak(account, spending)

    def _speak(self, account: str, spending: Spending, *, again: bool = False) -> None:
        """`again`: what was refused counts for the next batch."""
        left = [name for name in spending.under_way if not self._fills[name].over]
        if account in self.problems:
            self._refused(account, spending, again=again)
        else:
            expect(not left, "batch_speaks_of_each_line", account=account)
        for name in left:
            self._fills[name].batch = -1
        spending.waiting[:0] = left
        spending.under_way, spending.amount, spending.batch = [], 0, -1
        spending.is_signed = False

    def _refused(self, account: str, spending: Spending, *, again: bool) -> None:
        """The chain skips a record for what its buyer did on chain, and for nothing of ours.

        Who ends its epoch takes no receipt back by that.
        """
        problem = self.problems[account]
        claimed, ended = account in self.claimed, account in self._ended
        bad = RecordProblem.BAD_SIGNATURE
        if spending.authority is Authority.SESSION:
            bad = RecordProblem.SESSION_REFUSED
        as_known = self.keys.are_as_known(account, spending.known_under_way)
        taken_back = spending.authority is not Authority.KEY and not as_known
        # Who has another clock may think that a window is over, or a document.
        taken_back |= spending.authority is Authority.SESSION and self.clock_may_be_wrong
        # Only what a plain key or the registry has counts again when an epoch has ended.
        taken_back |= spending.authority is Authority.CONTRACT and ended
        allowed = {
            *([RecordProblem.INSUFFICIENT, bad] if claimed else []),
            *([bad] if taken_back and spending.is_signed else []),
            *([] if spending.is_signed else [RecordProblem.CLAIM_PENDING]),
        }
        if again:
            allowed = {bad} if ended and spending.is_signed else set()
        facts = {"account": account, "problem": problem}
        expect(problem in allowed, "record_skipped_for_a_reason", **facts)
        spending.voids += spending.is_signed and not again

    # ---------------------------------------------------------------- money

    def settled(self, event: PaymentSettled) -> None:
        """A metered fill is paid: whole, unless a claim had too little for it."""
        account, name, payment = event.buyer, event.fill, event.payment
        spending, fill, reward = self.of(account), self._fills[name], event.reward or 0
        by_claim = account in self.executed
        whole = (payment, reward) == (fill.payment, fill.reward)
        less = payment <= fill.payment and reward <= fill.reward
        expect(whole or (by_claim and less), "settled_as_closed", fill=name)
        expect(not fill.solver or event.solver == fill.solver, "reward_is_the_winners", fill=name)
        expect(name in spending.under_way or by_claim or not payment, "metered_is_batched")
        if name in spending.waiting:
            spending.waiting.remove(name)
        self._take(account, event.seller, payment - reward)
        self._take(account, event.solver or event.seller, reward)

    def skipped(self, account: str, name: str, reason: int) -> None:
        """A metered fill is not paid: nobody signed for it, and the chain refused."""
        spending = self.of(account)
        unsigned = name in spending.under_way and not spending.is_signed
        expect(unsigned, "signed_is_not_skipped", fill=name)
        expect(self.problems.get(account) == reason, "skipped_for_a_reason", fill=name)

    def claim_moved(self, event: ClaimMoved) -> None:
        """A claim paid for nothing that the market knows of."""
        expect(event.buyer in self.claimed, "moved_by_a_claim", account=event.buyer)
        expect(event.payment > 0, "moved_by_a_claim", account=event.buyer)
        self._take(event.buyer, event.seller, event.payment)

    def _take(self, buyer: str, seller: str, payment: int) -> None:
        self.of(buyer).moved += payment
        self._earned[seller] = self._earned.get(seller, 0) + payment

    # ---------------------------------------------------------------- the chain

    def begin(self, events: list[Event]) -> None:
        """A command is told: what the blocks say that it brings, if it brings some."""
        applied = [event.number for event in events if isinstance(event, ChainApplied)]
        self.executed, self.problems = set(), {}
        self.keys.ended.clear()
        for number in applied:
            assert self.chain is not None
            for block in self.chain.blocks[self.blocks + 1 : number + 1]:
                self.keys.read(block)
                for (item, values), _ in block.logs:
                    self._log(item.name, values)

    def _log(self, name: str, values: tuple[object, ...]) -> None:
        """What buyers pay in a log is what sellers get in it: there is no fee."""
        if name == SKIPPED.name:
            _, account, problem = values
            self.problems[str(account)] = int(str(problem))
        elif name == SETTLED.name:
            _, _, paid, buyers, sellers = values
            assert isinstance(buyers, bytes)
            told_buyers = paid_buyers(buyers)
            for told in told_buyers:
                signed = self.of(told.account).is_signed
                expect(signed == (told.authority != ATTESTED), "settled_on_the_word_that_was_given")
            owed = sum(told.paid for told in told_buyers)
            expect(paid == owed == self._credited(sellers), "sellers_get_what_buyers_pay")
        elif name == "EpochBumped":
            self._ended.add(str(values[0]))
        elif name == EXECUTED.name:
            account, _, paid, sellers = values
            self.executed.add(str(account))
            self.claimed.add(str(account))
            expect(paid == self._credited(sellers), "sellers_get_what_buyers_pay")

    def _credited(self, packed: object) -> int:
        assert isinstance(packed, bytes)
        told = paid_sellers(packed)
        for seller in told:
            earned = self._earned.get(seller.account, 0)
            self._earned[seller.account] = earned - seller.credited
        return sum(seller.credited for seller in told)

    def applied(self, number: int) -> None:
        """As of a final block: the ledger took what the feed says, and what was signed."""
        assert self.chain is not None
        ledger = self.chain.blocks[number].ledger
        for account, spending in self._accounts.items():
            spent = ledger.spent.get(account, 0)
            facts = {"account": account, "spent": spent}
            expect(spent >= spending.spent, "counters_never_fall", **facts)
            expect(spent == spending.moved, "book_has_what_was_taken", **facts)
            most = max(spending.signed, default=0) + UNCOVERED_CAP
            expect(spent <= most, "p2_nobody_pays_unsigned", **facts)
            spending.spent = spent
            spending.uncovered = ledger.uncovered.get(account, 0)
        unknown = ledger.spent.keys() - self._accounts.keys()
        expect(not unknown, "book_has_what_was_taken", accounts=unknown)
        wrong = {seller: off for seller, off in self._earned.items() if off}
        expect(not wrong, "sellers_get_what_buyers_pay", off=wrong)
        self.blocks = number

    def unfinished(self) -> str:
        """A receipt that nothing became of, or a claim that nobody paid."""
        for account, spending in self._accounts.items():
            if spending.receipt is not None or spending.under_way or spending.waiting:
                return f"what {account} owes"
        return ""

    def _buyer(self, name: str) -> str:
        return self._papers[self._fills[name].intent].document.account

    def _seller(self, name: str) -> str:
        return self._papers[self._fills[name].offer].document.account


def _reach(fill: Fill) -> int:
    return fill.tick * (fill.served + fill.in_flight) // TICK_UNITS
