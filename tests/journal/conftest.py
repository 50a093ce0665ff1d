"""Fixtures of the journal's tests."""

import pytest

from solver.journal import journal


@pytest.fixture(autouse=True)
def _short_space_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks of a hundred thousand crashes are small, and begin new space now and then."""
    monkeypatch.setattr(journal, "AHEAD_BYTES", 1_024)
