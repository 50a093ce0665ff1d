"""What a session account's transactions cost, from receipts, behind a proxied token.

The token is TestUSDC behind OpenZeppelin's ERC-1967 proxy, the entry points are those of
their npm packages; both come out of `node_modules`. Every figure is of a running account:
the payee has money, and the key has spent before, under a cap of its own.
"""

import json
from pathlib import Path
from typing import Final

import msgspec
from eth_abi.abi import encode
from tiny_keccak import keccak256

from contracts.anvil import Anvil
from contracts.bench import ETHER, SESSION_UNTIL_S, UnlockedChain, key_of
from contracts.bindings import ACCOUNT, RELAY, USDC
from contracts.deploy import Deployment, Plan, Receipt, create_account, deploy, send
from intents.signature import SigningKey

NO_ONE: Final = "0x" + "00" * 20
MAY_SPEND: Final = 8
DAY_S: Final = 86_400
CAP: Final = 1_000_000_000
FEE_MAX_WEI: Final = 10**16
OPERATIONS_MAX: Final = 100
COUNTS: Final = (1, 100, 1_000)
ENTRY_POINTS: Final = {"08": "contracts", "09": "contracts-v09"}

_MODULES: Final = Path(__file__).with_name("node_modules")
_GRANT: Final = keccak256(
    b"AccountGrant(address account,address key,uint8 permissions,uint40 expiresAt,uint88 cap,"
    b"uint32 period,address paymaster,uint64 feeMax,uint32 operationsMax,uint24 epoch,"
    b"uint16 sequence)"
)
_ORDER: Final = keccak256(
    b"AccountOrder(address account,address key,address to,uint256 amount,uint16 sequence,"
    b"uint64 nonce,uint40 deadline)"
)
_DOMAIN: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_OPERATION: Final = "(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)"
_HANDLE_OPS: Final = keccak256(f"handleOps({_OPERATION}[],address)".encode())[:4]
_HASH_OF: Final = keccak256(f"getUserOpHash({_OPERATION})".encode())[:4]
_DEPOSIT_TO: Final = keccak256(b"depositTo(address)")[:4]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant says, in the order of the struct."""

    key: str
    permissions: int = MAY_SPEND
    expires_at: int = SESSION_UNTIL_S
    cap: int = CAP
    period: int = DAY_S
    paymaster: str = NO_ONE
    fee_max: int = 0
    operations_max: int = 0

    def values(self) -> tuple[str | int, ...]:
        """As the ABI has them."""
        return msgspec.structs.astuple(self)


class AccountBench:
    """One session account with money, and those who act for it."""

    def __init__(self, chain: UnlockedChain, deployment: Deployment, account: str) -> None:
        self._chain = chain
        self._deployment = deployment
        self.account: Final = account
        self.entry_point: Final = deployment.entry_point
        self.implementation: Final = deployment.implementation
        self.owner: Final = key_of("account owner")
        self.payee: Final = key_of("payee").address
        self.relayer: Final = key_of("relayer").address

    @classmethod
    async def open(cls, anvil: Anvil, entry_point: str | None = None) -> "AccountBench":
        """Deploy everything behind a proxied token, and fund the account."""
        chain = UnlockedChain(anvil)
        deployer = anvil.rpc("eth_accounts")[0]
        token = await send(chain, deployer, None, USDC.creation_code())
        code = _code_of("@openzeppelin/contracts/build/contracts/ERC1967Proxy.json")
        code += encode(
            ["address", "bytes"], [token.contract_address, USDC.function("decimals").encode()]
        )
        proxy = await send(chain, deployer, None, code)
        assert proxy.contract_address is not None
        chain_id = await chain.chain_id()
        plan = Plan(
            chain_id=chain_id,
            deployer=deployer,
            owner=deployer,
            usdc=proxy.contract_address.lower(),
        )
        if entry_point is not None:
            plan = msgspec.structs.replace(plan, entry_point=entry_point)
        deployment = await deploy(chain, plan)
        owner = key_of("account owner").address
        account = await create_account(chain, deployment.factory, sender=deployer, owner=owner)
        bench = cls(chain, deployment, account)
        for address in (bench.owner.address, bench.relayer, bench.payee):
            chain.unlock(address)
        for address in (account, bench.payee):
            mint = USDC.function("mint").encode(address, 10**12)
            await send(chain, deployer, deployment.usdc, mint)
        return bench

    async def by_owner(self, function: str, *arguments: object) -> Receipt:
        """A call that the owner sends."""
        data = ACCOUNT.function(function).encode(*arguments)
        return await send(self._chain, self.owner.address, self.account, data)

    async def by_relayer(self, function: str, *arguments: object) -> Receipt:
        """A call that anyone sends."""
        data = ACCOUNT.function(function).encode(*arguments)
        return await send(self._chain, self.relayer, self.account, data)

    async def enable(self, key: SigningKey) -> Receipt:
        """A grant that the owner sends."""
        return await self.by_owner("grantTerms", Terms(key=key.address).values())

    async def spend(self, key: SigningKey) -> Receipt:
        """A payment that the key sends."""
        self._chain.unlock(key.address)
        data = ACCOUNT.function("spend").encode(self.payee, 1_000_000)
        return await send(self._chain, key.address, self.account, data)

    async def spend_relayed(self, key: SigningKey, nonce: int) -> Receipt:
        """A payment that the key signs and anyone sends."""
        return await self.by_relayer("spendSigned", *self._order(key, nonce))

    async def enable_and_spend(self, key: SigningKey) -> Receipt:
        """A grant and its first use, both signed, in one transaction."""
        relay = await send(self._chain, self.relayer, None, RELAY.creation_code())
        assert relay.contract_address is not None
        terms = Terms(key=key.address).values()
        digest = self._digest(
            _GRANT,
            "address uint8 uint40 uint88 uint32 address uint64 uint32 uint24 uint16",
            *terms,
            0,
            0,
        )
        data = RELAY.function("grantAndSpend").encode(
            self.account, terms, 0, _signature(self.owner, digest), *self._order(key, 0)
        )
        return await send(self._chain, self.relayer, relay.contract_address.lower(), data)

    async def spend_by_operation(self, key: SigningKey, sequence: int) -> Receipt:
        """A bundle with one user operation of the key, paid from the account's deposit."""
        data = await self.bundle(key, sequence)
        return await send(self._chain, self.relayer, self.entry_point, data)

    async def bundle(self, key: SigningKey, sequence: int) -> bytes:
        """What a bundler sends: one payment as a user operation that the key signed."""
        lane = 1 << 160 | int(key.address, 16)
        call = ACCOUNT.function("spendAs").encode(key.address, self.payee, 1_000_000)
        limits = (100_000 << 128 | 100_000).to_bytes(32, "big")
        fees = (10**9 << 128 | 2 * 10**9).to_bytes(32, "big")
        nonce = lane << 64 | sequence
        operation = (self.account, nonce, b"", call, limits, 50_000, fees, b"")
        asked = _HASH_OF + encode([_OPERATION], [(*operation, b"")])
        digest = await self._chain.call(self.entry_point, asked)
        signed = (*operation, _signature(key, digest))
        return _HANDLE_OPS + encode([f"{_OPERATION}[]", "address"], [[signed], self.relayer])

    async def deposit(self) -> None:
        """Ether for fees, at the entry point."""
        data = _DEPOSIT_TO + encode(["address"], [self.account])
        await send(self._chain, self.relayer, self.entry_point, data, ETHER)

    def _order(self, key: SigningKey, nonce: int) -> tuple[tuple[str | int, ...], bytes]:
        values = (key.address, self.payee, 1_000_000, nonce, SESSION_UNTIL_S)
        digest = self._digest(
            _ORDER, "address address uint256 uint16 uint64 uint40", *values[:3], 1, *values[3:]
        )
        return values, _signature(key, digest)

    def _digest(self, kind: bytes, types: str, *values: object) -> bytes:
        domain = encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                _DOMAIN,
                keccak256(b"KeyfillAccount"),
                keccak256(b"1"),
                self._deployment.chain_id,
                self.account,
            ],
        )
        struct = encode(["bytes32", "address", *types.split()], [kind, self.account, *values])
        return keccak256(b"\x19\x01" + keccak256(domain) + keccak256(struct))


