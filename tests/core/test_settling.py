"""Batches, and what the chain says about money, nonces, epochs and sessions."""

import msgspec
import pytest

from intents.bound import SIGNATURE_BYTES_MAX
from intents.reject import RejectCode
from solver.core.check import Violation
from solver.core.command import Authority, CutBatch, EndLeases, StartCall, SubmitIntent
from solver.core.event import BatchCut, BatchFinal, IntentStatus, LeaseStatus, PaymentSkipped
from solver.core.fact import (
    AllSessionsRevoked,
    BatchSettled,
    Deposited,
    EpochBumped,
    Fact,
    FillSettled,
    NonceCancelled,
    SessionRevoked,
    WithdrawalRequested,
    Withdrawn,
)
from solver.core.state import LEASES_PER_EXECUTION_MAX, MAY_SETTLE, Session
from solver.core.weight import (
    AUTHORITY_GAS,
    BYTE_GAS,
    BYTES_FIXED,
    GAS_FIXED,
    INTENT_BYTES,
    INTENT_GAS,
    LINE_BYTES,
    LINE_GAS,
    OFFER_BYTES,
    OFFER_GAS,
    RESOURCE_BYTES,
)
from tests.builder import (
    CREDITS,
    USDC,
    Bench,
    a_bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
    key_of,
    nothing_is_left,
    only,
    person,
)
from tests.core.sabotage import pure_only

RICH = 10**9
SESSION = person("session")


def _delivered(bench: Bench, units: int = 5, *, asset: str = "") -> SubmitIntent:
    """An intent for `units` at 10 atoms each, served whole."""
    offer, intent = an_offer().units(units).limit(units * 10), an_intent().units(units)
    if asset:
        offer, intent = offer.paid_in(asset), intent.paid_in(asset)
    bench.do(offer.signed_by(bob))
    bid = intent.limit(units * 10).signed_by(alice)
    bench.do(bid)
    bench.use(bench.lease(bid), units)
    return bid


def test_payment_waits_for_the_chain() -> None:
    """Delivered, batched, settled: only the last moves money."""
    bench = a_bench()
    bid = _delivered(bench)
    assert (bench.status(bid), bench.total(bob)) == (IntentStatus.DELIVERED, RICH)
    batch = bench.cut()
    (line,) = batch.lines
    assert (line.units, line.delivered, line.payment) == (5, 5, 50)
    assert bench.lease(bid).status is LeaseStatus.BATCHED
    assert bench.total(bob) == RICH
    final = only(bench.settle(batch), BatchFinal)
    assert (final.paid, final.skipped) == (50, 0)
    assert (bench.status(bid), bench.total(alice), bench.total(bob)) == (
        IntentStatus.SETTLED,
        RICH - 50,
        RICH + 50,
    )


def test_a_skipped_line_pays_nobody() -> None:
    """The contract's refusal releases the buyer's money; the intent is final all the same."""
    bench = a_bench()
    bid = _delivered(bench)
    batch = bench.cut()
    events = bench.settle(batch, skipping=(bench.lease(bid).id,))
    assert only(events, PaymentSkipped).reason == 10
    assert (bench.total(alice), bench.available(alice), bench.total(bob)) == (RICH, RICH, RICH)
    assert bench.status(bid) is IntentStatus.SETTLED


def test_credits_settle_at_once() -> None:
    """Credits live in our ledger alone: no chain, no waiting."""
    bench = a_bench()
    bid = _delivered(bench, asset=CREDITS)
    assert bench.status(bid) is IntentStatus.SETTLED
    assert (bench.total(alice, CREDITS), bench.total(bob, CREDITS)) == (RICH - 50, RICH + 50)
    assert bench.refuse(CutBatch(fills_max=9)) is RejectCode.NOTHING_TO_SETTLE


