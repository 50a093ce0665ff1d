"""The one file that knows web3: a node's JSON-RPC, with time limits and our own faults.

Requests go through `AsyncWeb3`'s provider without its middleware, so that integers stay
integers and every error keeps its code. Reads are repeated a few times; a transaction is
sent once, because whoever sends has to know that the outcome may be unknown.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeVar, cast

import msgspec
from aiohttp import ClientError, ClientResponseError, ClientTimeout
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint, RPCRequest

from contracts.bindings import RawLog, revert_reason
from contracts.deploy import Receipt
from solver.settlement import ask
from solver.settlement.ask import Ask, Block, Tag
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
ASKS_MAX: Final = 100
"""Most questions in one request."""
FEE_HISTORY_BLOCKS: Final = 8
FEE_PERCENTILE: Final = 60

_PASSING_STATUSES: Final = (408, 425, 429)
"""Of HTTP's 4xx those that do not mean that the node refuses what was asked."""
_SERVER_ERROR: Final = 500
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

T = TypeVar("T")


class Fees(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction pays per gas (EIP-1559): at most `max_wei`, of which a tip."""

    max_wei: int
    tip_wei: int


class _Provider(AsyncHTTPProvider):
    """Answers must be to what was asked: with another request's id they are none."""

    async def make_request(self, method: RPCEndpoint, params: Any) -> Any:  # noqa: ANN401  JSON
        request = self.form_request(method, params)
        (answer,) = _answers([request], await self._post(method, self.encode_rpc_dict(request)))
        return answer

    async def make_batch_request(self, batch_requests: list[tuple[RPCEndpoint, Any]]) -> Any:  # noqa: ANN401  JSON
        """Answers in the order of the requests; or one error that is about all of them."""
        requests = [self.form_request(method, params) for method, params in batch_requests]
        body = self.encode_batch_request_dicts(requests)
        try:
            found = await self._post(batch_requests[0][0], body)
        except ClientResponseError as error:
            if error.status in _PASSING_STATUSES or error.status >= _SERVER_ERROR:
                raise
            return {"error": {"code": error.status, "message": error.message}}
        if isinstance(found, dict) and found.get("error") is not None:
            return found
        return _answers(requests, found)

    async def _post(self, method: RPCEndpoint, body: bytes) -> Any:  # noqa: ANN401  JSON
        return self.decode_rpc_response(await self._make_request(method, body))


def _answers(requests: list[RPCRequest], found: Any) -> list[Any]:  # noqa: ANN401  whatever JSON says
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(answer, dict) for answer in listed):
        raise ValueError("an answer that is no object")
    by_id = {answer.get("id"): answer for answer in listed if _has_simple_id(answer)}
    return [by_id[request["id"]] for request in requests]


def _has_simple_id(answer: dict[str, Any]) -> bool:
    return isinstance(answer.get("id"), int | str)


