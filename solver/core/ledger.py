"""Double entry with two phases: a transfer is posted at once, or held and then posted or released.

One ledger keeps every asset: USDC, credits, and the units of each offer's capacity. An
account is (owner, asset). Owners that start with "@" stand for the world outside (the
chain, an issuance, supply) and may go below zero; nobody else may, except where the
chain says that money has already left (`forced`). Who holds something keeps the amount;
`invariant.pending_is_held` adds them up.
"""

from typing import Final

from mypy_extensions import mypyc_attr

from solver.core.check import violate

CHAIN: Final = "@chain"
ISSUANCE: Final = "@issuance"
CLEARING: Final = "@clearing"
SUPPLY: Final = "@supply"
SERVED: Final = "@served"
LAPSED: Final = "@lapsed"

Sums = tuple[int, int, int, int]
"""Debits and credits posted, debits and credits pending."""


@mypyc_attr(acyclic=True)
class Balance:
    """Running sums of one account; all four only count what really moved."""

    __slots__ = (
        "asset",
        "credits_pending",
        "credits_posted",
        "debits_pending",
        "debits_posted",
        "owner",
    )

    def __init__(self, owner: str, asset: str) -> None:
        self.owner = owner
        self.asset = asset
        self.debits_posted = 0
        self.credits_posted = 0
        self.debits_pending = 0
        self.credits_pending = 0

    @property
    def total(self) -> int:
        """What the account owns, held parts included."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> int:
        """What a new hold or transfer may take."""
        return self.credits_posted - self.debits_posted - self.debits_pending

    def sums(self) -> Sums:
        """All four, for sums over accounts and for the state's image."""
        return (self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending)


def transfer(debit: Balance, credit: Balance, amount: int, *, forced: bool = False) -> None:
    """Move `amount` at once. `forced` records what the chain already did."""
    if amount < 0:
        violate("transfer_not_negative", amount=amount)
    if amount > debit.credits_posted - debit.debits_posted - debit.debits_pending:
        _check_covered(debit, amount, forced=forced)
    debit.debits_posted += amount
    credit.credits_posted += amount


def hold(debit: Balance, credit: Balance, amount: int) -> None:
    """Open a pending transfer. Callers check `available` first; here a shortfall is a Violation."""
    if amount < 0:
        violate("hold_not_negative", amount=amount)
    if amount > debit.credits_posted - debit.debits_posted - debit.debits_pending:
        _check_covered(debit, amount)
    debit.debits_pending += amount
    credit.credits_pending += amount


def release(debit: Balance, credit: Balance, amount: int) -> None:
    """Give back `amount` of what is held between the two."""
    if not 0 <= amount <= debit.debits_pending or amount > credit.credits_pending:
        violate("release_within_hold", debit=debit.owner, amount=amount)
    debit.debits_pending -= amount
    credit.credits_pending -= amount


def post(debit: Balance, credit: Balance, held: int, amount: int) -> None:
    """Carry out `amount` of what is held and release the rest: the hold is over."""
    if not 0 <= amount <= held:
        violate("post_within_hold", debit=debit.owner, amount=amount)
    release(debit, credit, held)
    debit.debits_posted += amount
    credit.credits_posted += amount


class Ledger:
    """Every account that was ever used, but for offers' units: an offer keeps that of its own."""

    def __init__(self) -> None:
        self._balances: dict[tuple[str, str], Balance] = {}

    def account(self, owner: str, asset: str) -> Balance:
        """The account, made on first use; it stays the same object."""
        key = (owner, asset)
        balance = self._balances.get(key)
        if balance is None:
            balance = self._balances[key] = Balance(owner, asset)
        return balance

    def balance(self, owner: str, asset: str) -> Balance:
        """The account to read; for one never used, a fresh one of nothing that is not kept."""
        balance = self._balances.get((owner, asset))
        return Balance(owner, asset) if balance is None else balance

    def available(self, owner: str, asset: str) -> int:
        """Shorthand for `balance(owner, asset).available`."""
        return self.balance(owner, asset).available

    def balances(self) -> list[Balance]:
        """Every account, in order of first use."""
        return list(self._balances.values())

    def accounts(self) -> list[tuple[str, str]]:
        """Every (owner, asset), sorted."""
        return sorted(self._balances)


def _check_covered(debit: Balance, amount: int, *, forced: bool = False) -> None:
    """The rare case: more than is available. The world outside may, and what the chain did."""
    if amount and not forced and not debit.owner.startswith("@"):
        violate("never_overdrawn", owner=debit.owner, available=debit.available, amount=amount)
