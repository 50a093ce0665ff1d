"""Profile and seed of every test; README.md says how tests stay repeatable.

`KEYFILL_HYPOTHESIS=full` runs the heavier profile. One seed decides what Hypothesis draws,
the order of the tests and all other chance: the same in every run, unless `KEYFILL_SEED` is
another number, or `free` for a new one. It is printed at the start.
"""

import os
import sys
from collections import Counter
from typing import Final

import pytest
from hypothesis import HealthCheck, Verbosity, settings

from solver.settlement.chain import RECURSION_MAX
from tests.seed import SEED

PROFILE: Final = os.environ.get("KEYFILL_HYPOTHESIS", "quick")
_SLOW: Final = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "quick",
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SLOW,
    verbosity=Verbosity.normal,
)
settings.register_profile(
    "full",
    parent=settings.get_profile("quick"),
    max_examples=2_000,
    stateful_step_count=100,
)
settings.load_profile(PROFILE)

MACHINE: Final = settings(
    max_examples=1_000 if PROFILE == "full" else 60,
    stateful_step_count=100 if PROFILE == "full" else 40,
)
"""For a part's own state machine against its model; the whole market's sets its own."""


def pytest_configure(config: pytest.Config) -> None:
    """What has no seed of its own gets the run's; before the plugins look, which come later."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(SEED)
    if config.getoption("--randomly-seed", None) == "default":
        config.option.randomly_seed = SEED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only what hangs takes so long, however busy the machine; the full profile takes its time."""
    seconds_max = 7_200 if PROFILE == "full" else 600
    for item in items:
        item.add_marker(pytest.mark.timeout(seconds_max))


def pytest_collection_finish() -> None:
    """Undo what eth-account's imports do to the recursion limit, as production does."""
    sys.setrecursionlimit(RECURSION_MAX)


def pytest_report_header() -> str:
    """Name the profile and the seed of this run."""
    return f"keyfill: hypothesis profile {PROFILE}, KEYFILL_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests of each kind; a kind is a folder."""
    counts = Counter(
        report.nodeid.removeprefix("tests/").partition("/")[0].partition("::")[0]
        for report in terminalreporter.stats.get("passed", [])
        if report.when == "call"
    )
    terminalreporter.section("tests of each kind")
    for kind, count in sorted(counts.items()):
        terminalreporter.line(f"{count:6}  {kind}")
