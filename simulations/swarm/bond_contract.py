"""Solvers' bonds as the contract keeps them, written again from SolverBonds.sol.

It reads the call that the operator's owner really sends, and knows what was really signed.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from contracts.bindings import ACCOUNT, BONDS, SETTLEMENT
from intents.bound import TICK_UNITS
from intents.document import Award
from simulations.swarm.calldata import Awarded, Revert
from simulations.swarm.metered_contract import MeteredLedger
from simulations.swarm.person import DEPLOYMENT
from simulations.swarm.registry import Registry
from simulations.swarm.session_contract import EXIT_DELAY_S, Log

BOND_DELAY_S: Final = 45
"""Shorter than the contract's two exit delays, so that bonds leave within a world; longer than what
an award can still cost when nothing goes wrong."""
PENALTY_MAX: Final = 2_000
EXECUTE: Final = ACCOUNT.function("execute")
DEPOSITED: Final = BONDS.event("BondDeposited")
REQUESTED: Final = BONDS.event("BondWithdrawalRequested")
WITHDRAWN: Final = BONDS.event("BondWithdrawn")
PENALISED: Final = BONDS.event("SolverPenalised")
_PENALISE: Final = BONDS.function("penalise")
_CREDITED: Final = SETTLEMENT.event("Deposited")
_INDEX_BYTES: Final = 2
_SIBLING_BYTES: Final = 32


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Of a penalty, as the call has it; `offer` is what the contract hashes of it."""

    offer: Sequence[Any]
    signature: str
    buyer: str
    buyer_nonce: int
    units: int
    tick: int
    charge: int
    proof: bytes
    faded: int
    atoms: int

    @property
    def place(self) -> tuple[str, int]:
        """Account and nonce of the offer."""
        return self.offer[0], self.offer[10]

    @property
    def index(self) -> int:
        """The place of its fill in the award."""
        return int.from_bytes(self.proof[:_INDEX_BYTES], "big")


