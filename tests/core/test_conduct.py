"""The breaker: who wins with capacity of its own and does not deliver, waits."""

from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import Reject, RejectCode
from solver.core import conduct as conducting
from solver.core.command import (
    EndLeases,
    FinishCall,
    KeyEnd,
    Mode,
    Outcome,
    PoolKey,
    ProposeSolution,
    RetireKey,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.conduct import (
    ANSWERED_MAX,
    BENCH_MS,
    CLEAN_PERIODS,
    LEVEL_MAX,
    PERIOD_MS,
    Conduct,
    Standing,
)
from solver.core.event import AuctionOpened, Filled, SolutionAccepted, SolverBenched
from solver.core.image import StateImage
from solver.core.snapshot import dump, load
from tests.builder import (
    HOUR_S,
    SEARCH,
    START_S,
    Bench,
    Person,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    every,
    key_of,
    only,
)
from tests.core.epoch import opened, proposal
from tests.core.sabotage import pure_only

PRICE: Final = 5 * 10**6


def _bench() -> Bench:
    return Bench().listing(SEARCH, Mode.EPOCH).funded(alice).pooling(bob, carol)


def _opened(bench: Bench, *, breaker: bool = True) -> AuctionOpened:
    return opened(bench, breaker=breaker)


def _proposal(
    auction: AuctionOpened, *fills: tuple[str, str, int], solver: Person = bob
) -> ProposeSolution:
    return proposal(auction, solver.address, PRICE, *fills)


def _crossing(bench: Bench, units: int, seller: Person) -> tuple[SubmitIntent, SubmitOffer]:
    """Demand, and what serves it."""
    until = bench.now_ms // 1_000 - START_S + HOUR_S
    bid = an_intent().units(units).limit(units * 9).until(until).signed_by(alice)
    ask = an_offer().units(units).limit(units).until(until)
    ask_signed = ask.from_key(key_of(seller)).signed_by(seller)
    bench.do(bid)
    bench.do(ask_signed)
    return bid, ask_signed


def _won(bench: Bench, units: int = 5, seller: Person = bob, *, breaker: bool = True) -> Filled:
    """Bob wins an auction with an offer of the seller's."""
    bid, ask = _crossing(bench, units, seller)
    opened = _opened(bench, breaker=breaker)
    bench.do(_proposal(opened, (bid.digest, ask.digest, units)))
    return only(bench.wait(1), Filled)


def _dies(bench: Bench, owner: Person = bob) -> list[SolverBenched]:
    return every(bench.do(RetireKey(key=key_of(owner), reason=KeyEnd.DEAD)), SolverBenched)


def _returns(bench: Bench, owner: Person = bob) -> None:
    bench.do(
        PoolKey(key=key_of(owner), owner=owner.address, provider="tavily", resources=(SEARCH,))
    )


def _asked(bench: Bench) -> Reject | list[object]:
    """Bob proposes something in a new auction."""
    bid, ask = _crossing(bench, 1, carol)
    opened = _opened(bench)
    result = bench.attempt(_proposal(opened, (bid.digest, ask.digest, 1)))
    return result if isinstance(result, Reject) else list(result)


def test_who_does_not_deliver_is_benched() -> None:
    """P-breaker: its key died with what it had won; its next proposal hears until when it waits."""
    bench = _bench()
    _won(bench)
    (benched,) = _dies(bench)
    assert (benched.solver, benched.answered, benched.faded) == (bob.address, 5, 5)
    assert benched.until_ms == bench.now_ms + BENCH_MS
    refused = _asked(bench)
    assert isinstance(refused, Reject)
    assert refused.code is RejectCode.SOLVER_BENCHED
    assert refused.retry_after_ms == benched.until_ms - bench.now_ms
    assert str(benched.until_ms) in refused.message
    bench.wait(BENCH_MS / 1_000)
    assert not isinstance(_asked(bench), Reject)


def test_a_benched_solver_leaves_no_trace() -> None:
    """Its refused proposal changes nothing."""
    bench = _bench()
    _won(bench)
    _dies(bench)
    bid, ask = _crossing(bench, 1, carol)
    proposal = _proposal(_opened(bench), (bid.digest, ask.digest, 1))
    assert bench.refuse(proposal) is RejectCode.SOLVER_BENCHED


def test_the_pool_is_not_its_fault() -> None:
    """Whose key died answers to nobody's solver but its own."""
    bench = _bench()
    _won(bench, seller=carol)
    assert not bench.market.state.conduct.answers
    assert _dies(bench, carol) == []
    assert bench.market.state.conduct.is_empty


@pytest.mark.parametrize("sellers_fault", [True, False])
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN])
def test_only_its_side_is_its_fault(outcome: Outcome, *, sellers_fault: bool) -> None:
    """A call that the buyer spoilt, or nobody knows of, harms no solver; what its side did does."""
    bench = _bench()
    fill = _won(bench)
    for _ in range(5):
        call = bench.start(bench.market.state.leases[fill.fill])
        bench.do(FinishCall(call=call, outcome=outcome, units=0, sellers_fault=sellers_fault))
    ended = EndLeases(account=alice.address, intent=fill.intent)
    told = [] if not bench.market.state.conduct.answers else bench.do(ended)
    benched = bench.market.state.conduct.standings[bob.address].benched_until_ms
    assert bool(benched) is sellers_fault
    assert len(every(told, SolverBenched)) in {0, 1}


def test_what_is_not_called_for_is_no_fade() -> None:
    """A buyer that leaves its lease unused counts for the solver: it stood by its word."""
    bench = _bench()
    fill = _won(bench)
    bench.do(EndLeases(account=alice.address, intent=fill.intent))
    standing = bench.market.state.conduct.standings[bob.address]
    assert (standing.answered, standing.faded) == (5, 0)


