"""The auditor's view of solvers' bonds: who may bid, what an award can cost, and what was taken.

From the feed and the chain's final blocks: what faded is counted from leases and keys, what
others could have had from what the auction said of its winners.
"""

from typing import Any, Final

import msgspec

from intents.document import Offer
from intents.rounding import mul_div_ceil
from simulations.swarm.bond_contract import (
    BOND_DELAY_S,
    DEPOSITED,
    PENALISED,
    PENALTY_MAX,
    REQUESTED,
    WITHDRAWN,
)
from simulations.swarm.chain import Chain
from simulations.swarm.finding import expect
from simulations.swarm.paper import Fill, Paper
from simulations.swarm.person import DEPLOYMENT
from solver.core.command import SetBonds
from solver.core.event import (
    AuctionClosed,
    BondChanged,
    Filled,
    LeaseMoved,
    Penalised,
    PenaltyDue,
    SolutionAccepted,
    Won,
)

BOND_MIN: Final = 3_000
BONDED: Final = SetBonds(
    bond_min=BOND_MIN, exposure_percent=150, penalty_max=PENALTY_MAX, contract=DEPLOYMENT.bonds
)
ATOM: Final = 10**6
"""Micro-atoms."""
Place = tuple[int, str]
"""An auction and a solver: an award."""


class Own(msgspec.Struct, kw_only=True):
    """What an award gave to an offer of its solver's own."""

    units: int
    surplus: int
    """Of a unit, in micro-atoms."""
    gone: int = 0
    """Units that its side is known to have failed at."""


class Pledge(msgspec.Struct, kw_only=True):
    """What a solver answers for."""

    reward: int
    """In micro-atoms."""
    own: dict[str, Own]
    is_alone: bool
    """Whether nobody else won in this auction; others may have won with its offers, too."""
    due: int | None = None
    """Atoms, once all is over."""
    paid: int | None = None


