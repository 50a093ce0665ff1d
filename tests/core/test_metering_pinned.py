"""Receipts to the atom: what is told of them, what one may be for, and when the next is due."""

from typing import Final

import pytest

from solver.core import metering
from solver.core.command import CutMetered, SetMetering, StartCall, SubmitIntent
from solver.core.event import MeteringSet, ReceiptAccepted, ReceiptLapsed
from solver.core.fact import ClaimPaid, MeteredSettled, PaidRecord, SessionRevoked
from solver.core.metering import statement
from tests.builder import (
    Bench,
    Person,
    a_bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    only,
)
from tests.core.sabotage import pure_only

CAP: Final = 200


def _bench() -> Bench:
    return a_bench().metering(100, CAP)


def _bought(bench: Bench, units: int = 1, *, seller: Person = bob) -> SubmitIntent:
    """Units that were bought for ten atoms each."""
    bench.do(an_offer().units(units).limit(10 * units).signed_by(seller))
    bid = an_intent().units(units).limit(10 * units).signed_by(alice)
    bench.do(bid)
    return bid


def _used(bench: Bench, *, seller: Person = bob) -> None:
    """A unit that was bought for ten atoms, and served."""
    bench.use(bench.lease(_bought(bench, seller=seller)))


@pytest.mark.parametrize("unsettled_max", [0, 7])
def test_a_rule_is_told_as_it_is_set(unsettled_max: int) -> None:
    """Also one that trusts nobody who can take a word back."""
    rule = SetMetering(payment_max=3, uncovered_max=5, unsettled_max=unsettled_max)
    bench = Bench()
    said = MeteringSet(payment_max=3, uncovered_max=5, unsettled_max=unsettled_max)
    assert only(bench.do(rule), MeteringSet) == said


def test_receipts_are_told_with_whose_they_are() -> None:
    """When one is taken, and when it counts no more."""
    bench = _bench()
    _used(bench)
    told = bench.do(bench.receipt(alice))
    assert only(told, ReceiptAccepted) == ReceiptAccepted(account=alice.address, spent=10, fills=1)
    lapsing = bench.chain(ClaimPaid(account=alice.address, spent=5, lines=()))
    assert only(lapsing, ReceiptLapsed) == ReceiptLapsed(account=alice.address, spent=10)


def test_one_lease_is_served_up_to_the_cap() -> None:
    """Call by call: what was served of it counts once, and the last unit fits."""
    bench = a_bench().metering(100, 100)
    bid = _bought(bench, 10)
    for _ in range(10):
        bench.use(bench.lease(bid))
    assert bench.meter(alice).exposure == 100
    more = _bought(bench)
    refused = bench.refuse(StartCall(lease=bench.lease(more).id, call="more", units=1))
    assert refused == "receipt_due"


@pure_only
def test_a_receipt_has_a_line_for_each_payee(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many fills of one seller are one line: only another payee can be one too many."""
    monkeypatch.setattr(metering, "LINES_MAX", 2)
    bench = _bench()
    for seller in (bob, carol, bob, carol, bob):
        _used(bench, seller=seller)
    assert statement(bench.market.state, bench.meter(alice)).fills == 5
    bench.pooling(dave)
    _used(bench, seller=dave)
    _used(bench)
    said = statement(bench.market.state, bench.meter(alice))
    assert (said.fills, said.spent, len(said.lines)) == (5, 50, 2)


def test_the_end_of_another_key_voids_no_receipt() -> None:
    """What the account signed itself stands, whichever session it ends."""
    bench = _bench().granting(dave, alice)
    _used(bench)
    bench.do(bench.receipt(alice))
    bench.chain(SessionRevoked(account=alice.address, session=dave.address))
    assert bench.meter(alice).receipt is not None
    assert list(bench.market.state.metering.signed) == [alice.address]


def test_who_signs_has_its_time_again_for_the_rest() -> None:
    """What it did not sign for waits from that moment on, and not since the first that waited."""
    bench = _bench()
    _used(bench)
    bench.wait(59)
    _used(bench)
    bench.do(bench.receipt(alice, 1))
    batch = bench.cut_metered()
    paid = PaidRecord(account=alice.address, spent=10, paid=10)
    bench.chain(MeteredSettled(number=0, root=batch.digest, records=(paid,)))
    bench.wait(59)
    late = CutMetered(fills_max=9, unsigned_ms=60_000)
    assert bench.refuse(late) == "nothing_to_settle"
    bench.wait(1)
    assert len(bench.cut_metered(unsigned_s=60).lines) == 1
