"""Every event says all of it: who, what, how much, until when. Nothing is told that is not so.

What others know of the market is made of these alone (the feed, the SDK, the audit).
"""

from solver.core.auction import seed_hash
from solver.core.command import (
    CancelDocument,
    EndLeases,
    IssueCredits,
    KeyEnd,
    Limit,
    Mode,
    OpenAuction,
    OpenResource,
    Outcome,
    PoolKey,
    ProposeSolution,
    StartCall,
)
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    BalanceChanged,
    BatchCut,
    BatchFinal,
    BatchLine,
    CallFinished,
    CallStarted,
    ChainApplied,
    Event,
    Filled,
    IntentAccepted,
    IntentEnded,
    IntentStatus,
    KeyPooled,
    KeyRetired,
    LeaseClosed,
    LeaseMoved,
    MandateAccepted,
    MandateEnded,
    OfferAccepted,
    OfferEnded,
    PaymentSettled,
    PaymentSkipped,
    ResourceOpened,
    SessionChanged,
    SolutionAccepted,
    SolutionJudged,
    Won,
)
from solver.core.fact import AllSessionsRevoked, Deposited, WithdrawalRequested, Withdrawn
from solver.core.settling import batch_digest
from solver.core.state import CREDIT
from tests.builder import (
    HOUR_S,
    SEARCH,
    START_S,
    TOKENS,
    USDC,
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
    only,
)
from tests.judging import SEED, solution

MILLION = 10**6
RICH = 10**9
TEN_MINUTES_MS = 600_000


def _balance(account: str, available: int, reason: str, total: int | None = None) -> Event:
    return BalanceChanged(
        account=account,
        asset=USDC,
        available=available,
        total=available if total is None else total,
        reason=reason,
    )


def test_what_is_listed_and_pooled_is_told() -> None:
    """A resource with its mode; a key with its owner, provider and resources, never itself."""
    bench = Bench()
    opened = bench.do(OpenResource(resource=TOKENS, mode=Mode.EPOCH))
    assert opened == [ResourceOpened(resource=TOKENS, mode=Mode.EPOCH)]
    pooled = bench.do(
        PoolKey(
            key=key_of(bob),
            owner=bob.address,
            provider="openai",
            resources=(TOKENS,),
            limits=(Limit(units=1, seconds=1),),
        )
    )
    assert pooled == [
        KeyPooled(key=key_of(bob), owner=bob.address, provider="openai", resources=(TOKENS,))
    ]


def test_money_that_comes_is_told() -> None:
    """A deposit and an issue say what the account then has, and of which asset."""
    bench = Bench()
    assert bench.chain(Deposited(account=alice.address, amount=70)) == [
        _balance(alice.address, 70, "deposited"),
        ChainApplied(number=1, facts=1),
    ]
    assert bench.do(IssueCredits(account=alice.address, amount=5, reason="gift")) == [
        BalanceChanged(account=alice.address, asset=CREDIT, available=5, total=5, reason="gift")
    ]
    assert bench.chain() == [], "a block without facts is not worth telling"


def test_money_that_leaves_is_told() -> None:
    """A request holds what is free; the payment takes it off the total."""
    bench = a_bench()
    asked = bench.chain(WithdrawalRequested(account=alice.address, amount=40))
    assert asked[0] == _balance(alice.address, RICH - 40, "withdrawal requested", RICH)
    paid = bench.chain(Withdrawn(account=alice.address, amount=40))
    assert paid[0] == _balance(alice.address, RICH - 40, "withdrawn")


def test_a_trade_is_told_from_both_sides() -> None:
    """Both documents as they came, and the fill at the maker's price until the lease's end."""
    bench = a_bench()
    ask = an_offer().units(5).limit(50).signed_by(bob)
    assert bench.do(ask) == [
        OfferAccepted(offer=ask.digest, account=bob.address, resource=SEARCH, units=5, limit=50)
    ]
    bid = an_intent().units(4).limit(80).signed_by(alice)
    accepted, filled = bench.do(bid)
    assert accepted == IntentAccepted(
        intent=bid.digest, account=alice.address, resource=SEARCH, units=4, limit=80
    )
    lease = bench.lease(bid)
    assert filled == Filled(
        fill=lease.id,
        execution=lease.execution,
        intent=bid.digest,
        offer=ask.digest,
        buyer=alice.address,
        seller=bob.address,
        resource=SEARCH,
        units=4,
        tick=10 * MILLION,
        until_ms=START_S * 1_000 + TEN_MINUTES_MS,
    )
    assert lease.id.startswith(bid.digest[:50])
    assert len(lease.id) == 66
    assert lease.filled_ms == START_S * 1_000