def test_what_costs_nothing_needs_no_chain() -> None:
    """An execution without a payment is final at once."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    bid = an_intent().units(5).limit(50).signed_by(alice)
    bench.do(bid)
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert bench.status(bid) is IntentStatus.SETTLED
    assert bench.available(alice) == RICH


def test_an_execution_settles_whole() -> None:
    """Its fills share a batch, those that cost nothing too: the contract sums them up."""
    bench = a_bench()
    bench.do(an_offer().units(3).limit(30).signed_by(bob))
    bench.do(an_offer().units(3).limit(30).signed_by(carol))
    bid = an_intent().units(6).limit(60).all_or_none().signed_by(alice)
    bench.do(bid)
    first, second = bench.leases(bid)
    bench.use(first, 3)
    assert bench.refuse(CutBatch(fills_max=1)) is RejectCode.NOTHING_TO_SETTLE
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    batch = bench.cut(fills_max=1)
    assert [(line.units, line.payment) for line in batch.lines] == [(3, 30), (3, 0)]
    assert second.status is LeaseStatus.BATCHED


def test_without_a_minimum_only_delivered_units_go_on_chain() -> None:
    """The rest may be sold again, so it must not count there; a line of nothing is left out."""
    bench = a_bench()
    bench.do(an_offer().units(3).limit(30).signed_by(bob))
    bench.do(an_offer().units(3).limit(30).signed_by(carol))
    bid = an_intent().units(6).limit(60).signed_by(alice)
    bench.do(bid)
    first, second = bench.leases(bid)
    bench.use(first, 2)
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert second.status is LeaseStatus.SETTLED
    (line,) = bench.cut().lines
    assert (line.fill, line.units, line.delivered, line.payment) == (first.id, 2, 2, 20)


def test_an_offer_sold_twice_settles_once_for_each_unit() -> None:
    """Units given back and sold again reach the chain's counter once."""
    bench = a_bench()
    offer = an_offer().units(5).limit(50).signed_by(bob)
    bench.do(offer)
    for used in (2, 3):
        bid = an_intent().units(5).limit(50).signed_by(alice)
        bench.do(bid)
        bench.use(bench.lease(bid), used)
        bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert [(line.offer, line.units) for line in bench.cut().lines] == [
        (offer.digest, 2),
        (offer.digest, 3),
    ]
    assert not bench.is_live(offer)


def test_batches_are_cut_oldest_first() -> None:
    """Whole executions, up to the number asked for."""
    bench = a_bench()
    bids = [_delivered(bench) for _ in range(5)]
    cuts = [bench.cut(fills_max=2) for _ in range(3)]
    assert [[line.intent for line in cut.lines] for cut in cuts] == [
        [bid.digest for bid in bids[:2]],
        [bid.digest for bid in bids[2:4]],
        [bids[4].digest],
    ]
    assert [cut.number for cut in cuts] == [0, 1, 2]
    assert len({cut.digest for cut in cuts}) == 3
    for cut in reversed(cuts):
        bench.settle(cut)
    assert bench.total(alice) == RICH - 250


def _sold_by_contracts(bench: Bench, offers: int) -> SubmitIntent:
    """An intent that as many offers of a contract served, each with the longest signature."""
    for _ in range(offers):
        offer = an_offer().units(1).limit(10).signed_by(bob, Authority.CONTRACT)
        bench.do(msgspec.structs.replace(offer, signature="0x" + "ab" * SIGNATURE_BYTES_MAX))
    bid = an_intent().units(offers).limit(offers * 10).signed_by(alice)
    bench.do(bid)
    for lease in bench.leases(bid):
        bench.use(lease)
    return bid


def test_a_batch_stops_before_it_fits_no_transaction() -> None:
    """Long signatures of accounts that burn gas fill a batch long before `fills_max` does."""
    bench = a_bench()
    bids = [_sold_by_contracts(bench, 20) for _ in range(4)]
    cuts = [bench.cut(fills_max=250) for _ in range(2)]
    assert [list(dict.fromkeys(line.intent for line in cut.lines)) for cut in cuts] == [
        [bid.digest for bid in bids[:2]],
        [bid.digest for bid in bids[2:]],
    ]


def test_gas_bounds_a_batch_too() -> None:
    """At a small `gas_max` a batch holds what is sure to fit, and one line at least."""
    bench = a_bench()
    for _ in range(3):
        _delivered(bench)
    for gas_max, lines in ((1, 1), (900_000, 2)):
        cut = only(bench.do(CutBatch(fills_max=9, gas_max=gas_max)), BatchCut)
        assert len(cut.lines) == lines


def test_an_execution_too_heavy_alone_is_divided() -> None:
    """What no transaction holds settles in parts, each line once, and the intent ends."""
    bench = a_bench()
    bid = _sold_by_contracts(bench, 100)
    cuts = [bench.cut(fills_max=250) for _ in range(2)]
    assert bench.refuse(CutBatch(fills_max=250)) is RejectCode.NOTHING_TO_SETTLE
    assert sorted(line.fill for cut in cuts for line in cut.lines) == sorted(
        lease.id for lease in bench.leases(bid)
    )
    for cut in cuts:
        assert bench.status(bid) is IntentStatus.DELIVERED
        bench.settle(cut)
    assert bench.status(bid) is IntentStatus.SETTLED
    assert bench.total(alice) == RICH - 1_000


