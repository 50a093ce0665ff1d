"""Clock, streams, chain and tally by themselves, and who may import whom."""

import ast
from pathlib import Path

import pytest

import simulations
from simulations.chain import CountingChain
from simulations.clock import VirtualClock
from simulations.stream import stream
from simulations.tally import Tally
from solver.core.check import Violation
from solver.core.event import BatchCut, BatchLine, PaymentSettled
from solver.core.fact import BatchSettled, FillSettled
from solver.core.ledger import ISSUANCE, Ledger, transfer

PACKAGE = Path(simulations.__file__).parent
MATCHING = {"solver.core.book", "solver.core.exchange", "solver.core.trade"}


def imported() -> set[str]:
    """Every module that a module of `simulations` imports; `swarm` runs the whole system."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "swarm" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return found


def test_simulations_know_only_the_core_and_the_documents() -> None:
    """Of our own code: intents, solver.core and (one day) the composition root."""
    ours = {name for name in imported() if name.split(".")[0] in {"solver", "contracts", "intents"}}
    strangers = {n for n in ours if not n.startswith(("solver.core.", "intents.", "solver.run"))}
    assert not strangers


def test_simulations_have_no_matcher_of_their_own() -> None:
    """Nothing here touches a book or trades: it all happens behind `Market.apply`."""
    assert not imported() & MATCHING
    assert "solver.core.market" in imported()
    assert not list(PACKAGE.rglob("*match*.py"))


def test_clock_jumps_in_order_of_time_then_of_scheduling() -> None:
    """Time is only ever where something happens, and ties keep their order."""
    clock, seen = VirtualClock(), list[tuple[int, str]]()

    def note(name: str) -> None:
        seen.append((clock.now_ms, name))

    def first() -> None:
        note("first")
        clock.after(5, lambda: note("last"))

    clock.after(10, lambda: note("late"))
    clock.after(5, first)
    clock.after(5, lambda: note("second"))
    clock.run()
    assert seen == [(5, "first"), (5, "second"), (10, "late"), (10, "last")]


def test_clock_does_not_go_back() -> None:
    """Nothing can be scheduled before now."""
    with pytest.raises(Violation, match="nothing_is_scheduled_in_the_past"):
        VirtualClock().after(-1, lambda: None)


def test_streams_are_independent_and_stable() -> None:
    """A stream depends on its seed and name only; the first draw is pinned for ever."""
    assert stream(1, "demand").random() == stream(1, "demand").random()
    draws = {stream(seed, name).random() for seed in (1, 2) for name in ("demand", "upstream")}
    assert len(draws) == 4
    assert stream(1, "demand").getrandbits(32) == 223_054_653


def test_chain_pays_and_reports_each_line_once() -> None:
    """Facts of a batch come with the next block, in the order that the core demands."""
    chain = CountingChain({"i": "alice", "o": "bob"}.__getitem__)
    chain.deposit("alice", 10)
    chain.deposit("bob", 0)
    line = BatchLine(fill="f", intent="i", offer="o", units=1, delivered=1, payment=4)
    chain.settle(BatchCut(number=0, digest="0xd", lines=(line,)))
    assert chain.balances == {"alice": 6, "bob": 4}
    block = chain.mine(at_ms=5)
    assert block.facts[2:] == (
        FillSettled(fill="f", payment=4),
        BatchSettled(number=0, digest="0xd"),
    )
    assert chain.mine(at_ms=6).facts == ()


def test_chain_never_pays_what_is_not_there() -> None:
    """An overdrawn line is a Violation: the book promised money that does not exist."""
    chain = CountingChain({"i": "alice", "o": "bob"}.__getitem__)
    chain.deposit("alice", 3)
    line = BatchLine(fill="f", intent="i", offer="o", units=1, delivered=1, payment=4)
    with pytest.raises(Violation, match="chain_never_overdraws"):
        chain.settle(BatchCut(number=0, digest="0xd", lines=(line,)))


def test_tally_follows_payments_and_sees_one_atom() -> None:
    """It agrees with an honest ledger, and not with one that is off by one."""
    ledger = Ledger()
    tally = Tally(ledger, "credit", ["alice", "bob"])
    tally.came_in("alice", 5, "starter")
    issuance, alice, bob = (ledger.account(name, "credit") for name in (ISSUANCE, "alice", "bob"))
    transfer(issuance, alice, 5)
    transfer(alice, bob, 2)
    tally.observe([PaymentSettled(fill="f", buyer="alice", seller="bob", payment=2)])
    tally.reconcile()
    assert (tally.money, tally.residual()) == (5, 0)
    transfer(issuance, bob, 1)
    assert tally.residual() == 1
    with pytest.raises(Violation, match="tally_agrees"):
        tally.reconcile()
