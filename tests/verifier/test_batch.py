"""What a verifier answers is what admission says, whatever way it came."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.admission import Rules, Unverified, Verified, admit
from intents.bulk import UnverifiedBulk, admit_bulk, sign_bulk
from intents.document import Intent, Offer
from intents.reject import Reject, RejectCode
from intents.typed_data import digest, struct_hash
from solver.core.state import CREDIT
from solver.verifier import batch, decode
from solver.verifier.batch import BATCH_MAX, Kind, answer, read
from solver.verifier.decode import decode_json
from solver.verifier.frame import Answer, decode_answer, encode
from tests.builder import DOMAIN, PREFIX, START_S, USDC, alice, an_intent, an_offer, unverified

RULES = Rules(domain=DOMAIN, assets=frozenset({USDC, CREDIT}))


def verified(kind: Kind, raw: bytes) -> list[Verified[Any] | Reject] | Reject:
    """There and back, as between processes."""
    (verdict,) = decode_answer(encode(Answer([answer(kind, raw, RULES, START_S)]))[4:]).bodies
    assert not isinstance(verdict, str)
    return read(kind, verdict)


def one(raw: bytes) -> Verified[Any] | Reject:
    """What becomes of one signed intent."""
    found = verified(Kind.INTENT, raw)
    assert isinstance(found, list)
    (only,) = found
    return only


def sent(document: Intent | Offer, **changes: Any) -> bytes:
    """A signed document as clients send it."""
    body = {"document": document, "signature": unverified(document, alice).signature}
    return msgspec.json.encode(body | changes)


# -- rows


def test_a_verified_document_survives_the_way_between_processes() -> None:
    """Every field of it, and of what is known about it, for both kinds."""
    intent = an_intent().units(5).limit(100).immediate().build(alice)
    offer = an_offer().units(5).limit(100).window(3, 60).build(alice)
    for kind, document in ((Kind.INTENT, intent), (Kind.OFFER, offer)):
        expected = admit(unverified(document, alice), RULES, START_S)
        assert verified(kind, sent(document)) == [expected]


def test_a_reject_survives_it_too() -> None:
    """Code, message, hint and time to wait."""
    for changes in ({"signature": "0x"}, {"extra": 1}):
        found = one(sent(an_intent().build(alice), **changes))
        assert isinstance(found, Reject)
        assert found.code in (RejectCode.SIGNATURE_MALFORMED, RejectCode.MALFORMED)
        assert found.message
        assert found.hint


def test_bulks_and_mandated_intents_are_what_admission_says() -> None:
    """A bulk's rows are `admit_bulk`'s; under a mandate only signer and signature are missing."""
    intents = [an_intent().limit(10 * number).build(alice) for number in range(5)]
    bulk = UnverifiedBulk(intents=tuple(intents), signature=sign_bulk(alice.key, DOMAIN, intents))
    raw = msgspec.json.encode({"intents": intents, "signature": bulk.signature})
    assert verified(Kind.BULK, raw) == admit_bulk(bulk, RULES, START_S)
    found = verified(Kind.MANDATED, msgspec.json.encode(intents))
    assert isinstance(found, list)
    for item, intent in zip(found, intents, strict=True):
        if isinstance(item, Verified):
            assert (item.document, item.signer, item.signature) == (intent, None, "")
            assert item.digest == "0x" + digest(PREFIX, intent).hex()
        else:
            assert (item.code, intent.limit) == (RejectCode.LIMIT_OUT_OF_RANGE, 0)


@pytest.mark.parametrize("count", [0, 1, BATCH_MAX, BATCH_MAX + 1])
def test_a_batch_is_bounded(count: int) -> None:
    """One to the bound; beyond it the whole batch is refused."""
    raw = b"[" + b",".join([b"{}"] * count) + b"]"
    found = verified(Kind.BATCH, raw)
    if 1 <= count <= BATCH_MAX:
        assert isinstance(found, list)
        assert len(found) == count
    else:
        assert isinstance(found, Reject)
        assert found.code is RejectCode.TOO_LARGE


# -- strictness: the quick way decides as the slow way does

_NAMES = [*(field.encode_name for field in msgspec.structs.fields(Intent)), "signature", "domain"]
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**54)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "0x", "0x" + "AB" * 20, "a/b:c", "\u00e9", "signature", '":', "\\"])
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Signed intents with something odd about them: spaces, order, repeats, escapes, types."""
    document = json.loads(msgspec.json.encode(an_intent().build(alice)))
    pairs = list(document.items())
    outer: list[tuple[str, Any]] = [("signature", "0x" + "11" * 65)]
    for _ in range(draw(st.integers(0, 3))):
        target = draw(st.sampled_from([pairs, outer]))
        action = draw(st.sampled_from(["drop", "repeat", "change", "case"]))
        place = draw(st.integers(0, len(target) - 1)) if target else 0
        if not target:
            continue
        if action == "drop":
            target.pop(place)
        elif action == "repeat":
            target.append(draw(st.sampled_from([target[place], (target[place][0], draw(_VALUES))])))
        elif action == "change":
            target[place] = (target[place][0], draw(_VALUES))
        else:
            target[place] = (draw(st.sampled_from(_NAMES)), target[place][1])
    colon = draw(st.sampled_from([":", ": ", " :\n"]))
    comma = draw(st.sampled_from([",", ", "]))

    def written(items: list[tuple[str, str]]) -> str:
        return "{" + comma.join(f"{json.dumps(name)}{colon}{value}" for name, value in items) + "}"

    inner = written([(name, json.dumps(value)) for name, value in pairs])
    whole = [("document", inner), *((name, json.dumps(value)) for name, value in outer)]
    text = written(draw(st.permutations(whole)))
    if draw(st.booleans()):
        text = text.replace("units", "\\u0075nits", 1)
    return text.encode()


