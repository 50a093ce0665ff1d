"""Leaves of a metered batch, against the ABI's own encoding and a naive tree."""

from itertools import pairwise

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st
from tiny_keccak import keccak256

from intents.bound import HASH_ZERO
from intents.leaf import Leaf, tree
from intents.receipt import ReceiptLine, in_order, lines_hash, lines_of, packed_lines

words = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
numbers = st.integers(0, 2**64 - 1)


@given(
    hashes=st.tuples(*[words] * 4),
    people=st.tuples(*[addresses] * 3),
    sums=st.tuples(*[numbers] * 5),
)
def test_a_leaf_is_hashed_as_the_contract_encodes_it(
    hashes: tuple[bytes, ...], people: tuple[bytes, ...], sums: tuple[int, ...]
) -> None:
    """Twice, over twelve ABI words, in this order."""
    fill, intent, offer, resource = ("0x" + one.hex() for one in hashes)
    buyer, seller, solver = ("0x" + one.hex() for one in people)
    units, delivered, payment, auction, reward = sums
    leaf = Leaf(
        fill=fill,
        intent=intent,
        offer=offer,
        buyer=buyer,
        seller=seller,
        resource=resource,
        units=units,
        delivered=delivered,
        payment=payment,
        auction=auction,
        solver=solver,
        reward=reward,
    )
    types = (
        ["bytes32"] * 3 + ["address"] * 2 + ["bytes32"] + ["uint256"] * 4 + ["address", "uint256"]
    )
    values = [*hashes[:3], buyer, seller, hashes[3], *sums[:4], solver, reward]
    assert leaf.digest() == keccak256(keccak256(encode(types, values)))


def _root(level: list[bytes]) -> bytes:
    """Pairs from the left, children in ascending order, an odd one as it is."""
    if len(level) == 1:
        return level[0]
    above = [keccak256(min(two) + max(two)) for two in zip(level[::2], level[1::2], strict=False)]
    return _root(above + level[len(above) * 2 :])


@pytest.mark.parametrize("count", [*range(1, 18), 33])
def test_every_leaf_is_proven_and_no_other(count: int) -> None:
    """The root is the naive one; each leaf folds up to it by its proof, its neighbour does not."""
    leaves = [keccak256(bytes([number])) for number in range(count)]
    made = tree(leaves)
    assert made.root == "0x" + _root(leaves).hex()
    for place, leaf in enumerate(leaves):
        assert _folded(leaf, made.proof(place)).hex() == made.root[2:]
    for place, (_, other) in enumerate(pairwise(leaves)):
        assert _folded(other, made.proof(place)).hex() != made.root[2:]


def _folded(leaf: bytes, proof: tuple[bytes, ...]) -> bytes:
    for sibling in proof:
        leaf = keccak256(min(leaf, sibling) + max(leaf, sibling))
    return leaf


def test_a_batch_without_fills_commits_to_zero() -> None:
    """No leaf has that hash."""
    assert tree([]).root == HASH_ZERO


def test_a_receipts_lines_are_packed_in_order() -> None:
    """Sellers ascend, who gets nothing is left out, and the bytes read back as they were."""
    low, high, none = "0x" + "01" * 20, "0x" + "f0" * 20, "0x" + "02" * 20
    lines = in_order({high: 7, none: 0, low: 2**64 - 1})
    assert lines == (ReceiptLine(seller=low, amount=2**64 - 1), ReceiptLine(seller=high, amount=7))
    packed = b"\x01" * 20 + b"\xff" * 8 + b"\xf0" * 20 + (7).to_bytes(8)
    assert packed_lines(lines) == packed
    assert lines_of(packed) == lines
    assert lines_hash(lines) == "0x" + keccak256(packed).hex()