async def account_figures(anvil: Anvil) -> dict[str, tuple[Receipt, int]]:
    """Each transaction, and the most gas that it may use; 0 if nobody says."""
    bench = await AccountBench.open(anvil)
    figures = {"session_enable": (await bench.enable(key_of("first session")), 80_000)}
    key = key_of("first session")
    await bench.spend(key)
    figures["spend_sender"] = (await bench.spend(key), 60_000)
    await bench.spend_relayed(key, 0)
    figures["spend_relayed"] = (await bench.spend_relayed(key, 1), 72_000)
    await bench.by_owner("setCap", bench.account, 10**11, DAY_S)
    await bench.spend(key)
    figures["spend_sender_account_cap"] = (await bench.spend(key), 0)
    await bench.by_owner("setCap", bench.account, 0, 0)
    together = await bench.enable_and_spend(key_of("second session"))
    figures["session_enable_and_spend"] = (together, 150_000)
    for version, package in ENTRY_POINTS.items():
        sent = await _operation(anvil, package)
        figures[f"spend_4337_v{version}"] = (sent, 110_000)
    figures["spend_4337"] = _dearest(figures, "spend_4337_v08", "spend_4337_v09")
    figures |= await _revocations(bench)
    return figures


async def deploy_entry_point(anvil: Anvil, package: str) -> str:
    """The address of the entry point as that package has published it."""
    chain = UnlockedChain(anvil)
    code = _code_of(f"@account-abstraction/{package}/artifacts/EntryPoint.json")
    created = await send(chain, anvil.rpc("eth_accounts")[0], None, code)
    assert created.contract_address is not None
    return created.contract_address.lower()


