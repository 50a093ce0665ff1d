"""Metered settlement: served up to a cap, signed for in sums, paid once."""

import random
from typing import Final

import msgspec
import pytest

from intents.document import SpendReceipt
from intents.leaf import tree
from intents.receipt import ReceiptLine, in_order, lines_hash
from intents.reject import RejectCode
from solver.core.check import Violation
from solver.core.command import (
    AcceptReceipt,
    Authority,
    Command,
    CutBatch,
    CutMetered,
    EndLeases,
    Outcome,
    SetMetering,
    StartCall,
    SubmitIntent,
)
from solver.core.event import (
    BatchCut,
    BatchFinal,
    ClaimMoved,
    IntentStatus,
    LeaseStatus,
    PaymentSettled,
    PaymentSkipped,
    ReceiptAccepted,
    ReceiptLapsed,
)
from solver.core.fact import ClaimPaid, EpochBumped, MeteredSettled, ReceiptClaimed, RecordSkipped
from solver.core.market import Market
from solver.core.metered import leaf_of
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
    carol,
    dave,
    every,
    nothing_is_left,
    only,
    person,
)
from tests.conftest import PROFILE
from tests.core.metered_chain import BAD_SIGNATURE, CLAIM_PENDING, MeteredChain

RICH: Final = 10**9
CAP: Final = 200
WALKS: Final = 300 if PROFILE == "full" else 40


def a_metered_bench() -> Bench:
    """A market that meters intents of up to 100 atoms, and serves 200 unsigned ones."""
    return a_bench().metering(100, CAP)


def _bought(
    bench: Bench, units: int = 5, *, buyer: Person = alice, seller: Person = bob
) -> SubmitIntent:
    """An intent for units at 10 atoms each that was filled."""
    bench.do(an_offer().units(units).limit(units * 10).signed_by(seller))
    bid = an_intent().units(units).limit(units * 10).signed_by(buyer)
    bench.do(bid)
    return bid


def _used(
    bench: Bench, units: int = 5, *, buyer: Person = alice, seller: Person = bob
) -> SubmitIntent:
    """The same, served whole."""
    bid = _bought(bench, units, buyer=buyer, seller=seller)
    bench.use(bench.lease(bid), units)
    return bid


def _settled(bench: Bench, batch: BatchCut) -> list[str]:
    """The chain settles all of a batch; the fills that were paid."""
    chain = MeteredChain(bench.market.state, CAP)
    for account, meter in bench.market.state.metering.meters.items():
        chain.deposit(account, RICH)
        chain.spent[account], chain.uncovered[account] = meter.base, meter.uncovered
    events = bench.chain(*chain.settle(batch))
    return [event.fill for event in every(events, PaymentSettled)]


def _skipped(batch: BatchCut, bench: Bench, problem: int) -> tuple[RecordSkipped, MeteredSettled]:
    number = bench.market.state.batches[batch.number].root_number
    skipped = RecordSkipped(number=number, account=alice.address, problem=problem)
    return skipped, MeteredSettled(number=number, root=batch.digest, records=())


# -- what is metered


def test_without_the_rule_nothing_is_metered() -> None:
    """A market that has no threshold has no meters, and settles every fill as a line."""
    bench = a_bench()
    _used(bench)
    assert bench.market.state.metering.meters == {}
    assert bench.refuse(CutMetered(fills_max=9, unsigned_ms=0)) is RejectCode.NOTHING_TO_SETTLE
    assert bench.cut().lines[0].payment == 50


def test_what_needs_the_chains_word_is_verified() -> None:
    """Above the threshold, under a minimum, by a session key, in credits: each as before."""
    session = person("session")
    bench = a_metered_bench().granting(session, alice)
    bench.do(an_offer().units(500).limit(500).signed_by(bob))
    bench.do(an_offer().units(5).limit(5).paid_in(CREDITS).signed_by(bob))
    intent = an_intent().units(5)
    for bid in (
        intent.limit(101).signed_by(alice),
        intent.limit(100).at_least(2).signed_by(alice),
        intent.limit(100).for_account(alice).signed_by(session, Authority.SESSION),
        intent.limit(100).paid_in(CREDITS).signed_by(alice),
    ):
        bench.do(bid)
        assert not bench.lease(bid).metered
    assert bench.market.state.metering.meters == {}


