#!/usr/bin/env python3
"""Take one guard after the other out of the contracts, and see a test fail for each.

Works on a copy. A mutant that survives is a guard that nothing tests, and the exit status
says so. Where a mutant names `tests`, each of them has to fail: what they refuse has to succeed.
Where it names `invariants`, these have to find it too; no other mutant is tried on invariants,
and none on gas: they cost time, and the rest must do without them. One that names no tests is tried
on those of its source's family first (`*Session*.t.sol`), and on all others if they let it live.

Arguments select mutants by name, or by source (`--source Metered`); all take an hour or more.
Verdicts are kept under `.keyfill/mutants`: what was killed is not tried again until its source
changes (`--again` does), survivors are. What was built without any mutation is kept there too.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NotRequired, TypedDict

ROOT: Final = Path(__file__).resolve().parent.parent
BUILT: Final = ("cache", "out")
RESULTS: Final = ROOT.parent / ".keyfill" / "mutants" / "contracts.jsonl"
KEPT: Final = RESULTS.parent / "built"
LEFT_OUT: Final = ("*.gas.sol", "Gas.t.sol")
UNITS: Final = ("--no-match-contract", "InvariantTest$")
FUZZ_RUNS: Final = "64"
OUTPUT_TAIL: Final = 2_000
# Has sources within itself; forge does not compile tests again where a source alone changes.
HARNESS: Final = "RegistryHarness.sol"
IMPORT: Final = re.compile(r'from "(?:\./|\.\./src/)(\w+)\.sol";')
FAMILY: Final = re.compile("[A-Z][a-z]+")
# An invariant's name is on a line of its own, after the sequence that breaks it.
FAILURE: Final = re.compile(r"^(?:\[FAIL.*\])? (\w+)\(", re.MULTILINE)
# Unoptimised, and tests are not compiled again when a source changes: a quarter of the time. How
# short a sequence breaks an invariant is of no interest, and takes minutes to find.
PROFILE: Final = {
    "FOUNDRY_OPTIMIZER": "false",
    "FOUNDRY_OPTIMIZER_RUNS": "0",
    "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0",
}


class Mutant(TypedDict):
    """A guard by its text in a source, and what stands there without it."""

    name: str
    source: str
    text: str
    mutation: str
    tests: NotRequired[list[str]]
    invariants: NotRequired[list[str]]


class Verdicts:
    """What was killed, a line each in a file, so that a run can be stopped and goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self._killed = {json.loads(line)["key"] for line in lines if line.endswith("}")}

    def is_killed(self, mutant: Mutant) -> bool:
        """Whether it was, in the source as it is now."""
        return _key_of(mutant) in self._killed

    def keep(self, mutant: Mutant) -> None:
        """Remember that it was killed."""
        row = {"key": _key_of(mutant), "name": mutant["name"]}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _key_of(mutant: Mutant) -> str:
    source = source_of(ROOT, mutant).read_text()
    return hashlib.sha256(json.dumps([mutant, source]).encode()).hexdigest()


def failures_of(folder: Path, mutant: Mutant) -> list[str]:
    """The tests that fail with the mutant in place: those that it names, or the first of all."""
    tests = mutant.get("tests")
    failures = failed_tests(folder, *_match(tests)) if tests else _first_failure(folder, mutant)
    invariants = mutant.get("invariants")
    if failures and invariants:
        failures += failed_tests(folder, *_match(invariants))
    return failures


def _first_failure(folder: Path, mutant: Mutant) -> list[str]:
    """Of the source's family, or of all if none of these fails."""
    word = FAMILY.match(mutant["source"])
    family = f"*{word[0]}*.t.sol" if word else "*.t.sol"
    failures: list[str] = []
    if any(folder.joinpath("test").glob(family)):
        failures = failed_tests(folder, "--fail-fast", *UNITS, "--match-path", f"test/{family}")
    return failures or failed_tests(folder, "--fail-fast", *UNITS)


def _match(names: list[str]) -> tuple[str, str]:
    return "--match-test", rf"^({'|'.join(names)})\b"


def failed_tests(folder: Path, *selection: str) -> list[str]:
    """The tests that fail. What does not compile is no mutant."""
    run = subprocess.run(  # noqa: S603  our own tool, by path
        [
            *(folder / "tool" / "forge", "test", "--fuzz-runs", FUZZ_RUNS, "--color", "never"),
            *selection,
        ],
        cwd=folder,
        env=os.environ | PROFILE,
        capture_output=True,
        text=True,
        check=False,
    )
    failures = FAILURE.findall(run.stdout)
    if run.returncode != 0 and not failures:
        output = run.stdout[-OUTPUT_TAIL:] + run.stderr[-OUTPUT_TAIL:]
        raise SystemExit(f"{output}\nforge ended with {run.returncode} and no failed test")
    return failures


