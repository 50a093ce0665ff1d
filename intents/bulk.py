"""Bulk intents: one signature over many intents, each of which can be proven alone.

The intents are the leaves of a binary Merkle tree, and the tree is an EIP-712 value: the
primary type of height h is `BulkIntent(Intent[2]…[2] tree)` with h times `[2]`, so that any
wallet can show and sign it. EIP-712 encodes an array as the hash of its elements' hashes;
that makes a leaf hashStruct(intent) and a node keccak256(left ‖ right). A tree whose leaves
are not a power of two is filled up with `EMPTY`. An intent keeps its own digest, the one it
has when it is signed alone: that is its identity.

A node can never pass for an intent: a leaf is the hash of 384 bytes that begin with a type
hash, a node that of 64.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from intents.admission import (
    DeclaredDomain,
    Rules,
    Signed,
    Verified,
    check_domain,
    check_intent,
    recover_signer,
)
from intents.bound import ADDRESS_ZERO
from intents.document import Intent
from intents.place import INDEXES, LEAVES_MAX, NODE_BYTES
from intents.reject import Reject, RejectCode, reject
from intents.signature import SigningKey
from intents.typed_data import TYPE_STRINGS, Domain, schema, struct_hash

HEIGHT_MAX: Final = 10
INTENTS_MAX: Final = LEAVES_MAX
NAME: Final = "BulkIntent"
INDEX_BYTES: Final = 2

EMPTY: Final = Intent(
    account=ADDRESS_ZERO,
    resource="",
    asset=ADDRESS_ZERO,
    units=0,
    units_min=0,
    limit=0,
    valid_until=0,
    nonce=0,
)
"""What fills a tree up: the intent whose every field is zero. Nobody can sign as its account."""


def tree_type(height: int) -> str:
    """The Solidity type of a tree: `Intent[2][2]` for height 2."""
    return "Intent" + "[2]" * height


BULK_TYPE_STRINGS: Final = {
    height: f"{NAME}({tree_type(height)} tree){TYPE_STRINGS[Intent]}"
    for height in range(1, HEIGHT_MAX + 1)
}
BULK_TYPE_HASHES: Final = {
    height: keccak256(text.encode()) for height, text in BULK_TYPE_STRINGS.items()
}


def _empty_nodes() -> tuple[bytes, ...]:
    """The root of a tree of empty leaves, for each height from 0."""
    nodes = [struct_hash(EMPTY)]
    for _ in range(HEIGHT_MAX):
        nodes.append(keccak256(nodes[-1] * 2))
    return tuple(nodes)


_EMPTY_NODES: Final = _empty_nodes()


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of a tree, level by level from the leaves up to the root.

    A level has no more nodes than it needs to be even.
    """

    levels: tuple[tuple[bytes, ...], ...]

    @property
    def height(self) -> int:
        """How many siblings prove a leaf."""
        return len(self.levels) - 1

    @property
    def root(self) -> bytes:
        """The one node that stands for all leaves."""
        return self.levels[-1][0]

    @property
    def nodes(self) -> str:
        """All below the root as hex, from the leaves up: what `intents.place` makes proofs of."""
        return b"".join([b"".join(level) for level in self.levels[:-1]]).hex()

    def proofs(self) -> list[str]:
        """The proof of each leaf, in their order: its index in 2 bytes, then its siblings."""
        *lower, top = self.levels
        paths = [""] * len(top)
        for level in reversed(lower[1:]):
            names = [node.hex() for node in level]
            paths = [names[place ^ 1] + paths[place >> 1] for place in range(len(level))]
        names = [node.hex() for node in lower[0]]
        return [
            INDEXES[place] + names[place ^ 1] + paths[place >> 1] for place in range(len(names))
        ]


def height_of(count: int) -> int:
    """The height of the tree that holds `count` intents; the least is 1."""
    return max(1, (count - 1).bit_length())


def tree(leaves: Sequence[bytes]) -> Tree:
    """The tree over 1 to `INTENTS_MAX` struct hashes."""
    level = tuple(leaves)
    levels = []
    for depth in range(height_of(len(leaves))):
        if len(level) % 2:
            level = (*level, _EMPTY_NODES[depth])
        levels.append(level)
        level = tuple(
            [keccak256(level[place] + level[place + 1]) for place in range(0, len(level), 2)]
        )
    return Tree(levels=(*levels, level))


def bulk_digest(prefix: bytes, height: int, root: bytes) -> bytes:
    """The 32 bytes that are signed for a whole tree; `prefix` is `Domain.prefix()`."""
    return keccak256(prefix + keccak256(BULK_TYPE_HASHES[height] + root))


def proven_digest(prefix: bytes, leaf: bytes, proof: str) -> bytes | Reject:
    """The bulk digest that a leaf and its proof lead to, as the contract computes it.

    Rejects: malformed.
    """
    raw = proof_bytes(proof)
    if isinstance(raw, Reject):
        return raw
    proven = proven_root(leaf, raw, HEIGHT_MAX)
    return proven if isinstance(proven, Reject) else bulk_digest(prefix, *proven)


