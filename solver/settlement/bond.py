"""What a solver does with its bond on chain: no market is needed for any of it."""

from typing import Final

import msgspec

from contracts.bindings import BONDS, USDC
from contracts.deploy import Deployment, Receipt, send
from solver.settlement.fault import SettlementFault
from solver.settlement.wallet import Wallet


class BondsMissing(SettlementFault):
    """The market never asked for bonds: there is no contract to pay them in at."""


class BondHeld(msgspec.Struct, frozen=True, kw_only=True):
    """A bond as the contract has it. Atoms and Unix seconds."""

    amount: int
    withdrawing: int
    available_at: int


class SolverBond:
    """The bond of one key. Every method waits until it is mined.

    Raises BondsMissing, DeployReverted, CallReverted, TransactionRefused, ChainUnreachable.
    """

    def __init__(self, wallet: Wallet, deployment: Deployment, solver: str) -> None:
        if not deployment.bonds:
            raise BondsMissing("this market asks for no bonds")
        self._wallet = wallet
        self._deployment = deployment
        self.solver: Final = solver

    async def deposit(self, atoms: int) -> Receipt:
        """Add so much of the solver's tokens to its bond."""
        approve = USDC.function("approve").encode(self._deployment.bonds, atoms)
        await send(self._wallet, self.solver, self._deployment.usdc, approve)
        return await self._send("deposit", self.solver, atoms)

    async def request_withdrawal(self, atoms: int) -> Receipt:
        """Ask for so much back, two exit delays from now; 0 takes that back."""
        return await self._send("requestWithdrawal", atoms)

    async def withdraw(self, to: str) -> Receipt:
        """Take what was asked for, after the delay."""
        return await self._send("withdraw", to)

    async def held(self) -> BondHeld:
        """The bond in the newest block."""
        getter = BONDS.function("bondOf")
        answer = await self._wallet.call(self._deployment.bonds, getter.encode(self.solver))
        amount, withdrawing, available_at = getter.decode_outputs(answer)
        return BondHeld(amount=amount, withdrawing=withdrawing, available_at=available_at)

    async def _send(self, function: str, *arguments: object) -> Receipt:
        data = BONDS.function(function).encode(*arguments)
        return await send(self._wallet, self.solver, self._deployment.bonds, data)
