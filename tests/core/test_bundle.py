"""Bundles in the market: admitted whole, filled whole or one of them, ended together."""

from typing import Final

import msgspec
import pytest

from intents.reject import RejectCode
from solver.core import bundling, contest, intake, trade
from solver.core import state as state_module
from solver.core.auction import Snapshot, SnapshotBundle
from solver.core.command import (
    Authority,
    CancelDocument,
    ClearedBook,
    Mode,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
    SubmitBundle,
    SubmitOffer,
)
from solver.core.event import BundleAccepted, IntentAccepted, IntentStatus
from solver.core.fact import NonceCancelled
from solver.core.market import Market
from solver.core.snapshot import dump, load
from solver.core.state import IntentState, State
from tests.builder import (
    HOUR_S,
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    IntentBuilder,
    a_bundle,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_of,
    only,
)
from tests.core.sabotage import Patch, edited, never, pure_only
from tests.judging import SEED

THIRD: Final = "serper/search:call"
RESOURCES: Final = (SEARCH, TOKENS, THIRD)


def _bench(*, usdc: int = 10**9) -> Bench:
    bench = Bench()
    for resource in RESOURCES:
        bench.listing(resource, Mode.EPOCH)
    bench.funded(alice, carol, usdc=usdc)
    return bench.pooling(bob, dave, resources=RESOURCES)


def _search(units: int = 10) -> IntentBuilder:
    return an_intent().units(units).at_least(units).limit(100)


def _tokens(units: int = 100) -> IntentBuilder:
    return an_intent().of(TOKENS).units(units).at_least(units).limit(500)


def _offers(bench: Bench, *resources: str, units: int = 1_000) -> dict[str, SubmitOffer]:
    """Bob sells so many units of each for an atom apiece."""
    offers = {
        resource: an_offer().of(resource).units(units).limit(units).from_key(key_of(bob))
        for resource in resources
    }
    signed = {resource: offer.signed_by(bob) for resource, offer in offers.items()}
    for command in signed.values():
        bench.do(command)
    return signed


def _snapshot(bench: Bench, *resources: str) -> Snapshot:
    """Open the auction of these books, for ten seconds; what solvers see."""
    bench.do(
        OpenAuction(
            resources=resources or RESOURCES,
            asset=USDC,
            closes_at_ms=bench.now_ms + 10_000,
            seed=SEED,
        )
    )
    return bench.market.state.auctions[max(bench.market.state.auctions)].snapshot


def _fill(
    bench: Bench,
    seen: Snapshot,
    *fills: tuple[str, str, int],
    solver: str = "s",
    tick: int = 1_000_000,
) -> None:
    """Propose that these intents are filled in full from this side's only offer of each book."""
    books = []
    for book in seen.books:
        lines = tuple(
            SolutionFill(intent=intent, offer=offer, units=units)
            for intent, offer, units in fills
            if intent in {order.id for order in book.intents}
        )
        if lines:
            books.append(ClearedBook(resource=book.resource, tick=tick, fills=lines))
    bench.do(
        ProposeSolution(
            auction=seen.auction, snapshot=seen.digest(), solver=solver, books=tuple(books)
        )
    )


def _legs(bench: Bench, bundle: SubmitBundle) -> list[IntentState]:
    return [bench.market.state.intents[leg.digest] for leg in bundle.legs]


def _statuses(bench: Bench, bundle: SubmitBundle) -> list[IntentStatus]:
    return [leg.status for leg in _legs(bench, bundle)]


# -- entering


