"""`keyfill solver bond`: what a solver stands for with money, on the local market's chain."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from solver.cli.account import LOCAL, Usdc, chain_wallet, date, deployment_of
from solver.cli.context import ERR, CommandFailed, Context, atoms, usdc
from solver.settlement.bond import SolverBond
from solver.settlement.fault import CallReverted

app = App(name="bond", help="The bond that your key's bids need, where a market asks for one.")


@app.command
async def show(*, context: Context = LOCAL) -> None:
    """The bond on chain; GET /v1/solvers has what the market knows of it, and the rule."""
    async with chain_wallet(context) as wallet:
        bond = SolverBond(wallet, deployment_of(context), context.key().address)
        context.show("bond", await _facts(bond))


@app.command
async def deposit(amount: Usdc, /, *, context: Context = LOCAL) -> None:
    """Add AMOUNT from your wallet; it stands for bids once the block is final."""
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        bond = SolverBond(wallet, deployment_of(context), key.address)
        await bond.deposit(atoms(amount))
        context.show("bond", await _facts(bond))
        ERR.print("The market counts it as soon as its block is final.")


@app.command
async def withdraw(
    amount: Annotated[str, Parameter(help="USDC; leave out to take what is due.")] = "",
    /,
    *,
    context: Context = LOCAL,
) -> None:
    """Ask for AMOUNT back, or without one take what was asked for, after two exit delays.

    What is asked back stands for no bid from then on, and for your open awards until it leaves.
    """
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        bond = SolverBond(wallet, deployment_of(context), key.address)
        if amount:
            await _refuse_too_much(bond, atoms(amount))
            await bond.request_withdrawal(atoms(amount))
        else:
            await _withdraw(bond)
        context.show("bond", await _facts(bond))


async def _facts(bond: SolverBond) -> dict[str, Any]:
    held = await bond.held()
    return {
        "solver": bond.solver,
        "bond": usdc(held.amount),
        "withdrawing": usdc(held.withdrawing),
        "withdrawable at": date(held.available_at) if held.withdrawing else None,
    }


async def _refuse_too_much(bond: SolverBond, asked: int) -> None:
    held = (await bond.held()).amount
    if asked > held:
        raise CommandFailed(f"the bond has {usdc(held)} USDC: ask for no more than that")


async def _withdraw(bond: SolverBond) -> None:
    held = await bond.held()
    if not held.withdrawing:
        raise CommandFailed("nothing was asked for: `keyfill solver bond withdraw AMOUNT` does")
    try:
        await bond.withdraw(bond.solver)
    except CallReverted as error:
        if not error.reason.startswith("BondWithdrawalEarly"):
            raise
        due = date(held.available_at)
        raise CommandFailed(f"two exit delays are not over: take it after {due}") from error
