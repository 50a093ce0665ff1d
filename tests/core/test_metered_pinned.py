"""Metered settlement to the atom and to the fill: what is attested, batched, claimed and told."""

from typing import Final

import pytest
from tiny_keccak import keccak256

from intents.bound import ADDRESS_ZERO
from intents.leaf import Leaf
from intents.receipt import ReceiptLine
from intents.reject import RejectCode
from solver.core import metered
from solver.core.check import Violation
from solver.core.command import CutMetered, SubmitIntent
from solver.core.event import BatchCut, ClaimMoved
from solver.core.fact import (
    ClaimPaid,
    MeteredSettled,
    PaidRecord,
    ReceiptClaimed,
    RecordSkipped,
)
from solver.core.metered import leaf_of
from tests.builder import (
    SEARCH,
    Bench,
    Person,
    a_bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
)
from tests.core.metered_chain import CLAIM_PENDING
from tests.core.sabotage import pure_only

RICH: Final = 10**9
CAP: Final = 200
LATE: Final = CutMetered(fills_max=9, unsigned_ms=60_000)


def _used(
    bench: Bench, payment: int, *, buyer: Person = alice, seller: Person = bob
) -> SubmitIntent:
    """A unit that was bought for so much, and served."""
    bench.do(an_offer().limit(payment).signed_by(seller))
    bid = an_intent().limit(payment).signed_by(buyer)
    bench.do(bid)
    bench.use(bench.lease(bid))
    return bid


def _settled(bench: Bench, batch: BatchCut, spent: int, paid: int) -> list[ClaimMoved]:
    """The chain pays alice's record of a batch."""
    record = PaidRecord(account=alice.address, spent=spent, paid=paid)
    number = bench.market.state.batches[batch.number].root_number
    told = bench.chain(MeteredSettled(number=number, root=batch.digest, records=(record,)))
    return every(told, ClaimMoved)


def _claim(spent: int, *lines: tuple[Person, int]) -> ClaimPaid:
    said = tuple(ReceiptLine(seller=who.address, amount=amount) for who, amount in lines)
    return ClaimPaid(account=alice.address, spent=spent, lines=said)


# -- what nobody signed for


@pytest.mark.parametrize(("second", "attested"), [(80, True), (81, False)])
def test_what_was_attested_before_is_of_the_same_cap(second: int, *, attested: bool) -> None:
    """All that the operator moves between two receipts is within the cap, to its last atom."""
    bench = a_bench().metering(100, CAP)
    _used(bench, 60)
    _used(bench, 60)
    bench.wait(60)
    _settled(bench, bench.cut_metered(unsigned_s=60), 120, 120)
    bench.metering(100, CAP + 9)
    _used(bench, second)
    bench.metering(100, CAP)
    bench.wait(60)
    if attested:
        assert [line.payment for line in bench.cut_metered(unsigned_s=60).lines] == [80]
    else:
        assert bench.refuse(LATE) is RejectCode.NOTHING_TO_SETTLE
        assert bench.meter(alice).waiting


@pure_only
def test_one_attestation_has_so_many_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a receipt may be for: the others wait for the next one."""
    monkeypatch.setattr(metered, "FILLS_PER_RECEIPT_MAX", 2)
    bench = a_bench().metering(100, CAP)
    for _ in range(3):
        _used(bench, 10)
    bench.wait(60)
    assert len(bench.cut_metered(unsigned_s=60).lines) == 2
    assert len(bench.meter(alice).waiting) == 1


# -- batches


@pytest.mark.parametrize(("fills_max", "buyers"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
def test_a_batch_takes_records_while_they_fit(fills_max: int, buyers: int) -> None:
    """Whole, to the last fill that is asked for, and all of them are counted."""
    bench = a_bench().metering(100, CAP)
    for buyer in (alice, carol, dave):
        for _ in range(2):
            _used(bench, 10, buyer=buyer)
        bench.do(bench.receipt(buyer))
    batch = bench.cut_metered(fills_max=fills_max)
    assert len(batch.lines) == 2 * buyers
    following = bench.attempt(CutMetered(fills_max=9, unsigned_ms=0))
    assert isinstance(following, list) is (buyers < 3)
    assert list(bench.market.state.batches) == list(range(1 + (buyers < 3)))


def test_a_leaf_says_what_was_bought() -> None:
    """As the contract hashes it: without an award, of no auction and of nobody's reward."""
    bench = a_bench().metering(100, CAP)
    bid = _used(bench, 60)
    bench.do(bench.receipt(alice))
    (line,) = bench.cut_metered().lines
    lease = bench.lease(bid)
    assert leaf_of(bench.market.state, line) == Leaf(
        fill=lease.id,
        intent=bid.digest,
        offer=lease.offer,
        buyer=alice.address,
        seller=bob.address,
        resource="0x" + keccak256(SEARCH.encode()).hex(),
        units=1,
        delivered=1,
        payment=60,
        auction=0,
        solver=ADDRESS_ZERO,
        reward=0,
    )


