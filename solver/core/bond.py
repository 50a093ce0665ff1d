"""What solvers stand for with money: bonds on chain, and what open awards can still cost them.

A winner that fills from offers of its own pledges the most that its award can cost it. Of each
lease of such an offer, what faded by its fault (as `conduct` counts) takes surplus away. What is
missing then is what others could have had and nobody got:

    missing = reference − (score − faded surplus), or nothing where that is negative
    penalty = min(penalty_max, ⌈missing⌉ atoms)

It goes to the buyers of what faded, by its surplus, and none gets more than what faded costs at
its price. An award that pays nothing is not pledged for: others could have done as well.
"""

from typing import Final

import msgspec

from intents.document import Offer
from intents.reject import Reject, RejectCode, reject
from intents.rounding import mul_div_ceil, mul_div_floor, payment_at

ATOM: Final = 10**6
"""Micro-atoms."""
SHARES_MAX: Final = 64
"""Buyers that one penalty pays, as of the contract; those whose fills lost most."""
PERCENT: Final = 100


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a bid needs: a bond of `bond_min` atoms beyond what the solver's exposure asks for.

    Exposure counts `exposure_percent` of each penalty that can still come: `penalty_max` atoms
    an award at most. Bonds are paid in at `contract`. With a `bond_min` of 0 the market is open
    and nobody pays penalties.
    """

    bond_min: int = 0
    exposure_percent: int = PERCENT
    penalty_max: int = 0
    contract: str = ""

    @property
    def is_on(self) -> bool:
        """Whether bids need a bond."""
        return self.bond_min > 0

    @property
    def is_sound(self) -> bool:
        """Whether who may bid has the bond for what it can win."""
        if not self.bond_min:
            return self.penalty_max >= 0
        factor = self.exposure_percent
        covered = PERCENT * self.bond_min >= factor * self.penalty_max
        return covered and factor >= PERCENT and self.penalty_max > 0


class Bond(msgspec.Struct, kw_only=True):
    """Atoms that the chain holds for a solver; `withdrawing` of them are asked back."""

    amount: int = 0
    withdrawing: int = 0
    paid: int = 0
    """Penalties, in all."""

    @property
    def standing(self) -> int:
        """What stands for new bids."""
        return max(0, self.amount - self.withdrawing)


class Pledged(msgspec.Struct, kw_only=True):
    """A fill of an award from an offer of its solver's own; `surplus` is micro-atoms a unit."""

    units: int
    surplus: int
    faded: int = 0
    offer: Offer | None = None
    """What it was filled from, once something of it faded; so is its signature."""
    signature: str = ""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Atoms for the buyer of a fill, by its place in the award, for units that faded."""

    place: int
    faded: int
    atoms: int
    offer: Offer
    signature: str


class Pledge(msgspec.Struct, kw_only=True):
    """What an award can still cost its solver: `penalty_max` atoms, until its leases are over."""

    auction: int
    solver: str
    deadline_block: int
    reward: int
    """Of the whole award, in micro-atoms."""
    penalty_max: int
    fills: dict[int, Pledged] = {}
    open: int = 0
    """Fills whose leases are not closed."""
    shares: tuple[Share, ...] = ()
    """Who is to be paid, once that is known: the pledge waits for the chain."""

    @property
    def penalty(self) -> int:
        """Atoms that are due."""
        return sum(share.atoms for share in self.shares)


class Bonds(msgspec.Struct, kw_only=True):
    """Of all solvers: bonds by account, pledges by award id, oldest first."""

    rule: Rule = Rule()
    by_solver: dict[str, Bond] = {}
    pledges: dict[str, Pledge] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody ever had a bond, and no bid needs one."""
        return not self.by_solver and not self.pledges and not self.rule.is_on

    def bond(self, solver: str) -> Bond:
        """A solver's, made on first use."""
        bond = self.by_solver.get(solver)
        if bond is None:
            bond = self.by_solver[solver] = Bond()
        return bond

    def exposure(self, solver: str, auctions: int) -> int:
        """Atoms that its open awards, and bids in so many auctions, ask for."""
        penalties = auctions * self.rule.penalty_max
        penalties += sum([p.penalty_max for p in self.pledges.values() if p.solver == solver])
        return mul_div_ceil(penalties, self.rule.exposure_percent, PERCENT)

    def fault(self, solver: str, auctions: int) -> Reject | None:
        """Whether a solver that bids in so many other auctions may bid in one more.

        Rejects: bond_missing, bond_too_small.
        """
        if not self.rule.is_on:
            return None
        bond = self.by_solver.get(solver)
        if bond is None or not bond.standing:
            return reject(RejectCode.BOND_MISSING, f"no bond stands for {solver}")
        exposure = self.exposure(solver, auctions)
        if bond.standing - exposure < self.rule.bond_min:
            return reject(
                RejectCode.BOND_TOO_SMALL,
                f"{bond.standing} atoms stand, exposure asks for {exposure}, and a bid for"
                f" {self.rule.bond_min}",
            )
        return None


def penalty_of(missing: int, penalty_max: int) -> int:
    """Atoms for micro-atoms that are missing: rounded up, for the users, within the cap."""
    return min(penalty_max, mul_div_ceil(max(0, missing), 1, ATOM))


def shares_of(pledge: Pledge, ticks: dict[int, int]) -> tuple[Share, ...]:
    """Who is paid for what faded of an award that is over, by ascending place.

    `ticks` are the prices of its fills, by place. Shares are rounded down, and what that leaves
    goes atom by atom to the first; none is above what faded costs (floor, as the contract has it).
    """
    faded = {place: one.faded * one.surplus for place, one in pledge.fills.items() if one.faded}
    penalty = penalty_of(sum(faded.values()) - pledge.reward, pledge.penalty_max)
    if not penalty:
        return ()
    chosen = sorted(faded, key=lambda place: (-faded[place], place))[:SHARES_MAX]
    total = sum(faded[place] for place in chosen)
    parts = {place: mul_div_floor(penalty, faded[place], total) for place in sorted(chosen)}
    left = penalty - sum(parts.values())
    shares: list[Share] = []
    for number, (place, part) in enumerate(parts.items()):
        one = pledge.fills[place]
        atoms = min(part + (number < left), payment_at(ticks[place], one.faded))
        if atoms and one.offer is not None:
            shares.append(
                Share(
                    place=place,
                    faded=one.faded,
                    atoms=atoms,
                    offer=one.offer,
                    signature=one.signature,
                )
            )
    return tuple(shares)
