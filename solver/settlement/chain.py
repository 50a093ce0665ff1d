"""The one file that knows web3: a node's JSON-RPC, with time limits and our own faults.

Requests go through `AsyncWeb3`'s provider without its middleware, so that integers stay
integers and every error keeps its code. Reads are repeated a few times; a transaction is
sent once, because whoever sends has to know that the outcome may be unknown.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import msgspec
from aiohttp import ClientError, ClientTimeout
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from contracts.bindings import RawLog, revert_reason
from contracts.deploy import Receipt
from solver.settlement.fault import (
    AlreadyKnown,
    CallReverted,
    ChainMismatch,
    ChainUnreachable,
    FundsTooLow,
    NonceTooLow,
    RangeTooLarge,
    RequestRefused,
    SettlementFault,
    TransactionRefused,
    Underpriced,
)

RECURSION_MAX: Final = 1_000
# A library behind web3 raises this to 100,000 on import. A body of deeply nested JSON
# would then overflow the C stack of whoever decodes it, and end the process.
sys.setrecursionlimit(RECURSION_MAX)

TIMEOUT_S: Final = 10.0
ATTEMPTS_MAX: Final = 4
BACKOFF_S: Final = 0.05
LOG_BLOCKS_MAX: Final = 2_000
"""Most blocks in one request for logs."""
FEE_HISTORY_BLOCKS: Final = 8
FEE_PERCENTILE: Final = 60
Tag = int | str
"""A block number, or `latest`, `finalized`, `pending`."""

_SEND: Final = "eth_sendRawTransaction"
_BY_WORDS: Final[tuple[tuple[str, type[TransactionRefused]], ...]] = (
    ("nonce too low", NonceTooLow),
    ("already known", AlreadyKnown),
    ("already imported", AlreadyKnown),
    ("known transaction", AlreadyKnown),
    ("underpriced", Underpriced),
    ("max fee per gas less than block base fee", Underpriced),
    ("feecap", Underpriced),
    ("fee too low", Underpriced),
    ("insufficient funds", FundsTooLow),
)
_TOO_MANY_LOGS: Final = ("more than", "too many", "block range", "too large", "limit exceeded")


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a block's header."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: int


class Fees(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction pays per gas (EIP-1559): at most `max_wei`, of which a tip."""

    max_wei: int
    tip_wei: int


class ChainClient:
    """A node. `start` refuses another chain; `close` ends the HTTP session."""

    def __init__(self, url: str, *, chain_id: int, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._expected_chain_id = chain_id
        provider = AsyncHTTPProvider(
            url,
            request_kwargs={"timeout": ClientTimeout(total=timeout_s)},
            exception_retry_configuration=None,
        )
        self._provider = AsyncWeb3(provider).provider

    async def start(self) -> None:
        """Refuse a node of another chain. Raises ChainMismatch, ChainUnreachable."""
        found = await self.chain_id()
        if found != self._expected_chain_id:
            raise ChainMismatch(f"the node serves chain {found}, not {self._expected_chain_id}")

    async def close(self) -> None:
        """End the session."""
        await self._provider.disconnect()

    async def chain_id(self) -> int:
        """The node's chain id."""
        return _number(await self._read("eth_chainId"))

    async def block(self, tag: Tag) -> Block | None:
        """A block's header, or None if there is none yet."""
        return _block(await self._read("eth_getBlockByNumber", _tag(tag), False))

    async def head(self) -> Block:
        """The newest block."""
        return await self._known_block("latest")

    async def finalized(self) -> Block:
        """The newest block that cannot go away any more."""
        return await self._known_block("finalized")

    async def logs(
        self,
        first: int,
        last: int,
        *,
        topics: Sequence[bytes],
        addresses: Sequence[str] | None = None,
    ) -> list[RawLog]:
        """Logs of a range of at most LOG_BLOCKS_MAX blocks, in their order on chain.

        Raises RangeTooLarge where the range, or its answer, is larger than allowed.
        """
        if last - first >= LOG_BLOCKS_MAX:
            raise RangeTooLarge(f"{last - first + 1} blocks")
        query: dict[str, object] = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "topics": [["0x" + topic.hex() for topic in topics]],
        }
        if addresses is not None:
            query["address"] = list(addresses)
        found = _logs(await self._read("eth_getLogs", query))
        return sorted(found, key=lambda log: (log.block_number, log.log_index))

    async def call(
        self,
        to: str,
        data: bytes,
        *,
        sender: str | None = None,
        gas: int | None = None,
        at: Tag = "latest",
    ) -> bytes:
        """What a call returns at the end of a block. Raises CallReverted."""
        query: dict[str, object] = {"to": to, "data": "0x" + data.hex()}
        if sender is not None:
            query["from"] = sender
        if gas is not None:
            query["gas"] = hex(gas)
        return _data(await self._read("eth_call", query, _tag(at)))

    async def estimate_gas(self, to: str, data: bytes, *, sender: str) -> int:
        """Least gas with which a transaction succeeds now. Raises CallReverted."""
        query = {"to": to, "from": sender, "data": "0x" + data.hex()}
        return _number(await self._read("eth_estimateGas", query, "latest"))

    async def code(self, address: str) -> bytes:
        """The code at an address."""
        return _data(await self._read("eth_getCode", address, "latest"))

    async def nonce(self, address: str, at: Tag = "latest") -> int:
        """How many transactions an address had sent by the end of a block."""
        return _number(await self._read("eth_getTransactionCount", address, _tag(at)))

    async def balance(self, address: str) -> int:
        """Wei that an address holds now."""
        return _number(await self._read("eth_getBalance", address, "latest"))

    async def fees(self) -> Fees:
        """What gets a transaction into one of the next blocks: room for a doubled base fee."""
        history = await self._read(
            "eth_feeHistory", hex(FEE_HISTORY_BLOCKS), "latest", [FEE_PERCENTILE]
        )
        base, tip = _usual_fees(history)
        if not tip:
            tip = _number(await self._read("eth_maxPriorityFeePerGas"))
        return Fees(max_wei=2 * base + tip, tip_wei=tip)

    async def send(self, raw: bytes) -> None:
        """Offer signed bytes to the pool, once.

        Raises:
            TransactionRefused: the node said no; the subclass says why.
            ChainUnreachable: the outcome is unknown.
        """
        await self._request(_SEND, "0x" + raw.hex())

    async def receipt(self, transaction_hash: str) -> Receipt | None:
        """What became of a transaction; None unless it is mined."""
        found = await self._read("eth_getTransactionReceipt", transaction_hash)
        return _receipt(transaction_hash, found)

    async def is_known(self, transaction_hash: str) -> bool:
        """Whether the node has a transaction, mined or in its pool."""
        return await self._read("eth_getTransactionByHash", transaction_hash) is not None

    async def _known_block(self, tag: str) -> Block:
        block = await self.block(tag)
        if block is None:
            raise ChainUnreachable(f"the node has no {tag} block")
        return block

    async def _read(self, method: str, *params: object) -> Any:  # noqa: ANN401  whatever JSON says
        for attempt in range(ATTEMPTS_MAX - 1):
            try:
                return await self._request(method, *params)
            except ChainUnreachable:
                await asyncio.sleep(BACKOFF_S * 2**attempt)
        return await self._request(method, *params)

    async def _request(self, method: str, *params: object) -> Any:  # noqa: ANN401  as above
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._provider.make_request(RPCEndpoint(method), list(params))
        except (ClientError, OSError, TimeoutError, Web3Exception, ValueError) as error:
            raise ChainUnreachable(f"{method}: {type(error).__name__} {error}") from error
        if not isinstance(answer, dict):
            raise ChainUnreachable(f"{method}: an answer that is no object")
        if answer.get("error") is not None:
            _refuse(method, answer["error"])
        if "result" not in answer:
            raise ChainUnreachable(f"{method}: an answer with neither result nor error")
        return answer["result"]


