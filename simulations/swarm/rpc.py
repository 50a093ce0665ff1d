"""A node's JSON-RPC under the real ChainClient, with what nodes do to their callers.

The seam is web3's provider: everything of ours above it, retries and parsing included, is
the real code.
"""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any, Final, NoReturn

from eth_abi.abi import encode

from contracts.abi import Parameter
from contracts.bindings import ACCOUNT, BONDS, FACTORY, MAGIC_1271, SETTLEMENT, USDC, topics_of
from contracts.deploy import Deployment
from simulations.swarm.calldata import Revert
from simulations.swarm.chain import (
    BASE_FEE_WEI,
    GAS_USED,
    Chain,
    ChainBlock,
    PoolRefused,
)
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.session_contract import Log
from solver.settlement.chain import ChainClient

ANSWER_S: Final = 0.02
TIMEOUT_S: Final = 4.0
STALE_BLOCKS_MAX: Final = 4
_ACCOUNT_OF: Final = SETTLEMENT.function("accountOf")
_IS_SETTLED: Final = SETTLEMENT.function("isBatchSettled")
_ROOT_SETTLED_AT: Final = SETTLEMENT.function("rootSettledAt")
_BALANCE_OF: Final = USDC.function("balanceOf")
_GETTERS: Final = {
    function.selector: (function, name)
    for function, name in (
        (SETTLEMENT.function("operator"), "operator_account"),
        (SETTLEMENT.function("asset"), "usdc"),
        (SETTLEMENT.function("exitDelay"), "exit_delay_s"),
        (FACTORY.function("implementation"), "implementation"),
        (ACCOUNT.function("settlement"), "settlement"),
        (ACCOUNT.function("owner"), "operator_owner"),
    )
}
_IS_PENALISED: Final = BONDS.function("isPenalised")
_BOND_TOPICS: Final = frozenset(topics_of(BONDS))
_IS_LIVE: Final = ACCOUNT.function("isSessionLive")
_IS_SESSION: Final = SETTLEMENT.function("isSessionLive")
_IS_VALID: Final = ACCOUNT.function("isValidSignature")


class NodeAway(OSError):
    """No answer, as the HTTP client would raise it."""


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, message: str, code: int = -32_000, data: str = "") -> None:
        super().__init__(message)
        self.error: Final = {"code": code, "message": message, "data": data}


