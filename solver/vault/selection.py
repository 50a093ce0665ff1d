"""Which lease serves the next call. Pure: the same input gives the same order."""

from collections.abc import Callable, Sequence

import msgspec


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An open lease of an intent, and the key behind it."""

    lease: str
    key: str
    resource: str
    remaining: int
    last_used_ms: int = 0


Strategy = Callable[[Sequence[Candidate], str], tuple[Candidate, ...]]
"""Candidates in the order to try them; the text is the lease that served last, or empty."""


def round_robin(candidates: Sequence[Candidate], after: str) -> tuple[Candidate, ...]:
    """In a circle by lease, beginning behind the one that served last."""
    ordered = sorted(candidates, key=lambda candidate: candidate.lease)
    later = [candidate for candidate in ordered if candidate.lease > after]
    return (*later, *(candidate for candidate in ordered if candidate.lease <= after))


def least_recently_used(candidates: Sequence[Candidate], after: str) -> tuple[Candidate, ...]:
    """The longest unused key first; ties in a circle, as `round_robin`."""
    return tuple(
        sorted(round_robin(candidates, after), key=lambda candidate: candidate.last_used_ms)
    )