def test_delivery_and_payment_are_told() -> None:
    """Each call, what the lease cost, the batch line by line, and who was paid by whom."""
    bench = a_bench()
    ask = an_offer().units(5).limit(50).signed_by(bob)
    bid = an_intent().units(4).limit(80).signed_by(alice)
    bench.do(ask)
    bench.do(bid)
    lease = bench.lease(bid)
    bench.wait(7)
    started = bench.do(StartCall(lease=lease.id, call="one", units=2))
    assert started == [
        CallStarted(call="one", lease=lease.id, key=key_of(bob), resource=SEARCH, units=2)
    ]
    assert lease.last_used_ms == bench.now_ms
    assert bench.market.state.calls["one"].started_ms == bench.now_ms
    assert bench.finish("one", 3) == [
        CallFinished(call="one", lease=lease.id, outcome=Outcome.DELIVERED, units=3)
    ]
    (closed,) = bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert closed == LeaseClosed(
        lease=lease.id, intent=bid.digest, units=4, delivered=3, returned=1, payment=30
    )
    line = BatchLine(
        fill=lease.id, intent=bid.digest, offer=ask.digest, units=3, delivered=3, payment=30
    )
    cut = bench.cut()
    assert cut == BatchCut(number=0, digest=batch_digest(0, [line]), lines=(line,))
    assert cut.digest.startswith("0x")
    assert len(cut.digest) == 66
    assert bench.settle(cut) == [
        PaymentSettled(fill=lease.id, buyer=alice.address, seller=bob.address, payment=30),
        IntentEnded(intent=bid.digest, account=alice.address, status=IntentStatus.SETTLED),
        BatchFinal(number=0, paid=30, skipped=0),
        ChainApplied(number=5, facts=2),
    ]


def test_a_refused_line_is_told() -> None:
    """With the contract's reason, and a batch that counts it as skipped."""
    bench = a_bench()
    bench.do(an_offer().limit(10).signed_by(bob))
    bid = an_intent().signed_by(alice)
    bench.do(bid)
    lease = bench.lease(bid)
    bench.use(lease)
    events = bench.settle(bench.cut(), skipping=(lease.id,))
    assert only(events, PaymentSkipped) == PaymentSkipped(
        fill=lease.id, buyer=alice.address, seller=bob.address, reason=10
    )
    assert only(events, BatchFinal) == BatchFinal(number=0, paid=0, skipped=1)


def test_what_ends_is_told() -> None:
    """Documents by their holder's wish, and a key with everything that stood on it."""
    bench = a_bench()
    bid, ask = an_intent().signed_by(alice), an_offer().paid_in(CREDIT).signed_by(bob)
    leave = a_mandate().signed_by(alice)
    bench.do(bid)
    bench.do(ask)
    assert bench.do(leave) == [
        MandateAccepted(mandate=leave.digest, account=alice.address, limit=1_000)
    ]
    assert bench.do(CancelDocument(account=alice.address, digest=bid.digest)) == [
        IntentEnded(intent=bid.digest, account=alice.address, status=IntentStatus.CANCELLED)
    ]
    assert bench.do(CancelDocument(account=alice.address, digest=leave.digest)) == [
        MandateEnded(mandate=leave.digest, account=alice.address, reason="cancelled")
    ]
    taken_back = an_offer().paid_in(CREDIT).signed_by(carol)
    bench.do(taken_back)
    assert bench.do(CancelDocument(account=carol.address, digest=taken_back.digest)) == [
        OfferEnded(offer=taken_back.digest, account=carol.address, reason="cancelled")
    ]
    assert bench.retire(key_of(bob)) == [
        KeyRetired(key=key_of(bob), owner=bob.address, reason=KeyEnd.REVOKED),
        OfferEnded(offer=ask.digest, account=bob.address, reason=f"key {KeyEnd.REVOKED}"),
    ]


def test_time_that_ends_a_document_is_told() -> None:
    """As the reason of each kind of document."""
    bench = a_bench()
    bid, ask = an_intent().signed_by(alice), an_offer().paid_in(CREDIT).signed_by(bob)
    leave = a_mandate().signed_by(alice)
    for one in (bid, ask, leave):
        bench.do(one)
    assert bench.wait(HOUR_S) == [
        IntentEnded(intent=bid.digest, account=alice.address, status=IntentStatus.EXPIRED),
        OfferEnded(offer=ask.digest, account=bob.address, reason="expired"),
        MandateEnded(mandate=leave.digest, account=alice.address, reason="expired"),
    ]


def test_an_offer_that_is_sold_out_is_told() -> None:
    """Once nothing of it can come back."""
    bench = a_bench()
    ask, bid = an_offer().limit(10).signed_by(bob), an_intent().signed_by(alice)
    bench.do(ask)
    bench.do(bid)
    events = bench.use(bench.lease(bid))
    ended = OfferEnded(offer=ask.digest, account=bob.address, reason="filled")
    assert only(events, OfferEnded) == ended


