"""Metered batches as Python packs them: what is packed is paid, what was sold is proven."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_keccak import keccak256

from contracts.anvil import Anvil
from contracts.bench import SESSION_UNTIL_S, UnlockedChain, key_of
from contracts.bindings import SETTLEMENT, USDC
from contracts.deploy import Plan, SessionPlan, deploy, grant_session, send
from contracts.metered import (
    BOOK_ADDRESSES_MAX,
    book_code,
    books,
    compact,
    netted,
    paid_buyers,
    paid_sellers,
)
from contracts.metered_bench import METERED_BUYERS, MeteredBench
from intents.bound import HASH_ZERO
from intents.document import SpendReceipt
from intents.leaf import Leaf, tree
from intents.receipt import ReceiptLine, in_order, lines_hash, packed_lines
from intents.typed_data import Domain, digest

FUNDS = 1_000_000_000
accounts = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
sums = st.dictionaries(accounts, st.integers(1, 2**40), max_size=12)
hashes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


@pytest.fixture
async def bench(anvil: Anvil) -> MeteredBench:
    """A deployed market whose buyers and sellers have money, with their address book."""
    anvil.rpc("evm_setAutomine", True)
    chain = UnlockedChain(anvil)
    deployer = anvil.rpc("eth_accounts")[0]
    session = key_of("session").address
    chain.unlock(session)
    deployment = await deploy(
        chain, Plan(chain_id=await chain.chain_id(), deployer=deployer, owner=deployer)
    )
    await grant_session(chain, deployment, SessionPlan(key=session, expires_at=SESSION_UNTIL_S))
    made = MeteredBench(anvil, deployment, session)
    await made.open_book()
    total = FUNDS * len(made.accounts)
    mint = USDC.function("mint").encode(deployer, total)
    approve = USDC.function("approve").encode(deployment.settlement, total)
    await send(chain, deployer, deployment.usdc, mint)
    await send(chain, deployer, deployment.usdc, approve)
    for account in made.accounts:
        data = SETTLEMENT.function("deposit").encode(account, FUNDS)
        await send(chain, deployer, deployment.settlement, data)
    return made


async def test_what_is_packed_is_paid(anvil: Anvil, bench: MeteredBench) -> None:
    """Every receipt that Python signs and packs settles, to the atom, and the next round too."""
    chain = UnlockedChain(anvil)
    owed: dict[str, int] = dict.fromkeys(bench.sellers, 0)
    for _ in range(2):
        records = bench.receipts()
        await bench.settle(records, root=HASH_ZERO)
        for line in (line for record in records for line in record.lines):
            owed[line.seller] += line.amount
    read = SETTLEMENT.function("accountOf")
    for seller, amount in owed.items():
        answer = await chain.call(bench.deployment.settlement, read.encode(seller))
        ((balance, *_),) = read.decode_outputs(answer)
        assert balance == FUNDS + amount


async def test_steady_state_makes_no_storage_slot(bench: MeteredBench) -> None:
    """Once every account has traded and a root's place is in use, no batch makes a slot.

    The canary: the first batch makes some, and the node's state diff shows them.
    """
    first = await bench.settle(bench.receipts(), root=bench.root(8))
    assert bench.new_slots(first) > 0
    bench.next_round()
    assert bench.new_slots(await bench.settle(bench.receipts(), root=bench.root(8))) == 0
    bench.next_round()
    attested = bench.attested(1_000)
    assert len(attested) == METERED_BUYERS
    receipt = await bench.settle(attested, root=HASH_ZERO)
    # The place of number 4,096 * 2 was used by the batch of number 0 before.
    assert bench.new_slots(receipt) == 0


async def test_receipts_are_hashed_alike(anvil: Anvil, bench: MeteredBench) -> None:
    """The digest that a buyer signs in Python is the one that the contract checks."""
    chain = UnlockedChain(anvil)
    lines = in_order({bench.sellers[1]: 5, bench.sellers[0]: 2**40})
    account = bench.buyers[0].address
    receipt = SpendReceipt(
        account=account, epoch=3, base=7, spent=2**53 - 1, lines=lines_hash(lines)
    )
    function = SETTLEMENT.function("receiptDigest")
    raw = bytes.fromhex(receipt.lines[2:])
    data = function.encode((account, 3, 7, 2**53 - 1, raw))
    (told,) = function.decode_outputs(await chain.call(bench.deployment.settlement, data))
    domain = Domain(
        chain_id=bench.deployment.chain_id, verifying_contract=bench.deployment.settlement
    )
    assert told == digest(domain.prefix(), receipt)


@given(amounts=sums)
def test_lines_ascend_and_leave_nothing_out(amounts: dict[str, int]) -> None:
    """Packed lines are 28 bytes each, by ascending seller, and sum up to what they were made of."""
    lines = in_order(amounts | {"0x" + "00" * 19 + "01": 0})
    packed = packed_lines(lines)
    assert len(packed) == 28 * len(amounts)
    assert [line.seller for line in lines] == sorted(amounts)
    assert {line.seller: line.amount for line in lines} == amounts
    assert lines_hash(lines) == "0x" + keccak256(packed).hex()


@given(debits=sums, sellers=st.lists(accounts, min_size=2, max_size=8, unique=True))
def test_netting_moves_each_sum_once(debits: dict[str, int], sellers: list[str]) -> None:
    """Each buyer pays its sum and each seller gets its, in fewer lines than there are of both."""
    debits = {account: amount for account, amount in debits.items() if account not in sellers}
    total = sum(debits.values())
    due = dict.fromkeys(sellers[1:], total // len(sellers))
    due[sellers[0]] = total - sum(due.values())
    due = {seller: amount for seller, amount in due.items() if amount}
    records = netted(debits, due)
    assert {record.account: sum(line.amount for line in record.lines) for record in records} == (
        debits
    )
    got: dict[str, int] = {}
    for line in (line for record in records for line in record.lines):
        got[line.seller] = got.get(line.seller, 0) + line.amount
    assert got == due
    assert sum(len(record.lines) for record in records) <= max(0, len(debits) + len(due) - 1)


def test_netting_refuses_what_does_not_add_up() -> None:
    """Sums that differ, and money that could only go back to who paid it."""
    one, two = "0x" + "01" * 20, "0x" + "02" * 20
    with pytest.raises(ValueError, match="what is paid"):
        netted({one: 2}, {two: 1})
    with pytest.raises(ValueError, match="would pay itself"):
        netted({one: 2}, {one: 2})


@given(leaves=hashes)
def test_every_leaf_is_proven(leaves: list[bytes]) -> None:
    """From each leaf its siblings lead to the root, in the order that the contract hashes in."""
    made = tree(leaves)
    for place, leaf in enumerate(leaves):
        node = leaf
        for sibling in made.proof(place):
            node = keccak256(b"".join(sorted((node, sibling))))
        assert "0x" + node.hex() == made.root


def test_no_leaves_have_no_root() -> None:
    """A batch that pays for nothing commits to nothing."""
    assert tree([]).root == HASH_ZERO


def test_a_leaf_is_hashed_twice() -> None:
    """A leaf's digest is not that of any 64 bytes, as a node's is, and every field is in it."""
    fields: dict[str, Any] = {
        "fill": "0x" + "01" * 32,
        "intent": "0x" + "02" * 32,
        "offer": "0x" + "03" * 32,
        "buyer": "0x" + "04" * 20,
        "seller": "0x" + "05" * 20,
        "resource": "0x" + "06" * 32,
        "units": 7,
        "delivered": 8,
        "payment": 9,
        "auction": 10,
        "solver": "0x" + "0b" * 20,
        "reward": 12,
    }
    words = b"".join(
        value.to_bytes(32, "big")
        if isinstance(value, int)
        else bytes.fromhex(value[2:]).rjust(32, b"\x00")
        for value in fields.values()
    )
    assert Leaf(**fields).digest() == keccak256(keccak256(words))


def test_a_book_holds_as_many_as_a_contract_may() -> None:
    """The largest book is just within a contract's size; a larger one and none are refused."""
    account = "0x" + "ab" * 20
    assert len(book_code([account] * BOOK_ADDRESSES_MAX)) - 10 <= 24_576
    for count in (0, BOOK_ADDRESSES_MAX + 1):
        with pytest.raises(ValueError, match="a book has"):
            book_code([account] * count)


