"""A chain that only counts: deposits, and batches that it always accepts.

It keeps its own balances from nothing but deposits and batch lines, so that a run can be
held to promise P7: once every batch is final, book and chain agree to the atom.
"""

from collections.abc import Callable
from hashlib import blake2b

from solver.core.check import check
from solver.core.command import ApplyBlocks
from solver.core.event import BatchCut, BatchLine
from solver.core.fact import BatchSettled, Deposited, Fact, FillSettled

AccountOf = Callable[[str], str]
"""Whose document a digest is; a real chain reads it from the signed document."""


class CountingChain:
    """Blocks of one range at a time; what is sent is final in the next block mined."""

    def __init__(self, account_of: AccountOf) -> None:
        self.balances: dict[str, int] = {}
        self._account_of = account_of
        self._block = 0
        self._facts: list[Fact] = []

    def deposit(self, account: str, amount: int) -> None:
        """Put money in from outside."""
        self.balances[account] = self.balances.get(account, 0) + amount
        self._facts.append(Deposited(account=account, amount=amount))

    def settle(self, batch: BatchCut) -> None:
        """Pay every line of a batch."""
        for line in batch.lines:
            self._pay(line)
            self._facts.append(FillSettled(fill=line.fill, payment=line.payment))
        self._facts.append(BatchSettled(number=batch.number, digest=batch.digest))

    def mine(self, at_ms: int) -> ApplyBlocks:
        """The next block, with every fact since the last one."""
        self._block += 1
        facts, self._facts = tuple(self._facts), []
        block_hash = "0x" + blake2b(f"{self._block}:{facts}".encode(), digest_size=32).hexdigest()
        return ApplyBlocks(at_ms=at_ms, number=self._block, block_hash=block_hash, facts=facts)

    def _pay(self, line: BatchLine) -> None:
        buyer, seller = self._account_of(line.intent), self._account_of(line.offer)
        check(self.balances[buyer] >= line.payment, "chain_never_overdraws", account=buyer)
        self.balances[buyer] -= line.payment
        self.balances[seller] += line.payment
