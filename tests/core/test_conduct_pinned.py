"""The breaker to the unit and the millisecond: what benches, for how long, what is forgiven."""

import pytest

from solver.core import conduct as conducting
from solver.core.conduct import Answer, Conduct, Standing
from solver.core.event import SolverBenched

MINUTE_MS = 60_000
BENCH_MS = 15 * MINUTE_MS
CLEAN_MS = 60 * MINUTE_MS


def _closed(
    conduct: Conduct,
    units: int,
    failed: int,
    *,
    delivered: int = 0,
    since_ms: int = 1,
    now_ms: int = 2,
) -> SolverBenched | None:
    """One lease of a solver's own offer, from its fill to its end."""
    conduct.answer("lease", solver="s", units=units, now_ms=since_ms)
    conduct.note_failed("lease", failed)
    return conduct.close("lease", delivered, now_ms)


def test_bounds_are_the_published_ones() -> None:
    """Who changes one of them changes what solvers were told, and says so here."""
    said = {
        "RATE_PERCENT_MAX": 12,
        "FADED_FIRST": 1,
        "ANSWERED_FIRST": 20,
        "ANSWERED_MAX": 1_000,
        "BENCH_MS": BENCH_MS,
        "LEVEL_MAX": 7,
        "PERIOD_MS": 10 * MINUTE_MS,
        "CLEAN_PERIODS": 6,
        "STANDINGS_MAX": 10_000,
    }
    assert {name: getattr(conducting, name) for name in said} == said


@pytest.mark.parametrize(
    ("units", "failed", "benched"),
    [(4, 2, True), (5, 2, False), (6, 2, False), (13, 3, True), (14, 3, False)],
)
def test_the_rate_itself_is_allowed(units: int, failed: int, *, benched: bool) -> None:
    """Two faded of five are (2 + 1) / (5 + 20): twelve of a hundred, and no more."""
    assert bool(_closed(Conduct(), units, failed)) is benched


def test_a_lease_is_counted_once_and_to_the_unit() -> None:
    """What was delivered of it did not fade, and no more fades than was sold."""
    conduct = Conduct()
    assert _closed(conduct, 100, 3, delivered=98) is None
    assert (conduct.standings["s"].answered, conduct.standings["s"].faded) == (100, 2)
    assert _closed(conduct, 100, 1, delivered=90) is None
    assert (conduct.standings["s"].answered, conduct.standings["s"].faded) == (200, 3)
    assert not conduct.answers
    assert conduct.close("lease", 0, 3) is None
    assert conduct.standings["s"].answered == 200


def test_failures_are_counted_each_and_of_leases_that_answer() -> None:
    """Each call that its side failed at; of a lease that nobody answers for, nothing."""
    conduct = Conduct()
    conduct.answer("one", solver="s", units=9, now_ms=5)
    conduct.note_failed("one", 2)
    conduct.note_failed("one", 3)
    conduct.note_failed("other", 4)
    assert conduct.answers == {"one": Answer(solver="s", units=9, since_ms=5, failed=5)}


@pytest.mark.parametrize(
    ("answered", "kept"), [(1_000, (1_000, 4)), (1_001, (500, 2)), (2_001, (1_000, 2))]
)
def test_long_ago_counts_half(answered: int, kept: tuple[int, int]) -> None:
    """Beyond a thousand units both counts are halved, as often as it takes."""
    conduct = Conduct()
    _closed(conduct, answered, 4)
    assert (conduct.standings["s"].answered, conduct.standings["s"].faded) == kept


def test_a_bench_begins_everything_anew_but_its_level() -> None:
    """What it answered for is told, and forgotten; clean time counts from the bench's end."""
    conduct = Conduct()
    benched = _closed(conduct, 5, 5, now_ms=7)
    assert benched == SolverBenched(solver="s", until_ms=7 + BENCH_MS, answered=5, faded=5)
    assert conduct.standings["s"] == Standing(
        answered=0,
        faded=0,
        level=1,
        clean_from_ms=7 + BENCH_MS,
        benched_ms=7,
        benched_until_ms=7 + BENCH_MS,
    )


def test_what_was_given_at_the_bench_is_the_same_matter() -> None:
    """Up to that millisecond; what is given after it, also while benched, is another."""
    conduct = Conduct()
    _closed(conduct, 5, 5, now_ms=7)
    assert _closed(conduct, 5, 5, since_ms=7, now_ms=8) is None
    assert conduct.standings["s"].answered == 0
    again = _closed(conduct, 5, 5, since_ms=8, now_ms=9)
    assert again is not None
    assert again.until_ms == 9 + 2 * BENCH_MS
    assert conduct.standings["s"].level == 2


def test_a_bench_ends_at_its_time() -> None:
    """Refused to the last millisecond before, with how long to wait; then not."""
    conduct = Conduct()
    _closed(conduct, 5, 5, now_ms=7)
    fault = conduct.fault("s", 7 + BENCH_MS - 1)
    assert fault is not None
    assert fault.retry_after_ms == 1
    assert conduct.fault("s", 7 + BENCH_MS) is None
    assert conduct.fault("nobody", 7) is None


def test_a_fade_that_benches_nobody_starts_clean_time_anew() -> None:
    """What was worked off until then stays so; deliveries alone start nothing."""
    standing = Standing(level=3, clean_from_ms=1_000)
    conduct = Conduct(standings={"s": standing})
    assert _closed(conduct, 100, 0, now_ms=1_000 + CLEAN_MS) is None
    assert (standing.level, standing.clean_from_ms) == (3, 1_000)
    now_ms = 1_000 + CLEAN_MS + 5
    assert _closed(conduct, 100, 1, since_ms=now_ms, now_ms=now_ms) is None
    assert (standing.level, standing.clean_from_ms) == (2, now_ms)
    assert standing.level_at(now_ms + CLEAN_MS - 1) == 2
    assert standing.level_at(now_ms + CLEAN_MS) == 1
    assert standing.level_at(now_ms - 1) == 2, "before, nothing is worked off"


def test_nothing_is_kept_of_who_never_answered() -> None:
    """Empty until a lease is answered for, and as long as any standing is remembered."""
    conduct = Conduct()
    assert conduct.is_empty
    conduct.answer("lease", solver="s", units=1, now_ms=1)
    assert not conduct.is_empty
    conduct.close("lease", 1, 2)
    assert not conduct.is_empty