def test_mandates_and_single_units_are_metered() -> None:
    """Purchases under a mandate that its account signed, and fill-or-kill of one unit."""
    bench = a_metered_bench()
    bench.do(an_offer().units(9).limit(9).signed_by(bob))
    mandate = a_mandate().signed_by(alice)
    bench.do(mandate)
    for bid in (
        an_intent().units(2).limit(100).under(mandate, alice),
        an_intent().units(1).all_or_none().limit(50).signed_by(alice),
    ):
        bench.do(bid)
        assert bench.lease(bid).metered


def test_a_mandate_of_a_session_is_verified() -> None:
    """Its cap is the contract's to count, by the mandate."""
    session = person("session")
    bench = a_metered_bench().granting(session, alice)
    bench.do(an_offer().units(9).limit(9).signed_by(bob))
    mandate = a_mandate().for_account(alice).signed_by(session, Authority.SESSION)
    bench.do(mandate)
    bid = an_intent().units(2).limit(50).under(mandate, alice)
    bench.do(bid)
    assert not bench.lease(bid).metered


@pytest.mark.parametrize(("payment", "uncovered"), [(-1, 5), (6, 5)])
def test_a_rule_that_nothing_could_settle_is_refused(payment: int, uncovered: int) -> None:
    """One intent must fit the cap, or its fill could wait for ever."""
    command = SetMetering(payment_max=payment, uncovered_max=uncovered)
    assert a_bench().refuse(command) is RejectCode.LIMIT_OUT_OF_RANGE


def test_a_rule_is_for_fills_from_then_on() -> None:
    """What was filled before settles as it was to settle."""
    bench = a_bench()
    before = _bought(bench)
    bench.metering()
    after = _bought(bench)
    bench.metering(0, 0)
    assert (bench.lease(before).metered, bench.lease(after).metered) == (False, True)
    for bid in (before, after):
        bench.lease(bid)
    bench.use(bench.lease(before), 5)
    assert only(bench.do(CutBatch(fills_max=9)), BatchCut).lines[0].fill == bench.lease(before).id


# -- one receipt for many fills


def test_one_signature_settles_many_fills() -> None:
    """Three fills of two sellers, one receipt: sums move, all is final, nothing held."""
    bench = a_metered_bench()
    bids = [_used(bench), _used(bench, 3, seller=carol), _used(bench, 2)]
    accepted = only(bench.do(bench.receipt(alice)), ReceiptAccepted)
    assert (accepted.spent, accepted.fills) == (100, 3)
    batch = bench.cut_metered()
    assert bench.lease(bids[0]).status is LeaseStatus.BATCHED
    assert len(_settled(bench, batch)) == 3
    assert [bench.status(bid) for bid in bids] == [IntentStatus.SETTLED] * 3
    assert [bench.total(who) - RICH for who in (alice, bob, carol)] == [-100, 70, 30]
    assert (bench.meter(alice).base, bench.available(alice)) == (100, RICH - 100)
    nothing_is_left(bench)


def test_what_closes_meanwhile_changes_nothing_signed() -> None:
    """A receipt is for the first fills: it is good though others were served since."""
    bench = a_metered_bench()
    _used(bench)
    signed = bench.receipt(alice)
    _used(bench, 2)
    bench.do(signed)
    assert [line.payment for line in bench.cut_metered().lines] == [50]
    assert bench.meter(alice).owed == 20


def test_a_later_receipt_replaces_an_earlier_one() -> None:
    """Both go on from the same base; the batch carries the newest."""
    bench = a_metered_bench()
    _used(bench)
    bench.do(bench.receipt(alice))
    _used(bench, 2, seller=carol)
    bench.do(bench.receipt(alice))
    batch = bench.market.state.batches[bench.cut_metered().number]
    (record,) = batch.records
    assert (record.amount, record.fills) == (70, 2)
    assert {line.seller: line.amount for line in record.lines} == {
        bob.address: 50,
        carol.address: 20,
    }