def test_a_bundle_enters_with_all_its_legs() -> None:
    """Each leg is an intent of its own, with its limit held; the bundle says which they are."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    events = bench.do(bundle)
    legs = tuple(leg.digest for leg in bundle.legs)
    accepted = only(events, BundleAccepted)
    assert (accepted.bundle, accepted.account, accepted.legs) == (
        bundle.digest,
        alice.address,
        legs,
    )
    assert [event.intent for event in events if isinstance(event, IntentAccepted)] == list(legs)
    assert bench.available(alice) == 10**9 - 600
    for leg, sent in zip(_legs(bench, bundle), bundle.legs, strict=True):
        assert (leg.proof, leg.signature) == (sent.proof, bundle.signature)


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_of_an_any_of_the_largest_limit_is_held(chosen: int) -> None:
    """One leg is filled at most: an account, and a session's cap, of no atom more do for any.

    Served in full at its limit the leg takes what it signed for, and all else is free.
    """
    bench = _bench(usdc=0).funded(carol, usdc=500).granting(dave, carol, cap=500)
    legs = (_search(), _tokens(), _search().of(THIRD).limit(500))
    bundle = a_bundle(dave, *legs, any_of=True, account=carol, authority=Authority.SESSION)
    bench.do(bundle)
    session = bench.market.state.accounts[carol.address].sessions[dave.address]
    assert (bench.available(carol), session.committed) == (0, 500)
    leg = bundle.legs[chosen]
    price = leg.intent.limit // leg.intent.units
    offer = an_offer().of(leg.intent.resource).units(leg.intent.units).limit(leg.intent.limit)
    sold = offer.from_key(key_of(bob)).signed_by(bob)
    bench.do(sold)
    seen = _snapshot(bench)
    _fill(bench, seen, (leg.digest, sold.digest, leg.intent.units), tick=price * 10**6)
    bench.wait(10)
    assert _statuses(bench, bundle)[chosen] == "filled"
    assert session.committed == leg.intent.limit
    assert bench.available(carol) == 500 - leg.intent.limit


def test_an_any_of_needs_its_largest_limit() -> None:
    """An atom less in the account, or in the cap, and none of it enters."""
    poor = _bench(usdc=499)
    assert poor.refuse(a_bundle(alice, _search(), _tokens(), any_of=True)) is (
        RejectCode.INSUFFICIENT_FUNDS
    )
    capped = _bench().granting(carol, alice, cap=499)
    bundle = a_bundle(
        carol, _search(), _tokens(), any_of=True, account=alice, authority=Authority.SESSION
    )
    assert capped.refuse(bundle) is RejectCode.SESSION_CAP_EXCEEDED


def test_a_bundle_counts_once() -> None:
    """Sent again it is known, and so are its legs, alone or in another bundle."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    assert bench.refuse(bundle) is RejectCode.ALREADY_KNOWN
    renamed = msgspec.structs.replace(bundle, digest="0x" + "ab" * 32)
    assert bench.refuse(renamed) is RejectCode.ALREADY_KNOWN


@pytest.mark.parametrize(
    ("code", "legs"),
    [
        (RejectCode.RESOURCE_UNKNOWN, (_search(), _tokens().of("nobody/nothing:call"))),
        (RejectCode.EXPIRED, (_search().until(1), _tokens().until(1))),
        (RejectCode.INSUFFICIENT_FUNDS, (_search(), _tokens().limit(901))),
    ],
)
def test_no_leg_enters_without_the_others(
    code: RejectCode, legs: tuple[IntentBuilder, ...]
) -> None:
    """One fault in the last leg, or in their sum, and nothing is left of the first."""
    bench = _bench(usdc=1_000)
    bundle = a_bundle(alice, *legs)
    bench.now_ms += 2_000
    assert bench.refuse(bundle) is code
    assert not bench.market.state.intents
    assert bench.available(alice) == 1_000


def test_what_is_there_to_the_atom_is_enough() -> None:
    """The limits together are what the account needs, and no atom more."""
    bench = _bench(usdc=1_000)
    bench.do(a_bundle(alice, _search(), _tokens().limit(900)))
    assert bench.available(alice) == 0


def test_a_used_nonce_refuses_the_whole() -> None:
    """Whatever leg has it."""
    bench = _bench()
    bench.do(an_intent().nonce(7_000).signed_by(alice))
    bundle = a_bundle(alice, _search(), _tokens().nonce(7_000))
    assert bench.refuse(bundle) is RejectCode.NONCE_USED


def test_a_bundle_needs_epochs() -> None:
    """A resource that trades continuously has no auction in which all could be filled."""
    bench = _bench().listing("books/read:call")
    bundle = a_bundle(alice, _search(), _tokens().of("books/read:call"))
    assert bench.refuse(bundle) is RejectCode.BUNDLE_NEEDS_EPOCHS


def test_a_sessions_cap_holds_for_the_sum() -> None:
    """Each leg fits the cap alone, both do not; with an atom more they do."""
    for cap, fits in ((599, False), (600, True)):
        bench = _bench().granting(carol, alice, cap=cap)
        bundle = a_bundle(carol, _search(), _tokens(), account=alice, authority=Authority.SESSION)
        if fits:
            bench.do(bundle)
            assert (
                bench.market.state.accounts[alice.address].sessions[carol.address].committed == cap
            )
        else:
            assert bench.refuse(bundle) is RejectCode.SESSION_CAP_EXCEEDED


