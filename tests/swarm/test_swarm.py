"""Whole worlds: a small swarm, seeds that once failed, and the same world elsewhere."""

import os
from pathlib import Path
from typing import Final

import pytest

from simulations.swarm.fault import Faults
from simulations.swarm.swarm import Failure, Summary, differing, visit
from simulations.swarm.world import Report, World
from tests.conftest import PROFILE

SEEDS: Final = Path(__file__).parent / "seeds.txt"
WORLDS: Final = 400 if PROFILE == "full" else 40
STEPS: Final = 1_000
KINDS_MIN: Final = 30
"""Kinds of faults that strike in a small swarm at least; `make swarm` asks for all."""


def kept_seeds() -> list[tuple[int, int]]:
    """Seed and steps of every world that once failed."""
    lines = SEEDS.read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return [(int(seed), int(steps)) for seed, steps, *_ in words]


def test_no_world_of_a_small_swarm_finds_anything() -> None:
    """P1, P2, P3, P6, P7, P8, P9: whatever strikes, every promise is kept in every world."""
    summary = Summary()
    for seed in range(WORLDS):
        found = visit(seed, STEPS)
        assert isinstance(found, Report), f"{found.error}\n{found.command}"
        summary.add(found)
    assert summary.commands > 50 * WORLDS, "worlds do something"
    assert len(summary.faults) >= KINDS_MIN, "faults strike"


@pytest.mark.parametrize(("seed", "steps"), kept_seeds())
def test_a_seed_that_once_failed_passes(seed: int, steps: int) -> None:
    """What was found once is looked for ever after."""
    found = visit(seed, steps)
    assert isinstance(found, Report), found


def test_i22_the_same_seed_gives_the_same_hash_chain_in_another_process() -> None:
    """Neither the process nor PYTHONHASHSEED decides anything."""
    known = {seed: World(seed, STEPS).run().chain_hash for seed in (1, 2, 3)}
    assert len(set(known.values())) == len(known), "another seed is another world"
    assert not differing(known, STEPS)
    assert not differing(known, STEPS, {"PYTHONHASHSEED": "0", "PYTHONOPTIMIZE": "1"})


def _is_built_from_this(compiled: Path) -> bool:
    """Whether a folder has a compiled core, and sources that are ours as they stand."""
    if not list(compiled.glob("solver/core/exchange.*.so")):
        return False
    here = Path(__file__).parents[2]
    sources = [*here.glob("solver/**/*.py"), *here.glob("simulations/swarm/*.py")]
    twins = [(source, compiled / source.relative_to(here)) for source in sources]
    return all(twin.exists() and twin.read_bytes() == source.read_bytes() for source, twin in twins)


def test_i22_a_compiled_core_gives_the_same_hash_chain() -> None:
    """Compiled and pure core cannot be told apart, in any world."""
    compiled = Path(os.environ.get("KEYFILL_COMPILED", "build/compiled"))
    if not _is_built_from_this(compiled):
        pytest.skip("there is no compiled core, or it is of other sources")
    known = {seed: World(seed, STEPS).run().chain_hash for seed in range(8)}
    assert not differing(known, STEPS, folder=compiled)


def test_a_failure_names_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line is enough to see a failure again."""

    def fail(_: World) -> Report:
        raise RuntimeError("planted")

    monkeypatch.setattr(World, "run", fail)
    found = visit(17, 500)
    assert isinstance(found, Failure)
    assert found.error == "RuntimeError: planted"
    assert found.command == "python -m simulations.swarm --seed 17 --steps 500 --trace"


def test_a_calm_world_has_no_faults() -> None:
    """Swarm testing: some worlds know no fault at all, some one class only."""
    families = [Faults(seed).families for seed in range(200)]
    assert () in families
    assert any(len(present) == 1 for present in families)
    assert any(len(present) > 5 for present in families)
