#!/usr/bin/env python3
"""Take one guard after the other out of the contracts, and see a test fail for each.

Works on a copy. A mutant that survives is a guard that nothing tests, and the exit status
says so. About fifteen minutes for all on two cores; arguments select mutants by name.
Gas and invariant tests are left out: they cost time, and the rest must do without them.
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
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BUILT: Final = ("cache", "out")
LEFT_OUT: Final = ("*Gas.t.sol", "*Invariant.t.sol")
FUZZ_RUNS: Final = "64"
OUTPUT_TAIL: Final = 2_000
FAILURE: Final = re.compile(r"^\[FAIL.*\] (\w+)\(", re.MULTILINE)
# Unoptimised, and tests are not compiled again when a source changes: a quarter of the time.
PROFILE: Final = {"FOUNDRY_DYNAMIC_TEST_LINKING": "true", "FOUNDRY_OPTIMIZER": "false"}


def failed_test(folder: Path) -> str | None:
    """The first test that fails, or None. What does not compile is no mutant."""
    run = subprocess.run(  # noqa: S603  our own tool, by path
        [folder / "tool" / "forge", "test", "--fuzz-runs", FUZZ_RUNS, "--color", "never"],
        cwd=folder,
        env=os.environ | PROFILE,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode == 0:
        return None
    failure = FAILURE.search(run.stdout)
    if failure is None:
        output = run.stdout[-OUTPUT_TAIL:] + run.stderr[-OUTPUT_TAIL:]
        raise SystemExit(f"{output}\nforge ended with {run.returncode} and no failed test")
    return failure[1]


def source_of(folder: Path, mutant: dict[str, str]) -> Path:
    """The file to mutate, in which the text stands once."""
    path = folder / "src" / f"{mutant['source']}.sol"
    if path.read_text().count(mutant["text"]) != 1:
        raise SystemExit(f"{mutant['name']}: not exactly once in {path.name}: {mutant['text']}")
    return path


@contextmanager
def mutated(folder: Path, mutant: dict[str, str]) -> Iterator[None]:
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
    mutants = tomllib.loads((ROOT / "tool" / "mutants.toml").read_text())["mutant"]
    mutants = [mutant for mutant in mutants if not names or mutant["name"] in names]
    for mutant in mutants:
        source_of(ROOT, mutant)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="keyfill-mutants-") as name:
        folder = Path(name)
        copy_to(folder)
        broken = failed_test(folder)
        if broken is not None:
            raise SystemExit(f"without any mutation {broken} fails")
        for part in BUILT:
            shutil.copytree(folder / part, folder / "clean" / part)
        for mutant in mutants:
            with mutated(folder, mutant):
                killer = failed_test(folder)
            survivors += killer is None
            fate = (
                f"killed    {mutant['name']} ({killer})"
                if killer
                else f"SURVIVED  {mutant['name']}"
            )
            sys.stdout.write(fate + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{survivors} of {len(mutants)} mutants survived\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