def test_a_stranger_signs_no_bundle() -> None:
    """Nor does a mandate stand for a signature over legs."""
    bench = _bench()
    bundle = a_bundle(carol, _search(), _tokens(), account=alice)
    assert bench.refuse(bundle) is RejectCode.NOT_AUTHORIZED


@pytest.mark.parametrize("bound", ["STANDING_MAX", "DOCUMENTS_MAX"])
@pure_only
def test_all_legs_need_room(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one is not enough for two."""
    monkeypatch.setattr(intake, bound, 2)
    code = RejectCode.ACCOUNT_FULL if bound == "STANDING_MAX" else RejectCode.BUSY
    bench = _bench()
    bench.do(_search().signed_by(alice))
    assert bench.refuse(a_bundle(alice, _search(), _tokens())) is code
    monkeypatch.setattr(intake, bound, 3)
    bench.do(a_bundle(alice, _search(), _tokens()))


# -- what an auction shows


def test_an_auction_tells_what_binds_its_intents() -> None:
    """All legs are in the books, and the bundle beside them."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    assert seen.bundles == (
        SnapshotBundle(
            id=bundle.digest, any_of=False, legs=tuple(leg.digest for leg in bundle.legs)
        ),
    )


def test_a_part_of_a_bundle_is_not_shown() -> None:
    """Where one leg's book has nothing to decide, no solver may fill the other by itself."""
    bench = _bench()
    bench.do(a_bundle(alice, _search(), _tokens()))
    plain = _search().signed_by(carol)
    bench.do(plain)
    _offers(bench, SEARCH)
    seen = _snapshot(bench)
    assert seen.bundles == ()
    assert [order.id for book in seen.books for order in book.intents] == [plain.digest]


def test_bundles_fall_with_each_other() -> None:
    """A book that had a part alone is gone, and with it what needed that book."""
    bench = _bench()
    bench.do(a_bundle(alice, _search(), _tokens()))
    bench.do(a_bundle(carol, _search().of(THIRD), _search()))
    _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    assert {book.resource for book in seen.books} == {SEARCH, TOKENS}
    assert len(seen.bundles) == 1
    assert {order.account for book in seen.books for order in book.intents} == {alice.address}


def test_an_any_of_needs_one_book_only() -> None:
    """Its leg there is an intent like any other; with two legs there, they are one choice."""
    bench = _bench()
    bench.do(a_bundle(alice, _search(), _tokens(), any_of=True))
    _offers(bench, SEARCH)
    seen = _snapshot(bench)
    assert seen.bundles == ()
    assert [len(book.intents) for book in seen.books] == [1]
    bench.wait(11)
    _offers(bench, TOKENS)
    assert [len(bundle.legs) for bundle in _snapshot(bench).bundles] == [2]


# -- what is filled


def test_all_legs_are_filled_together() -> None:
    """Each in full, each as an intent of its own that is paid and settles."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    offers = _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    search, tokens = (leg.digest for leg in bundle.legs)
    _fill(
        bench,
        seen,
        (search, offers[SEARCH].digest, 10),
        (tokens, offers[TOKENS].digest, 100),
    )
    bench.wait(10)
    assert _statuses(bench, bundle) == ["filled", "filled"]
    assert bench.available(alice) == 10**9 - 110
    bench.closing()
    assert bench.available(alice) == 10**9


@pytest.mark.parametrize("place", [0, 1])
def test_no_leg_is_filled_without_the_others(place: int) -> None:
    """A solution with one leg counts for nothing; both go on, their money held."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    offers = _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    leg = bundle.legs[place]
    offer = offers[leg.intent.resource]
    _fill(bench, seen, (leg.digest, offer.digest, leg.intent.units))
    bench.wait(10)
    assert _statuses(bench, bundle) == ["open", "open"]
    assert bench.available(alice) == 10**9 - 600