def test_the_largest_execution_of_plain_keys_fits_alone() -> None:
    """With plain signatures nothing is ever divided: 255 new sellers fit one transaction."""
    bytes_needed = BYTES_FIXED + RESOURCE_BYTES + INTENT_BYTES + 65
    bytes_needed += LEASES_PER_EXECUTION_MAX * (OFFER_BYTES + LINE_BYTES + 65)
    plain = AUTHORITY_GAS[Authority.KEY]
    gas = GAS_FIXED + INTENT_GAS + plain + BYTE_GAS * bytes_needed
    gas += LEASES_PER_EXECUTION_MAX * (OFFER_GAS + LINE_GAS + plain)
    command = CutBatch(fills_max=1)
    assert bytes_needed <= command.bytes_max
    assert gas <= command.gas_max


@pure_only
def test_old_batches_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """I21: a bounded number of final batches is kept."""
    monkeypatch.setattr("solver.core.settling.BATCHES_KEPT_MAX", 2)
    bench = a_bench()
    for _ in range(5):
        _delivered(bench)
        bench.settle(bench.cut())
    assert list(bench.market.state.batches) == [3, 4]


@pytest.mark.parametrize(
    ("lie", "name"),
    [
        ("another payment", "chain_pays_what_was_batched"),
        ("twice", "settled_once"),
        ("an unknown fill", "chain_settles_known_fill"),
        ("an unknown batch", "chain_settles_known_batch"),
        ("another digest", "chain_settles_our_batch"),
        ("half a batch", "batch_fully_resolved"),
        ("not cut yet", "settled_once"),
    ],
)
def test_a_chain_that_contradicts_the_book_stops_the_process(lie: str, name: str) -> None:
    """P8: facts that cannot be true mean that memory is wrong."""
    bench = a_bench()
    bid = _delivered(bench)
    fill = bench.lease(bid).id
    if lie == "not cut yet":
        facts: tuple[Fact, ...] = (FillSettled(fill=fill, payment=50),)
    else:
        batch = bench.cut()
        paid = FillSettled(fill=fill, payment=50)
        lies: dict[str, tuple[Fact, ...]] = {
            "another payment": (FillSettled(fill=fill, payment=49),),
            "twice": (paid, paid),
            "an unknown fill": (FillSettled(fill="0x00", payment=50),),
            "an unknown batch": (BatchSettled(number=9, digest=batch.digest),),
            "another digest": (paid, BatchSettled(number=0, digest="0x00")),
            "half a batch": (BatchSettled(number=0, digest=batch.digest),),
        }
        facts = lies[lie]
    with pytest.raises(Violation) as caught:
        bench.chain(*facts)
    assert caught.value.name == name


# -- withdrawals


def test_a_withdrawal_ends_open_intents_and_holds_what_is_free() -> None:
    """Money that is about to leave is promised to nobody; credits are not touched."""
    bench = a_bench()
    bid = an_intent().limit(100).signed_by(alice)
    other = an_intent().limit(100).paid_in(CREDITS).signed_by(alice)
    bench.do(bid)
    bench.do(other)
    bench.chain(WithdrawalRequested(account=alice.address, amount=RICH - 10))
    assert (bench.status(bid), bench.status(other)) == (IntentStatus.CANCELLED, IntentStatus.OPEN)
    assert bench.available(alice) == 10
    bench.chain(WithdrawalRequested(account=alice.address, amount=0))
    assert bench.available(alice) == RICH


def test_a_withdrawal_pays_out() -> None:
    """What the chain paid has left; a later request starts anew."""
    bench = a_bench()
    bench.chain(WithdrawalRequested(account=alice.address, amount=400))
    bench.chain(Withdrawn(account=alice.address, amount=400))
    assert bench.total(alice) == bench.available(alice) == RICH - 400
    bench.chain(WithdrawalRequested(account=alice.address, amount=2**72 - 1))
    assert bench.available(alice) == 0
    bench.chain(Withdrawn(account=alice.address, amount=RICH - 400))
    assert bench.total(alice) == 0


