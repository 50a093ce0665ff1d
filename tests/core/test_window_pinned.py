"""What a window keeps, to the millisecond, and that it keeps no more."""

from solver.core.command import Limit
from solver.core.window import Window

SPAN_MS = 1_001
"""A second, and the millisecond that stamps may hide."""


def _used(window: Window, *at_ms: int, units: int = 1) -> Window:
    for now_ms in at_ms:
        window.start(units)
        window.finish(units, units, now_ms)
    return window


def test_places_that_are_free_again_need_no_waiting() -> None:
    """Long after, nobody waits, least of all less than nothing."""
    window = _used(Window(Limit(units=1, seconds=1)), 0)
    assert window.wait_ms(1, SPAN_MS - 1) == 1
    assert window.wait_ms(1, SPAN_MS) == 0
    assert window.wait_ms(1, 10**9) == 0


def test_an_image_has_what_still_counts() -> None:
    """Up to the last millisecond of its span, and the limit with what is in flight."""
    window = _used(Window(Limit(units=9, seconds=1)), 0, 500, units=2)
    window.start(3)
    assert window.image(0) == (9, 1, 3, [(0, 2), (500, 2)])
    assert window.image(SPAN_MS - 1) == (9, 1, 3, [(0, 2), (500, 2)])
    assert window.image(SPAN_MS) == (9, 1, 3, [(500, 2)])
    assert window.image(500 + SPAN_MS) == (9, 1, 3, [])


def test_a_window_goes_on_from_its_image() -> None:
    """With the same places taken, and for as long."""
    window = _used(Window(Limit(units=3, seconds=1)), 0, 500)
    window.start(1)
    units, seconds, in_flight_units, finished = window.image(600)
    again = Window(Limit(units=units, seconds=seconds), in_flight_units, finished)
    for now_ms in (600, SPAN_MS - 1, SPAN_MS, 500 + SPAN_MS):
        for wanted in (1, 2, 3):
            assert again.wait_ms(wanted, now_ms) == window.wait_ms(wanted, now_ms)
        assert again.occupied(now_ms) == window.occupied(now_ms)


def test_what_has_passed_is_not_kept() -> None:
    """Each finish drops the oldest that count no more, whatever still does."""
    window = _used(Window(Limit(units=9, seconds=1)), 0, 900)
    assert len(window._finished) == 2
    _used(window, SPAN_MS - 1)
    assert [at_ms for at_ms, _ in window._finished] == [0, 900, SPAN_MS - 1]
    _used(window, SPAN_MS)
    assert [at_ms for at_ms, _ in window._finished] == [900, SPAN_MS - 1, SPAN_MS]
    window.start(1)
    window.finish(1, 0, 10**6)
    assert list(window._finished) == []
    assert window._finished_units == 0
