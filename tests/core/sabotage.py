"""How a bug is planted: a function does nothing, or a line of its source says something else."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import msgspec
import pytest

from solver.core import exchange, judge
from solver.core.bid import Bid
from solver.core.check import Violation
from solver.core.winner import Competition, Selection

Patch = Callable[[pytest.MonkeyPatch], None]

pure_only = pytest.mark.skipif(
    not str(exchange.__file__).endswith(".py"),
    reason="compiled functions have no source to change, and cannot be replaced",
)


def nothing(*_: Any, **__: Any) -> None:
    """Sabotage by doing nothing."""


def never(name: str, target: Any) -> Patch:
    """A function of a module, or a method of a class, that does nothing."""
    return lambda monkeypatch: _plant(monkeypatch, target, name, nothing)


def edited(target: Any, name: str, old: str, new: str) -> Patch:
    """A function whose source has `new` for its one `old`.

    A place that is not found once means that the bug has to be planted anew.
    """

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        function = inspect.getattr_static(target, name)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {name}"
        module = target if isinstance(target, ModuleType) else inspect.getmodule(target)
        assert module is not None
        made: dict[str, Any] = {}
        exec(source.replace(old, new), vars(module), made)  # noqa: S102  the source is our own
        _plant(monkeypatch, target, name, made[name])

    return patch


def constant(module: ModuleType, name: str, value: Any) -> Patch:
    """A constant that says something else."""
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


def all_of(*patches: Patch) -> Patch:
    """Several changes that are one bug, or that let it show sooner."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for one in patches:
            one(monkeypatch)

    return patch


def seeds_until_caught(run: Callable[[int], object], seeds: int) -> int:
    """The first seed with which a check or an assertion fails; `seeds` if none does."""
    for seed in range(seeds):
        try:
            run(seed)
        except (AssertionError, Violation):
            return seed
    return seeds


def _plant(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, planted: Any) -> None:
    """In place of the honest function, wherever the core has it by this name."""
    honest = getattr(target, name)
    monkeypatch.setattr(target, name, planted)
    for path, module in list(sys.modules.items()):
        if path.startswith(("solver.core.", "tests.core.")) and vars(module).get(name) is honest:
            monkeypatch.setattr(module, name, planted)


def the_worst_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all sound bids the one that scores least wins alone."""

    class Worst(Competition):
        def __init__(self, bids: Sequence[Bid], seed: bytes, work_max: int) -> None:
            super().__init__(bids, seed, work_max)
            self._least = min(bids, key=lambda bid: bid.score, default=None)

        def best(self) -> Selection:
            best, least = super().best(), self._least
            if least is None:
                return best
            return msgspec.structs.replace(
                best, bids=(least.id,), score=least.score, score_max=least.score
            )

    monkeypatch.setattr(judge, "Competition", Worst)
