"""Bulk intents: the tree against independent implementations, its proofs, its admission."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from tiny_keccak import keccak256

from intents.admission import DeclaredDomain, Rules, Verified, admit
from intents.bound import SIGNATURE_BYTES_MAX
from intents.bulk import (
    BULK_TYPE_HASHES,
    BULK_TYPE_STRINGS,
    EMPTY,
    HEIGHT_MAX,
    INTENTS_MAX,
    UnverifiedBulk,
    admit_bulk,
    bulk_digest,
    bulk_typed_data,
    height_of,
    proven_digest,
    sign_bulk,
    tree,
)
from intents.document import Intent
from intents.reject import Reject, RejectCode
from intents.signature import HALF_ORDER, SigningKey, recover
from intents.typed_data import TYPE_STRINGS, digest, struct_hash
from tests.builder import DOMAIN, PREFIX, START_S, USDC, Person, alice, an_intent, unverified
from tests.intents.document_strategy import of

RULES: Final = Rules(domain=DOMAIN, assets=frozenset({USDC}))
_LEAVES: Final = [keccak256(number.to_bytes(2, "big")) for number in range(INTENTS_MAX)]

leaves = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)


def _intents(count: int) -> tuple[Intent, ...]:
    return tuple(an_intent().units(number + 1).build(alice) for number in range(count))


def _bulk(
    intents: tuple[Intent, ...], signer: Person | SigningKey = alice, **other: Any
) -> UnverifiedBulk:
    key = signer.key if isinstance(signer, Person) else signer
    signature = "" if "signature" in other else sign_bulk(key, DOMAIN, intents)
    return UnverifiedBulk(**{"intents": intents, "signature": signature, **other})


def _answers(bulk: UnverifiedBulk) -> list[Verified[Intent] | Reject]:
    answers = admit_bulk(bulk, RULES, START_S)
    assert not isinstance(answers, Reject), answers
    return answers


def _plain_root(nodes: list[bytes], height: int) -> bytes:
    """The root in the plainest way: every leaf there, no level cut short."""
    nodes = nodes + [struct_hash(EMPTY)] * ((1 << height) - len(nodes))
    while len(nodes) > 1:
        nodes = [keccak256(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]


# -- the tree as EIP-712


def test_type_strings_are_what_was_published() -> None:
    """A changed type string breaks every bulk signature in the field, so it is pinned here."""
    assert BULK_TYPE_STRINGS[1] == "BulkIntent(Intent[2] tree)" + TYPE_STRINGS[Intent]
    assert BULK_TYPE_STRINGS[3] == "BulkIntent(Intent[2][2][2] tree)" + TYPE_STRINGS[Intent]
    assert list(BULK_TYPE_STRINGS) == list(range(1, 11))
    for height, text in BULK_TYPE_STRINGS.items():
        assert BULK_TYPE_HASHES[height] == keccak256(text.encode())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8])
def test_digest_equals_that_of_eth_account(count: int) -> None:
    """An independent implementation makes the same digest of the JSON that a wallet gets."""
    intents = _intents(count)
    message = encode_typed_data(full_message=bulk_typed_data(DOMAIN, intents))
    theirs = keccak256(b"\x19" + message.version + message.header + message.body)
    grown = tree([struct_hash(intent) for intent in intents])
    assert bulk_digest(PREFIX, grown.height, grown.root) == theirs


@given(intents=st.lists(of(Intent), min_size=1, max_size=9))
def test_any_intents_hash_as_eth_account_hashes_them(intents: list[Intent]) -> None:
    """The same for intents of any content."""
    message = encode_typed_data(full_message=bulk_typed_data(DOMAIN, intents))
    theirs = keccak256(b"\x19" + message.version + message.header + message.body)
    grown = tree([struct_hash(intent) for intent in intents])
    assert bulk_digest(PREFIX, grown.height, grown.root) == theirs


def test_viem_makes_the_same_digests() -> None:
    """The library that browsers sign with hashes our JSON as we do, up to the highest tree."""
    bulks = [_intents(count) for count in (1, 2, 3, 5, 20)] + [_intents(1) * INTENTS_MAX]
    lines = "\n".join(json.dumps(bulk_typed_data(DOMAIN, bulk)) for bulk in bulks)
    answer = subprocess.run(
        ["node", str(Path(__file__).with_name("viem_digest.mjs"))],  # noqa: S607
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    trees = [tree([struct_hash(intent) for intent in bulk]) for bulk in bulks]
    assert answer.stdout.split() == [
        "0x" + bulk_digest(PREFIX, grown.height, grown.root).hex() for grown in trees
    ]


def test_what_a_wallet_signs_is_admitted() -> None:
    """A signature made by eth-account from the JSON is alice's here, for each intent."""
    intents = _intents(3)
    signed = Account.sign_typed_data(
        alice.key.secret(), full_message=bulk_typed_data(DOMAIN, intents)
    )
    for answer in _answers(_bulk(intents, signature="0x" + signed.signature.hex())):
        assert isinstance(answer, Verified)
        assert answer.signer == alice.address