def test_the_chain_pays_what_was_batched() -> None:
    """An atom less or more, and we are not of one mind with it: the market stops."""
    for paid in (59, 61):
        bench = a_bench().metering(100, CAP)
        _used(bench, 60)
        bench.do(bench.receipt(alice))
        batch = bench.cut_metered()
        bench.watched = False
        with pytest.raises(Violation, match="chain_pays_what_was_batched"):
            _settled(bench, batch, paid, paid)


def test_a_batch_counts_what_was_paid() -> None:
    """Its lines, what they came to, and that nothing of it was skipped."""
    bench = a_bench().metering(100, CAP)
    for atoms in (60, 10):
        _used(bench, atoms)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    _settled(bench, batch, 70, 70)
    kept = bench.market.state.batches[batch.number]
    assert (kept.resolved, kept.paid, kept.skipped, kept.final) == (2, 70, 0, True)


def test_the_base_is_what_the_ledger_says() -> None:
    """Where the chain ever took another sum than we know of, the market stops."""
    bench = a_bench().metering(100, CAP)
    _used(bench, 60)
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    with pytest.raises(Violation, match="base_is_the_ledgers"):
        _settled(bench, batch, 61, 60)


def test_what_was_refused_waits_before_what_came_since() -> None:
    """Oldest first, with all that closed meanwhile; and who may sign for it has time again."""
    bench = a_bench().metering(100, CAP)
    first = _used(bench, 60)
    bench.wait(60)
    batch = bench.cut_metered(unsigned_s=60)
    later = [_used(bench, 10) for _ in range(3)]
    bench.wait(59)
    number = bench.market.state.batches[batch.number].root_number
    skipped = RecordSkipped(number=number, account=alice.address, problem=CLAIM_PENDING)
    bench.chain(skipped, MeteredSettled(number=number, root=batch.digest, records=()))
    waiting = [bench.lease(bid).id for bid in (first, *later)]
    assert bench.meter(alice).waiting == waiting
    bench.wait(1)
    assert bench.refuse(LATE) is RejectCode.NOTHING_TO_SETTLE
    bench.wait(59)
    assert len(bench.cut_metered(unsigned_s=60).lines) == 4


def test_an_attestation_ends_no_claim() -> None:
    """Only a receipt that settles does: until then all that the buyer has may leave."""
    bench = a_bench().metering(100, CAP)
    _used(bench, 60)
    bench.wait(60)
    batch = bench.cut_metered(unsigned_s=60)
    bench.chain(ReceiptClaimed(account=alice.address, signer=carol.address))
    _settled(bench, batch, 60, 60)
    assert list(bench.market.state.metering.claimed) == [alice.address]
    assert bench.market.state.metering.claimants == {alice.address: carol.address}


def test_what_is_under_way_is_acknowledged_as_far_as_it_is_signed() -> None:
    """A receipt counts while its batch is; an attestation stays the market's risk."""
    signed, attested = a_bench().metering(100, CAP), a_bench().metering(100, CAP)
    for bench in (signed, attested):
        _used(bench, 60)
    signed.do(signed.receipt(alice))
    signed.cut_metered()
    assert (signed.meter(alice).exposure, signed.meter(alice).acknowledged) == (0, 60)
    attested.wait(60)
    attested.cut_metered(unsigned_s=60)
    assert (attested.meter(alice).exposure, attested.meter(alice).acknowledged) == (60, 0)


# -- claims


def test_a_claim_of_what_is_owed_moves_nothing_else() -> None:
    """All of it is paid by its fills: nothing is told as moved beside them."""
    bench = a_bench().metering(100, CAP)
    _used(bench, 60)
    assert every(bench.chain(_claim(60, (bob, 60))), ClaimMoved) == []
    assert bench.total(bob) == RICH + 60


def test_a_claim_moves_what_is_held_too() -> None:
    """The chain knows no holds of ours: what it moved left, and whose, is told."""
    bench = Bench().listing(SEARCH).funded(alice, usdc=100).metering(100, CAP)
    bench.do(an_intent().limit(80).signed_by(alice))
    (moved,) = every(bench.chain(_claim(60, (dave, 60))), ClaimMoved)
    assert moved == ClaimMoved(buyer=alice.address, seller=dave.address, payment=60)
    assert bench.total(alice) == 40


def test_what_a_claim_paid_is_paid_again_by_an_attestation_under_way() -> None:
    """It moves sums, not fills: the book follows the chain, and settles each fill once."""
    bench = a_bench().metering(100, CAP)
    _used(bench, 60)
    bench.wait(60)
    batch = bench.cut_metered(unsigned_s=60)
    bench.chain(_claim(60, (bob, 60)))
    (moved,) = _settled(bench, batch, 120, 60)
    assert moved == ClaimMoved(buyer=alice.address, seller=bob.address, payment=60)
    assert (bench.total(alice), bench.total(bob)) == (RICH - 120, RICH + 120)


def test_whose_claim_it_was_is_forgotten_with_it() -> None:
    """The key that signed it is charged by the chain for this one alone."""
    bench = a_bench().metering(100, CAP)
    posted = ReceiptClaimed(account=alice.address, signer=carol.address)
    bench.chain(posted)
    assert bench.market.state.metering.claimants == {alice.address: carol.address}
    bench.chain(_claim(33, (dave, 33)))
    assert bench.market.state.metering.claimants == {}
    assert bench.market.state.metering.claimed == {}
