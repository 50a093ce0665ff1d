"""Puts the contracts on a chain and checks that they are there.

Settlement needs the address of the operator's account, the account implementation needs
settlement's, and the factory needs the implementation's. Settlement's address follows
from the deployer's nonce, so it is predicted (CREATE); the operator's account has a
CREATE2 address that the factory tells before the account exists.
"""

import os
from pathlib import Path
from typing import Final, Protocol

import msgspec
from tiny_keccak import keccak256

from contracts.abi import Item
from contracts.bindings import ACCOUNT, BOND, BONDS, DESK, FACTORY, SETTLEMENT, USDC
from contracts.fault import DeploymentFault, DeployReverted, WrongChain, WrongContract

ENTRY_POINT: Final = "0x4337084d9e255ff0702461cf8895ce9e3b5ff108"
"""ERC-4337 EntryPoint v0.8, the newest that is published as a package."""
EXIT_DELAY_S: Final = 3_600
UNCOVERED_CAP: Final = 1_000_000
"""Atoms of one account that the operator may move before its next receipt: one USDC."""
MAY_SETTLE: Final = 1
SESSION_CAP_MAX: Final = 2**62
"""More than there is USDC, and kept as it is."""
SESSION_PERIOD_S: Final = 7_864_080
"""A session's cap holds in any 91 days, the longest period that the account keeps."""
CAP_ROUNDING: Final = 2**20
"""The account rounds a cap down, by less than one part in so many."""
SALT: Final = bytes(32)
_RLP_SINGLE_BYTE_END: Final = 0x80


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a mined transaction."""

    transaction_hash: str
    succeeded: bool
    block_number: int
    block_hash: str
    gas_used: int
    contract_address: str | None = None


class ChainPort(Protocol):
    """What deploying needs of a chain, and of a wallet on it."""

    async def chain_id(self) -> int: ...  # noqa: D102
    async def nonce(self, address: str) -> int: ...  # noqa: D102
    async def balance(self, address: str) -> int: ...  # noqa: D102
    async def code(self, address: str) -> bytes: ...  # noqa: D102
    async def call(self, to: str, data: bytes) -> bytes: ...  # noqa: D102
    async def transact(  # noqa: D102
        self, sender: str, to: str | None, data: bytes, value_wei: int = 0
    ) -> Receipt: ...


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where everything is. Addresses are lower-case hex."""

    chain_id: int
    deploy_block: int
    """No log of ours is older."""
    usdc: str
    settlement: str
    implementation: str
    factory: str
    operator_account: str
    operator_owner: str
    entry_point: str
    exit_delay_s: int
    bonds: str = ""
    """Where solvers' bonds are; empty where the market never asked for any."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to deploy. The owner's and the deployer's keys must be in the wallet."""

    chain_id: int
    deployer: str
    owner: str
    usdc: str | None = None
    """An existing token; None deploys TestUSDC, whose minter is the deployer."""
    exit_delay_s: int = EXIT_DELAY_S
    uncovered_cap: int = UNCOVERED_CAP
    entry_point: str = ENTRY_POINT


class SessionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's session key: it may settle, up to `cap` atoms in all, until it expires."""

    key: str
    expires_at: int
    cap: int = SESSION_CAP_MAX
    gas_funds_wei: int = 0
    """The key's wanted balance: the owner sends what is missing, before the grant."""


async def deploy(port: ChainPort, plan: Plan) -> Deployment:
    """Deploy everything. Raises WrongChain before it sends anything, DeployReverted."""
    await check_chain(port, plan.chain_id)
    usdc = plan.usdc
    first: Receipt | None = None
    if usdc is None:
        first = await _create(port, plan.deployer, USDC.creation_code())
        usdc = _created(first)
    nonce = await port.nonce(plan.deployer)
    predicted = create_address(plan.deployer, nonce + 3)
    code = ACCOUNT.creation_code(plan.entry_point, predicted, usdc)
    receipt = await _create(port, plan.deployer, code)
    implementation = _created(receipt)
    code = FACTORY.creation_code(implementation)
    factory = _created(await _create(port, plan.deployer, code))
    account = await account_address(port, factory, plan.owner)
    code = DESK.creation_code(usdc, account, plan.exit_delay_s)
    desk = _created(await _create(port, plan.deployer, code))
    code = SETTLEMENT.creation_code(usdc, account, plan.exit_delay_s, plan.uncovered_cap, desk)
    settlement = _created(await _create(port, plan.deployer, code))
    if settlement != predicted:
        raise DeploymentFault(f"settlement is at {settlement}, not {predicted}: nonce was used")
    await create_account(port, factory, sender=plan.deployer, owner=plan.owner)
    deployment = Deployment(
        chain_id=plan.chain_id,
        deploy_block=(first or receipt).block_number,
        usdc=usdc,
        settlement=settlement,
        implementation=implementation,
        factory=factory,
        operator_account=account,
        operator_owner=plan.owner,
        entry_point=plan.entry_point,
        exit_delay_s=plan.exit_delay_s,
    )
    await verify(port, deployment)
    return deployment


async def deploy_once(port: ChainPort, plan: Plan, path: Path) -> Deployment:
    """The deployment that `path` names, verified; or a new one, saved there."""
    if not path.exists():  # noqa: ASYNC240  one look at a local file
        deployment = await deploy(port, plan)
        save(deployment, path)
        return deployment
    deployment = load(path)
    await check_chain(port, plan.chain_id)
    await verify(port, deployment)
    return deployment


