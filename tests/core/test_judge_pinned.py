"""What the judge holds solutions against, bucket by bucket, and whom it charges how much."""

import msgspec
import pytest

from solver.core.auction import Auction, BroughtOffer, Snapshot, SnapshotBundle, Solution
from solver.core.bid import Bid
from solver.core.charge import charges_of, is_account, parts_of
from solver.core.check import Violation
from solver.core.judge import Verdict, judge
from solver.core.reward import Reward
from tests.builder import person
from tests.judging import RESOURCE, an_auction, book, cleared, codes, judged, order, snapshot
from tests.judging import solution as of_one

SOLVER = person("ivan").address
RIVAL = person("judy").address
DEADLINE_BLOCK = 77


def _two_books(*bundles: SnapshotBundle) -> Snapshot:
    """Two books, each with four intents at 90 and one offer at 10."""
    books = [
        book(
            [order(f"{name}{n}", "buyer", 90, 20) for n in range(4)],
            [order(f"o{name}", "seller", 10, 40)],
            resource=name,
        )
        for name in "ab"
    ]
    return snapshot(*books, bundles=bundles)


def _fills(name: str, units: int, place: int = 0, tick: int = 50) -> Solution:
    """So many units of one intent of a book: 80 micro-atoms of surplus each."""
    return of_one(tick, f"{name}{place} o{name} {units}", name)


def _paying(seen: Snapshot, *proposals: tuple[str, Solution]) -> Auction:
    auction = an_auction(seen, proposals)
    auction.deadline_block = DEADLINE_BLOCK
    return auction


def _charged(verdict: Verdict) -> dict[str, int]:
    """Micro-atoms by solver."""
    found: dict[str, int] = {}
    for win in verdict.wins:
        solver = win.proposed.solver
        for one in verdict.charges.get(win.proposed.bid, ()):
            amount = one.units * (one.bid_charge + one.ask_charge)
            found[solver] = found.get(solver, 0) + amount
    return found


# -- who won


def test_winners_are_told_with_the_bids_that_won() -> None:
    """Each solver with its own, and without those of its bids that lost."""
    bids = [
        (SOLVER, _fills("a", 10)),
        (SOLVER, _fills("a", 4)),
        (RIVAL, _fills("b", 9)),
        (RIVAL, _fills("a", 2)),
        ("book", _fills("b", 1)),
    ]
    verdict = judged(_two_books(), *bids)
    names = [proposed.digest(solver) for solver, proposed in bids]
    assert {won.solver: won.bids for won in verdict.winners} == {
        SOLVER: (names[0],),
        RIVAL: (names[2],),
    }


def test_a_solver_is_paid_for_what_it_won_alone() -> None:
    """Neither its bids that lost nor another's win take anything from its reward."""
    bids = [
        (SOLVER, _fills("a", 10)),
        (SOLVER, _fills("a", 4, place=1)),
        ("book", _fills("a", 5)),
        (RIVAL, _fills("b", 20)),
        ("book", _fills("b", 10)),
    ]
    verdict = judge(_paying(_two_books(), *bids))
    assert _charged(verdict) == {SOLVER: 5 * 80, RIVAL: 10 * 80}


# -- buckets


def test_an_any_of_has_a_bucket_of_its_own() -> None:
    """Behind those of the books, counted among any-ofs alone: no book's surplus is lost in one."""
    bundles = [
        SnapshotBundle(id="all", any_of=False, legs=("a0", "b0")),
        SnapshotBundle(id="any-1", any_of=True, legs=("a1", "b1")),
        SnapshotBundle(id="any-2", any_of=True, legs=("a2", "b2")),
    ]
    both = Solution(
        books=(cleared(50, "a1 oa 1, a3 oa 2", "a"), cleared(50, "b2 ob 3, b3 ob 4", "b"))
    )
    (win,) = judged(_two_books(*bundles), ("s", both)).wins
    assert win.surplus == {0: 3 * 80, 1: 7 * 80, 2: 0, 3: 0}
    assert win.score == 10 * 80


# -- what is left at the close


