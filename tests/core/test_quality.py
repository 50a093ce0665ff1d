"""What a key's newest calls say of it, and who is served from it by that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import RejectCode
from solver.core import judge as judging
from solver.core.auction import Snapshot, SnapshotBundle
from solver.core.command import (
    ClearedBook,
    Mode,
    OpenAuction,
    Outcome,
    ProposeSolution,
    SolutionFill,
    SubmitBundle,
    SubmitOffer,
)
from solver.core.event import SolutionJudged
from solver.core.quality import SEEN_MAX, SEEN_MIN, Floor, Rating, Seen
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    Person,
    a_bundle,
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
from tests.judging import SEED

PLAIN = "books/read:call"
RESOURCES = (SEARCH, TOKENS, PLAIN)


def _bench() -> Bench:
    """Bob and dave sell one resource that trades continuously, and two in epochs."""
    bench = Bench().listing(SEARCH, Mode.EPOCH).listing(TOKENS, Mode.EPOCH).listing(PLAIN)
    return bench.funded(alice, carol).pooling(bob, dave, resources=RESOURCES)


def _serve(
    bench: Bench, seller: Person, *latencies_ms: int, outcome: Outcome = Outcome.DELIVERED
) -> None:
    """Calls of the seller's key, each of which takes so long."""
    count = len(latencies_ms)
    offer = an_offer().of(PLAIN).units(count).limit(count).from_key(key_of(seller))
    bench.do(offer.signed_by(seller))
    bought = an_intent().of(PLAIN).units(count).limit(count).signed_by(carol)
    bench.do(bought)
    lease = bench.lease(bought)
    for latency_ms in latencies_ms:
        call = bench.start(lease)
        bench.now_ms += latency_ms
        bench.finish(call, 1 if outcome is Outcome.DELIVERED else 0, outcome)


def _demand(bench: Bench, *, success_min: int = 0, latency_max: int = 0) -> SubmitBundle:
    """Either of two resources, from keys of this quality."""
    bundle = a_bundle(
        alice,
        an_intent().limit(10),
        an_intent().of(TOKENS).limit(10),
        any_of=True,
        success_min=success_min,
        latency_max=latency_max,
    )
    bench.do(bundle)
    return bundle


def _offer(bench: Bench, seller: Person) -> SubmitOffer:
    command = an_offer().units(5).limit(5).from_key(key_of(seller)).signed_by(seller)
    bench.do(command)
    return command


def _opened(bench: Bench) -> Snapshot:
    closes_at_ms = bench.now_ms + 1_000
    resources = (SEARCH, TOKENS)
    bench.do(OpenAuction(resources=resources, asset=USDC, closes_at_ms=closes_at_ms, seed=SEED))
    return bench.market.state.auctions[max(bench.market.state.auctions)].snapshot


def _verdict(bench: Bench, intent: str, offer: str, units: int = 1) -> str:
    """Why a solution with this one fill did not win; empty if it did."""
    seen = _opened(bench)
    fill = SolutionFill(intent=intent, offer=offer, units=units)
    book = ClearedBook(resource=SEARCH, tick=1_000_000, fills=(fill,))
    bench.do(
        ProposeSolution(auction=seen.auction, snapshot=seen.digest(), solver="s", books=(book,))
    )
    (judged,) = every(bench.wait(1), SolutionJudged)
    return judged.reason.code if judged.reason else ""


# -- what calls say


def _seen(*calls: int) -> Seen:
    """Latencies of calls; below 0, one that failed."""
    seen = Seen()
    for latency in calls:
        seen.note(latency, succeeded=latency >= 0)
    return seen


@given(calls=st.lists(st.integers(-1, 10_000), max_size=3 * SEEN_MAX))
def test_a_rating_is_of_the_newest_calls(calls: list[int]) -> None:
    """Success of a thousand, rounded down, and a time within which half of what came was there."""
    newest = calls[-SEEN_MAX:]
    good = [latency for latency in newest if latency >= 0]
    rating = _seen(*calls).rating()
    if len(newest) < SEEN_MIN or not good:
        assert rating is None
        return
    assert rating is not None
    assert rating.success == 1_000 * len(good) // len(newest)
    assert rating.latency in good
    assert 2 * sum(latency <= rating.latency for latency in good) >= len(good)
    assert 2 * sum(latency < rating.latency for latency in good) < len(good)