@pytest.mark.parametrize(
    ("count", "height"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (65, 7), (512, 9), (513, 10), (1024, 10)],
)
def test_height_and_root(count: int, height: int) -> None:
    """The least height that holds all intents; the root is that of the tree filled up."""
    grown = tree(_LEAVES[:count])
    assert height_of(count) == height == grown.height
    assert grown.root == _plain_root(_LEAVES[:count], height)


# -- proofs


@given(nodes=leaves)
def test_every_proof_leads_to_the_root(nodes: list[bytes]) -> None:
    """Each leaf with its own proof gives the digest of the tree."""
    grown = tree(nodes)
    signed = bulk_digest(PREFIX, grown.height, grown.root)
    proofs = grown.proofs()
    assert len(proofs) >= len(nodes)
    for index, (leaf, proof) in enumerate(zip(nodes, proofs, strict=False)):
        assert int(proof[2:6], 16) == index
        assert proven_digest(PREFIX, leaf, proof) == signed


@given(nodes=st.lists(st.binary(min_size=32, max_size=32), min_size=2, unique=True), data=st.data())
def test_no_other_proof_does(nodes: list[bytes], data: st.DataObject) -> None:
    """Another index, another leaf, a changed sibling or another tree's proof: another digest."""
    grown = tree(nodes)
    signed = bulk_digest(PREFIX, grown.height, grown.root)
    proofs = grown.proofs()
    index = data.draw(st.integers(0, len(nodes) - 1))
    other = data.draw(st.integers(0, len(nodes) - 1).filter(lambda place: place != index))
    place = data.draw(st.integers(6, len(proofs[index]) - 1))
    digit = "1" if proofs[index][place] == "0" else "0"
    changed = proofs[index][:place] + digit + proofs[index][place + 1 :]
    moved = f"0x{other:04x}{proofs[index][6:]}"
    foreign = tree([keccak256(node) for node in nodes]).proofs()[index]
    for proof in (proofs[other], changed, moved, foreign):
        assert proven_digest(PREFIX, nodes[index], proof) != signed


@given(nodes=st.lists(st.binary(min_size=32, max_size=32), min_size=3, max_size=16))
def test_a_node_is_no_leaf_of_a_lower_tree(nodes: list[bytes]) -> None:
    """A shortened proof that takes an inner node for a leaf gives the digest of another type."""
    grown = tree(nodes)
    assert proven_digest(
        PREFIX, grown.levels[1][0], "0x0000" + grown.proofs()[0][6 + 64 :]
    ) != bulk_digest(PREFIX, grown.height, grown.root)


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "0x",
        "0x0000",
        "nonsense",
        "0x0000" + "00" * 31,
        "0x0000" + "00" * 33,
        "0x0000" + "00" * 32 * (HEIGHT_MAX + 1),
        "0x0002" + "00" * 32,
        "0x0400" + "00" * 32 * HEIGHT_MAX,
    ],
)
def test_what_is_no_proof(proof: str) -> None:
    """Height 0 or 11, a part of a word, or an index beyond the height is malformed."""
    answer = proven_digest(PREFIX, _LEAVES[0], proof)
    assert isinstance(answer, Reject)
    assert answer.code is RejectCode.MALFORMED


def test_the_highest_tree_is_proven() -> None:
    """1,024 intents: the last one's proof holds."""
    grown = tree(_LEAVES)
    assert proven_digest(PREFIX, _LEAVES[-1], grown.proofs()[-1]) == bulk_digest(
        PREFIX, HEIGHT_MAX, grown.root
    )


# -- admission


@pytest.mark.parametrize("count", [1, 2, 3, 64])
def test_each_intent_of_a_bulk_is_verified(count: int) -> None:
    """Each keeps the digest that it has alone, and carries the signature and its own proof."""
    bulk = _bulk(_intents(count))
    answers = _answers(bulk)
    assert len(answers) == count
    for intent, answer in zip(bulk.intents, answers, strict=True):
        assert isinstance(answer, Verified)
        single = admit(unverified(intent, alice), RULES, START_S)
        assert isinstance(single, Verified)
        assert (answer.document, answer.digest) == (intent, single.digest)
        assert (answer.signer, answer.signature) == (alice.address, bulk.signature)
        proven = proven_digest(PREFIX, struct_hash(intent), answer.proof)
        assert isinstance(proven, bytes)
        assert recover(proven, bytes.fromhex(bulk.signature[2:])) == alice.address


