"""One epoch's competition: the snapshot solvers see, what they propose, how it is judged.

Everything here is pure. A solution is judged against the snapshot that it answers *and*
against what is live when the auction closes; only what would settle counts. The score is
surplus: for each fill, units × (bid tick − ask tick), in micro-atoms, so that no rounding
can reorder solutions. Ties go to the solution that came first.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.core.book import MATCHES_MAX
from solver.core.command import SolutionFill

SOLUTIONS_PER_SOLVER_MAX: Final = 3
SOLUTIONS_MAX: Final = 64
FILLS_MAX: Final = 4_096


class SnapshotOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An intent or offer as solvers see it."""

    id: str
    account: str
    tick: int
    units: int
    minimum: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is traded in one epoch, in price-time order."""

    auction: int
    resource: str
    asset: str
    closes_at_ms: int
    intents: tuple[SnapshotOrder, ...]
    offers: tuple[SnapshotOrder, ...]

    def digest(self) -> str:
        """The hash that a solution must name."""
        return "0x" + blake2b(msgspec.msgpack.encode(self), digest_size=32).hexdigest()


class Solution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proposed fills at one price. A strategy returns this; a solver sends it."""

    tick: int
    fills: tuple[SolutionFill, ...]


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """A solution that arrived in time, in form, and is not judged yet."""

    solver: str
    seq: int
    solution: Solution


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A judged solution: a score, or why it does not count."""

    proposed: Proposed
    score: int
    reason: Reject | None


class Auction(msgspec.Struct, kw_only=True):
    """One auction's record."""

    snapshot: Snapshot
    snapshot_digest: str
    proposed: list[Proposed] = []
    closed: bool = False
    winner: str = ""
    score: int = 0


OpenUnits = Callable[[str], int]
"""Units of an intent or offer that are live right now; 0 if it has ended."""


def judge(auction: Auction, open_units: OpenUnits) -> list[Ranked]:
    """All solutions, best first; every one after the winner has its reason."""
    scored = [_score(auction.snapshot, proposed, open_units) for proposed in auction.proposed]
    scored.sort(key=lambda ranked: (ranked.reason is not None, -ranked.score, ranked.proposed.seq))
    return [
        ranked
        if rank == 0 or ranked.reason is not None
        else Ranked(
            proposed=ranked.proposed,
            score=ranked.score,
            reason=reject(RejectCode.OUTBID, f"surplus {ranked.score} against {scored[0].score}"),
        )
        for rank, ranked in enumerate(scored)
    ]


def _score(snapshot: Snapshot, proposed: Proposed, open_units: OpenUnits) -> Ranked:
    intents = {order.id: order for order in snapshot.intents}
    offers = {order.id: order for order in snapshot.offers}
    reason = _fault_in(proposed.solution, intents, offers, open_units)
    score = 0
    if reason is None:
        score = sum(
            fill.units * (intents[fill.intent].tick - offers[fill.offer].tick)
            for fill in proposed.solution.fills
        )
    return Ranked(proposed=proposed, score=score, reason=reason)


Orders = dict[str, SnapshotOrder]


def _fault_in(
    solution: Solution, intents: Orders, offers: Orders, open_units: OpenUnits
) -> Reject | None:
    """Precedence: each fill by itself, then pairs, then sums."""
    if not solution.fills:
        return reject(RejectCode.SOLUTION_EMPTY)
    pairs = {(fill.intent, fill.offer) for fill in solution.fills}
    if len(pairs) != len(solution.fills):
        return reject(RejectCode.FILL_DUPLICATE, "name each pair of intent and offer once")
    for fill in solution.fills:
        fault = _fault_in_fill(fill, solution.tick, intents, offers)
        if fault is not None:
            return fault
    return _fault_in_sums(solution, intents, offers, open_units)


def _fault_in_fill(fill: SolutionFill, tick: int, intents: Orders, offers: Orders) -> Reject | None:
    intent = intents.get(fill.intent)
    offer = offers.get(fill.offer)
    if intent is None:
        return reject(RejectCode.FILL_UNKNOWN_INTENT, f"{fill.intent} is not in the snapshot")
    if offer is None:
        return reject(RejectCode.FILL_UNKNOWN_OFFER, f"{fill.offer} is not in the snapshot")
    if fill.units < 1:
        return reject(RejectCode.FILL_UNITS_INVALID, f"{fill.units} units")
    if intent.account == offer.account:
        return reject(RejectCode.FILL_SELF_MATCH, f"{intent.account} on both sides")
    if not offer.tick <= tick <= intent.tick:
        return reject(
            RejectCode.FILL_PRICE_OUTSIDE_LIMITS,
            f"tick {tick} is outside {offer.tick} to {intent.tick}",
        )
    return None


def _fault_in_sums(
    solution: Solution, intents: Orders, offers: Orders, open_units: OpenUnits
) -> Reject | None:
    totals: dict[str, int] = {}
    for fill in solution.fills:
        totals[fill.intent] = totals.get(fill.intent, 0) + fill.units
        totals[fill.offer] = totals.get(fill.offer, 0) + fill.units
    lines = Counter(fill.intent for fill in solution.fills)
    if max(lines.values()) > MATCHES_MAX:
        return reject(RejectCode.SOLUTION_LIMIT, f"at most {MATCHES_MAX} fills of one intent")
    for order_id, units in totals.items():
        order = intents.get(order_id) or offers[order_id]
        live = open_units(order_id)
        if not live:
            code = (
                RejectCode.FILL_UNKNOWN_INTENT
                if order_id in intents
                else RejectCode.FILL_UNKNOWN_OFFER
            )
            return reject(code, f"{order_id} ended before the auction closed")
        if units > live:
            return reject(RejectCode.FILL_OVERFILL, f"{units} units of {order_id}, open {live}")
        if order_id in intents and units < min(order.minimum, live):
            return reject(
                RejectCode.FILL_BELOW_MINIMUM, f"{units} of at least {order.minimum} units"
            )
    return None
