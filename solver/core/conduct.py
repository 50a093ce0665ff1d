"""Who wins and does not deliver: a breaker that benches by arithmetic, and nobody's decision.

A solver that fills from offers of its own answers for them. Of each lease that an auction gave to
such an offer, units fade that were not delivered by its fault: its key died, was revoked or was
limited, its upstream failed. What the buyer did not call for, and what the pool's keys did, is
not its fault. All bounds are here, and published.
"""

from typing import Final

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.core.event import SolverBenched

RATE_PERCENT_MAX: Final = 12
"""Above this, (faded + 1) / (answered + 20) benches: the first of few units is forgiven."""
FADED_FIRST: Final = 1
ANSWERED_FIRST: Final = 20
ANSWERED_MAX: Final = 1_000
"""Beyond so many units both counts are halved: nobody lives on what it delivered long ago."""
BENCH_MS: Final = 15 * 60 * 1_000
"""The first bench; each further one is twice as long, up to `LEVEL_MAX` doublings."""
LEVEL_MAX: Final = 7
PERIOD_MS: Final = 10 * 60 * 1_000
CLEAN_PERIODS: Final = 6
"""So many periods without a fade take one doubling away."""
STANDINGS_MAX: Final = 10_000
"""Solvers that are remembered; the one whose leases ended longest ago is forgotten first."""


class Answer(msgspec.Struct, kw_only=True):
    """A solver's word for a lease of its own offer, until the lease closes."""

    solver: str
    units: int
    since_ms: int
    failed: int = 0
    """Units that its side failed at, each as often as it did."""


class Standing(msgspec.Struct, kw_only=True):
    """What a solver answered for since its last bench, and how long the next one is."""

    answered: int = 0
    faded: int = 0
    level: int = 0
    """Doublings of the next bench, as of `clean_from_ms`."""
    clean_from_ms: int = 0
    benched_ms: int = 0
    benched_until_ms: int = 0

    def level_at(self, now_ms: int) -> int:
        """Doublings of the next bench, less what was worked off since."""
        clean = max(0, now_ms - self.clean_from_ms) // (CLEAN_PERIODS * PERIOD_MS)
        return max(0, self.level - clean)

    @property
    def is_beyond_rate(self) -> bool:
        """Whether it faded too often."""
        allowed = RATE_PERCENT_MAX * (self.answered + ANSWERED_FIRST)
        return 100 * (self.faded + FADED_FIRST) > allowed


class Conduct(msgspec.Struct, kw_only=True):
    """Of all solvers. Leases by id, standings by account, the longest untouched first."""

    answers: dict[str, Answer] = {}
    standings: dict[str, Standing] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody ever filled from an offer of its own."""
        return not self.answers and not self.standings

    def answer(self, lease: str, *, solver: str, units: int, now_ms: int) -> None:
        """An auction gave the solver's own offer this lease."""
        self.answers[lease] = Answer(solver=solver, units=units, since_ms=now_ms)

    def note_failed(self, lease: str, units: int) -> None:
        """The seller's side failed at units of a lease; if another serves them, it has faded."""
        answer = self.answers.get(lease)
        if answer is not None:
            answer.failed += units

    def close(self, lease: str, delivered: int, now_ms: int) -> SolverBenched | None:
        """A lease is over: count it, and bench who faded too often.

        What was given before the last bench is the same matter, and not counted again.
        """
        answer = self.answers.pop(lease, None)
        if answer is None:
            return None
        standing = self._touched(answer.solver)
        if answer.since_ms <= standing.benched_ms:
            return None
        faded = min(answer.failed, answer.units - delivered)
        _count(standing, answer.units, faded)
        if faded:
            standing.level, standing.clean_from_ms = standing.level_at(now_ms), now_ms
        if not faded or not standing.is_beyond_rate:
            return None
        return _bench(answer.solver, standing, now_ms)

    def fault(self, solver: str, now_ms: int) -> Reject | None:
        """Whether the solver is benched. Rejects: solver_benched."""
        standing = self.standings.get(solver)
        if standing is None or standing.benched_until_ms <= now_ms:
            return None
        until_ms = standing.benched_until_ms
        return reject(
            RejectCode.SOLVER_BENCHED,
            f"benched until {until_ms} (Unix milliseconds)",
            retry_after_ms=until_ms - now_ms,
        )

    def _touched(self, solver: str) -> Standing:
        standing = self.standings.pop(solver, None) or Standing()
        self.standings[solver] = standing
        if len(self.standings) > STANDINGS_MAX:
            del self.standings[next(iter(self.standings))]
        return standing


def _count(standing: Standing, answered: int, faded: int) -> None:
    standing.answered += answered
    standing.faded += faded
    while standing.answered > ANSWERED_MAX:
        standing.answered //= 2
        standing.faded //= 2


def _bench(solver: str, standing: Standing, now_ms: int) -> SolverBenched:
    """It begins anew after the bench, but for the level."""
    answered, faded = standing.answered, standing.faded
    until_ms = now_ms + (BENCH_MS << standing.level)
    standing.answered = standing.faded = 0
    standing.benched_ms, standing.benched_until_ms = now_ms, until_ms
    standing.level = min(LEVEL_MAX, standing.level + 1)
    standing.clean_from_ms = until_ms
    return SolverBenched(solver=solver, until_ms=until_ms, answered=answered, faded=faded)
