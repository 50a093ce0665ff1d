"""`python -m simulations.swarm`: many worlds, or one that is told step by step."""

import sys
from pathlib import Path
from time import process_time
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from simulations.swarm.fault import FaultKind
from simulations.swarm.swarm import Failure, Summary, differing, fly, visit
from simulations.swarm.world import Report, World

RERUN_EVERY: Final = 20
HITS_MIN: Final = 100
"""A kind that strikes less often is as good as absent."""
WORLDS_FOR_HITS: Final = 1_000
STEPS_FOR_HITS: Final = 5_000

Flag = Annotated[bool, Parameter(negative="")]
app = App(name="simulations.swarm", help="Run whole markets in simulated trouble.")


@app.default
def run(
    *,
    worlds: int = 40,
    steps: int = 1_000,
    jobs: int = 1,
    first: int = 0,
    seed: int | None = None,
    trace: Flag = False,
    hashes: str | None = None,
    compiled: Path | None = None,
) -> None:
    """Run worlds; print a summary as JSON lines. Exit 1 if one found something wrong.

    Args:
        worlds: How many seeds.
        steps: Steps of each world with faults; what follows without faults is extra.
        jobs: Processes.
        first: The first seed.
        seed: Run this one world only.
        trace: With `seed`: print every event and every fault.
        hashes: Seeds, comma-separated: print their hash chains only.
        compiled: A folder with everything, compiled: some worlds run again with that.
    """
    if hashes is not None:
        _print_hashes([int(each) for each in hashes.split(",")], steps)
    elif seed is not None:
        _tell(seed, steps, trace=trace)
    else:
        _swarm(range(first, first + worlds), steps, jobs, compiled)


def _swarm(seeds: range, steps: int, jobs: int, compiled: Path | None) -> None:
    started = process_time()
    summary = _with_progress(seeds, steps, jobs)
    some = {seed: summary.hashes[seed] for seed in seeds[::RERUN_EVERY] if seed in summary.hashes}
    problems = [f"{each.error}\n    {each.command}" for each in summary.failures]
    problems += [f"seed {each}: another hash elsewhere" for each in differing(some, steps)]
    if compiled is not None:
        others = differing(some, steps, folder=compiled)
        problems += [f"seed {each}: another hash with the compiled core" for each in others]
    if len(seeds) >= WORLDS_FOR_HITS and steps >= STEPS_FOR_HITS:
        rare = summary.rare(HITS_MIN).items()
        problems += [f"{kind} struck only {count} times" for kind, count in rare]
    _print_summary(summary, len(some))
    if jobs == 1:
        spent_s = process_time() - started
        _print("swarm_steps_per_s", round(summary.steps / max(spent_s, 0.001)), "steps/s")
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        sys.stderr.write("Seeds that failed belong in tests/swarm/seeds.txt, for ever.\n")
        sys.exit(1)


def _with_progress(seeds: range, steps: int, jobs: int) -> Summary:
    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("worlds", total=len(seeds))

        def on_world(found: Report | Failure) -> None:
            progress.advance(task)
            if isinstance(found, Failure):
                sys.stderr.write(f"seed {found.seed}: {found.error}\n    {found.command}\n")

        return fly(seeds, steps, jobs, on_world)


def _print_summary(summary: Summary, rerun: int) -> None:
    _print("swarm_worlds", summary.worlds, "worlds")
    _print("swarm_steps", summary.steps, "steps")
    _print("swarm_commands", summary.commands, "commands")
    _print("swarm_events", summary.events, "events")
    _print("swarm_recoveries", summary.starts - summary.worlds, "recoveries")
    _print("swarm_rerun_elsewhere", rerun, "worlds")
    _print("swarm_failures", len(summary.failures), "worlds")
    for kind in FaultKind:
        _print(f"fault.{kind.value}", summary.faults.get(kind.value, 0), "hits")


def _print(name: str, value: int, unit: str) -> None:
    line = msgspec.json.encode({"name": name, "value": value, "unit": unit})
    sys.stdout.write(line.decode() + "\n")


def _print_hashes(seeds: list[int], steps: int) -> None:
    for seed in seeds:
        found = visit(seed, steps)
        chain_hash = found.chain_hash if isinstance(found, Report) else found.error
        sys.stdout.write(msgspec.json.encode((seed, chain_hash.replace(" ", "_"))).decode() + "\n")


def _tell(seed: int, steps: int, *, trace: bool) -> None:
    def on_trace(now_s: float, kind: str, what: object) -> None:
        if trace:
            sys.stdout.write(f"{now_s:12.6f} {kind:6} {what}\n")

    report = World(seed, steps, on_trace).run()
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


if __name__ == "__main__":
    app()