def test_the_next_receipt_goes_on_where_the_last_one_will_end() -> None:
    """While a record is under way the next one is signed on its outcome, and waits for it."""
    bench = a_metered_bench()
    _used(bench)
    bench.do(bench.receipt(alice))
    first = bench.cut_metered()
    _used(bench, 2)
    receipt = bench.receipt(alice)
    assert (receipt.receipt.base, receipt.receipt.spent) == (50, 70)
    bench.do(receipt)
    nothing = CutMetered(fills_max=9, unsigned_ms=0)
    assert bench.refuse(nothing) is RejectCode.NOTHING_TO_SETTLE
    _settled(bench, first)
    _settled(bench, bench.cut_metered())
    assert (bench.meter(alice).base, bench.total(bob)) == (70, RICH + 70)


def test_a_receipt_is_what_the_contract_hashes() -> None:
    """Its lines are those of the batch's record, and the root is that of the fills' leaves."""
    bench = a_metered_bench()
    _used(bench)
    _used(bench, 2, seller=carol)
    receipt = bench.receipt(alice).receipt
    assert receipt.lines == lines_hash(in_order({carol.address: 20, bob.address: 50}))
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    leaves = [leaf_of(bench.market.state, line) for line in batch.lines]
    assert tree([leaf.digest() for leaf in leaves]).root == batch.digest
    assert [(leaf.seller, leaf.payment) for leaf in leaves] == [
        (bob.address, 50),
        (carol.address, 20),
    ]


def test_a_mandates_leaf_names_the_mandate() -> None:
    """It is what the buyer signed: the intent under it is the market's word."""
    bench = a_metered_bench()
    bench.do(an_offer().limit(10).signed_by(bob))
    mandate = a_mandate().signed_by(alice)
    bench.do(mandate)
    bid = an_intent().limit(10).under(mandate, alice)
    bench.do(bid)
    bench.use(bench.lease(bid))
    bench.do(bench.receipt(alice))
    (line,) = bench.cut_metered().lines
    assert leaf_of(bench.market.state, line).intent == mandate.digest


# -- refusals


def _changed(command: AcceptReceipt, **fields: object) -> AcceptReceipt:
    receipt = msgspec.structs.replace(command.receipt, **fields)
    return msgspec.structs.replace(command, receipt=receipt)


def test_receipts_that_do_not_fit_are_refused() -> None:
    """Another signer, epoch, base, sum or lines; no fills, too many, or the same again."""
    bench = a_metered_bench()
    nobody = AcceptReceipt(
        receipt=SpendReceipt(account=dave.address, base=0, spent=1, lines="0x" + "00" * 32),
        fills=1,
        signer=dave.address,
        authority=Authority.KEY,
        signature="0x",
    )
    assert bench.refuse(nobody) is RejectCode.RECEIPT_INVALID
    _used(bench)
    good = bench.receipt(alice)
    assert bench.refuse(msgspec.structs.replace(good, signer=bob.address)) is (
        RejectCode.NOT_AUTHORIZED
    )
    assert bench.refuse(_changed(good, epoch=1)) is RejectCode.EPOCH_ENDED
    assert bench.refuse(_changed(good, base=1)) is RejectCode.RECEIPT_STALE
    assert bench.refuse(_changed(good, spent=49)) is RejectCode.RECEIPT_INVALID
    assert bench.refuse(_changed(good, spent=51)) is RejectCode.RECEIPT_INVALID
    assert bench.refuse(_changed(good, lines="0x" + "00" * 32)) is RejectCode.RECEIPT_INVALID
    assert bench.refuse(msgspec.structs.replace(good, fills=0)) is RejectCode.RECEIPT_STALE
    assert bench.refuse(msgspec.structs.replace(good, fills=2)) is RejectCode.RECEIPT_INVALID
    bench.do(good)
    assert bench.refuse(good) is RejectCode.RECEIPT_STALE


