"""Mandates by hand: what is bought under one, what ends with it, what it may cost."""

import pytest

from intents.reject import RejectCode
from solver.core.command import Authority, CancelDocument, StartCall, SubmitMandate
from solver.core.event import IntentStatus, MandateEnded
from solver.core.fact import EpochBumped, Fact, NonceCancelled, SessionRevoked
from tests.builder import (
    START_S,
    Bench,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    only,
    person,
)

SESSION = person("session")


def _mandated(bench: Bench, limit: int = 1_000) -> SubmitMandate:
    command = a_mandate().limit(limit).nonce(77_000).signed_by(alice)
    bench.do(command)
    return command


def test_what_a_mandate_pays_is_counted_for_good() -> None:
    """Committed until it is settled, spent from then on; what was not used is free again."""
    bench = a_bench()
    mandate = _mandated(bench)
    bench.do(an_offer().units(6).limit(600).signed_by(bob))
    command = an_intent().units(6).limit(600).under(mandate, alice)
    bench.do(command)
    record = bench.mandate(mandate)
    assert (record.committed, record.spent) == (600, 0)
    bench.use(bench.lease(command), 4)
    bench.wait(700)
    assert (record.committed, record.spent) == (400, 0)
    bench.settle(bench.cut())
    assert (record.committed, record.spent) == (0, 400)
    assert bench.status(command) is IntentStatus.SETTLED
    assert bench.refuse(an_intent().units(7).limit(601).under(mandate, alice)) is (
        RejectCode.MANDATE_EXCEEDED
    )
    bench.do(an_intent().units(6).limit(600).under(mandate, alice))


def test_a_line_that_the_chain_skips_is_not_spent() -> None:
    """Nobody was paid, so it may be bought again."""
    bench = a_bench()
    mandate = _mandated(bench)
    bench.do(an_offer().units(6).limit(600).signed_by(bob))
    command = an_intent().units(6).limit(600).under(mandate, alice)
    bench.do(command)
    bench.use(bench.lease(command), 6)
    batch = bench.cut()
    bench.settle(batch, skipping=(batch.lines[0].fill,))
    record = bench.mandate(mandate)
    assert (record.committed, record.spent) == (0, 0)


@pytest.mark.parametrize("on_chain", [False, True])
def test_a_mandate_ends_with_what_is_open_and_not_with_what_is_leased(on_chain: bool) -> None:  # noqa: FBT001
    """Open intents end at once and free their money; a lease serves on."""
    bench = a_bench()
    mandate = _mandated(bench)
    waiting = an_intent().limit(10).under(mandate, alice)
    leased = an_intent().limit(100).under(mandate, alice)
    bench.do(an_offer().limit(100).signed_by(bob))
    for command in (waiting, leased):
        bench.do(command)
    if on_chain:
        events = bench.chain(NonceCancelled(account=alice.address, nonce=77_000))
    else:
        events = bench.do(CancelDocument(account=alice.address, digest=mandate.digest))
    assert only(events, MandateEnded).mandate == mandate.digest
    assert bench.status(waiting) is IntentStatus.CANCELLED
    assert (bench.mandate(mandate).live, bench.mandate(mandate).committed) == (False, 100)
    bench.use(bench.lease(leased))
    bench.settle(bench.cut())
    assert bench.mandate(mandate).spent == 100


def test_a_mandate_expires_to_the_second_and_so_do_its_intents() -> None:
    """Nothing is bought, and no lease serves, when it is over."""
    bench = a_bench()
    mandate = a_mandate().until(60).signed_by(alice)
    bench.do(mandate)
    bench.do(an_offer().signed_by(bob))
    leased = an_intent().until(600).under(mandate, alice)
    waiting = an_intent().until(600).limit(1).under(mandate, alice)
    bench.do(leased)
    bench.do(waiting)
    assert bench.lease(leased).until_ms == (START_S + 60) * 1_000
    bench.wait(59.999)
    assert bench.status(waiting) is IntentStatus.OPEN
    assert only(bench.wait(0.001), MandateEnded).reason == "expired"
    assert bench.status(waiting) is not IntentStatus.OPEN
    call = StartCall(lease=bench.leases(leased)[0].id, call="c", units=1)
    assert bench.refuse(call) is RejectCode.LEASE_ENDED


@pytest.mark.parametrize(
    "fact",
    [
        SessionRevoked(account=alice.address, session=SESSION.address),
        EpochBumped(account=alice.address, epoch=1),
    ],
)
def test_what_ends_a_session_or_an_epoch_ends_its_mandates(fact: Fact) -> None:
    """With all intents under them."""
    bench = a_bench().granting(SESSION, alice)
    mandate = a_mandate().for_account(alice).signed_by(SESSION, Authority.SESSION)
    command = an_intent().under(mandate, alice)
    bench.do(mandate)
    bench.do(command)
    bench.chain(fact)
    assert not bench.mandate(mandate).live
    assert bench.status(command) is IntentStatus.CANCELLED
    assert bench.available(alice) == 10**9


def test_a_mandate_uses_its_session_and_ends_when_the_session_expires() -> None:
    """The cap counts what its mandates' intents may cost; its end is theirs."""
    bench = a_bench().granting(SESSION, alice, cap=150, seconds=60)
    mandate = a_mandate().for_account(alice).signed_by(SESSION, Authority.SESSION)
    bench.do(mandate)
    bench.do(an_intent().limit(100).under(mandate, alice))
    session = bench.market.state.accounts[alice.address].sessions[SESSION.address]
    assert session.committed == bench.mandate(mandate).committed == 100
    assert bench.refuse(an_intent().limit(51).under(mandate, alice)) is (
        RejectCode.SESSION_CAP_EXCEEDED
    )
    bench.wait(60)
    assert not bench.mandate(mandate).live
    assert session.committed == 0


def test_a_mandate_for_any_resource_buys_any() -> None:
    """An empty name means any; the tick bounds what a unit costs, not what all cost."""
    bench = a_bench().listing("other/thing:call")
    mandate = a_mandate().of("").at_most(5).limit(100).signed_by(alice)
    bench.do(mandate)
    for resource in ("other/thing:call", "tavily/search:call"):
        bench.do(an_intent().of(resource).units(10).limit(50).under(mandate, alice))
    assert bench.mandate(mandate).committed == 100
