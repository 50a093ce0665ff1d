"""What an account's owner does on chain by itself: no market is needed for any of it.

The account is either the owner's own address, or a session account that it owns; calls
to the settlement contract then go through the account, since it is the one that holds
the balance there.
"""

from typing import Final

import msgspec
from tiny_keccak import keccak256

from contracts.bindings import ACCOUNT, SETTLEMENT, USDC
from contracts.deploy import Deployment, Receipt, account_address, create_account, send
from intents.signature import SigningKey
from solver.settlement.wallet import Wallet

GAS_FUNDS_WEI: Final = 10**18
_RESOURCE_ANY: Final = keccak256(b"")


class Escrow(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the settlement contract has it. Atoms and Unix seconds."""

    balance: int
    withdrawing: int
    withdrawable_at: int
    epoch: int


class AccountOwner:
    """One owner key and one account of it. Every method waits until it is mined.

    Raises DeployReverted, CallReverted, TransactionRefused, ChainUnreachable.
    """

    def __init__(
        self, wallet: Wallet, deployment: Deployment, owner: SigningKey, account: str | None = None
    ) -> None:
        self._wallet = wallet
        self._deployment = deployment
        self.owner: Final = owner.address
        self.account: Final = account or owner.address

    @classmethod
    async def with_session_account(
        cls, wallet: Wallet, deployment: Deployment, owner: SigningKey
    ) -> "AccountOwner":
        """Create the owner's session account, or find it."""
        known = await account_address(wallet, deployment.factory, owner.address)
        if not await wallet.code(known):
            await create_account(
                wallet, deployment.factory, sender=owner.address, owner=owner.address
            )
        return cls(wallet, deployment, owner, known)

    async def deposit(self, atoms: int) -> Receipt:
        """Move the owner's tokens into the account's balance at the settlement contract."""
        approve = USDC.function("approve").encode(self._deployment.settlement, atoms)
        await send(self._wallet, self.owner, self._deployment.usdc, approve)
        data = SETTLEMENT.function("deposit").encode(self.account, atoms)
        return await send(self._wallet, self.owner, self._deployment.settlement, data)

    async def request_withdrawal(self, atoms: int) -> Receipt:
        """Ask for money back; it can be withdrawn after the exit delay."""
        return await self._settlement("requestWithdrawal", atoms)

    async def withdraw(self, to: str) -> Receipt:
        """Take what was asked for, after the delay."""
        return await self._settlement("withdraw", to)

    async def cancel(self, nonce: int) -> Receipt:
        """Cancel one document on chain, known to the market or not."""
        return await self._settlement("cancel", nonce)

    async def cancel_all(self) -> Receipt:
        """Cancel every document of the current epoch."""
        return await self._settlement("cancelAll")

    async def grant_session(
        self, key: str, *, permissions: int, expires_at: int, cap: int, period_s: int
    ) -> Receipt:
        """Let a key act for the account, within permissions, until a time.

        It moves `cap` atoms at most in any window of `period_s`.
        """
        epoch = (await self._meter())[3]
        terms = (0, permissions, _RESOURCE_ANY, 0, 0, cap, period_s, expires_at, epoch, 0)
        return await self._settlement("grantSession", (self.account, key, *terms))

    async def revoke_session(self, key: str) -> Receipt:
        """End a session at once."""
        return await self._settlement("revokeSession", self.account, key)

    async def revoke_all_sessions(self) -> Receipt:
        """End every session at once, however many there are."""
        return await self._settlement("revokeSessions", self.account)

    async def escrow(self) -> Escrow:
        """The account at the settlement contract, in the newest block."""
        getter = SETTLEMENT.function("accountOf")
        answer = await self._wallet.call(self._deployment.settlement, getter.encode(self.account))
        ((balance, withdrawing, withdrawable_at, epoch, *_),) = getter.decode_outputs(answer)
        return Escrow(
            balance=balance,
            withdrawing=withdrawing,
            withdrawable_at=withdrawable_at,
            epoch=epoch,
        )

    async def _meter(self) -> tuple[int, ...]:
        getter = SETTLEMENT.function("meterOf")
        answer = await self._wallet.call(self._deployment.settlement, getter.encode(self.account))
        (told,) = getter.decode_outputs(answer)
        return tuple(told)

    async def tokens(self) -> int:
        """What the owner holds outside the settlement contract."""
        return await token_balance(self._wallet, self._deployment, self.owner)

    async def _settlement(self, function: str, *arguments: object) -> Receipt:
        data = SETTLEMENT.function(function).encode(*arguments)
        if self.account == self.owner:
            return await send(self._wallet, self.owner, self._deployment.settlement, data)
        return await self._account("execute", self._deployment.settlement, 0, data)

    async def _account(self, function: str, *arguments: object) -> Receipt:
        data = ACCOUNT.function(function).encode(*arguments)
        return await send(self._wallet, self.owner, self.account, data)


async def token_balance(wallet: Wallet, deployment: Deployment, address: str) -> int:
    """Tokens that an address holds outside the settlement contract."""
    getter = USDC.function("balanceOf")
    (atoms,) = getter.decode_outputs(await wallet.call(deployment.usdc, getter.encode(address)))
    return int(atoms)


async def fund_locally(
    wallet: Wallet, deployment: Deployment, minter: str, address: str, atoms: int
) -> None:
    """On a local chain: test tokens and gas for an address, from the deployer."""
    await send(wallet, minter, address, b"", GAS_FUNDS_WEI)
    await send(wallet, minter, deployment.usdc, USDC.function("mint").encode(address, atoms))