def test_what_leases_free_later_belongs_to_the_withdrawal() -> None:
    """Asking for all while some is leased leaves nothing to spend when the lease ends.

    Otherwise it could be leased again, and be gone before that settles: served for nothing.
    """
    bench = Bench().listing("tavily/search:call").funded(alice, usdc=100, credit=0).pooling(bob)
    bench.do(an_offer().units(9).limit(90).signed_by(bob))
    bid = an_intent().units(6).limit(60).signed_by(alice)
    bench.do(bid)
    bench.chain(WithdrawalRequested(account=alice.address, amount=100))
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert bench.available(alice) == 60
    again = an_intent().limit(10).signed_by(alice)
    assert bench.refuse(again) is RejectCode.INSUFFICIENT_FUNDS
    bench.chain(Withdrawn(account=alice.address, amount=100))
    bench.chain(Deposited(account=alice.address, amount=10))
    bench.do(again)


def test_a_withdrawal_that_outran_a_batch_is_skipped() -> None:
    """The contract refuses what is not covered; asking to withdraw meanwhile breaks nothing."""
    bench = Bench().listing("tavily/search:call").funded(alice, usdc=50, credit=0).pooling(bob)
    bid = _delivered(bench)
    batch = bench.cut()
    bench.chain(Withdrawn(account=alice.address, amount=50))
    assert bench.available(alice) == -50
    bench.chain(WithdrawalRequested(account=alice.address, amount=1))
    bench.settle(batch, skipping=(bench.lease(bid).id,))
    assert bench.available(alice) == bench.total(alice) == 0


def test_a_chain_that_pays_more_than_it_holds_stops_the_process() -> None:
    """P8: balances here and there would no longer be the same."""
    with pytest.raises(Violation, match="chain_pays_no_more_than_it_has"):
        a_bench().chain(Withdrawn(account=alice.address, amount=RICH + 1))


# -- nonces, epochs, sessions


def test_a_nonce_cancelled_on_chain_ends_its_document() -> None:
    """Of either kind, and only of that account; its lease is still served."""
    bench = a_bench()
    bench.do(an_offer().units(2).limit(20).signed_by(bob))
    bid = an_intent().units(5).limit(50).nonce(70_001).signed_by(alice)
    offer = an_offer().limit(1_000).nonce(70_001).signed_by(bob)
    bench.do(bid)
    bench.do(offer)
    bench.chain(NonceCancelled(account=alice.address, nonce=70_001))
    assert bench.intent(bid).ended is IntentStatus.CANCELLED
    assert bench.is_live(offer)
    bench.use(bench.lease(bid))
    bench.chain(NonceCancelled(account=bob.address, nonce=70_001))
    assert not bench.is_live(offer)


def test_a_new_epoch_ends_everything_of_the_old() -> None:
    """And only the new epoch's documents are taken."""
    bench = a_bench()
    bid, offer = an_intent().limit(1).signed_by(bob), an_offer().limit(1_000).signed_by(bob)
    other = an_intent().limit(1).signed_by(dave)
    for command in (bid, other):
        bench.do(command)
    bench.do(offer)
    bench.chain(EpochBumped(account=bob.address, epoch=1))
    assert (bench.status(bid), bench.is_live(offer)) == (IntentStatus.CANCELLED, False)
    assert bench.status(other) is IntentStatus.OPEN
    bench.do(an_intent().limit(1).epoch(1).signed_by(bob))


def _session(bench: Bench) -> Session:
    return bench.market.state.accounts[alice.address].sessions[SESSION.address]


def _by_session(units: int, price: int = 10) -> SubmitIntent:
    intent = an_intent().for_account(alice).units(units).limit(units * price)
    return intent.signed_by(SESSION, Authority.SESSION)


def test_a_session_commits_releases_and_spends() -> None:
    """The cap counts what may still be owed, and at last what was paid."""
    bench = a_bench().granting(SESSION, alice, cap=150)
    bench.do(an_offer().units(3).limit(24).signed_by(bob))
    bid = _by_session(10)
    bench.do(bid)
    assert (_session(bench).committed, _session(bench).spent) == (24 + 70, 0)
    bench.use(bench.lease(bid), 2)
    bench.chain(NonceCancelled(account=alice.address, nonce=bid.intent.nonce))
    assert _session(bench).committed == 24
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert _session(bench).committed == 16
    bench.settle(bench.cut())
    assert (_session(bench).committed, _session(bench).spent) == (0, 16)
    assert bench.refuse(_by_session(14)) is RejectCode.SESSION_CAP_EXCEEDED
    bench.do(_by_session(13))