def test_a_receipt_of_an_ended_epoch_is_refused() -> None:
    """It would not settle for long: the account signs with the epoch that it is in."""
    bench = a_metered_bench()
    _used(bench)
    old = bench.receipt(alice)
    bench.chain(EpochBumped(account=alice.address, epoch=1))
    assert bench.refuse(old) is RejectCode.EPOCH_ENDED
    bench.do(bench.receipt(alice))


def test_who_does_not_sign_is_served_up_to_the_cap() -> None:
    """Calls stop at the cap, to the atom, and go on as soon as what was served is signed for."""
    bench = a_metered_bench()
    for _ in range(4):
        _used(bench)
    bid = _bought(bench, 1)
    assert bench.meter(alice).exposure == CAP
    call = StartCall(lease=bench.lease(bid).id, call="one", units=1)
    assert bench.refuse(call) is RejectCode.RECEIPT_DUE
    other = _bought(bench, 1, buyer=carol)
    bench.use(bench.lease(other))
    bench.do(bench.receipt(alice))
    assert bench.meter(alice).exposure == 0
    bench.do(call)


def test_calls_under_way_count() -> None:
    """What is being served may be delivered: two calls that together pass the cap do not start."""
    bench = a_bench().metering(100, 100)
    bid = _bought(bench, 10)
    lease = bench.lease(bid)
    first = bench.start(lease, 6)
    other = _bought(bench, 5)
    refused = StartCall(lease=bench.lease(other).id, call="two", units=5)
    assert bench.refuse(refused) is RejectCode.RECEIPT_DUE
    bench.finish(first, 0, Outcome.FAILED)
    bench.do(refused)
    more = StartCall(lease=bench.lease(bid).id, call="three", units=5)
    bench.do(more)
    again = msgspec.structs.replace(more, call="four", units=1)
    assert bench.refuse(again) is RejectCode.RECEIPT_DUE


def test_a_fill_that_cost_nothing_waits_for_nobody() -> None:
    """Nothing was delivered: it is final as it closes, and the rest is for sale again."""
    bench = a_metered_bench()
    bid = _bought(bench)
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert bench.status(bid) is IntentStatus.SETTLED
    assert bench.meter(alice).waiting == []


# -- what nobody signs for


def test_the_operator_attests_within_the_cap() -> None:
    """After a while, without a signature; what it moved still counts as not signed for."""
    bench = a_metered_bench()
    for _ in range(4):
        _used(bench)
    early = CutMetered(fills_max=9, unsigned_ms=60_000)
    assert bench.refuse(early) is RejectCode.NOTHING_TO_SETTLE
    bench.wait(60)
    batch = bench.cut_metered(unsigned_s=60)
    _settled(bench, batch)
    meter = bench.meter(alice)
    assert (meter.base, meter.uncovered, meter.exposure) == (CAP, CAP, CAP)
    bid = _bought(bench, 1)
    call = StartCall(lease=bench.lease(bid).id, call="one", units=1)
    assert bench.refuse(call) is RejectCode.RECEIPT_DUE
    nothing_waits = bench.receipt(alice)
    assert nothing_waits.fills == 0


def test_what_the_cap_does_not_hold_waits_for_a_signature() -> None:
    """A receipt over more than the cap was refused: the operator moves what fits, and no more."""
    bench = a_metered_bench()
    for _ in range(3):
        _used(bench, 6)
        bench.do(bench.receipt(alice))
    _used(bench, 6)
    bench.do(bench.receipt(alice))
    bench.chain(*_skipped(bench.cut_metered(), bench, 8))
    assert (bench.meter(alice).owed, bench.meter(alice).exposure) == (240, 240)
    bench.wait(60)
    assert [line.payment for line in bench.cut_metered(unsigned_s=60).lines] == [60, 60, 60]
    assert bench.meter(alice).owed == 60


def test_a_receipt_covers_what_was_attested_before() -> None:
    """It is cumulative: once it settles the operator may attest anew."""
    bench = a_metered_bench()
    _used(bench)
    bench.wait(60)
    _settled(bench, bench.cut_metered(unsigned_s=60))
    assert bench.meter(alice).uncovered == 50
    _used(bench)
    bench.do(bench.receipt(alice))
    assert bench.meter(alice).exposure == 0
    _settled(bench, bench.cut_metered())
    assert (bench.meter(alice).uncovered, bench.meter(alice).base) == (0, 100)


