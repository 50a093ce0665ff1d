"""Auctions: who wins, why everyone else does not, and what is then carried out."""

from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import RejectCode
from solver.core.auction import SOLUTIONS_PER_SOLVER_MAX, SnapshotBook, SnapshotBundle, Solution
from solver.core.book import MATCHES_MAX
from solver.core.command import (
    CancelDocument,
    ClearedBook,
    Mode,
    SolutionFill,
)
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    Filled,
    IntentStatus,
    SolutionJudged,
)
from solver.core.judge import Ranked, Scored, judge
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
from tests.core.epoch import opened, proposal
from tests.core.sabotage import pure_only
from tests.judging import (
    an_auction,
    book,
    cleared,
    codes,
    fills,
    judged,
    order,
    orders_of,
    snapshot,
    solution,
)

# -- judging, by itself


SNAPSHOT: Final = snapshot(
    book(
        (order("i1", "alice", 10, 5), order("i2", "carol", 8, 6, minimum=4)),
        (order("o1", "bob", 3, 4), order("o2", "dave", 6, 6), order("o3", "alice", 1, 9)),
    )
)
OPEN: Final = {one.id: one.units for one in orders_of(SNAPSHOT)}
TICKS: Final = {one.id: one.tick for one in orders_of(SNAPSHOT)}


def _judged(*solutions: tuple[int, str], live: dict[str, int] = OPEN) -> tuple[Ranked, ...]:
    proposals = [(f"s{place}", solution(*one)) for place, one in enumerate(solutions)]
    return judged(SNAPSHOT, *proposals, live=live).ranking


def _kept(scored: Scored) -> tuple[SolutionFill, ...]:
    """The fills that can still be made."""
    return tuple(fill for cleared in scored.solution.books for fill in cleared.fills)


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
    assert (first.scored.proposed.solver, first.reason, first.scored.score) == ("s1", None, 7)
    assert second.reason is not None
    assert second.scored.proposed.solver == "s0"
    assert (second.reason.code, second.scored.score) == (code, 0)


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
    assert (ranked.reason, _kept(ranked.scored)) == (None, fills(left))
    worth = sum(f.units * (TICKS[f.intent] - TICKS[f.offer]) for f in fills(left))
    assert ranked.scored.score == worth


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
    assert (ranked.reason.code, ranked.scored.score) == (code, 0)


def test_the_rank_is_of_what_is_left() -> None:
    """An order that its owner takes back late lends its surplus to nobody."""
    bold, plain = (7, "i1 o1 4, i2 o2 4"), (7, "i1 o1 3, i2 o2 4")
    ranking = _judged(bold, plain, live=OPEN | {"o1": 0})
    assert [ranked.scored.score for ranked in ranking] == [4 * 2, 4 * 2]


amounts = st.lists(st.integers(0, 5), min_size=4, max_size=4)
PAIRS: Final = (("i1", "o1"), ("i1", "o2"), ("i2", "o1"), ("i2", "o2"))


@given(
    units=amounts,
    places=st.permutations(range(4)),
    live=st.fixed_dictionaries({name: st.integers(0, most + 2) for name, most in OPEN.items()}),
)
def test_nothing_is_left_in_that_could_not_be_filled(
    units: list[int], places: list[int], live: dict[str, int]
) -> None:
    """What is left is part of what was proposed, live, within every bound, and what it scores."""
    lines = [f"{PAIRS[at][0]} {PAIRS[at][1]} {units[at]}" for at in places if units[at]]
    whole = (7, ", ".join(lines))
    (before,), (ranked,) = _judged(whole), _judged(whole, live=live)
    if before.reason is not None:
        assert ranked.reason == before.reason
        return
    proposed = {(fill.intent, fill.offer): fill.units for fill in fills(whole[1])}
    left = {(fill.intent, fill.offer): fill.units for fill in _kept(ranked.scored)}
    assert (ranked.reason is None) == bool(left)
    assert all(0 < n <= proposed[pair] for pair, n in left.items())
    for place, sides in enumerate((SNAPSHOT.books[0].intents, SNAPSHOT.books[0].offers)):
        for one in sides:
            total = sum(n for pair, n in left.items() if pair[place] == one.id)
            assert total <= min(one.units, live[one.id])
            assert place or not total or total >= min(one.minimum, live[one.id])
    assert ranked.scored.score == sum(n * (TICKS[i] - TICKS[o]) for (i, o), n in left.items())
    if all(live[name] >= most for name, most in OPEN.items()):
        assert ranked.scored.solution == ranked.scored.proposed.solution


