"""Auctions drawn by a seed: what tests and the benchmark run on.

Buckets have lognormal values. A solver is so efficient (70 to 100 %), and gains so much
from taking buckets together. Each of its bids takes one to four of them.
"""

from random import Random
from typing import Final

import msgspec

from solver.core.bid import Bid

BUNDLE_MAX: Final = 4
MICRO_ATOMS: Final = 10**12
"""A bucket of median value: one USDC."""
BIDS_EACH: Final = 3


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """How large an auction is, and how much bundles gain."""

    buckets: int
    bids: int
    synergy: float = 0.3
    bundle_max: int = BUNDLE_MAX
    unit: int = MICRO_ATOMS


SMALL: Final = Scenario(buckets=8, bids=24)
LARGE: Final = Scenario(buckets=200, bids=300)
LARGEST: Final = Scenario(buckets=200, bids=1_000)


def seeded(seed: object) -> Random:
    """What one seed draws."""
    return Random(str(seed))  # noqa: S311  nothing here is a secret


def draw_bids(scenario: Scenario, seed: int) -> list[Bid]:
    """The bids of one auction; a bundle's surplus is its buckets' by their values."""
    random = seeded(f"bids {seed}")
    values = [random.lognormvariate(0, 1) for _ in range(scenario.buckets)]
    bids: list[Bid] = []
    while len(bids) < scenario.bids:
        efficiency, gain = random.uniform(0.7, 1), random.uniform(0, scenario.synergy)
        solver = f"solver-{len(bids) // BIDS_EACH}"
        for _ in range(min(BIDS_EACH, scenario.bids - len(bids))):
            size = random.randint(1, min(scenario.bundle_max, scenario.buckets))
            factor = efficiency * (1 + gain * random.random() * (size > 1))
            surplus = {
                bucket: int(values[bucket] * factor * scenario.unit)
                for bucket in random.sample(range(scenario.buckets), size)
            }
            bids.append(Bid(id=f"bid-{len(bids)}", solver=solver, surplus=surplus))
    return bids


def draw_seed(seed: int) -> bytes:
    """An auction's seed of ties."""
    return seeded(f"ties {seed}").randbytes(32)
