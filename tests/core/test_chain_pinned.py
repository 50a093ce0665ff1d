"""What final blocks change exactly, and what they leave alone."""

import pytest

from intents import cap_word
from intents.reject import RejectCode
from solver.core.check import Violation, check, violate
from solver.core.command import ApplyBlocks
from solver.core.event import IntentStatus, MandateEnded, OfferEnded, SessionChanged
from solver.core.fact import NonceCancelled, SessionRevoked, WithdrawalRequested, Withdrawn
from solver.core.state import MAY_CANCEL, MAY_SETTLE, MAY_SIGN
from tests.builder import (
    HOUR_S,
    START_S,
    Bench,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    dave,
    every,
    key_granted,
    only,
)

RICH = 10**9


def test_a_range_of_blocks_is_applied_once() -> None:
    """The cursor and its hash are those of the newest block, whatever it held."""
    bench = Bench()
    for number, facts in ((3, ()), (9, (NonceCancelled(account=alice.address, nonce=1),))):
        block_hash = "0x" + f"{number:064x}"
        bench.do(ApplyBlocks(number=number, block_hash=block_hash, facts=facts))
        assert bench.market.state.cursor == number
        assert bench.market.state.cursor_hash == block_hash
        for old in (number, number - 1):
            again = ApplyBlocks(number=old, block_hash=block_hash, facts=())
            assert bench.refuse(again) is RejectCode.CURSOR_BEHIND
    bench.do(ApplyBlocks(number=10, block_hash="0x", facts=()))


def test_a_withdrawal_taken_back_ends_nothing() -> None:
    """Zero asks for nothing: open intents stay, and all money can be promised again."""
    bench = a_bench()
    bid = an_intent().limit(100).signed_by(alice)
    bench.chain(WithdrawalRequested(account=alice.address, amount=RICH))
    assert bench.available(alice) == 0
    bench.chain(WithdrawalRequested(account=alice.address, amount=0))
    bench.do(bid)
    bench.chain(WithdrawalRequested(account=alice.address, amount=0))
    assert bench.status(bid) is IntentStatus.OPEN
    assert bench.available(alice) == RICH - 100
    account = bench.market.state.accounts[alice.address]
    assert (account.withdrawing, account.withdrawal_held) == (0, 0)


def test_after_a_withdrawal_the_rest_is_free_to_the_atom() -> None:
    """Nothing of the request remains: the rest can be promised, and not an atom more."""
    bench = a_bench()
    bench.chain(WithdrawalRequested(account=alice.address, amount=40))
    assert bench.refuse(an_intent().limit(RICH - 39).signed_by(alice)) is (
        RejectCode.INSUFFICIENT_FUNDS
    )
    bench.chain(Withdrawn(account=alice.address, amount=40))
    assert bench.refuse(an_intent().limit(RICH - 39).signed_by(alice)) is (
        RejectCode.INSUFFICIENT_FUNDS
    )
    bench.do(an_intent().limit(RICH - 40).signed_by(alice))


def test_a_nonce_cancelled_unused_names_no_document() -> None:
    """It counts as used; cancelling it again, or another's, ends nothing."""
    bench = a_bench()
    bid = an_intent().nonce(6).signed_by(alice)
    bench.do(bid)
    for _ in range(2):
        bench.chain(NonceCancelled(account=alice.address, nonce=5))
    assert bench.market.state.accounts[alice.address].has_used(5)
    assert bench.status(bid) is IntentStatus.OPEN
    assert bench.refuse(an_intent().nonce(5).signed_by(alice)) is RejectCode.NONCE_USED


def test_a_cancellation_on_chain_says_so() -> None:
    """Offers and mandates hear that it was the chain."""
    bench = a_bench()
    bench.do(an_offer().nonce(5).signed_by(bob))
    bench.do(a_mandate().nonce(5).signed_by(alice))
    events = bench.chain(
        NonceCancelled(account=bob.address, nonce=5), NonceCancelled(account=alice.address, nonce=5)
    )
    assert only(events, OfferEnded).reason == "cancelled on chain"
    assert only(events, MandateEnded).reason == "cancelled on chain"


def test_a_new_grant_has_the_new_terms() -> None:
    """All of them, live again; what was spent and committed is kept."""
    bench = a_bench().granting(dave, alice, cap=50, seconds=60)
    session = bench.market.state.accounts[alice.address].sessions[dave.address]
    session.word = hex(cap_word.charge(int(session.word, 16), 7, START_S) or 0)
    bench.chain(SessionRevoked(account=alice.address, session=dave.address))
    assert not session.live
    terms = MAY_SIGN | MAY_CANCEL
    bench.granting(dave, alice, cap=900, seconds=HOUR_S, permissions=terms)
    assert (session.cap, session.expires_at) == (900, START_S + HOUR_S)
    assert (session.permissions, session.live, session.spent) == (terms, True, 7)
    assert (MAY_SETTLE, MAY_SIGN, MAY_CANCEL) == (1, 2, 4), "the contract's bits"


def test_a_grant_is_told_and_what_was_not_granted_is_not_revoked() -> None:
    """A session that is unknown or over ends silently: it can end only once."""
    bench = a_bench()
    unknown = SessionRevoked(account=alice.address, session=dave.address)
    assert every(bench.chain(unknown), SessionChanged) == []
    bench.granting(dave, alice)
    assert len(every(bench.chain(unknown), SessionChanged)) == 1
    assert every(bench.chain(unknown), SessionChanged) == []


def test_a_grant_tells_whose_and_that_it_lives() -> None:
    """Both the first grant and the one that replaces it."""
    bench = a_bench()
    grant = key_granted(
        bench.market.state,
        alice.address,
        dave.address,
        permissions=MAY_SIGN,
        expires_at=START_S + 9,
        cap=1,
    )
    expected = SessionChanged(account=alice.address, session=dave.address, live=True)
    for _ in range(2):
        assert only(bench.chain(grant), SessionChanged) == expected


def test_a_violation_names_itself_and_its_facts() -> None:
    """Whoever reads the last line of a log knows what did not hold."""
    assert str(Violation("lost")) == "lost"
    assert str(Violation("lost", units=3)) == "lost {'units': 3}"
    assert Violation("lost").name == "lost"


def test_what_holds_is_no_violation() -> None:
    """`check` raises for what is false alone, with its facts; `violate` always."""
    check(True, "lost")
    with pytest.raises(Violation) as caught:
        check(False, "lost", units=3)
    assert caught.value.facts == {"units": 3}
    with pytest.raises(Violation) as caught:
        violate("gone", units=4)
    assert (caught.value.name, caught.value.facts) == ("gone", {"units": 4})
