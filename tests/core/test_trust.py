"""Session keys and contracts are served up to a bound, and barred once the chain refuses."""

from typing import Final

import msgspec
import pytest

from intents.receipt import ReceiptLine
from intents.reject import Reject, RejectCode
from solver.core.command import (
    AcceptReceipt,
    Authority,
    EndLeases,
    SetMetering,
    StartCall,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import BatchCut, IntentStatus, MandateEnded, TrustChanged
from solver.core.fact import (
    ClaimPaid,
    EpochBumped,
    FillSkipped,
    MeteredSettled,
    RecordSkipped,
    SessionRevoked,
)
from solver.core.meter import Trust
from solver.core.session import MAY_RECEIPT
from solver.core.snapshot import dump, load
from solver.core.state import MAY_SIGN, State
from solver.core.trust import (
    BAD_SIGNATURE,
    INSUFFICIENT_BALANCE,
    RETRY_MS,
    SESSION_REFUSED,
    trust_of,
    unsettled_max,
)
from tests.builder import (
    CREDITS,
    HOUR_S,
    START_S,
    Bench,
    Person,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    every,
    key_granted,
    key_of,
    only,
    person,
)

session: Final = person("session")
UNITS_CAP: Final = 100
"""Ten units at ten atoms."""
SESSION, CONTRACT, KEY = Authority.SESSION, Authority.CONTRACT, Authority.KEY
RECORD_SIGNATURE: Final = 7


def a_wary_bench(payment_max: int = 0) -> Bench:
    """Bob sells 100 units at 10 atoms; what can be taken back is served up to 100 atoms."""
    permissions = MAY_SIGN | MAY_RECEIPT if payment_max else MAY_SIGN
    bench = a_bench().granting(session, alice, permissions=permissions)
    bench.do(SetMetering(payment_max=payment_max, uncovered_max=1_000, unsettled_max=UNITS_CAP))
    bench.do(an_offer().units(100).limit(1_000).signed_by(bob))
    return bench


def _bought(bench: Bench, authority: Authority, units: int = 20) -> SubmitIntent:
    signer = session if authority is SESSION else alice
    bid = an_intent().units(units).limit(units * 10).for_account(alice).signed_by(signer, authority)
    bench.do(bid)
    return bid


def _trust(bench: Bench) -> Trust:
    return trust_of(bench.market.state, alice.address)


def _refused(bench: Bench, bid: SubmitIntent, units: int) -> RejectCode:
    return bench.refuse(StartCall(lease=bench.lease(bid).id, call="call", units=units))


def _served(bench: Bench, authority: Authority, units: int = 5) -> BatchCut:
    """A lease is used whole, and what it comes to is in a batch."""
    bench.use(bench.lease(_bought(bench, authority, units)), units)
    return bench.cut()


def _skip(bench: Bench, batch: BatchCut, reason: int) -> list[TrustChanged]:
    fill = batch.lines[0].fill
    return every(bench.chain(FillSkipped(fill=fill, reason=reason)), TrustChanged)


# -- the bound


@pytest.mark.parametrize("authority", [SESSION, CONTRACT])
def test_no_more_is_served_than_may_be_taken_back(authority: Authority) -> None:
    """Served and in flight together reach the bound, over all leases, and no atom more."""
    bench = a_wary_bench()
    one, two = _bought(bench, authority), _bought(bench, authority)
    for units in (4, 2):
        bench.use(bench.lease(one), units)
    bench.start(bench.lease(two), 4)
    assert _trust(bench).unsettled == UNITS_CAP
    for bid in (one, two):
        assert _refused(bench, bid, 1) is RejectCode.UNSETTLED_EXCEEDED
    refused = bench.attempt(StartCall(lease=bench.lease(one).id, call="call", units=1))
    assert isinstance(refused, Reject)
    assert refused.retry_after_ms == RETRY_MS


@pytest.mark.parametrize("authority", [SESSION, CONTRACT])
def test_credits_need_no_trust(authority: Authority) -> None:
    """They are the market's own: nothing is said on chain that could take them back."""
    bench = a_wary_bench()
    bench.do(an_offer().units(20).limit(200).paid_in(CREDITS).signed_by(bob))
    signer = session if authority is SESSION else alice
    bid = an_intent().units(20).limit(200).paid_in(CREDITS).for_account(alice)
    signed = bid.signed_by(signer, authority)
    bench.do(signed)
    bench.use(bench.lease(signed), 20)
    assert bench.market.state.metering.trusts == {}


def test_what_is_final_makes_room() -> None:
    """A batch that is cut does not: only what the chain has paid counts no more."""
    bench = a_wary_bench()
    batch = _served(bench, SESSION, 10)
    bid = _bought(bench, SESSION)
    assert _refused(bench, bid, 1) is RejectCode.UNSETTLED_EXCEEDED
    bench.settle(batch)
    assert _trust(bench).unsettled == 0
    bench.use(bench.lease(bid), 10)


def test_a_failed_call_makes_room() -> None:
    """Nobody owes for it."""
    bench = a_wary_bench()
    bid = _bought(bench, SESSION)
    bench.finish(bench.start(bench.lease(bid), 10), 0)
    bench.use(bench.lease(bid), 10)


def test_a_plain_key_is_not_bounded() -> None:
    """Its word cannot be taken back; neither can that under a mandate of it."""
    bench = a_wary_bench()
    bench.use(bench.lease(_bought(bench, KEY, 30)), 30)
    mandate = a_mandate().signed_by(alice)
    bench.do(mandate)
    bid = an_intent().units(30).limit(300).under(mandate, alice)
    bench.do(bid)
    bench.use(bench.lease(bid), 30)
    assert bench.market.state.metering.trusts == {}


def test_what_is_under_a_mandate_counts_as_the_mandate() -> None:
    """A session's mandate is a session's word."""
    bench = a_wary_bench()
    mandate = a_mandate().for_account(alice).signed_by(session, SESSION)
    bench.do(mandate)
    bid = an_intent().units(30).limit(300).under(mandate, alice)
    bench.do(bid)
    assert _refused(bench, bid, 11) is RejectCode.UNSETTLED_EXCEEDED
    bench.use(bench.lease(bid), 10)


def test_receipts_that_can_be_taken_back_do_not_raise_the_bound() -> None:
    """What a plain key bought is bounded too where a session key signs for it, or signed last."""
    bench = a_wary_bench(payment_max=200)
    one, two = _bought(bench, KEY), _bought(bench, KEY)
    bench.use(bench.lease(one), 20)
    bench.do(_by_session(bench.receipt(alice)))
    assert _refused(bench, two, 1) is RejectCode.UNSETTLED_EXCEEDED
    bench.cut_metered()
    assert _refused(bench, two, 1) is RejectCode.UNSETTLED_EXCEEDED


def test_a_plain_keys_receipt_lifts_it() -> None:
    """It replaces the session's, which nothing rests on any more."""
    bench = a_wary_bench(payment_max=200)
    bench.use(bench.lease(_bought(bench, KEY, 5)), 5)
    bench.do(_by_session(bench.receipt(alice)))
    bench.use(bench.lease(_bought(bench, KEY, 5)), 5)
    more = _bought(bench, KEY)
    assert _refused(bench, more, 1) is RejectCode.UNSETTLED_EXCEEDED
    bench.do(bench.receipt(alice))
    bench.use(bench.lease(more), 20)


@pytest.mark.parametrize("most", [-1, 2**53])
def test_a_bound_that_is_none_is_refused(most: int) -> None:
    """It is 0 to the largest amount there is."""
    command = SetMetering(payment_max=0, uncovered_max=0, unsettled_max=most)
    assert a_bench().refuse(command) is RejectCode.LIMIT_OUT_OF_RANGE


def _refuse_record(
    bench: Bench, batch: BatchCut, problem: int = RECORD_SIGNATURE
) -> list[TrustChanged]:
    """The chain takes nothing of alice from a metered batch."""
    number = bench.market.state.batches[batch.number].root_number
    skipped = RecordSkipped(number=number, account=alice.address, problem=problem)
    settled = MeteredSettled(number=number, root=batch.digest, records=())
    return every(bench.chain(skipped, settled), TrustChanged)


# -- the bar


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        (SESSION, SESSION_REFUSED),
        (CONTRACT, BAD_SIGNATURE),
        (SESSION, INSUFFICIENT_BALANCE),
    ],
)
def test_who_takes_its_word_back_is_barred(authority: Authority, reason: int) -> None:
    """What stands of it ends, its leases serve no more, and nothing new is taken."""
    bench = a_wary_bench()
    batch = _served(bench, authority)
    standing, other = _bought(bench, authority), _bought(bench, KEY)
    (told,) = _skip(bench, batch, reason)
    assert (told.account, told.barred, told.refusals) == (alice.address, True, 1)
    assert _refused(bench, standing, 1) is RejectCode.LEASE_ENDED
    bid = an_intent().for_account(alice)
    signer = session if authority is SESSION else alice
    assert bench.refuse(bid.signed_by(signer, authority)) is RejectCode.ACCOUNT_BARRED
    bench.use(bench.lease(other), 20)
    bench.do(an_intent().signed_by(alice))


