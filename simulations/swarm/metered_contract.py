"""Metered settlement as the contract does it, written again from Metered.sol and Claims.sol.

`Sums` are the plain rules: who may be taken how much on whose word. `MeteredLedger` reads what
a batch or a claim carries and knows what buyers really signed. Nothing is taken off for a fee:
what buyers pay is what sellers get.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final

import msgspec

from contracts.bindings import SETTLEMENT
from intents.bound import ADDRESS_ZERO
from intents.document import SpendReceipt
from intents.policy import Permission
from intents.receipt import LINES_MAX, ReceiptLine, lines_hash, packed_lines
from simulations.swarm.calldata import Record, Revert, unpack_metered
from simulations.swarm.registry import Registry
from simulations.swarm.session_contract import Log, SessionLedger

UNCOVERED_CAP: Final = 3_000
"""Little enough that buyers in these worlds meet it."""
CLAIM_DELAY_S: Final = 20
"""Shorter than the contract's, which is its exit delay: so that claims are paid within a world."""
ROOTS: Final = 4_096
PLAIN, CONTRACT, SESSION, ATTESTED = 0, 1, 2, 3
"""Whose word a record or a document rests on."""

Judge = Callable[[int, int], int]
"""What is wrong with the receipt that goes from one sum to another; 0 if nothing is."""

SETTLE_METERED: Final = SETTLEMENT.function("settleMetered")
SETTLED: Final = SETTLEMENT.event("MeteredSettled")
SKIPPED: Final = SETTLEMENT.event("RecordSkipped")
CLAIMED: Final = SETTLEMENT.event("ReceiptClaimed")
EXECUTED: Final = SETTLEMENT.event("ClaimExecuted")


class RecordProblem:
    """RecordProblem of IMetered, by number."""

    LINES_INVALID: Final = 1
    INSUFFICIENT: Final = 2
    CLAIM_PENDING: Final = 4
    UNCOVERED_EXCEEDED: Final = 5
    EPOCH_ENDED: Final = 6
    BAD_SIGNATURE: Final = 7
    SESSION_REFUSED: Final = 8


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt that was posted and is not paid yet."""

    lines: tuple[ReceiptLine, ...]
    base: int
    spent: int
    executable_at: int
    signer: str
    """Whom the ledger charged; no address for a contract's."""


