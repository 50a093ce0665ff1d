"""Session keys of the registry: what they buy stays within the words that the chain has."""

from typing import Any, Final

import msgspec
import pytest

from intents import cap_word, policy
from intents.document import SessionGrant
from intents.policy import Permission, Words
from intents.receipt import ReceiptLine
from intents.reject import RejectCode
from solver.core.command import AcceptReceipt, Authority, EndLeases, StartCall, SubmitIntent
from solver.core.event import BatchCut, IntentStatus, LeaseStatus
from solver.core.fact import (
    AllSessionsRevoked,
    BatchSettled,
    BlockMined,
    CapChanged,
    ClaimPaid,
    CounterpartyRuleChanged,
    EpochBumped,
    Fact,
    FillSettled,
    KeyGranted,
    KeyRotated,
    KeyTeamChanged,
    MeteredSettled,
    PaidRecord,
    ReceiptClaimed,
    RecordSkipped,
    SessionRevoked,
)
from solver.core.market import Market
from solver.core.metered import BAD_SIGNATURE, SESSION_REFUSED
from solver.core.metering import FILLS_PER_RECEIPT_MAX
from solver.core.record import Session
from solver.core.session import CAP_MAX, LAG_S, caps_of, left_of
from solver.core.snapshot import dump, load
from tests.builder import (
    CREDITS,
    USDC,
    Bench,
    Person,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    person,
)

erin: Final = person("erin")
frank: Final = person("frank")
SESSION: Final = Authority.SESSION
DAY_S: Final = 86_400
CAP: Final = 1_000
BUYS: Final = Permission.SIGN | Permission.RECEIPT


def a_keyed_bench() -> Bench:
    """Bob sells 100 units at 10 atoms; intents of up to 300 atoms are metered."""
    bench = a_bench().metering(300, 1_000)
    bench.do(an_offer().units(100).limit(1_000).signed_by(bob))
    return bench