@pytest.mark.parametrize(("live", "kept"), [(6, [5, 1]), (10, [5, 5]), (5, [])])
def test_legs_of_one_bundle_share_what_an_offer_has_left(live: int, kept: list[int]) -> None:
    """In the order of the solution; where the second gets nothing, the first does not either."""
    both = SnapshotBundle(id="all", any_of=False, legs=("a0", "a1"))
    seen = _two_books(both)
    verdict = judged(seen, ("s", of_one(50, "a0 oa 5, a1 oa 5", "a")), live={"oa": live})
    fills = [fill.units for win in verdict.wins for b in win.solution.books for fill in b.fills]
    assert fills == kept
    assert verdict.score == 80 * sum(kept)


def test_a_solver_hears_which_order_is_not_there() -> None:
    """And in which book it looked for it."""
    for text, name in (("b0 oa 1", "b0"), ("a0 ob 1", "ob")):
        (ranked,) = judged(_two_books(), ("s", of_one(50, text, "a"))).ranking
        assert ranked.reason is not None
        assert ranked.reason.message == f"{name} is not in the book of a"


# -- what a solution brings


def _brought(name: str, tick: int, resource: str) -> BroughtOffer:
    return BroughtOffer(resource=resource, order=order(name, SOLVER, tick, 4))


def test_what_is_brought_replaces_nothing_that_stands() -> None:
    """An offer of the snapshot keeps its own limit, whatever a solution calls its own."""
    seen = snapshot(book([order("i", "buyer", 90, 4)], [order("o", "seller", 80, 4)]))
    bid = msgspec.structs.replace(of_one(60, "i o 4"), brought=(_brought("o", 30, RESOURCE),))
    assert codes(judged(seen, (SOLVER, bid))) == ["fill_price_outside_limits"]


def test_what_is_brought_to_no_book_fills_nothing() -> None:
    """It is left out like any offer that is not there, and stops no auction."""
    seen = snapshot(book([order("i", "buyer", 90, 4)], [order("o", "seller", 20, 4)]))
    bid = msgspec.structs.replace(of_one(60, "i own 4"), brought=(_brought("own", 30, "else"),))
    good = of_one(60, "i o 3")
    assert codes(judged(seen, (SOLVER, bid), (RIVAL, good))) == ["", "fill_unknown_offer"]


# -- charges


def test_a_reward_is_parted_above_the_second_scores() -> None:
    """A bucket at or below its second score pays nothing, and takes nothing from the others."""
    reward = Reward(solver=SOLVER, score=60, reference=41)
    win = Bid(id="w", solver=SOLVER, surplus={0: 10, 1: 50})
    for second in (10, 11):
        assert parts_of(reward, [win], {0: second, 1: 30}) == {0: 0, 1: 19}
    alone = Bid(id="w", solver=SOLVER, surplus={0: 10, 1: 30})
    assert parts_of(Reward(solver=SOLVER, score=40, reference=0), [alone], {}) == {0: 10, 1: 30}


def test_a_reward_beyond_the_surplus_stops_the_market() -> None:
    """It cannot come: if it does, what decides is broken."""
    reward = Reward(solver=SOLVER, score=60, reference=0)
    win = Bid(id="w", solver=SOLVER, surplus={0: 60})
    with pytest.raises(Violation, match="reward_within_surplus"):
        parts_of(reward, [win], {0: 1})


def test_only_accounts_are_paid() -> None:
    """A name is no account because it is as long as one, or begins like one."""
    assert is_account(SOLVER)
    assert not is_account("0xbook")
    assert not is_account("b" * len(SOLVER))


def test_fills_that_pay_nothing_are_not_charged() -> None:
    """Without a part of the reward, or without any surplus of their own."""
    asks = [order("o", "seller", 50, 9), order("cheap", "seller", 49, 9)]
    seen = snapshot(book([order("i", "buyer", 50, 9), order("j", "buyer", 51, 9)], asks))
    one = of_one(50, "j o 1")
    assert charges_of(seen, one, {0: 1}, {}) == ()
    two = of_one(50, "i o 1, j cheap 1")
    (charge,) = charges_of(seen, two, {0: 2}, {0: 2})
    assert (charge.intent, charge.bid_charge, charge.ask_charge) == ("j", 1, 1)
