"""`python -m tests.mutation`: mutants of `intents` and `solver.core`, and what kills them."""

import argparse
import importlib
import secrets
import subprocess
import sys
from random import Random
from typing import Final

from tests.mutation.campaign import Campaign
from tests.mutation.mutant import Mutant, mutants_of
from tests.mutation.report import report
from tests.mutation.result import Results
from tests.mutation.scope import MODULES, RESULTS, ROOT, path_of
from tests.mutation.trial import Fate

SETTLED: Final = (Fate.KILLED, Fate.TIMED_OUT)
HEAVY: Final = ("pytest", "hypothesis.stateful", "web3", "eth_account", "coincurve", "numpy")
"""Of others, imported once before all forks."""


def main(arguments: list[str]) -> int:
    """Try what was not killed before, print the scores; 1 if one is too low."""
    options = _options(arguments)
    results = Results(RESULTS)
    if options.fresh:
        results.clear()
    mutants = [one for module in _modules(options) for one in mutants_of(module)]
    mutants = _sampled(mutants, options.sample, options.seed)
    if not options.report:
        known = None if options.again else results
        pending = [one for one in mutants if known is None or _is_pending(one, known, options)]
        for name in HEAVY:
            importlib.import_module(name)
        sys.stdout.write(f"{len(pending)} of {len(mutants)} mutants, --seed {options.seed}\n")
        sys.stdout.flush()
        Campaign(
            results=results,
            seed=options.seed,
            seconds_max=options.seconds_max,
            workers=options.workers,
            live=options.live,
        ).run(pending)
        results.read()
    text, enough = report(mutants, results, everything=options.all)
    sys.stdout.write(text + "\n")
    return 0 if enough else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", choices=MODULES, help="only this one")
    parser.add_argument(
        "--changed", nargs="?", const="HEAD", help="only modules that differ from this commit"
    )
    parser.add_argument("--sample", type=int, help="only so many, drawn by the seed")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31))
    parser.add_argument("--workers", type=int, default=1, help="processes at once")
    parser.add_argument("--seconds-max", type=float, default=30.0, help="of tests for a mutant")
    parser.add_argument("--live", action="store_true", help="leave out what runs at import")
    parser.add_argument("--fresh", action="store_true", help="forget all verdicts")
    parser.add_argument("--again", action="store_true", help="try also what was killed before")
    parser.add_argument("--new", action="store_true", help="only what was never tried")
    parser.add_argument("--report", action="store_true", help="try nothing, print what is known")
    parser.add_argument("--all", action="store_true", help="list explained survivors too")
    return parser.parse_args(arguments)


def _modules(options: argparse.Namespace) -> list[str]:
    chosen = [one for one in MODULES if not options.module or one in options.module]
    if not options.changed:
        return chosen
    status = subprocess.run(
        ["git", "diff", "--name-only", options.changed, "--"],  # noqa: S607  whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    changed = {ROOT / name for name in status.stdout.splitlines()}
    return [one for one in chosen if path_of(one) in changed]


def _sampled(mutants: list[Mutant], count: int | None, seed: int) -> list[Mutant]:
    if count is None or count >= len(mutants):
        return mutants
    chosen = set(Random(seed).sample(range(len(mutants)), count))  # noqa: S311  no secret
    return [one for place, one in enumerate(mutants) if place in chosen]


def _is_pending(mutant: Mutant, results: Results, options: argparse.Namespace) -> bool:
    fate = results.fate_of(mutant)
    return fate is None or fate is Fate.POSTPONED or (not options.new and fate not in SETTLED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
