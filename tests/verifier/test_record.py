"""Records of what was verified: what `read` finds, bound to who signed."""

from collections.abc import Sequence

import msgspec
import pytest

from intents.admission import Rules
from intents.bulk import sign_bulk
from intents.document import Intent
from intents.reject import Reject, RejectCode
from solver.core.command import Authority
from solver.core.document import IntentState, intent_record
from solver.core.state import CREDIT
from solver.verifier.batch import Kind, Verdict, answer, read
from solver.verifier.record import counts_by_account, mandated_records, signed_records
from tests.builder import DOMAIN, START_S, USDC, alice, an_intent, bob, person, unverified

RULES = Rules(domain=DOMAIN, assets=frozenset({USDC, CREDIT}))
SESSION = person("erin")
MANDATE = "0x" + "ab" * 32
FIELDS = ("document", "digest", "signer", "authority", "signature", "proof", "status")


def fields(record: IntentState | Reject | None) -> object:
    """All that is signed or said of an intent."""
    if not isinstance(record, IntentState):
        return record
    return tuple(getattr(record, name) for name in FIELDS)


def expected(kind: Kind, verdict: Verdict, signer: str, authority: Authority) -> list[object]:
    """What `read` finds, as records of this signer."""
    found = read(kind, verdict)
    assert isinstance(found, list)
    return [
        one
        if isinstance(one, Reject)
        else fields(
            intent_record(
                one.document,
                digest=one.digest,
                signer=signer,
                authority=authority,
                signature=one.signature,
                proof=one.proof,
            )
        )
        for one in found
    ]


def some_intents() -> list[Intent]:
    """Each with other terms; the third is refused for its limit."""
    return [
        an_intent().units(2 + place).at_least(1 + place).limit(limit).immediate().build(alice)
        for place, limit in enumerate((70, 80, 0, 90))
    ]


def a_bulk(intents: Sequence[Intent], key: bytes | None = None) -> bytes:
    """Signed together, by alice or by her session key."""
    signer = SESSION.key if key else alice.key
    return msgspec.json.encode(
        {"intents": intents, "signature": sign_bulk(signer, DOMAIN, intents)}
    )


@pytest.mark.parametrize("is_known", [True, False])
def test_a_bulk_signed_by_a_session_key_is_the_session_s(is_known: bool) -> None:  # noqa: FBT001
    """Where the account is known to have it; else its contract has still to be asked."""
    verdict = answer(Kind.BULK, a_bulk(some_intents(), b"session"), RULES, START_S)
    asked: list[tuple[str, str]] = []

    def is_session(account: str, signer: str) -> bool:
        asked.append((account, signer))
        return is_known

    found = [fields(record) for record in signed_records(verdict, is_session)]
    if is_known:
        assert found == expected(Kind.BULK, verdict, SESSION.address, Authority.SESSION)
    else:
        assert [one for one in found if not isinstance(one, Reject)] == [None] * 3
    assert set(asked) == {(alice.address, SESSION.address)}


def test_what_the_account_s_key_signed_is_the_account_s() -> None:
    """In a bulk and one by one; nobody asks for sessions."""
    intents = some_intents()
    batch = msgspec.json.encode([unverified(intent, alice) for intent in intents])
    for kind, raw in ((Kind.BULK, a_bulk(intents)), (Kind.BATCH, batch)):
        verdict = answer(kind, raw, RULES, START_S)
        found = [fields(one) for one in signed_records(verdict, lambda *_: pytest.fail("asked"))]
        assert found == expected(kind, verdict, alice.address, Authority.KEY)
        assert [isinstance(one, Reject) for one in found] == [False, False, True, False]


def test_under_a_mandate_only_its_account_s_intents_are_taken() -> None:
    """Another account's are refused, each for itself."""
    intents = [*some_intents(), an_intent().limit(5).build(bob)]
    verdict = answer(Kind.MANDATED, msgspec.json.encode(intents), RULES, START_S)
    *mine, bobs = [fields(one) for one in mandated_records(verdict, MANDATE, alice.address)]
    assert mine == expected(Kind.MANDATED, verdict, MANDATE, Authority.MANDATE)[:-1]
    assert isinstance(bobs, Reject)
    assert bobs.code is RejectCode.NOT_AUTHORIZED


def test_intents_are_counted_by_account() -> None:
    """Those that are left to be submitted."""
    intents = [*some_intents(), an_intent().limit(5).build(bob)]
    verdict = answer(Kind.MANDATED, msgspec.json.encode(intents), RULES, START_S)
    records = mandated_records(verdict, MANDATE, alice.address)
    assert counts_by_account(records) == {alice.address: 3}
    assert counts_by_account(mandated_records(verdict, MANDATE, bob.address)) == {bob.address: 1}
