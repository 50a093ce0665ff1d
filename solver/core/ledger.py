"""Double entry in two phases: what may have to be paid is held, then posted or released.

One ledger keeps every asset: USDC, credits, and the units of each offer's capacity. An
account is (owner, asset). Posting moves an amount from one account to another, so all
accounts of an asset sum to zero; a hold is the payer's alone until then. Owners that start
with "@" stand for the world outside (the chain, an issuance, supply) and may go below zero;
nobody else may, except where the chain says that money has already left (`forced`). Who
holds something keeps the amount; `invariant.pending_is_held` adds them up.
"""

from typing import Final

from mypy_extensions import mypyc_attr

from solver.core.check import violate

CHAIN: Final = "@chain"
ISSUANCE: Final = "@issuance"
SUPPLY: Final = "@supply"
SERVED: Final = "@served"
LAPSED: Final = "@lapsed"

Sums = tuple[int, int, int]
"""Debits and credits posted, debits pending."""


@mypyc_attr(acyclic=True)
class Balance:
    """Running sums of one account; they only count what really moved."""

    __slots__ = (
        "asset",
        "credits_posted",
        "debits_pending",
        "debits_posted",
        "outside",
        "owner",
    )

    def __init__(self, owner: str, asset: str, *, outside: bool = False) -> None:
        self.owner = owner
        self.outside = outside
        """Whether it stands for the world outside, and may go below zero."""
        self.asset = asset
        self.debits_posted = 0
        self.credits_posted = 0
        self.debits_pending = 0

    @property
    def total(self) -> int:
        """What the account owns, held parts included."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> int:
        """What a new hold or transfer may take."""
        return self.credits_posted - self.debits_posted - self.debits_pending

    def sums(self) -> Sums:
        """All three, for sums over accounts and for the state's snapshot."""
        return (self.debits_posted, self.credits_posted, self.debits_pending)


def transfer(debit: Balance, credit: Balance, amount: int, *, forced: bool = False) -> None:
    """Move `amount` at once. `forced` records what the chain already did."""
    if amount < 0:
        violate("transfer_not_negative", amount=amount)
    if not debit.outside and not forced:
        _check_covered(debit, amount)
    debit.debits_posted += amount
    credit.credits_posted += amount


def hold(debit: Balance, amount: int) -> None:
    """Open a hold. Callers check `available` first; here a shortfall is a Violation."""
    pending = debit.debits_pending + amount
    if amount < 0:
        violate("hold_not_negative", amount=amount)
    if pending > debit.credits_posted - debit.debits_posted:
        _check_covered(debit, amount)
    debit.debits_pending = pending


def release(debit: Balance, amount: int) -> None:
    """Give back `amount` of what is held."""
    if not 0 <= amount <= debit.debits_pending:
        violate("release_within_hold", debit=debit.owner, amount=amount)
    debit.debits_pending -= amount


def post(debit: Balance, credit: Balance, held: int, amount: int) -> None:
    """Carry out `amount` of what is held and release the rest: the hold is over."""
    if not 0 <= amount <= held:
        violate("post_within_hold", debit=debit.owner, amount=amount)
    release(debit, held)
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
            outside = owner.startswith("@")
            balance = self._balances[key] = Balance(owner, asset, outside=outside)
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


def _check_covered(debit: Balance, amount: int) -> None:
    available = debit.available
    if amount > available and amount and not debit.outside:
        violate("never_overdrawn", owner=debit.owner, available=available, amount=amount)