def proof_bytes(proof: str) -> bytes | Reject:
    """What a proof says. Rejects: malformed."""
    try:
        return bytes.fromhex(proof.removeprefix("0x"))
    except ValueError:
        return reject(RejectCode.MALFORMED, "a proof is 0x-prefixed hex")


def proven_root(leaf: bytes, path: bytes, height_max: int) -> tuple[int, bytes] | Reject:
    """The height and root of the tree that a leaf's index and siblings lead to.

    Rejects: malformed.
    """
    index = int.from_bytes(path[:INDEX_BYTES], "big")
    height, rest = divmod(len(path) - INDEX_BYTES, NODE_BYTES)
    if rest or not 1 <= height <= height_max:
        return reject(RejectCode.MALFORMED, f"a proof has 1 to {height_max} siblings of 32 bytes")
    if index >> height:
        return reject(RejectCode.MALFORMED, f"a tree of height {height} has no leaf of this index")
    node = leaf
    for depth in range(height):
        start = INDEX_BYTES + depth * NODE_BYTES
        sibling = path[start : start + NODE_BYTES]
        node = keccak256(sibling + node if index >> depth & 1 else node + sibling)
    return height, node


def sign_bulk(key: SigningKey, domain: Domain, intents: Sequence[Intent]) -> str:
    """One signature for 1 to `INTENTS_MAX` intents, in this order."""
    grown = tree([struct_hash(intent) for intent in intents])
    return key.sign(bulk_digest(domain.prefix(), grown.height, grown.root))


def bulk_typed_data(domain: Domain, intents: Sequence[Intent]) -> dict[str, Any]:
    """The JSON that any wallet signs for the whole bulk (`eth_signTypedData_v4`)."""
    form = bulk_schema(domain, height_of(len(intents)))
    return {**form, "message": {"tree": nested(intents)}}


def nested(intents: Sequence[Intent]) -> list[Any]:
    """The tree as a wallet's JSON has it: pairs of pairs, filled up."""
    parts: list[Any] = [msgspec.to_builtins(intent) for intent in intents]
    parts += [msgspec.to_builtins(EMPTY)] * ((1 << height_of(len(intents))) - len(intents))
    while len(parts) > 1:
        parts = [parts[place : place + 2] for place in range(0, len(parts), 2)]
    whole: list[Any] = parts[0]
    return whole


def bulk_schema(domain: Domain, height: int) -> dict[str, Any]:
    """`bulk_typed_data` without a message: domain, types and primary type."""
    single = schema(domain, Intent)
    types = {**single["types"], NAME: [{"name": "tree", "type": tree_type(height)}]}
    return {**single, "types": types, "primaryType": NAME}


class UnverifiedBulk(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Intents with one signature for all, as they came from outside."""

    intents: tuple[Intent, ...]
    signature: str
    domain: DeclaredDomain | None = None


def admit_bulk(
    bulk: UnverifiedBulk, rules: Rules, now_s: int
) -> list[Verified[Intent] | Reject] | Reject:
    """Verify a bulk at Unix second `now_s`: an answer for each intent, in order.

    What concerns the signature refuses the bulk as a whole, in this precedence: wrong_domain,
    too_large, signature_malformed, signature_high_s, signature_invalid. What concerns one
    intent refuses that one, with the codes and precedence of `admit`; the others go on, since
    the tree is over what was signed and not over what is good.
    """
    fault = check_bulk(bulk, rules)
    if fault is not None:
        return fault
    prefix = rules.domain.prefix()
    leaves = [struct_hash(intent) for intent in bulk.intents]
    grown = tree(leaves)
    signed = recover_tree(grown, bulk.signature, rules)
    if isinstance(signed, Reject):
        return signed
    return [
        check_intent(intent, rules, now_s)
        or Verified(
            document=intent,
            digest="0x" + keccak256(prefix + leaf).hex(),
            signer=signed.signer,
            signature=signed.signature,
            proof=proof,
        )
        for intent, leaf, proof in zip(bulk.intents, leaves, grown.proofs(), strict=False)
    ]


def check_bulk(bulk: UnverifiedBulk, rules: Rules) -> Reject | None:
    """What is wrong with a bulk before anything is hashed. Rejects: wrong_domain, too_large."""
    return check_domain(bulk.domain, rules.domain) or _check_count(bulk.intents)


def recover_tree(grown: Tree, signature: str, rules: Rules) -> Signed | Reject:
    """Who signed a tree. Rejects: signature_malformed, signature_high_s, signature_invalid."""
    hashed = bulk_digest(rules.domain.prefix(), grown.height, grown.root)
    return recover_signer(hashed, signature)


def _check_count(intents: Sequence[Intent]) -> Reject | None:
    if not 1 <= len(intents) <= INTENTS_MAX:
        return reject(
            RejectCode.TOO_LARGE,
            f"{len(intents)} intents; a bulk has 1 to {INTENTS_MAX}",
            hint="Sign several bulks.",
        )
    return None
