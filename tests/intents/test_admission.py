"""Admission: one exact code for each fault, and the earlier code of two."""

from collections.abc import Callable
from itertools import combinations
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.admission import Rules, Unverified, Verified, admit
from intents.bound import (
    AMOUNT_MAX,
    LIFETIME_SECONDS_MAX,
    PERIOD_S_MAX,
    RESOURCE_BYTES_MAX,
    SIGNATURE_BYTES_MAX,
    TICK_MAX,
    TIME_S_MAX,
    UNITS_MAX,
    WINDOW_SECONDS_MAX,
)
from intents.document import Document
from intents.form import is_resource_name
from intents.reject import HINTS, Reject, RejectCode, reject
from intents.signature import HALF_ORDER, SigningKey
from intents.typed_data import digest
from tests.builder import (
    CREDITS,
    DOMAIN,
    PREFIX,
    START_S,
    USDC,
    a_grant,
    a_mandate,
    a_request,
    alice,
    an_attestation,
    an_intent,
    an_offer,
    bob,
    unverified,
)
from tests.intents.document_strategy import documents

RULES: Final = Rules(domain=DOMAIN, assets=frozenset({USDC, CREDITS}))

Change = dict[str, Any]
Faults = list[tuple[RejectCode, Change]]

_DOMAIN: Final[Faults] = [
    (RejectCode.WRONG_DOMAIN, {"chain_id": 1}),
    (RejectCode.WRONG_DOMAIN, {"verifying_contract": USDC}),
]
_TRADE: Final[Faults] = [
    (RejectCode.RESOURCE_INVALID, {"resource": "tavily"}),
    (RejectCode.ASSET_UNKNOWN, {"asset": "0x" + "99" * 20}),
    (RejectCode.UNITS_OUT_OF_RANGE, {"units": 0}),
    (RejectCode.LIMIT_OUT_OF_RANGE, {"limit": 0}),
]
_MINIMUM: Final[Faults] = [
    (RejectCode.MINIMUM_OUT_OF_RANGE, {"units_min": 0}),
    (RejectCode.MINIMUM_OUT_OF_RANGE, {"units_min": UNITS_MAX}),
]
_MANDATE: Final[Faults] = [
    (RejectCode.RESOURCE_INVALID, {"resource": "tavily"}),
    (RejectCode.ASSET_UNKNOWN, {"asset": "0x" + "99" * 20}),
    (RejectCode.LIMIT_OUT_OF_RANGE, {"limit": 0}),
    (RejectCode.PRICE_OUT_OF_RANGE, {"tick_max": 0}),
]
_WINDOW: Final[Faults] = [
    (RejectCode.WINDOW_OUT_OF_RANGE, {"window_units": 1, "window_seconds": 0}),
    (RejectCode.WINDOW_OUT_OF_RANGE, {"window_units": 0, "window_seconds": 1}),
    (RejectCode.WINDOW_OUT_OF_RANGE, {"window_units": 1, "window_seconds": WINDOW_SECONDS_MAX + 1}),
]
_PRICE_HIGH: Final[Faults] = [(RejectCode.PRICE_OUT_OF_RANGE, {"limit": AMOUNT_MAX})]
_PRICE_LOW: Final[Faults] = [(RejectCode.PRICE_OUT_OF_RANGE, {"units": UNITS_MAX})]
_GRANT: Final[Faults] = [
    (RejectCode.RESOURCE_INVALID, {"resource": "tavily"}),
    (RejectCode.WINDOW_OUT_OF_RANGE, {"period": 0}),
    (RejectCode.WINDOW_OUT_OF_RANGE, {"spend": 0, "units": 0}),
    (RejectCode.WINDOW_OUT_OF_RANGE, {"period": PERIOD_S_MAX + 1}),
]
_EXPIRY: Final[Faults] = [
    (RejectCode.EXPIRED, {"until": START_S}),
    (RejectCode.VALIDITY_TOO_LONG, {"until": START_S + LIFETIME_SECONDS_MAX + 1}),
]
_VALIDITY: Final[Faults] = [
    (RejectCode.VALIDITY_EMPTY, {"valid_from": START_S + LIFETIME_SECONDS_MAX + 2}),
    *_EXPIRY,
]
_SIGNATURE: Final[Faults] = [
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "0x" + "00" * 63}),
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "0x" + "00" * (SIGNATURE_BYTES_MAX + 1)}),
    (RejectCode.SIGNATURE_MALFORMED, {"signature": "nonsense"}),
    (RejectCode.SIGNATURE_HIGH_S, {"signature": f"0x{1:064x}{HALF_ORDER + 1:064x}1b"}),
    (RejectCode.SIGNATURE_INVALID, {"signature": "0x" + "00" * 64}),
]

