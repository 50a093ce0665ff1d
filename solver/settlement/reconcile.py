"""Book against chain, at the block up to which the core knows the chain (promise P7)."""

import asyncio
from typing import Final

import msgspec

from contracts.bindings import SETTLEMENT, USDC
from contracts.deploy import Deployment
from solver.core.state import State
from solver.settlement.chain import ChainClient

CALLS_AT_ONCE_MAX: Final = 8


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An account whose balance in the ledger is not the one on chain. Atoms."""

    account: str
    ledger: int
    chain: int


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found. Books are right where `is_clean`.

    `unclaimed` is what the contract holds beyond all balances: tokens that someone sent
    to it without depositing. Nobody can be stopped from that, so it is no difference;
    negative would mean that it holds less than it owes.
    """

    block: int
    accounts: int
    differences: tuple[Difference, ...]
    held: int
    owed: int

    @property
    def unclaimed(self) -> int:
        """Atoms held beyond what is owed."""
        return self.held - self.owed

    @property
    def is_clean(self) -> bool:
        """Every balance is equal, and all of them are covered."""
        return not self.differences and self.unclaimed >= 0


async def reconcile(chain: ChainClient, state: State, deployment: Deployment) -> Reconciliation:
    """Compare every account, as of the core's cursor.

    The ledger is read first, without an await in between, so that later commands do not
    matter. Raises ChainUnreachable, RequestRefused (the node forgot that block's state).
    """
    block = state.cursor
    ledger = _usdc_totals(state)
    if block < 0:
        return Reconciliation(block=block, accounts=0, differences=(), held=0, owed=0)
    limit = asyncio.Semaphore(CALLS_AT_ONCE_MAX)

    async def on_chain(account: str) -> int:
        function = SETTLEMENT.function("accountOf")
        async with limit:
            answer = await chain.call(deployment.settlement, function.encode(account), at=block)
        return int(function.decode_outputs(answer)[0][0])

    async with asyncio.TaskGroup() as group:
        tasks = {account: group.create_task(on_chain(account)) for account in ledger}
    found = {account: task.result() for account, task in tasks.items()}
    balance_of = USDC.function("balanceOf")
    answer = await chain.call(deployment.usdc, balance_of.encode(deployment.settlement), at=block)
    return Reconciliation(
        block=block,
        accounts=len(ledger),
        differences=tuple(
            Difference(account=account, ledger=total, chain=found[account])
            for account, total in ledger.items()
            if found[account] != total
        ),
        held=int(balance_of.decode_outputs(answer)[0]),
        owed=sum(ledger.values()),
    )


def _usdc_totals(state: State) -> dict[str, int]:
    """Every account's posted USDC; the ledger's own accounts (`@…`) are not on chain."""
    return {
        owner: state.ledger.balance(owner, state.usdc).total
        for owner, asset in state.ledger.accounts()
        if asset == state.usdc and not owner.startswith("@")
    }
