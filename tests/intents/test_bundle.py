"""Bundles: what is signed against independent implementations, proofs of legs, admission."""

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

from intents.admission import DeclaredDomain, Rules, admit
from intents.bound import LATENCY_MS_MAX, LEGS_MAX, SUCCESS_MAX
from intents.bulk import sign_bulk, tree
from intents.bundle import (
    BUNDLE_TYPE_HASHES,
    BUNDLE_TYPE_STRINGS,
    Bundle,
    Terms,
    UnverifiedBundle,
    VerifiedBundle,
    admit_bundle,
    bundle_digest,
    bundle_typed_data,
    is_bundle_proof,
    sign_bundle,
    signed_digest,
    terms_of,
)
from intents.document import Intent
from intents.reject import Reject, RejectCode
from intents.signature import HALF_ORDER, SigningKey, recover
from intents.typed_data import TYPE_STRINGS, digest, struct_hash
from tests.builder import (
    DOMAIN,
    PREFIX,
    START_S,
    TOKENS,
    USDC,
    Person,
    alice,
    an_intent,
    bob,
    unverified,
)
from tests.intents.document_strategy import of

RULES: Final = Rules(domain=DOMAIN, assets=frozenset({USDC}))
TERM_CHARS: Final = 14

terms = st.builds(
    Terms,
    any=st.booleans(),
    success_min=st.integers(0, SUCCESS_MAX),
    latency_max=st.integers(0, LATENCY_MS_MAX),
)


def _legs(count: int) -> tuple[Intent, ...]:
    return tuple(
        an_intent().units(number + 1).at_least(number + 1).limit(1_000).build(alice)
        for number in range(count)
    )


def _bundle(count: int = 3, **terms_: Any) -> Bundle:
    whole: dict[str, Any] = {"any": False, "legs": _legs(count)}
    return Bundle(**(whole | terms_))


def _unverified(
    bundle: Bundle, signer: Person | SigningKey = alice, **other: Any
) -> UnverifiedBundle:
    key = signer.key if isinstance(signer, Person) else signer
    changed = {name: other.pop(name, getattr(bundle, name)) for name in Bundle.__struct_fields__}
    if "signature" not in other:
        other["signature"] = sign_bundle(key, DOMAIN, Bundle(**changed))
    return UnverifiedBundle(**changed, **other)


def _admitted(bundle: UnverifiedBundle) -> VerifiedBundle:
    answer = admit_bundle(bundle, RULES, START_S)
    assert isinstance(answer, VerifiedBundle), answer
    return answer


def _digest(bundle: Bundle) -> bytes:
    grown = tree([struct_hash(leg) for leg in bundle.legs])
    return bundle_digest(PREFIX, bundle, grown.height, grown.root)


def _theirs(bundle: Bundle) -> bytes:
    message = encode_typed_data(full_message=bundle_typed_data(DOMAIN, bundle))
    return keccak256(b"\x19" + message.version + message.header + message.body)


# -- what is signed


def test_type_strings_are_what_was_published() -> None:
    """A changed type string breaks every bundle's signature in the field, so it is pinned here."""
    head = "Bundle(bool any,uint16 successMin,uint32 latencyMax,"
    assert BUNDLE_TYPE_STRINGS[1] == head + "Intent[2] legs)" + TYPE_STRINGS[Intent]
    assert BUNDLE_TYPE_STRINGS[4] == head + "Intent[2][2][2][2] legs)" + TYPE_STRINGS[Intent]
    assert list(BUNDLE_TYPE_STRINGS) == [1, 2, 3, 4]
    for height, text in BUNDLE_TYPE_STRINGS.items():
        assert BUNDLE_TYPE_HASHES[height] == keccak256(text.encode())


@given(legs=st.lists(of(Intent), min_size=1, max_size=LEGS_MAX), bound=terms)
def test_any_bundle_hashes_as_eth_account_hashes_it(legs: list[Intent], bound: Terms) -> None:
    """An independent implementation makes the same digest of the JSON that a wallet gets."""
    bundle = Bundle(**msgspec.structs.asdict(bound), legs=tuple(legs))
    assert _digest(bundle) == _theirs(bundle)


