"""EIP-712: our hashes against eth-account, the contracts and viem."""

import json
import re
import subprocess
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from tiny_keccak import keccak256

from intents import bound
from intents.bulk import BULK_TYPE_HASHES
from intents.document import (
    SIGNED,
    Attestation,
    Document,
    Intent,
    Mandate,
    Offer,
    Request,
    SessionGrant,
    SpendReceipt,
)
from intents.signature import SigningKey, recover
from intents.solidity import market_types
from intents.typed_data import (
    DOMAIN_TYPE_STRING,
    FIELDS,
    TYPE_HASHES,
    TYPE_STRINGS,
    Domain,
    digest,
    struct_hash,
    typed_data,
)
from tests.builder import DOMAIN, PREFIX, alice, an_attestation, an_intent, an_offer
from tests.intents.document_strategy import documents, fields_of, integer_bounds, of
from tests.seed import SEED

ROOT: Final = Path(__file__).parents[2]
VIEM_DOCUMENTS: Final = 60

domains = st.builds(
    Domain,
    chain_id=st.sampled_from((1, 8_453, 2**256 - 1)) | st.integers(1, 2**64),
    verifying_contract=st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
)


def _hash_of(message: SignableMessage) -> bytes:
    return keccak256(b"\x19" + message.version + message.header + message.body)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (
            Intent,
            (
                "Intent(address account,string resource,address asset,uint64 units,uint64 unitsMin,"
                "uint96 limit,uint40 validFrom,uint40 validUntil,bool immediate,uint32 epoch,"
                "uint64 nonce)"
            ),
        ),
        (
            Offer,
            (
                "Offer(address account,string resource,address asset,bytes32 key,uint64 units,"
                "uint96 limit,uint64 windowUnits,uint40 windowSeconds,uint40 validFrom,"
                "uint40 validUntil,uint32 epoch,uint64 nonce)"
            ),
        ),
        (
            Mandate,
            (
                "Mandate(address account,string resource,address asset,uint64 tickMax,"
                "uint96 limit,uint40 validFrom,uint40 validUntil,uint32 epoch,uint64 nonce)"
            ),
        ),
        (
            Attestation,
            "Attestation(address account,string provider,string statement,uint40 issuedAt)",
        ),
        (
            Request,
            (
                "Request(address account,string method,string target,bytes32 bodyHash,"
                "uint64 nonce,uint40 expiresAt)"
            ),
        ),
        (
            SpendReceipt,
            "SpendReceipt(address account,uint32 epoch,uint64 base,uint64 spent,bytes32 lines)",
        ),
        (
            SessionGrant,
            (
                "SessionGrant(address account,address key,uint16 team,uint8 permissions,"
                "string resource,uint64 tickMax,uint64 units,uint96 spend,uint40 period,"
                "uint40 expiresAt,uint24 sessionEpoch,uint64 nonce)"
            ),
        ),
    ],
)
def test_type_strings_are_what_was_published(document: type[Document], text: str) -> None:
    """A changed type string breaks every signature in the field, so it is pinned here."""
    assert TYPE_STRINGS[document] == text
    assert TYPE_HASHES[document] == keccak256(text.encode())


def test_every_signed_document_is_in_the_table() -> None:
    """No document class is left out of the tables."""
    assert set(TYPE_STRINGS) == set(SIGNED) == set(FIELDS)
    assert DOMAIN_TYPE_STRING == (
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    )


@given(domain=domains, document=documents)
def test_digest_equals_that_of_eth_account(domain: Domain, document: Document) -> None:
    """An independent implementation makes the same digest of the JSON that a wallet gets."""
    message = encode_typed_data(full_message=typed_data(domain, document))
    assert message.header == domain.separator()
    assert message.body == struct_hash(document)
    assert _hash_of(message) == digest(domain.prefix(), document)


@given(document=documents, secret=st.integers(1, 2**255).map(lambda n: n.to_bytes(32, "big")))
def test_what_a_wallet_signs_is_recovered(document: Document, secret: bytes) -> None:
    """A signature made by eth-account from the JSON names its signer here."""
    signed = Account.sign_typed_data(secret, full_message=typed_data(DOMAIN, document))
    address = SigningKey(secret).address
    assert recover(digest(PREFIX, document), signed.signature) == address
    assert Account.from_key(secret).address.lower() == address


@given(document=documents)
def test_documents_survive_json(document: Document) -> None:
    """What is written as JSON is read as the same document, with the same digest."""
    again = msgspec.json.decode(msgspec.json.encode(document), type=type(document))
    assert again == document
    assert digest(PREFIX, again) == digest(PREFIX, document)


@given(document=documents, data=st.data())
def test_every_field_counts(document: Document, data: st.DataObject) -> None:
    """Changing any one field changes the digest."""
    field = data.draw(st.sampled_from([field.name for field in fields_of(type(document))]))
    other = data.draw(of(type(document)))
    value = getattr(other, field)
    changed = msgspec.structs.replace(document, **{field: value})
    same = value == getattr(document, field)
    assert (digest(PREFIX, changed) == digest(PREFIX, document)) == same


