"""The fills of an award, against the ABI's own encoding and a naive tree."""

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st
from tiny_keccak import keccak256

from intents.award import AwardedFill, award_tree

addresses = st.binary(min_size=20, max_size=20)
numbers = st.integers(0, 2**64 - 1)


@given(buyer=addresses, seller=addresses, sums=st.tuples(*[numbers] * 5))
def test_a_fill_is_hashed_as_the_contract_encodes_it(
    buyer: bytes, seller: bytes, sums: tuple[int, ...]
) -> None:
    """Over seven ABI words, in this order."""
    buyer_nonce, seller_nonce, units, tick, charge = sums
    fill = AwardedFill(
        buyer="0x" + buyer.hex(),
        buyer_nonce=buyer_nonce,
        seller="0x" + seller.hex(),
        seller_nonce=seller_nonce,
        units=units,
        tick=tick,
        charge=charge,
    )
    types = ["address", "uint256"] * 2 + ["uint256"] * 3
    values = [buyer, buyer_nonce, seller, seller_nonce, units, tick, charge]
    assert fill.digest() == keccak256(encode(types, values))


def _fill(number: int) -> AwardedFill:
    account = f"0x{number:040x}"
    return AwardedFill(
        buyer=account,
        buyer_nonce=number,
        seller=account,
        seller_nonce=number,
        units=number,
        tick=number,
        charge=number,
    )


def _folded(leaf: bytes, proof: str) -> str:
    """What the contract makes of a leaf: the lowest bit of the index says which side it is on."""
    height, index = int(proof[2:4], 16), int(proof[4:8], 16)
    siblings = bytes.fromhex(proof[8:])
    assert len(siblings) == 32 * height
    assert not index >> height
    for level in range(height):
        sibling = siblings[32 * level : 32 * level + 32]
        leaf = keccak256(sibling + leaf if index >> level & 1 else leaf + sibling)
    return "0x" + leaf.hex()


@pytest.mark.parametrize("count", [*range(1, 18), 33])
def test_every_fill_is_proven_and_no_other(count: int) -> None:
    """Each folds up to the root by its own proof; at another's place it does not."""
    fills = [_fill(number) for number in range(count)]
    tree = award_tree(fills)
    for place, fill in enumerate(fills):
        assert _folded(fill.digest(), tree.proof(place)) == tree.root
        other = fills[place - 1]
        assert (_folded(other.digest(), tree.proof(place)) == tree.root) == (count == 1)