FAULTS: Final[dict[str, tuple[Callable[[], Document], Faults]]] = {
    "intent": (
        lambda: an_intent().limit(1_000).build(alice),
        [*_DOMAIN, *_TRADE, *_MINIMUM, *_PRICE_HIGH, *_PRICE_LOW, *_VALIDITY, *_SIGNATURE],
    ),
    "offer": (
        lambda: an_offer().build(alice),
        [*_DOMAIN, *_TRADE, *_WINDOW, *_PRICE_HIGH, *_VALIDITY, *_SIGNATURE],
    ),
    "mandate": (lambda: a_mandate().build(alice), [*_DOMAIN, *_MANDATE, *_VALIDITY, *_SIGNATURE]),
    "request": (lambda: a_request(alice), [*_DOMAIN, *_EXPIRY, *_SIGNATURE]),
    "attestation": (lambda: an_attestation(alice), [*_DOMAIN, *_SIGNATURE]),
    "grant": (lambda: a_grant(alice, bob), [*_DOMAIN, *_GRANT, *_EXPIRY, *_SIGNATURE]),
}


def _with(document: Document, change: Change) -> Unverified[Document]:
    """A sent document with faults: terms, declared domain or signature."""
    terms = dict(change)
    domain = msgspec.structs.replace(
        DOMAIN, **{k: terms.pop(k) for k in ("chain_id", "verifying_contract") if k in terms}
    )
    signature = terms.pop("signature", None)
    if "until" in terms:
        field = "valid_until" if hasattr(document, "valid_until") else "expires_at"
        terms[field] = terms.pop("until")
    changed = msgspec.structs.replace(document, **terms)
    return unverified(changed, alice, signature=signature, domain=domain)


def _code(sent: Unverified[Any]) -> RejectCode | None:
    result = admit(sent, RULES, START_S)
    return result.code if isinstance(result, Reject) else None


@pytest.mark.parametrize("kind", FAULTS)
def test_a_faultless_document_is_verified(kind: str) -> None:
    """The ground from which the faults below start is accepted."""
    document = FAULTS[kind][0]()
    sent = unverified(document, alice)
    verified = admit(sent, RULES, START_S)
    assert isinstance(verified, Verified)
    assert verified == Verified(
        document=document,
        digest="0x" + digest(PREFIX, document).hex(),
        signer=alice.address,
        signature=sent.signature,
    )


@pytest.mark.parametrize(
    ("kind", "code", "change"),
    [(kind, code, change) for kind, (_, faults) in FAULTS.items() for code, change in faults],
)
def test_each_fault_has_its_code(kind: str, code: RejectCode, change: Change) -> None:
    """One fault, one exact code."""
    assert _code(_with(FAULTS[kind][0](), change)) is code


def _pairs() -> list[tuple[str, RejectCode, Change]]:
    """Every two faults that one document can have, with the code that must win."""
    return [
        (kind, earlier[0], earlier[1] | later[1])
        for kind, (_, faults) in FAULTS.items()
        for earlier, later in combinations(faults, 2)
        if not earlier[1].keys() & later[1].keys() and not _cures(earlier[1], later[1])
    ]


def _cures(earlier: Change, later: Change) -> bool:
    """Whether the later change makes the earlier one harmless."""
    return (
        earlier.get("units_min") == UNITS_MAX == later.get("units")
        or (earlier.get("limit") == AMOUNT_MAX and "units" in later)
        or (earlier.get("period") == later.get("spend") == 0)
    )


