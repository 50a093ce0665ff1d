"""A record, or the bare fields, do what the command with these fields does, to the bit."""

import pytest

from intents.reject import Reject, RejectCode
from solver.core.check import Violation
from solver.core.command import CancelDocument, Command, SubmitIntent, SubmitOffer
from solver.core.event import Event
from solver.core.market import Market
from tests.builder import SEARCH, START_S, USDC, Bench, alice, an_intent, offer_record_of, record_of
from tests.core.floor import a_walk


def told(market: Market, command: Command, *, as_record: bool) -> list[Event] | Reject:
    """What the market says to a command, or to the record in its place."""
    if as_record and isinstance(command, SubmitIntent):
        return market.admit(record_of(command), command.at_ms)
    if as_record and isinstance(command, SubmitOffer):
        return market.admit(offer_record_of(command), command.at_ms)
    if as_record and isinstance(command, CancelDocument):
        return market.cancel(command.account, command.digest, command.at_ms)
    return market.apply(command)


@pytest.mark.parametrize("seed", range(8))
def test_records_and_commands_lead_to_the_same(seed: int) -> None:
    """Over a random walk: the same answer to each, refused ones too, and the same state."""
    walk = a_walk(seed, 300).log
    markets = Market(USDC), Market(USDC)
    for command in walk:
        by_command = told(markets[0], command, as_record=False)
        assert told(markets[1], command, as_record=True) == by_command
    assert markets[0].state.hash() == markets[1].state.hash()
    assert {SubmitIntent, SubmitOffer, CancelDocument} <= {type(command) for command in walk}


def test_a_record_that_was_refused_leaves_no_trace() -> None:
    """Neither in the state nor in the market's time."""
    bench = Bench().listing(SEARCH)
    command = an_intent().units(1).limit(5).signed_by(alice)
    before = bench.market.state.hash()
    refused = bench.market.admit(record_of(command), bench.now_ms + 5_000)
    assert isinstance(refused, Reject)
    assert refused.code is RejectCode.INSUFFICIENT_FUNDS
    assert bench.market.state.hash() == before


def test_time_holds_for_records_too() -> None:
    """It never falls, and what fell due is ticked before."""
    bench = Bench().listing(SEARCH).funded(alice)
    resting = an_intent().units(1).limit(5).until(60).signed_by(alice)
    bench.do(resting)
    record = record_of(an_intent().units(1).limit(5).signed_by(alice))
    with pytest.raises(Violation, match="time_never_falls"):
        bench.market.admit(record, bench.now_ms - 1)
    with pytest.raises(Violation, match="time_is_ticked_first"):
        bench.market.admit(record, (START_S + 60) * 1_000)
    with pytest.raises(Violation, match="time_is_ticked_first"):
        bench.market.cancel(alice.address, resting.digest, (START_S + 60) * 1_000)