@given(raw=bodies())
def test_the_quick_way_agrees_with_the_slow_one(raw: bytes) -> None:
    """The same document with the same hash, or the same refusal, for whatever is sent."""
    slow = decode_json(raw, Unverified[Intent], containers_max=batch._FEW)
    quick = batch._INTENT.decode(raw)
    if isinstance(slow, Reject) or isinstance(quick, Reject):
        assert quick == slow
        return
    assert isinstance(quick.document, Intent)
    assert msgspec.to_builtins(quick) == msgspec.to_builtins(slow)
    assert struct_hash(quick.document) == struct_hash(slow.document)


@given(raw=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_refused_alike(raw: bytes) -> None:
    """Bytes that are no JSON never raise."""
    quick = batch._INTENT.decode(raw)
    assert isinstance(quick, Reject)
    assert quick == decode_json(raw, Unverified[Intent], containers_max=batch._FEW)


@pytest.mark.parametrize("kind", [Kind.INTENT, Kind.OFFER, Kind.BULK])
@pytest.mark.parametrize("value", ["{}", "[]", '{"a":[]}'])
def test_many_small_values_are_not_looked_at(
    kind: Kind, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take a verifier a hundred times as long as documents of the same size."""

    def looked_at(_: bytes) -> None:
        pytest.fail("it was parsed")

    monkeypatch.setattr(decode, "parse_json", looked_at)
    raw = b'{"intents":[%b],"signature":"0x"}' % ",".join([value] * 4_000).encode()
    found = verified(kind, raw)
    refused = found[0] if isinstance(found, list) else found
    assert isinstance(refused, Reject)
    assert refused.code is RejectCode.MALFORMED
    assert "objects and arrays" in refused.message


def test_a_bulk_of_one_too_many_is_too_large_however_it_is_written() -> None:
    """The slow way, which looks at names of either case, comes to the same."""
    raw = msgspec.json.encode([an_intent().build(alice)] * 1_025)
    upper = alice.address.replace("a", "A").encode()
    for intents in (raw, raw.replace(alice.address.encode(), upper)):
        found = verified(Kind.BULK, b'{"intents":%b,"signature":"0x"}' % intents)
        assert isinstance(found, Reject)
        assert found.code is RejectCode.TOO_LARGE


ODD = [
    "0x" + "AB" * 20,
    "0X" + "ab" * 20,
    "0x" + "ab" * 19,
    "0x" + "ab" * 20 + "\\n",
    "ab" * 21,
    "",
]


@pytest.mark.parametrize("field", ["account", "asset"])
@pytest.mark.parametrize("text", ODD)
def test_an_address_has_one_form_in_every_body(field: str, text: str) -> None:
    """What the slow way refuses or lower-cases, the quick one does not let by, of any kind."""
    good = an_intent().build(alice)
    names = {"account": good.account, "asset": good.asset}
    odd = [
        msgspec.json.encode(good).replace(names[field].encode(), text.encode(), 1),
        msgspec.json.encode(good),
    ]
    expected = decode_json(odd[0], Intent)
    assert batch._BARE.decode(odd[0]) == expected
    array = b"[" + b",".join(odd) + b"]"
    signed = b"[" + b",".join(b'{"document":%b,"signature":"0x"}' % one for one in odd) + b"]"
    assert batch._BARES.canonical(array) is None
    assert batch._BATCH.canonical(signed) is None
    bulk = batch._BULK.decode(b'{"intents":%b,"signature":"0x"}' % array)
    if isinstance(expected, Reject):
        assert isinstance(bulk, Reject)
    else:
        assert isinstance(bulk, UnverifiedBulk)
        assert bulk.intents == (expected, good)


def test_canonical_bodies_are_taken_as_a_whole() -> None:
    """The quick way is taken at all: what the SDK sends needs no second look."""
    intents = [an_intent().build(alice) for _ in range(3)]
    bodies = [sent(intent) for intent in intents]
    signature = sign_bulk(alice.key, DOMAIN, intents)
    encoded = msgspec.json.encode(intents)
    assert msgspec.json.encode(batch._BARES.canonical(encoded)) == encoded
    found = batch._BATCH.canonical(b"[" + b",".join(bodies) + b"]")
    assert msgspec.json.encode([one.document for one in found or ()]) == encoded
    bulk = batch._BULK.canonical(msgspec.json.encode({"intents": intents, "signature": signature}))
    assert bulk is not None
    assert msgspec.json.encode(bulk.intents) == encoded


REPEATS = [
    b'{"document":%b,"signature":"0x00","signature":"%b"}',
    b'{"signature":"0x","document":%b,"signature":"%b"}',
    b'{"document":1,"document":%b,"signature":"%b"}',
]


@pytest.mark.parametrize("form", REPEATS)
def test_repeated_names_are_refused(form: bytes) -> None:
    """Also where both parsers would take the same, last value."""
    document = an_intent().build(alice)
    signature = unverified(document, alice).signature.encode()
    found = one(form % (msgspec.json.encode(document), signature))
    assert isinstance(found, Reject)
    assert "twice" in found.message


def test_a_quick_way_that_looks_for_no_repeats_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: without the look, a repeated name gets through."""
    monkeypatch.setattr(decode, "_repeats_nothing", lambda _: True)
    document = an_intent().build(alice)
    signature = unverified(document, alice).signature.encode()
    found = one(REPEATS[0] % (msgspec.json.encode(document), signature))
    assert isinstance(found, Verified)


def test_either_case_of_hex_is_taken() -> None:
    """Accounts come out in lower case, alone, in batches, bulks and under mandates."""
    document = an_intent().build(alice)
    shouted = alice.address.upper().replace("0X", "0x").encode()
    intents = [document, an_intent().build(alice)]
    signature = sign_bulk(alice.key, DOMAIN, intents)
    alone = sent(document)
    for kind, raw in (
        (Kind.INTENT, alone),
        (Kind.BATCH, b"[" + alone + b"]"),
        (Kind.BULK, msgspec.json.encode({"intents": intents, "signature": signature})),
        (Kind.MANDATED, msgspec.json.encode(intents)),
    ):
        found = verified(kind, raw.replace(alice.address.encode(), shouted))
        assert found == verified(kind, raw)
        assert isinstance(found, list)
        assert all(isinstance(item, Verified) for item in found)
