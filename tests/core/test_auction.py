"""Auctions: who wins, why everyone else does not, and what is then carried out."""

from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import RejectCode
from solver.core.auction import Auction, Proposed, Ranked, Snapshot, SnapshotOrder, Solution, judge
from solver.core.book import MATCHES_MAX
from solver.core.command import CancelDocument, Mode, OpenAuction, ProposeSolution, SolutionFill
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    Filled,
    IntentStatus,
    SolutionJudged,
)
from tests.builder import (
    SEARCH,
    USDC,
    Bench,
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
from tests.core.sabotage import pure_only

# -- judging, by itself


def _order(name: str, account: str, tick: int, units: int, minimum: int = 1) -> SnapshotOrder:
    return SnapshotOrder(id=name, account=account, tick=tick, units=units, minimum=minimum)


SNAPSHOT: Final = Snapshot(
    auction=1,
    resource=SEARCH,
    asset=USDC,
    closes_at_ms=1,
    intents=(_order("i1", "alice", 10, 5), _order("i2", "carol", 8, 6, minimum=4)),
    offers=(_order("o1", "bob", 3, 4), _order("o2", "dave", 6, 6), _order("o3", "alice", 1, 9)),
)
OPEN: Final = {order.id: order.units for order in (*SNAPSHOT.intents, *SNAPSHOT.offers)}


def _fills(text: str) -> tuple[SolutionFill, ...]:
    """Fills from text such as i1 o1 3, i2 o2 4."""
    parts = [part.split() for part in text.split(",") if part.strip()]
    return tuple(SolutionFill(intent=i, offer=o, units=int(units)) for i, o, units in parts)


def _judged(*solutions: tuple[int, str], live: dict[str, int] = OPEN) -> list[Ranked]:
    proposed = [
        Proposed(solver=f"s{seq}", seq=seq, solution=Solution(tick=tick, fills=_fills(text)))
        for seq, (tick, text) in enumerate(solutions)
    ]
    auction = Auction(snapshot=SNAPSHOT, snapshot_digest="", proposed=proposed)
    return judge(auction, lambda order: live.get(order, 0))


@pytest.mark.parametrize(
    ("tick", "text", "code"),
    [
        (7, "", RejectCode.SOLUTION_EMPTY),
        (7, "i1 o1 1, i1 o1 1", RejectCode.FILL_DUPLICATE),
        (7, "i9 o1 1", RejectCode.FILL_UNKNOWN_INTENT),
        (7, "o1 i1 1", RejectCode.FILL_UNKNOWN_INTENT),
        (7, "i1 o9 1", RejectCode.FILL_UNKNOWN_OFFER),
        (7, "i1 i2 1", RejectCode.FILL_UNKNOWN_OFFER),
        (7, "i1 o1 0", RejectCode.FILL_UNITS_INVALID),
        (7, "i1 o1 -1", RejectCode.FILL_UNITS_INVALID),
        (7, "i1 o3 1", RejectCode.FILL_SELF_MATCH),
        (11, "i1 o1 1", RejectCode.FILL_PRICE_OUTSIDE_LIMITS),
        (2, "i1 o1 1", RejectCode.FILL_PRICE_OUTSIDE_LIMITS),
        (9, "i1 o1 1, i2 o2 4", RejectCode.FILL_PRICE_OUTSIDE_LIMITS),
        (5, "i1 o1 1, i1 o2 1", RejectCode.FILL_PRICE_OUTSIDE_LIMITS),
        (7, "i1 o2 6", RejectCode.FILL_OVERFILL),
        (7, "i1 o1 3, i1 o2 3", RejectCode.FILL_OVERFILL),
        (7, "i1 o1 5", RejectCode.FILL_OVERFILL),
        (7, "i2 o2 3", RejectCode.FILL_BELOW_MINIMUM),
        (7, f"i1 o1 {2**256 - 1}", RejectCode.FILL_OVERFILL),
    ],
)
def test_each_fault_has_its_code(tick: int, text: str, code: RejectCode) -> None:
    """A wrong solution gets one exact reason, scores nothing and never wins."""
    wrong, honest = (tick, text), (8, "i1 o1 1")
    first, second = _judged(wrong, honest)
    assert (first.proposed.solver, first.reason, first.score) == ("s1", None, 7)
    assert second.reason is not None
    assert (second.proposed.solver, second.reason.code, second.score) == ("s0", code, 0)


@pytest.mark.parametrize(
    ("text", "live", "left"),
    [
        ("i1 o1 1, i2 o2 4", {"i1": 0}, "i2 o2 4"),
        ("i1 o1 1, i2 o2 4", {"o1": 0}, "i2 o2 4"),
        ("i1 o1 1, i2 o2 4", {"i2": 0}, "i1 o1 1"),
        ("i1 o1 3", {"i1": 2}, "i1 o1 2"),
        ("i1 o1 3", {"o1": 2}, "i1 o1 2"),
        ("i1 o1 2, i1 o2 3", {"i1": 4}, "i1 o1 2, i1 o2 2"),
        ("i2 o1 2, i1 o1 2, i2 o2 2", {"o2": 1}, "i1 o1 2"),
        ("i2 o1 3, i1 o1 1, i2 o2 3", {"o1": 3}, "i2 o1 3, i2 o2 3"),
        ("i2 o2 4, i1 o2 2", {"o2": 3}, "i1 o2 2"),
        ("i2 o2 4, i1 o1 1", {"i2": 3, "i1": 0}, "i2 o2 3"),
        ("i1 o1 3", {"o1": 99, "i1": 99}, "i1 o1 3"),
    ],
)
def test_what_ended_meanwhile_is_left_out(text: str, live: dict[str, int], left: str) -> None:
    """The rest counts and is scored; an intent below its minimum is left out whole."""
    (ranked,) = _judged((7, text), live=OPEN | live)
    assert (ranked.reason, ranked.solution.fills) == (None, _fills(left))
    ticks = {order.id: order.tick for order in (*SNAPSHOT.intents, *SNAPSHOT.offers)}
    assert ranked.score == sum(f.units * (ticks[f.intent] - ticks[f.offer]) for f in _fills(left))


@pytest.mark.parametrize(
    ("text", "live", "code"),
    [
        ("i1 o1 3", {"i1": 0}, RejectCode.FILL_UNKNOWN_INTENT),
        ("i1 o1 3", {"o1": 0}, RejectCode.FILL_UNKNOWN_OFFER),
        ("i2 o1 3, i2 o2 1", {"o2": 0}, RejectCode.FILL_UNKNOWN_OFFER),
        ("i2 o2 4", {"o2": 3}, RejectCode.FILL_BELOW_MINIMUM),
        ("i1 o1 5", {"o1": 0}, RejectCode.FILL_OVERFILL),
        ("i2 o2 3", {"i2": 0}, RejectCode.FILL_BELOW_MINIMUM),
    ],
)
def test_a_solution_of_which_nothing_is_left_hears_why(
    text: str, live: dict[str, int], code: RejectCode
) -> None:
    """What ended first; a solution that was wrong from the start is told that instead."""
    (ranked,) = _judged((7, text), live=OPEN | live)
    assert ranked.reason is not None
    assert (ranked.reason.code, ranked.score) == (code, 0)


def test_the_rank_is_of_what_is_left() -> None:
    """An order that its owner takes back late lends its surplus to nobody."""
    bold, plain = (7, "i1 o1 4, i2 o2 4"), (7, "i1 o1 3, i2 o2 4")
    ranking = _judged(bold, plain, live=OPEN | {"o1": 0})
    assert [ranked.proposed.solver for ranked in ranking] == ["s0", "s1"]
    assert [ranked.score for ranked in ranking] == [4 * 2, 4 * 2]


amounts = st.lists(st.integers(0, 5), min_size=4, max_size=4)
PAIRS: Final = (("i1", "o1"), ("i1", "o2"), ("i2", "o1"), ("i2", "o2"))


@given(
    units=amounts,
    order=st.permutations(range(4)),
    live=st.fixed_dictionaries({order: st.integers(0, most + 2) for order, most in OPEN.items()}),
)
def test_nothing_is_left_in_that_could_not_be_filled(
    units: list[int], order: list[int], live: dict[str, int]
) -> None:
    """What is left is part of what was proposed, live, within every bound, and what it scores."""
    fills = [f"{PAIRS[at][0]} {PAIRS[at][1]} {units[at]}" for at in order if units[at]]
    whole = (7, ", ".join(fills))
    (before,), (ranked,) = _judged(whole), _judged(whole, live=live)
    if before.reason is not None:
        assert ranked.reason == before.reason
        return
    proposed = {(fill.intent, fill.offer): fill.units for fill in _fills(whole[1])}
    left = {(fill.intent, fill.offer): fill.units for fill in ranked.solution.fills}
    assert (ranked.reason is None) == bool(left)
    assert all(0 < n <= proposed[pair] for pair, n in left.items())
    for place, sides in ((0, SNAPSHOT.intents), (1, SNAPSHOT.offers)):
        for one in sides:
            total = sum(n for pair, n in left.items() if pair[place] == one.id)
            assert total <= min(one.units, live[one.id])
            assert place or not total or total >= min(one.minimum, live[one.id])
    ticks = {one.id: one.tick for one in (*SNAPSHOT.intents, *SNAPSHOT.offers)}
    assert ranked.score == sum(n * (ticks[i] - ticks[o]) for (i, o), n in left.items())
    if all(live[name] >= most for name, most in OPEN.items()):
        assert ranked.solution == ranked.proposed.solution


def test_an_execution_has_a_bounded_number_of_fills() -> None:
    """More fills of one intent than the contract settles at once are refused."""
    offers = tuple(_order(f"o{n}", f"seller-{n}", 1, 1) for n in range(MATCHES_MAX + 1))
    snapshot = Snapshot(
        auction=1, resource=SEARCH, asset=USDC, closes_at_ms=1,
        intents=(_order("i", "alice", 9, 1_000),), offers=offers,
    )  # fmt: skip
    for count, code in ((MATCHES_MAX, None), (MATCHES_MAX + 1, RejectCode.SOLUTION_LIMIT)):
        fills = tuple(SolutionFill(intent="i", offer=o.id, units=1) for o in offers[:count])
        proposed = [Proposed(solver="s", seq=1, solution=Solution(tick=5, fills=fills))]
        auction = Auction(snapshot=snapshot, snapshot_digest="", proposed=proposed)
        (ranked,) = judge(auction, lambda _: 1_000)
        assert (ranked.reason.code if ranked.reason else None) is code


def test_the_score_is_surplus_whatever_the_price() -> None:
    """Units x (bid - ask), summed; where the price lies between them does not matter."""
    for tick in (6, 7, 8):
        (ranked,) = _judged((tick, "i1 o1 4, i1 o2 1, i2 o2 4"))
        assert ranked.score == 4 * 7 + 1 * 4 + 4 * 2


def test_the_highest_score_wins_and_ties_go_to_the_first() -> None:
    """Rank by score, then by arrival; every loser hears by what it lost."""
    ranking = _judged((7, "i1 o1 1"), (7, "i1 o1 4"), (8, "i1 o1 4"), (7, ""))
    assert [ranked.proposed.solver for ranked in ranking] == ["s1", "s2", "s0", "s3"]
    codes = [ranked.reason.code if ranked.reason else None for ranked in ranking]
    outbid = RejectCode.OUTBID
    assert codes == [None, outbid, outbid, RejectCode.SOLUTION_EMPTY]


def test_a_worthless_solution_may_still_win() -> None:
    """At no surplus the trade still happens; losing less than nothing is impossible."""
    snapshot = Snapshot(
        auction=1, resource=SEARCH, asset=USDC, closes_at_ms=1,
        intents=(_order("i", "alice", 5, 1),), offers=(_order("o", "bob", 5, 1),),
    )  # fmt: skip
    proposed = [Proposed(solver="s", seq=1, solution=Solution(tick=5, fills=_fills("i o 1")))]
    auction = Auction(snapshot=snapshot, snapshot_digest="", proposed=proposed)
    (ranked,) = judge(auction, lambda _: 1)
    assert (ranked.reason, ranked.score) == (None, 0)


def _worth(snapshot: Snapshot, tick: int, table: dict[tuple[str, str], int]) -> int | None:
    """A solution's surplus, or None if any rule is broken: written apart from `judge`."""
    if not any(table.values()):
        return None
    for orders, side in ((snapshot.intents, 0), (snapshot.offers, 1)):
        for order in orders:
            units = sum(n for pair, n in table.items() if pair[side] == order.id)
            if units > order.units or (side == 0 and 0 < units < order.minimum):
                return None
    worth = 0
    for bid, ask in product(snapshot.intents, snapshot.offers):
        units = table.get((bid.id, ask.id), 0)
        if units and (bid.account == ask.account or not ask.tick <= tick <= bid.tick):
            return None
        worth += units * (bid.tick - ask.tick)
    return worth


orders = st.lists(
    st.tuples(st.sampled_from(("alice", "bob", "carol")), st.integers(1, 5), st.integers(1, 3)),
    min_size=1,
    max_size=2,
)


@given(bids=orders, asks=orders, minimum=st.integers(1, 3))
def test_the_judge_finds_the_best_of_all_solutions(
    bids: list[tuple[str, int, int]], asks: list[tuple[str, int, int]], minimum: int
) -> None:
    """Every possible solution of a tiny book is proposed: the winner is the brute-force best."""
    snapshot = Snapshot(
        auction=1,
        resource=SEARCH,
        asset=USDC,
        closes_at_ms=1,
        intents=tuple(
            _order(f"i{n}", account, tick, units, min(minimum, units))
            for n, (account, tick, units) in enumerate(bids)
        ),
        offers=tuple(
            _order(f"o{n}", account, tick, units) for n, (account, tick, units) in enumerate(asks)
        ),
    )
    pairs = [(i.id, o.id) for i, o in product(snapshot.intents, snapshot.offers)]
    best = -1
    proposed: list[Proposed] = []
    for tick in range(1, 6):
        for amounts in product(range(3), repeat=len(pairs)):
            table = dict(zip(pairs, amounts, strict=True))
            worth = _worth(snapshot, tick, table)
            best = max(best, -1 if worth is None else worth)
            fills = tuple(
                SolutionFill(intent=i, offer=o, units=n) for (i, o), n in table.items() if n
            )
            solution = Solution(tick=tick, fills=fills)
            proposed.append(Proposed(solver="s", seq=len(proposed), solution=solution))
    open_units = {order.id: order.units for order in (*snapshot.intents, *snapshot.offers)}
    auction = Auction(snapshot=snapshot, snapshot_digest="", proposed=proposed)
    winner = judge(auction, open_units.__getitem__)[0]
    assert (winner.score if winner.reason is None else -1) == best


# -- in the market


def _an_epoch_bench() -> Bench:
    return Bench().listing(SEARCH, Mode.EPOCH).funded(alice, bob, carol, dave).pooling(bob, carol)


def _open(bench: Bench, seconds: int = 10) -> AuctionOpened:
    closes_at_ms = bench.now_ms + seconds * 1_000
    events = bench.do(OpenAuction(resource=SEARCH, asset=USDC, closes_at_ms=closes_at_ms))
    return only(events, AuctionOpened)


def _propose(bench: Bench, opened: AuctionOpened, tick: int, *fills: tuple[str, str, int]) -> None:
    bench.do(
        ProposeSolution(
            auction=opened.auction,
            solver="solver",
            snapshot=opened.snapshot,
            tick=tick,
            fills=tuple(SolutionFill(intent=i, offer=o, units=n) for i, o, n in fills),
        )
    )


def test_an_epoch_clears_at_one_price() -> None:
    """I7: nothing trades before the close; then every fill executes at the winner's price."""
    bench = _an_epoch_bench()
    rich, poor = an_intent().units(5).limit(500), an_intent().units(5).limit(300)
    bids = [rich.signed_by(alice), poor.signed_by(dave)]
    asks = [
        an_offer().units(6).limit(60).signed_by(bob),
        an_offer().units(4).limit(80).signed_by(carol),
    ]
    for bid in bids:
        bench.do(bid)
    for ask in asks:
        assert every(bench.do(ask), Filled) == []
    opened = _open(bench)
    i, o = [bid.digest for bid in bids], [ask.digest for ask in asks]
    _propose(bench, opened, 40 * 10**6, (i[0], o[0], 5), (i[1], o[0], 1), (i[1], o[1], 4))
    events = bench.wait(10)
    assert {(fill.units, fill.tick) for fill in every(events, Filled)} == {
        (5, 40 * 10**6),
        (1, 40 * 10**6),
        (4, 40 * 10**6),
    }
    assert only(events, AuctionClosed).score == (5 * 90 + 1 * 50 + 4 * 40) * 10**6
    assert list(bench.market.state.book(SEARCH, USDC).asks()) == []
    assert bench.available(alice) == 10**9 - 5 * 40


def test_a_snapshot_is_in_price_time_order() -> None:
    """Bids with a minimum stand among the others, by price and then by time."""
    bench = _an_epoch_bench()
    bids = [
        an_intent().units(5).limit(100).signed_by(alice),
        an_intent().units(5).limit(500).all_or_none().signed_by(alice),
        an_intent().units(5).limit(100).at_least(2).signed_by(dave),
        an_intent().units(5).limit(200).signed_by(dave),
    ]
    for bid in bids:
        bench.do(bid)
    bench.do(an_offer().signed_by(bob))
    opened = _open(bench)
    snapshot = bench.market.state.auctions[opened.auction].snapshot
    expected = [bids[place].digest for place in (1, 3, 0, 2)]
    assert [order.id for order in snapshot.intents] == expected
    assert snapshot.digest() == opened.snapshot


def test_a_waiting_bid_is_filled_and_its_rest_ends() -> None:
    """A minimum counts per execution: what is left below it ends, unfilled."""
    bench = _an_epoch_bench()
    bid = an_intent().units(5).limit(500).at_least(3).signed_by(alice)
    ask = an_offer().units(4).limit(40).signed_by(bob)
    bench.do(bid)
    bench.do(ask)
    _propose(bench, _open(bench), 50 * 10**6, (bid.digest, ask.digest, 4))
    bench.wait(10)
    assert bench.lease(bid).units == 4
    assert bench.intent(bid).ended is IntentStatus.UNFILLED
    assert bench.available(alice) == 10**9 - 4 * 50


def test_a_cancelled_order_voids_its_own_fills_alone() -> None:
    """One who cancels late costs nobody else a trade, and is not filled."""
    bench = _an_epoch_bench()
    bids = [an_intent().units(5).limit(500).signed_by(who) for who in (alice, dave)]
    ask = an_offer().units(9).limit(90).signed_by(bob)
    for bid in bids:
        bench.do(bid)
    bench.do(ask)
    opened = _open(bench)
    pairs = [(bid.digest, ask.digest, units) for bid, units in zip(bids, (5, 4), strict=True)]
    _propose(bench, opened, 50 * 10**6, *pairs)
    bench.do(CancelDocument(account=alice.address, digest=bids[0].digest))
    events = bench.wait(10)
    assert (only(events, Filled).intent, only(events, Filled).units) == (bids[1].digest, 4)
    assert only(events, SolutionJudged).score == only(events, AuctionClosed).score == 360 * 10**6
    assert bench.status(bids[0]) is IntentStatus.CANCELLED


def test_an_offer_that_shrank_is_filled_as_far_as_it_goes() -> None:
    """A lease that lost its key moved on to it before the close."""
    bench = _an_epoch_bench()
    lost = an_offer().units(3).limit(30).signed_by(carol)
    first = an_intent().units(3).limit(300).signed_by(dave)
    bench.do(lost)
    bench.do(first)
    _propose(bench, _open(bench), 50 * 10**6, (first.digest, lost.digest, 3))
    bench.wait(10)
    ask, bid = an_offer().units(5).limit(50), an_intent().units(5).limit(500).signed_by(alice)
    asked = ask.signed_by(bob)
    bench.do(asked)
    bench.do(bid)
    _propose(bench, _open(bench), 60 * 10**6, (bid.digest, asked.digest, 5))
    bench.retire(key_of(carol))
    assert only(bench.wait(10), Filled).units == 2


def test_a_solution_of_cancelled_orders_alone_is_void() -> None:
    """Nothing that ended is filled, and its solver hears why."""
    bench = _an_epoch_bench()
    bid = an_intent().units(5).limit(500).signed_by(alice)
    ask = an_offer().units(5).limit(50).signed_by(bob)
    bench.do(bid)
    bench.do(ask)
    _propose(bench, _open(bench), 50 * 10**6, (bid.digest, ask.digest, 5))
    bench.do(CancelDocument(account=alice.address, digest=bid.digest))
    events = bench.wait(10)
    reason = only(events, SolutionJudged).reason
    assert reason is not None
    assert reason.code is RejectCode.FILL_UNKNOWN_INTENT
    assert only(events, AuctionClosed).winner == ""
    assert bench.is_live(ask)


@pytest.mark.parametrize("first", ["intent", "offer"])
def test_what_ends_as_the_auction_closes_is_not_filled(first: str) -> None:
    """I9: an order is good up to, not at, its end, also at the close."""
    bench = _an_epoch_bench()
    bid, ask = an_intent().limit(100), an_offer()
    bids = (bid.until(10) if first == "intent" else bid).signed_by(alice)
    asks = (ask.until(10) if first == "offer" else ask).signed_by(bob)
    bench.do(bids)
    bench.do(asks)
    _propose(bench, _open(bench), 50 * 10**6, (bids.digest, asks.digest, 1))
    assert every(bench.wait(10), Filled) == []


def test_an_immediate_intent_has_one_auction() -> None:
    """Whether it was filled or not, it ends with the auction that saw it."""
    bench = _an_epoch_bench()
    bid = an_intent().immediate().signed_by(alice)
    bench.do(bid)
    bench.do(an_offer().signed_by(bob))
    _open(bench)
    late = an_intent().immediate().signed_by(dave)
    bench.do(late)
    bench.wait(10)
    assert (bench.status(bid), bench.status(late)) == (IntentStatus.UNFILLED, IntentStatus.OPEN)


@pure_only
def test_old_auctions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """I21: a bounded number of closed auctions is kept."""
    monkeypatch.setattr("solver.core.contest.AUCTIONS_KEPT_MAX", 3)
    bench = _an_epoch_bench()
    bench.do(an_intent().signed_by(alice))
    bench.do(an_offer().signed_by(bob))
    for _ in range(6):
        _open(bench)
        bench.wait(10)
    assert len(bench.market.state.auctions) == 3
