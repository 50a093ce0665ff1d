"""The compiled core against the same source run as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.floor import a_walk

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "build" / "compiled"
WALKS = 20
STEPS = 120
SCRIPT = f"""
import solver.core.exchange as exchange
from tests.core.floor import a_walk
print(exchange.__file__)
print(*(a_walk(seed, {STEPS}).market.state.hash() for seed in range({WALKS})))
"""


@pytest.mark.skipif(not COMPILED.exists(), reason="`make compile` needs a C compiler")
def test_compiled_and_plain_reach_the_same_states() -> None:
    """Every walk over the trading floor ends in the same state, invariants checked on the way."""
    path = os.pathsep.join((str(COMPILED), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=COMPILED,
        env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    source, hashes = ran.stdout.splitlines()
    assert not source.endswith(".py"), "this was to be the compiled core"
    assert hashes.split() == [a_walk(seed, STEPS).market.state.hash() for seed in range(WALKS)]
