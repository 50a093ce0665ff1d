"""A place in a tree that was signed: its proof is made for who asks for it.

A proof of 64 intents takes 390 characters, and few are ever asked for: only what is filled is
settled. So the tree's nodes are kept once for all its leaves. Compiled.
"""

from typing import Final

from mypy_extensions import i64, mypyc_attr

LEAVES_MAX: Final = 1_024
NODE_BYTES: Final = 32
NODE_CHARS: Final = 64
INDEXES: Final = [f"0x{index:04x}" for index in range(LEAVES_MAX)]
"""How the proof of each leaf begins."""


@mypyc_attr(acyclic=True)
class Place:
    """That of one of `count` leaves.

    `nodes` are those of all levels below the root as hex, from the leaves up; a level has an even
    number of them.
    """

    __slots__ = ("_count", "index", "nodes")

    def __init__(self, nodes: str, count: int, index: int) -> None:
        self.nodes = nodes
        self.index = index
        self._count = count

    def proof(self) -> str:
        """Its index in 2 bytes, then its siblings from its own level up, as 0x-hex."""
        return self._siblings(self._height())

    def proof_after(self, other: "Place") -> tuple[str, int]:
        """How its proof begins, and how many characters at the end are those of the other's.

        Both are of one tree: from the level on where one node is above both, siblings are shared.
        """
        one: i64 = self.index
        another: i64 = other.index
        depth: i64 = 0
        while one != another:
            one >>= 1
            another >>= 1
            depth += 1
        return self._siblings(depth), (self._height() - depth) * NODE_CHARS

    def _height(self) -> i64:
        count: i64 = self._count
        height: i64 = 1
        while (count - 1) >> height:
            height += 1
        return height

    def _siblings(self, depth: i64) -> str:
        """Its index, and the siblings of as many levels."""
        text, nodes = INDEXES[self.index], self.nodes
        first: i64 = 0
        width: i64 = self._count
        place: i64 = self.index
        while depth:
            start = (first + (place ^ 1)) * NODE_CHARS
            text += nodes[start : start + NODE_CHARS]
            width += width & 1
            first += width
            width >>= 1
            place >>= 1
            depth -= 1
        return text
