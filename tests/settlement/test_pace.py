"""Steps go on whatever the node does, slower each time; what was refused waits longer each time."""

import asyncio
from collections.abc import Iterator

import pytest

from solver.settlement import pace
from solver.settlement.fault import ChainForked, ChainUnreachable, RequestRefused
from solver.settlement.pace import DOUBLINGS_MAX, Refusals, repeat
from tests.core.sabotage import edited


class _Steps:
    """Outcomes of steps, one after the other, and how long each was followed by nothing."""

    def __init__(self, outcomes: list[bool | Exception | None]) -> None:
        self._outcomes: Iterator[bool | Exception | None] = iter(outcomes)
        self.pauses: list[float] = []

    async def step(self) -> bool | None:
        outcome = next(self._outcomes, ChainForked("no more"))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def _pauses(
    monkeypatch: pytest.MonkeyPatch, outcomes: list[bool | Exception | None]
) -> list[float]:
    steps = _Steps(outcomes)
    monkeypatch.setattr(asyncio, "sleep", steps.sleep)
    with pytest.raises(ChainForked):
        await repeat(steps.step, 250, "waits")
    return steps.pauses


async def test_faults_of_the_node_double_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 64 times of it, and a step that succeeds brings it back; other faults come out."""
    faults: list[bool | Exception | None] = [ChainUnreachable("gone")] * 8
    found = await _pauses(monkeypatch, [None, RequestRefused("no"), False, *faults, None])
    grown = [0.25 * 2**times for times in (1, 2, 3, 4, 5, 6, 6, 6)]
    assert found == [0.25, 0.5, 0.25, *grown, 0.25]


async def test_who_is_behind_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause follows a step that says there is more."""
    assert await _pauses(monkeypatch, [True, True, False]) == [0.25]


def check_refusals() -> None:
    """The first wait is the retry itself; each further one is twice as long, up to a bound."""
    refusals, now_ms = Refusals[str](100), 0
    assert refusals.may_try("a", now_ms)
    for times in range(DOUBLINGS_MAX + 3):
        refusals.note("a", now_ms)
        wait_ms = 100 * 2 ** min(times, DOUBLINGS_MAX)
        assert not refusals.may_try("a", now_ms + wait_ms - 1)
        now_ms += wait_ms
        assert refusals.may_try("a", now_ms)
    refusals.note("b", now_ms)
    assert refusals.forget_all_but(["a", "c"]) == ["b"]
    assert refusals.may_try("b", now_ms)
    refusals.forget("a")
    refusals.note("a", now_ms)
    assert refusals.may_try("a", now_ms + 100)


def test_what_is_refused_again_waits_longer() -> None:
    """As `check_refusals` says."""
    check_refusals()


@pytest.mark.parametrize(
    ("owner", "name", "old", "new"),
    [
        (Refusals, "note", "before + 1), before", "before), before"),
        (Refusals, "may_try", "<= now_ms", "< now_ms"),
        (Refusals, "forget", "self._waits.pop(key, None)", "pass"),
        (pace, "_grown", "min(times, DOUBLINGS_MAX)", "times"),
    ],
)
def test_planted_bugs_are_found(
    owner: type | object, name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait that is too long, too short or kept is noticed."""
    edited(owner, name, old, new)(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        check_refusals()
