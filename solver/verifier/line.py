"""What waits to be verified: one line, in the order of asking, counted as it comes and goes.

Compiled: of single intents every one passes through here, and twenty thousand come in a second.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from intents.reject import Reject
from solver.verifier.batch import Kind, Verdict

DOCUMENT_BYTES: Final = 400
"""What a signed document takes, about: how many a body has is known once it is decoded."""
SHARES: Final = (1, 1, 1, 8, 8)
"""By kind: how many of its documents cost as much as one that is signed for itself."""

Taken = Callable[[Sequence["asyncio.Future[Any]"], Verdict], None]
"""Answers all who asked about intents that were verified together, now or later: a row for each.

Who has left is done already.
"""


class Body:
    """A body in line, and who waits for it; who is `taken` learns of many at once."""

    __slots__ = ("answered", "kind", "now_s", "raw", "since", "taken", "tries", "weight")

    def __init__(  # noqa: PLR0917  compiled code passes what has a place twice as fast
        self,
        kind: Kind,
        raw: bytes,
        now_s: int,
        since: float,
        answered: "asyncio.Future[Any]",
        taken: Taken | None = None,
    ) -> None:
        self.kind = kind
        self.raw = raw
        self.now_s = now_s
        self.weight = weight_of(kind, raw)
        self.tries = 0
        self.since = since
        self.answered = answered
        self.taken = taken

    def settle(self, verdict: Verdict | Reject) -> None:
        """Answer whoever still waits."""
        if not self.answered.done():
            self.answered.set_result(verdict)

    def goes_with(self, other: "Body") -> bool:
        """Whether one task may have both: it has one time, and what may kill goes alone.

        Single intents go with others that the same asks for: they are answered in one Verdict.
        """
        return (
            self.now_s == other.now_s
            and self.taken is other.taken
            and not self.tries
            and not other.tries
        )


class Line:
    """Bodies that no verifier has yet, the oldest first."""

    __slots__ = ("_bodies", "_bytes_max", "_weight_max", "bytes", "weight")

    def __init__(self, weight_max: int, bytes_max: int) -> None:
        self._bodies: deque[Body] = deque()
        self._weight_max = weight_max
        self._bytes_max = bytes_max
        self.weight = 0
        """In signatures."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def has_room(self, weight: int, size: int) -> bool:
        """A body that is larger than all the room there is has to find the line empty."""
        return not self._bodies or (
            self.weight + weight <= self._weight_max and self.bytes + size <= self._bytes_max
        )

    def is_long(self) -> bool:
        """Whether more than half of the room is taken."""
        return 2 * self.weight > self._weight_max or 2 * self.bytes > self._bytes_max

    def first(self) -> Body | None:
        """The oldest."""
        return self._bodies[0] if self._bodies else None

    def enter(self, body: Body) -> None:
        """The newest."""
        self._bodies.append(body)
        self.weight += body.weight
        self.bytes += len(body.raw)

    def return_first(self, body: Body) -> None:
        """One that was taken is the oldest again."""
        self._bodies.appendleft(body)
        self.weight += body.weight
        self.bytes += len(body.raw)

    def leave(self) -> Body:
        """Take the oldest."""
        body = self._bodies.popleft()
        self.weight -= body.weight
        self.bytes -= len(body.raw)
        return body

    def take(self, weight: int) -> list[Body]:
        """The oldest that go together, up to this weight or one; none of whom nobody waits for."""
        task: list[Body] = []
        taken = 0
        while self._bodies:
            body = self._bodies[0]
            if task and (taken + body.weight > weight or not task[0].goes_with(body)):
                break
            self.leave()
            if not body.answered.done():
                taken += body.weight
                task.append(body)
        return task


def weight_of(kind: Kind, raw: bytes) -> int:
    """How many signatures a body costs, about: what it counts for in a bound or a rate."""
    return max(1, len(raw) // (DOCUMENT_BYTES * SHARES[kind]))