def _refuse(method: str, error: Any) -> NoReturn:  # noqa: ANN401  whatever JSON says
    raise fault_of(method, error)


def fault_of(method: str, error: Any) -> SettlementFault:  # noqa: ANN401  whatever JSON says
    """The fault that a JSON-RPC error stands for."""
    if not isinstance(error, dict):
        return RequestRefused(f"{method}: {error}")
    message = str(error.get("message", "")).lower()
    if method == _SEND:
        kinds = [kind for words, kind in _BY_WORDS if words in message]
        return (kinds or [TransactionRefused])[0](f"{error.get('code')} {message}")
    if method == "eth_getLogs" and any(words in message for words in _TOO_MANY_LOGS):
        return RangeTooLarge(message)
    if "revert" in message or error.get("code") == 3:  # noqa: PLR2004  geth's code of a revert
        data = _revert_data(error.get("data"))
        return CallReverted(revert_reason(data) if data else message, data)
    return RequestRefused(f"{method}: {error.get('code')} {message}")


def _revert_data(value: object) -> bytes:
    """Nodes put it in `data`, as hex or one level deeper."""
    if isinstance(value, dict):
        value = value.get("data")
    if not isinstance(value, str) or not value.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        return b""


@contextmanager
def _understood() -> Iterator[None]:
    """An answer of another form than asked for is as good as none."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ChainUnreachable(f"malformed answer: {type(error).__name__} {error}") from error


@_understood()
def _block(found: Any) -> Block | None:  # noqa: ANN401  whatever JSON says
    if found is None:
        return None
    return Block(
        number=int(found["number"], 16),
        hash=found["hash"],
        timestamp=int(found["timestamp"], 16),
        base_fee_wei=int(found.get("baseFeePerGas", "0x0"), 16),
    )


@_understood()
def _receipt(transaction_hash: str, found: Any) -> Receipt | None:  # noqa: ANN401  as above
    if found is None or found["blockNumber"] is None:
        return None
    return Receipt(
        transaction_hash=transaction_hash,
        succeeded=int(found["status"], 16) == 1,
        block_number=int(found["blockNumber"], 16),
        block_hash=found["blockHash"],
        gas_used=int(found["gasUsed"], 16),
        contract_address=found.get("contractAddress"),
    )


@_understood()
def _usual_fees(history: Any) -> tuple[int, int]:  # noqa: ANN401  as above
    """The next base fee, and the median of the tips that were paid, or 0."""
    tips = [int(row[0], 16) for row in history.get("reward") or [] if row]
    paid = sorted(tip for tip in tips if tip)
    return int(history["baseFeePerGas"][-1], 16), paid[len(paid) // 2] if paid else 0


@_understood()
def _logs(found: Any) -> list[RawLog]:  # noqa: ANN401  as above
    if any(log.get("removed") for log in found):
        raise ChainUnreachable("the node gave a removed log")
    return [
        RawLog(
            address=log["address"].lower(),
            topics=tuple(_data(topic) for topic in log["topics"]),
            data=_data(log["data"]),
            block_number=int(log["blockNumber"], 16),
            block_hash=log["blockHash"],
            log_index=int(log["logIndex"], 16),
            transaction_hash=log["transactionHash"],
        )
        for log in found
    ]


def _tag(tag: Tag) -> str:
    return hex(tag) if isinstance(tag, int) else tag


@_understood()
def _number(text: Any) -> int:  # noqa: ANN401  as above
    return int(text, 16)


@_understood()
def _data(text: Any) -> bytes:  # noqa: ANN401  as above
    return bytes.fromhex(text.removeprefix("0x"))
