"""Records say what was signed, to the field: settlement puts exactly that before the chain."""

import msgspec
import pytest

from intents.place import Place
from solver.core.snapshot import dump, load
from tests.builder import (
    CREDITS,
    SEARCH,
    USDC,
    Bench,
    IntentBuilder,
    OfferBuilder,
    alice,
    an_intent,
    an_offer,
    bob,
    offer_record_of,
    record_of,
)


@pytest.mark.parametrize(
    "builder",
    [
        an_intent(),
        an_intent().units(7).at_least(3).limit(70).paid_in(CREDITS).epoch(4).nonce(9),
        an_intent().immediate().not_before(60).until(600),
    ],
)
def test_an_intent_is_what_was_signed(builder: IntentBuilder) -> None:
    """Each of its fields, from the record that was made of it."""
    command = builder.signed_by(alice)
    assert record_of(command).document == command.intent


@pytest.mark.parametrize(
    "builder",
    [
        an_offer(),
        an_offer().units(7).limit(70).paid_in(CREDITS).epoch(4).nonce(9).window(5, 60),
        an_offer().not_before(60).until(600).from_key("0x" + "0b" * 32),
    ],
)
def test_an_offer_is_what_was_signed(builder: OfferBuilder) -> None:
    """Each of its fields, from the record that was made of it."""
    command = builder.signed_by(bob)
    assert offer_record_of(command).document == command.offer


def test_documents_are_what_was_signed_after_a_restart() -> None:
    """What a snapshot keeps of them is all of them."""
    bench = Bench().listing(SEARCH).funded(alice).pooling(bob)
    bid = an_intent().units(7).at_least(3).limit(70).not_before(60).until(600).signed_by(alice)
    ask = an_offer().units(5).limit(50).window(5, 60).signed_by(bob)
    bench.do(bid)
    bench.do(ask)
    state = load(dump(bench.market.state))
    assert state.intents[bid.digest].document == bid.intent
    assert state.offers[ask.digest].document == ask.offer


def test_a_bid_that_waits_for_two_units_waits_after_a_restart() -> None:
    """The smallest minimum there is: it is found beside its book, and filled."""
    bench = Bench().listing(SEARCH).funded(alice).pooling(bob)
    bid = an_intent().units(2).at_least(2).limit(20).signed_by(alice)
    bench.do(bid)
    state = load(dump(bench.market.state))
    waiting = state.book(SEARCH, USDC).waiting()
    assert [order.id for order in waiting] == [bid.digest]
    assert state.hash() == bench.market.state.hash()


def test_a_place_in_a_tree_is_proven_when_it_is_asked_for() -> None:
    """Whether the proof came with the intent or is made of the tree that it is in."""
    command = an_intent().signed_by(alice)
    told = record_of(msgspec.structs.replace(command, proof="0x0000"))
    assert told.proof == "0x0000"
    left, right = "aa" * 32, "bb" * 32
    told.proof_or_place = Place(left + right, 2, 1)
    assert told.proof == "0x0001" + left
