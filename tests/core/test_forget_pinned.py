"""What is over ends once, is forgotten in time, and leaves only what has to be known."""

import pytest

from intents.receipt import ReceiptLine
from intents.reject import RejectCode
from solver.core import state
from solver.core.check import Violation
from solver.core.command import Authority, CancelDocument, EndLeases, Limit
from solver.core.event import IntentEnded, IntentStatus, MandateEnded
from solver.core.fact import ClaimPaid, MeteredSettled, NonceCancelled, RecordSkipped
from solver.core.metered import BAD_SIGNATURE
from solver.core.trade import commit, open_units
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
    dave,
    every,
    key_of,
)
from tests.core.sabotage import pure_only


@pytest.fixture(name="forgetful")
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A market that remembers nothing that is over."""
    monkeypatch.setattr(state, "FINISHED_KEPT_MAX", 0)
    return a_bench()


@pure_only
def test_the_chain_cancels_by_nonce_what_is_remembered(forgetful: Bench) -> None:
    """Whichever documents came and were forgotten since it last named a nonce."""
    bench = forgetful
    account = bench.market.state.account(alice.address)
    for count in (1, 2):
        bids = [an_intent().signed_by(alice) for _ in range(count)]
        for bid in bids:
            bench.do(bid)
        assert [account.document_of(bid.intent.nonce) for bid in bids] == account.documents
        facts = [NonceCancelled(account=alice.address, nonce=bid.intent.nonce) for bid in bids]
        ended = every(bench.chain(*facts), IntentEnded)
        assert [one.intent for one in ended] == [bid.digest for bid in bids]
        assert [account.document_of(bid.intent.nonce) for bid in bids] == [None] * count


@pure_only
def test_a_settled_trade_is_forgotten_with_its_leases(forgetful: Bench) -> None:
    """The intent at once, the offer once its last lease is; both nonces stay used."""
    bench, records = forgetful, forgetful.market.state
    ask = an_offer().units(2).limit(20).window(9, 60).signed_by(bob)
    bids = [an_intent().signed_by(alice) for _ in range(2)]
    bench.do(ask)
    for bid in bids:
        bench.do(bid)
    leases = [bench.lease(bid) for bid in bids]
    assert records.offers[ask.digest].leases_kept == 2
    for lease in leases:
        bench.use(lease)
    first, second = (bench.cut(1) for _ in range(2))
    bench.settle(first)
    assert list(records.intents) == [bids[1].digest]
    assert records.offers[ask.digest].leases_kept == 1
    assert (ask.digest, SEARCH) in records.windows
    bench.settle(second)
    assert (records.intents, records.offers, records.leases) == ({}, {}, {})
    assert records.windows == {}
    assert not records.finished
    for bid in bids:
        assert bench.refuse(bid) is RejectCode.NONCE_USED
    assert bench.refuse(ask) is RejectCode.NONCE_USED
    assert records.accounts[alice.address].documents == []
    assert records.accounts[bob.address].documents == []


@pure_only
def test_a_batch_goes_on_without_what_a_claim_paid(forgetful: Bench) -> None:
    """Its fills may be forgotten by the time that the chain speaks on it."""
    bench, records = forgetful.metering(), forgetful.market.state
    bid = an_intent().signed_by(alice)
    bench.do(an_offer().limit(60).signed_by(bob))
    bench.do(bid)
    bench.use(bench.lease(bid))
    bench.do(bench.receipt(alice))
    batch = bench.cut_metered()
    lines = (ReceiptLine(seller=bob.address, amount=60),)
    bench.chain(ClaimPaid(account=alice.address, spent=60, lines=lines))
    assert records.leases == {}
    bench.chain(
        RecordSkipped(number=0, account=alice.address, problem=BAD_SIGNATURE),
        MeteredSettled(number=0, root=batch.digest, records=()),
    )
    assert (bench.meter(alice).record, bench.meter(alice).waiting) == (None, [])


@pure_only
def test_a_live_offer_outlives_its_leases(forgetful: Bench) -> None:
    """It is forgotten when it ends, if nothing of it is remembered; not before."""
    bench, records = forgetful, forgetful.market.state
    ask, bid = an_offer().units(5).limit(50).signed_by(bob), an_intent().signed_by(alice)
    bench.do(ask)
    bench.do(bid)
    bench.use(bench.lease(bid))
    bench.settle(bench.cut())
    assert bench.is_live(ask)
    assert records.offers[ask.digest].leases_kept == 0
    bench.do(CancelDocument(account=bob.address, digest=ask.digest))
    assert records.offers == {}


@pure_only
def test_an_ended_offer_is_remembered_while_a_lease_is(forgetful: Bench) -> None:
    """What is served still needs what was signed."""
    bench, records = forgetful, forgetful.market.state
    ask, bid = an_offer().units(5).limit(50).signed_by(bob), an_intent().signed_by(alice)
    bench.do(ask)
    bench.do(bid)
    bench.do(CancelDocument(account=bob.address, digest=ask.digest))
    assert list(records.offers) == [ask.digest]
    bench.use(bench.lease(bid))
    bench.settle(bench.cut())
    assert records.offers == {}


@pure_only
def test_a_mandate_is_forgotten_after_its_last_intent(forgetful: Bench) -> None:
    """And its nonce is used all the same."""
    bench, records = forgetful, forgetful.market.state
    leave, unused = a_mandate().signed_by(alice), a_mandate().signed_by(alice)
    bench.do(leave)
    bench.do(unused)
    bench.do(an_offer().limit(10).signed_by(bob))
    bid = an_intent().under(leave, alice)
    bench.do(bid)
    for one in (leave, unused):
        bench.do(CancelDocument(account=alice.address, digest=one.digest))
    assert list(records.mandates) == [leave.digest]
    bench.use(bench.lease(bid))
    bench.settle(bench.cut())
    assert records.mandates == {}
    assert records.accounts[alice.address].documents == []
    for one in (leave, unused):
        assert bench.refuse(one) is RejectCode.NONCE_USED


def test_what_is_over_ends_once() -> None:
    """One event an intent and one a mandate, whatever tries to end them again."""
    bench = a_bench()
    bench.do(an_offer().units(2).limit(20).signed_by(bob))
    leave = a_mandate().nonce(900).signed_by(alice)
    bench.do(leave)
    part = an_intent().units(3).limit(30).immediate().under(leave, alice)
    full = an_intent().nonce(901).signed_by(carol)
    told = bench.do(part)
    bench.do(an_offer().limit(10).signed_by(bob))
    told += bench.do(full)
    assert (bench.intent(part).ended, bench.intent(full).ended) == (IntentStatus.UNFILLED, None)
    for _ in range(2):
        told += bench.chain(
            NonceCancelled(account=alice.address, nonce=900),
            NonceCancelled(account=carol.address, nonce=901),
        )
    assert (bench.intent(part).ended, bench.intent(full).ended) == (IntentStatus.UNFILLED, None)
    for bid in (part, full):
        for lease in bench.leases(bid):
            bench.use(lease)
        told += bench.do(EndLeases(account=bid.intent.account, intent=bid.digest))
    told += bench.settle(bench.cut())
    told += bench.wait(5_000)
    assert len(every(told, MandateEnded)) == 1
    assert [(one.intent, one.status) for one in every(told, IntentEnded)] == [
        (part.digest, IntentStatus.SETTLED),
        (full.digest, IntentStatus.SETTLED),
    ]
    finished = [record.digest for record in bench.market.state.finished]
    assert sorted(finished) == sorted(set(finished))


def test_what_is_not_known_has_nothing_open() -> None:
    """An auction's orders may be over and forgotten when it closes."""
    bench = a_bench()
    bid, ask = an_intent().units(4).signed_by(alice), an_offer().units(3).limit(900).signed_by(bob)
    bench.do(bid)
    bench.do(ask)
    assert open_units(bench.market.state, "0x") == 0
    assert open_units(bench.market.state, bid.digest) == 4
    assert open_units(bench.market.state, ask.digest) == 3


