"""The single fills that a metered batch pays for: the chain keeps their root, anyone proves one.

Leaves and nodes are hashed as contracts/src/BreachBond.sol does.
"""

from collections.abc import Sequence

import msgspec
from tiny_keccak import keccak256

from intents.bound import ADDRESS_ZERO, HASH_ZERO


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One fill as a metered batch commits to it. Hashes are 0x-hex, `resource` that of its name.

    `intent` is the digest of the intent or mandate that it was sold under, `offer` the offer's.
    Of `payment` the seller has all but `reward`, which is the solver's by its award of `auction`;
    where nobody won, all three are 0.
    """

    fill: str
    intent: str
    offer: str
    buyer: str
    seller: str
    resource: str
    units: int
    delivered: int
    payment: int
    auction: int = 0
    solver: str = ADDRESS_ZERO
    reward: int = 0

    def digest(self) -> bytes:
        """Hashed twice, so that no node of a tree passes for a leaf."""
        words = (
            _bytes(self.fill),
            _bytes(self.intent),
            _bytes(self.offer),
            _bytes(self.buyer).rjust(32, b"\x00"),
            _bytes(self.seller).rjust(32, b"\x00"),
            _bytes(self.resource),
            self.units.to_bytes(32, "big"),
            self.delivered.to_bytes(32, "big"),
            self.payment.to_bytes(32, "big"),
            self.auction.to_bytes(32, "big"),
            _bytes(self.solver).rjust(32, b"\x00"),
            self.reward.to_bytes(32, "big"),
        )
        return keccak256(keccak256(b"".join(words)))


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """A Merkle tree. Nodes hash their children in ascending order; an odd one goes up as it is."""

    levels: tuple[tuple[bytes, ...], ...]

    @property
    def root(self) -> str:
        """What the batch commits to; zero without leaves."""
        return "0x" + self.levels[-1][0].hex() if self.levels[0] else HASH_ZERO

    def proof(self, place: int) -> tuple[bytes, ...]:
        """The siblings from a leaf up to the root."""
        siblings = []
        for level in self.levels[:-1]:
            if place ^ 1 < len(level):
                siblings.append(level[place ^ 1])
            place >>= 1
        return tuple(siblings)


def tree(leaves: Sequence[bytes]) -> Tree:
    """The tree of these leaves, in this order."""
    level = tuple(leaves)
    levels = [level]
    while len(level) > 1:
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = tuple(keccak256(b"".join(sorted(pair))) if pair[1:] else pair[0] for pair in pairs)
        levels.append(level)
    return Tree(levels=tuple(levels))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
