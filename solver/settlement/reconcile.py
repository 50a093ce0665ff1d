"""Book against chain, at the block up to which the core knows the chain (promise P7)."""

import msgspec

from contracts.bindings import SETTLEMENT, USDC
from contracts.deploy import Deployment
from solver.core.state import State
from solver.settlement import ask
from solver.settlement.chain import ChainClient


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
    """Compare every account, as of the core's cursor, a hundred of them in one request.

    The ledger is read first, without an await in between, so that later commands do not
    matter. Raises ChainUnreachable, RequestRefused (the node forgot that block's state).
    """
    block = state.cursor
    ledger = _usdc_totals(state)
    if block < 0:
        return Reconciliation(block=block, accounts=0, differences=(), held=0, owed=0)
    account_of = SETTLEMENT.function("accountOf")
    asks = [
        ask.call(deployment.settlement, account_of.encode(account), at=block) for account in ledger
    ]
    balance_of = USDC.function("balanceOf")
    asks.append(ask.call(deployment.usdc, balance_of.encode(deployment.settlement), at=block))
    *answers, held = await chain.read_all(asks)
    balances = (int(ask.decoded(account_of, answer)[0][0]) for answer in answers)
    found = dict(zip(ledger, balances, strict=True))
    return Reconciliation(
        block=block,
        accounts=len(ledger),
        differences=tuple(
            Difference(account=account, ledger=total, chain=found[account])
            for account, total in ledger.items()
            if found[account] != total
        ),
        held=int(ask.decoded(balance_of, held)[0]),
        owed=sum(ledger.values()),
    )


def _usdc_totals(state: State) -> dict[str, int]:
    """Every account's posted USDC; the ledger's own accounts (`@…`) are not on chain."""
    return {
        owner: state.ledger.balance(owner, state.usdc).total
        for owner, asset in state.ledger.accounts()
        if asset == state.usdc and not owner.startswith("@")
    }
