"""Published numbers and names, and what lies exactly on their edges.

Whoever signed a document under these may settle it much later: none of them may drift.
"""

from typing import Any, Final

import msgspec
import pytest

from intents import (
    admission,
    bound,
    bulk,
    bundle,
    document,
    form,
    place,
    rounding,
    signature,
    typed_data,
)
from intents.admission import Rules, Unverified, Verified, admit
from intents.bound import TICK_MAX, TICK_UNITS
from intents.bulk import UnverifiedBulk, admit_bulk
from intents.document import Document, Intent, Offer
from intents.reject import Reject, RejectCode
from intents.signature import recover
from tests.builder import (
    DOMAIN,
    START_S,
    USDC,
    Person,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    unverified,
)

RULES: Final = Rules(domain=DOMAIN, assets=frozenset({USDC}))

JSON_MAX: Final = 9_007_199_254_740_991
PUBLISHED: Final[dict[str, Any]] = {
    "ADDRESS_ZERO": "0x0000000000000000000000000000000000000000",
    "HASH_ZERO": "0x0000000000000000000000000000000000000000000000000000000000000000",
    "UNITS_MAX": 1_000_000_000_000,
    "AMOUNT_MAX": JSON_MAX,
    "NONCE_MAX": JSON_MAX,
    "EPOCH_MAX": 4_294_967_295,
    "SESSION_EPOCH_MAX": 16_777_215,
    "TEAM_MAX": 2_047,
    "PERMISSIONS_MAX": 63,
    "PERIOD_S_MAX": 7_864_080,
    "TIME_S_MAX": 1_099_511_627_775,
    "WINDOW_SECONDS_MAX": 31_622_400,
    "TICK_UNITS": 1_000_000,
    "TICK_MAX": JSON_MAX,
    "LEGS_MIN": 1,
    "LEGS_MAX": 16,
    "SUCCESS_MAX": 1_000,
    "LATENCY_MS_MAX": 600_000,
    "RESOURCE_BYTES_MAX": 128,
    "SIGNATURE_BYTES_MAX": 2_048,
    "LIFETIME_SECONDS_MAX": 31_622_400,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_bound_is_what_was_published(name: str) -> None:
    """Each maximum stands as a number here, worked out by nobody's arithmetic."""
    assert getattr(bound, name) == PUBLISHED[name]


def test_every_published_bound_is_held() -> None:
    """A new bound has to be published too."""
    assert {name for name in vars(bound) if name.isupper()} == PUBLISHED.keys()


@pytest.mark.parametrize("code", RejectCode)
def test_a_code_is_its_name(code: RejectCode) -> None:
    """What goes to the user is the name in lower case, so that no two can be alike."""
    assert code.value == code.name.lower()


def test_sizes_are_those_of_the_formats() -> None:
    """EIP-2098, r-s-v, a proof's index and nodes, and the order of secp256k1."""
    assert (signature.COMPACT_BYTES, signature.FULL_BYTES) == (64, 65)
    assert bulk.INDEX_BYTES == 2
    assert place.NODE_BYTES == 32
    assert place.NODE_CHARS == 64
    assert bulk.HEIGHT_MAX == 10
    assert (bundle.HEIGHT_MAX, bundle.TERM_BYTES) == (4, 7)
    assert bulk.INTENTS_MAX == 1_024
    assert signature.ORDER == 2**256 - 432_420_386_565_659_656_852_420_866_394_968_145_599
    assert signature.HALF_ORDER * 2 + 1 == signature.ORDER
    assert (rounding.WIDE, rounding.NARROW) == (2**41, 2**21), "their product fits 62 bits"


def test_what_is_remembered_has_a_bound() -> None:
    """Each cache of pure functions is as large as documented, whatever passes through."""
    assert form._is_named.cache_parameters()["maxsize"] == form.RESOURCES_CACHED_MAX
    assert typed_data._prefix.cache_parameters()["maxsize"] == typed_data.DOMAINS_MAX
    assert typed_data._text_hash.cache_parameters()["maxsize"] == typed_data.CACHED_MAX
    assert typed_data._address_bytes.cache_parameters()["maxsize"] == typed_data.CACHED_MAX


EDGES: Final = [
    (document.Address, "0x" + "0f" * 20, "0x" + "0f" * 20 + "\n"),
    (document.Address, "0x" + "a9" * 20, "0x" + "A9" * 20),
    (document.Address, "0x" + "a9" * 20, "0x" + "a9" * 19 + "a"),
    (document.Hash, "0x" + "0f" * 32, "0x" + "0f" * 32 + "\n"),
    (document.Hash, "0x" + "a9" * 32, "0x" + "a9" * 31 + "g9"),
    (document.Text, "x" * 4_096, "x" * 4_097),
    (document.Units, 10**12, 10**12 + 1),
    (document.Amount, JSON_MAX, JSON_MAX + 1),
    (document.Tick, JSON_MAX, JSON_MAX + 1),
    (document.Nonce, JSON_MAX, JSON_MAX + 1),
    (document.Epoch, 2**32 - 1, 2**32),
    (document.Seconds, 2**40 - 1, 2**40),
    *((kind, 0, -1) for kind in (document.Units, document.Amount, document.Tick)),
    *((kind, 0, -1) for kind in (document.Nonce, document.Epoch, document.Seconds)),
]


@pytest.mark.parametrize(("kind", "inside", "outside"), EDGES)
def test_a_fields_edge_is_inside_and_the_next_value_is_not(
    kind: Any, inside: Any, outside: Any
) -> None:
    """Decoding alone refuses what no Solidity type or JSON number could carry."""
    assert msgspec.convert(inside, kind) == inside
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(outside, kind)


@pytest.mark.parametrize("person", [alice, bob])
def test_terms_that_are_left_out_are_harmless(person: Person) -> None:
    """Nothing about minimum, time, window or epoch: one unit at once, always, the first epoch."""
    intent, offer, mandate = (
        msgspec.to_builtins(one.build(person))
        for one in (an_intent().nonce(0), an_offer().nonce(1), a_mandate().nonce(2))
    )
    for name in ("unitsMin", "validFrom", "immediate", "epoch"):
        intent.pop(name, None)
        mandate.pop(name, None)
    for name in ("windowUnits", "windowSeconds", "validFrom", "epoch"):
        offer.pop(name, None)
    bid, ask = msgspec.convert(intent, Intent), msgspec.convert(offer, Offer)
    assert (bid.units_min, bid.valid_from, bid.immediate, bid.epoch) == (1, 0, False, 0)
    assert (ask.window_units, ask.window_seconds, ask.valid_from, ask.epoch) == (0, 0, 0, 0)
    leave = msgspec.convert(mandate, document.Mandate)
    assert (leave.valid_from, leave.epoch) == (0, 0)


_INTENT: Final = msgspec.to_builtins(an_intent().build(alice))
STRANGE: Final[list[tuple[Any, dict[str, Any]]]] = [
    (Intent, _INTENT),
    (Offer, msgspec.to_builtins(an_offer().build(alice))),
    (UnverifiedBulk, {"intents": [], "signature": "0x"}),
    (Unverified[Intent], {"document": _INTENT, "signature": "0x"}),
    (admission.DeclaredDomain, {"chainId": 1, "verifyingContract": "0x"}),
]


@pytest.mark.parametrize(("kind", "sent"), STRANGE)
def test_what_nobody_asked_for_is_not_decoded(kind: Any, sent: dict[str, Any]) -> None:
    """A field that is not in the signed type would look signed and is not."""
    msgspec.convert(sent, kind)
    with pytest.raises(msgspec.ValidationError, match="tip"):
        msgspec.convert(sent | {"tip": 1}, kind)


@pytest.mark.parametrize("builder", [an_intent(), an_offer()])
def test_the_highest_price_is_one(builder: Any) -> None:
    """A total of TICK_MAX for TICK_UNITS units is at the highest tick; one unit less is above."""
    for units, answer in ((TICK_UNITS, Verified), (TICK_UNITS - 1, Reject)):
        sent = builder.units(units).limit(TICK_MAX).sent_by(alice)
        assert isinstance(admit(sent, RULES, START_S), answer)


@pytest.mark.parametrize("builder", [an_intent(), an_offer(), a_mandate()])
def test_a_document_good_for_no_second_is_empty(builder: Any) -> None:
    """From a second up to the same second is no time, though it lies ahead."""
    sent = unverified(builder.not_before(60).until(60).build(alice), alice)
    answer = admit(sent, RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.code is RejectCode.VALIDITY_EMPTY
    sent = unverified(builder.not_before(60).until(61).build(alice), alice)
    assert isinstance(admit(sent, RULES, START_S), Verified)


def test_what_has_no_rule_is_not_admitted() -> None:
    """A document class that admission does not know is a bug of ours, not a pass."""

    class Pledge(Document, frozen=True, kw_only=True):
        """Signed by nobody."""

    with pytest.raises(TypeError, match="no admission rule for Pledge"):
        admission.check_form(Pledge(), RULES, START_S)


@pytest.mark.parametrize(
    ("count", "code"),
    [
        (1, RejectCode.SIGNATURE_MALFORMED),
        (bulk.INTENTS_MAX, RejectCode.SIGNATURE_MALFORMED),
        (0, RejectCode.TOO_LARGE),
        (bulk.INTENTS_MAX + 1, RejectCode.TOO_LARGE),
    ],
)
def test_a_bulk_has_1_to_1024_intents(count: int, code: RejectCode) -> None:
    """Both ends are inside: what stops those here is their signature."""
    intents = (an_intent().build(alice),) * count
    answer = admit_bulk(UnverifiedBulk(intents=intents, signature="0x"), RULES, START_S)
    assert isinstance(answer, Reject)
    assert answer.code is code


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_that_is_none_is_never_looked_at(size: int) -> None:
    """The C library reads 32 bytes whatever it is given."""
    signed = bytes.fromhex(alice.key.sign(bytes(32))[2:])
    with pytest.raises(ValueError, match="a digest has 32 bytes"):
        recover(bytes(size), signed)


def test_a_signing_key_shows_its_address_alone() -> None:
    """In a log it can be told whose it is."""
    assert repr(alice.key) == f"SigningKey({alice.address})"


def test_wallets_are_shown_the_published_domain() -> None:
    """Name, version and the order of fields are part of every signature that exists."""
    shown = typed_data.schema(DOMAIN, Intent)
    assert shown["domain"] == {
        "name": "Keyfill",
        "version": "1",
        "chainId": DOMAIN.chain_id,
        "verifyingContract": DOMAIN.verifying_contract,
    }
    assert shown["types"]["EIP712Domain"] == [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ]
    assert shown["primaryType"] == "Intent"


def test_what_is_signed_alone_needs_no_proof() -> None:
    """An empty one: a proof says where a document stands in a bulk."""
    answer = admit(an_intent().sent_by(alice), RULES, START_S)
    assert isinstance(answer, Verified)
    assert answer.proof == ""


def test_what_fills_a_tree_is_zero_in_every_field() -> None:
    """Whoever grows the same tree elsewhere fills it with the same leaf."""
    zeros = {0, "", "0x" + "00" * 20}
    assert [one for one in msgspec.structs.astuple(bulk.EMPTY) if one not in zeros] == []
