"""The fills that an award is for: the market signs their root, each settles by its proof.

Leaves and nodes are hashed as contracts/src/AwardReader.sol does. A fill is named by the nonces of
its two documents, which is what the chain counts them by, so that one form serves an intent that
was signed alone, in a bulk or bundle, or is under a mandate.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from tiny_keccak import keccak256

_WORD: Final = 32
_INDEX_BYTES: Final = 2
_FILLER: Final = bytes(_WORD)
"""Beside the last node of an odd level: the hash of nothing that is known."""


class AwardedFill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """`units` of an intent, or mandate, from an offer, each document by account and nonce.

    `tick` is what the buyer pays and `charge` what of it is the solver's, in atoms per 10⁶ units;
    the seller gets the rest.
    """

    buyer: str
    buyer_nonce: int
    seller: str
    seller_nonce: int
    units: int
    tick: int
    charge: int

    def digest(self) -> bytes:
        """Of seven words, where a node is of two: none passes for the other."""
        words = (
            _account(self.buyer),
            self.buyer_nonce.to_bytes(_WORD, "big"),
            _account(self.seller),
            self.seller_nonce.to_bytes(_WORD, "big"),
            self.units.to_bytes(_WORD, "big"),
            self.tick.to_bytes(_WORD, "big"),
            self.charge.to_bytes(_WORD, "big"),
        )
        return keccak256(b"".join(words))


class AwardTree(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes above the fills of an award, level by level up to the root."""

    levels: tuple[tuple[bytes, ...], ...]

    @property
    def root(self) -> str:
        """The `solution` that an award names."""
        return "0x" + self.levels[-1][0].hex()

    def proof(self, place: int) -> str:
        """Height in a byte, index in two, then a sibling for each level, as 0x-hex."""
        *below, _ = self.levels
        proof = len(below).to_bytes(1, "big") + place.to_bytes(_INDEX_BYTES, "big")
        for level in below:
            sibling = place ^ 1
            proof += level[sibling] if sibling < len(level) else _FILLER
            place >>= 1
        return "0x" + proof.hex()


def award_tree(fills: Sequence[AwardedFill]) -> AwardTree:
    """The tree of at least one fill, in this order."""
    level = tuple(fill.digest() for fill in fills)
    levels = [level]
    while len(level) > 1:
        even = level + (_FILLER,) * (len(level) & 1)
        level = tuple(keccak256(even[place] + even[place + 1]) for place in range(0, len(even), 2))
        levels.append(level)
    return AwardTree(levels=tuple(levels))


def root_of(fill: AwardedFill, proof: str) -> str:
    """The root that a proof of `AwardTree` leads this fill to; empty if it is no proof."""
    data = bytes.fromhex(proof.removeprefix("0x"))
    if not data or len(data) != 1 + _INDEX_BYTES + _WORD * data[0]:
        return ""
    place = int.from_bytes(data[1 : 1 + _INDEX_BYTES], "big")
    node = fill.digest()
    for start in range(1 + _INDEX_BYTES, len(data), _WORD):
        sibling = data[start : start + _WORD]
        node = keccak256(sibling + node if place & 1 else node + sibling)
        place >>= 1
    return "0x" + node.hex()


def _account(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(_WORD, b"\0")
