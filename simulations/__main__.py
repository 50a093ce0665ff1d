"""`python -m simulations [credits|dollars]`: run a scenario, write its report, print figures."""

import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from simulations.measure import Figure
from simulations.report import write
from simulations.scenario import SCENARIOS, Parameters
from simulations.world import Run, World

REPORT: Final = Path(__file__).parent / "report"

app = App(name="simulations", help="Run a market scenario with the production core.")


@app.default
def simulate(
    scenario: Literal["credits", "dollars"] = "credits",
    *,
    agents: int = 200,
    rounds: int = 20_000,
    seed: int = 1,
    out: Path = REPORT,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run all variants of a scenario; leave parquet, manifest and PNG in `out`.

    Args:
        scenario: What to run.
        agents: How many participants, each buyer and contributor.
        rounds: Requests per variant.
        seed: Decides every random draw.
        out: Directory for the report.
        json: Print one JSON line per figure instead of a table.
    """
    try:
        variants = SCENARIOS[scenario](agents, rounds, seed)
    except ValueError as error:
        sys.exit(f"simulations: {error}")
    started = perf_counter()
    runs = _run_all(variants)
    figures = write(scenario, runs, perf_counter() - started, out)
    if json:
        _print_lines(figures)
    else:
        _print_table(scenario, figures, out)


def _run_all(variants: tuple[Parameters, ...]) -> list[Run]:
    """One after the other, with a bar on stderr where somebody is looking."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        runs = []
        for parameters in variants:
            task = progress.add_task(parameters.variant, total=parameters.rounds)
            on_period = partial(_advance, progress, task)
            runs.append(World(parameters, on_period).run())
    return runs


def _advance(progress: Progress, task: TaskID, rounds: int) -> None:
    progress.update(task, completed=rounds)


def _print_lines(figures: list[Figure]) -> None:
    for figure in figures:
        sys.stdout.write(msgspec.json.encode(figure).decode() + "\n")


def _print_table(scenario: str, figures: list[Figure], out: Path) -> None:
    table = Table(title=f"Scenario {scenario}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:,.4g}", figure.unit)
    console = Console()
    console.print(table)
    console.print(f"Report in {out}", soft_wrap=True)


if __name__ == "__main__":
    app()
