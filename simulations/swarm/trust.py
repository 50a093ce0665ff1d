"""Whom a market may serve how far: an outsider's count of what could still be taken back."""

from typing import Final

from simulations.swarm.finding import expect
from simulations.swarm.paper import TICK_UNITS, Fill
from solver.core.event import TrustChanged

UNSETTLED_MAX: Final = 6_000
"""Little enough that buyers in these worlds meet it."""


class Trusts:
    """Fills that session keys bought for USDC and that are not final, by account."""

    def __init__(self) -> None:
        self._fills: dict[str, dict[str, Fill]] = {}
        self._told: dict[str, TrustChanged] = {}

    def bought(self, account: str, name: str, fill: Fill) -> None:
        """A session key bought this."""
        self._fills.setdefault(account, {})[name] = fill

    def over(self, account: str, name: str) -> None:
        """It is paid, or was refused."""
        self._fills.get(account, {}).pop(name, None)

    def changed(self, _: int, event: TrustChanged) -> None:
        """The market bars an account, or the account goes on: in turns, as they follow on chain."""
        before = self._told.get(event.account)
        barred, refusals = (False, 0) if before is None else (before.barred, before.refusals)
        expect(event.barred != barred, "trust_changes", account=event.account)
        expect(event.refusals == refusals + event.barred, "refusals_are_counted")
        self._told[event.account] = event

    def served(self, account: str, name: str) -> None:
        """A call has started: it is within what its account is trusted with."""
        fills = self._fills.get(account, {})
        if name not in fills:
            return
        told = self._told.get(account)
        expect(told is None or not told.barred, "the_barred_are_not_served", account=account)
        unsettled = sum(_reach(fill) for fill in fills.values())
        most = UNSETTLED_MAX >> (0 if told is None else told.refusals)
        expect(unsettled <= most, "unsettled_is_bounded", account=account, atoms=unsettled)


def _reach(fill: Fill) -> int:
    return fill.payment if fill.closed else fill.tick * (fill.served + fill.in_flight) // TICK_UNITS
