"""Answers of a node, good and bad, become our own values and faults."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from contracts.anvil import Anvil
from contracts.bindings import SETTLEMENT, revert_reason
from contracts.fault import WrongContract
from intents.signature import SigningKey
from solver.settlement.ask import LOG_BLOCKS_MAX, Ask, chain_id
from solver.settlement.chain import ChainClient, Fees, fault_of
from solver.settlement.fault import (
    AlreadyKnown,
    CallReverted,
    ChainUnreachable,
    FundsTooLow,
    NonceTooLow,
    RangeTooLarge,
    RequestRefused,
    SettlementFault,
    TransactionRefused,
    Underpriced,
)
from solver.settlement.signatures import ContractSignatures
from solver.settlement.transaction import Transaction, sign
from tests.patience import patience_s, patiently
from tests.settlement.world import CHAIN_ID, DEPLOYER, World

SEND, CALL, LOGS = "eth_sendRawTransaction", "eth_call", "eth_getLogs"


@pytest.mark.parametrize(
    ("method", "error", "fault"),
    [
        (SEND, {"code": -32000, "message": "nonce too low: next 5, tx 4"}, NonceTooLow),
        (SEND, {"code": -32003, "message": "nonce too low"}, NonceTooLow),
        (SEND, {"code": -32000, "message": "already known"}, AlreadyKnown),
        (SEND, {"code": -32003, "message": "transaction already imported"}, AlreadyKnown),
        (SEND, {"code": -32000, "message": "replacement transaction underpriced"}, Underpriced),
        (SEND, {"message": "max fee per gas less than block base fee"}, Underpriced),
        (SEND, {"message": "Insufficient funds for gas * price + value"}, FundsTooLow),
        (SEND, {"code": -32000, "message": "intrinsic gas too low"}, TransactionRefused),
        (CALL, {"code": 3, "message": "execution reverted", "data": "0x"}, CallReverted),
        (CALL, {"code": -32000, "message": "reverted", "data": {"data": "0xzz"}}, CallReverted),
        (CALL, {"code": -32601, "message": "method not found"}, RequestRefused),
        (
            LOGS,
            {"code": -32005, "message": "query returned more than 10000 results"},
            RangeTooLarge,
        ),
        (LOGS, {"code": -32602, "message": "exceed maximum block range: 5000"}, RangeTooLarge),
        (CALL, "no object", RequestRefused),
    ],
)
def test_a_nodes_refusal_becomes_one_fault(
    method: str, error: Any, fault: type[SettlementFault]
) -> None:
    """Each refusal that nodes are known to give has exactly one class."""
    assert type(fault_of(method, error)) is fault


def test_a_revert_is_read_in_the_contracts_words() -> None:
    """Custom errors are decoded from the committed ABI."""
    item = next(i for i in SETTLEMENT.errors.values() if i.name == "BatchAlreadySettled")
    data = "0x" + item.encode(7).hex()
    fault = fault_of(CALL, {"code": 3, "message": "execution reverted", "data": data})
    assert isinstance(fault, CallReverted)
    assert fault.reason == "BatchAlreadySettled(7)"


@pytest.mark.parametrize(
    "data",
    [
        "08c379a0" + "00" * 10,
        "08c379a0" + f"{32:064x}{2:064x}" + "ff" * 32,
        "08c379a0" + "ff" * 64,
        "4e487b71",
        next(i for i in SETTLEMENT.errors.values() if i.inputs).selector.hex(),
        "01",
    ],
    ids=["cut off", "not text", "huge offset", "bare panic", "bare error", "a byte"],
)
def test_a_malformed_revert_is_shown_as_it_is(data: str) -> None:
    """A contract may revert with any bytes; what cannot be read is told in hex."""
    assert revert_reason(bytes.fromhex(data)) == f"unknown error 0x{data[:72]}"


@pytest.mark.parametrize("answer", [b"", b"\x01", b"\xff" * 31])
def test_an_empty_answer_is_the_wrong_contract(answer: bytes) -> None:
    """A call to an address without our code answers nothing: that is a fault with a name."""
    with pytest.raises(WrongContract):
        SETTLEMENT.function("isBatchSettled").decode_outputs(answer)


@asynccontextmanager
async def a_node(answer: bytes | None) -> AsyncIterator[tuple[ChainClient, list[bytes]]]:
    """A server that says one thing; None: it takes the request and says nothing."""
    seen: list[bytes] = []
    open_ended: list[asyncio.Task[None]] = []

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ended.append(asyncio.create_task(answer_one(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    timeout_s = 0.5 if answer is None else patience_s()
    chain = ChainClient(f"http://127.0.0.1:{port}", chain_id=CHAIN_ID, timeout_s=timeout_s)
    try:
        yield chain, seen
    finally:
        await chain.close()
        server.close()
        await asyncio.wait_for(asyncio.gather(*open_ended), patience_s())


def _http(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"not http at all\r\n\r\n",
        _http(b"{", "200 OK"),
        _http(b"[]"),
        _http(b'"text"'),
        _http(b'{"jsonrpc":"2.0","id":0}'),
        _http(b"busy", "503 Service Unavailable"),
        _http(b"", "429 Too Many Requests"),
    ],
    ids=["silence", "closed", "noise", "cut", "list", "text", "empty", "503", "429"],
)
async def test_a_useless_answer_leaves_the_outcome_unknown(answer: bytes | None) -> None:
    """Reads are repeated a few times, a send is not, and both end in one fault."""
    async with a_node(answer) as (chain, seen):
        with pytest.raises(ChainUnreachable):
            await chain.send(b"\x02")
        assert len(seen) == 1
        with pytest.raises(ChainUnreachable):
            await chain.chain_id()
        assert len(seen) == 5


@pytest.mark.parametrize("result", ["{}", "[{}]", "7", '"0xzz"', '{"number":null}', "[[]]"])
async def test_a_malformed_result_is_no_answer(result: str) -> None:
    """Whatever JSON a node sends, reading it ends in the one fault and never in another error."""
    body = _http(b'{"jsonrpc":"2.0","id":0,"result":' + result.encode() + b"}")
    questions: tuple[Callable[[ChainClient], Awaitable[object]], ...] = (
        lambda chain: chain.block("latest"),
        lambda chain: chain.receipt("0x00"),
        lambda chain: chain.is_known("0x00"),
        lambda chain: chain.logs(0, 1, topics=[]),
        lambda chain: chain.fees(),
        lambda chain: chain.chain_id(),
        lambda chain: chain.call("0x00", b""),
    )
    for question in questions:
        async with a_node(body) as (chain, _):
            with suppress(ChainUnreachable):
                assert await question(chain) in ([], 7, b""), result


async def test_an_error_that_is_null_is_none() -> None:
    """Some nodes send both fields of JSON-RPC; only one of them says something."""
    body = _http(b'{"jsonrpc":"2.0","id":0,"error":null,"result":"0x7"}')
    async with a_node(body) as (chain, _):
        assert await chain.chain_id() == 7


async def test_an_answer_to_another_request_is_none() -> None:
    """A proxy that repeats what it said before is noticed by the id that it repeats."""
    body = _http(b'{"jsonrpc":"2.0","id":0,"result":"0x7"}')
    async with a_node(body) as (chain, _):
        assert await chain.chain_id() == 7
        with pytest.raises(ChainUnreachable):
            await chain.chain_id()


@pytest.mark.parametrize(
    "body",
    [
        b'[{"id":0,"result":"0x1"}]',
        b'[{"id":0,"result":"0x1"},{"id":2,"result":"0x1"}]',
        b'[{"id":0,"result":"0x1"},{"id":null,"result":"0x1"}]',
        b'[{"id":0,"result":"0x1"},{"id":[1],"result":"0x1"}]',
        b'[{"id":0,"result":"0x1"},7]',
        b'[{"id":0,"result":"0x1"},{"id":1}]',
        b"[]",
        b"{}",
        b"null",
    ],
    ids=["short", "foreign", "null", "odd", "number", "hollow", "empty", "object", "nothing"],
)
async def test_a_part_of_an_answer_is_none(body: bytes) -> None:
    """Of two questions both are answered, or nothing is known."""
    async with a_node(_http(body)) as (chain, _):
        with pytest.raises(ChainUnreachable):
            await chain._request_all([chain_id(), chain_id()])


async def test_answers_come_in_the_order_of_the_questions() -> None:
    """Whatever order the node has them in."""
    body = b'[{"id":1,"result":"0x8"},{"id":0,"result":"0x7"}]'
    async with a_node(_http(body)) as (chain, _):
        assert await chain.read_all([chain_id(), chain_id()]) == [7, 8]


@pytest.mark.parametrize(
    "refusal",
    [
        _http(b'{"id":null,"error":{"code":-32600,"message":"batches are not supported"}}'),
        _http(b'{"error":"no batches"}', "400 Bad Request"),
        _http(b"", "413 Payload Too Large"),
    ],
    ids=["error", "400", "413"],
)
async def test_a_node_that_takes_no_lists_is_asked_one_by_one(refusal: bytes) -> None:
    """What is refused as a list is asked singly; a node that is only busy is not."""
    async with a_node(refusal) as (chain, seen):
        single = chain._request

        async def answered(method: str, *params: object) -> Any:
            return "0x7"

        chain._request = answered  # type: ignore[method-assign]
        assert await chain.read_all([chain_id()] * 3) == [7, 7, 7]
        assert len(seen) == 1
        chain._request = single  # type: ignore[method-assign]
    async with a_node(_http(b"", "429 Too Many Requests")) as (chain, seen):
        with pytest.raises(ChainUnreachable):
            await chain.read_all([chain_id()] * 3)


async def test_questions_are_asked_a_hundred_at_once(anvil: Anvil) -> None:
    """A request has a bound, and every question its answer; the first refusal is raised."""
    chain = ChainClient(anvil.url, chain_id=CHAIN_ID)
    sizes = []
    whole = chain._request_all

    async def counted(asks: Any) -> Any:
        sizes.append(len(asks))
        return await whole(asks)

    chain._request_all = counted  # type: ignore[method-assign]
    assert await chain.read_all([chain_id()] * 205) == [CHAIN_ID] * 205
    assert sizes == [100, 100, 5]
    with pytest.raises(RequestRefused, match="eth_nonsense"):
        await chain.read_all([chain_id(), Ask("eth_nonsense", (), int)])
    await chain.close()


async def test_a_port_where_nobody_listens() -> None:
    """No connection is the same fault."""
    chain = ChainClient("http://127.0.0.1:9", chain_id=CHAIN_ID)
    with pytest.raises(ChainUnreachable):
        await chain.start()
    await chain.close()


async def test_anvils_own_refusals_are_mapped(anvil: Anvil) -> None:
    """What this node really says to a bad transaction has the class that the submitter needs."""
    chain = ChainClient(anvil.url, chain_id=CHAIN_ID)
    anvil.rpc("evm_setAutomine", True)
    key = SigningKey.generate()
    fees = await chain.fees()

    def transaction(nonce: int, by: SigningKey, fees: Fees = fees) -> bytes:
        return sign(
            Transaction(
                chain_id=CHAIN_ID,
                nonce=nonce,
                fees=fees,
                gas=30_000,
                to=key.address,
                data=b"",
            ),
            by,
        ).raw

    with pytest.raises(FundsTooLow):
        await chain.send(transaction(0, key))
    anvil.rpc("evm_setAutomine", False)
    nonce = await chain.nonce(DEPLOYER.address)
    await chain.send(transaction(nonce, DEPLOYER))
    with pytest.raises(AlreadyKnown):
        await chain.send(transaction(nonce, DEPLOYER))
    cheaper = Fees(max_wei=fees.max_wei - 1, tip_wei=fees.tip_wei - 1)
    with pytest.raises(Underpriced):
        await chain.send(transaction(nonce, DEPLOYER, cheaper))
    anvil.rpc("anvil_mine")
    with pytest.raises(NonceTooLow):
        await chain.send(transaction(nonce, DEPLOYER, Fees(max_wei=10**11, tip_wei=10**9)))
    await chain.close()


async def test_a_range_of_logs_is_bounded(anvil: Anvil) -> None:
    """More blocks than declared are refused before the node is asked."""
    chain = ChainClient(anvil.url, chain_id=CHAIN_ID)
    with pytest.raises(RangeTooLarge):
        await chain.logs(0, LOG_BLOCKS_MAX, topics=[])
    await chain.close()


def test_transactions_are_signed_as_eth_account_signs_them() -> None:
    """The encoding and the signature are the same bytes as another implementation's."""
    from eth_account import Account  # noqa: PLC0415  slow to import
    from eth_utils.address import to_checksum_address  # noqa: PLC0415

    key = SigningKey(bytes([7]) * 32)
    for nonce, size in ((0, 0), (127, 1), (128, 55), (2**40, 56), (1, 70_000)):
        data = bytes(range(1, 2)) * size
        ours = sign(
            Transaction(
                chain_id=1,
                nonce=nonce,
                fees=Fees(max_wei=10**11, tip_wei=10**9),
                gas=100_000,
                to="0x" + "ab" * 20,
                value_wei=size,
                data=data,
            ),
            key,
        )
        theirs = Account.sign_transaction(
            {
                "type": 2,
                "chainId": 1,
                "nonce": nonce,
                "maxFeePerGas": 10**11,
                "maxPriorityFeePerGas": 10**9,
                "gas": 100_000,
                "to": to_checksum_address("0x" + "ab" * 20),
                "value": size,
                "data": data,
            },
            key.secret(),
        )
        assert ours.raw == bytes(theirs.raw_transaction)
        assert ours.hash == "0x" + bytes(theirs.hash).hex()