class BondLedger(MeteredLedger):
    """The bonds' storage, beside the settlement contract's: what one pays in at the other."""

    units: dict[tuple[str, int], int]
    cancelled: dict[tuple[str, int], int]

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.number = 0
        """Of the block that is being made."""
        self.bonds: dict[str, int] = {}
        self.bond_requests: dict[str, tuple[int, int]] = {}
        """How much is asked back, and from when on it may leave."""
        self.penalised: dict[tuple[int, str], int] = {}
        self.penalised_units: dict[tuple[str, int], int] = {}

    # ---------------------------------------------------------------- what solvers do

    def _bond(self, solver: str, _: int, *, amount: int) -> Iterator[Log]:
        self.bonds[solver] = after = self.bonds.get(solver, 0) + amount
        yield DEPOSITED, (solver, solver, amount, after)

    def _bond_request(self, solver: str, now_s: int, *, amount: int) -> Iterator[Log]:
        self.bond_requests[solver] = (amount, now_s + BOND_DELAY_S)
        yield REQUESTED, (solver, amount, now_s + BOND_DELAY_S)

    def _bond_withdraw(self, solver: str, now_s: int) -> Iterator[Log]:
        amount, at_s = self.bond_requests.get(solver, (0, 0))
        if not amount or now_s < at_s:
            raise Revert("BondWithdrawalEarly")
        self.bond_requests[solver] = (0, at_s)
        paid = min(amount, self.bonds.get(solver, 0))
        self.bonds[solver] = self.bonds.get(solver, 0) - paid
        yield WITHDRAWN, (solver, solver, paid)

    # ---------------------------------------------------------------- penalties

    def execute(self, inputs: bytes, now_s: int) -> list[Log]:
        """What the owner has the operator's account do: take a penalty. Raises Revert."""
        target, value, data = EXECUTE.decode_inputs(inputs)
        if target != DEPLOYMENT.bonds or value or data[:4] != _PENALISE.selector:
            raise Revert("unknown call")
        told, signature, shares = _PENALISE.decode_inputs(data[4:])
        award = Award(
            auction=told[0],
            solver=told[1],
            solution="0x" + told[2].hex(),
            deadline_block=told[3],
        )
        if self.number <= award.deadline_block:
            raise Revert("PenaltyEarly")
        if (award.auction, award.solver) in self.penalised:
            raise Revert("PenaltyTaken")
        if not self._registry.is_award(award, "0x" + signature.hex()):
            raise Revert("PenaltyAwardUnsigned")
        return self._penalise(award, [_share(share) for share in shares], now_s)

    def _penalise(self, award: Award, shares: list[Share], now_s: int) -> list[Log]:
        solver, logs, last = award.solver, list[Log](), -1
        left = min(PENALTY_MAX, self.bonds.get(solver, 0))
        paid = 0
        for share in shares:
            self._check_share(award, share)
            if share.index <= last:
                raise Revert("PenaltySharesInvalid")
            last = share.index
            amount = min(left, self._due(share, now_s))
            left, paid = left - amount, paid + amount
            if amount:
                self.balances[share.buyer] = after = self.balances.get(share.buyer, 0) + amount
                logs.append((_CREDITED, (share.buyer, DEPLOYMENT.bonds, amount, after)))
        if last < 0:
            raise Revert("PenaltySharesInvalid")
        self.bonds[solver] = after = self.bonds.get(solver, 0) - paid
        self.penalised[award.auction, solver] = paid
        solution = bytes.fromhex(award.solution[2:])
        return [(PENALISED, (award.auction, solver, solution, paid, after)), *logs]

    def _check_share(self, award: Award, share: Share) -> None:
        """It is of a fill of the award, from an offer that the solver's own key signed."""
        fill = Awarded(
            award=award,
            signature="",
            offer=0,
            units=share.units,
            tick=share.tick,
            charge=share.charge,
            index=share.index,
            siblings=tuple(
                share.proof[at : at + _SIBLING_BYTES]
                for at in range(_INDEX_BYTES, len(share.proof), _SIBLING_BYTES)
            ),
        )
        if fill.solution_of((share.buyer, share.buyer_nonce), share.place) != award.solution:
            raise Revert("PenaltyFillUnknown")
        if not self._registry.is_offer(share.offer, share.signature, award.solver):
            raise Revert("PenaltyOfferUnsigned")

    def _due(self, share: Share, now_s: int) -> int:
        """What a share is worth at most; units are counted, and no more than were signed for."""
        if not self._stands(share.offer, now_s):
            return 0
        answered = self.penalised_units.get(share.place, 0)
        left = max(0, share.offer[3] - self.units.get(share.place, 0) - answered)
        counted = min(left, share.faded, share.units)
        self.penalised_units[share.place] = answered + counted
        return int(min(share.atoms, counted * share.tick // TICK_UNITS))

    def _stands(self, offer: Sequence[Any], now_s: int) -> bool:
        """Whether a solver answers for an offer: so long after its end, however it ended."""
        account, valid_from, valid_until, epoch, nonce = offer[0], *offer[7:]
        if not valid_from <= now_s <= valid_until + BOND_DELAY_S:
            return False
        cancelled_s = self.cancelled.get((account, nonce))
        if cancelled_s is not None and now_s >= cancelled_s - EXIT_DELAY_S + BOND_DELAY_S:
            return False
        known, effective_s = self.epochs.get(account, (0, 0))
        if epoch >= known:
            return bool(epoch == known)
        earlier_s = (known - epoch - 1) * EXIT_DELAY_S
        return bool(now_s + earlier_s < effective_s - EXIT_DELAY_S + BOND_DELAY_S)


def _share(told: Sequence[Any]) -> Share:
    offer, signature, buyer, nonce, units, tick, charge, proof, faded, atoms = told
    return Share(
        offer=offer,
        signature="0x" + signature.hex(),
        buyer=buyer,
        buyer_nonce=nonce,
        units=units,
        tick=tick,
        charge=charge,
        proof=proof,
        faded=faded,
        atoms=atoms,
    )