class Bonds:
    """Of all solvers."""

    def __init__(self, papers: dict[str, Paper], fills: dict[str, Fill]) -> None:
        self._papers = papers
        self._fills = fills
        self.chain: Chain | None = None
        self.is_on = False
        self._told: dict[str, BondChanged] = {}
        self._pledges: dict[Place, Pledge] = {}
        self._unsaid: dict[Place, Pledge] = {}
        """Those that are not over."""
        self._read = 0
        """The last block whose logs were added up."""
        self._held = 0
        """What all bonds hold by those."""
        self._leaves_s: dict[str, int] = {}
        """From when on what a solver asked back may leave."""

    # ---------------------------------------------------------------- who may bid

    def bid(self, event: SolutionAccepted) -> None:
        """Who bids in its own name stands for it with money that it has not asked back."""
        if self.is_on and event.solver.startswith("0x") and "/" not in event.solver:
            told = self._told.get(event.solver)
            stands = 0 if told is None else told.amount - told.withdrawing
            expect(stands >= BOND_MIN, "who_bids_has_a_bond", solver=event.solver, atoms=stands)

    def changed(self, _: int, event: BondChanged) -> None:
        """No bond is below zero."""
        expect(event.amount >= 0 <= event.withdrawing, "bond_not_below_zero", solver=event.solver)
        self._told[event.solver] = event

    # ---------------------------------------------------------------- what an award can cost

    def closed(self, event: AuctionClosed, cleared: list[Filled]) -> None:
        """Winners that are paid answer for what they filled from their own offers."""
        for won in event.winners if self.is_on else ():
            own = [fill for fill in cleared if fill.seller == won.solver and fill.charge]
            if own and event.asset == DEPLOYMENT.usdc:
                alone = len(event.winners) == 1
                pledge = self._pledge(won, own, alone=alone)
                place = (event.auction, won.solver)
                self._pledges[place] = self._unsaid[place] = pledge

    def _pledge(self, won: Won, own: list[Filled], *, alone: bool) -> Pledge:
        return Pledge(
            reward=int(won.score) - int(won.reference),
            is_alone=alone,
            own={
                fill.fill: Own(
                    units=fill.units,
                    surplus=self._papers[fill.intent].dearest - self._papers[fill.offer].cheapest,
                )
                for fill in own
            },
        )

    def moved(self, event: LeaseMoved) -> None:
        """What others serve instead was not delivered by who had promised it."""
        for pledge in self._unsaid.values():
            if event.lease in pledge.own:
                own = pledge.own[event.lease]
                own.gone = max(own.gone, event.units)

    def key_retired(self, key: str) -> None:
        """Nor is what was left of its leases, but for calls that are on their way."""
        for pledge in self._unsaid.values():
            for name, own in pledge.own.items():
                fill = self._fills[name]
                offer = self._papers[fill.offer].document
                assert isinstance(offer, Offer)
                # With a call on its way it may be over for its buyer.
                if offer.key == key and not fill.closed and not fill.in_flight:
                    own.gone = max(own.gone, own.units - fill.delivered - fill.lapsed)

    def told(self) -> None:
        """An award is over with the last of its leases: what it costs is said at once."""
        for place, pledge in list(self._unsaid.items()):
            if self._is_over(pledge):
                del self._unsaid[place]
                gone = _least_faded(pledge, self._faded(pledge))
                asked = pledge.due is not None or not _penalty(pledge, gone)
                expect(asked, "penalty_is_asked", place=place, gone=gone)

    def pledged(self, solver: str) -> list[str]:
        """Its own offers' fills that are served, of its awards."""
        return [
            name
            for (_, winner), pledge in self._unsaid.items()
            if winner == solver
            for name in pledge.own
            if not self._fills[name].closed
        ]

    def _is_over(self, pledge: Pledge) -> bool:
        return all(self._fills[name].closed for name in pledge.own)

    def _faded(self, pledge: Pledge) -> dict[str, int]:
        """Units that were not delivered, whoever's fault that was."""
        return {name: own.units - self._fills[name].delivered for name, own in pledge.own.items()}

    # ---------------------------------------------------------------- what is due

    def due(self, _: int, event: PenaltyDue) -> None:
        """What others could have had of what faded, and nobody got; once an award."""
        place = (event.auction, event.solver)
        pledge = self._pledges.get(place)
        expect(pledge is not None, "penalty_of_an_award", place=place)
        assert pledge is not None
        expect(pledge.due is None, "penalty_is_due_once", place=place)
        facts = {"place": place, "units": event.units, "amount": event.amount}
        faded = self._faded(pledge)
        expect(event.units <= sum(faded.values()), "penalty_for_undelivered_only", **facts)
        most = _penalty(pledge, faded)
        expect(0 <= event.amount <= most, "penalty_for_what_was_missing", most=most, **facts)
        gone = _least_faded(pledge, faded)
        expect(event.units >= sum(gone.values()), "penalty_for_all_that_faded", **facts)
        # A buyer gets no more than what faded costs, so that less may be due than is missing.
        expect(event.amount > 0 or not _penalty(pledge, gone), "penalty_is_asked", **facts)
        pledge.due = event.amount

    # ---------------------------------------------------------------- what was taken

    def penalised(self, _: int, event: Penalised) -> None:
        """Each is taken once, and no more than was due."""
        place = (event.auction, event.solver)
        pledge = self._pledges.get(place)
        expect(pledge is not None, "penalty_of_an_award", place=place)
        assert pledge is not None
        expect(pledge.paid is None, "penalty_is_taken_once", place=place)
        expect(0 <= event.paid <= (pledge.due or 0), "penalty_was_due", place=place)
        pledge.paid = event.paid

    def applied(self, number: int) -> None:
        """I17 of bonds: as the contract had them in that block; what they paid, buyers got."""
        assert self.chain is not None
        for block in self.chain.blocks[self._read + 1 : number + 1]:
            taken = 0
            for (item, values), _ in block.logs:
                self._held += _change(item.name, values)
                self._leaves_in_time(item.name, values, block.time_s)
                taken += values[3] if item.name == PENALISED.name else 0
                taken -= values[2] if _is_of_a_penalty(item.name, values) else 0
            expect(not taken, "buyers_get_what_bonds_pay", block=block.number, off=taken)
        self._read = number
        ledger = self.chain.blocks[number].ledger
        expect(sum(ledger.bonds.values()) == self._held, "bonds_are_conserved", block=number)
        for solver in ledger.bonds.keys() | self._told.keys():
            told = self._told.get(solver)
            mine = (told.amount, told.withdrawing) if told else (0, 0)
            asked, _ = ledger.bond_requests.get(solver, (0, 0))
            found = (ledger.bonds.get(solver, 0), asked)
            expect(mine == found, "i17_chain_matches_bonds", told=mine, found=found)

    def _leaves_in_time(self, name: str, values: tuple[Any, ...], time_s: int) -> None:
        """No bond leaves before what it stands for can have been asked for."""
        if name == REQUESTED.name:
            self._leaves_s[values[0]] = time_s + BOND_DELAY_S
        elif name == WITHDRAWN.name:
            in_time = time_s >= self._leaves_s[values[0]]
            expect(in_time, "bonds_leave_after_their_delay", solver=values[0])

    @property
    def taken(self) -> int:
        """Penalties that moved money."""
        return sum(bool(pledge.paid) for pledge in self._pledges.values())

    def unfinished(self) -> str:
        """A penalty that is due and was not taken."""
        for place, pledge in self._pledges.items():
            if pledge.due and pledge.paid is None:
                return f"penalty {place}"
        return ""


def _penalty(pledge: Pledge, faded: dict[str, int]) -> int:
    """Atoms for what of an award's surplus faded beyond what nobody else could have had."""
    lost = sum(units * pledge.own[name].surplus for name, units in faded.items())
    return min(PENALTY_MAX, mul_div_ceil(max(0, lost - pledge.reward), 1, ATOM))


def _least_faded(pledge: Pledge, faded: dict[str, int]) -> dict[str, int]:
    """What went with a key, or was served by others instead."""
    if not pledge.is_alone:
        return dict.fromkeys(faded, 0)
    return {name: min(own.gone, faded[name]) for name, own in pledge.own.items()}


def _change(name: str, values: tuple[Any, ...]) -> int:
    """Of what all bonds hold, by a log."""
    if name == DEPOSITED.name:
        return int(values[2])
    if name == WITHDRAWN.name:
        return -int(values[2])
    return -int(values[3]) if name == PENALISED.name else 0


def _is_of_a_penalty(name: str, values: tuple[Any, ...]) -> bool:
    return name == "Deposited" and values[1] == DEPLOYMENT.bonds
