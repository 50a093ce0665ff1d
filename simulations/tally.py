"""A second set of books, kept from events alone and held against the market's ledger.

The ledger checks itself by double entry. A fault that keeps both sides equal, or that
touches sums nobody looks at, is found here: each account must own exactly what the
events say that it was given, paid and was paid.
"""

from collections.abc import Iterable

from solver.core.check import check
from solver.core.event import Event, Filled, IntentAccepted, PaymentSettled
from solver.core.ledger import Ledger


class Tally:
    """What each account owns of one asset, and how much came in for which reason."""

    def __init__(self, ledger: Ledger, asset: str, accounts: Iterable[str]) -> None:
        self.total = dict.fromkeys(accounts, 0)
        self.sources: dict[str, int] = {}
        self._ledger = ledger
        self._asset = asset

    @property
    def money(self) -> int:
        """Everything that ever came in; payments move it and no more."""
        return sum(self.sources.values())

    def came_in(self, account: str, amount: int, reason: str) -> None:
        """Money is about to enter from outside: to be issued, or deposited on chain."""
        self.total[account] += amount
        self.sources[reason] = self.sources.get(reason, 0) + amount

    def observe(self, events: Iterable[Event]) -> None:
        """Follow one command's events; every account they name must then agree."""
        touched: list[str] = []
        for event in events:
            match event:
                case PaymentSettled():
                    self.total[event.buyer] -= event.payment
                    self.total[event.seller] += event.payment
                    touched += (event.buyer, event.seller)
                case Filled():
                    touched += (event.buyer, event.seller)
                case IntentAccepted():
                    touched.append(event.account)
                case _:
                    pass
        for account in touched:
            self.hold_to(account)

    def hold_to(self, account: str) -> None:
        """Raise a Violation unless ledger and tally agree on an account."""
        owned = self._ledger.balance(account, self._asset).total
        expected = self.total[account]
        check(owned == expected, "tally_agrees", account=account, owned=owned, expected=expected)

    def reconcile(self) -> None:
        """Hold every account, and the sum of them all, to the ledger."""
        for account in self.total:
            self.hold_to(account)
        check(self.residual() == 0, "nothing_created_or_lost", residual=self.residual())

    def residual(self) -> int:
        """Atoms that exist without a source, or have a source and are gone: must be 0."""
        ledger = self._ledger
        owned = sum(ledger.balance(account, self._asset).total for account in self.total)
        return owned - self.money