@pytest.mark.parametrize("mandated", [False, True])
def test_no_more_is_released_than_was_committed(*, mandated: bool) -> None:
    """Not an atom, from a session or a mandate: it stops the process."""
    bench = a_bench().granting(dave, alice)
    leave = a_mandate().signed_by(alice)
    bench.do(leave)
    intent = an_intent().limit(70)
    bid = intent.under(leave, alice) if mandated else None
    bid = bid or intent.for_account(alice).signed_by(dave, Authority.SESSION)
    bench.do(bid)
    commit(bench.market.state, bench.intent(bid), -70)
    with pytest.raises(Violation, match="commitment_not_negative"):
        commit(bench.market.state, bench.intent(bid), -1)


def test_a_key_without_limits_has_no_windows() -> None:
    """And whoever has some got them once, for all its resources."""
    bench = a_bench().pooling(dave, limits=(Limit(units=1, seconds=1),))
    records = bench.market.state
    assert list(records.windows) == [(key_of(dave), SEARCH)]
    with pytest.raises(Violation, match="windows_set_once"):
        records.set_limits(key_of(dave), (SEARCH,), (Limit(units=2, seconds=1),))


def test_what_will_do_nothing_is_not_awaited() -> None:
    """What is scheduled counts while its document can still begin or end, in order of time."""
    bench = a_bench()
    bid = an_intent().units(1).not_before(60).signed_by(alice)
    ask, leave = an_offer().not_before(30).signed_by(bob), a_mandate().signed_by(alice)
    bench.do(bid)
    bench.do(ask)
    bench.do(leave)
    records = bench.market.state
    assert [entry[3] for entry in records.awaited()] == [ask.digest, bid.digest, leave.digest]
    for account, command in ((alice, leave), (bob, ask), (alice, bid)):
        before = [entry[3] for entry in records.awaited()]
        bench.do(CancelDocument(account=account.address, digest=command.digest))
        before.remove(command.digest)
        assert [entry[3] for entry in records.awaited()] == before
