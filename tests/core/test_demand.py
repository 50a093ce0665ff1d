"""What no offer crosses is shown to solvers, and what they bring to it wins; when orders end."""

from typing import Any, Final

import msgspec
import pytest

from intents.reject import RejectCode
from solver.core import bringing, contest
from solver.core.auction import Auction
from solver.core.command import (
    Mode,
    OpenAuction,
    Outcome,
    ProposeSolution,
    SolutionFill,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.contest import DEMAND_AGAIN_MS
from solver.core.difference import applied, difference
from solver.core.event import AuctionClosed, AuctionOpened, Filled, SolutionJudged
from solver.core.judge import judge
from solver.core.market import Market
from solver.core.snapshot import dump, load
from tests.builder import (
    CREDITS,
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    a_bundle,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    every,
    key_of,
    only,
)
from tests.core.sabotage import Patch, edited, never, pure_only
from tests.core.test_bringing import carried
from tests.judging import SEED, cleared

PRICE: Final = 6 * 10**6
SLOT: Final = 1_000_000_000 * DEMAND_AGAIN_MS
"""The start of a time in which demand is shown again once."""


def _bench() -> Bench:
    bench = Bench().listing(SEARCH, Mode.EPOCH).listing(TOKENS, Mode.EPOCH)
    bench.funded(alice, carol).pooling(bob, resources=(SEARCH, TOKENS))
    bench.wait((SLOT - bench.now_ms) // 1_000 % (DEMAND_AGAIN_MS // 1_000) + 1)
    return bench


def _opening(bench: Bench, *, demand: bool = True) -> OpenAuction:
    return OpenAuction(
        resources=(SEARCH, TOKENS),
        asset=USDC,
        closes_at_ms=bench.now_ms + 1_000,
        seed=SEED,
        demand=demand,
    )


def _opened(bench: Bench) -> Auction:
    number = only(bench.do(_opening(bench)), AuctionOpened).auction
    return bench.market.state.auctions[number]


def _wanted(bench: Bench) -> SubmitIntent:
    command = an_intent().units(5).limit(50).signed_by(alice)
    bench.do(command)
    return command


def _mine(limit: int = 5) -> SubmitOffer:
    return an_offer().units(5).limit(limit).from_key(key_of(bob)).signed_by(bob)


def _bid(auction: Auction, intent: str, offer: SubmitOffer, units: int = 5) -> ProposeSolution:
    fill = SolutionFill(intent=intent, offer=offer.digest, units=units)
    return ProposeSolution(
        auction=auction.snapshot.auction,
        solver=bob.address,
        snapshot=auction.snapshot_digest,
        books=(cleared(PRICE, [fill]),),
        offers=(carried(offer),),
    )


# -- what nothing crosses


def test_what_is_brought_wins_demand_that_nothing_crosses() -> None:
    """No offer stands at all; the buyer is served at the one price, within its limit."""
    bench = _bench()
    wanted = _wanted(bench)
    auction = _opened(bench)
    (book,) = auction.snapshot.books
    assert ([order.id for order in book.intents], book.offers) == ([wanted.digest], ())
    bench.do(_bid(auction, wanted.digest, _mine()))
    closing = bench.wait(1)
    assert (only(closing, Filled).units, only(closing, Filled).tick) == (5, PRICE)
    assert only(closing, AuctionClosed).winners[0].solver == bob.address
    assert judge(auction).winners == auction.winners


def test_demand_is_shown_once_and_again_after_a_while() -> None:
    """Not epoch by epoch: an auction for it alone is opened as it comes, and once in a while."""
    bench = _bench()
    _wanted(bench)
    count = 0
    for _ in range(3 * DEMAND_AGAIN_MS // 1_000):
        if isinstance(bench.market.apply(_stamped(bench)), list):
            count += 1
        bench.wait(1)
    assert count == 4
    another = _wanted(bench)
    shown = _opened(bench).snapshot.books[0].intents
    assert [order.id for order in shown][-1] == another.digest
    assert len(shown) == 2


def _stamped(bench: Bench) -> OpenAuction:
    opening = _opening(bench)
    return OpenAuction(
        **{name: getattr(opening, name) for name in ("resources", "asset", "closes_at_ms", "seed")},
        demand=True,
        at_ms=bench.now_ms,
    )


def test_an_auction_in_another_asset_shows_none_of_it() -> None:
    """What was not shown in its own asset is new there, whatever was traded for credits since."""
    bench = _bench()
    _wanted(bench)
    _opened(bench)
    bench.wait(1)
    unseen = _wanted(bench)
    bench.do(an_intent().limit(5).paid_in(CREDITS).signed_by(alice))
    bench.do(an_offer().limit(5).paid_in(CREDITS).from_key(key_of(bob)).signed_by(bob))
    bench.do(msgspec.structs.replace(_opening(bench), asset=CREDITS))
    shown = _opened(bench).snapshot.books[0].intents
    assert unseen.digest in [order.id for order in shown]


def test_demand_is_shown_to_whom_it_is_for() -> None:
    """A command that does not ask for it, as those of before did not, finds nothing to open."""
    bench = _bench()
    _wanted(bench)
    assert bench.refuse(_opening(bench, demand=False)) is RejectCode.NOT_OPEN
    assert _opened(bench).snapshot.books


def test_a_restart_shows_the_same() -> None:
    """When demand was shown is in the records, and so in a snapshot of the state."""
    bench = _bench()
    _wanted(bench)
    _opened(bench)
    bench.wait(1)
    again = Market(USDC, load(dump(bench.market.state)))
    opening = _stamped(bench)
    assert type(again.apply(opening)) is type(bench.market.apply(opening))
    assert again.state.hash() == bench.market.state.hash()


# -- floors of quality


def _served(bench: Bench, calls: int, *, failing: int = 0) -> None:
    """Bob's key serves so many calls; of these some fail."""
    sold = an_offer().units(calls).limit(calls).from_key(key_of(bob)).signed_by(bob)
    bench.do(sold)
    bought = an_intent().units(calls).limit(calls).signed_by(carol)
    bench.do(bought)
    auction = _opened(bench)
    fill = SolutionFill(intent=bought.digest, offer=sold.digest, units=calls)
    bench.do(
        ProposeSolution(
            auction=auction.snapshot.auction,
            solver="s",
            snapshot=auction.snapshot_digest,
            books=(cleared(10**6, [fill]),),
        )
    )
    bench.wait(1)
    lease = bench.lease(bought)
    for number in range(calls):
        fails = number < failing
        outcome = Outcome.FAILED if fails else Outcome.DELIVERED
        bench.finish(bench.start(lease), 0 if fails else 1, outcome)
    bench.wait(1)


@pytest.mark.parametrize(
    ("calls", "failing", "code"),
    [(0, 0, "fill_below_quality"), (10, 5, "fill_below_quality"), (10, 0, "")],
)
def test_what_is_brought_serves_a_floor_that_its_key_meets(
    calls: int, failing: int, code: str
) -> None:
    """By what the market saw of the key; the record has it, so anyone judges the same."""
    bench = _bench()
    if calls:
        _served(bench, calls, failing=failing)
    legs = (an_intent().units(5).limit(50), an_intent().of(TOKENS).limit(10))
    wanted = a_bundle(alice, *legs, any_of=True, success_min=900)
    bench.do(wanted)
    auction = _opened(bench)
    bench.do(_bid(auction, wanted.legs[0].digest, _mine()))
    (judged,) = every(bench.wait(1), SolutionJudged)
    assert (judged.reason.code if judged.reason else "") == code
    assert judge(auction).winners == auction.winners
    ratings = [one.rating for made in auction.proposed for one in made.solution.brought]
    assert [rating is not None for rating in ratings] == [calls > 0]


def test_nobody_is_rated_where_nobody_asks() -> None:
    """A record says no more than what was judged by."""
    bench = _bench()
    _served(bench, 10)
    wanted = _wanted(bench)
    auction = _opened(bench)
    bench.do(_bid(auction, wanted.digest, _mine()))
    assert [made.solution.brought[0].rating for made in auction.proposed] == [None]


# -- when orders end


def test_a_solver_sees_when_orders_end() -> None:
    """As the market ends them; where it is not asked for, the hash is what it was without."""
    bench = _bench()
    wanted, offer = _wanted(bench), _mine()
    bench.do(offer)
    auction = _opened(bench)
    (book,) = auction.snapshot.books
    assert book.intents[0].until_ms == wanted.intent.valid_until * 1_000
    assert book.offers[0].until_ms == offer.offer.valid_until * 1_000
    bench.wait(1)
    plain = only(bench.do(_opening(bench, demand=False)), AuctionOpened)
    seen = bench.market.state.auctions[plain.auction].snapshot
    assert {order.until_ms for order in seen.books[0].intents} == {0}
    assert applied(seen, difference(seen, auction.snapshot)) == auction.snapshot


# -- planted


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (never("_demand_shown", contest), test_what_is_brought_wins_demand_that_nothing_crosses),
        (
            edited(contest, "_demand_shown", "0 if is_again else auction.snapshot.auction", "0"),
            test_demand_is_shown_once_and_again_after_a_while,
        ),
        (
            edited(contest, "_demand_shown", "0 if is_again else", ""),
            test_demand_is_shown_once_and_again_after_a_while,
        ),
        (
            edited(contest, "_demand_shown", "not command.demand", "False"),
            test_demand_is_shown_to_whom_it_is_for,
        ),
        (
            never("_rating", bringing),
            lambda: test_what_is_brought_serves_a_floor_that_its_key_meets(10, 0, ""),
        ),
        (
            edited(bringing, "brought_orders", "if asks else None", ""),
            test_nobody_is_rated_where_nobody_asks,
        ),
        (
            edited(contest, "_seen", "order.until_ms if command.demand else 0", "0"),
            test_a_solver_sees_when_orders_end,
        ),
    ],
)
@pure_only
def test_planted_bugs_are_found(plant: Patch, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Demand that is never shown, always, or once for all; ratings and ends that are not told."""
    plant(monkeypatch)
    with pytest.raises(BaseException, match=r".*") as caught:
        check()
    assert not isinstance(caught.value, (SyntaxError, NameError, KeyboardInterrupt))
