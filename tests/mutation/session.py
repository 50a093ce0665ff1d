"""A pytest session that is collected once and then runs single tests, again and again."""

import os
import sys
from collections.abc import Callable
from typing import Final

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.scope import ROOT, TESTS, TESTS_LEFT_OUT

OPTIONS: Final = (
    *("-q", "-s", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"),
    # What is imported before the session is not rewritten; none of it asserts anything.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


class Tests:
    """The collected tests by name."""

    def __init__(self, items: list[pytest.Item]) -> None:
        self._items = {
            item.nodeid: item
            for item in items
            if not any(part in item.nodeid for part in TESTS_LEFT_OUT)
        }

    @property
    def names(self) -> list[str]:
        """All, in order of collection."""
        return list(self._items)

    def passes(self, name: str) -> bool:
        """Run one test; whether it passed or was skipped."""
        item = self._items[name]
        if isinstance(item, pytest.Function):
            item._initrequest()  # pytest's own way to run an item once more
        reports = runtestprotocol(item, log=False, nextitem=None)
        return not any(report.failed for report in reports)


class _Plugin:
    def __init__(self, work: Callable[[Tests], None]) -> None:
        self._work = work
        self.worked = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running what was collected."""
        if session.testsfailed:
            return False
        self.worked = True
        self._work(Tests(session.items))
        return True


def in_session(work: Callable[[Tests], None], seed: int, folders: tuple[str, ...] = TESTS) -> bool:
    """Collect, then do `work`; False if the tests could not be collected."""
    os.chdir(ROOT)
    hypothesis.settings.register_profile(
        "mutants",
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        database=None,
    )
    # The suite's own profile takes from this one what it does not set: no failure is shrunk.
    hypothesis.settings.load_profile("mutants")
    plugin = _Plugin(work)
    pytest.main([*OPTIONS, f"--hypothesis-seed={seed}", *folders], plugins=[plugin])
    sys.stdout.flush()
    return plugin.worked