# -- what the chain refuses


def test_a_refused_receipt_is_signed_anew() -> None:
    """Its fills wait again, first in line; what was signed on top of it lapses with it."""
    bench = a_metered_bench()
    first = _used(bench)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    _used(bench, 2)
    bench.do(bench.receipt(alice))
    events = bench.chain(*_skipped(batch, bench, 7))
    assert only(events, ReceiptLapsed).spent == 70
    assert only(events, BatchFinal).skipped == 1
    meter = bench.meter(alice)
    assert (meter.waiting[0], meter.owed, meter.exposure) == (bench.lease(first).id, 70, 70)
    bench.do(bench.receipt(alice))
    _settled(bench, bench.cut_metered())
    assert bench.total(bob) == RICH + 70
    nothing_is_left(bench)


def test_a_receipt_outlives_the_epoch_that_its_batch_met() -> None:
    """Ended just before the batch is mined: nothing is unsaid, and the next batch carries it.

    What was signed on top of it rests on a base that did not come, and lapses.
    """
    bench = a_metered_bench()
    bid = _used(bench)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    _used(bench, 2)
    bench.do(bench.receipt(alice))
    skipped = _skipped(batch, bench, BAD_SIGNATURE)
    events = bench.chain(EpochBumped(account=alice.address, epoch=1), *skipped)
    assert only(events, ReceiptLapsed).spent == 70
    counts = ReceiptAccepted(account=alice.address, spent=50, fills=1)
    assert (only(events, ReceiptAccepted), bench.meter(alice).exposure) == (counts, 20)
    again = bench.cut_metered()
    (record,) = bench.market.state.batches[again.number].records
    assert record.receipt is not None
    assert (record.receipt.epoch, record.fills) == (0, 1)
    assert _settled(bench, again) == [bench.lease(bid).id]


@pytest.mark.parametrize(("epoch", "problem"), [(0, 7), (2, 7), (1, 6), (1, 2)])
def test_another_refusal_voids_a_receipt_all_the_same(epoch: int, problem: int) -> None:
    """Its epoch goes on, or is over for good, or it was refused for something else."""
    bench = a_metered_bench()
    _used(bench)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    bench.chain(EpochBumped(account=alice.address, epoch=epoch))
    bench.chain(*_skipped(batch, bench, problem))
    assert (bench.meter(alice).receipt, bench.meter(alice).owed) == (None, 50)


def test_a_claim_voids_a_receipt_that_met_the_end_of_an_epoch() -> None:
    """The base has moved: nobody can settle what rests on the old one."""
    bench = a_metered_bench()
    _used(bench)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    lines = (ReceiptLine(seller=dave.address, amount=33),)
    claimed = ClaimPaid(account=alice.address, spent=33, lines=lines)
    bumped = EpochBumped(account=alice.address, epoch=1)
    bench.chain(bumped, claimed, *_skipped(batch, bench, BAD_SIGNATURE))
    assert (bench.meter(alice).receipt, bench.meter(alice).owed) == (None, 50)


def test_a_refused_attestation_pays_nobody() -> None:
    """The buyer's money is not there: the fill is final, and the seller unpaid."""
    bench = a_metered_bench()
    bid = _used(bench)
    bench.wait(60)
    batch = bench.cut_metered(unsigned_s=60)
    events = bench.chain(*_skipped(batch, bench, 2))
    assert only(events, PaymentSkipped).reason == 2
    assert (bench.status(bid), bench.total(bob)) == (IntentStatus.SETTLED, RICH)
    nothing_is_left(bench)


