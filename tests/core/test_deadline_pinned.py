"""Deadlines keep no more than they must, and count what they keep exactly."""

from random import Random

import pytest

from solver.core import deadline
from solver.core.deadline import Deadlines, Timed
from tests.core.sabotage import pure_only
from tests.core.test_deadline import a_timed

SPARE = 4


def _empty_slots(queue: Deadlines) -> int:
    return sum(slot.first is None for slot in queue._slots.values())


def _counts_add_up(queue: Deadlines) -> None:
    assert queue._idle == _empty_slots(queue)
    assert sorted(queue._times) == sorted(queue._slots)
    assert queue._idle <= SPARE or 2 * queue._idle <= len(queue._times)


@pure_only
@pytest.mark.parametrize("seed", range(20))
def test_what_is_empty_is_counted_and_bounded(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step of any history: no more empty times than spare ones or half of all."""
    monkeypatch.setattr(deadline, "TIMES_SPARE_MAX", SPARE)
    random, queue = Random(seed), Deadlines()  # noqa: S311  test data
    entries: list[tuple[int, int, Timed]] = []
    now_ms = 0
    for number in range(400):
        choice = random.random()
        if choice < 0.55:
            entry, at_ms = a_timed(), now_ms + random.randint(1, 30)
            queue.add(entry, at_ms)
            entries.append((at_ms, number, entry))
        elif choice < 0.85 and entries:
            queue.remove(entries.pop(random.randrange(len(entries)))[2])
        else:
            now_ms += random.randint(0, 4)
            due = sorted(one for one in entries if one[0] <= now_ms)
            assert queue.is_due(now_ms) is bool(due)
            for one in due:
                assert queue.pop(now_ms) is one[2]
                entries.remove(one)
            assert queue.pop(now_ms) is None
        _counts_add_up(queue)
        assert queue.entries() == [one[2] for one in sorted(entries)]
        assert queue.next_ms == min((one[0] for one in entries), default=None)
        _counts_add_up(queue)


@pure_only
def test_the_last_spare_time_is_kept_and_one_more_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeping begins beyond both bounds: as many as are spare, and half of all times."""
    monkeypatch.setattr(deadline, "TIMES_SPARE_MAX", SPARE)
    queue = Deadlines()
    entries = [a_timed() for _ in range(2 * SPARE + 2)]
    for at_ms, entry in enumerate(entries):
        queue.add(entry, at_ms)
    for count, entry in enumerate(reversed(entries[SPARE + 1 :]), start=1):
        queue.remove(entry)
        assert len(queue._times) == 2 * SPARE + 2, count
    queue.remove(entries[SPARE])
    assert sorted(queue._times) == list(range(SPARE)), "all that is empty is gone at once"
    assert queue._idle == 0


@pure_only
def test_times_are_in_order_after_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order in which they came."""
    monkeypatch.setattr(deadline, "TIMES_SPARE_MAX", 0)
    queue = Deadlines()
    kept = {at_ms: a_timed() for at_ms in (90, 10, 70, 30)}
    gone = [a_timed() for _ in range(6)]
    for at_ms, entry in kept.items():
        queue.add(entry, at_ms)
    for at_ms, entry in enumerate(gone, start=100):
        queue.add(entry, at_ms)
    for entry in gone:
        queue.remove(entry)
    assert [queue.pop(100) for _ in kept] == [kept[at_ms] for at_ms in sorted(kept)]
    assert queue.next_ms is None


def test_nothing_is_never_due() -> None:
    """An empty queue answers plainly, at any time."""
    queue = Deadlines()
    assert queue.is_due(10**15) is False
    assert queue.pop(10**15) is None
    assert queue.entries() == []


@pure_only
def test_as_many_as_are_spare_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they are more than half of all; the next one sweeps."""
    monkeypatch.setattr(deadline, "TIMES_SPARE_MAX", SPARE)
    queue = Deadlines()
    entries = [a_timed() for _ in range(SPARE + 2)]
    for at_ms, entry in enumerate(entries):
        queue.add(entry, at_ms)
    for entry in entries[:SPARE]:
        queue.remove(entry)
        assert len(queue._times) == SPARE + 2
    queue.remove(entries[SPARE])
    assert queue._times == [SPARE + 1]


def test_what_has_no_deadline_is_not_removed() -> None:
    """Removing twice is as removing once, and as removing what never had one."""
    queue, entry, other = Deadlines(), a_timed(), a_timed()
    queue.remove(entry)
    queue.add(entry, 5)
    queue.add(other, 5)
    queue.remove(entry)
    queue.remove(entry)
    assert queue.entries() == [other]
    assert entry.due_slot is None
