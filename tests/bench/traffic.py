"""The seeded flows: `mixed`, `deep`, `burst`; `stall` (a million at rest), `brief` (less of mixed).

Mixed traffic is 53 % adds that rest, 37 % cancels of any order at rest, 10 % orders that
take. A price is as far from the other side's best as a Pareto draw (α = 1.2) says, so half
of all orders are at the best prices and a few are far away. About `resting` orders rest:
where they are fewer, adds are a little likelier than cancels, and the other way round.
"""

import random
from collections.abc import Callable
from typing import Final

from tests.bench.flow import ASK, BID, CANCEL, Event, Flow
from tests.bench.reference import Reference

SEED: Final = 20_260_101
MIDDLE: Final = 100_000
"""The price where a book starts, in ticks."""
ALPHA: Final = 1.2
DISTANCE_MAX: Final = 10_000
UNITS_MAX: Final = 100
TAKEN_MAX: Final = 160
"""Most units that an order of mixed traffic takes: 1.6 makers on average, whole ones."""
SLACK: Final = 10
"""How far through the best price a taker's limit is."""
ADD_SHARE: Final = 0.53
CANCEL_SHARE: Final = 0.37
SWEPT_MIN: Final = 50
SWEPT_MAX: Final = 300
"""Makers that a burst's sweep takes."""
BURST_CANCEL_SHARE: Final = 0.13


class Traffic:
    """Draws events one by one against the reference, which knows what rests."""

    def __init__(self, seed: int, resting: int) -> None:
        self.flow = Flow()
        self.reference = Reference()
        self._random: Final = random.Random(seed)  # noqa: S311  a seeded flow
        self._target = resting
        self._live: list[int] = []
        self._place: dict[int, int] = {}
        self._next = 0

    def add(self, side: int | None = None) -> None:
        """An order that rests: it never reaches the other side's best."""
        side = self._side() if side is None else side
        distance = min(DISTANCE_MAX, int(self._random.paretovariate(ALPHA)))
        tick = self._best_against(side) + (distance if side == ASK else -distance)
        self._order(side, max(1, tick), self._random.randint(1, UNITS_MAX))

    def take(self) -> None:
        """An order that fills at least in part; what is left of it rests."""
        side = self._side()
        tick = self._best_against(side) + (SLACK if side == BID else -SLACK)
        self._order(side, max(1, tick), self._random.randint(1, TAKEN_MAX))

    def cancel(self) -> None:
        """Any order that rests, in part filled or not."""
        self._record((CANCEL, self._random.choice(self._live), 0, 0))

    def mix(self, events: int) -> None:
        """Mixed traffic."""
        for _ in range(events):
            tilt = 0.1 * (len(self._live) - self._target) / self._target
            tilt = max(-0.1, min(0.1, tilt))
            drawn = self._random.random()
            if not self._live or drawn < ADD_SHARE - tilt:
                self.add()
            elif drawn < ADD_SHARE + CANCEL_SHARE:
                self.cancel()
            else:
                self.take()

    def burst(self) -> None:
        """A side builds up, with some second thoughts; then one order sweeps its best makers."""
        side = self._side()
        makers = self._random.randint(SWEPT_MIN, SWEPT_MAX)
        while len(self._live) < makers:
            if self._live and self._random.random() < BURST_CANCEL_SHARE:
                self.cancel()
            else:
                self.add(side)
        swept = self.reference.first_units(side, makers)
        units = sum(swept) - self._random.randrange(swept[-1])
        self._order(ASK if side == BID else BID, 1 if side == BID else 2 * MIDDLE, units)

    def _side(self) -> int:
        return self._random.choice((BID, ASK))

    def _best_against(self, side: int) -> int:
        """The other side's best; where there is none, a tick beside ours, or the middle."""
        other = self.reference.best(ASK if side == BID else BID)
        if other is not None:
            return other
        own = self.reference.best(side)
        return MIDDLE if own is None else own + (1 if side == BID else -1)

    def _order(self, side: int, tick: int, units: int) -> None:
        order, self._next = self._next, self._next + 1
        self._record((side, order, tick, units))

    def _record(self, event: Event) -> None:
        fills = self.reference.fills
        filled = len(fills)
        self.flow.append(event)
        self.reference.apply(event)
        for order in (event[1], *fills[filled + 1 :: 4]):
            self._track(order)

    def _track(self, order: int) -> None:
        """Keep the list of what rests, from which a cancel is drawn, in step."""
        rests = order in self.reference.resting
        place = self._place.get(order)
        if rests and place is None:
            self._place[order] = len(self._live)
            self._live.append(order)
        elif not rests and place is not None:
            last = self._live.pop()
            del self._place[order]
            if last != order:
                self._live[place] = last
                self._place[last] = place


def mixed(events: int = 500_000) -> Traffic:
    """Some 1,800 orders rest."""
    traffic = Traffic(SEED, 1_800)
    traffic.mix(events)
    return traffic


def deep(events: int = 500_000, resting: int = 100_000) -> Traffic:
    """`resting` orders rest before the first event."""
    traffic = Traffic(SEED + 1, resting)
    for _ in range(resting):
        traffic.add()
    traffic.flow.preload = len(traffic.flow)
    traffic.mix(events)
    return traffic


def burst(events: int = 300_000) -> Traffic:
    """Build-ups on one side, each swept at once."""
    traffic = Traffic(SEED + 2, SWEPT_MAX)
    while len(traffic.flow) < events:
        traffic.burst()
    return traffic


def stall() -> Traffic:
    """A million operations on a million orders at rest."""
    return deep(1_000_000, 1_000_000)


FLOWS: Final[dict[str, Callable[[], Traffic]]] = {
    "mixed": mixed,
    "deep": deep,
    "burst": burst,
    "stall": stall,
    "brief": lambda: mixed(100_000),
}