def test_a_claim_stands_against_an_attestation() -> None:
    """What waits is paid by the claim then, once."""
    bench = a_metered_bench()
    bid = _used(bench)
    bench.wait(60)
    batch = bench.cut_metered(unsigned_s=60)
    bench.chain(*_skipped(batch, bench, CLAIM_PENDING))
    assert bench.lease(bid).status is LeaseStatus.CLOSED
    paid = (ReceiptLine(seller=bob.address, amount=50),)
    bench.chain(ClaimPaid(account=alice.address, spent=50, lines=paid))
    assert (bench.status(bid), bench.total(bob)) == (IntentStatus.SETTLED, RICH + 50)
    nothing_is_left(bench)


def test_a_claim_that_overtakes_a_batch_pays_once() -> None:
    """The batch's record is refused then, and nothing of it waits again."""
    bench = a_metered_bench()
    bids = [_used(bench), _used(bench, 2, seller=carol)]
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    lines = in_order({bob.address: 50, carol.address: 20})
    bench.chain(ClaimPaid(account=alice.address, spent=70, lines=lines))
    assert [bench.status(bid) for bid in bids] == [IntentStatus.SETTLED] * 2
    bench.chain(*_skipped(batch, bench, 7))
    assert (bench.meter(alice).base, bench.meter(alice).waiting) == (70, [])
    assert (bench.total(alice), bench.total(bob)) == (RICH - 70, RICH + 50)
    nothing_is_left(bench)


def test_a_claim_that_was_not_ours_moves_what_the_chain_moved() -> None:
    """A buyer may sign anything to anyone: the book follows the chain, and goes on."""
    bench = a_bench()
    lines = (ReceiptLine(seller=dave.address, amount=33),)
    told = bench.chain(ClaimPaid(account=alice.address, spent=33, lines=lines))
    assert (bench.total(alice), bench.total(dave)) == (RICH - 33, RICH + 33)
    assert only(told, ClaimMoved).payment == 33
    assert bench.meter(alice).base == 33
    bench.metering()
    bid = _used(bench)
    bench.do(bench.receipt(alice))
    _settled(bench, bench.cut_metered())
    assert (bench.status(bid), bench.meter(alice).base) == (IntentStatus.SETTLED, 83)


def test_a_posted_receipt_ends_what_is_promised_of_its_account() -> None:
    """Until it is paid all that the buyer has may leave: nothing more is sold to it meanwhile."""
    bench = a_metered_bench()
    standing = an_intent().units(5).limit(50).signed_by(alice)
    bench.do(standing)
    bench.chain(ReceiptClaimed(account=alice.address))
    assert bench.status(standing) is IntentStatus.CANCELLED
    again = an_intent().units(5).limit(50).signed_by(alice)
    assert bench.refuse(again) is RejectCode.INSUFFICIENT_FUNDS
    bench.do(an_intent().units(5).limit(50).signed_by(carol))
    lines = (ReceiptLine(seller=dave.address, amount=33),)
    bench.chain(ClaimPaid(account=alice.address, spent=33, lines=lines))
    bench.do(again)
    assert bench.market.state.metering.claimed == {}


def test_what_is_leased_goes_on_beside_a_posted_receipt() -> None:
    """It is served and settled: that is sooner than the receipt is paid."""
    bench = a_metered_bench()
    bid = _bought(bench)
    bench.chain(ReceiptClaimed(account=alice.address))
    bench.use(bench.lease(bid), 5)
    assert bench.status(bid) is not IntentStatus.CANCELLED
    bench.do(bench.receipt(alice))
    _settled(bench, bench.cut_metered())
    assert bench.status(bid) is IntentStatus.SETTLED


def test_a_receipt_that_settles_ends_the_posted_one() -> None:
    """The contract forgets a claim then, and the buyer is sold to as before."""
    bench = a_metered_bench()
    _used(bench)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    bench.chain(ReceiptClaimed(account=alice.address))
    again = an_intent().units(5).limit(50).signed_by(alice)
    assert bench.refuse(again) is RejectCode.INSUFFICIENT_FUNDS
    _settled(bench, batch)
    bench.do(again)