def test_who_is_barred_is_not_served_on_a_receipt_that_can_be_taken_back() -> None:
    """Not what its plain key bought either; once that key signs for all, it is."""
    bench = a_wary_bench(payment_max=50)
    bench.use(bench.lease(_bought(bench, KEY, 2)), 2)
    more = _bought(bench, KEY, 5)
    bench.do(_by_contract(bench.receipt(alice)))
    unmetered = an_intent().units(4).limit(51).for_account(alice).signed_by(session, SESSION)
    bench.do(unmetered)
    bench.use(bench.lease(unmetered), 4)
    assert len(_skip(bench, bench.cut(), SESSION_REFUSED)) == 1
    assert _refused(bench, more, 1) is RejectCode.ACCOUNT_BARRED
    _refuse_record(bench, bench.cut_metered())
    bench.do(bench.receipt(alice))
    bench.use(bench.lease(more))


def test_a_barred_accounts_mandates_end() -> None:
    """Those that a session signed, with what is under them."""
    bench = a_wary_bench()
    mandate = a_mandate().for_account(alice).signed_by(session, SESSION)
    kept = a_mandate().signed_by(alice)
    bench.do(mandate)
    bench.do(kept)
    rests = an_intent().units(1).limit(1).under(mandate, alice)
    bench.do(rests)
    batch = _served(bench, SESSION)
    events = bench.chain(FillSkipped(fill=batch.lines[0].fill, reason=SESSION_REFUSED))
    assert only(events, MandateEnded).mandate == mandate.digest
    assert bench.status(rests) is IntentStatus.CANCELLED
    assert bench.mandate(kept).live