def test_the_newest_64_calls_count() -> None:
    """As published: fewer than eight say nothing, and the 65th forgets the first."""
    assert (SEEN_MAX, SEEN_MIN) == (64, 8)
    seen = _seen(*range(64))
    assert seen.calls == list(range(64))
    seen.note(64, succeeded=True)
    assert seen.calls == list(range(1, 65))
    assert _seen(*[5] * 7).rating() is None
    assert _seen(*[5] * 8).rating() == Rating(success=1_000, latency=5)
    assert _seen(*[-1] * 8).rating() is None, "nothing came back, however quickly"


def test_a_floor_asks_from_its_first_step_on() -> None:
    """One of a thousand, or one millisecond, is a floor."""
    assert Floor(success_min=1).asks
    assert Floor(latency_max=1).asks
    assert not Floor().asks


@pytest.mark.parametrize(
    ("rating", "floor", "meets"),
    [
        ((990, 100), (990, 100), True),
        ((989, 100), (990, 100), False),
        ((990, 101), (990, 100), False),
        ((0, 10**6), (0, 0), True),
        ((1_000, 10**6), (1_000, 0), True),
        ((0, 100), (0, 100), True),
    ],
)
def test_a_floor_is_met_at_its_edge(
    rating: tuple[int, int], floor: tuple[int, int], *, meets: bool
) -> None:
    """Just as good is good enough; what is 0 asks for nothing."""
    seen = Rating(success=rating[0], latency=rating[1])
    assert seen.meets(Floor(success_min=floor[0], latency_max=floor[1])) is meets


def test_the_market_measures_its_calls() -> None:
    """From start to end as it saw them; what failed, or nobody knows of, did not succeed."""
    bench = _bench()
    _serve(bench, bob, *range(10, 80, 10))
    assert bench.market.state.keys[key_of(bob)].seen.rating() is None
    _serve(bench, bob, 5, outcome=Outcome.FAILED)
    assert bench.market.state.keys[key_of(bob)].seen.rating() == Rating(success=875, latency=40)
    _serve(bench, bob, 5, 5, outcome=Outcome.UNKNOWN)
    assert bench.market.state.keys[key_of(bob)].seen.rating() == Rating(success=700, latency=40)


# -- who is served by it


@pytest.mark.parametrize(
    ("floor", "code"),
    [
        ({"latency_max": 50}, ""),
        ({"latency_max": 49}, RejectCode.FILL_BELOW_QUALITY),
        ({"success_min": 888}, ""),
        ({"success_min": 889}, RejectCode.FILL_BELOW_QUALITY),
        ({}, ""),
    ],
)
def test_a_floor_is_judged(floor: dict[str, int], code: str) -> None:
    """A fill from a key below it counts for nothing, whoever proposes it."""
    bench = _bench()
    _serve(bench, bob, *[50] * 8)
    _serve(bench, bob, 1, outcome=Outcome.FAILED)
    bundle, offer = _demand(bench, **floor), _offer(bench, bob)
    assert _verdict(bench, bundle.legs[0].digest, offer.digest) == code


def test_an_unknown_key_meets_no_floor() -> None:
    """Who asks for a quality is not the one to try a new key."""
    bench = _bench()
    bundle, offer = _demand(bench, success_min=1), _offer(bench, bob)
    code = _verdict(bench, bundle.legs[0].digest, offer.digest)
    assert code == RejectCode.FILL_BELOW_QUALITY


def test_solvers_see_who_is_good_enough() -> None:
    """Ratings are in the books of who asks, and the floor with its bundle; else nothing."""
    bench = _bench()
    _serve(bench, bob, *[50] * 8)
    offers = [_offer(bench, bob), _offer(bench, dave)]
    plain = _demand(bench)
    assert [book.ratings for book in _opened(bench).books] == [{}]
    bench.wait(1)
    asking = _demand(bench, latency_max=60)
    seen = _opened(bench)
    (book,) = seen.books
    assert book.ratings == {offers[0].digest: Rating(success=1_000, latency=50)}
    assert seen.bundles == (
        SnapshotBundle(
            id=asking.digest,
            any_of=True,
            legs=(asking.legs[0].digest,),
            floor=Floor(latency_max=60),
        ),
    )
    assert plain.digest != asking.digest


