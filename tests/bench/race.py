"""Rounds of runs, each in a fresh process, one engine after the other, again and again.

A machine is faster at some times than at others, so only what ran in turn is compared, and
of each engine its best round. A run whose fills are not the reference's counts for nothing:
it ends the race.
"""

import subprocess
from array import array
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.environment import ROOT, Environment
from tests.bench.flow import FILL_FIELDS, load_numbers
from tests.bench.lap import Answer
from tests.bench.traffic import FLOWS

RUN_SECONDS_MAX: Final = 300


class FillFault(Exception):
    """An engine filled something else than the reference."""


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """An engine on a flow, measured one way."""

    engine: str
    """A module with `engine(flow)`."""
    environment: Environment
    flow: str
    mode: str = "speed"
    suffixes: tuple[str, ...] = ("",)
    """How the name of the file that the engine is loaded from must end: `.so` if compiled."""


class Course:
    """The flows as files, drawn when first asked for, with the fills expected of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._expected: dict[str, array[int]] = {}

    def flow(self, name: str) -> Path:
        """The file of a flow."""
        path = self.folder / f"{name}.flow"
        if name not in self._expected:
            traffic = FLOWS[name]()
            traffic.flow.save(path)
            self._expected[name] = traffic.reference.fills
        return path

    def check(self, entrant: Entrant) -> None:
        """Compare the fills of the last run with the reference's, one by one."""
        expected = self._expected[entrant.flow]
        if entrant.mode == "memory":
            return  # it stops after the preload, when nothing is filled yet
        fills = load_numbers(self.folder / "fills")
        if fills == expected:
            return
        count = min(len(fills), len(expected))
        first = next((place for place in range(count) if fills[place] != expected[place]), count)
        place = first - first % FILL_FIELDS
        raise FillFault(
            f"{entrant.engine} on {entrant.flow}: fill {place // FILL_FIELDS} is "
            f"{fills[place : place + FILL_FIELDS].tolist()}, "
            f"not {expected[place : place + FILL_FIELDS].tolist()}"
        )


def timed(course: Course, entrant: Entrant, rounds: int) -> "list[array[int]]":
    """The nanoseconds of each operation, round by round."""
    taken: list[array[int]] = []
    for _ in range(rounds):
        run(course, entrant)
        taken.append(load_numbers(course.folder / "times"))
    return taken


def race(course: Course, entrants: dict[str, Entrant], rounds: int) -> dict[str, list[Answer]]:
    """Run all in turn, `rounds` times after one that nobody times; answers by entrant."""
    answers: dict[str, list[Answer]] = {name: [] for name in entrants}
    for entrant in entrants.values():
        if entrant.mode == "speed":
            run(course, entrant)
    for _ in range(rounds):
        for name, entrant in entrants.items():
            answers[name].append(run(course, entrant))
    return answers


def run(course: Course, entrant: Entrant) -> Answer:
    """One run, its fills compared."""
    flow = course.flow(entrant.flow)
    arguments = (entrant.engine, entrant.mode, str(flow), str(course.folder))
    result = subprocess.run(  # every argument is ours
        entrant.environment.command("tests.bench.lap", *arguments),
        env=entrant.environment.variables(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    if result.returncode:
        raise FillFault(f"{entrant.engine} on {entrant.flow} failed:\n{result.stderr.strip()}")
    answer: Answer = msgspec.json.decode(result.stdout, type=dict[str, float | str])
    source = str(answer["source"])
    if not source.endswith(entrant.suffixes):
        raise FillFault(f"{entrant.engine} was loaded from {source}")
    course.check(entrant)
    return answer


def best_rate(answers: list[Answer]) -> float:
    """Operations per CPU second of the best round."""
    return max(float(answer["operations"]) / float(answer["seconds"]) for answer in answers)


def least(answers: list[Answer], figure: str) -> float:
    """The lowest value of a figure in any round."""
    return min(float(answer[figure]) for answer in answers)