def test_a_barred_account_goes_on_selling() -> None:
    """Nobody serves it on the word that it gave for an offer."""
    bench = a_wary_bench().pooling(alice)
    ask = an_offer().units(9).limit(9_000).signed_by(alice, CONTRACT)
    bench.do(ask)
    assert len(_skip(bench, _served(bench, SESSION), SESSION_REFUSED)) == 1
    assert bench.is_live(ask)


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        (KEY, BAD_SIGNATURE),
        (KEY, SESSION_REFUSED),
        (KEY, INSUFFICIENT_BALANCE),
        (SESSION, 6),
        (SESSION, BAD_SIGNATURE),
        (CONTRACT, SESSION_REFUSED),
    ],
)
def test_what_is_not_the_buyers_doing_bars_nobody(authority: Authority, reason: int) -> None:
    """Another reason, or one that is told of the seller."""
    bench = a_wary_bench()
    assert _skip(bench, _served(bench, authority), reason) == []


def test_a_sellers_session_that_ended_bars_no_buyer() -> None:
    """The line is refused for the offer; both were signed by sessions."""
    sellers = person("sellers session")
    bench = a_bench().granting(session, alice).granting(sellers, bob)
    bench.do(_offer_by(sellers))
    bid = an_intent().units(5).limit(50).for_account(alice).signed_by(session, SESSION)
    bench.do(bid)
    bench.use(bench.lease(bid), 5)
    batch = bench.cut()
    bench.chain(SessionRevoked(account=bob.address, session=sellers.address))
    assert _skip(bench, batch, SESSION_REFUSED) == []