def test_a_sessions_cap_counts_credits_too() -> None:
    """Credits have no cap on chain, so the core's is the one bound on what a key spends."""
    bench = a_bench().granting(SESSION, alice, cap=150)
    for asset in (CREDITS, USDC):
        bench.do(an_offer().units(5).limit(50).paid_in(asset).signed_by(bob))
        intent = an_intent().for_account(alice).units(5).limit(50).paid_in(asset)
        bid = intent.signed_by(SESSION, Authority.SESSION)
        bench.do(bid)
        bench.use(bench.lease(bid), 5)
    bench.settle(bench.cut())
    assert (_session(bench).committed, _session(bench).spent) == (0, 100)
    for asset in (CREDITS, USDC):
        more = an_intent().for_account(alice).paid_in(asset)
        late = more.limit(51).signed_by(SESSION, Authority.SESSION)
        assert bench.refuse(late) is RejectCode.SESSION_CAP_EXCEEDED


def test_a_revoked_session_stops_at_once() -> None:
    """Open intents end, leases drain, calls under way still count, others go on."""
    bench = a_bench().granting(SESSION, alice)
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    bid, own = _by_session(8), an_intent().limit(1).signed_by(alice)
    bench.do(bid)
    bench.do(own)
    lease = bench.lease(bid)
    call = bench.start(lease)
    bench.chain(SessionRevoked(account=alice.address, session=SESSION.address))
    assert bench.intent(bid).ended is IntentStatus.CANCELLED
    assert bench.status(own) is IntentStatus.OPEN
    late = StartCall(lease=lease.id, call="late", units=1)
    assert bench.refuse(late) is RejectCode.LEASE_ENDED
    assert bench.chain(SessionRevoked(account=alice.address, session=SESSION.address))
    bench.finish(call)
    assert lease.status is LeaseStatus.CLOSED
    bench.closing()
    nothing_is_left(bench)


def test_revoking_all_revokes_each() -> None:
    """One fact for every session of the account; another's stay."""
    bench = a_bench().granting(SESSION, alice).granting(SESSION, bob).granting(carol, alice)
    bench.chain(AllSessionsRevoked(account=alice.address))
    accounts = bench.market.state.accounts
    assert [s.live for s in accounts[alice.address].sessions.values()] == [False, False]
    assert [s.live for s in accounts[bob.address].sessions.values()] == [True]


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"cap": 49}, True),
        ({"cap": 50}, False),
        ({"seconds": 3_599}, True),
        ({"seconds": 7_200}, False),
        ({"permissions": MAY_SETTLE}, True),
        ({"cap": RICH * 2}, False),
    ],
)
def test_lesser_terms_end_what_was_signed_under_better(
    change: dict[str, int], *, ends: bool
) -> None:
    """The contract judges by the new terms: nothing is served that it would refuse."""
    bench = a_bench().granting(SESSION, alice)
    bid = _by_session(5)
    bench.do(bid)
    bench.granting(SESSION, alice, **change)
    assert (bench.status(bid) is IntentStatus.CANCELLED) == ends


def test_a_session_granted_again_keeps_what_it_spent() -> None:
    """As the contract does: revoking and granting is no new cap."""
    bench = a_bench().granting(SESSION, alice, cap=100)
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    bid = _by_session(5)
    bench.do(bid)
    bench.use(bench.lease(bid), 5)
    bench.settle(bench.cut())
    bench.chain(SessionRevoked(account=alice.address, session=SESSION.address))
    bench.granting(SESSION, alice, cap=100)
    assert _session(bench).spent == 50
    assert bench.refuse(_by_session(6)) is RejectCode.SESSION_CAP_EXCEEDED
    bench.do(_by_session(5))


def test_a_sellers_session_offers() -> None:
    """An offer signed by a session key ends with it, and is sold until then."""
    bench = a_bench().granting(SESSION, bob)
    offer = an_offer().for_account(bob).from_key(key_of(bob))
    signed = offer.units(5).limit(50).signed_by(SESSION, Authority.SESSION)
    bench.do(signed)
    bid = an_intent().units(2).limit(40).signed_by(alice)
    bench.do(bid)
    bench.chain(SessionRevoked(account=bob.address, session=SESSION.address))
    assert not bench.is_live(signed)
    assert every(bench.wait(0), BatchFinal) == []


def test_contract_accounts_need_no_named_signer() -> None:
    """What an account contract confirmed (EIP-1271) is taken on the edge's word."""
    bench = a_bench()
    bid = an_intent().for_account(alice).signed_by(SESSION, Authority.CONTRACT)
    bench.do(bid)
    assert bench.status(bid) is IntentStatus.OPEN