@pytest.mark.parametrize(("kind", "code", "change"), _pairs())
def test_the_earlier_of_two_faults_wins(kind: str, code: RejectCode, change: Change) -> None:
    """Precedence is part of the interface: two faults always give the earlier code."""
    assert _code(_with(FAULTS[kind][0](), change)) is code


def test_the_pairs_are_many() -> None:
    """The table above is not empty by accident, and knows every admission code."""
    pairs = _pairs()
    assert len(pairs) > 250
    assert {code for _, faults in FAULTS.values() for code, _ in faults} == {
        code
        for code in RejectCode
        if list(RejectCode).index(RejectCode.WRONG_DOMAIN)
        <= list(RejectCode).index(code)
        <= list(RejectCode).index(RejectCode.SIGNATURE_INVALID)
    }


@pytest.mark.parametrize(
    "change",
    [
        {"until": START_S + 1},
        {"until": START_S + LIFETIME_SECONDS_MAX},
        {"units": 1, "units_min": 1, "limit": 1},
        {"units": UNITS_MAX, "units_min": UNITS_MAX, "limit": AMOUNT_MAX},
        {"units": UNITS_MAX, "limit": UNITS_MAX // 10**6},
        {"units": 10**6, "limit": AMOUNT_MAX},
        {"valid_from": START_S + 3_599},
        {"asset": CREDITS},
        {"epoch": 2**32 - 1, "nonce": 2**53 - 1},
    ],
)
def test_edges_are_inside(change: Change) -> None:
    """The last value before each fault is good."""
    assert _code(_with(FAULTS["intent"][0](), change)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"window_units": 1, "window_seconds": WINDOW_SECONDS_MAX},
        {"window_units": 0, "window_seconds": 0},
        {"units": UNITS_MAX, "limit": 1},
    ],
)
def test_edges_of_offers_are_inside(change: Change) -> None:
    """The last value before each fault of an offer is good; any low price is."""
    assert _code(_with(FAULTS["offer"][0](), change)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"resource": ""},
        {"tick_max": 1, "limit": 1},
        {"tick_max": TICK_MAX, "limit": AMOUNT_MAX},
        {"asset": CREDITS},
        {"until": START_S + LIFETIME_SECONDS_MAX},
    ],
)
def test_edges_of_mandates_are_inside(change: Change) -> None:
    """The last value before each fault of a mandate is good; no resource means any."""
    assert _code(_with(FAULTS["mandate"][0](), change)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"resource": ""},
        {"spend": 0, "units": 1},
        {"spend": 1, "units": 0, "period": 1},
        {"spend": 0, "units": 0, "period": 0},
        {"period": PERIOD_S_MAX},
        {"tick_max": 0},
        {"until": START_S + LIFETIME_SECONDS_MAX},
    ],
)
def test_edges_of_grants_are_inside(change: Change) -> None:
    """The last value before each fault of a grant is good; what is zero limits nothing."""
    assert _code(_with(FAULTS["grant"][0](), change)) is None


@pytest.mark.parametrize("length", [66, 97, 500, SIGNATURE_BYTES_MAX])
def test_long_signatures_wait_for_a_contract(length: int) -> None:
    """Only an account contract can judge them: admitted, with nobody named as signer."""
    verified = admit(
        _with(an_intent().build(alice), {"signature": "0x" + "ab" * length}), RULES, START_S
    )
    assert isinstance(verified, Verified)
    assert verified.signer is None


def test_the_signer_need_not_be_the_account() -> None:
    """Whether a session key may sign is the core's question."""
    session = SigningKey.generate()
    document = an_intent().build(alice)
    sent = Unverified(document=document, signature=session.sign(digest(PREFIX, document)))
    verified = admit(sent, RULES, START_S)
    assert isinstance(verified, Verified)
    assert verified.signer == session.address