@pytest.mark.parametrize(("seconds", "barred"), [(3_600, 1), (0, 1), (-1, 0)])
def test_a_sellers_session_that_lives_is_no_excuse(seconds: int, barred: int) -> None:
    """Then it was the buyer's; so it was if the seller's ended no earlier than it sold."""
    sellers = person("sellers session")
    bench = a_bench().granting(session, alice).granting(sellers, bob)
    bench.do(_offer_by(sellers))
    bid = an_intent().units(5).limit(50).for_account(alice).signed_by(session, SESSION)
    bench.do(bid)
    bench.use(bench.lease(bid), 5)
    batch = bench.cut()
    bench.granting(sellers, bob, seconds=seconds)
    assert len(_skip(bench, batch, SESSION_REFUSED)) == barred


# -- the way out


@pytest.mark.parametrize("way", ["grant", "epoch"])
def test_the_chain_lets_it_go_on_with_half(way: str) -> None:
    """A grant, or the end of the epoch: both are the owner's own act, on chain."""
    bench = a_wary_bench()
    _skip(bench, _served(bench, SESSION), SESSION_REFUSED)
    again = key_granted(
        bench.market.state,
        alice.address,
        session.address,
        permissions=MAY_SIGN,
        expires_at=START_S + HOUR_S,
        cap=10**9,
    )
    fact = EpochBumped(account=alice.address, epoch=1) if way == "epoch" else again
    told = only(bench.chain(fact), TrustChanged)
    assert (told.account, told.barred, told.refusals) == (alice.address, False, 1)
    bid = an_intent().units(9).limit(90).epoch(1 if way == "epoch" else 0).for_account(alice)
    signed = bid.signed_by(session, SESSION)
    bench.do(signed)
    assert _refused(bench, signed, 6) is RejectCode.UNSETTLED_EXCEEDED
    bench.use(bench.lease(signed), 5)


def test_again_and_again_takes_less_than_twice_the_bound() -> None:
    """Whoever never pays is served less each time: the sum is bounded, however often it tries."""
    bench = a_wary_bench()
    taken = 0
    for _ in range(12):
        bench.now_ms += 1
        bench.granting(session, alice)
        bid = _bought(bench, SESSION, 10)
        left = unsettled_max(bench.market.state, _trust(bench)) // 10
        if left < 10:
            assert _refused(bench, bid, left + 1) is RejectCode.UNSETTLED_EXCEEDED
        if left:
            bench.use(bench.lease(bid), left)
        bench.do(EndLeases(intent=bid.digest, account=alice.address))
        if left:
            taken += bench.lease(bid).payment
            _skip(bench, bench.cut(), SESSION_REFUSED)
    assert UNITS_CAP < taken < 2 * UNITS_CAP
    assert _trust(bench).barred is False


def test_one_matter_counts_once() -> None:
    """Lines that were served before the bar bring no second one, even after the way out."""
    bench = a_wary_bench()
    one = _served(bench, SESSION)
    two = _served(bench, SESSION)
    bench.now_ms += 1
    _skip(bench, one, SESSION_REFUSED)
    bench.granting(session, alice)
    standing = _bought(bench, SESSION)
    assert _skip(bench, two, SESSION_REFUSED) == []
    bench.use(bench.lease(standing))
    assert (_trust(bench).refusals, _trust(bench).barred) == (1, False)
    assert unsettled_max(bench.market.state, _trust(bench)) == UNITS_CAP // 2