def test_a_claim_beyond_the_balance_pays_what_there_is() -> None:
    """A seller gets its share; what it was for is paid with that, and no more is owed for it."""
    bench = a_metered_bench()
    bid = _used(bench)
    lines = (ReceiptLine(seller=bob.address, amount=20),)
    bench.chain(ClaimPaid(account=alice.address, spent=20, lines=lines))
    assert (bench.status(bid), bench.total(bob)) == (IntentStatus.SETTLED, RICH + 20)
    nothing_is_left(bench)


@pytest.mark.parametrize("field", ["root", "number"])
def test_a_batch_that_is_not_ours_stops_the_market(field: str) -> None:
    """Somebody else settles in our name: in doubt, stop and say so (P8)."""
    bench = a_metered_bench()
    _used(bench)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    _, settled = _skipped(batch, bench, 7)
    other = {"root": "0x" + "00" * 32, "number": 5}
    with pytest.raises(Violation, match="chain_settles"):
        bench.chain(msgspec.structs.replace(settled, **{field: other[field]}))


# -- batches are bounded


def test_batches_take_whole_records_within_their_bounds() -> None:
    """In the order of signing; one record at least, and no more than a transaction holds."""
    bench = a_metered_bench()
    for buyer in (dave, alice):
        _used(bench, 2, buyer=buyer)
        _used(bench, 2, buyer=buyer)
    bench.do(bench.receipt(dave))
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered(fills_max=1)
    assert len(batch.lines) == 2
    assert {bench.market.state.leases[line.fill].buyer for line in batch.lines} == {dave.address}
    small = CutMetered(fills_max=9, unsigned_ms=0, gas_max=2_000_000)
    assert bench.refuse(small) is RejectCode.NOTHING_TO_SETTLE
    narrow = CutMetered(fills_max=9, unsigned_ms=0, bytes_max=6_000)
    assert bench.refuse(narrow) is RejectCode.NOTHING_TO_SETTLE
    assert len(bench.cut_metered().lines) == 2
    numbers = [batch.root_number for batch in bench.market.state.batches.values()]
    assert numbers == [0, 1]


# -- random walks