def test_viem_makes_the_same_digests() -> None:
    """The library that browsers sign with hashes our JSON as we do, at every height."""
    bundles = [
        _bundle(count, any=count % 2 == 0, success_min=count, latency_max=7 * count)
        for count in (1, 2, 3, 5, 9, LEGS_MAX)
    ]
    bundles.append(_bundle(success_min=SUCCESS_MAX, latency_max=LATENCY_MS_MAX))
    answer = subprocess.run(
        ["node", str(Path(__file__).with_name("viem_digest.mjs"))],  # noqa: S607
        input="\n".join(json.dumps(bundle_typed_data(DOMAIN, bundle)) for bundle in bundles),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["0x" + _digest(bundle).hex() for bundle in bundles]


def test_what_a_wallet_signs_is_admitted() -> None:
    """A signature made by eth-account from the JSON is alice's here, for each leg."""
    bundle = _bundle(any=True, success_min=990)
    signed = Account.sign_typed_data(
        alice.key.secret(), full_message=bundle_typed_data(DOMAIN, bundle)
    )
    admitted = _admitted(_unverified(bundle, signature="0x" + signed.signature.hex()))
    assert {leg.signer for leg in admitted.legs} == {alice.address}


@pytest.mark.parametrize(
    "change",
    [{"any": True}, {"success_min": 989}, {"latency_max": 1_501}, {"legs": _legs(3)[::-1]}],
)
def test_all_that_binds_the_legs_is_signed(change: dict[str, Any]) -> None:
    """Other terms, or the legs in another order, are not what alice signed."""
    bundle = _bundle(success_min=990, latency_max=1_500)
    signature = sign_bundle(alice.key, DOMAIN, bundle)
    assert _admitted(_unverified(bundle, signature=signature)).legs[0].signer == alice.address
    other = _unverified(bundle, signature=signature, **change)
    assert _admitted(other).legs[0].signer != alice.address


# -- proofs


@given(count=st.integers(1, LEGS_MAX), bound=terms)
def test_every_leg_proves_what_was_signed(count: int, bound: Terms) -> None:
    """By its proof alone each leg leads to the bundle's digest, and tells its terms."""
    admitted = _admitted(_unverified(_bundle(count, **msgspec.structs.asdict(bound))))
    signed = bytes.fromhex(admitted.digest[2:])
    assert len(admitted.legs) == count
    for leg in admitted.legs:
        raw = bytes.fromhex(leg.proof[2:])
        assert is_bundle_proof(raw)
        assert terms_of(raw) == admitted.terms
        assert signed_digest(PREFIX, leg.document, leg.proof) == signed
        assert recover(signed, bytes.fromhex(leg.signature[2:])) == alice.address


@given(data=st.data())
def test_no_other_proof_does(data: st.DataObject) -> None:
    """Any digit of the terms, the index or a sibling counts; so does which leg it is."""
    admitted = _admitted(_unverified(_bundle(5, success_min=17, latency_max=99)))
    place = data.draw(st.integers(0, 4))
    leg = admitted.legs[place]
    at = data.draw(st.integers(2, len(leg.proof) - 1))
    digit = "1" if leg.proof[at] == "0" else "0"
    changed = leg.proof[:at] + digit + leg.proof[at + 1 :]
    other = admitted.legs[(place + 1) % 5].proof
    for proof in (changed, other):
        found = signed_digest(PREFIX, leg.document, proof)
        assert isinstance(found, Reject) or "0x" + found.hex() != admitted.digest


def test_a_bulks_proof_is_none_of_a_bundle() -> None:
    """Nor the other way: the same tree, with or without its terms, gives another digest."""
    bundle = _bundle(4)
    admitted = _admitted(_unverified(bundle))
    leg = admitted.legs[0]
    as_bulk = "0x" + leg.proof[2 + TERM_CHARS :]
    assert not is_bundle_proof(bytes.fromhex(as_bulk[2:]))
    grown = tree([struct_hash(one) for one in bundle.legs])
    bulk = signed_digest(PREFIX, leg.document, as_bulk)
    signature = bytes.fromhex(sign_bulk(alice.key, DOMAIN, bundle.legs)[2:])
    assert grown.proofs()[0] == as_bulk
    assert isinstance(bulk, bytes)
    assert recover(bulk, signature) == alice.address
    assert "0x" + bulk.hex() != admitted.digest


@pytest.mark.parametrize(
    "proof",
    [
        "0x" + "00" * 9,
        "0x02" + "00" * 8 + "00" * 32,
        "0x" + "00" * 7 + "0002" + "00" * 32,
        "0x" + "00" * 9 + "00" * 32 * 5,
        "0x" + "00" * 8,
        "nonsense",
    ],
)
def test_what_is_no_proof(proof: str) -> None:
    """No tree or one too high, a flag of 2, an index beyond the height: malformed."""
    answer = signed_digest(PREFIX, _legs(1)[0], proof)
    assert isinstance(answer, Reject)
    assert answer.code is RejectCode.MALFORMED


def test_what_is_signed_alone_needs_no_proof() -> None:
    """Without a proof it is the intent itself."""
    leg = _legs(1)[0]
    assert signed_digest(PREFIX, leg, "") == digest(PREFIX, leg)


# -- admission


@pytest.mark.parametrize("count", [1, 2, 3, LEGS_MAX])
def test_a_bundle_is_verified_with_its_legs(count: int) -> None:
    """Each leg keeps the digest that it has alone; the bundle has one of its own."""
    sent = _unverified(_bundle(count, latency_max=250))
    admitted = _admitted(sent)
    assert admitted.terms == Terms(any=False, latency_max=250)
    assert admitted.digest == "0x" + _digest(sent).hex()
    for leg, verified in zip(sent.legs, admitted.legs, strict=True):
        assert verified.document == leg
        assert verified.digest == "0x" + digest(PREFIX, leg).hex()
        assert (verified.signer, verified.signature) == (alice.address, sent.signature)


def test_a_legs_own_signature_is_none_for_the_bundle() -> None:
    """Nor is that of the bundle one for a leg alone."""
    bundle = _bundle(2)
    alone = alice.key.sign(digest(PREFIX, bundle.legs[0]))
    assert _admitted(_unverified(bundle, signature=alone)).legs[0].signer != alice.address
    whole = sign_bundle(alice.key, DOMAIN, bundle)
    single = admit(unverified(bundle.legs[0], alice, signature=whole), RULES, START_S)
    assert not isinstance(single, Reject)
    assert single.signer != alice.address


def _changed(**change: Any) -> dict[str, Any]:
    """Legs of which the second differs."""
    first, second, third = _legs(3)
    return {"legs": (first, msgspec.structs.replace(second, **change), third)}


_FAULTS: Final[list[tuple[RejectCode, dict[str, Any]]]] = [
    (
        RejectCode.WRONG_DOMAIN,
        {"domain": DeclaredDomain(chain_id=1, verifying_contract=DOMAIN.verifying_contract)},
    ),
    (RejectCode.TOO_LARGE, {"legs": ()}),
    (RejectCode.TOO_LARGE, {"legs": _legs(LEGS_MAX + 1)}),
    (RejectCode.QUALITY_OUT_OF_RANGE, {"success_min": SUCCESS_MAX + 1}),
    (RejectCode.QUALITY_OUT_OF_RANGE, {"success_min": -1}),
    (RejectCode.QUALITY_OUT_OF_RANGE, {"latency_max": LATENCY_MS_MAX + 1}),
    (RejectCode.QUALITY_OUT_OF_RANGE, {"latency_max": -1}),
    (RejectCode.BUNDLE_MIXED, _changed(account=bob.address)),
    (RejectCode.BUNDLE_MIXED, _changed(asset="credit")),
    (RejectCode.BUNDLE_MIXED, _changed(epoch=1)),
    (RejectCode.BUNDLE_MIXED, _changed(valid_from=1)),
    (RejectCode.BUNDLE_MIXED, _changed(valid_until=START_S + 1)),
    (RejectCode.BUNDLE_MIXED, _changed(immediate=True)),
    (RejectCode.BUNDLE_MIXED, {"legs": _legs(1) * 2}),
    (RejectCode.RESOURCE_INVALID, _changed(resource="no name")),
    (RejectCode.UNITS_OUT_OF_RANGE, _changed(units=0)),
    (RejectCode.LIMIT_OUT_OF_RANGE, _changed(limit=0)),
    (RejectCode.MINIMUM_OUT_OF_RANGE, _changed(units_min=1)),
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "nonsense"}),
    (RejectCode.SIGNATURE_HIGH_S, {"signature": f"0x{1:064x}{HALF_ORDER + 1:064x}1b"}),
    (RejectCode.SIGNATURE_INVALID, {"signature": "0x" + "00" * 64}),
]


