#!/usr/bin/env python3
"""Take one guard after the other out of the contracts, and see a test fail for each.

Works on a copy. A mutant that survives is a guard that nothing tests, and the exit status
says so. Where a mutant names `tests`, each of them has to fail: what they refuse has to succeed.
Arguments select mutants by name, all of them take an hour or more. Gas and invariant
tests are left out: they cost time, and the rest must do without them.
"""

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
LEFT_OUT: Final = ("*Gas.t.sol", "*Invariant.t.sol")
FUZZ_RUNS: Final = "64"
OUTPUT_TAIL: Final = 2_000
FAILURE: Final = re.compile(r"^\[FAIL.*\] (\w+)\(", re.MULTILINE)
# Unoptimised, and tests are not compiled again when a source changes: a quarter of the time.
PROFILE: Final = {"FOUNDRY_DYNAMIC_TEST_LINKING": "true", "FOUNDRY_OPTIMIZER": "false"}


class Mutant(TypedDict):
    """A guard by its text in a source, and what stands there without it."""

    name: str
    source: str
    text: str
    mutation: str
    tests: NotRequired[list[str]]


def failed_tests(folder: Path) -> list[str]:
    """The tests that fail. What does not compile is no mutant."""
    run = subprocess.run(  # noqa: S603  our own tool, by path
        [folder / "tool" / "forge", "test", "--fuzz-runs", FUZZ_RUNS, "--color", "never"],
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
    unharmed = [test for test in mutant.get("tests", ()) if test not in failures]
    if failures and not unharmed:
        return True, f"killed    {mutant['name']} ({failures[0]})"
    return False, f"SURVIVED  {mutant['name']} {' '.join(unharmed)}".rstrip()


def source_of(folder: Path, mutant: Mutant) -> Path:
    """The file to mutate, in which the text stands once."""
    path = folder / "src" / f"{mutant['source']}.sol"
    if path.read_text().count(mutant["text"]) != 1:
        raise SystemExit(f"{mutant['name']}: not exactly once in {path.name}: {mutant['text']}")
    return path


@contextmanager
def mutated(folder: Path, mutant: Mutant) -> Iterator[None]:
    """The copy with this mutation in it, and what was built of it before any mutation.

    Forge then compiles only the mutated source; after another mutant it would compile tests too.
    """
    for part in BUILT:
        shutil.rmtree(folder / part)
        shutil.copytree(folder / "clean" / part, folder / part)
    path = source_of(folder, mutant)
    source = path.read_text()
    path.write_text(source.replace(mutant["text"], mutant["mutation"]))
    try:
        yield
    finally:
        path.write_text(source)


def copy_to(folder: Path) -> None:
    """All that forge needs."""
    for part in ("src", "test", "tool"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copy(ROOT / "foundry.toml", folder)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")


def main(names: list[str]) -> int:
    """Run the named mutants, or all."""
    mutants: list[Mutant] = tomllib.loads((ROOT / "tool" / "mutants.toml").read_text())["mutant"]
    mutants = [mutant for mutant in mutants if not names or mutant["name"] in names]
    for mutant in mutants:
        source_of(ROOT, mutant)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="keyfill-mutants-") as name:
        folder = Path(name)
        copy_to(folder)
        broken = failed_tests(folder)
        if broken:
            raise SystemExit(f"without any mutation {broken[0]} fails")
        for part in BUILT:
            shutil.copytree(folder / part, folder / "clean" / part)
        for mutant in mutants:
            with mutated(folder, mutant):
                is_killed, fate = fate_of(mutant, failed_tests(folder))
            survivors += not is_killed
            sys.stdout.write(fate + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{survivors} of {len(mutants)} mutants survived\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
