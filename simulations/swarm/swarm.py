"""Many worlds: run them on all cores, add up what struck, run some of them twice elsewhere."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from simulations.swarm.fault import FaultKind
from simulations.swarm.world import Report, World

CHUNK: Final = 8
RERUN_S_MAX: Final = 3_600
HASH_SEED: Final = "4711"
"""Of the process in which worlds run again; any but the first one's will do."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A world that found something wrong."""

    seed: int
    steps: int
    error: str

    @property
    def command(self) -> str:
        """What runs it again, and tells everything."""
        return f"python -m simulations.swarm --seed {self.seed} --steps {self.steps} --trace"


class Summary(msgspec.Struct, kw_only=True):
    """What a swarm came to."""

    worlds: int = 0
    steps: int = 0
    commands: int = 0
    events: int = 0
    starts: int = 0
    failures: list[Failure] = []
    faults: dict[str, int] = {}
    hashes: dict[int, str] = {}

    def add(self, found: Report | Failure) -> None:
        """One world more."""
        self.worlds += 1
        if isinstance(found, Failure):
            self.failures.append(found)
            return
        self.steps += found.steps
        self.commands += found.commands
        self.events += found.events
        self.starts += found.starts
        self.hashes[found.seed] = found.chain_hash
        for kind, count in found.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count

    def rare(self, hits_min: int) -> dict[str, int]:
        """Kinds of faults that struck too rarely."""
        counts = {kind.value: self.faults.get(kind.value, 0) for kind in FaultKind}
        return {kind: count for kind, count in counts.items() if count < hits_min}


def visit(seed: int, steps: int) -> Report | Failure:
    """One world, whatever becomes of it."""
    try:
        return World(seed, steps).run()
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return Failure(seed=seed, steps=steps, error=f"{type(error).__name__}: {error}")


def fly(
    seeds: Sequence[int], steps: int, jobs: int, on_world: Callable[[Report | Failure], None]
) -> Summary:
    """Run the worlds of these seeds in `jobs` processes."""
    summary = Summary()
    for found in _all(seeds, steps, jobs):
        summary.add(found)
        on_world(found)
    return summary


def _all(seeds: Sequence[int], steps: int, jobs: int) -> Iterator[Report | Failure]:
    if jobs <= 1:
        yield from (visit(seed, steps) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending: set[Future[list[Report | Failure]]] = {
            pool.submit(_visit_all, seeds[start : start + CHUNK], steps)
            for start in range(0, len(seeds), CHUNK)
        }
        while pending:
            done, pending = wait(pending, return_when="FIRST_COMPLETED")
            for future in done:
                yield from future.result()


def _visit_all(seeds: Sequence[int], steps: int) -> list[Report | Failure]:
    return [visit(seed, steps) for seed in seeds]


def hashes_elsewhere(
    seeds: Sequence[int], steps: int, environment: Mapping[str, str], folder: Path | None
) -> dict[int, str]:
    """The hash chains of these worlds in a process of its own, with the code in `folder`."""
    named = ",".join(map(str, seeds))
    command = [sys.executable, "-m", "simulations.swarm", "--hashes", named, "--steps", str(steps)]
    answer = subprocess.run(  # noqa: S603  ourselves
        command,
        env={**os.environ, "PYTHONHASHSEED": HASH_SEED, **environment},
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=RERUN_S_MAX,
    )
    return dict(msgspec.json.decode(line, type=tuple[int, str]) for line in answer.stdout.split())


def differing(
    known: Mapping[int, str],
    steps: int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> list[int]:
    """I22: seeds whose worlds end otherwise in another process, or with other code."""
    found = hashes_elsewhere(list(known), steps, environment or {}, folder) if known else {}
    return [seed for seed, chain_hash in known.items() if found.get(seed) != chain_hash]