def fate_of(mutant: Mutant, failures: list[str]) -> tuple[bool, str]:
    """Whether it was killed, by all that it names, and what to say of it."""
    named = [*mutant.get("tests", ()), *mutant.get("invariants", ())]
    unharmed = [test for test in named if test not in failures]
    if failures and not unharmed:
        return True, f"killed    {mutant['name']} ({failures[0]})"
    return False, f"SURVIVED  {mutant['name']} {' '.join(unharmed)}".rstrip()


def source_of(folder: Path, mutant: Mutant) -> Path:
    """The file to mutate, in which the text stands once."""
    path = folder / "src" / f"{mutant['source']}.sol"
    if path.read_text().count(mutant["text"]) != 1:
        raise SystemExit(f"{mutant['name']}: not exactly once in {path.name}: {mutant['text']}")
    return path


def takers_of(folder: Path, mutant: Mutant) -> Iterator[Path]:
    """What of the tests has the source within itself: its own, and the harness if it reaches it."""
    own = folder / "test" / f"{mutant['source']}.t.sol"
    if own.exists():
        yield own
    harness = folder / "test" / HARNESS
    reached = set()
    waiting = IMPORT.findall(harness.read_text())
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += IMPORT.findall((folder / "src" / f"{name}.sol").read_text())
    if mutant["source"] in reached:
        yield harness


@contextmanager
def mutated(folder: Path, mutant: Mutant) -> Iterator[None]:
    """The copy with this mutation in it, and what was built of it before any mutation.

    Forge then compiles only the mutated source; after another mutant it would compile tests too.
    """
    for part in BUILT:
        shutil.rmtree(folder / part)
        shutil.copytree(folder / "clean" / part, folder / part)
    path = source_of(folder, mutant)
    before = {each: each.read_text() for each in (path, *takers_of(folder, mutant))}
    for each, text in before.items():
        each.write_text(text + f"// {mutant['name']}\n")
    path.write_text(before[path].replace(mutant["text"], mutant["mutation"]))
    try:
        yield
    finally:
        for each, text in before.items():
            each.write_text(text)


def copy_to(folder: Path) -> None:
    """All that forge needs."""
    for part in ("src", "test", "tool"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copy(ROOT / "foundry.toml", folder)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")


def build(folder: Path) -> None:
    """All without any mutation, of which no test may fail; of the same sources that stays known."""
    copy_to(folder)
    sources = [folder / "foundry.toml", *sorted(folder.glob("*/*.sol"))]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    for part in BUILT:
        if (KEPT / part).exists():
            shutil.copytree(KEPT / part, folder / part)
    found = KEPT / "digest"
    if not found.exists() or found.read_text() != digest:
        broken = failed_tests(folder, *UNITS)
        if broken:
            raise SystemExit(f"without any mutation {broken[0]} fails")
        shutil.rmtree(KEPT, ignore_errors=True)
        for part in BUILT:
            shutil.copytree(folder / part, KEPT / part)
        found.write_text(digest)
    for part in BUILT:
        shutil.copytree(folder / part, folder / "clean" / part)


def try_all(folder: Path, mutants: list[Mutant], verdicts: Verdicts) -> int:
    """One mutant after the other; how many survive."""
    build(folder)
    survivors = 0
    for mutant in mutants:
        with mutated(folder, mutant):
            is_killed, fate = fate_of(mutant, failures_of(folder, mutant))
        if is_killed:
            verdicts.keep(mutant)
        survivors += not is_killed
        sys.stdout.write(fate + "\n")
        sys.stdout.flush()
    return survivors


def main() -> int:
    """Run the named mutants, or all, as far as they have no verdict yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", nargs="*")
    parser.add_argument("--source", action="append", default=[], help="all of this contract")
    parser.add_argument("--again", action="store_true", help="also those that were killed before")
    given = parser.parse_args()
    mutants: list[Mutant] = tomllib.loads((ROOT / "tool" / "mutants.toml").read_text())["mutant"]
    if given.name or given.source:
        mutants = [
            mutant
            for mutant in mutants
            if mutant["name"] in given.name or mutant["source"] in given.source
        ]
    verdicts = Verdicts(RESULTS)
    waiting = [mutant for mutant in mutants if not verdicts.is_killed(mutant) or given.again]
    survivors = 0
    if waiting:
        with tempfile.TemporaryDirectory(prefix="keyfill-mutants-") as name:
            survivors = try_all(Path(name), waiting, verdicts)
    before = len(mutants) - len(waiting)
    sys.stdout.write(
        f"{survivors} of {len(mutants)} mutants survived, {before} were killed before\n"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
