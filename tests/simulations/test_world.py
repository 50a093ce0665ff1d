"""Whole runs: the same every time, nothing created or lost, and as theory says."""

import pytest

from simulations.economy import CREDIT_ATOMS, Issuance
from simulations.measure import share_served
from simulations.scenario import Money, Parameters
from simulations.theory import served_share
from simulations.world import Run, World
from solver.core import settling
from solver.core.check import Violation
from solver.core.ledger import ISSUANCE, Balance, post, transfer
from tests.core.sabotage import pure_only


def a_run(**changes: object) -> Run:
    """A small closed loop, changed as said, to its end."""
    given: dict[str, object] = {
        "variant": "test",
        "issuance": Issuance(starter_atoms=2 * CREDIT_ATOMS),
        "agents": 20,
        "rounds": 400,
        "check_rounds": 20,
        **changes,
    }
    return World(Parameters(**given)).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("money", list(Money))
def test_same_seed_gives_same_state_and_rows(money: Money) -> None:
    """A run is a function of its parameters."""
    assert a_run(money=money) == a_run(money=money)


def test_other_seed_gives_other_state() -> None:
    """The seed reaches the run; otherwise the test above would be empty."""
    assert a_run(seed=1).state_hash != a_run(seed=2).state_hash


@pytest.mark.parametrize("money", list(Money))
def test_closed_loop_keeps_money_constant(money: Money) -> None:
    """Where nothing is issued after the start, every period ends with the money it began with."""
    run = a_run(money=money, failed_calls_per_thousand=50)
    assert {row.money_atoms for row in run.rows} == {20 * 2 * CREDIT_ATOMS}
    assert sum(run.balances) == 20 * 2 * CREDIT_ATOMS
    assert run.residual == 0


@pytest.mark.parametrize("money", list(Money))
def test_issued_money_is_all_accounted_for(money: Money) -> None:
    """Balances sum to starter and uptime grants, and each source is named."""
    run = a_run(
        money=money, issuance=Issuance(starter_atoms=2 * CREDIT_ATOMS, uptime_atoms=123_457)
    )
    assert run.sources == {"starter": 20 * 2 * CREDIT_ATOMS, "uptime": 20 * 20 * 123_457}
    assert sum(run.balances) == sum(run.sources.values())


def test_book_and_chain_agree_once_all_is_final() -> None:
    """P7: a chain that knows only deposits and batches ends with the market's balances."""
    issuance = Issuance(starter_atoms=2 * CREDIT_ATOMS)
    parameters = Parameters(
        variant="test", issuance=issuance, money=Money.USDC, agents=20, rounds=400, settle_rounds=7
    )
    world = World(parameters)
    run = world.run()
    assert tuple(world.chain.balances.values()) == run.balances
    assert world.market.state.batch_next > 400 // 7 // 2
    assert not any(balance.debits_pending for balance in world.market.state.ledger.balances())


def test_every_request_has_one_end() -> None:
    """Broke, unanswered, failed and served are all there is, and none is negative."""
    run = a_run(failed_calls_per_thousand=200, threshold=3)
    for row in run.rows:
        assert row.unanswered >= 0
        assert row.requests == row.broke + row.unanswered + row.failed + row.served
    assert sum(row.failed for row in run.rows) > 0
    assert sum(row.broke for row in run.rows) > 0


@pure_only
def test_planted_leak_of_one_atom_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """One micro-credit that double entry does not miss (both sides moved) stops the run."""
    posted = 0

    def leaking(debit: Balance, credit: Balance, held: int, amount: int) -> None:
        nonlocal posted
        post(debit, credit, held, amount)
        posted += 1
        if posted == 100:
            transfer(Balance(ISSUANCE, credit.asset), credit, 1, forced=True)

    monkeypatch.setattr(settling, "post", leaking)
    with pytest.raises(Violation, match="tally_agrees"):
        a_run()
    assert posted >= 100


@pure_only
def test_payment_that_is_one_atom_short_is_caught_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seller who gets one micro-credit too little is found by that very command."""
    shaved = 0

    def shaving(debit: Balance, credit: Balance, held: int, amount: int) -> None:
        nonlocal shaved
        shaved += amount > 0
        post(debit, credit, held, amount - (amount > 0))

    monkeypatch.setattr(settling, "post", shaving)
    with pytest.raises(Violation, match="tally_agrees"):
        a_run(check_rounds=400)
    assert shaved == 1


def test_served_share_is_what_theory_says() -> None:
    """V2: (r - r^(k+1)) / (1 - r^(k+1)) at k = 5 and m = 2, through the production core.

    0.7532 in the long run of many agents; 50 agents and 10,000 rounds come within 0.02.
    """
    run = a_run(
        agents=50, rounds=12_000, threshold=5, failed_calls_per_thousand=0, check_rounds=6_000
    )
    settled = run.rows[len(run.rows) // 6 :]
    assert share_served(settled) == pytest.approx(served_share(2, 5), abs=0.02)


def test_money_at_the_threshold_ends_all_service() -> None:
    """If everyone already owns what they want to own, nobody serves."""
    run = a_run(threshold=2)
    assert sum(row.served for row in run.rows) == 0
    assert all(row.unanswered == row.requests for row in run.rows)


def test_unmatched_issuance_crashes_what_a_closed_loop_keeps_up() -> None:
    """E1: the same market, with and without grants that nothing matches.

    Agents best-reply. Grants take money per agent beyond the predicted crash, and service
    ends; without them it stays near what theory expects.
    """
    starter = 4 * CREDIT_ATOMS
    common = {"agents": 40, "rounds": 2_400, "seed": 1, "check_rounds": 2_400}
    closed = a_run(issuance=Issuance(starter_atoms=starter), **common)
    grants = Issuance(starter_atoms=starter, uptime_atoms=CREDIT_ATOMS // 4)
    unmatched = a_run(issuance=grants, **common)
    assert unmatched.rows[-1].money_atoms > 4 * closed.rows[-1].money_atoms
    assert share_served(closed.rows[-10:]) > 0.6
    assert share_served(unmatched.rows[-10:]) < 0.1


@pytest.mark.parametrize(
    "changes",
    [{"agents": 1}, {"rounds": 19}, {"responders": 0}, {"failed_calls_per_thousand": 1_001}],
)
def test_parameters_without_a_market_are_refused(changes: dict[str, int]) -> None:
    """Bounds of every parameter are checked before anything runs."""
    with pytest.raises(ValueError, match="is"):
        a_run(**changes)
