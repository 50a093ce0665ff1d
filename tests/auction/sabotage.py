"""Bugs in what the checks of auctions call too."""

from types import ModuleType

import pytest

from tests.auction import ground
from tests.core.sabotage import Patch, all_of, edited


def planted(module: ModuleType, name: str, old: str, new: str) -> Patch:
    """In a function that the checks too call by its name."""

    def also_in_ground(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ground, name, getattr(module, name))

    return all_of(edited(module, name, old, new), also_in_ground)
