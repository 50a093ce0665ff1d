"""Named scenarios: frozen parameters, and the variants that a report compares."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from simulations.economy import CREDIT_ATOMS, Issuance
from simulations.theory import Preference

AGENTS_MAX: Final = 10_000
ROUNDS_MAX: Final = 1_000_000
RESPONDERS_MAX: Final = 16


class Money(StrEnum):
    """What agents pay with."""

    CREDIT = "credit"
    USDC = "usdc"


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run. Two runs with equal parameters are equal to the byte."""

    variant: str
    issuance: Issuance
    money: Money = Money.CREDIT
    agents: int = 200
    rounds: int = 20_000
    """Requests; those after the last whole period are played and not reported."""
    seed: int = 1
    price_atoms: int = CREDIT_ATOMS
    threshold: int | None = None
    """Credits below which agents serve; None: they best-reply, see `AdaptiveThreshold`."""
    preference: Preference = Preference()
    memory_periods: int = 5
    responders: int = 2
    """Contributors whose offers are under way before they see that the request is filled."""
    failed_calls_per_thousand: int = 5
    settle_rounds: int = 50
    """Rounds between two batches for the chain; USDC only."""
    check_rounds: int = 2_000
    """Rounds between two checks of every invariant over the whole state."""

    def __post_init__(self) -> None:
        """Refuse parameters that no market could have."""
        for name, least, most in (
            ("agents", 2, AGENTS_MAX),
            ("rounds", 1, ROUNDS_MAX),
            ("responders", 1, RESPONDERS_MAX),
            ("price_atoms", 1, 10**12),
            ("failed_calls_per_thousand", 0, 1_000),
            ("settle_rounds", 1, ROUNDS_MAX),
            ("check_rounds", 1, ROUNDS_MAX),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {least} to {most}")
        if self.rounds < self.agents:
            raise ValueError("rounds is at least agents: a period has one round per agent")


def credits_variants(agents: int, rounds: int, seed: int) -> tuple[Parameters, ...]:
    """Is money issued for nothing harmful? The same market with and without uptime grants."""
    closed = Parameters(
        variant="closed",
        issuance=Issuance(starter_atoms=4 * CREDIT_ATOMS),
        agents=agents,
        rounds=rounds,
        seed=seed,
    )
    unmatched = msgspec.structs.replace(
        closed,
        variant="unmatched",
        issuance=Issuance(starter_atoms=4 * CREDIT_ATOMS, uptime_atoms=CREDIT_ATOMS // 10),
    )
    return closed, unmatched


def dollars_variants(agents: int, rounds: int, seed: int) -> tuple[Parameters, ...]:
    """Does it matter that a seller is paid late? Credits at once against USDC in batches."""
    closed = credits_variants(agents, rounds, seed)[0]
    settled = msgspec.structs.replace(closed, variant="settled", money=Money.USDC)
    return closed, settled


SCENARIOS: Final[dict[str, Callable[[int, int, int], tuple[Parameters, ...]]]] = {
    "credits": credits_variants,
    "dollars": dollars_variants,
}
