"""Double entry with two phases: a transfer is posted at once, or held and then posted or voided.

One ledger keeps every asset: USDC, credits, and the units of each offer's capacity. An
account is (owner, asset). Owners that start with "@" stand for the world outside (the
chain, an issuance, supply) and may go below zero; nobody else may, except where the
chain says that money has already left (`forced`).
"""

from typing import Final

import msgspec

from solver.core.check import check

CHAIN: Final = "@chain"
ISSUANCE: Final = "@issuance"
CLEARING: Final = "@clearing"
SUPPLY: Final = "@supply"
SERVED: Final = "@served"
LAPSED: Final = "@lapsed"


class Balance(msgspec.Struct, kw_only=True):
    """Running sums of one account; all four only count what really moved."""

    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    @property
    def total(self) -> int:
        """What the account owns, held parts included."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> int:
        """What a new hold or transfer may take."""
        return self.total - self.debits_pending


class Hold(msgspec.Struct, kw_only=True):
    """A pending transfer. `amount` is what is still held."""

    debit: str
    credit: str
    asset: str
    amount: int


_NOTHING: Final = Balance()


class Ledger:
    """Balances and holds. Callers check `available` first; here a shortfall is a Violation."""

    def __init__(self) -> None:
        self._balances: dict[tuple[str, str], Balance] = {}
        self._holds: dict[str, Hold] = {}

    def balance(self, owner: str, asset: str) -> Balance:
        """The account's balance; a copy of nothing for an account never used."""
        return self._balances.get((owner, asset), _NOTHING)

    def available(self, owner: str, asset: str) -> int:
        """Shorthand for `balance(owner, asset).available`."""
        return self.balance(owner, asset).available

    def held(self, hold: str) -> int:
        """Atoms still held under this id; 0 when it was posted, voided or never made."""
        entry = self._holds.get(hold)
        return entry.amount if entry else 0

    def transfer(
        self, debit: str, credit: str, asset: str, amount: int, *, forced: bool = False
    ) -> None:
        """Move `amount` at once. `forced` records what the chain already did."""
        check(amount >= 0, "transfer_not_negative", amount=amount)
        source = self._account(debit, asset)
        if not forced:
            self._check_covered(debit, source, amount)
        source.debits_posted += amount
        self._account(credit, asset).credits_posted += amount

    def hold(self, hold: str, debit: str, credit: str, asset: str, amount: int) -> None:
        """Open a pending transfer under a new id."""
        check(amount >= 0, "hold_not_negative", amount=amount)
        check(hold not in self._holds, "hold_id_new", hold=hold)
        source = self._account(debit, asset)
        self._check_covered(debit, source, amount)
        source.debits_pending += amount
        self._account(credit, asset).credits_pending += amount
        self._holds[hold] = Hold(debit=debit, credit=credit, asset=asset, amount=amount)

    def reduce(self, hold: str, amount: int) -> None:
        """Release `amount` of what is held; the hold stays open with the rest."""
        entry = self._holds[hold]
        check(0 <= amount <= entry.amount, "reduce_within_hold", hold=hold, amount=amount)
        self._unhold(entry, amount)
        entry.amount -= amount

    def post(self, hold: str, amount: int) -> None:
        """Carry out `amount` of what is held, release the rest, end the hold."""
        entry = self._holds.pop(hold)
        check(0 <= amount <= entry.amount, "post_within_hold", hold=hold, amount=amount)
        self._unhold(entry, entry.amount)
        self._account(entry.debit, entry.asset).debits_posted += amount
        self._account(entry.credit, entry.asset).credits_posted += amount

    def void(self, hold: str) -> None:
        """Release all that is held, end the hold."""
        self.post(hold, 0)

    def dump(self) -> object:
        """Everything, in an order that does not depend on history."""
        return (
            [(key, msgspec.structs.astuple(self._balances[key])) for key in sorted(self._balances)],
            [(key, msgspec.structs.astuple(self._holds[key])) for key in sorted(self._holds)],
        )

    def totals(self) -> dict[str, tuple[int, int, int, int]]:
        """Per asset: debits and credits posted, debits and credits pending."""
        sums: dict[str, tuple[int, int, int, int]] = {}
        for (_, asset), entry in self._balances.items():
            old = sums.get(asset, (0, 0, 0, 0))
            new = msgspec.structs.astuple(entry)
            sums[asset] = (old[0] + new[0], old[1] + new[1], old[2] + new[2], old[3] + new[3])
        return sums

    def accounts(self) -> list[tuple[str, str]]:
        """Every (owner, asset) that was ever used, sorted."""
        return sorted(self._balances)

    def holds(self) -> dict[str, Hold]:
        """The open holds; for invariants, not to be changed."""
        return self._holds

    def _unhold(self, entry: Hold, amount: int) -> None:
        self._account(entry.debit, entry.asset).debits_pending -= amount
        self._account(entry.credit, entry.asset).credits_pending -= amount

    def _account(self, owner: str, asset: str) -> Balance:
        key = (owner, asset)
        balance = self._balances.get(key)
        if balance is None:
            balance = self._balances[key] = Balance()
        return balance

    @staticmethod
    def _check_covered(owner: str, source: Balance, amount: int) -> None:
        check(
            not amount or owner.startswith("@") or source.available >= amount,
            "never_overdrawn",
            owner=owner,
            available=source.available,
            amount=amount,
        )
