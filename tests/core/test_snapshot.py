"""A state as bytes and back: the same bytes, and a market that goes on in the same way."""

from itertools import permutations
from typing import Final

import msgspec
import pytest

from solver.core import state
from solver.core.command import CancelDocument, SubmitIntent, SubmitMandate, SubmitOffer
from solver.core.event import LeaseStatus
from solver.core.row import lease_row, order_row
from solver.core.snapshot import FORMAT_VERSION, dump, load, state_hash
from tests.builder import (
    SEARCH,
    START_S,
    TOKENS,
    USDC,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    key_of,
)
from tests.conftest import PROFILE
from tests.core.floor import a_walk
from tests.core.relay import a_relay
from tests.core.sabotage import pure_only

WALKS: Final = 600 if PROFILE == "full" else 20
STEPS: Final = 150


def test_a_loaded_market_goes_on_as_the_first(request: pytest.FixtureRequest) -> None:
    """After every prefix: the same events and refusals, and the same hash at the next stop."""
    first = int(request.config.getoption("--hypothesis-seed"))
    loads = 0
    for seed in range(first, first + WALKS):
        try:
            loads += a_relay(seed, STEPS).loads
        except BaseException as error:
            error.add_note(f"a_relay({seed}, {STEPS})")
            raise
    assert loads > 3 * WALKS


@pure_only
@pytest.mark.parametrize("kept", [0, 1, 7])
def test_a_loaded_market_forgets_as_the_first(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten is the same on both sides, however little is kept."""
    monkeypatch.setattr(state, "FINISHED_KEPT_MAX", kept)
    for seed in range(WALKS // 4):
        a_relay(seed, STEPS)


def test_reading_the_hash_changes_nothing() -> None:
    """A market that is hashed after each command ends as one that never was."""
    floor = a_walk(3, STEPS)
    assert floor.replay() == floor.market.state.hash() == state_hash(floor.market.state)


def test_equal_bytes_are_the_same_state_and_others_are_not() -> None:
    """One unit of one order more, and the hash is another."""
    floor = a_walk(4, 60)
    one, other = load(dump(floor.market.state)), load(dump(floor.market.state))
    assert one.hash() == other.hash()
    intent = next(iter(other.intents.values()))
    intent.order.seq += 1
    assert one.hash() != other.hash()


def test_a_loaded_market_has_its_books_as_they_came() -> None:
    """Also one that holds nothing, or whose first document is told after another's."""
    bench = a_bench().listing(TOKENS).pooling(bob, number=1, resources=(TOKENS,))
    bench.do(an_offer().of(TOKENS).from_key(key_of(bob, 1)).signed_by(bob))
    bench.do(an_intent().signed_by(alice))
    image = dump(bench.market.state)
    assert list(bench.market.state.books) == [(TOKENS, USDC), (SEARCH, USDC)]
    assert dump(load(image)) == image


@pytest.mark.parametrize("kinds", [*permutations(("mandate", "intent", "offer"))])
def test_an_accounts_documents_stand_in_the_order_in_which_they_came(
    kinds: tuple[str, ...],
) -> None:
    """Of whichever kinds: what ends them all ends the oldest first."""
    bench = a_bench()
    commands: dict[str, SubmitMandate | SubmitIntent | SubmitOffer] = {
        "mandate": a_mandate().signed_by(bob),
        "intent": an_intent().signed_by(bob),
        "offer": an_offer().limit(500).signed_by(bob),
    }
    for kind in kinds:
        bench.do(commands[kind])
    loaded = load(dump(bench.market.state))
    found = [record.digest for record in loaded.accounts[bob.address].standing]
    assert found == [commands[kind].digest for kind in kinds]


@pytest.mark.parametrize("late_s", [0, 1])
def test_a_lease_whose_time_is_over_ends_no_second_time(late_s: int) -> None:
    """A call in flight keeps it; a loaded market has nothing to tick for it, as the first."""
    bench = a_bench()
    bid = an_intent().until(60).signed_by(alice)
    bench.do(an_offer().signed_by(bob))
    bench.do(bid)
    lease = bench.lease(bid)
    bench.start(lease)
    bench.wait(60 + late_s)
    assert (lease.status, lease.until_ms) == (LeaseStatus.DRAINING, (START_S + 60) * 1_000)
    loaded = load(dump(bench.market.state))
    assert bench.market.state.next_due_ms == loaded.next_due_ms
    assert not loaded.is_due(bench.now_ms)


def test_a_name_is_one_string_in_a_loaded_market() -> None:
    """However many documents say it: a copy for each made a loaded market half as large again."""
    loaded = load(dump(a_walk(4, 300).market.state))
    names = [
        name
        for record in (*loaded.intents.values(), *loaded.offers.values())
        for name in (record.account, record.resource, record.asset, record.signer)
    ]
    names += [offer.key for offer in loaded.offers.values()]
    assert len(names) > 2 * len(set(names))
    assert len({id(name) for name in names}) == len(set(names))


def test_a_lease_that_no_solver_won_has_no_place_for_an_award() -> None:
    """So it is written as it was before there were any."""
    bench = a_bench()
    bench.do(an_offer().signed_by(bob))
    bid = an_intent().signed_by(alice)
    bench.do(bid)
    lease = bench.lease(bid)
    assert len(lease_row(lease)) == 18
    lease.charge, lease.award, lease.award_place = 1, "award", 2
    assert lease_row(lease)[18:] == (1, "award", 2)


def test_a_bid_that_waits_for_its_minimum_is_in_the_book_until_it_ends() -> None:
    """Its row says so, and not that it waits once it was taken back."""
    bench = a_bench()
    bid = an_intent().units(10).all_or_none().signed_by(alice)
    bench.do(bid)
    order = bench.market.state.intents[bid.digest].order
    assert order_row(order)[-1] is True
    bench.do(CancelDocument(account=alice.address, digest=bid.digest))
    assert order_row(order)[-1] is False


def test_what_is_no_snapshot_is_refused() -> None:
    """Cut, flipped to another type or of another format: an error, never half a state."""
    image = dump(a_walk(5, 60).market.state)
    for broken in (b"", b"\xc1", image[:-1], image[1:], image + b"\x00"):
        with pytest.raises(msgspec.DecodeError):
            load(broken)
    rows = msgspec.msgpack.decode(image)
    rows[0] = FORMAT_VERSION + 1
    with pytest.raises(msgspec.DecodeError, match="snapshot format"):
        load(msgspec.msgpack.encode(rows))