def test_a_lease_that_moves_is_told() -> None:
    """From which to which, and how many units: the fill before it names its new seller."""
    bench = a_bench()
    bench.do(an_offer().units(4).limit(40).signed_by(bob))
    bid = an_intent().units(4).limit(40).signed_by(alice)
    bench.do(bid)
    bench.do(an_offer().units(4).limit(8).signed_by(carol))
    bench.wait(60)
    events = bench.retire(key_of(bob))
    first, second = bench.leases(bid)
    assert only(events, LeaseMoved) == LeaseMoved(lease=first.id, to_lease=second.id, units=4)
    moved = only(events, Filled)
    assert (moved.fill, moved.seller, moved.units) == (second.id, carol.address, 4)
    assert (moved.tick, moved.until_ms) == (10 * MILLION, first.until_ms)
    assert only(events, LeaseClosed) == LeaseClosed(
        lease=first.id, intent=bid.digest, units=0, delivered=0, returned=0, payment=0
    )


def test_sessions_are_told() -> None:
    """A grant, a grant anew, and the end of each of an account's, in order of their names."""
    bench = a_bench().granting(dave, alice).granting(carol, alice)
    state = bench.market.state.accounts[alice.address]
    again = bench.granting(dave, alice, cap=7, seconds=9)
    assert state.sessions[dave.address].cap == 7
    events = again.chain(AllSessionsRevoked(account=alice.address))
    assert every(events, SessionChanged) == [
        SessionChanged(account=alice.address, session=name, live=False)
        for name in sorted((carol.address, dave.address))
    ]


def test_an_auction_is_told() -> None:
    """Its snapshot's hash, each sealed bid, each rank with its score, the winner and its price."""
    bench = Bench().listing(SEARCH, Mode.EPOCH).funded(alice).pooling(bob)
    bid = an_intent().units(3).limit(30).signed_by(alice)
    ask = an_offer().units(3).limit(6).signed_by(bob)
    bench.do(bid)
    bench.do(ask)
    closes_at_ms = bench.now_ms + 1_000
    (opened,) = bench.do(
        OpenAuction(resources=(SEARCH,), asset=USDC, closes_at_ms=closes_at_ms, seed=SEED)
    )
    assert isinstance(opened, AuctionOpened)
    auction = bench.market.state.auctions[opened.auction]
    assert opened == AuctionOpened(
        auction=opened.auction,
        resources=(SEARCH,),
        asset=USDC,
        seed_hash=seed_hash(SEED),
        snapshot=auction.snapshot.digest(),
        closes_at_ms=closes_at_ms,
    )
    (book,) = auction.snapshot.books
    assert (book.resource, auction.snapshot.asset) == (SEARCH, USDC)
    assert auction.snapshot.auction == opened.auction
    assert auction.snapshot.closes_at_ms == closes_at_ms
    assert [one.account for one in book.intents] == [alice.address]
    bids = dict[str, str]()
    for solver, units in (("least", 1), ("most", 3)):
        told = bench.do(
            ProposeSolution(
                auction=opened.auction,
                solver=solver,
                snapshot=opened.snapshot,
                books=solution(5 * MILLION, f"{bid.digest} {ask.digest} {units}").books,
            )
        )
        bids[solver] = auction.proposed[-1].bid
        assert told == [SolutionAccepted(auction=opened.auction, solver=solver, bid=bids[solver])]
    events = bench.wait(1)
    first, second = every(events, SolutionJudged)
    best = 3 * 8 * MILLION
    assert first == SolutionJudged(
        auction=opened.auction, solver="most", bid=bids["most"], rank=1, score=best
    )
    assert second.reason is not None
    assert (second.auction, second.solver, second.rank) == (opened.auction, "least", 2)
    assert second.score == best // 3
    assert only(events, AuctionClosed) == AuctionClosed(
        auction=opened.auction,
        resources=(SEARCH,),
        asset=USDC,
        seed=SEED,
        ticks={SEARCH: 5 * MILLION},
        winners=auction.winners,
        score=best,
        gap=0,
    )
    assert auction.winners == (
        Won(solver="most", bids=(bids["most"],), score=str(best), reference=str(best // 3)),
    )
    assert (auction.score, auction.gap) == (str(best), "0")


def test_an_auction_that_nobody_wins_is_told() -> None:
    """No winner, no price, no score."""
    bench = Bench().listing(SEARCH, Mode.EPOCH).funded(alice).pooling(bob)
    bench.do(an_intent().signed_by(alice))
    bench.do(an_offer().signed_by(bob))
    (opened,) = bench.do(
        OpenAuction(resources=(SEARCH,), asset=USDC, closes_at_ms=bench.now_ms + 1_000, seed=SEED)
    )
    assert isinstance(opened, AuctionOpened)
    assert bench.wait(1) == [
        AuctionClosed(
            auction=opened.auction,
            resources=(SEARCH,),
            asset=USDC,
            seed=SEED,
            ticks={},
            winners=(),
            score=0,
            gap=0,
        )
    ]
