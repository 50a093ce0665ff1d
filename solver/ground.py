"""What a market stands on: a node, the contracts there, and the key that may settle.

A local chain is started where no node is named; contracts are deployed the first time and found
again after that; the operator's keys are made on first use.
"""

import asyncio
import os
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from contracts.anvil import DEV_KEY
from contracts.deploy import (
    SESSION_CAP_MAX,
    Deployment,
    Plan,
    SessionPlan,
    deploy_bonds,
    deploy_once,
    grant_session,
    save,
)
from contracts.deploy import send as send_transaction
from intents.signature import SigningKey
from solver.runtime.config import Config
from solver.settlement.chain import ChainClient
from solver.settlement.local_chain import LocalChain
from solver.settlement.session import session_left
from solver.settlement.token import DECIMALS, check_token
from solver.settlement.wallet import Wallet

ATOMS_PER_USDC: Final = 10**DECIMALS
SESSION_SECONDS: Final = 365 * 86_400
LOCAL_GAS_FUNDS_WEI: Final = 10 * 10**18
LOCAL_CHAIN_ID: Final = 31_337
SECRET_BYTES: Final = 32


class StartRefused(Exception):
    """The market cannot start as it is set up; the message says what to do."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """Where one market settles, and with which key."""

    rpc_url: str
    chain: ChainClient
    deployment: Deployment
    owner: SigningKey
    """Owns the operator's account: signs awards."""
    session: SigningKey
    librarian: SigningKey
    """Pays for address books, and may do nothing."""


async def stand(config: Config, stack: AsyncExitStack) -> Ground:
    """Find or make all of it; the stack ends what was started.

    Raises StartRefused, and the faults of the chain.
    """
    rpc_url = await _chain_url(config, stack)
    chain = ChainClient(rpc_url, chain_id=config.chain.chain_id)
    stack.push_async_callback(chain.close)
    session = _key(config.data_dir / "operator" / "session.key")
    librarian = _key(config.data_dir / "operator" / "librarian.key")
    deployment = await _deploy(config, chain, session)
    if config.market.metered_atoms_max:
        await _fund(config, chain, librarian.address)
    return Ground(
        rpc_url=rpc_url,
        chain=chain,
        deployment=deployment,
        owner=_key(config.data_dir / "operator" / "owner.key"),
        session=session,
        librarian=librarian,
    )


def secret_file(path: Path) -> bytes:
    """32 secret bytes in a file that only its owner may read; made on first use, whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    if path.stat().st_mode & 0o077:
        raise StartRefused(f"{path.name} can be read by others: chmod 600 {path.name}")
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise StartRefused(f"{path} does not hold {SECRET_BYTES} bytes as hex")
    return secret


async def _chain_url(config: Config, stack: AsyncExitStack) -> str:
    """The node's URL; starts a local chain that is kept in the data folder, if none was named."""
    if config.chain.rpc_url is not None:
        return str(config.chain.rpc_url)
    chain = await asyncio.to_thread(LocalChain.start, config.data_dir)
    stack.push_async_callback(asyncio.to_thread, chain.stop)
    return chain.url


async def _deploy(config: Config, chain: ChainClient, session: SigningKey) -> Deployment:
    """The contracts: found where the data folder says, or put there the first time."""
    deployer, usdc, gas_funds_wei = _deployer(config), _token(config), _gas_funds_wei(config)
    await chain.start()
    owner = _key(config.data_dir / "operator" / "owner.key")
    wallet = Wallet(chain, [deployer, owner])
    path = config.data_dir / "deployment.json"
    if not path.exists():
        if usdc is not None:
            await check_token(wallet, usdc)
        await send_transaction(wallet, deployer.address, owner.address, b"", 2 * gas_funds_wei)
    plan = Plan(
        chain_id=config.chain.chain_id,
        deployer=deployer.address,
        owner=owner.address,
        usdc=usdc,
        exit_delay_s=config.chain.exit_delay_seconds,
    )
    deployment = await deploy_once(wallet, plan, path)
    if usdc not in (None, deployment.usdc):
        raise StartRefused(f"chain.usdc is {usdc}, but {path} settles {deployment.usdc}")
    if config.auction.bond_atoms_min and not deployment.bonds:
        deployment = await deploy_bonds(
            wallet, deployer.address, deployment, config.auction.penalty_atoms_max
        )
        save(deployment, path)
    await _renew_session(config, wallet, deployment, session)
    return deployment


def _token(config: Config) -> str | None:
    """The token to settle; None where a test token may stand in for it."""
    if config.chain.usdc is None and config.chain.chain_id != LOCAL_CHAIN_ID:
        raise StartRefused("set chain.usdc: a test token is for a local chain only")
    return config.chain.usdc.lower() if config.chain.usdc else None


def _gas_funds_wei(config: Config) -> int:
    if config.chain.gas_funds_wei is not None:
        return config.chain.gas_funds_wei
    if config.chain.chain_id != LOCAL_CHAIN_ID:
        raise StartRefused("set chain.gas_funds_wei: 10 ether by default is for a local chain only")
    return LOCAL_GAS_FUNDS_WEI


async def _renew_session(
    config: Config, wallet: Wallet, deployment: Deployment, session: SigningKey
) -> None:
    """Grant the session anew before its time or its cap runs out; what was spent stays spent."""
    wanted_atoms = config.chain.session_cap_usdc * ATOMS_PER_USDC
    left = await session_left(wallet, deployment, session.address)
    now_s = int(time.time())
    if left.lasts(now_s + SESSION_SECONDS // 4, wanted_atoms // 4):
        return
    plan = SessionPlan(
        key=session.address,
        expires_at=now_s + SESSION_SECONDS,
        cap=min(left.spent + wanted_atoms, SESSION_CAP_MAX),
        gas_funds_wei=_gas_funds_wei(config),
    )
    await grant_session(wallet, deployment, plan)


async def _fund(config: Config, chain: ChainClient, address: str) -> None:
    """Give a key gas from the deployer, unless it has some left."""
    deployer, funds_wei = _deployer(config), _gas_funds_wei(config)
    if await chain.balance(address) < funds_wei // 4:
        wallet = Wallet(chain, [deployer])
        await send_transaction(wallet, deployer.address, address, b"", funds_wei)


def _deployer(config: Config) -> SigningKey:
    if config.chain.deployer_key_file is not None:
        return SigningKey(bytes.fromhex(config.chain.deployer_key_file.read_text().strip()[-64:]))
    if config.chain.chain_id != LOCAL_CHAIN_ID:
        raise StartRefused(
            "set chain.deployer_key_file: Anvil's well-known key is for a local chain only"
        )
    return SigningKey(DEV_KEY)


def _key(path: Path) -> SigningKey:
    return SigningKey(secret_file(path))