class ChainClient:
    """A node. `start` refuses another chain; `close` ends the HTTP session."""

    def __init__(self, url: str, *, chain_id: int, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._expected_chain_id = chain_id
        provider = _Provider(
            url,
            request_kwargs={"timeout": ClientTimeout(total=timeout_s)},
            exception_retry_configuration=None,
        )
        self._provider = AsyncWeb3(provider).provider

    async def start(self) -> None:
        """Refuse a node of another chain. Raises ChainMismatch, ChainUnreachable."""
        self.check_chain_id(await self.chain_id())

    async def close(self) -> None:
        """End the session."""
        await self._provider.disconnect()

    def check_chain_id(self, found: int) -> None:
        """A node may be exchanged under its address at any time. Raises ChainMismatch."""
        if found != self._expected_chain_id:
            raise ChainMismatch(f"the node serves chain {found}, not {self._expected_chain_id}")

    async def chain_id(self) -> int:
        """The node's chain id."""
        return await self.read(ask.chain_id())

    async def block(self, tag: Tag) -> Block | None:
        """A block's header, or None if there is none yet."""
        return await self.read(ask.block(tag))

    async def head(self) -> Block:
        """The newest block."""
        return await self.read(ask.known_block("latest"))

    async def finalized(self) -> Block:
        """The newest block that cannot go away any more, on our chain. Raises ChainMismatch."""
        asks: list[Ask[Any]] = [ask.chain_id(), ask.known_block("finalized")]
        found, final = await self.read_all(asks)
        self.check_chain_id(found)
        return cast("Block", final)

    async def logs(
        self,
        first: int,
        last: int,
        *,
        topics: Sequence[bytes],
        addresses: Sequence[str] | None = None,
    ) -> list[RawLog]:
        """Logs of a range of blocks, in their order on chain. Raises RangeTooLarge."""
        return await self.read(ask.logs(first, last, topics=topics, addresses=addresses))

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
        return await self.read(ask.call(to, data, sender=sender, gas=gas, at=at))

    async def estimate_gas(self, to: str, data: bytes, *, sender: str) -> int:
        """Least gas with which a transaction succeeds now. Raises CallReverted."""
        return await self.read(ask.gas(to, data, sender=sender))

    async def code(self, address: str) -> bytes:
        """The code at an address."""
        return await self.read(ask.code(address))

    async def nonce(self, address: str, at: Tag = "latest") -> int:
        """How many transactions an address had sent by the end of a block."""
        return await self.read(ask.nonce(address, at))

    async def balance(self, address: str) -> int:
        """Wei that an address holds now."""
        return await self.read(ask.balance(address))

    async def fees(self) -> Fees:
        """What gets a transaction into one of the next blocks: room for a doubled base fee."""
        base, tip = await self.read(ask.usual_fees(FEE_HISTORY_BLOCKS, FEE_PERCENTILE))
        if not tip:
            tip = await self.read(ask.usual_tip())
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
        return await self.read(ask.receipt(transaction_hash))

    async def is_known(self, transaction_hash: str) -> bool:
        """Whether the node has a transaction, mined or in its pool."""
        return await self.read(ask.is_known(transaction_hash))

    async def read(self, one: Ask[T]) -> T:
        """Ask a few times until there is an answer. Raises ChainUnreachable, RequestRefused."""
        return one.read(await self._patiently(lambda: self._request(one.method, *one.params)))

    async def read_all(self, asks: Sequence[Ask[T]]) -> list[T]:
        """The answers to many, in as few requests as allowed; those of one come from one node.

        Raises what the first of them that failed would have raised alone.
        """
        answers: list[T] = []
        for start in range(0, len(asks), ASKS_MAX):
            some = asks[start : start + ASKS_MAX]
            results = await self._patiently(partial(self._request_all, some))
            answers += [one.read(result) for one, result in zip(some, results, strict=True)]
        return answers

    async def _patiently(self, request: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(ATTEMPTS_MAX - 1):
            try:
                return await request()
            except ChainUnreachable:
                await asyncio.sleep(BACKOFF_S * 2**attempt)
        return await request()

    async def _request(self, method: str, *params: object) -> Any:  # noqa: ANN401  whatever JSON says
        answer = await self._answered(
            method, self._provider.make_request(RPCEndpoint(method), list(params))
        )
        return _result(method, answer)

    async def _request_all(self, asks: Sequence[Ask[Any]]) -> list[Any]:
        """In one request; one by one where the node takes no list, or not this one."""
        listed = [(RPCEndpoint(one.method), list(one.params)) for one in asks]
        name = f"{len(asks)} requests"
        found = await self._answered(name, self._provider.make_batch_request(listed))
        if isinstance(found, list):
            return [_result(one.method, answer) for one, answer in zip(asks, found, strict=True)]
        return [await self._request(one.method, *one.params) for one in asks]

    async def _answered(self, name: str, request: Awaitable[Any]) -> Any:  # noqa: ANN401  as above
        try:
            async with asyncio.timeout(self._timeout_s):
                return await request
        except (
            ClientError,
            LookupError,
            OSError,
            TimeoutError,
            Web3Exception,
            ValueError,
        ) as error:
            raise ChainUnreachable(f"{name}: {type(error).__name__} {error}") from error


def _result(method: str, answer: Any) -> Any:  # noqa: ANN401  whatever JSON says
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