async def test_an_account_contract_judges_its_owners_signature(world: World) -> None:
    """The owner's signature is valid, another's, nonsense, and one of a plain address are not."""
    owner = SigningKey.generate()
    account = await world.session_account(owner)
    asked = ContractSignatures(world.chain, world.deployment)
    digest = "0x" + "5a" * 32
    good = owner.sign(bytes.fromhex(digest[2:]))
    assert await asked.is_valid(account, digest, good)
    assert not await asked.is_valid(account, digest, DEPLOYER.sign(bytes(32)))
    assert not await asked.is_valid(account, digest, "0x")
    assert not await asked.is_valid(owner.address, digest, good)


@pytest.mark.parametrize(
    "code",
    ["5b600056", "60206000fd", "60016000526001601ff3", "62100000600020620fffff600020", "fe"],
    ids=["endless", "reverts", "short", "burns", "invalid"],
)
async def test_a_hostile_account_contract_is_a_no(world: World, code: str) -> None:
    """Code that burns gas, reverts or answers nonsense costs bounded time and is not valid."""
    account = SigningKey.generate().address
    world.anvil.rpc("anvil_setCode", account, "0x" + code)
    asked = ContractSignatures(world.chain, world.deployment)
    async with patiently():
        assert not await asked.is_valid(account, "0x" + "5a" * 32, "0x" + "11" * 65)