class Walk:
    """A market, the contract's rules beside it, and buyers who sign when they like."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  a test's dice
        self.bench = self.opened().metering(100, CAP)
        self.state = self.bench.market.state
        self.chain = MeteredChain(self.state, CAP)
        self.batches: list[BatchCut] = []
        self.bids: list[SubmitIntent] = []
        for who in (alice, bob, carol, dave):
            self.chain.deposit(who.address, RICH)

    def opened(self) -> Bench:
        """The market that it is a walk in."""
        return a_bench()

    def step(self) -> None:
        """Something happens."""
        trade = (self.buy, self.call, self.call, self.done)
        settle = (self.sign, self.sign, self.cut, self.settle, self.claim, self.execute)
        self.random.choice((*trade, *settle, self.wait))()

    def buy(self) -> None:
        buyer, seller = self.random.choice(
            ((alice, bob), (alice, carol), (dave, bob), (bob, carol))
        )
        units = self.random.randint(1, 6)
        self.bids.append(_bought(self.bench, units, buyer=buyer, seller=seller))

    def call(self) -> None:
        leases = [
            lease
            for bid in self.bids
            for lease in self.bench.leases(bid)
            if lease.status is LeaseStatus.OPEN and lease.remaining
        ]
        if not leases:
            return
        lease = self.random.choice(leases)
        units = self.random.randint(1, lease.remaining)
        call = f"call-{len(self.bench.log)}"
        started = self.bench.attempt(StartCall(lease=lease.id, call=call, units=units))
        if isinstance(started, list):
            self.bench.finish(
                call, self.random.randint(0, units), self.random.choice(list(Outcome))
            )

    def done(self) -> None:
        """A buyer needs no more of the oldest that is still served."""
        for bid in self.bids:
            if any(lease.status is LeaseStatus.OPEN for lease in self.bench.leases(bid)):
                self.bench.do(EndLeases(account=bid.intent.account, intent=bid.digest))
                return

    def sign(self) -> None:
        buyers = (alice, bob, dave)
        owing = [who for who in buyers if self.bench.meter(who).waiting]
        who = self.random.choice(owing or buyers)
        waiting = len(self.bench.meter(who).waiting)
        if waiting > self.bench.meter(who).signed_fills:
            least = self.bench.meter(who).signed_fills + 1
            self.bench.do(self.bench.receipt(who, self.random.randint(least, waiting)))

    def cut(self) -> None:
        result = self.bench.attempt(
            CutMetered(fills_max=self.random.randint(1, 9), unsigned_ms=10_000)
        )
        if isinstance(result, list):
            self.batches.append(only(result, BatchCut))

    def settle(self, refusing: float = 0.2) -> None:
        if self.batches:
            batch = self.batches.pop(0)
            refused = frozenset(
                who.address for who in (alice, bob, dave) if self.random.random() < refusing
            )
            self.bench.chain(*self.chain.settle(batch, refused))
            self.compare()

    def claim(self) -> None:
        """A seller posts the newest receipt that it was shown, under way or not."""
        who = self.random.choice((alice, bob, dave))
        meter = self.bench.meter(who)
        receipt = meter.receipt
        if meter.record is not None and self.random.random() < 0.5:
            receipt = meter.record.receipt
        if receipt is not None:
            self.chain.post_claim(who.address, receipt)

    def execute(self) -> None:
        for account in list(self.chain.claims):
            self.bench.chain(*self.chain.execute_claim(account))
            self.compare()

    def compare(self) -> None:
        """The meters say what the ledger on chain says."""
        for who in (alice, bob, dave):
            meter = self.bench.meter(who)
            assert meter.base == self.chain.spent.get(who.address, 0)
            assert meter.uncovered == self.chain.uncovered.get(who.address, 0)

    def wait(self) -> None:
        self.bench.wait(self.random.randint(5, 30))

    def close(self) -> None:
        """All leases end, all buyers sign, the chain takes all of it."""
        for bid in self.bids:
            self.bench.do(EndLeases(account=bid.intent.account, intent=bid.digest))
        self.execute()
        for _ in range(40):
            while self.batches:
                self.settle(refusing=0)
            for who in (alice, bob, dave):
                if self.bench.receipt(who).fills > self.bench.meter(who).signed_fills:
                    self.bench.do(self.bench.receipt(who))
            self.cut()
        self.bench.wait(3_600)


def _walk(seed: int, steps: int = 150) -> Walk:
    walk = Walk(seed)
    for _ in range(steps):
        walk.step()
    walk.close()
    return walk


def a_metered_log(seed: int) -> list[Command]:
    """The commands of a walk."""
    return _walk(seed, 100).bench.log


def a_walk_of_meters(seed: int) -> None:
    """A walk, and all that has to be so at its end."""
    check_walk(_walk(seed))


def check_walk(walk: Walk) -> None:
    """Nothing is left, everybody has on chain what the book says, and it can be replayed."""
    bench, chain = walk.bench, walk.chain
    nothing_is_left(bench)
    for who in (alice, bob, carol, dave):
        assert bench.total(who) == chain.balances[who.address]
        fills = [lease for lease in walk.state.leases.values() if lease.buyer == who.address]
        fills = [lease for lease in fills if lease.metered]
        paid = [lease.payment for lease in fills if lease.status is LeaseStatus.SETTLED]
        assert chain.spent.get(who.address, 0) == sum(paid), "every fill is paid once"
    again = Market(USDC)
    for command in bench.log:
        again.apply(command)
    assert again.state.hash() == walk.state.hash()
    assert load(dump(walk.state)).hash() == walk.state.hash()


@pytest.mark.parametrize("seed", range(WALKS))
def test_walks_end_with_book_and_chain_alike(seed: int) -> None:
    """Served, signed, refused, claimed, attested at random: each balance is the chain's (P7).

    What is open at the end is final (P9); the same commands give the same state (P6), and so
    does its snapshot.
    """
    a_walk_of_meters(seed)


def test_a_snapshot_in_the_middle_goes_on_alike() -> None:
    """A state that was written and read while receipts, records and leases are open is the same."""
    for seed in range(8):
        walk = Walk(seed)
        for _ in range(60):
            walk.step()
        assert load(dump(walk.state)).hash() == walk.state.hash()
