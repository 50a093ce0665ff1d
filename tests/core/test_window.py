"""Windows: exact at the upstream, wherever between start and finish it counts a call."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from solver.core.check import Violation
from solver.core.command import Limit
from solver.core.window import Window
from tests.core.ghost import Seen, most_in_any_window

limits = st.builds(Limit, units=st.integers(1, 6), seconds=st.integers(1, 3))
flights = st.lists(
    st.tuples(st.integers(0, 1_500), st.integers(1, 3), st.integers(0, 900)), max_size=40
)


def _fly(limit: Limit, flights: list[tuple[int, int, int]], random: Random) -> list[Seen]:
    """Start each call as early as the window allows; report when the upstream saw it."""
    window, now_ms = Window(limit), 0
    open_calls: list[tuple[int, int, int]] = []
    seen: list[Seen] = []

    def finish_until(time_ms: int) -> None:
        for call in sorted(open_calls):
            if call[0] <= time_ms:
                open_calls.remove(call)
                finish_ms, start_ms, units = call
                window.finish(units, units, finish_ms)
                at_ms = random.choice((start_ms, finish_ms, random.randint(start_ms, finish_ms)))
                seen.append((at_ms, units))

    for pause_ms, wanted, lasts_ms in flights:
        units = min(wanted, limit.units)
        now_ms += pause_ms
        finish_until(now_ms)
        while wait_ms := window.wait_ms(units, now_ms):
            now_ms = min([now_ms + wait_ms, *(call[0] for call in open_calls if call[0] > now_ms)])
            finish_until(now_ms)
        window.start(units)
        open_calls.append((now_ms + lasts_ms, now_ms, units))
    finish_until(now_ms + 10**6)
    return seen


@given(limit=limits, flights=flights, random=st.randoms(use_true_random=False))
@example(limit=Limit(units=1, seconds=1), flights=[(0, 1, 0), (1, 1, 0)], random=Random(1))  # noqa: S311
def test_no_sliding_window_is_ever_over_the_limit(
    limit: Limit, flights: list[tuple[int, int, int]], random: Random
) -> None:
    """P4, I12: both ends counted, at the upstream's own times, whatever calls overlap."""
    seen = sorted(_fly(limit, flights, random))
    assert most_in_any_window(seen, limit.seconds * 1_000) <= limit.units


@pytest.mark.parametrize("limit", [Limit(units=10, seconds=1), Limit(units=60, seconds=60)])
def test_the_limit_is_used_to_the_full(limit: Limit) -> None:
    """Back-to-back short calls get the limit per window, less the hidden millisecond."""
    windows = 20
    flights = [(0, 1, 0)] * (limit.units * windows)
    seen = _fly(limit, flights, Random(7))  # noqa: S311
    took_ms = seen[-1][0] - seen[0][0]
    assert took_ms <= (windows - 1) * (limit.seconds * 1_000 + 1)


@given(limit=limits, flights=flights, units=st.integers(1, 6), at_ms=st.integers(0, 9_000))
def test_waiting_is_exact_once_nothing_flies(
    limit: Limit, flights: list[tuple[int, int, int]], units: int, at_ms: int
) -> None:
    """After `wait_ms` a call may start, a millisecond earlier not; asking changes nothing."""
    units = min(units, limit.units)
    window, now_ms = Window(limit), 0
    for pause_ms, wanted, _ in flights:
        now_ms += pause_ms
        if not window.wait_ms(wanted, now_ms):
            window.start(wanted)
            window.finish(wanted, wanted, now_ms)
    now_ms += at_ms
    before = window.image(now_ms)
    wait_ms = window.wait_ms(units, now_ms)
    assert window.wait_ms(units, now_ms + wait_ms) == 0
    assert wait_ms == 0 or window.wait_ms(units, now_ms + wait_ms - 1) > 0
    assert (wait_ms == 0) == (window.occupied(now_ms) + units <= limit.units)
    assert window.image(now_ms) == before


def test_what_flies_is_not_free() -> None:
    """A call in flight counts however long it takes."""
    window = Window(Limit(units=2, seconds=1))
    window.start(2)
    assert window.in_flight_units == 2
    assert window.wait_ms(1, 10**9) == 1_001
    window.finish(2, 2, 10**9)
    assert window.wait_ms(1, 10**9 + 1_000) == 1
    assert window.wait_ms(1, 10**9 + 1_001) == 0


def test_metering_beyond_the_reservation_closes_the_window() -> None:
    """What was really used counts, even if it is more than was asked for."""
    window = Window(Limit(units=5, seconds=10))
    window.start(1)
    window.finish(1, 9, 0)
    assert window.occupied(0) == 9
    assert window.wait_ms(1, 0) == 10_001
    assert window.occupied(10_001) == 0


def test_unused_reservations_are_free_at_once() -> None:
    """A call that used nothing leaves no trace."""
    window = Window(Limit(units=1, seconds=10))
    window.start(1)
    window.finish(1, 0, 5)
    assert window.wait_ms(1, 5) == 0


def test_finishing_more_than_started_is_a_violation() -> None:
    """A finish without its start stops the process."""
    with pytest.raises(Violation, match="window_finish_was_started"):
        Window(Limit(units=1, seconds=1)).finish(1, 1, 0)
