"""Bundles at their bounds: to the leg, to the atom, and when half of one is forgotten."""

from typing import Final

import msgspec
import pytest

from intents.bound import LEGS_MAX
from intents.reject import RejectCode
from solver.core import state as state_module
from solver.core.bundle import Bundle, Bundles
from solver.core.check import Violation
from solver.core.command import (
    Authority,
    CancelDocument,
    Mode,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
    SubmitBundle,
)
from solver.core.event import BundleAccepted
from solver.core.quality import Floor
from tests.builder import (
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    a_bundle,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    key_of,
    only,
)
from tests.core.sabotage import pure_only
from tests.judging import SEED, cleared

RESOURCES: Final = (SEARCH, TOKENS)


def _bench(*, usdc: int = 10**9) -> Bench:
    bench = Bench()
    for resource in RESOURCES:
        bench.listing(resource, Mode.EPOCH)
    return bench.funded(alice, carol, usdc=usdc).pooling(bob, resources=RESOURCES)


def _filled(bench: Bench, bundle: SubmitBundle, place: int, units: int, price: int) -> None:
    """So many units of one leg of an any-of are bought from bob."""
    leg = bundle.legs[place]
    resource = leg.intent.resource
    offer = an_offer().of(resource).units(units).limit(units * price).from_key(key_of(bob))
    sold = offer.signed_by(bob)
    bench.do(sold)
    bench.do(
        OpenAuction(resources=RESOURCES, asset=USDC, closes_at_ms=bench.now_ms + 1_000, seed=SEED)
    )
    auction = bench.market.state.auctions[max(bench.market.state.auctions)]
    fill = SolutionFill(intent=leg.digest, offer=sold.digest, units=units)
    bench.do(
        ProposeSolution(
            auction=auction.snapshot.auction,
            snapshot=auction.snapshot_digest,
            solver="s",
            books=(cleared(price * 10**6, [fill], resource),),
        )
    )
    bench.wait(1)


@pytest.mark.parametrize("any_of", [False, True])
def test_a_bundle_has_as_many_legs_as_fit(*, any_of: bool) -> None:
    """The most that there may be enter together; which kind it is, is told."""
    bench = _bench()
    bundle = a_bundle(alice, *[an_intent().limit(9) for _ in range(LEGS_MAX)], any_of=any_of)
    told = only(bench.do(bundle), BundleAccepted)
    assert (told.any_of, len(told.legs)) == (any_of, LEGS_MAX)
    assert bench.available(alice) == 10**9 - (9 if any_of else 9 * LEGS_MAX)


def test_no_legs_are_no_bundle() -> None:
    """Nor are more than fit: who lets such a command in is broken, and stops."""
    bundle = a_bundle(alice, *[an_intent() for _ in range(LEGS_MAX)])
    for legs in ((), (*bundle.legs, bundle.legs[0])):
        with pytest.raises(Violation, match="bundle_has_legs"):
            _bench().do(msgspec.structs.replace(bundle, legs=legs))


def test_a_mandate_buys_no_bundle() -> None:
    """Though it allows each leg by itself: its owner signed nothing of what binds them."""
    bench = _bench()
    mandate = a_mandate().signed_by(alice)
    bench.do(mandate)
    bundle = a_bundle(alice, an_intent(), an_intent())
    under = {"signer": mandate.digest, "authority": Authority.MANDATE, "signature": ""}
    assert bench.refuse(msgspec.structs.replace(bundle, **under)) is RejectCode.NOT_AUTHORIZED


@pytest.mark.parametrize("limits", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("chosen", [0, 1])
def test_money_follows_the_choice_to_the_atom(limits: tuple[int, int], chosen: int) -> None:
    """What the leg that is filled may cost is held by it, and what others held is free."""
    bench = _bench(usdc=max(limits))
    legs = [
        an_intent().of(resource).limit(limit)
        for resource, limit in zip(RESOURCES, limits, strict=True)
    ]
    bundle = a_bundle(alice, *legs, any_of=True)
    bench.do(bundle)
    assert bench.available(alice) == 0
    _filled(bench, bundle, chosen, 1, limits[chosen])
    assert bench.market.state.intents[bundle.legs[chosen].digest].status == "filled"
    assert bench.available(alice) == max(limits) - limits[chosen]


@pure_only
def test_a_bundle_is_known_by_its_last_leg(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as one leg is remembered, whoever sends it again hears that it was accepted."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 1)
    bench = _bench()
    bundle = a_bundle(alice, an_intent(), an_intent().of(TOKENS))
    bench.do(bundle)
    bench.do(CancelDocument(account=alice.address, digest=bundle.digest))
    assert [leg.digest in bench.market.state.intents for leg in bundle.legs] == [False, True]
    assert bench.refuse(bundle) is RejectCode.ALREADY_KNOWN


@pure_only
@pytest.mark.parametrize("kept", [0, 9])
@pytest.mark.parametrize("chosen", [0, 1])
def test_the_rest_of_a_choice_is_withdrawn_by_its_bundle(
    chosen: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever leg goes on, and whether the others are still remembered; what was filled stays."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", kept)
    bench = _bench()
    legs = [an_intent().of(resource).units(5).limit(50) for resource in RESOURCES]
    bundle = a_bundle(alice, *legs, any_of=True)
    bench.do(bundle)
    _filled(bench, bundle, chosen, 2, 6)
    bench.wait(0)
    assert len(bench.market.state.intents) == (2 if kept else 1)
    bench.do(CancelDocument(account=alice.address, digest=bundle.digest))
    leg = bench.market.state.intents[bundle.legs[chosen].digest]
    assert (leg.open_units, leg.filled_units) == (0, 2)
    assert bench.available(alice) == 10**9 - 2 * 6


@pytest.mark.parametrize("chosen", [0, 1])
def test_a_choice_that_was_filled_is_too_late_to_withdraw(chosen: int) -> None:
    """Its owner hears that it was filled, and not that the other leg was not."""
    bench = _bench()
    legs = [an_intent().of(resource).limit(20) for resource in RESOURCES]
    bundle = a_bundle(alice, *legs, any_of=True)
    bench.do(bundle)
    _filled(bench, bundle, chosen, 1, 6)
    cancel = CancelDocument(account=alice.address, digest=bundle.digest)
    assert bench.refuse(cancel) is RejectCode.TOO_LATE


def test_bundles_are_found_by_their_legs() -> None:
    """Each until its last leg is forgotten; what is no leg belongs to none."""
    one, two = (
        Bundle(digest=name, account="a", any_of=True, legs=(f"{name}1", f"{name}2"), floor=Floor())
        for name in "xy"
    )
    bundles = Bundles([one, two])
    assert (bundles.of("x1"), bundles.of("y2"), bundles.of("z")) == (one, two, None)
    bundles.forget("x1")
    bundles.forget("z")
    assert (bundles.of("x1"), bundles.of("x2")) == (None, one)
    assert list(bundles.by_digest) == ["x", "y"]
    bundles.forget("x2")
    assert list(bundles.by_digest) == ["y"]