def granted(bench: Bench, key: Person = erin, before: Words | None = None, **terms: Any) -> Words:
    """The chain tells a grant of a key of alice's: words as the registry makes them."""
    plain = {
        "team": 0,
        "permissions": int(BUYS),
        "resource": "",
        "tick_max": 0,
        "units": 0,
        "spend": CAP,
        "period": DAY_S,
        "expires_at": bench.now_ms // 1_000 + DAY_S,
        "session_epoch": 0,
        "nonce": 1,
    }
    grant = SessionGrant(account=alice.address, key=key.address, **{**plain, **terms})
    words = policy.granted(before or Words(), grant, bench.now_ms // 1_000)
    told(bench, key, words)
    return words


def told(bench: Bench, key: Person, words: Words) -> None:
    """The chain tells a key's words."""
    bench.chain(
        KeyGranted(
            account=alice.address,
            session=key.address,
            word=hex(words.key),
            terms=hex(words.terms),
            units=hex(words.units),
        )
    )


def a_cap(bench: Bench, atoms: int, team: int = 0) -> CapChanged:
    """The chain tells a cap of a team, or of all."""
    word = cap_word.with_cap(0, atoms, DAY_S, bench.now_ms // 1_000)
    return CapChanged(account=alice.address, team=team, word=hex(word))


def bid_by(key: Person, units: int = 10, limit: int | None = None) -> SubmitIntent:
    """An intent of alice's that a key signs, at ten atoms a unit unless told otherwise."""
    bid = an_intent().units(units).limit(units * 10 if limit is None else limit)
    return bid.for_account(alice).signed_by(key, SESSION)


def bought(bench: Bench, key: Person = erin, units: int = 10) -> SubmitIntent:
    """It is filled."""
    bid = bid_by(key, units)
    bench.do(bid)
    return bid


def bought_under_a_mandate(bench: Bench, units: int, key: Person = erin) -> SubmitIntent:
    """The same, by an intent that only refers to what the key signed."""
    mandate = a_mandate().for_account(alice).signed_by(key, SESSION)
    bench.do(mandate)
    bid = an_intent().units(units).limit(units * 10).under(mandate, alice)
    bench.do(bid)
    return bid


def used(bench: Bench, key: Person = erin, units: int = 10) -> SubmitIntent:
    """It is served whole."""
    bid = bought(bench, key, units)
    bench.use(bench.lease(bid), units)
    return bid


def receipt_by(bench: Bench, key: Person, fills: int = FILLS_PER_RECEIPT_MAX) -> AcceptReceipt:
    """What alice owes, signed by a key."""
    by_alice = bench.receipt(alice, fills)
    return msgspec.structs.replace(by_alice, signer=key.address, authority=SESSION)


def settled(bench: Bench, batch: BatchCut, time_s: int) -> None:
    """The chain pays the one record of a batch, in a block of that time."""
    cut = bench.market.state.batches[batch.number]
    (record,) = cut.records
    meter = bench.meter(alice)
    paid = PaidRecord(account=alice.address, spent=meter.base + record.amount, paid=record.amount)
    fact = MeteredSettled(number=cut.root_number, root=batch.digest, records=(paid,))
    bench.chain(BlockMined(time_s=time_s), fact)


def session_of(bench: Bench, key: Person = erin) -> Session:
    """The record of a key."""
    return bench.market.state.accounts[alice.address].sessions[key.address]


def left(bench: Bench, key: Person = erin) -> int:
    """What a key may still promise."""
    return left_of(bench.market.state, alice.address, session_of(bench, key))


# -- what such a key buys


def test_what_a_key_for_receipts_buys_is_metered() -> None:
    """By itself and under a mandate that it signed; a key that signs none has its fills settled."""
    bench = a_keyed_bench()
    granted(bench)
    granted(bench, frank, permissions=int(Permission.SIGN))
    assert bench.lease(bought(bench)).metered
    assert bench.lease(bought_under_a_mandate(bench, 2)).metered
    assert not bench.lease(bought(bench, frank)).metered


def test_what_is_not_metered_is_settled_fill_by_fill() -> None:
    """Above the threshold, under a minimum, in credits: as what its account signs itself."""
    bench = a_keyed_bench()
    granted(bench)
    bench.do(an_offer().units(100).limit(1_000).paid_in(CREDITS).signed_by(bob))
    bid = an_intent().units(10).limit(100).for_account(alice)
    for taken in (bid.units(31).limit(310), bid.at_least(2), bid.paid_in(CREDITS)):
        command = taken.signed_by(erin, SESSION)
        bench.do(command)
        assert not bench.lease(command).metered


def test_a_fill_is_charged_as_on_chain() -> None:
    """To its key, the key's team and the account, with its units, at the time of its block."""
    bench = a_keyed_bench()
    words = granted(bench, permissions=int(Permission.SIGN), units=40, team=3)
    bench.chain(a_cap(bench, 400, 3), a_cap(bench, 500))
    before = bench.market.state.metering.caps[alice.address]
    root, team = int(before.root, 16), int(before.teams[3], 16)
    used(bench)
    batch = bench.cut()
    (line,) = batch.lines
    time_s = bench.now_ms // 1_000 + DAY_S // 3
    bench.chain(
        BlockMined(time_s=time_s),
        FillSettled(fill=line.fill, payment=line.payment),
        BatchSettled(number=batch.number, digest=batch.digest),
    )
    after = bench.market.state.metering.caps[alice.address]
    assert int(session_of(bench).word, 16) == cap_word.charge(words.key, 100, time_s)
    assert int(session_of(bench).units, 16) == cap_word.charge(words.units, 10, time_s)
    assert int(after.root, 16) == cap_word.charge(root, 100, time_s)
    assert int(after.teams[3], 16) == cap_word.charge(team, 100, time_s)
    assert (session_of(bench).committed, session_of(bench).units_in_flight) == (0, 0)


def test_units_of_a_fill_stay_promised_until_the_chain_counts_them() -> None:
    """It may count them later than they were used; what it skips is given back."""
    bench = a_keyed_bench()
    words = granted(bench, permissions=int(Permission.SIGN), units=10)
    bid = bought(bench, units=20)
    bench.use(bench.lease(bid), 10)
    assert (session_of(bench).units_in_flight, session_of(bench).units) == (10, hex(words.units))
    too_much = StartCall(lease=bench.lease(bid).id, call="call", units=1)
    assert bench.refuse(too_much) is RejectCode.SESSION_TERMS
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    batch = bench.cut()
    bench.settle(batch, skipping=(batch.lines[0].fill,))
    assert (session_of(bench).units_in_flight, session_of(bench).units) == (0, hex(words.units))


def test_a_key_is_held_to_its_terms() -> None:
    """Another resource, or a higher price, than its grant names; a mandate has to name it too."""
    bench = a_keyed_bench()
    granted(bench, erin, resource="openai/chat:token")
    granted(bench, frank, resource="tavily/search:call", tick_max=10 * 10**6)
    assert bench.refuse(bid_by(erin)) is RejectCode.SESSION_TERMS
    assert bench.refuse(bid_by(frank, 10, 101)) is RejectCode.SESSION_TERMS
    used(bench, frank)
    wide = a_mandate().of("").for_account(alice).signed_by(frank, SESSION)
    bench.do(wide)
    assert bench.refuse(an_intent().units(2).limit(20).under(wide, alice)) is (
        RejectCode.SESSION_TERMS
    )


def test_a_keys_units_are_counted_call_by_call() -> None:
    """In flight too; a call that failed gives back what it held."""
    bench = a_keyed_bench()
    granted(bench, units=10)
    bid = bought(bench, units=20)
    call = bench.start(bench.lease(bid), 6)
    too_much = StartCall(lease=bench.lease(bid).id, call="call", units=5)
    assert bench.refuse(too_much) is RejectCode.SESSION_TERMS
    bench.finish(call, 0)
    bench.use(bench.lease(bid), 9)
    assert bench.refuse(msgspec.structs.replace(too_much, units=2)) is RejectCode.SESSION_TERMS
    bench.use(bench.lease(bid), 1)
    assert bench.refuse(msgspec.structs.replace(too_much, units=1)) is RejectCode.SESSION_TERMS


def test_metered_units_are_counted_as_they_are_used() -> None:
    """No chain counts them, so their window begins at once; under a mandate as without."""
    bench = a_keyed_bench()
    words = granted(bench, units=10, period=3_600)
    bench.wait(1_000)
    for bid in (bought(bench, units=3), bought_under_a_mandate(bench, 4)):
        for units in (2, 1):
            bench.use(bench.lease(bid), units)
    counted = cap_word.charge(words.units, 6, bench.now_ms // 1_000)
    assert (session_of(bench).units_in_flight, session_of(bench).units) == (0, hex(counted or 0))


def test_a_later_grant_without_terms_has_none() -> None:
    """Though the registry still has the words of the one before."""
    bench = a_keyed_bench()
    before = granted(bench, resource="openai/chat:token", units=1)
    assert bench.refuse(bid_by(erin)) is RejectCode.SESSION_TERMS
    after = granted(bench, before=before)
    assert (after.terms, after.units) == (before.terms, before.units)
    used(bench, units=2)


def test_who_may_not_sign_buys_nothing() -> None:
    """A key for receipts alone signs for what is owed, and no intent."""
    bench = a_keyed_bench()
    granted(bench, permissions=int(Permission.RECEIPT))
    assert bench.refuse(bid_by(erin)) is RejectCode.NOT_AUTHORIZED


# -- caps


def test_the_smallest_cap_counts() -> None:
    """Of the key, its team, and the account, each less what is promised under it."""
    bench = a_keyed_bench()
    granted(bench, erin, spend=500, team=3)
    granted(bench, frank, spend=0, period=0, team=3)
    assert (left(bench), left(bench, frank)) == (500, CAP_MAX)
    assert (session_of(bench).cap, session_of(bench, frank).cap) == (500, CAP_MAX)
    bench.chain(a_cap(bench, 400, 3))
    bought(bench, frank, 10)
    assert (left(bench), left(bench, frank)) == (300, 300)
    bench.chain(a_cap(bench, 250))
    assert (left(bench), left(bench, frank)) == (150, 150)
    assert bench.refuse(bid_by(erin, 16)) is RejectCode.SESSION_CAP_EXCEEDED
    bought(bench, erin, 15)


def test_the_chain_can_pay_for_whatever_a_key_buys() -> None:
    """In whichever buckets it is charged: each that ends rounds up, here to four atoms."""
    bench = a_keyed_bench()
    bench.do(an_offer().units(1_000).limit(10_000).signed_by(bob))
    word: int | None = granted(bench, spend=8_000, permissions=int(Permission.SIGN)).key
    for _ in range(cap_word.BUCKETS):
        bought(bench, units=1)
    units = left(bench) // 10
    bought(bench, units=units)
    assert bench.refuse(bid_by(erin, 1)) is RejectCode.SESSION_CAP_EXCEEDED
    time_s = bench.now_ms // 1_000
    for amount in (*[10] * cap_word.BUCKETS, units * 10):
        assert word is not None
        word = cap_word.charge(word, amount, time_s)
        time_s += DAY_S // cap_word.BUCKETS
    assert word is not None


def _with_a_receipt_under_way(by: Person, **terms: Any) -> Bench:
    """Of 100 atoms, that a key signed; erin bought as much again. Both are of one team."""
    bench = a_keyed_bench()
    granted(bench, erin, team=3)
    granted(bench, frank, **{"team": 3, **terms})
    used(bench, erin)
    bench.do(receipt_by(bench, by))
    bench.cut_metered()
    used(bench, erin)
    return bench


def test_a_receipt_counts_what_is_under_way() -> None:
    """A key has not been charged yet for the receipt before, nor its team, nor the account."""
    exceeded = RejectCode.SESSION_CAP_EXCEEDED
    bench = _with_a_receipt_under_way(frank, spend=199)
    assert bench.refuse(receipt_by(bench, frank)) is exceeded
    bench.do(receipt_by(bench, erin))
    bench = _with_a_receipt_under_way(erin, spend=199)
    bench.do(receipt_by(bench, frank))
    for team in (3, 0):
        bench = _with_a_receipt_under_way(erin)
        bench.chain(a_cap(bench, 199, team))
        assert bench.refuse(receipt_by(bench, frank)) is exceeded
        bench.do(bench.receipt(alice))
    bench = _with_a_receipt_under_way(erin, team=4)
    bench.chain(a_cap(bench, 99, 4))
    assert bench.refuse(receipt_by(bench, frank)) is exceeded
    bench.chain(a_cap(bench, 100, 4))
    bench.do(receipt_by(bench, frank))


def a_worn_key(bench: Bench, left_atoms: int) -> int:
    """Frank's key: of a cap in units of two atoms so much is left, and an odd sum is charged.

    An atom more is charged on chain when the bucket ends.
    """
    words = granted(bench, frank, spend=4_093)
    word = cap_word.charge(words.key, 4_093 - left_atoms, bench.now_ms // 1_000)
    assert word is not None
    told(bench, frank, msgspec.structs.replace(words, key=word))
    return word


def bought_by_itself(bench: Bench) -> None:
    """Alice's own key buys for a hundred atoms, and all of it is served."""
    bench.do(bid := an_intent().units(10).limit(100).signed_by(alice))
    bench.use(bench.lease(bid), 10)


def test_the_chain_takes_the_receipt_of_a_key_that_did_not_buy() -> None:
    """In whichever bucket: it has to be what the key could promise, not what is left now."""
    bench = a_keyed_bench()
    word = a_worn_key(bench, 100)
    bought_by_itself(bench)
    time_s = bench.now_ms // 1_000
    assert cap_word.charge(word, 100, time_s) is not None
    assert cap_word.charge(word, 100, time_s + DAY_S // cap_word.BUCKETS) is None
    assert bench.refuse(receipt_by(bench, frank)) is RejectCode.SESSION_CAP_EXCEEDED
    a_worn_key(bench, 99 + cap_word.rounding_of(word))
    assert bench.refuse(receipt_by(bench, frank)) is RejectCode.SESSION_CAP_EXCEEDED
    a_worn_key(bench, 100 + cap_word.rounding_of(word))
    bench.do(receipt_by(bench, frank))


def test_what_a_key_signs_for_others_it_has_promised() -> None:
    """Until the chain has charged it, under way too, or nobody will charge it any more."""
    bench = a_keyed_bench()
    granted(bench, frank, spend=150)
    bought_by_itself(bench)
    bench.do(receipt_by(bench, frank))
    assert left(bench, frank) == 50
    assert bench.refuse(bid_by(frank, 6)) is RejectCode.SESSION_CAP_EXCEEDED
    batch = bench.cut_metered()
    assert left(bench, frank) == 50
    settled(bench, batch, bench.now_ms // 1_000)
    assert (left(bench, frank), session_of(bench, frank).spent) == (50, 100)
    bench = a_keyed_bench()
    granted(bench, frank, spend=150)
    bought_by_itself(bench)
    bench.do(receipt_by(bench, frank))
    bought_by_itself(bench)
    bench.do(bench.receipt(alice))
    assert left(bench, frank) == 150


@pytest.mark.parametrize("promised", [100, 150])
def test_a_key_signs_for_others_what_it_did_not_promise(promised: int) -> None:
    """What it may still buy for is not there for a receipt, down to nothing."""
    bench = a_keyed_bench()
    granted(bench, frank, spend=150)
    bought_by_itself(bench)
    bench.do(bid_by(frank, promised, limit=promised))
    assert left(bench, frank) == 150 - promised
    assert bench.refuse(receipt_by(bench, frank)) is RejectCode.SESSION_CAP_EXCEEDED


def test_a_key_without_caps_signs_for_all() -> None:
    """Neither it nor its team nor its account has one. What the account bought no key did."""
    bench = a_keyed_bench()
    word = granted(bench, frank).key
    told(bench, frank, Words(key=cap_word.with_bearer(0, cap_word.bearer_of(word))))
    bought_by_itself(bench)
    bench.do(receipt_by(bench, frank))
    receipt = bench.meter(alice).receipt
    assert receipt is not None
    assert (receipt.amount, receipt.bought, session_of(bench, frank).cap) == (100, {}, CAP_MAX)


def test_what_is_bought_under_a_cap_is_promised_under_it_once() -> None:
    """Erin bought, frank signs: his cap is promised, and that of both not a second time."""
    for team in (3, 0):
        bench = a_keyed_bench()
        granted(bench, erin, team=3)
        granted(bench, frank, team=3, spend=150)
        bench.chain(a_cap(bench, 120, team))
        used(bench, erin)
        bench.do(receipt_by(bench, frank))
        assert (left(bench, erin), left(bench, frank)) == (20, 20)
        used(bench, frank, 2)
        bench.do(receipt_by(bench, frank))
        assert (left(bench, erin), left(bench, frank)) == (0, 0)
    receipt = bench.meter(alice).receipt
    assert receipt is not None
    assert receipt.bought == {erin.address: 100, frank.address: 20}


def test_what_is_left_of_a_lowered_cap_is_taken() -> None:
    """Its key promised more, and what it signs for is still paid as far as that goes."""
    for cap in (150, 199):
        bench = a_keyed_bench()
        granted(bench, erin)
        used(bench, erin)
        used(bench, erin)
        bench.chain(a_cap(bench, cap))
        assert left(bench) == cap - 200
        assert bench.refuse(receipt_by(bench, erin)) is RejectCode.SESSION_CAP_EXCEEDED
        bench.do(receipt_by(bench, erin, fills=1))


def test_another_keys_receipt_takes_nothing_of_a_lowered_cap() -> None:
    """It is under way, and charged to other words."""
    bench = a_keyed_bench()
    words = granted(bench, erin)
    granted(bench, frank, team=3)
    used(bench, frank)
    bench.do(receipt_by(bench, frank))
    bench.cut_metered()
    used(bench, erin)
    used(bench, erin)
    granted(bench, erin, words, spend=150)
    assert left(bench) == -50
    bench.do(receipt_by(bench, erin, fills=1))


def test_what_settles_is_charged_as_on_chain() -> None:
    """The key's word after a batch is the registry's, at the time of its block."""
    bench = a_keyed_bench()
    words = granted(bench)
    used(bench)
    bench.do(receipt_by(bench, erin))
    time_s = bench.now_ms // 1_000 + DAY_S // 3
    settled(bench, bench.cut_metered(), time_s)
    assert int(session_of(bench).word, 16) == cap_word.charge(words.key, 100, time_s)
    assert (session_of(bench).spent, session_of(bench).committed) == (100, 0)
    assert bench.market.state.metering.chain_s == 0


def test_a_window_ends() -> None:
    """What was spent a period ago is left again: a cap is no budget for life.

    Only once the chain, a minute behind at most, has come to that end too.
    """
    bench = a_keyed_bench()
    granted(bench, spend=100, expires_at=bench.now_ms // 1_000 + 9 * DAY_S)
    used(bench)
    bench.do(receipt_by(bench, erin))
    settled(bench, bench.cut_metered(), bench.now_ms // 1_000)
    assert left(bench) == 0
    bucket_s = DAY_S // cap_word.BUCKETS
    over_s = (bench.now_ms // 1_000 // bucket_s + cap_word.BUCKETS + 1) * bucket_s
    bench.wait(over_s + LAG_S - bench.now_ms // 1_000 - 1)
    assert left(bench) == 0
    bench.wait(1)
    assert left(bench) == 100


def test_another_keys_receipt_does_not_spare_who_bought() -> None:
    """The chain charges who signed; who bought is charged here, by no more than it bought."""
    bench = a_keyed_bench()
    granted(bench, erin)
    granted(bench, frank)
    used(bench, erin)
    bench.do(receipt_by(bench, frank))
    settled(bench, bench.cut_metered(), bench.now_ms // 1_000)
    assert (session_of(bench, erin).spent, session_of(bench, frank).spent) == (100, 100)


def test_a_claims_signer_is_charged() -> None:
    """When it is posted, as the chain does; by our time, where the block's is not told."""
    bench = a_keyed_bench()
    word = granted(bench).key
    bench.wait(DAY_S // 4)
    bench.chain(ReceiptClaimed(account=alice.address, signer=erin.address, amount=70))
    charged = cap_word.charge(word, 70, bench.now_ms // 1_000)
    assert (session_of(bench).spent, session_of(bench).word) == (70, hex(charged or 0))


@pytest.mark.parametrize("by", [erin, frank, alice])
def test_what_a_claim_pays_is_charged_to_who_bought(by: Person) -> None:
    """Once, whoever signed it: the chain's own charge, when it was posted, is not made again."""
    bench = a_keyed_bench()
    granted(bench, erin)
    granted(bench, frank)
    used(bench, erin)
    bench.chain(ReceiptClaimed(account=alice.address, signer=by.address, amount=100))
    lines = (ReceiptLine(seller=bob.address, amount=100),)
    bench.chain(ClaimPaid(account=alice.address, spent=100, lines=lines))
    assert session_of(bench, erin).spent == 100
    assert session_of(bench, frank).spent == (100 if by == frank else 0)


def test_a_charge_beyond_a_cap_uses_it_up() -> None:
    """The chain would not make it; whatever it means, nothing is left."""
    bench = a_keyed_bench()
    granted(bench)
    bench.chain(ReceiptClaimed(account=alice.address, signer=erin.address, amount=CAP + 1))
    assert (session_of(bench).spent, left(bench)) == (CAP, 0)


@pytest.mark.parametrize("caps", [(), (0,), (3,), (0, 3)])
def test_a_charge_counts_under_each_cap_there_is(caps: tuple[int, ...]) -> None:
    """Of the account, of its key's team; where there is none, none comes of it."""
    bench = a_keyed_bench()
    granted(bench, team=3)
    bench.chain(*(a_cap(bench, 200, team) for team in caps))
    bench.chain(ReceiptClaimed(account=alice.address, signer=erin.address, amount=70))
    kept = caps_of(bench.market.state, alice.address)
    assert (kept.root != "", list(kept.teams)) == (0 in caps, [3] if 3 in caps else [])
    assert left(bench) == (130 if caps else CAP - 70)


def test_a_receipt_beyond_the_caps_is_refused() -> None:
    """The chain would skip it, and that would bar the account."""
    bench = a_keyed_bench()
    granted(bench, erin)
    granted(bench, frank, spend=99)
    used(bench, erin)
    assert bench.refuse(receipt_by(bench, frank)) is RejectCode.SESSION_CAP_EXCEEDED
    bench.chain(a_cap(bench, 99))
    assert bench.refuse(receipt_by(bench, erin)) is RejectCode.SESSION_CAP_EXCEEDED
    bench.do(bench.receipt(alice))


def test_a_key_signs_for_all_that_is_left() -> None:
    """A receipt may use every cap up to the last atom."""
    bench = a_keyed_bench()
    granted(bench, erin, team=3)
    granted(bench, frank, spend=100, team=3)
    bench.chain(a_cap(bench, 100), a_cap(bench, 100, 3))
    used(bench, erin)
    bench.do(receipt_by(bench, frank))


def test_a_key_signs_no_receipt_of_an_account_with_a_rule() -> None:
    """The chain would hold each payee against it, and the market picks payees."""
    bench = a_keyed_bench()
    granted(bench, erin)
    used(bench, erin)
    bench.chain(CounterpartyRuleChanged(account=alice.address, rule=1))
    assert bench.refuse(receipt_by(bench, erin)) is RejectCode.SESSION_TERMS
    bench.do(bench.receipt(alice))


def test_a_key_without_the_permission_signs_no_receipt() -> None:
    """Nor does one that was revoked; one that is not known yet is the chain's to judge."""
    bench = a_keyed_bench()
    granted(bench, erin)
    used(bench)
    granted(bench, frank, permissions=int(Permission.SIGN))
    assert bench.refuse(receipt_by(bench, frank)) is RejectCode.NOT_AUTHORIZED
    granted(bench, frank)
    revoked(bench, frank)
    assert bench.refuse(receipt_by(bench, frank)) is RejectCode.NOT_AUTHORIZED
    bench.do(receipt_by(bench, person("not known yet")))


def revoked(bench: Bench, key: Person = erin) -> None:
    """In the registry."""
    bench.chain(SessionRevoked(account=alice.address, session=key.address))


# -- what ends


def _ended_by(*facts: Fact) -> bool:
    bench = a_keyed_bench()
    granted(bench, team=3)
    resting, open_bid = bid_by(erin, 1, 9), bought(bench)
    bench.do(resting)
    bench.chain(*facts)
    ended = bench.status(resting) is IntentStatus.CANCELLED
    assert ended == (bench.lease(open_bid).status is not LeaseStatus.OPEN)
    return ended


def test_whatever_takes_from_a_key_ends_what_it_signed() -> None:
    """A revocation, a lower cap, a team with less left, a rule; and not what takes nothing.

    It promised 109 atoms.
    """
    bench = a_keyed_bench()
    account = alice.address
    taking: tuple[Fact, ...] = (
        SessionRevoked(account=account, session=erin.address),
        AllSessionsRevoked(account=account),
        a_cap(bench, 108),
        a_cap(bench, 108, 3),
        CounterpartyRuleChanged(account=account, rule=1),
    )
    assert [_ended_by(fact) for fact in taking] == [True] * len(taking)
    sparing: tuple[Fact, ...] = (
        SessionRevoked(account=account, session=frank.address),
        AllSessionsRevoked(account=bob.address),
        a_cap(bench, 109),
        a_cap(bench, 109, 3),
        a_cap(bench, 50, 4),
        KeyTeamChanged(account=account, session=erin.address, team=4),
        CounterpartyRuleChanged(account=account, rule=0),
    )
    assert [_ended_by(fact) for fact in sparing] == [False] * len(sparing)
    moved = KeyTeamChanged(account=account, session=erin.address, team=4)
    assert _ended_by(a_cap(bench, 50, 4), moved)


def test_a_revoked_keys_leases_end_and_no_others() -> None:
    """What it bought by itself, and what was bought under its mandate."""
    bench = a_keyed_bench()
    granted(bench, erin)
    granted(bench, frank)
    own, under, other = bought(bench), bought_under_a_mandate(bench, 2), bought(bench, frank)
    revoked(bench)
    is_open = [bench.lease(bid).status is LeaseStatus.OPEN for bid in (own, under, other)]
    assert is_open == [False, False, True]


def test_a_revoked_keys_receipt_is_void() -> None:
    """Its fills wait for another word, and no batch takes it."""
    bench = a_keyed_bench()
    granted(bench)
    used(bench)
    bench.do(receipt_by(bench, erin))
    revoked(bench)
    assert bench.meter(alice).receipt is None
    assert len(bench.meter(alice).waiting) == 1


def _refused_as_the_epoch_ends(
    *facts: Fact,
    restarts: bool = False,
    authority: Authority = SESSION,
    problem: int = SESSION_REFUSED,
) -> Bench:
    """A key's receipt is under way, its account ends its epoch, and the chain takes no receipt.

    The market that hears of it may come from a snapshot.
    """
    bench = a_keyed_bench()
    granted(bench)
    used(bench)
    bench.do(msgspec.structs.replace(receipt_by(bench, erin), authority=authority))
    batch = bench.cut_metered()
    number = bench.market.state.batches[batch.number].root_number
    skipped = RecordSkipped(number=number, account=alice.address, problem=problem)
    over = MeteredSettled(number=number, root=batch.digest, records=())
    if restarts:
        bench.market = Market(USDC, load(dump(bench.market.state)))
    bench.chain(EpochBumped(account=alice.address, epoch=1), *facts, skipped, over)
    return bench


@pytest.mark.parametrize("restarts", [False, True])
def test_a_key_is_not_to_blame_for_the_end_of_an_epoch(*, restarts: bool) -> None:
    """Its receipt counts again, and nobody is barred; unless the key itself has ended."""
    bench = _refused_as_the_epoch_ends(restarts=restarts)
    receipt = bench.meter(alice).receipt
    assert receipt is not None
    assert (receipt.signer, receipt.epoch) == (erin.address, 0)
    assert not bench.market.state.metering.trusts[alice.address].barred
    ended = SessionRevoked(account=alice.address, session=erin.address)
    other = _refused_as_the_epoch_ends(ended, restarts=restarts)
    assert other.meter(alice).receipt is None
    assert other.market.state.metering.trusts[alice.address].barred


@pytest.mark.parametrize(
    ("authority", "problem"),
    [(SESSION, BAD_SIGNATURE), (Authority.CONTRACT, SESSION_REFUSED)],
)
def test_the_end_of_an_epoch_excuses_nothing_else(authority: Authority, problem: int) -> None:
    """A key's signature that is bad, and what a contract that is no key was asked for."""
    bench = _refused_as_the_epoch_ends(authority=authority, problem=problem)
    assert bench.meter(alice).receipt is None
    assert bench.market.state.metering.trusts[alice.address].barred


def test_rotation_moves_words_and_promises() -> None:
    """The new key goes on where the old one stood; what that promised is the new one's too."""
    bench = a_keyed_bench()
    granted(bench, spend=500)
    used(bench)
    account, old = alice.address, erin.address
    revoked(bench)
    bench.chain(KeyRotated(account=account, session=old, replacement=frank.address))
    assert session_of(bench, frank).word == session_of(bench).word
    assert (session_of(bench, frank).live, session_of(bench).live) == (True, False)
    assert (session_of(bench, frank).units_in_flight, left(bench, frank)) == (0, 400)
    bought(bench, frank)
    assert (session_of(bench, frank).committed, left(bench, frank)) == (100, 300)


def test_what_is_told_of_an_unknown_key_changes_nothing() -> None:
    """Nobody was granted it, so it has nothing to move, and stands under no cap."""
    bench = a_keyed_bench()
    account, key = alice.address, erin.address
    bench.chain(
        KeyRotated(account=account, session=key, replacement=frank.address),
        KeyTeamChanged(account=account, session=key, team=4),
        ReceiptClaimed(account=account, signer=key, amount=7),
    )
    assert bench.market.state.accounts[account].sessions == {}


def test_a_snapshot_keeps_keys_and_caps() -> None:
    """Words, teams, predecessors."""
    bench = a_keyed_bench()
    granted(bench, team=3, units=40)
    bench.chain(a_cap(bench, 400, 3), a_cap(bench, 300))
    used(bench)
    before = bench.market.state
    loaded = load(dump(before))
    assert loaded.metering.caps == before.metering.caps
    assert loaded.accounts[alice.address].sessions == before.accounts[alice.address].sessions