def test_a_bad_intent_does_not_harm_its_neighbours() -> None:
    """It gets its own code; the others are verified, with proofs of the tree that was signed."""
    good = an_intent().build(alice)
    bad = (
        (RejectCode.RESOURCE_INVALID, an_intent().of("no name").build(alice)),
        (RejectCode.UNITS_OUT_OF_RANGE, an_intent().units(0).build(alice)),
        (RejectCode.EXPIRED, an_intent().until(0).build(alice)),
    )
    answers = _answers(_bulk((good, *[intent for _, intent in bad], good)))
    for (code, _), answer in zip(bad, answers[1:4], strict=True):
        assert isinstance(answer, Reject)
        assert answer.code is code
    for place in (0, 4):
        verified = answers[place]
        assert isinstance(verified, Verified)
        assert verified.signer == alice.address


def test_the_order_of_a_bulk_is_signed() -> None:
    """The same intents in another order are not what was signed."""
    intents = _intents(2)
    signature = sign_bulk(alice.key, DOMAIN, intents)
    for answer in _answers(_bulk((intents[1], intents[0]), signature=signature)):
        assert isinstance(answer, Verified)
        assert answer.signer != alice.address


def test_filling_up_adds_nothing() -> None:
    """Three intents and three with an empty one sign alike, but the empty one is refused."""
    intents = _intents(3)
    assert sign_bulk(alice.key, DOMAIN, intents) == sign_bulk(alice.key, DOMAIN, (*intents, EMPTY))
    last = _answers(_bulk((*intents, EMPTY)))[3]
    assert isinstance(last, Reject)


def test_a_single_signature_is_not_one_for_a_bulk() -> None:
    """Nor the other way round: their types differ."""
    intent = an_intent().build(alice)
    alone = alice.key.sign(digest(PREFIX, intent))
    answer = _answers(_bulk((intent,), signature=alone))[0]
    assert isinstance(answer, Verified)
    assert answer.signer != alice.address
    single = admit(
        unverified(intent, alice, signature=sign_bulk(alice.key, DOMAIN, (intent,))),
        RULES,
        START_S,
    )
    assert isinstance(single, Verified)
    assert single.signer != alice.address


_FAULTS: Final[list[tuple[RejectCode, dict[str, Any]]]] = [
    (
        RejectCode.WRONG_DOMAIN,
        {"domain": DeclaredDomain(chain_id=1, verifying_contract=DOMAIN.verifying_contract)},
    ),
    (RejectCode.TOO_LARGE, {"intents": ()}),
    (RejectCode.TOO_LARGE, {"intents": (EMPTY,) * (INTENTS_MAX + 1)}),
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "0x" + "00" * 63}),
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "0x" + "00" * (SIGNATURE_BYTES_MAX + 1)}),
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "nonsense"}),
    (RejectCode.SIGNATURE_HIGH_S, {"signature": f"0x{1:064x}{HALF_ORDER + 1:064x}1b"}),
    (RejectCode.SIGNATURE_INVALID, {"signature": "0x" + "00" * 64}),
]


@pytest.mark.parametrize(("code", "change"), _FAULTS)
def test_each_fault_of_the_whole_has_its_code(code: RejectCode, change: dict[str, Any]) -> None:
    """One fault, one exact code, for the bulk as a whole."""
    answer = admit_bulk(msgspec.structs.replace(_bulk(_intents(2)), **change), RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.code is code


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (earlier[0], earlier[1] | later[1])
        for place, earlier in enumerate(_FAULTS)
        for later in _FAULTS[place + 1 :]
        if not earlier[1].keys() & later[1].keys()
    ],
)
def test_the_earlier_of_two_faults_wins(code: RejectCode, change: dict[str, Any]) -> None:
    """Precedence is part of the interface: two faults always give the earlier code."""
    answer = admit_bulk(msgspec.structs.replace(_bulk(_intents(2)), **change), RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.code is code


@pytest.mark.parametrize("length", [66, 500])
def test_long_signatures_wait_for_a_contract(length: int) -> None:
    """Only an account contract can judge them: admitted, with nobody named as signer."""
    for answer in _answers(_bulk(_intents(2), signature="0x" + "ab" * length)):
        assert isinstance(answer, Verified)
        assert answer.signer is None


@given(intents=st.lists(of(Intent), max_size=5), signature=st.text())
def test_anything_decoded_is_answered(intents: list[Intent], signature: str) -> None:
    """No intents and no signature make admission raise."""
    bulk = UnverifiedBulk(intents=tuple(intents), signature=signature)
    answers = admit_bulk(bulk, RULES, START_S)
    assert isinstance(answers, Reject) or len(answers) == len(intents)