@pytest.mark.parametrize(("code", "change"), _FAULTS)
def test_each_fault_refuses_the_whole(code: RejectCode, change: dict[str, Any]) -> None:
    """One fault anywhere, one exact code, and no leg is admitted."""
    unsigned = {"signature": sign_bundle(alice.key, DOMAIN, _bundle())}
    answer = admit_bundle(_unverified(_bundle(), **(unsigned | change)), RULES, START_S)
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
    unsigned = {"signature": sign_bundle(alice.key, DOMAIN, _bundle())}
    answer = admit_bundle(_unverified(_bundle(), **(unsigned | change)), RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.code is code


def test_a_fault_names_its_leg() -> None:
    """Whoever signed sixteen learns which one to mend."""
    answer = admit_bundle(_unverified(_bundle(**_changed(units=0))), RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.message.startswith("leg 1: ")


def test_of_any_a_part_may_be_bought() -> None:
    """A leg of an any-of keeps its own minimum; where all are bought it is all its units."""
    legs = (an_intent().units(9).build(alice), an_intent().of(TOKENS).units(5).build(alice))
    assert _admitted(_unverified(Bundle(any=True, legs=legs)))
    answer = admit_bundle(_unverified(Bundle(any=False, legs=legs)), RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.code is RejectCode.MINIMUM_OUT_OF_RANGE


@given(legs=st.lists(of(Intent), max_size=5), bound=terms, signature=st.text())
def test_anything_decoded_is_answered(legs: list[Intent], bound: Terms, signature: str) -> None:
    """No legs, terms or signature make admission raise."""
    bundle = UnverifiedBundle(
        **msgspec.structs.asdict(bound), legs=tuple(legs), signature=signature
    )
    assert isinstance(admit_bundle(bundle, RULES, START_S), Reject | VerifiedBundle)