@pytest.mark.parametrize("chosen", [0, 1])
def test_one_of_an_any_of_is_filled_and_the_others_end(chosen: int) -> None:
    """Whichever it is, the money of the others is free again."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens(), _search().of(THIRD), any_of=True)
    bench.do(bundle)
    offers = _offers(bench, *RESOURCES)
    seen = _snapshot(bench)
    leg = bundle.legs[chosen]
    _fill(bench, seen, (leg.digest, offers[leg.intent.resource].digest, leg.intent.units))
    bench.wait(10)
    expected = ["unfilled"] * 3
    expected[chosen] = "filled"
    assert _statuses(bench, bundle) == expected
    assert bench.available(alice) == 10**9 - leg.intent.units


def test_the_rest_of_a_chosen_leg_goes_on() -> None:
    """A leg that takes parts was chosen by its first; what is left of it is an intent alone."""
    bench = _bench()
    bundle = a_bundle(alice, an_intent().units(10).limit(100), _tokens(), any_of=True)
    bench.do(bundle)
    offers = _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    chosen = bundle.legs[0].digest
    _fill(bench, seen, (chosen, offers[SEARCH].digest, 4))
    bench.wait(10)
    assert _statuses(bench, bundle) == ["open", "unfilled"]
    assert _legs(bench, bundle)[0].open_units == 6
    seen = _snapshot(bench)
    assert seen.bundles == ()
    _fill(bench, seen, (chosen, offers[SEARCH].digest, 6))
    bench.wait(10)
    assert _statuses(bench, bundle) == ["filled", "unfilled"]


def test_two_of_an_any_of_are_never_filled() -> None:
    """One solver with both fills none; two solvers with one each share one choice."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens(), any_of=True)
    bench.do(bundle)
    offers = _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    fills = [
        (leg.digest, offers[leg.intent.resource].digest, leg.intent.units) for leg in bundle.legs
    ]
    _fill(bench, seen, *fills, solver="greedy")
    for place, fill in enumerate(fills):
        _fill(bench, seen, fill, solver=f"s{place}")
    bench.wait(10)
    assert sorted(_statuses(bench, bundle)) == ["filled", "unfilled"]


# -- how it ends


