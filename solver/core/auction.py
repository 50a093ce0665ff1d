"""One epoch's competition: the snapshot solvers see, what they propose, how it is judged.

Everything here is pure. A solution is judged against the snapshot that it answers; then
what ended or shrank since is left out of it, and what remains is judged again against
what is live when the auction closes: only what would settle counts. The score is
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
    """A judged solution: a score, or why it does not count.

    `solution` is what of the proposal can still be carried out; the score is of that.
    """

    proposed: Proposed
    solution: Solution
    score: int
    reason: Reject | None


class Auction(msgspec.Struct, kw_only=True):
    """One auction's record."""

    snapshot: Snapshot
    snapshot_digest: str
    proposed: list[Proposed] = []
    closed: bool = False
    winner: str = ""
    score: str = "0"
    """As text: surplus in micro-atoms outgrows 64 bits."""


OpenUnits = Callable[[str], int]
"""Units of an intent or offer that are live right now; 0 if it has ended."""


class _Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What all solutions of one auction are held against. `live` is of the close."""

    intents: dict[str, SnapshotOrder]
    offers: dict[str, SnapshotOrder]
    cut: dict[str, int]
    live: dict[str, int]


def judge(auction: Auction, open_units: OpenUnits) -> list[Ranked]:
    """All solutions, best first; every one after the winner has its reason."""
    terms = _terms(auction.snapshot, open_units)
    scored = [_score(terms, proposed) for proposed in auction.proposed]
    scored.sort(key=lambda ranked: (ranked.reason is not None, -ranked.score, ranked.proposed.seq))
    outbid = [
        msgspec.structs.replace(
            ranked,
            reason=reject(RejectCode.OUTBID, f"surplus {ranked.score} against {scored[0].score}"),
        )
        if ranked.reason is None
        else ranked
        for ranked in scored[1:]
    ]
    return [*scored[:1], *outbid]


def _terms(snapshot: Snapshot, open_units: OpenUnits) -> _Terms:
    orders = (*snapshot.intents, *snapshot.offers)
    return _Terms(
        intents={order.id: order for order in snapshot.intents},
        offers={order.id: order for order in snapshot.offers},
        cut={order.id: order.units for order in orders},
        live={order.id: min(order.units, open_units(order.id)) for order in orders},
    )


def _score(terms: _Terms, proposed: Proposed) -> Ranked:
    solution, score = proposed.solution, 0
    reason = _fault_in(solution, terms, terms.cut)
    if reason is None:
        solution = _still_live(solution, terms)
        reason = _fault_in_rest(proposed.solution, solution, terms)
    if reason is None:
        score = sum(
            fill.units * (terms.intents[fill.intent].tick - terms.offers[fill.offer].tick)
            for fill in solution.fills
        )
    return Ranked(proposed=proposed, solution=solution, score=score, reason=reason)


def _still_live(solution: Solution, terms: _Terms) -> Solution:
    """The fills that can still be made, each cut to what its orders have left.

    Intents come in the order of the solution; one that falls below its minimum is left out
    whole, and leaves its offers to those after it.
    """
    proposed: dict[str, dict[str, int]] = {}
    for fill in solution.fills:
        proposed.setdefault(fill.intent, {})[fill.offer] = fill.units
    left = dict(terms.live)
    kept: dict[tuple[str, str], int] = {}
    for intent, lines in proposed.items():
        cut = _cut(lines, left, terms.live[intent])
        if sum(cut.values()) >= min(terms.intents[intent].minimum, terms.live[intent]):
            for offer, units in cut.items():
                left[offer] -= units
                kept[intent, offer] = units
    fills = tuple(
        msgspec.structs.replace(fill, units=kept[fill.intent, fill.offer])
        for fill in solution.fills
        if (fill.intent, fill.offer) in kept
    )
    return Solution(tick=solution.tick, fills=fills)


def _cut(lines: dict[str, int], left: dict[str, int], wanted: int) -> dict[str, int]:
    """One intent's units by offer, within what offers have left and the intent wants."""
    cut: dict[str, int] = {}
    for offer, proposed in lines.items():
        units = min(proposed, left[offer], wanted)
        if units:
            cut[offer] = units
            wanted -= units
    return cut


def _fault_in_rest(proposed: Solution, rest: Solution, terms: _Terms) -> Reject | None:
    """Check all of what remains again; if nothing does, say what ended first."""
    if rest.fills:
        return _fault_in(rest, terms, terms.live)
    for fill in proposed.fills:
        if not terms.live[fill.intent]:
            return reject(RejectCode.FILL_UNKNOWN_INTENT, f"{fill.intent} was over at the close")
        if not terms.live[fill.offer]:
            return reject(RejectCode.FILL_UNKNOWN_OFFER, f"{fill.offer} was over at the close")
    return reject(RejectCode.FILL_BELOW_MINIMUM, "too little was left at the close")


def _fault_in(solution: Solution, terms: _Terms, units_open: dict[str, int]) -> Reject | None:
    """Precedence: each fill by itself, then pairs, then sums."""
    if not solution.fills:
        return reject(RejectCode.SOLUTION_EMPTY)
    pairs = {(fill.intent, fill.offer) for fill in solution.fills}
    if len(pairs) != len(solution.fills):
        return reject(RejectCode.FILL_DUPLICATE, "name each pair of intent and offer once")
    for fill in solution.fills:
        fault = _fault_in_fill(fill, solution.tick, terms)
        if fault is not None:
            return fault
    return _fault_in_sums(solution, terms, units_open)


def _fault_in_fill(fill: SolutionFill, tick: int, terms: _Terms) -> Reject | None:
    intent = terms.intents.get(fill.intent)
    offer = terms.offers.get(fill.offer)
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


def _fault_in_sums(solution: Solution, terms: _Terms, units_open: dict[str, int]) -> Reject | None:
    totals: dict[str, int] = {}
    for fill in solution.fills:
        totals[fill.intent] = totals.get(fill.intent, 0) + fill.units
        totals[fill.offer] = totals.get(fill.offer, 0) + fill.units
    lines = Counter(fill.intent for fill in solution.fills)
    if max(lines.values()) > MATCHES_MAX:
        return reject(RejectCode.SOLUTION_LIMIT, f"at most {MATCHES_MAX} fills of one intent")
    for order_id, units in totals.items():
        most, intent = units_open[order_id], terms.intents.get(order_id)
        if units > most:
            return reject(RejectCode.FILL_OVERFILL, f"{units} units of {order_id}, open {most}")
        if intent is not None and units < min(intent.minimum, most):
            return reject(
                RejectCode.FILL_BELOW_MINIMUM, f"{units} of at least {intent.minimum} units"
            )
    return None