async def verify(port: ChainPort, deployment: Deployment) -> None:
    """Refuse a chain that does not hold this deployment. Raises WrongChain, WrongContract."""
    await check_chain(port, deployment.chain_id)
    expected: tuple[tuple[str, Item, object], ...] = (
        (deployment.settlement, SETTLEMENT.function("operator"), deployment.operator_account),
        (deployment.settlement, SETTLEMENT.function("asset"), deployment.usdc),
        (deployment.settlement, SETTLEMENT.function("exitDelay"), deployment.exit_delay_s),
        (deployment.factory, FACTORY.function("implementation"), deployment.implementation),
        (deployment.implementation, ACCOUNT.function("settlement"), deployment.settlement),
        (deployment.operator_account, ACCOUNT.function("settlement"), deployment.settlement),
        (deployment.operator_account, ACCOUNT.function("owner"), deployment.operator_owner),
    )
    if deployment.bonds:
        expected += ((deployment.bonds, BONDS.function("settlement"), deployment.settlement),)
    for address in (deployment.usdc, *dict.fromkeys(address for address, _, _ in expected)):
        if not await port.code(address):
            raise WrongContract(f"no code at {address}; the chain is not the one deployed to")
    for address, getter, value in expected:
        await _expect(port, address, getter, value)


async def grant_session(port: ChainPort, deployment: Deployment, plan: SessionPlan) -> None:
    """Let a key settle, unless it may already as planned. The owner sends it.

    Gas comes first: whoever finds a live session may take it that the key can pay.
    """
    missing_wei = plan.gas_funds_wei - await port.balance(plan.key)
    if missing_wei > 0:
        await send(port, deployment.operator_owner, plan.key, b"", missing_wei)
    held = ACCOUNT.function("sessionOf")
    answer = await port.call(deployment.operator_account, held.encode(plan.key))
    ((expires_at, _, permissions, cap, *_),) = held.decode_outputs(answer)
    live = ACCOUNT.function("isSessionLive")
    answer = await port.call(deployment.operator_account, live.encode(plan.key, MAY_SETTLE))
    (is_live,) = live.decode_outputs(answer)
    as_planned = plan.cap - plan.cap // CAP_ROUNDING <= cap <= plan.cap
    if not (is_live and as_planned and (expires_at, permissions) == (plan.expires_at, MAY_SETTLE)):
        grant = ACCOUNT.function("grantSession").encode(
            plan.key, MAY_SETTLE, plan.expires_at, plan.cap
        )
        await send(port, deployment.operator_owner, deployment.operator_account, grant)


async def deploy_bond(port: ChainPort, deployer: str, settlement: str) -> str:
    """Deploy the operator's bond for a settlement contract; returns its address."""
    return _created(await _create(port, deployer, BOND.creation_code(settlement)))


async def deploy_bonds(
    port: ChainPort, deployer: str, deployment: Deployment, penalty_max: int
) -> Deployment:
    """Deploy solvers' bonds, of which an award costs `penalty_max` atoms at most."""
    code = BONDS.creation_code(deployment.settlement, penalty_max)
    bonds = _created(await _create(port, deployer, code))
    return msgspec.structs.replace(deployment, bonds=bonds)


async def create_account(
    port: ChainPort, factory: str, *, sender: str, owner: str, salt: bytes = SALT
) -> str:
    """Create the owner's session account, or find it; returns its address."""
    await send(port, sender, factory, FACTORY.function("createAccount").encode(owner, salt))
    return await account_address(port, factory, owner, salt)


async def account_address(port: ChainPort, factory: str, owner: str, salt: bytes = SALT) -> str:
    """Where the owner's account is or will be."""
    predict = FACTORY.function("predict")
    (address,) = predict.decode_outputs(await port.call(factory, predict.encode(owner, salt)))
    return str(address)


async def check_chain(port: ChainPort, chain_id: int) -> None:
    """Raise WrongChain unless the node serves this chain."""
    found = await port.chain_id()
    if found != chain_id:
        raise WrongChain(f"the node serves chain {found}, not {chain_id}")


async def send(
    port: ChainPort, sender: str, to: str | None, data: bytes, value_wei: int = 0
) -> Receipt:
    """A transaction that has to succeed. Raises DeployReverted."""
    receipt = await port.transact(sender, to, data, value_wei)
    if not receipt.succeeded:
        raise DeployReverted(f"transaction {receipt.transaction_hash} to {to} reverted")
    return receipt


def load(path: Path) -> Deployment:
    """Read a deployment file. Raises DeploymentFault."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Deployment)
    except (OSError, msgspec.DecodeError) as error:
        raise DeploymentFault(f"{path.name}: {error}") from error


def save(deployment: Deployment, path: Path) -> None:
    """Write a deployment file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def create_address(sender: str, nonce: int) -> str:
    """Where a contract comes to be that `sender` creates with `nonce` (CREATE)."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    single = len(number) == 1 and nonce < _RLP_SINGLE_BYTE_END
    item = number if single else bytes([0x80 + len(number)]) + number
    body = b"\x94" + bytes.fromhex(sender[2:]) + item
    return "0x" + keccak256(bytes([0xC0 + len(body)]) + body)[12:].hex()


async def _expect(port: ChainPort, address: str, getter: Item, value: object) -> None:
    answer = await port.call(address, getter.encode())
    found = getter.decode_outputs(answer)[0] if answer else None
    if found != value:
        raise WrongContract(f"{getter.name} of {address} is {found}, not {value}")


async def _create(port: ChainPort, sender: str, code: bytes) -> Receipt:
    return await send(port, sender, None, code)


def _created(receipt: Receipt) -> str:
    if receipt.contract_address is None:
        raise DeployReverted(f"transaction {receipt.transaction_hash} created nothing")
    return receipt.contract_address.lower()