@pytest.mark.parametrize("document", SIGNED)
def test_every_maximum_fits_its_solidity_type(document: type[Document]) -> None:
    """Whatever the annotations allow fits the type that is signed, and a JSON number."""
    kinds = {name: kind for name, _, kind in FIELDS[document]}
    for field in fields_of(document):
        bounds = integer_bounds(field)
        if bounds is not None:
            bits = int(kinds[field.name].removeprefix("uint"))
            assert (bounds[0] >= 0, bounds[1] < 2**bits, bounds[1] < 2**53) == (True,) * 3


def test_sums_of_the_contract_cannot_overflow() -> None:
    """The contract's proof that its products stay below 2^161 rests on these maxima."""
    assert bound.AMOUNT_MAX < 2**96
    assert bound.UNITS_MAX < 2**63
    assert bound.TICK_MAX * bound.UNITS_MAX < 2**161


@pytest.mark.parametrize(
    "change",
    [
        {"units": bound.UNITS_MAX + 1},
        {"limit": bound.AMOUNT_MAX + 1},
        {"nonce": -1},
        {"units": 1.5},
        {"units": "1"},
        {"account": "0x" + "AB" * 20},
        {"account": "0x" + "ab" * 19},
        {"account": "0x" + "ab" * 20 + "\n"},
        {"immediate": 1},
        {"epoch": 2**32},
        {"validUntil": 2**40},
        {"resource": "x" * 4_097},
        {"surprise": 1},
    ],
)
def test_malformed_documents_are_not_decoded(change: dict[str, Any]) -> None:
    """Outside the declared form nothing is decoded: no later stage sees it."""
    fields = msgspec.to_builtins(an_intent().build(alice)) | change
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(fields), type=Intent)


def test_lone_surrogates_are_not_decoded() -> None:
    """Text that has no UTF-8 form, and so no hash, does not get past decoding."""
    body = msgspec.json.encode(an_attestation(alice)).replace(b"I may.", b"\\ud800")
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=Attestation)


# -- the contracts


def _constants(solidity: str) -> dict[str, str]:
    """Name → value of each constant, whatever the formatter did with the whitespace."""
    return dict(re.findall(r"constant\s+(\w+)\s*=\s*([^;]+?)\s*;", solidity))


def _hashes(solidity: str) -> list[str]:
    """Every 32-byte number, in order: the type hashes of bulks are no constants."""
    return re.findall(r"0x[0-9a-f]{64}", solidity)


def _drift(committed: str) -> bool:
    ours = market_types()
    return _constants(committed) != _constants(ours) or _hashes(committed) != _hashes(ours)


def test_contracts_hash_with_our_constants() -> None:
    """contracts/src/MarketTypes.sol is what `python -m intents.solidity` prints."""
    committed = (ROOT / "contracts/src/MarketTypes.sol").read_text()
    assert not _drift(committed)
    assert _constants(committed)["INTENT_TYPEHASH"] == "0x" + TYPE_HASHES[Intent].hex()
    assert _constants(committed)["OFFER_TYPEHASH"] == "0x" + TYPE_HASHES[Offer].hex()
    for document in (Intent, Offer, Mandate):
        assert TYPE_STRINGS[document] in committed
    for height, hashed in BULK_TYPE_HASHES.items():
        assert f"height == {height}) {{\n            return 0x{hashed.hex()};" in committed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TYPE_HASHES[Intent].hex(), TYPE_HASHES[Offer].hex()),
        (TYPE_HASHES[Offer].hex()[:-1], "0" * 63),
        ('"Keyfill"', '"Keyfil"'),
        ("OFFER_TYPEHASH", "ORDER_TYPEHASH"),
        (BULK_TYPE_HASHES[3].hex(), BULK_TYPE_HASHES[4].hex()),
        ("1_000_000", "1_000_001"),
    ],
)
def test_a_planted_change_is_drift(old: str, new: str) -> None:
    """The comparison above can fail."""
    planted = market_types().replace(old, new)
    assert planted != market_types()
    assert _drift(planted)


# -- viem


def _any_document(random: Random) -> Document:
    """A document with random or edge values, without Hypothesis: it runs in one batch."""

    def number(high: int) -> int:
        return random.choice((0, 1, high, random.randint(0, high)))

    def text() -> str:
        return "".join(random.choice('aé/:_✓😀 "\\\n') for _ in range(random.randint(0, 20)))

    values: dict[str, Any] = {
        "address": lambda _: "0x" + random.randbytes(20).hex(),
        "bytes32": lambda _: "0x" + random.randbytes(32).hex(),
        "string": lambda _: text(),
        "bool": lambda _: random.random() < 0.5,
    }
    document = random.choice(SIGNED)
    bounds = {field.name: integer_bounds(field) for field in fields_of(document)}
    terms = {
        name: number(limits[1]) if (limits := bounds[name]) else values[kind](name)
        for name, _, kind in FIELDS[document]
    }
    return document(**terms)


def test_viem_makes_the_same_digests() -> None:
    """The library that browsers sign with hashes our JSON as we do."""
    random = Random(SEED)  # noqa: S311  test data
    signed = [_any_document(random) for _ in range(VIEM_DOCUMENTS)]
    signed += [an_intent().build(alice), an_offer().build(alice)]
    script = Path(__file__).with_name("viem_digest.mjs")
    lines = "\n".join(json.dumps(typed_data(DOMAIN, document)) for document in signed)
    answer = subprocess.run(
        ["node", str(script)],  # noqa: S607
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["0x" + digest(PREFIX, document).hex() for document in signed]