def test_an_execution_has_a_bounded_number_of_fills() -> None:
    """More fills of one intent than the contract settles at once are refused."""
    offers = [order(f"o{n}", f"seller-{n}", 1, 1) for n in range(MATCHES_MAX + 1)]
    seen = snapshot(book([order("i", "alice", 9, 1_000)], offers))
    for count, code in ((MATCHES_MAX, ""), (MATCHES_MAX + 1, RejectCode.SOLUTION_LIMIT)):
        lines = [SolutionFill(intent="i", offer=one.id, units=1) for one in offers[:count]]
        assert codes(judged(seen, ("s", solution(5, lines)))) == [code]


def test_the_score_is_surplus_whatever_the_price() -> None:
    """Units x (bid - ask), summed; where the price lies between them does not matter."""
    for tick in (6, 7, 8):
        (ranked,) = _judged((tick, "i1 o1 4, i1 o2 1, i2 o2 4"))
        assert ranked.scored.score == 4 * 7 + 1 * 4 + 4 * 2


def test_the_highest_score_wins_and_the_seed_decides_ties() -> None:
    """Rank by score; among equals whoever the seed prefers, in whatever order they came."""
    three = [("s0", solution(7, "i1 o1 1")), ("s1", solution(7, "i1 o1 4"))]
    three += [("s2", solution(8, "i1 o1 4")), ("s3", solution(7, ""))]
    winners = set[str]()
    for number in range(64):
        auction = an_auction(SNAPSHOT, three)
        auction.seed = f"{number:064x}"
        verdict = judge(auction)
        auction.proposed.reverse()
        assert judge(auction) == verdict
        outbid = RejectCode.OUTBID
        assert codes(verdict) == ["", outbid, outbid, RejectCode.SOLUTION_EMPTY]
        assert [ranked.scored.score for ranked in verdict.ranking] == [28, 28, 7, 0]
        winners.add(verdict.wins[0].proposed.solver)
        (won,) = verdict.winners
        assert (won.score, won.reference) == ("28", "28"), "an equal would have done as well"
    assert winners == {"s1", "s2"}


def test_a_worthless_solution_may_still_win() -> None:
    """At no surplus the trade still happens; losing less than nothing is impossible."""
    seen = snapshot(book([order("i", "alice", 5, 1)], [order("o", "bob", 5, 1)]))
    verdict = judged(seen, ("s", solution(5, "i o 1")))
    assert (codes(verdict), verdict.score) == ([""], 0)


def _worth(seen: SnapshotBook, tick: int, table: dict[tuple[str, str], int]) -> int | None:
    """A solution's surplus, or None if any rule is broken: written apart from `judge`."""
    if not any(table.values()):
        return None
    for side, orders in enumerate((seen.intents, seen.offers)):
        for one in orders:
            units = sum(n for pair, n in table.items() if pair[side] == one.id)
            if units > one.units or (side == 0 and 0 < units < one.minimum):
                return None
    worth = 0
    for bid, ask in product(seen.intents, seen.offers):
        units = table.get((bid.id, ask.id), 0)
        if units and (bid.account == ask.account or not ask.tick <= tick <= bid.tick):
            return None
        worth += units * (bid.tick - ask.tick)
    return worth


bids_or_asks = st.lists(
    st.tuples(st.sampled_from(("alice", "bob", "carol")), st.integers(1, 5), st.integers(1, 3)),
    min_size=1,
    max_size=2,
)