@pytest.mark.parametrize("any_of", [False, True])
def test_one_intent_alone_asks_for_a_quality(*, any_of: bool) -> None:
    """A bundle of one leg: sold by good keys alone, in part only where that was signed."""
    bench = _bench()
    _serve(bench, bob, *[50] * 8)
    wanted = an_intent().units(3).limit(30)
    bundle = a_bundle(
        alice, wanted if any_of else wanted.all_or_none(), any_of=any_of, latency_max=60
    )
    bench.do(bundle)
    good, unknown = _offer(bench, bob), _offer(bench, dave)
    leg = bundle.legs[0].digest
    assert _verdict(bench, leg, unknown.digest) == RejectCode.FILL_BELOW_QUALITY
    part = _verdict(bench, leg, good.digest)
    assert part == ("" if any_of else RejectCode.FILL_BELOW_MINIMUM)
    if not any_of:
        assert _verdict(bench, leg, good.digest, units=3) == ""
    assert bench.market.state.intents[leg].filled_units == (1 if any_of else 3)


def test_what_was_chosen_keeps_its_floor() -> None:
    """The rest of a leg that was filled in part is served from good keys alone, too."""
    bench = _bench()
    _serve(bench, bob, *[50] * 8)
    bundle = a_bundle(
        alice,
        an_intent().units(3).limit(30),
        an_intent().of(TOKENS).limit(10),
        any_of=True,
        latency_max=60,
    )
    bench.do(bundle)
    good, unknown = _offer(bench, bob), _offer(bench, dave)
    leg = bundle.legs[0].digest
    assert _verdict(bench, leg, good.digest) == ""
    assert _verdict(bench, leg, unknown.digest) == RejectCode.FILL_BELOW_QUALITY
    assert _verdict(bench, leg, good.digest) == ""


@pytest.mark.parametrize(("latency_max", "moves"), [(60, False), (0, True)])
def test_a_lease_moves_to_good_keys_alone(latency_max: int, *, moves: bool) -> None:
    """Where the only other key is not known to be good, what is left is not served."""
    bench = _bench()
    _serve(bench, bob, *[50] * 8)
    bundle, good = _demand(bench, latency_max=latency_max), _offer(bench, bob)
    _offer(bench, dave)
    leg = bundle.legs[0].digest
    assert _verdict(bench, leg, good.digest) == ""
    bench.retire(key_of(bob))
    leases = [bench.market.state.leases[one] for one in bench.market.state.intents[leg].leases]
    assert (len(leases) == 2) is moves
    assert (leases[0].withdrawn == 1) is not moves


def test_a_lease_moves_to_another_good_key() -> None:
    """What its buyer asked for it still gets, where another key is known to serve so."""
    bench = _bench()
    for seller in (bob, dave):
        _serve(bench, seller, *[50] * 8)
    bundle, good = _demand(bench, latency_max=60), _offer(bench, bob)
    _offer(bench, dave)
    leg = bundle.legs[0].digest
    assert _verdict(bench, leg, good.digest) == ""
    bench.retire(key_of(bob))
    leases = [bench.market.state.leases[one] for one in bench.market.state.intents[leg].leases]
    assert [lease.seller for lease in leases] == [bob.address, dave.address]


def test_a_loaded_market_knows_its_keys() -> None:
    """Newest calls are part of the state and its hash."""
    bench = _bench()
    _serve(bench, bob, *[50] * 9)
    loaded = load(dump(bench.market.state))
    assert loaded.hash() == bench.market.state.hash()
    loaded.keys[key_of(bob)].seen.note(1, succeeded=True)
    assert loaded.hash() != bench.market.state.hash()
    assert load(dump(loaded)).keys[key_of(bob)].seen.calls == [*[50] * 9, 1]


@pure_only
def test_a_planted_blind_judge_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: no fill is below any floor."""
    monkeypatch.setattr(judging, "_fault_in_quality", lambda *_: None)
    with pytest.raises(AssertionError):
        test_a_floor_is_judged({"latency_max": 49}, RejectCode.FILL_BELOW_QUALITY)