class Provider:
    """What web3 calls a provider: it takes requests, alone or many together."""

    def __init__(
        self, chain: Chain, deployment: Deployment, faults: Faults, random: Random
    ) -> None:
        self._chain = chain
        self._deployment = deployment
        self._faults = faults
        self._random = random

    async def make_request(self, method: str, params: list[Any]) -> dict[str, Any]:
        """Answer, late or never."""
        if method == "eth_sendRawTransaction" and self._faults.strike(FaultKind.UNKNOWN_SEND):
            return await self._send_into_the_dark(params)
        return (await self.make_batch_request([(method, params)]))[0]

    async def make_batch_request(self, asked: list[tuple[str, Any]]) -> list[dict[str, Any]]:
        """Answer all of them, late or never."""
        if self._faults.strike(FaultKind.RPC_TIMEOUT):
            await self._time_out()
        await asyncio.sleep(ANSWER_S)
        return [self._answer_one(method, params) for method, params in asked]

    def _answer_one(self, method: str, params: list[Any]) -> dict[str, Any]:
        try:
            return {"result": getattr(self, f"_{method}")(*params)}
        except Refused as refused:
            return {"error": refused.error}

    async def _send_into_the_dark(self, params: list[Any]) -> NoReturn:
        """Carried out or not; the caller hears nothing."""
        if self._random.random() < 0.5:  # noqa: PLR2004  a coin
            with suppress(Refused):
                self._eth_sendRawTransaction(*params)
        await self._time_out()

    @staticmethod
    async def _time_out() -> NoReturn:
        await asyncio.sleep(TIMEOUT_S)
        raise NodeAway("timed out")

    # ---------------------------------------------------------------- methods

    @staticmethod
    def _eth_chainId() -> str:  # noqa: N802  as the protocol spells it
        return hex(31_337)

    def _eth_getBlockByNumber(self, tag: str, _: bool) -> dict[str, str] | None:  # noqa: N802, FBT001
        block = self._block(tag)
        if block is None:
            return None
        return {
            "number": hex(block.number),
            "hash": block.hash,
            "timestamp": hex(block.time_s),
            "baseFeePerGas": hex(BASE_FEE_WEI),
        }

    def _eth_getLogs(self, query: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        wanted = set(query["topics"][0])
        addresses = query.get("address")
        found = [
            entry
            for block in self._chain.blocks[first : last + 1]
            for entry in self._logs_of(block)
            if entry["topics"][0] in wanted
        ]
        return [entry for entry in found if addresses is None or entry["address"] in addresses]

    def _eth_getTransactionCount(self, sender: str, tag: str) -> str:  # noqa: N802
        if tag == "pending":
            nonce = self._chain.head.nonces[sender]
            while (sender, nonce) in self._chain.pool:
                nonce += 1
            return hex(nonce)
        block = self._block(tag)
        return hex(block.nonces[sender] if block else 0)

    def _eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        try:
            self._chain.send(bytes.fromhex(raw[2:]))
        except PoolRefused as refused:
            raise Refused(str(refused)) from refused
        return raw[:66]

    def _eth_getTransactionReceipt(self, transaction_hash: str) -> dict[str, Any] | None:  # noqa: N802
        found = self._chain.find(transaction_hash)
        if found is None:
            return None
        block, mined = found
        return {
            "transactionHash": transaction_hash,
            "status": hex(mined.succeeded),
            "blockNumber": hex(block.number),
            "blockHash": block.hash,
            "gasUsed": hex(GAS_USED),
            "contractAddress": mined.transaction.creates or None,
        }

    def _eth_getTransactionByHash(self, transaction_hash: str) -> dict[str, str] | None:  # noqa: N802
        pooled = any(entry.hash == transaction_hash for entry in self._chain.pool.values())
        known = pooled or self._chain.find(transaction_hash) is not None
        return {"hash": transaction_hash} if known else None

    @staticmethod
    def _eth_feeHistory(*_: object) -> dict[str, Any]:  # noqa: N802
        return {"baseFeePerGas": [hex(BASE_FEE_WEI)], "reward": [[hex(10**8)]]}

    def _eth_getCode(self, address: str, tag: str) -> str:  # noqa: N802
        """All other contracts are there, whatever their code is."""
        block = self._block(tag)
        listed = block.ledger.books.get(address, ()) if block else ()
        return "0x00" + "".join(account[2:] for account in listed)

    def _eth_estimateGas(self, query: dict[str, str], _: str) -> str:  # noqa: N802
        self._simulate(query, self._chain.head)
        return hex(GAS_USED)

    def _eth_call(self, query: dict[str, str], tag: str) -> str:
        block = self._block(tag)
        if block is None:
            raise Refused("unknown block")
        data = bytes.fromhex(query["data"][2:])
        return "0x" + self._answer(query, data, block).hex()

    # ---------------------------------------------------------------- views

    def _answer(  # noqa: PLR0911  one a view
        self, query: dict[str, str], data: bytes, block: ChainBlock
    ) -> bytes:
        ledger = block.ledger
        match data[:4]:
            case _ACCOUNT_OF.selector:
                (account,) = _ACCOUNT_OF.decode_inputs(data[4:])
                balance = ledger.balances.get(account, 0)
                return b"".join(number.to_bytes(32, "big") for number in (balance, 0, 0, 0, 0, 0))
            case _IS_SETTLED.selector:
                (number,) = _IS_SETTLED.decode_inputs(data[4:])
                return int(number in ledger.batches).to_bytes(32, "big")
            case _ROOT_SETTLED_AT.selector:
                number, root = _ROOT_SETTLED_AT.decode_inputs(data[4:])
                return ledger.roots.get((number, "0x" + root.hex()), 0).to_bytes(32, "big")
            case _BALANCE_OF.selector:
                return sum(ledger.balances.values()).to_bytes(32, "big")
            case _IS_PENALISED.selector:
                place = _IS_PENALISED.decode_inputs(data[4:])
                return int(tuple(place) in ledger.penalised).to_bytes(32, "big")
            case _IS_LIVE.selector:
                return (1).to_bytes(32, "big")
            case _IS_SESSION.selector:
                account, key, asked = _IS_SESSION.decode_inputs(data[4:])
                live = ledger.is_live(account, key, asked, block.time_s)
                return int(live).to_bytes(32, "big")
            case _IS_VALID.selector:
                digest, signature = _IS_VALID.decode_inputs(data[4:])
                valid = ledger.accepts(query["to"], digest, "0x" + signature.hex())
                return MAGIC_1271.ljust(32, b"\0") if valid else b""
            case selector if selector in _GETTERS:
                value = getattr(self._deployment, _GETTERS[selector][1])
                number = value if isinstance(value, int) else int(value, 16)
                return int(number).to_bytes(32, "big")
        self._simulate(query, block)
        return b""

    def _simulate(self, query: dict[str, str], block: ChainBlock) -> None:
        try:
            self._chain.simulate(bytes.fromhex(query["data"][2:]), block)
        except Revert as revert:
            raise Refused(f"execution reverted: {revert}", 3) from revert

    def _block(self, tag: str) -> ChainBlock | None:
        blocks = self._chain.blocks
        if tag in ("latest", "pending"):
            behind = 0
            if self._faults.strike(FaultKind.STALE_HEAD):
                behind = self._random.randint(1, STALE_BLOCKS_MAX)
            return blocks[max(0, len(blocks) - 1 - behind)]
        if tag == "finalized":
            behind = 0
            if self._faults.strike(FaultKind.LATE_FACTS):
                behind = self._random.randint(1, STALE_BLOCKS_MAX)
            return blocks[max(0, self._chain.final.number - behind)]
        number = int(tag, 16)
        return blocks[number] if number < len(blocks) else None

    def _logs_of(self, block: ChainBlock) -> list[dict[str, Any]]:
        return [
            _log(entry, block, place, transaction, self._deployment)
            for place, (entry, transaction) in enumerate(block.logs)
        ]


def _log(
    log: Log, block: ChainBlock, place: int, transaction: str, deployment: Deployment
) -> dict[str, Any]:
    item, values = log
    pairs = list(zip(item.inputs, values, strict=True))
    topics = [item.topic, *(_word(value) for part, value in pairs if part.indexed)]
    told = [(part, value) for part, value in pairs if not part.indexed]
    return {
        "address": deployment.bonds if item.topic in _BOND_TOPICS else deployment.settlement,
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + _data(told).hex(),
        "blockNumber": hex(block.number),
        "blockHash": block.hash,
        "logIndex": hex(place),
        "transactionHash": transaction,
    }


def _data(told: list[tuple[Parameter, Any]]) -> bytes:
    """What an event does not index; the general encoder is slow, and rarely needed."""
    if any(part.type == "bytes" for part, _ in told):
        return encode([part.type for part, _ in told], [value for _, value in told])
    return b"".join(_word(value) for _, value in told)


def _word(value: object) -> bytes:
    """A static value as the ABI encodes it."""
    if isinstance(value, bytes):
        return value.rjust(32, b"\0")
    number = int(value, 16) if isinstance(value, str) else int(value)  # type: ignore[call-overload]
    return bytes(number.to_bytes(32, "big"))


def client_of(provider: Provider) -> ChainClient:
    """The real client over our provider; its own was never connected."""
    client = ChainClient("http://node.invalid", chain_id=31_337)
    client._provider = provider  # type: ignore[assignment]  # noqa: SLF001  the seam
    return client