@given(bids=bids_or_asks, asks=bids_or_asks, minimum=st.integers(1, 3))
def test_the_judge_finds_the_best_of_all_solutions(
    bids: list[tuple[str, int, int]], asks: list[tuple[str, int, int]], minimum: int
) -> None:
    """Every possible solution of a tiny book is proposed: the winner is the brute-force best."""
    seen = book(
        [
            order(f"i{n}", account, tick, units, min(minimum, units))
            for n, (account, tick, units) in enumerate(bids)
        ],
        [order(f"o{n}", account, tick, units) for n, (account, tick, units) in enumerate(asks)],
    )
    pairs = [(i.id, o.id) for i, o in product(seen.intents, seen.offers)]
    best = -1
    proposed: list[tuple[str, Solution]] = []
    for tick in range(1, 6):
        for amounts in product(range(3), repeat=len(pairs)):
            table = dict(zip(pairs, amounts, strict=True))
            worth = _worth(seen, tick, table)
            best = max(best, -1 if worth is None else worth)
            lines = [SolutionFill(intent=i, offer=o, units=n) for (i, o), n in table.items() if n]
            solver = f"s{len(proposed) // SOLUTIONS_PER_SOLVER_MAX}"
            proposed.append((solver, solution(tick, lines)))
    verdict = judged(snapshot(seen), *proposed)
    assert (verdict.score if verdict.wins else -1) == best


# -- several books


TWO: Final = snapshot(
    book(
        (order("i1", "alice", 10, 5, 5), order("i2", "carol", 8, 6)),
        (order("o1", "bob", 3, 9),),
        resource="a",
    ),
    book(
        (order("j1", "alice", 20, 2, 2), order("j2", "carol", 9, 2)),
        (order("p1", "bob", 5, 2),),
        resource="b",
    ),
)


def test_each_book_goes_to_whoever_is_best_in_it() -> None:
    """Two solvers win a book each where that is more than any bid for both."""
    both = Solution(books=(cleared(7, "i2 o1 6", "a"), cleared(7, "j2 p1 2", "b")))
    verdict = judged(
        TWO,
        ("one", solution(7, "i1 o1 5, i2 o1 4", "a")),
        ("two", solution(7, "j1 p1 2", "b")),
        ("three", both),
    )
    assert {win.proposed.solver for win in verdict.wins} == {"one", "two"}
    assert verdict.score == 5 * 7 + 4 * 5 + 2 * 15
    by_solver = {won.solver: won for won in verdict.winners}
    three = 6 * 5 + 2 * 4
    assert by_solver["one"].reference == str(max(0, three - 2 * 15))
    assert by_solver["two"].reference == str(max(0, three - (5 * 7 + 4 * 5)))


def test_a_bid_for_two_books_wins_both_or_neither() -> None:
    """It beats two single bids that have less together, and never splits."""
    both = Solution(books=(cleared(7, "i1 o1 5", "a"), cleared(7, "j1 p1 2", "b")))
    singles = [("one", solution(7, "i2 o1 6", "a")), ("two", solution(7, "j2 p1 2", "b"))]
    (win,) = judged(TWO, ("three", both), *singles).wins
    assert (win.proposed.solver, win.surplus) == ("three", {0: 35, 1: 30})
    stronger = ("one", solution(7, "i1 o1 5, i2 o1 4", "a"))
    wins = judged(TWO, ("three", both), stronger, ("two", solution(7, "j1 p1 2", "b"))).wins
    assert {win.proposed.solver for win in wins} == {"one", "two"}


@pytest.mark.parametrize(
    ("books", "code"),
    [
        ((), RejectCode.SOLUTION_EMPTY),
        ((cleared(7, "i2 o1 1", "a"), cleared(7, "", "b")), RejectCode.SOLUTION_EMPTY),
        ((cleared(7, "i2 o1 1", "a"), cleared(8, "i1 o1 5", "a")), RejectCode.FILL_DUPLICATE),
        ((cleared(7, "i2 o1 1", "c"),), RejectCode.RESOURCE_UNKNOWN),
        ((cleared(7, "i2 o1 1", "b"),), RejectCode.FILL_UNKNOWN_INTENT),
        ((cleared(7, "i2 p1 1", "a"),), RejectCode.FILL_UNKNOWN_OFFER),
        ((cleared(7, "i2 o1 1", "a"), cleared(10, "j2 p1 1", "b")),
         RejectCode.FILL_PRICE_OUTSIDE_LIMITS),
    ],
)  # fmt: skip
def test_faults_between_books_have_their_codes(
    books: tuple[ClearedBook, ...], code: RejectCode
) -> None:
    """One price a book, each order in its own book; a fault in one book voids all."""
    assert codes(judged(TWO, ("s", Solution(books=books)))) == [code]