async def _operation(anvil: Anvil, package: str) -> Receipt:
    bench = await AccountBench.open(anvil, await deploy_entry_point(anvil, package))
    await bench.deposit()
    key = key_of("session with fees")
    terms = Terms(key=key.address, fee_max=FEE_MAX_WEI, operations_max=OPERATIONS_MAX)
    await bench.by_owner("grantTerms", terms.values())
    await bench.spend_by_operation(key, 0)
    return await bench.spend_by_operation(key, 1)


async def _revocations(bench: AccountBench) -> dict[str, tuple[Receipt, int]]:
    """One and all, with so many live sessions: the same whatever their number."""
    figures = {}
    await bench.by_owner("revokeAllSessions")
    for count in COUNTS:
        for place in range(count):
            await bench.enable(key_of(f"session {place} of {count}"))
        one = await bench.by_owner("revokeSession", key_of(f"session 0 of {count}").address)
        figures[f"revoke_one_{count}"] = (one, 35_000)
        all_of_them = await bench.by_owner("revokeAllSessions")
        figures[f"revoke_all_{count}"] = (all_of_them, 32_000)
    for name in ("revoke_one", "revoke_all"):
        figures[name] = _dearest(figures, *(f"{name}_{count}" for count in COUNTS))
    return figures


def _dearest(figures: dict[str, tuple[Receipt, int]], *names: str) -> tuple[Receipt, int]:
    return max((figures[name] for name in names), key=lambda figure: figure[0].gas_used)


def _signature(key: SigningKey, digest: bytes) -> bytes:
    return bytes.fromhex(key.sign(digest)[2:])


def _code_of(path: str) -> bytes:
    """Creation code from an artifact of an npm package."""
    return bytes.fromhex(json.loads((_MODULES / path).read_text())["bytecode"][2:])