def test_a_signature_for_another_domain_names_someone_else() -> None:
    """Without a declared domain the wrong one shows as a stranger's signature."""
    document = an_intent().build(alice)
    elsewhere = msgspec.structs.replace(DOMAIN, chain_id=1)
    signature = alice.key.sign(digest(elsewhere.prefix(), document))
    verified = admit(Unverified(document=document, signature=signature), RULES, START_S)
    assert isinstance(verified, Verified)
    assert verified.signer != alice.address


def test_a_declared_contract_may_be_checksummed() -> None:
    """Wallets write mixed case; that is no wrong domain."""
    sent = unverified(an_intent().build(alice), alice)
    assert sent.domain is not None
    domain = msgspec.structs.replace(
        sent.domain, verifying_contract="0x" + DOMAIN.verifying_contract[2:].upper()
    )
    assert _code(msgspec.structs.replace(sent, domain=domain)) is None


@given(
    document=documents, signature=st.text() | st.binary(max_size=80).map(lambda b: "0x" + b.hex())
)
def test_anything_decoded_is_answered(document: Document, signature: str) -> None:
    """No document and no signature makes admission raise."""
    result = admit(Unverified(document=document, signature=signature), RULES, START_S)
    assert isinstance(result, Reject | Verified)


@given(now_s=st.integers(0, TIME_S_MAX))
def test_time_decides_expiry_alone(now_s: int) -> None:
    """The same document is expired, good, or too early, by the time given."""
    document = an_intent().build(alice)
    result = admit(unverified(document, alice), RULES, now_s)
    code = result.code if isinstance(result, Reject) else None
    if now_s >= document.valid_until:
        assert code is RejectCode.EXPIRED
    elif now_s < document.valid_until - LIFETIME_SECONDS_MAX:
        assert code is RejectCode.VALIDITY_TOO_LONG
    else:
        assert code is None


# -- names of resources


@pytest.mark.parametrize(
    "name",
    [
        "tavily/search:call",
        "openai/gpt-4o-mini:token",
        "a/b:c",
        "my.org/v1.2_x:kilo-byte",
        "0/0:0",
        "a/" + "b" * (RESOURCE_BYTES_MAX - 4) + ":c",
    ],
)
def test_resource_names(name: str) -> None:
    """provider/operation:unit in lower-case ASCII, dots, dashes and underscores."""
    assert is_resource_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        ":",
        "/:",
        "tavily",
        "tavily/search",
        "tavily:call",
        "tavily/:call",
        "/search:call",
        "tavily/search:",
        "tavily/search/deep:call",
        "tavily/search:web:call",
        "Tavily/search:call",
        "tavily/search:call ",
        "tavily/search:call\n",
        "tavily/sea rch:call",
        "tavily/s\u0435arch:call",
        "tavily/search\uff1acall",
        "tavily/①:call",
        "tavily/ª:call",
        "../x:call",
        "./x:call",
        "a/..:call",
        "-a/b:c",
        "a/b:_",
        "tavily/search:call\x00",
        "a/" + "b" * (RESOURCE_BYTES_MAX - 3) + ":c",
    ],
)
def test_what_is_no_resource_name(name: str) -> None:
    """No part may be empty, look like a path, or be confusable with another."""
    assert not is_resource_name(name)


@given(name=st.text(max_size=RESOURCE_BYTES_MAX + 10))
def test_any_text_is_a_name_or_not(name: str) -> None:
    """Any text is answered, and what passes has three parts of the allowed letters."""
    if is_resource_name(name):
        assert name.count("/") == 1 == name.count(":")
        assert name == name.lower()
        assert name.isascii()


# -- rejects


def test_every_code_has_words() -> None:
    """A reject says something even if its maker does not."""
    for code in RejectCode:
        answer = reject(code)
        assert answer.message
        assert answer.message == code.value.replace("_", " ")
        assert answer.hint == HINTS.get(code, "")
    assert reject(RejectCode.BUSY, "no", hint="wait", retry_after_ms=5) == Reject(
        code=RejectCode.BUSY, message="no", hint="wait", retry_after_ms=5
    )
