"""The whole market under arbitrary commands: invariants, ghosts, closing, replay."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.conftest import PROFILE
from tests.core.floor import ACTIONS, Floor, a_walk, finish

ROOT: Final = Path(__file__).parents[2]
SEEDS_THAT_ONCE_FAILED: Final = (1214, 156)
"""1214: an intent that became active in the second in which an offer expired was filled by it."""
WALKS: Final = 600 if PROFILE == "full" else 40
STEPS: Final = 150


class MarketMachine(RuleBasedStateMachine):
    """Every action of the floor as a rule; `check_all` and the ghosts run after each command."""

    def __init__(self) -> None:
        super().__init__()
        self.floor = Floor()

    def teardown(self) -> None:
        """Close, and compare with a replay."""
        finish(self.floor)


def _as_rule(name: str, ranges: tuple[tuple[int, int], ...]) -> Any:
    numbers = {f"n{place}": st.integers(low, high) for place, (low, high) in enumerate(ranges)}

    def step(self: MarketMachine, **drawn: int) -> None:
        getattr(self.floor, name)(*(drawn[number] for number in numbers))

    declare: Any = rule
    return declare(**numbers)(step)


for _name, _ranges in ACTIONS.items():
    setattr(MarketMachine, _name, _as_rule(_name, _ranges))

TestMarketMachine = MarketMachine.TestCase
TestMarketMachine.settings = settings(max_examples=300 if PROFILE == "quick" else 5_000)


@pytest.mark.parametrize("seed", [*SEEDS_THAT_ONCE_FAILED, *range(10)])
def test_known_walks_close(seed: int) -> None:
    """Kept seeds, and a few fixed ones that every run shares."""
    a_walk(seed, STEPS)


def test_new_walks_close(request: pytest.FixtureRequest) -> None:
    """Random walks from the run's seed: invariants, ghosts, P4, P6, P7 and P9 hold in each."""
    first = int(request.config.getoption("--hypothesis-seed"))
    leases = settled = won = 0
    for seed in range(first, first + WALKS):
        try:
            floor = a_walk(seed, STEPS)
        except BaseException as error:
            error.add_note(f"a_walk({seed}, {STEPS})")
            raise
        leases += len(floor.market.state.leases)
        settled += sum(batch.paid for batch in floor.market.state.batches.values())
        won += sum(bool(auction.winners) for auction in floor.market.state.auctions.values())
    assert leases > WALKS
    assert settled > WALKS
    assert won > 0


def test_p9_every_intent_ends_and_nothing_is_left_pending() -> None:
    """P9: wherever a walk stops, letting time pass and settling ends everything."""
    for steps in range(10, 150, 20):
        a_walk(steps, steps)


_HASHES: Final = """
from tests.core.floor import a_walk
print(*(a_walk(seed, 120).market.state.hash() for seed in range(5)))
"""


def test_other_processes_reach_the_same_state() -> None:
    """I22: neither the process nor PYTHONHASHSEED shows in the state hash."""
    answers = {
        subprocess.run(
            [sys.executable, "-c", _HASHES],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "4242")
    }
    assert len(answers) == 1
    assert len(answers.pop().split()) == 5
