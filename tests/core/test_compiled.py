"""The compiled core against the same source run as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core import broken, drop
from tests.core.floor import a_walk

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "build" / "compiled"
WALKS = 20
STEPS = 120
GROWTH_BYTES_MAX = 32_000
"""By one market more that was made and dropped: its thousand orders take ten times that."""
SCRIPT = f"""
import solver.core.exchange as exchange
from tests.core.floor import a_walk
print(exchange.__file__)
print(*(a_walk(seed, {STEPS}).market.state.hash() for seed in range({WALKS})))
"""


@pytest.mark.skipif(not COMPILED.exists(), reason="`make compile` needs a C compiler")
def test_compiled_and_plain_reach_the_same_states() -> None:
    """Every walk over the trading floor ends in the same state, invariants checked on the way."""
    hashes = _compiled("-c", SCRIPT)
    assert hashes.split() == [a_walk(seed, STEPS).market.state.hash() for seed in range(WALKS)]


@pytest.mark.skipif(not COMPILED.exists(), reason="`make compile` needs a C compiler")
def test_a_dropped_compiled_market_leaves_nothing_behind() -> None:
    """Its records have no part in garbage collection, and refer to each other while they stand."""
    assert int(_compiled("-m", drop.__name__)) < GROWTH_BYTES_MAX


@pytest.mark.skipif(not COMPILED.exists(), reason="`make compile` needs a C compiler")
def test_compiled_invariants_find_what_is_wrong() -> None:
    """Each number that is wrong is found, under the name by which plain Python finds it."""
    found = broken.said_of_mistakes()
    assert "nothing" not in found
    assert _compiled("-m", broken.__name__).split() == found


def _compiled(*arguments: str) -> str:
    """What a script says last that runs with the compiled core; first it says with which."""
    path = os.pathsep.join((str(COMPILED), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=COMPILED,
        env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    source, said = ran.stdout.splitlines()
    assert not source.endswith(".py"), "this was to be the compiled core"
    return said