def test_books_are_one_list() -> None:
    """Places go on from book to book, in the order in which they are named."""
    index = books({"0x1": ["0xa", "0xb"], "0x2": ["0xc"]})
    assert index.addresses == ("0x1", "0x2")
    assert index.places == {"0xa": 0, "0xb": 1, "0xc": 2}


@given(secret=st.integers(1, 1_000), message=st.binary(min_size=32, max_size=32))
def test_signatures_are_packed_in_64_bytes(secret: int, message: bytes) -> None:
    """Both encodings of a signature become the short one; anything else is refused."""
    full = bytes.fromhex(key_of(str(secret)).sign(message)[2:])
    short = compact(full)
    assert len(short) == 64
    assert compact(short) == short
    assert int.from_bytes(short[32:], "big") >> 255 == full[64] - 27
    with pytest.raises(ValueError, match="not a signature"):
        compact(full[:63])
    with pytest.raises(ValueError, match="not a signature"):
        compact(full[:64] + b"\x00")


def test_told_payments_are_read_back() -> None:
    """What a batch's log packs is read field by field."""
    buyer, seller = "0x" + "0a" * 20, "0x" + "0b" * 20
    packed = b"\x0a" * 20 + (9).to_bytes(8, "big") + (4).to_bytes(8, "big") + b"\x03"
    (first, second) = paid_buyers(packed * 2)
    assert first == second
    assert (first.account, first.spent, first.paid, first.authority) == (buyer, 9, 4, 3)
    ((told),) = paid_sellers(packed_lines([ReceiptLine(seller=seller, amount=7)]))
    assert (told.account, told.credited) == (seller, 7)
