"""`keyfill account`: keys, session accounts, deposits and withdrawals."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from contracts.anvil import DEV_KEY
from contracts.deploy import Deployment, load
from intents.bound import PERIOD_S_MAX
from intents.policy import Permission
from intents.signature import SigningKey
from solver.cli.context import (
    ERR,
    CommandFailed,
    Context,
    address,
    atoms,
    new_key,
    read_or_new_key,
    usdc,
)
from solver.settlement.chain import ChainClient
from solver.settlement.fault import CallReverted
from solver.settlement.owner import AccountOwner, fund_locally
from solver.settlement.wallet import Wallet

Usdc = Annotated[str, Parameter(help="In USDC.")]
app = App(name="account", help="Your key and money: deposits, withdrawals, session keys.")
LOCAL = Context()
DAY_SECONDS = 86_400


@app.command
def new(*, context: Context = LOCAL) -> None:
    """Make a new key, readable by you alone, and print its address."""
    key = new_key(context.key_path())
    context.show("account", {"address": key.address, "key file": str(context.key_path())})


@app.command
async def show(*, context: Context = LOCAL) -> None:
    """The account on chain: balance, withdrawal, epoch."""
    async with chain_wallet(context) as wallet:
        owner = AccountOwner(wallet, deployment_of(context), context.key(), _account(context))
        context.show("account", await _facts(owner))


@app.command
async def fund(amount: Usdc, /, *, context: Context = LOCAL) -> None:
    """On a local chain only: get AMOUNT of test USDC, and gas, from the faucet."""
    deployer = SigningKey(DEV_KEY)
    key = context.key()
    async with chain_wallet(context, deployer) as wallet:
        await fund_locally(
            wallet, deployment_of(context), deployer.address, key.address, atoms(amount)
        )
        owner = AccountOwner(wallet, deployment_of(context), key, _account(context))
        context.show("account", await _facts(owner))


@app.command
async def deposit(amount: Usdc, /, *, context: Context = LOCAL) -> None:
    """Deposit AMOUNT from your wallet; the market sees it once the block is final."""
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        owner = AccountOwner(wallet, deployment_of(context), key, _account(context))
        if atoms(amount) > (held := await owner.tokens()):
            raise CommandFailed(f"{owner.owner} has no more than {usdc(held)} USDC to deposit")
        await owner.deposit(atoms(amount))
        context.show("account", await _facts(owner))
        ERR.print("The market sees it as soon as its block is final: `keyfill balance`.")


@app.command
async def withdraw(
    amount: Annotated[str, Parameter(help="USDC; leave out to take what is due.")] = "",
    /,
    *,
    context: Context = LOCAL,
) -> None:
    """Ask for AMOUNT back, or without one take what was asked for after the exit delay."""
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        owner = AccountOwner(wallet, deployment_of(context), key, _account(context))
        if amount:
            await _refuse_too_much(owner, atoms(amount))
            await owner.request_withdrawal(atoms(amount))
        else:
            await _withdraw(owner, key.address)
        context.show("account", await _facts(owner))


@app.command
async def session_account(*, context: Context = LOCAL) -> None:
    """Create your smart account, whose session keys you can grant and revoke."""
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        owner = await AccountOwner.with_session_account(wallet, deployment_of(context), key)
        context.show("session account", await _facts(owner))


@app.command
async def grant(
    session_key_file: Path,
    /,
    *,
    cap: str,
    days: int = 1,
    context: Context = LOCAL,
) -> None:
    """Let a session key sign for your smart account.

    Args:
        session_key_file: The session key; made if the file does not exist.
        cap: The most that it can spend while it lives, or in any 91 days, in USDC.
        days: Days that it lives.
        context: Options of every command.
    """
    session = read_or_new_key(session_key_file)
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        owner = await AccountOwner.with_session_account(wallet, deployment_of(context), key)
        await owner.grant_session(
            session.address,
            permissions=Permission.SIGN | Permission.CANCEL | Permission.RECEIPT,
            expires_at=int(time.time()) + days * DAY_SECONDS,
            cap=atoms(cap),
            period_s=min(days * DAY_SECONDS, PERIOD_S_MAX),
        )
        context.show(
            "session", {"account": owner.account, "session key": session.address, "cap": cap}
        )


@app.command
async def revoke(session: str = "", /, *, every: bool = False, context: Context = LOCAL) -> None:
    """End a session of your smart account at once, or every one with --every.

    Args:
        session: The session key's address.
        every: End all of them in one transaction.
        context: Options of every command.
    """
    if bool(session) == every:
        raise CommandFailed("name a session key's address, or --every")
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        owner = await AccountOwner.with_session_account(wallet, deployment_of(context), key)
        if every:
            await owner.revoke_all_sessions()
        else:
            await owner.revoke_session(address(session))
        context.show("revoked", {"account": owner.account, "session": session or "all"})


@app.command
async def cancel_all(*, context: Context = LOCAL) -> None:
    """Cancel on chain every document that you signed in the current epoch."""
    key = context.key()
    async with chain_wallet(context, key) as wallet:
        owner = AccountOwner(wallet, deployment_of(context), key, _account(context))
        await owner.cancel_all()
        context.show("account", await _facts(owner))


def deployment_of(context: Context) -> Deployment:
    """Where the local market's contracts are. Raises CommandFailed."""
    path = context.data_dir / "deployment.json"
    if not path.exists():
        raise CommandFailed(f"no deployment in {context.data_dir}: run `keyfill up`")
    return load(path)


@asynccontextmanager
async def chain_wallet(context: Context, *keys: SigningKey) -> AsyncIterator[Wallet]:
    """A wallet on the local market's chain."""
    chain = ChainClient(context.node().rpc_url, chain_id=deployment_of(context).chain_id)
    try:
        await chain.start()
        yield Wallet(chain, keys)
    finally:
        await chain.close()


def _account(context: Context) -> str | None:
    return address(context.account) if context.account else None


async def _facts(owner: AccountOwner) -> dict[str, Any]:
    escrow = await owner.escrow()
    return {
        "account": owner.account,
        "owner": owner.owner,
        "deposited": usdc(escrow.balance),
        "withdrawing": usdc(escrow.withdrawing),
        "withdrawable at": date(escrow.withdrawable_at),
        "epoch": escrow.epoch,
        "in wallet": usdc(await owner.tokens()),
    }


async def _refuse_too_much(owner: AccountOwner, asked: int) -> None:
    """The contract would take any amount, and pay out what is there when it is due."""
    deposited = (await owner.escrow()).balance
    if asked > deposited:
        raise CommandFailed(
            f"{owner.account} has {usdc(deposited)} USDC deposited: ask for no more than that"
        )


async def _withdraw(owner: AccountOwner, receiver: str) -> None:
    escrow = await owner.escrow()
    if not escrow.withdrawing:
        raise CommandFailed("nothing was asked for: `keyfill account withdraw AMOUNT` does")
    try:
        await owner.withdraw(receiver)
    except CallReverted as error:
        if not error.reason.startswith("SettlementWithdrawalEarly"):
            raise
        due = date(escrow.withdrawable_at)
        raise CommandFailed(f"the exit delay is not over: take it after {due}") from error


def date(seconds: int) -> str | None:
    """A time as people read it; None for 0."""
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
