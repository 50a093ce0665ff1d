"""What one account, and the market in all, may make it remember; planted bugs show each bound."""

from collections.abc import Callable
from typing import Final

import pytest

from intents.reject import Reject, RejectCode
from solver.core import exchange, intake, pool, trade
from solver.core import nonce as nonce_module
from solver.core.command import CancelDocument, Command, EndLeases, Limit, PoolKey
from solver.core.document import Account
from solver.core.event import IntentStatus
from solver.core.nonce import NONCES_PER_WORD, Nonces
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    Bench,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    key_of,
)
from tests.core.sabotage import Patch, edited, never, pure_only

pytestmark = pure_only

Make = Callable[[], Command]
WORDS: Final = 8
KINDS: Final[dict[str, Make]] = {
    "intent": lambda: an_intent().signed_by(bob),
    "offer": lambda: an_offer().signed_by(bob),
    "mandate": lambda: a_mandate().signed_by(bob),
}


def _full(monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, CancelDocument]:
    """An account with as many documents as it may have, of all kinds; how to end one of them."""
    monkeypatch.setattr(intake, "STANDING_MAX", len(KINDS))
    bench = a_bench()
    offer = an_offer().limit(100).signed_by(bob)
    for command in (an_intent().limit(1).signed_by(bob), offer, a_mandate().signed_by(bob)):
        bench.do(command)
    return bench, CancelDocument(account=bob.address, digest=offer.digest)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_an_account_has_no_more_standing_documents_than_it_may(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more of any kind is refused, says what to do, and is taken once another is over."""
    bench, ending = _full(monkeypatch)
    late = make()
    assert bench.refuse(late) is RejectCode.ACCOUNT_FULL
    refused = bench.attempt(late)
    assert isinstance(refused, Reject)
    assert refused.hint
    bench.do(an_intent().signed_by(carol))
    bench.do(ending)
    bench.do(late)
    assert bench.refuse(make()) is RejectCode.ACCOUNT_FULL


def test_what_is_known_already_is_said_before_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends a document again learns that it was accepted, however full its account is."""
    bench, _ = _full(monkeypatch)
    known = next(iter(bench.market.state.intents.values()))
    command = next(one for one in bench.log if getattr(one, "digest", "") == known.digest)
    assert bench.refuse(command) is RejectCode.ALREADY_KNOWN


def test_the_market_has_no_more_documents_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it all wait, with a time to come back; what is over makes room at once."""
    monkeypatch.setattr(intake, "DOCUMENTS_MAX", 2)
    bench = a_bench()
    first = an_intent().signed_by(alice)
    bench.do(first)
    bench.do(an_intent().signed_by(carol))
    refused = bench.attempt(an_offer().signed_by(bob))
    assert isinstance(refused, Reject)
    assert (refused.code, refused.retry_after_ms) == (RejectCode.BUSY, intake.FULL_RETRY_MS)
    bench.do(CancelDocument(account=alice.address, digest=first.digest))
    bench.do(an_offer().limit(200).signed_by(bob))
    assert bench.refuse(an_intent().signed_by(alice)) is RejectCode.BUSY


def test_an_ended_offer_counts_while_its_leases_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or an intent that stands for a year would make room for offers without end."""
    monkeypatch.setattr(intake, "DOCUMENTS_MAX", 3)
    bench = a_bench()
    bench.do(an_intent().units(9).limit(900).signed_by(alice))
    for _ in range(2):
        offer = an_offer().signed_by(bob)
        bench.do(offer)
        key = next(reversed(bench.market.state.leases.values()))
        bench.use(key)
        assert not bench.is_live(offer)
    assert bench.refuse(an_offer().signed_by(bob)) is RejectCode.BUSY


def test_an_intent_that_was_filled_too_often_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same unit, bought and given back, makes no lease for ever; its money is released."""
    monkeypatch.setattr(trade, "LEASES_PER_INTENT_MAX", 3)
    bench = a_bench()
    before = bench.available(alice)
    intent = an_intent().units(9).limit(900).signed_by(alice)
    bench.do(intent)
    bench.do(an_offer().signed_by(bob))
    for _ in range(5):
        bench.do(EndLeases(account=alice.address, intent=intent.digest))
    assert len(bench.leases(intent)) == 3
    assert bench.intent(intent).ended is IntentStatus.UNFILLED
    assert bench.available(alice) == before


def test_an_account_pools_no_more_keys_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that left the pool make room; others' do not count."""
    monkeypatch.setattr(pool, "KEYS_OF_ACCOUNT_MAX", 2)
    bench = a_bench().pooling(bob, number=1)
    late = PoolKey(key=key_of(bob, 2), owner=bob.address, provider="p", resources=(SEARCH,))
    assert bench.refuse(late) is RejectCode.ACCOUNT_FULL
    bench.pooling(carol, number=1)
    bench.retire(key_of(bob))
    bench.do(late)


def test_keys_that_left_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept, and live ones always; a snapshot makes no difference."""
    monkeypatch.setattr(pool, "KEYS_RETIRED_KEPT_MAX", 2)
    bench = a_bench()
    for number in range(1, 6):
        bench.pooling(bob, number=number)
        bench.retire(key_of(bob, number))
    kept = [key_of(bob), key_of(carol), key_of(bob, 4), key_of(bob, 5)]
    assert list(bench.market.state.keys) == kept
    assert load(dump(bench.market.state)).hash() == bench.market.state.hash()


def test_a_key_that_may_come_back_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: while its window counts what it served, however many others left since."""
    monkeypatch.setattr(pool, "KEYS_RETIRED_KEPT_MAX", 1)
    bench = a_bench()
    used, other, newest = (key_of(bob, number) for number in (1, 2, 3))
    bench.pooling(bob, number=1, limits=(Limit(units=2, seconds=60),))
    intent = an_intent().limit(100).signed_by(alice)
    bench.do(an_offer().from_key(used).signed_by(bob))
    bench.do(intent)
    bench.use(bench.lease(intent))
    bench.retire(used)
    bench.pooling(bob, number=2).retire(other)
    assert {used, other} <= set(bench.market.state.keys)
    bench.wait(61)
    bench.pooling(bob, number=3).retire(newest)
    assert list(bench.market.state.keys) == [key_of(bob), key_of(carol), newest]


def test_a_key_is_kept_while_a_call_of_it_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is forgotten, with its windows, when others go after nothing needs it any more."""
    monkeypatch.setattr(pool, "KEYS_RETIRED_KEPT_MAX", 1)
    bench = a_bench()
    intent = an_intent().limit(100).signed_by(alice)
    bench.do(an_offer().signed_by(bob))
    bench.do(intent)
    call = bench.start(bench.lease(intent))
    for number in (0, *range(1, 4)):
        if number:
            bench.pooling(bob, number=number)
        bench.retire(key_of(bob, number))
    assert key_of(bob) in bench.market.state.keys
    bench.finish(call)
    bench.pooling(bob, number=4)
    bench.retire(key_of(bob, 4))
    assert list(bench.market.state.keys) == [key_of(carol), key_of(bob, 4)]
    assert {subject for subject, _ in bench.market.state.windows} <= bench.market.state.keys.keys()


def _scattered(account: Account, words: int) -> list[int]:
    """Nonces of an account that picks each far from all others, in no order."""
    nonces = [(number * 7_919 % words) * NONCES_PER_WORD + 5 for number in range(words)]
    for nonce in nonces:
        account.use(nonce)
    return nonces


def test_scattered_nonces_are_so_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The highest are known bit by bit; whatever is below them counts as used."""
    monkeypatch.setattr(nonce_module, "NONCE_WORDS_MAX", WORDS)
    account = Account()
    nonces = _scattered(account, 5 * WORDS)
    assert len(account.used()) == WORDS
    assert all(account.has_used(nonce) for nonce in nonces)
    assert account.nonce_min == 4 * WORDS * NONCES_PER_WORD
    assert not account.has_used(account.nonce_min)
    account.use(3)
    assert len(account.used()) == WORDS


def test_fewer_words_forbid_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there are as many as may be, only what was used is used."""
    monkeypatch.setattr(nonce_module, "NONCE_WORDS_MAX", WORDS)
    account = Account()
    _scattered(account, WORDS - 1)
    assert account.nonce_min == 0
    assert not account.has_used(4)


def test_a_forgotten_nonce_stays_used_after_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as used does so in the market that is loaded too, and goes on the same way."""
    monkeypatch.setattr(nonce_module, "NONCE_WORDS_MAX", WORDS)
    bench = a_bench()
    account = bench.market.state.account(alice.address)
    _scattered(account, 3 * WORDS)
    loaded = load(dump(bench.market.state))
    again = loaded.account(alice.address)
    assert again.nonce_min == account.nonce_min > 0
    for one in (account, again):
        _scattered(one, 5 * WORDS)
    assert again.nonce_min == account.nonce_min
    assert loaded.hash() == bench.market.state.hash()


def test_a_nonce_too_low_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the lowest that may be free."""
    monkeypatch.setattr(nonce_module, "NONCE_WORDS_MAX", WORDS)
    bench = a_bench()
    account = bench.market.state.account(alice.address)
    _scattered(account, 3 * WORDS)
    refused = bench.attempt(an_intent().nonce(4).signed_by(alice))
    assert isinstance(refused, Reject)
    assert (refused.code, refused.message) == (
        RejectCode.NONCE_USED,
        f"all below {account.nonce_min}",
    )
    assert "microseconds" in refused.hint
    bench.do(an_intent().nonce(account.nonce_min).signed_by(alice))


def test_a_waiting_bid_is_tried_when_supply_arrives_and_not_when_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a cancel costs the same whoever waits; the next offer, at any price, is enough."""
    monkeypatch.setattr(exchange, "MATCHES_MAX", 2)
    bench = a_bench()
    small = [an_offer().limit(1).signed_by(bob) for _ in range(2)]
    for offer in (*small, an_offer().units(5).limit(50).signed_by(bob)):
        bench.do(offer)
    bid = an_intent().units(6).all_or_none().limit(600).signed_by(alice)
    bench.do(bid)
    bench.do(CancelDocument(account=bob.address, digest=small[0].digest))
    assert bench.status(bid) is IntentStatus.OPEN
    bench.do(an_offer().limit(1_000).signed_by(carol))
    assert bench.status(bid) is IntentStatus.FILLED


def test_own_orders_pass_each_other_by() -> None:
    """Neither is cancelled: the bid takes the next best ask, and both may cross for ever."""
    bench = a_bench()
    own, others = an_offer().limit(1).signed_by(bob), an_offer().limit(5).signed_by(carol)
    bench.do(own)
    bench.do(others)
    bid = an_intent().units(2).limit(200).signed_by(bob)
    bench.do(bid)
    assert [lease.seller for lease in bench.leases(bid)] == [carol.address]
    assert (bench.status(bid), bench.is_live(own)) == (IntentStatus.OPEN, True)


SABOTAGES: Final[dict[str, tuple[Patch, Callable[[pytest.MonkeyPatch], None]]]] = {
    "ask nobody for room": (
        never("_fault_in_room", intake),
        test_the_market_has_no_more_documents_than_it_may,
    ),
    "count what is over": (
        edited(intake, "_fault_in_room", "state.documents_kept", "len(state.intents)"),
        test_the_market_has_no_more_documents_than_it_may,
    ),
    "refuse before what is known": (
        edited(
            intake,
            "_fault_in_document",
            "is_used = account",
            "fault = _fault_in_room(state, account, 1)\n    if fault: return fault\n"
            "    is_used = account",
        ),
        test_what_is_known_already_is_said_before_the_bound,
    ),
    "fill for ever": (
        edited(trade, "carry_out", "len(intent.leases) >= LEASES_PER_INTENT_MAX", "False"),
        test_an_intent_that_was_filled_too_often_ends,
    ),
    "count keys that left": (
        edited(pool, "_fault_in_pool", "key.live and ", ""),
        test_an_account_pools_no_more_keys_than_it_may,
    ),
    "count others' keys": (
        edited(pool, "_fault_in_pool", " and key.owner == owner", ""),
        test_an_account_pools_no_more_keys_than_it_may,
    ),
    "forget no key": (never("forget_keys", pool), test_keys_that_left_are_forgotten_in_time),
    "forget the newest keys": (
        edited(
            pool, "forget_keys", "gone[:-KEYS_RETIRED_KEPT_MAX]", "gone[KEYS_RETIRED_KEPT_MAX:]"
        ),
        test_keys_that_left_are_forgotten_in_time,
    ),
    "forget a key that serves": (
        edited(pool, "forget_keys", " and not key.leases", ""),
        test_a_key_is_kept_while_a_call_of_it_is_in_flight,
    ),
    "never forget nonces": (
        never("_forget_low", Nonces),
        test_scattered_nonces_are_so_many_words,
    ),
    "take what was forgotten": (
        edited(Nonces, "has_used", "nonce < self.nonce_min or ", ""),
        test_scattered_nonces_are_so_many_words,
    ),
    "begin above nothing": (
        edited(Nonces, "__init__", "self.nonce_min = 0", "self.nonce_min = 1"),
        test_fewer_words_forbid_nothing,
    ),
}


@pytest.mark.parametrize(("sabotage", "test"), SABOTAGES.values(), ids=SABOTAGES)
def test_a_bound_that_is_not_held_shows(
    sabotage: Patch,
    test: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each in the test that is there for it."""
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, KeyError, RuntimeError)):
        test(monkeypatch)