class Sums:
    """What each account has, what was ever taken of it, and how much of that on no word of its."""

    def __init__(self, uncovered_cap: int) -> None:
        self._uncovered_cap = uncovered_cap
        self.balances: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.uncovered: dict[str, int] = {}
        self.claims: dict[str, Claim] = {}

    def take(self, account: str, amount: int, judge: Judge | None) -> int:
        """Take a record's sum of its buyer; what is wrong with that, or 0.

        `judge` knows its receipt; None: there is only the operator's word.
        """
        base = self.spent.get(account, 0)
        if not amount:
            return RecordProblem.LINES_INVALID
        if amount > self.balances.get(account, 0):
            return RecordProblem.INSUFFICIENT
        if judge is None:
            return self._take_attested(account, base, amount)
        problem = judge(base, base + amount)
        if not problem:
            self._take_signed(account, base, amount)
        return problem

    def credit(self, lines: Iterable[ReceiptLine]) -> None:
        """Sellers get what was taken: after all of a batch, so that nobody spends it there."""
        for line in lines:
            self.balances[line.seller] = self.balances.get(line.seller, 0) + line.amount

    def larger(self, account: str, receipt: Claim) -> int:
        """When a receipt that is claimed is paid: a larger one keeps the time of what it replaces.

        Raises Revert if it can replace nothing.
        """
        if receipt.base != self.spent.get(account, 0):
            raise Revert(f"ClaimBaseInvalid({receipt.base})")
        old = self.claims.get(account)
        if old is not None:
            if receipt.spent <= old.spent:
                raise Revert(f"ClaimNotLarger({old.spent})")
            return old.executable_at
        return receipt.executable_at

    def post(self, account: str, receipt: Claim) -> int:
        """A receipt is claimed; from when on it is paid. Raises Revert."""
        executable_at = self.larger(account, receipt)
        self.claims[account] = msgspec.structs.replace(receipt, executable_at=executable_at)
        return executable_at

    def pay_claim(self, account: str) -> tuple[ReceiptLine, ...]:
        """A claim is paid; of what is too little each seller gets its share, rounded down."""
        claim = self.claims[account]
        owed = claim.spent - claim.base
        available = min(owed, self.balances.get(account, 0))
        lines = tuple(
            ReceiptLine(seller=line.seller, amount=line.amount * available // owed)
            for line in claim.lines
        )
        self._take_signed(account, claim.base, sum(line.amount for line in lines))
        self.credit(lines)
        return lines

    def claimed(self, account: str) -> int:
        """What a claim keeps from leaving."""
        claim = self.claims.get(account)
        return 0 if claim is None else claim.spent - claim.base

    def _take_signed(self, account: str, base: int, amount: int) -> None:
        """Whatever claim there was has another base now."""
        self.balances[account] = self.balances.get(account, 0) - amount
        self.spent[account] = base + amount
        self.uncovered[account] = 0
        self.claims.pop(account, None)

    def _take_attested(self, account: str, base: int, amount: int) -> int:
        if account in self.claims:
            return RecordProblem.CLAIM_PENDING
        uncovered = self.uncovered.get(account, 0) + amount
        if uncovered > self._uncovered_cap:
            return RecordProblem.UNCOVERED_EXCEEDED
        self.balances[account] -= amount
        self.spent[account], self.uncovered[account] = base + amount, uncovered
        return 0


class MeteredLedger(Sums, SessionLedger):
    """The same with what is signed, told and called."""

    def __init__(self, registry: Registry) -> None:
        Sums.__init__(self, UNCOVERED_CAP)
        SessionLedger.__init__(self)
        self._registry = registry
        self.epochs: dict[str, tuple[int, int]] = {}
        self.roots: dict[tuple[int, str], int] = {}
        """When each was settled, by number and root."""
        self.books: dict[str, tuple[str, ...]] = {}
        """What address books list, by their addresses."""

    # ---------------------------------------------------------------- batches

    def settle_metered(self, inputs: bytes, now_s: int) -> list[Log]:
        """Settle a metered batch. Raises Revert."""
        number, raw_root, packed = SETTLE_METERED.decode_inputs(inputs)
        if number >= ROOTS or any(number == known for known, _ in self.roots):
            raise Revert(f"MeteredNumberInvalid({number})")
        sellers, records = unpack_metered(packed, self.books)
        logs: list[Log] = []
        credits_ = dict.fromkeys(sellers, 0)
        told = b""
        for record in records:
            problem = self._settle_record(record, now_s)
            if problem:
                logs.append((SKIPPED, (number, record.account, problem)))
                continue
            told += self._told(record)
            for line in record.lines:
                credits_[line.seller] += line.amount
        lines = [ReceiptLine(seller=seller, amount=sum_) for seller, sum_ in credits_.items()]
        lines = [line for line in lines if line.amount]
        self.credit(lines)
        self.roots[number, "0x" + raw_root.hex()] = now_s
        paid = sum(credits_.values())
        return [*logs, (SETTLED, (number, raw_root, paid, told, packed_lines(lines)))]

    def _settle_record(self, record: Record, now_s: int) -> int:
        amount = sum(line.amount for line in record.lines)
        if record.account in {line.seller for line in record.lines}:
            return RecordProblem.LINES_INVALID
        if record.authority == ATTESTED:
            return self.take(record.account, amount, None)

        def judge(base: int, spent: int) -> int:
            epoch, ends_s = self.epochs.get(record.account, (0, 0))
            if record.is_epoch_before and not (epoch and now_s < ends_s):
                return RecordProblem.EPOCH_ENDED
            receipt = SpendReceipt(
                account=record.account,
                epoch=epoch - record.is_epoch_before,
                base=base,
                spent=spent,
                lines=lines_hash(record.lines),
            )
            signer = self._registry.receipt_signer(receipt, record.signature)
            if record.authority == SESSION:
                charged = self._charge_receipt(record.account, signer, amount, now_s)
                return 0 if charged else RecordProblem.SESSION_REFUSED
            signed = self.is_bound(record.account, signer, record.authority)
            return 0 if signed else RecordProblem.BAD_SIGNATURE

        return self.take(record.account, amount, judge)

    def is_bound(self, account: str, signer: str, authority: int) -> bool:
        """Whether who signed is the account: its key, or whoever its contract answers for now."""
        speaker = self.owners.get(account, "") if authority == CONTRACT else account
        return signer == speaker != ""

    def accepts(self, account: str, digest: bytes, signature: str) -> bool:
        """What an account's contract answers about a signature (EIP-1271)."""
        signer = self._registry.signer_of_digest(digest, signature)
        return self.is_bound(account, signer, CONTRACT)

    def _charge_receipt(self, account: str, key: str, amount: int, now_s: int) -> bool:
        """What the key was charged for a claim that this replaces or settles, it is not again."""
        claim = self.claims.get(account)
        if claim is not None and claim.signer == key:
            amount = max(0, amount - (claim.spent - claim.base))
        return self.charge(account, key, Permission.RECEIPT, amount, now_s)

    def _told(self, record: Record) -> bytes:
        """What the event says of a record that was settled."""
        amount = sum(line.amount for line in record.lines)
        spent = self.spent[record.account].to_bytes(8, "big")
        address = bytes.fromhex(record.account[2:])
        return address + spent + amount.to_bytes(8, "big") + bytes([record.authority])

    # ---------------------------------------------------------------- claims

    def _claim(
        self,
        _: str,
        now_s: int,
        *,
        receipt: SpendReceipt,
        lines: tuple[ReceiptLine, ...],
        signature: str,
        authority: int,
    ) -> Iterator[Log]:
        """Somebody posts a buyer's receipt."""
        account = receipt.account
        epoch, ends_s = self.epochs.get(account, (0, 0))
        if receipt.epoch != epoch and not (receipt.epoch == epoch - 1 and now_s < ends_s):
            raise Revert("ClaimEpochEnded")
        self._check_lines(receipt, lines)
        signer = self._registry.receipt_signer(receipt, signature)
        claim = Claim(
            lines=lines,
            base=receipt.base,
            spent=receipt.spent,
            executable_at=now_s + CLAIM_DELAY_S,
            signer=ADDRESS_ZERO if authority == CONTRACT else signer,
        )
        self.larger(account, claim)
        amount = claim.spent - claim.base
        if authority == SESSION:
            signed = self._charge_receipt(account, signer, amount, now_s)
        else:
            signed = self.is_bound(account, signer, authority)
        if not signed:
            raise Revert("ClaimUnsigned")
        executable_at = self.post(account, claim)
        told = (account, claim.signer, claim.base, claim.spent, executable_at, packed_lines(lines))
        yield CLAIMED, told

    def _execute(self, _: str, now_s: int, *, buyer: str) -> Iterator[Log]:
        """Somebody has a claim paid."""
        claim = self.claims.get(buyer)
        if claim is None or now_s < claim.executable_at:
            raise Revert("ClaimEarly or ClaimMissing")
        lines = self.pay_claim(buyer)
        paid = sum(line.amount for line in lines)
        yield EXECUTED, (buyer, self.spent[buyer], paid, packed_lines(lines))

    @staticmethod
    def _check_lines(receipt: SpendReceipt, lines: tuple[ReceiptLine, ...]) -> None:
        sellers = [line.seller for line in lines]
        good = (
            0 < len(lines) <= LINES_MAX
            and lines_hash(lines) == receipt.lines
            and all(left < right for left, right in pairwise(sellers))
            and receipt.account not in sellers
            and receipt.base < receipt.spent
            and receipt.base + sum(line.amount for line in lines) == receipt.spent
        )
        if not good:
            raise Revert("ClaimLinesInvalid")