def test_what_is_bought_after_the_way_out_is_another_matter() -> None:
    """Even in the same millisecond: whoever goes on can be barred again."""
    bench = a_wary_bench()
    for _ in range(2):
        assert len(_skip(bench, _served(bench, SESSION), SESSION_REFUSED)) == 1
        bench.granting(session, alice)
    assert _trust(bench).refusals == 2


# -- metered


def test_a_refused_receipt_bars_too() -> None:
    """Its fills wait, and count; only the account's own key can go on, and pay."""
    bench = a_wary_bench(payment_max=200)
    paid = _bought(bench, CONTRACT, 10)
    bench.use(bench.lease(paid), 10)
    bench.do(_by_contract(bench.receipt(alice)))
    (told,) = _refuse_record(bench, bench.cut_metered())
    assert told.barred
    assert _trust(bench).unsettled == UNITS_CAP
    bid = an_intent().for_account(alice).signed_by(alice, CONTRACT)
    assert bench.refuse(bid) is RejectCode.ACCOUNT_BARRED
    bench.do(bench.receipt(alice))


@pytest.mark.parametrize(("authority", "problem"), [(KEY, RECORD_SIGNATURE), (CONTRACT, 6)])
def test_other_refusals_of_receipts_bar_nobody(authority: Authority, problem: int) -> None:
    """A plain key's is not taken back; an ended epoch is the market's delay."""
    bench = a_wary_bench(payment_max=200)
    bench.use(bench.lease(_bought(bench, KEY, 10)), 10)
    receipt = bench.receipt(alice)
    bench.do(_by_contract(receipt) if authority is CONTRACT else receipt)
    assert _refuse_record(bench, bench.cut_metered(), problem) == []


def test_the_newest_fill_of_a_refused_receipt_decides() -> None:
    """One was served before the bar, one after the way out: that is another matter."""
    bench = a_wary_bench(payment_max=20)
    bench.use(bench.lease(_bought(bench, SESSION, 2)), 2)
    verified = _served(bench, SESSION)
    bench.now_ms += 1
    _skip(bench, verified, SESSION_REFUSED)
    bench.granting(session, alice, permissions=MAY_SIGN | MAY_RECEIPT)
    bench.use(bench.lease(_bought(bench, SESSION, 2)), 2)
    bench.do(_by_session(bench.receipt(alice)))
    (told,) = _refuse_record(bench, bench.cut_metered())
    assert (told.barred, told.refusals) == (True, 2)


def test_a_claim_that_overtakes_a_receipt_bars_nobody() -> None:
    """All that the receipt was for is paid; what waits by then it was not for."""
    bench = a_wary_bench(payment_max=200)
    bench.use(bench.lease(_bought(bench, SESSION, 5)), 5)
    bench.do(_by_session(bench.receipt(alice)))
    batch = bench.cut_metered()
    bench.use(bench.lease(_bought(bench, SESSION, 2)), 2)
    lines = (ReceiptLine(seller=bob.address, amount=50),)
    bench.chain(ClaimPaid(account=alice.address, spent=50, lines=lines))
    assert _refuse_record(bench, batch) == []
    assert len(bench.meter(alice).waiting) == 1


def test_a_snapshot_keeps_who_is_barred() -> None:
    """With how often, since when, and what waits."""
    bench = a_wary_bench()
    batch = _served(bench, SESSION)
    _served(bench, SESSION, 2)
    _skip(bench, batch, SESSION_REFUSED)
    loaded: State = load(dump(bench.market.state))
    assert loaded.metering.trusts == bench.market.state.metering.trusts
    assert loaded.metering.trusts[alice.address].barred
    assert loaded.metering.unsettled_max == UNITS_CAP


def _offer_by(sellers: Person) -> SubmitOffer:
    offer = an_offer().units(9).limit(9).for_account(bob).from_key(key_of(bob))
    return offer.signed_by(sellers, SESSION)


def _by_session(command: AcceptReceipt) -> AcceptReceipt:
    return msgspec.structs.replace(command, signer=session.address, authority=SESSION)


def _by_contract(command: AcceptReceipt) -> AcceptReceipt:
    return msgspec.structs.replace(command, authority=CONTRACT)