@pytest.mark.parametrize("any_of", [False, True])
@pytest.mark.parametrize("by", ["bundle", "leg", "nonce", "time", "session"])
def test_all_legs_end_together(by: str, *, any_of: bool) -> None:
    """Cancelled here as a whole or by a leg, on chain, at its end, or with its session."""
    bench = _bench().granting(dave, alice, seconds=HOUR_S // 2)
    bundle = a_bundle(
        dave,
        _search().nonce(9_001),
        _tokens().nonce(9_002),
        any_of=any_of,
        account=alice,
        authority=Authority.SESSION,
    )
    bench.do(bundle)
    match by:
        case "bundle":
            bench.do(CancelDocument(account=alice.address, digest=bundle.digest))
        case "leg":
            bench.do(CancelDocument(account=alice.address, digest=bundle.legs[1].digest))
        case "nonce":
            bench.chain(NonceCancelled(account=alice.address, nonce=9_002))
        case "time":
            bench.wait(2 * HOUR_S)
        case _:
            bench.wait(HOUR_S // 2)
    over = "expired" if by in {"time", "session"} else "cancelled"
    assert _statuses(bench, bundle) == [over, over]
    assert bench.available(alice) == 10**9


def test_whose_it_is_withdraws_it() -> None:
    """Nobody else's cancel, and no second one, does anything."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    foreign = CancelDocument(account=carol.address, digest=bundle.digest)
    assert bench.refuse(foreign) is RejectCode.NOT_AUTHORIZED
    mine = CancelDocument(account=alice.address, digest=bundle.digest)
    bench.do(mine)
    assert bench.refuse(mine) is RejectCode.NOT_OPEN


def test_a_filled_bundle_is_too_late_to_withdraw() -> None:
    """The word that it was filled stands."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    offers = _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    _fill(
        bench,
        seen,
        *(
            (leg.digest, offers[leg.intent.resource].digest, leg.intent.units)
            for leg in bundle.legs
        ),
    )
    bench.wait(10)
    cancel = CancelDocument(account=alice.address, digest=bundle.digest)
    assert bench.refuse(cancel) is RejectCode.TOO_LATE


def test_a_withdrawn_bundle_is_not_filled_at_the_close() -> None:
    """It was in the snapshot; its fills are left out whole, and others' are made."""
    bench = _bench()
    bundle, plain = a_bundle(alice, _search(), _tokens()), _search().signed_by(carol)
    bench.do(bundle)
    bench.do(plain)
    offers = _offers(bench, SEARCH, TOKENS)
    seen = _snapshot(bench)
    _fill(
        bench,
        seen,
        *(
            (leg.digest, offers[leg.intent.resource].digest, leg.intent.units)
            for leg in bundle.legs
        ),
        (plain.digest, offers[SEARCH].digest, 10),
    )
    bench.do(CancelDocument(account=alice.address, digest=bundle.digest))
    bench.wait(10)
    assert _statuses(bench, bundle) == ["cancelled", "cancelled"]
    assert bench.status(plain) == "filled"


def test_legs_begin_together() -> None:
    """Before its time a bundle is in no book."""
    bench = _bench()
    bundle = a_bundle(alice, _search().not_before(60), _tokens().not_before(60))
    bench.do(bundle)
    _offers(bench, SEARCH, TOKENS)
    assert not any(list(book.waiting()) for book in bench.market.state.books.values())
    bench.wait(60)
    assert [len(seen.legs) for seen in _snapshot(bench).bundles] == [2]


# -- what is remembered


def test_a_loaded_market_knows_its_bundles() -> None:
    """The same bytes, the same snapshot of the next auction, the same end."""
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    bench.do(a_bundle(carol, _search(), _tokens(), any_of=True))
    loaded = load(dump(bench.market.state))
    assert loaded.hash() == bench.market.state.hash()
    other = Market(USDC, loaded)
    cancel = CancelDocument(account=alice.address, digest=bundle.legs[0].digest, at_ms=bench.now_ms)
    assert other.apply(cancel) == bench.market.apply(cancel)
    assert loaded.hash() == bench.market.state.hash()
    assert {intent.status for intent in loaded.intents.values()} == {"cancelled", "open"}


def test_the_same_commands_give_the_same_market() -> None:
    """Replayed from what was logged, bundles and all."""
    bench = _bench()
    bench.do(a_bundle(alice, _search(), _tokens()))
    bench.do(a_bundle(carol, _search(), _tokens(), any_of=True))
    again = Market(USDC)
    for command in bench.log:
        again.apply(command)
    assert again.state.hash() == bench.market.state.hash()


@pure_only
def test_a_bundle_is_forgotten_with_its_last_leg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it stays in memory longer than its intents do."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 1)
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    bench.do(CancelDocument(account=alice.address, digest=bundle.digest))
    assert list(bench.market.state.bundles.by_digest) == [bundle.digest]
    later = _search().signed_by(alice)
    bench.do(later)
    bench.do(CancelDocument(account=alice.address, digest=later.digest))
    assert not bench.market.state.bundles.by_digest
    assert bench.market.state.bundles.of(bundle.legs[0].digest) is None


@pure_only
def test_a_planted_leg_that_outlives_the_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: legs do not end with each other."""
    monkeypatch.setattr(trade, "_end_legs", _nothing)
    with pytest.raises(BaseException, match="bundles_end_together"):
        test_all_legs_end_together("leg", any_of=False)


@pure_only
def test_a_planted_choice_that_leaves_the_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what was not chosen of an any-of goes on, and could be filled too."""
    monkeypatch.setattr(trade, "_end_alternatives", _nothing)
    with pytest.raises(BaseException, match="limit_is_held"):
        test_one_of_an_any_of_is_filled_and_the_others_end(0)


def _nothing(*_: object) -> None:
    """Stands for what was left out."""


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (never("choose_leg", contest), "fill_within_limit"),
        (edited(bundling, "_holds", "max(limits)", "min(limits)"), "limit_is_held"),
        (edited(bundling, "_rehold", "order.held = held", "pass"), "fill_within_limit"),
        (never("commit", bundling), "sessions_add_up"),
    ],
)
@pure_only
def test_planted_holds_of_any_ofs_are_found(
    plant: Patch, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice without money, one that a smaller leg holds for, and one that nobody counts."""
    plant(monkeypatch)
    with pytest.raises(BaseException, match=found):
        test_of_an_any_of_the_largest_limit_is_held(0)


@pure_only
def test_a_planted_part_in_a_snapshot_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: an auction shows a leg whose siblings are elsewhere, and it is filled alone."""

    def all_of_them(_state: State, books: tuple[object, ...]) -> tuple[object, ...]:
        return books

    monkeypatch.setattr(contest, "without_parts", all_of_them)
    bench = _bench()
    bundle = a_bundle(alice, _search(), _tokens())
    bench.do(bundle)
    offers = _offers(bench, SEARCH)
    seen = _snapshot(bench)
    _fill(bench, seen, (bundle.legs[0].digest, offers[SEARCH].digest, 10))
    with pytest.raises(BaseException, match="bundles_are_whole"):
        bench.wait(10)