ALL: Final = SnapshotBundle(id="all", any_of=False, legs=("i1", "j1"))
ANY: Final = SnapshotBundle(id="any", any_of=True, legs=("i1", "j1"))


@pytest.mark.parametrize(
    ("bundle", "lines", "code"),
    [
        (ALL, ("i1 o1 5", "j1 p1 2"), ""),
        (ALL, ("i1 o1 5", "j2 p1 2"), RejectCode.BUNDLE_SPLIT),
        (ALL, ("i2 o1 5", "j2 p1 2"), ""),
        (ANY, ("i1 o1 5", "j2 p1 2"), ""),
        (ANY, ("i1 o1 5", "j1 p1 2"), RejectCode.BUNDLE_SPLIT),
    ],
)
def test_a_bundle_is_filled_as_it_says(
    bundle: SnapshotBundle, lines: tuple[str, str], code: str
) -> None:
    """All of its legs or none; of an any-of, one or none."""
    seen = snapshot(*TWO.books, bundles=[bundle])
    books = (cleared(8, lines[0], "a"), cleared(8, lines[1], "b"))
    assert codes(judged(seen, ("s", Solution(books=books)))) == [code]


@pytest.mark.parametrize("gone", ["i1", "j1", "o1", "p1"])
def test_a_bundle_that_lost_a_leg_is_left_out_whole(gone: str) -> None:
    """Its other leg is not filled by itself, and leaves what it had to those after it."""
    seen = snapshot(*TWO.books, bundles=[ALL])
    books = (cleared(8, "i1 o1 5, i2 o1 6", "a"), cleared(8, "j1 p1 2, j2 p1 2", "b"))
    proposed = Solution(books=books)
    assert codes(judged(seen, ("s", proposed))) == [RejectCode.FILL_OVERFILL]
    books = (cleared(8, "i1 o1 5, i2 o1 4", "a"), cleared(8, "j1 p1 2", "b"))
    verdict = judged(seen, ("s", Solution(books=books)), live={gone: 0})
    kept = [] if gone == "o1" else [fill for win in verdict.wins for fill in _kept(win)]
    assert [(fill.intent, fill.units) for fill in kept] == ([] if gone == "o1" else [("i2", 4)])


def test_an_any_of_is_filled_by_one_winner() -> None:
    """Two solvers that fill another leg each do not both win, though no book is in both bids."""
    seen = snapshot(*TWO.books, bundles=[ANY])
    bids = [("one", solution(7, "i1 o1 5", "a")), ("two", solution(7, "j1 p1 2", "b"))]
    verdict = judged(seen, *bids)
    (win,) = verdict.wins
    assert (win.proposed.solver, verdict.score) == ("one", 35)
    (won,) = verdict.winners
    assert won.reference == "30", "the other leg would have been filled"


# -- in the market


def _an_epoch_bench() -> Bench:
    return Bench().listing(SEARCH, Mode.EPOCH).funded(alice, bob, carol, dave).pooling(bob, carol)


def _open(bench: Bench, seconds: int = 10) -> AuctionOpened:
    return opened(bench, seconds=seconds)


def _propose(bench: Bench, auction: AuctionOpened, tick: int, *lines: tuple[str, str, int]) -> None:
    bench.do(proposal(auction, "solver", tick, *lines))


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
    seen = bench.market.state.auctions[opened.auction].snapshot
    expected = [bids[place].digest for place in (1, 3, 0, 2)]
    assert [one.id for one in seen.books[0].intents] == expected
    assert seen.digest() == opened.snapshot


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
    assert only(events, AuctionClosed).winners == ()
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
