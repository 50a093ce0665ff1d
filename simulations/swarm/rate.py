"""An outsider's count of what offers serve in their windows, from the feed alone.

What a key may do its upstream counts; what an offer allows only the market does, and this.
"""

from collections import deque

from intents.document import Offer
from simulations.swarm.finding import expect
from simulations.swarm.paper import Call
from solver.core.command import Outcome
from solver.core.event import CallFinished


class Rates:
    """Of all offers with a window. A call counts from its start until a window after its end."""

    def __init__(self) -> None:
        self._in_flight: dict[str, int] = {}
        self._finished: dict[str, deque[tuple[int, int]]] = {}
        """By offer: when a call was over, and what it used, oldest first."""

    def started(self, at_ms: int, digest: str, offer: Offer, units: int) -> None:
        """I12 of offers: no window, both of its ends counted, holds more than was offered."""
        if not offer.window_units:
            return
        finished = self._finished.setdefault(digest, deque())
        while finished and finished[0][0] < at_ms - offer.window_seconds * 1_000:
            finished.popleft()
        self._in_flight[digest] = in_flight = self._in_flight.get(digest, 0) + units
        held = in_flight + sum(used for _, used in finished)
        expect(held <= offer.window_units, "i12_offer_never_exceeded", offer=digest, held=held)

    def finished(self, at_ms: int, digest: str, call: Call, event: CallFinished) -> None:
        """It used what it delivered; where that is not known, what it had reserved."""
        if digest in self._in_flight:
            delivered = event.outcome is Outcome.DELIVERED
            used = event.units if delivered else max(event.units, call.units)
            self._in_flight[digest] -= call.units
            self._finished[digest].append((at_ms, used))
