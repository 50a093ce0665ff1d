"""What a node is asked, and how its answers are read: values of ours, or no answer at all.

An `Ask` is a request with its reading, so that one can be sent alone or many together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

import msgspec

from contracts.abi import Item
from contracts.bindings import RawLog
from contracts.deploy import Receipt
from contracts.fault import WrongContract
from solver.settlement.fault import ChainUnreachable, RangeTooLarge

LOG_BLOCKS_MAX: Final = 2_000
"""Most blocks in one request for logs."""
Tag = int | str
"""A block number, or `latest`, `finalized`, `pending`."""

T = TypeVar("T")


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a block's header."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: int


class Ask(msgspec.Struct, Generic[T], frozen=True):
    """A JSON-RPC request; `read` raises ChainUnreachable for what is no answer to it."""

    method: str
    params: tuple[object, ...]
    read: Callable[[Any], T]


def chain_id() -> Ask[int]:
    """The node's chain id."""
    return Ask("eth_chainId", (), _number)


def block(tag: Tag) -> Ask[Block | None]:
    """A block's header, or None if there is none yet."""
    return Ask("eth_getBlockByNumber", (_tag(tag), False), _block)


def known_block(tag: str) -> Ask[Block]:
    """The header of a block that every node has."""

    def read(found: Any) -> Block:  # noqa: ANN401  whatever JSON says
        header = _block(found)
        if header is None:
            raise ChainUnreachable(f"the node has no {tag} block")
        return header

    return Ask("eth_getBlockByNumber", (tag, False), read)


def logs(
    first: int, last: int, *, topics: Sequence[bytes], addresses: Sequence[str] | None = None
) -> Ask[list[RawLog]]:
    """Logs of a range of at most LOG_BLOCKS_MAX blocks, in their order on chain.

    Raises RangeTooLarge, at once, where the range is larger.
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
    return Ask("eth_getLogs", (query,), _logs)


def call(
    to: str, data: bytes, *, sender: str | None = None, gas: int | None = None, at: Tag = "latest"
) -> Ask[bytes]:
    """What a call returns at the end of a block."""
    query: dict[str, object] = {"to": to, "data": "0x" + data.hex()}
    if sender is not None:
        query["from"] = sender
    if gas is not None:
        query["gas"] = hex(gas)
    return Ask("eth_call", (query, _tag(at)), _data)


def gas(to: str, data: bytes, *, sender: str) -> Ask[int]:
    """Least gas with which a transaction succeeds now."""
    query = {"to": to, "from": sender, "data": "0x" + data.hex()}
    return Ask("eth_estimateGas", (query, "latest"), _number)


def code(address: str) -> Ask[bytes]:
    """The code at an address."""
    return Ask("eth_getCode", (address, "latest"), _data)


def nonce(address: str, at: Tag = "latest") -> Ask[int]:
    """How many transactions an address had sent by the end of a block."""
    return Ask("eth_getTransactionCount", (address, _tag(at)), _number)


def balance(address: str) -> Ask[int]:
    """Wei that an address holds now."""
    return Ask("eth_getBalance", (address, "latest"), _number)


def usual_fees(blocks: int, percentile: int) -> Ask[tuple[int, int]]:
    """The next base fee, and the median of the tips that were paid, or 0."""
    return Ask("eth_feeHistory", (hex(blocks), "latest", [percentile]), _usual_fees)


def usual_tip() -> Ask[int]:
    """What the node would tip."""
    return Ask("eth_maxPriorityFeePerGas", (), _number)


def receipt(transaction_hash: str) -> Ask[Receipt | None]:
    """What became of a transaction; None unless it is mined.

    What the node says of another transaction says nothing of this one.
    """

    def read(found: Any) -> Receipt | None:  # noqa: ANN401  as above
        return _receipt(transaction_hash, found)

    return Ask("eth_getTransactionReceipt", (transaction_hash,), read)


def is_known(transaction_hash: str) -> Ask[bool]:
    """Whether the node has a transaction, mined or in its pool."""

    def read(found: Any) -> bool:  # noqa: ANN401  as above
        return found is not None and _is_of(transaction_hash, found, "hash")

    return Ask("eth_getTransactionByHash", (transaction_hash,), read)


def decoded(function: Item, answer: bytes) -> tuple[Any, ...]:
    """What a call of a contract that is known to be there returned; raises ChainUnreachable.

    A node that has not got so far yet answers with nothing at all.
    """
    try:
        return function.decode_outputs(answer)
    except WrongContract as error:
        raise ChainUnreachable(str(error)) from error


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
    if not _is_of(transaction_hash, found, "transactionHash"):
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
def _is_of(transaction_hash: str, found: Any, field: str) -> bool:  # noqa: ANN401  as above
    return bool(found[field].lower() == transaction_hash)


@_understood()
def _usual_fees(history: Any) -> tuple[int, int]:  # noqa: ANN401  as above
    tips = [int(row[0], 16) for row in history.get("reward") or [] if row]
    paid = sorted(tip for tip in tips if tip)
    return int(history["baseFeePerGas"][-1], 16), paid[len(paid) // 2] if paid else 0


@_understood()
def _logs(found: Any) -> list[RawLog]:  # noqa: ANN401  as above
    if any(log.get("removed") for log in found):
        raise ChainUnreachable("the node gave a removed log")
    read = [
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
    return sorted(read, key=lambda log: (log.block_number, log.log_index))


def _tag(tag: Tag) -> str:
    return hex(tag) if isinstance(tag, int) else tag


@_understood()
def _number(text: Any) -> int:  # noqa: ANN401  as above
    return int(text, 16)


@_understood()
def _data(text: Any) -> bytes:  # noqa: ANN401  as above
    return bytes.fromhex(text.removeprefix("0x"))