def test_what_was_delivered_after_all_is_no_fade() -> None:
    """Calls that failed and were repeated until all was delivered are forgiven."""
    bench = _bench()
    fill = _won(bench)
    lease = bench.market.state.leases[fill.fill]
    call = bench.start(lease)
    bench.do(FinishCall(call=call, outcome=Outcome.FAILED, units=0, sellers_fault=True))
    for _ in range(5):
        bench.finish(bench.start(lease), 1)
    standing = bench.market.state.conduct.standings[bob.address]
    assert (standing.answered, standing.faded) == (5, 0)


def test_units_that_another_serves_have_faded() -> None:
    """The buyer is served, by another's key: that was not the solver's doing."""
    bench = _bench()
    _won(bench)
    bench.do(an_offer().units(5).limit(5).from_key(key_of(carol)).signed_by(carol))
    (benched,) = _dies(bench)
    assert benched.faded == 5


def test_one_incident_is_one_bench() -> None:
    """All leases of a key that died fade at once, and double nothing."""
    bench = _bench()
    for _ in range(4):
        _won(bench)
    (benched,) = _dies(bench)
    standing = bench.market.state.conduct.standings[bob.address]
    assert (standing.level, standing.benched_until_ms) == (1, benched.until_ms)


def test_benches_double_and_decay() -> None:
    """Each bench is twice the last, up to a bound; six clean periods take a doubling away."""
    bench = _bench()
    for turn in range(LEVEL_MAX + 3):
        _won(bench)
        (benched,) = _dies(bench)
        assert benched.until_ms - bench.now_ms == BENCH_MS << min(turn, LEVEL_MAX)
        bench.wait((benched.until_ms - bench.now_ms) / 1_000)
        _returns(bench)
    standing = bench.market.state.conduct.standings[bob.address]
    clean_ms = CLEAN_PERIODS * PERIOD_MS
    levels = [standing.level_at(bench.now_ms + turn * clean_ms) for turn in range(LEVEL_MAX + 2)]
    assert levels == [7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert standing.level_at(bench.now_ms + clean_ms - 1) == LEVEL_MAX
    bench.wait(2 * clean_ms / 1_000)
    _won(bench)
    (benched,) = _dies(bench)
    assert benched.until_ms - bench.now_ms == BENCH_MS << (LEVEL_MAX - 2)


def test_auctions_without_a_breaker_hold_nobody_to_it() -> None:
    """What an old journal opened is carried out as it was then."""
    bench = _bench()
    _won(bench, breaker=False)
    assert _dies(bench) == []
    assert bench.market.state.conduct.is_empty
    _returns(bench)
    _won(bench)
    _dies(bench)
    bid, ask = _crossing(bench, 1, carol)
    opened = _opened(bench, breaker=False)
    only(bench.do(_proposal(opened, (bid.digest, ask.digest, 1))), SolutionAccepted)


def test_standings_outlast_a_restart() -> None:
    """What is loaded is what was dumped; where there is nothing, nothing is written."""
    bench = _bench()
    assert len(StateImage.__struct_fields__) == 3 + dump(bench.market.state)[2]
    _won(bench)
    _won(bench)
    for _ in range(2):
        again = load(dump(bench.market.state))
        assert again.hash() == bench.market.state.hash()
        assert again.conduct == bench.market.state.conduct
        _dies(bench) if bench.market.state.keys[key_of(bob)].live else None
    assert dump(bench.market.state)[2] == len(StateImage.__struct_fields__) - 2


@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.integers(0, 200), st.integers(0, 3 * BENCH_MS)),
        max_size=40,
    )
)
def test_the_rate_is_the_published_one(closes: list[tuple[int, int, int]]) -> None:
    """A bench comes with a fade that brings (fades + 1) / (units + 20) above 12 %, and no other."""
    conduct, now_ms = Conduct(), 1
    for number, (units, failed, wait_ms) in enumerate(closes):
        conduct.answer(str(number), solver="s", units=units, now_ms=now_ms)
        conduct.note_failed(str(number), failed)
        before = conduct.standings.get("s", Standing())
        answered, faded = before.answered + units, before.faded + min(failed, units)
        while answered > ANSWERED_MAX:
            answered, faded = answered // 2, faded // 2
        is_over = Fraction(faded + 1, answered + 20) > Fraction(12, 100)
        was_clear = now_ms > before.benched_ms
        benched = conduct.close(str(number), 0, now_ms)
        assert bool(benched) is (is_over and failed > 0 and was_clear)
        assert (conduct.fault("s", now_ms) is not None) >= bool(benched)
        now_ms += wait_ms


def test_as_many_standings_are_kept_as_memory_is_given_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that was touched longest ago is forgotten."""
    monkeypatch.setattr(conducting, "STANDINGS_MAX", 2)
    conduct = Conduct()
    for place, solver in enumerate("abac"):
        conduct.answer(str(place), solver=solver, units=1, now_ms=1)
        conduct.close(str(place), 1, 2)
    assert list(conduct.standings) == ["a", "c"]


@pure_only
@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("LEVEL_MAX", 6),
        ("BENCH_MS", BENCH_MS + 1),
        ("CLEAN_PERIODS", 7),
        ("PERIOD_MS", PERIOD_MS * 2),
    ],
)
def test_planted_bounds_are_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: int) -> None:
    """Whoever changes a published bound in the code alone is noticed."""
    monkeypatch.setattr(conducting, name, planted)
    with pytest.raises(AssertionError):
        test_benches_double_and_decay()
