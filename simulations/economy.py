"""Who gets money when, and how many credits an agent wants: the economics of a scenario."""

from typing import Final

import msgspec

from simulations.theory import Odds, Preference, best_reply

CREDIT_ATOMS: Final = 10**6
"""One credit, and likewise one USDC."""
MEMORY_MAX: Final = 1_000


class Issuance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money that enters. A payment never mints, so `starter` alone is a closed loop."""

    starter_atoms: int
    """To each agent before the first round."""
    uptime_atoms: int = 0
    """To each agent in each period for merely being online: nothing is burned for it."""

    def __post_init__(self) -> None:
        """Refuse what is no issuance."""
        if self.starter_atoms < 1 or self.uptime_atoms < 0:
            raise ValueError("starter_atoms is at least 1, uptime_atoms at least 0")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What everyone can see of one period."""

    funded: int
    """Requests whose buyer could pay."""
    served: int
    willing_mean: float
    """Agents that stood ready to serve, on average over the period's rounds."""


class FixedThreshold:
    """Everyone serves below the same number of credits, for ever."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold

    def learn(self, period: Served) -> None:
        """Nothing."""


class AdaptiveThreshold:
    """Everyone best-replies, once a period, to how easily credits came and went.

    Starts from what is optimal at the starter grant. What is seen is averaged
    exponentially over about `memory` periods, or chance alone would move everyone.
    """

    def __init__(self, threshold: int, preference: Preference, memory: int) -> None:
        if not 1 <= memory <= MEMORY_MAX:
            raise ValueError(f"memory is 1 to {MEMORY_MAX} periods")
        self.threshold = threshold
        self._preference = preference
        self._weight = 1.0 / memory
        self._odds: Odds | None = None

    def learn(self, period: Served) -> None:
        """Take one more period into account and reply to it."""
        seen = _odds_in(period)
        old = self._odds or seen
        self._odds = Odds(
            earn=old.earn + self._weight * (seen.earn - old.earn),
            spend=old.spend + self._weight * (seen.spend - old.spend),
        )
        self.threshold = best_reply(self._odds, self._preference)


Threshold = FixedThreshold | AdaptiveThreshold


def _odds_in(period: Served) -> Odds:
    """Per agent; where nobody was willing, nobody sold, and nothing could be bought."""
    sold_each = period.served / period.willing_mean if period.willing_mean else 0.0
    return Odds(
        earn=sold_each,
        spend=period.served / period.funded if period.funded else 0.0,
    )
