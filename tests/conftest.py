"""Profiles and seeds of every test: random, printed, and repeatable on request.

`KEYFILL_HYPOTHESIS=full` runs the heavier profile; `--hypothesis-seed=N` repeats a run.
Neither profile derandomises: each run looks at new cases, and a failure prints its seed.
"""

import os
import secrets
import sys
from collections import Counter
from typing import Final

import pytest
from hypothesis import HealthCheck, Verbosity, settings

from solver.settlement.chain import RECURSION_MAX

PROFILE: Final = os.environ.get("KEYFILL_HYPOTHESIS", "quick")
_SLOW: Final = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "quick",
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    derandomize=False,
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
    """Choose the run's seed here, so that the header can print it."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(secrets.randbits(32))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The full profile takes its time."""
    if PROFILE == "full":
        for item in items:
            item.add_marker(pytest.mark.timeout(7_200))


def pytest_collection_finish() -> None:
    """Undo what eth-account's imports do to the recursion limit, as production does."""
    sys.setrecursionlimit(RECURSION_MAX)


def pytest_report_header(config: pytest.Config) -> str:
    """Name the profile and the seed of this run."""
    seed = config.getoption("--hypothesis-seed")
    return f"keyfill: hypothesis profile {PROFILE}, --hypothesis-seed={seed}"


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
