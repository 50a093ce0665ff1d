"""Judging an auction: what still counts of each solution, who wins, what a win is worth.

Pure: the same record gives the same verdict on any machine, in whatever order bids came.
A solution is judged whole against the snapshot that it answers; then what ended or shrank
since is left out of it, and what remains is judged again against what is live at the
close: only what would settle counts. Its score is surplus: for each fill, units × (bid tick
− ask tick), in micro-atoms, so that no rounding can reorder solutions.

Each book goes to one winner, at one price; so does the choice which intent of an any-of is
filled. Of all selections of solutions that share neither, the best wins: see `winner`. The
work is bounded (`WORK_MAX`); where it ends first, what was found wins, and the gap says by
how much the best could be better at most.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, Self

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.core.auction import Auction, Proposed, Snapshot, SnapshotBundle, SnapshotOrder, Solution
from solver.core.bid import Bid, second_scores
from solver.core.book import MATCHES_MAX
from solver.core.charge import Charge, charges_of, parts_of
from solver.core.command import ClearedBook, SolutionFill
from solver.core.event import Won
from solver.core.quality import Floor, Rating
from solver.core.reward import Reward, rewards
from solver.core.winner import Competition, Selection

WORK_MAX: Final = 20_000_000
"""Cells that a selection may change: some ten milliseconds, as the market waits for it."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A judged solution: surplus by bucket in micro-atoms, or why it does not count.

    `solution` is what of the proposal can still be carried out; the surplus is of that. Buckets
    are the snapshot's books by their place, then its any-ofs by theirs, which have none.
    """

    proposed: Proposed
    solution: Solution
    surplus: dict[int, int]
    reason: Reject | None

    @property
    def score(self) -> int:
        """Surplus of all its books."""
        return sum(self.surplus.values())


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A solution in its place; every one that did not win has its reason."""

    scored: Scored
    reason: Reject | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """All solutions, winners first, then by score; who won what. Micro-atoms."""

    ranking: tuple[Ranked, ...]
    winners: tuple[Won, ...]
    score: int
    gap: int
    charges: dict[str, tuple[Charge, ...]] = {}
    """What pays for the rewards, by winning bid."""

    @property
    def wins(self) -> tuple[Scored, ...]:
        """What is carried out; no two share a book."""
        return tuple(ranked.scored for ranked in self.ranking if ranked.reason is None)


def judge(auction: Auction) -> Verdict:
    """Score every solution, select the winners, say what each could have been replaced by."""
    terms = _Terms.of(auction.snapshot, auction.shrunk)
    scored = [_score(terms, proposed) for proposed in auction.proposed]
    bids = [
        Bid(id=one.proposed.bid, solver=one.proposed.solver, surplus=one.surplus)
        for one in scored
        if one.reason is None
    ]
    competition = Competition(bids, bytes.fromhex(auction.seed), WORK_MAX)
    best = competition.best()
    paid = rewards(competition, best, bids)
    return Verdict(
        ranking=tuple(_ranking(scored, best)),
        winners=_winners(paid, best, bids),
        score=best.score,
        gap=best.gap,
        charges=_charges(auction, scored, paid, best, bids),
    )


def _winners(paid: list[Reward], best: Selection, bids: list[Bid]) -> tuple[Won, ...]:
    chosen = set(best.bids)
    return tuple(
        Won(
            solver=reward.solver,
            bids=tuple(b.id for b in bids if b.solver == reward.solver and b.id in chosen),
            score=str(reward.score),
            reference=str(reward.reference),
        )
        for reward in paid
    )


def _charges(
    auction: Auction, scored: list[Scored], paid: list[Reward], best: Selection, bids: list[Bid]
) -> dict[str, tuple[Charge, ...]]:
    """By winning bid, in an auction that pays its winners."""
    if auction.deadline_block is msgspec.UNSET:
        return {}
    chosen, second = set(best.bids), second_scores(bids)
    wins = [bid for bid in bids if bid.id in chosen]
    parts = {
        one.solver: parts_of(one, [bid for bid in wins if bid.solver == one.solver], second)
        for one in paid
    }
    found = {
        one.proposed.bid: charges_of(
            auction.snapshot, one.solution, one.surplus, parts[one.proposed.solver]
        )
        for one in scored
        if one.proposed.bid in chosen
    }
    return {bid: charges for bid, charges in found.items() if charges}


def _ranking(scored: list[Scored], best: Selection) -> Iterable[Ranked]:
    chosen = set(best.bids)
    outbid = reject(
        RejectCode.OUTBID, f"others have more together: {best.score} micro-atoms of surplus"
    )
    ranked = [
        Ranked(
            scored=one,
            reason=one.reason or (None if one.proposed.bid in chosen else outbid),
        )
        for one in scored
    ]
    return sorted(ranked, key=_place)


def _place(ranked: Ranked) -> tuple[bool, bool, int, str]:
    scored = ranked.scored
    return (
        ranked.reason is not None,
        scored.reason is not None,
        -scored.score,
        scored.proposed.bid,
    )


class _Book(msgspec.Struct, frozen=True, kw_only=True):
    """One book of the snapshot, by id."""

    bucket: int
    intents: dict[str, SnapshotOrder]
    offers: dict[str, SnapshotOrder]


class _Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What all solutions of one auction are held against. `live` is of the close."""

    books: dict[str, _Book]
    choices: dict[str, int]
    """Each any-of's bucket."""
    bundles: dict[str, SnapshotBundle]
    """Of each leg."""
    floors: dict[str, Floor]
    """Of each leg that asks for a quality."""
    ratings: dict[str, Rating]
    """Of offers, where any does."""
    minimums: dict[str, int]
    """Of each intent."""
    shrunk: Mapping[str, int]
    cut: dict[str, int]
    live: dict[str, int]

    @classmethod
    def of(cls, snapshot: Snapshot, shrunk: Mapping[str, int]) -> Self:
        books = snapshot.books
        choices = [bundle.id for bundle in snapshot.bundles if bundle.any_of]
        cut = {order.id: order.units for b in books for order in (*b.intents, *b.offers)}
        return cls(
            books={
                book.resource: _Book(
                    bucket=place,
                    intents={order.id: order for order in book.intents},
                    offers={order.id: order for order in book.offers},
                )
                for place, book in enumerate(books)
            },
            choices={name: len(books) + place for place, name in enumerate(choices)},
            bundles={leg: bundle for bundle in snapshot.bundles for leg in bundle.legs},
            floors={
                leg: bundle.floor
                for bundle in snapshot.bundles
                if bundle.floor.asks
                for leg in bundle.legs
            },
            ratings={offer: rating for b in books for offer, rating in b.ratings.items()},
            minimums={order.id: order.minimum for book in books for order in book.intents},
            shrunk=shrunk,
            cut=cut,
            live={**cut, **shrunk},
        )

    def with_brought(self, solution: Solution) -> "_Terms":
        """What one solution is held against: with the offers that it brought."""
        if not solution.brought:
            return self
        books, cut, live = dict(self.books), dict(self.cut), dict(self.live)
        ratings = dict(self.ratings)
        for one in solution.brought:
            order, book = one.order, books.get(one.resource)
            if book is None or order.id in self.cut:
                continue
            offers = book.offers | {order.id: order}
            books[one.resource] = msgspec.structs.replace(book, offers=offers)
            cut[order.id] = order.units
            live[order.id] = self.shrunk.get(order.id, order.units)
            if one.rating is not None:
                ratings[order.id] = one.rating
        return msgspec.structs.replace(self, books=books, cut=cut, live=live, ratings=ratings)


def _score(terms: _Terms, proposed: Proposed) -> Scored:
    solution, surplus = proposed.solution, dict[int, int]()
    terms = terms.with_brought(solution)
    reason = _fault_in(solution, terms, terms.cut)
    if reason is None and _is_touched(solution, terms.shrunk):
        solution = _still_live(solution, terms)
        reason = _fault_in_rest(proposed.solution, solution, terms)
    if reason is None:
        surplus = _surplus(solution, terms)
    return Scored(proposed=proposed, solution=solution, surplus=surplus, reason=reason)


def _is_touched(solution: Solution, shrunk: Mapping[str, int]) -> bool:
    """Whether anything that it fills has less than in the snapshot."""
    return bool(shrunk) and any(
        fill.intent in shrunk or fill.offer in shrunk for fill in _fills(solution)
    )


def _surplus(solution: Solution, terms: _Terms) -> dict[int, int]:
    surplus: dict[int, int] = {}
    for cleared in solution.books:
        book = terms.books[cleared.resource]
        intents, offers = book.intents, book.offers
        surplus[book.bucket] = sum(
            [
                fill.units * (intents[fill.intent].tick - offers[fill.offer].tick)
                for fill in cleared.fills
            ]
        )
    for bundle in _bundles(solution, terms):
        if bundle.any_of:
            surplus[terms.choices[bundle.id]] = 0
    return surplus


# -- what is left at the close


def _still_live(solution: Solution, terms: _Terms) -> Solution:
    """The fills that can still be made, each cut to what its orders have left.

    Intents come in the order of the solution, a bundle's legs together. What falls below a
    minimum is left out whole, with its bundle, and leaves its offers to those after it.
    """
    together: dict[str, dict[str, dict[str, int]]] = {}
    for fill in _fills(solution):
        bundle = terms.bundles.get(fill.intent)
        legs = together.setdefault(bundle.id if bundle else fill.intent, {})
        legs.setdefault(fill.intent, {})[fill.offer] = fill.units
    left, kept = dict(terms.live), dict[tuple[str, str], int]()
    for legs in together.values():
        cut = _cut_together(legs, left, terms)
        for (_, offer), units in cut.items():
            left[offer] -= units
        kept |= cut
    return _of_pairs(solution, kept)


def _cut_together(
    legs: Mapping[str, Mapping[str, int]], left: Mapping[str, int], terms: _Terms
) -> dict[tuple[str, str], int]:
    """Units of intents that are filled together, by intent and offer; none if one of them fails."""
    rest, cut = dict[str, int](), dict[tuple[str, str], int]()
    for intent, lines in legs.items():
        wanted = live = terms.live[intent]
        for offer, proposed in lines.items():
            free = rest.get(offer, left[offer])
            units = min(proposed, free, wanted)
            if units:
                cut[intent, offer] = units
                rest[offer] = free - units
                wanted -= units
        if wanted == live or live - wanted < min(terms.minimums[intent], live):
            return {}
    return cut


def _of_pairs(solution: Solution, kept: Mapping[tuple[str, str], int]) -> Solution:
    books = [
        ClearedBook(
            resource=book.resource,
            tick=book.tick,
            fills=tuple(
                msgspec.structs.replace(fill, units=kept[fill.intent, fill.offer])
                for fill in book.fills
                if (fill.intent, fill.offer) in kept
            ),
        )
        for book in solution.books
    ]
    return Solution(books=tuple(book for book in books if book.fills), brought=solution.brought)


# -- what is wrong


def _fault_in_rest(proposed: Solution, rest: Solution, terms: _Terms) -> Reject | None:
    """Check all of what remains again; if nothing does, say what ended first."""
    if rest.books:
        return _fault_in(rest, terms, terms.live)
    for fill in _fills(proposed):
        if not terms.live[fill.intent]:
            return reject(RejectCode.FILL_UNKNOWN_INTENT, f"{fill.intent} was over at the close")
        if not terms.live[fill.offer]:
            return reject(RejectCode.FILL_UNKNOWN_OFFER, f"{fill.offer} was over at the close")
    return reject(RejectCode.FILL_BELOW_MINIMUM, "too little was left at the close")


def _fault_in(solution: Solution, terms: _Terms, units_open: Mapping[str, int]) -> Reject | None:
    """Precedence: the books, then each fill by itself, floors of quality, sums, and bundles."""
    return (
        _fault_in_books(solution, terms)
        or _fault_in_fills(solution, terms)
        or _fault_in_quality(solution, terms)
        or _fault_in_sums(solution, terms, units_open)
        or _fault_in_bundles(solution, terms)
    )


def _fault_in_books(solution: Solution, terms: _Terms) -> Reject | None:
    if not solution.books or not all(book.fills for book in solution.books):
        return reject(RejectCode.SOLUTION_EMPTY, "name the books that you clear, each with fills")
    named = [book.resource for book in solution.books]
    if len(set(named)) != len(named):
        return reject(RejectCode.FILL_DUPLICATE, "name each resource once: it has one price")
    for resource in named:
        if resource not in terms.books:
            return reject(RejectCode.RESOURCE_UNKNOWN, f"{resource} is not in the snapshot")
    pairs = {(fill.intent, fill.offer) for fill in _fills(solution)}
    if len(pairs) != solution.fills_count:
        return reject(RejectCode.FILL_DUPLICATE, "name each pair of intent and offer once")
    return None


def _fault_in_fills(solution: Solution, terms: _Terms) -> Reject | None:
    for cleared in solution.books:
        book = terms.books[cleared.resource]
        for fill in cleared.fills:
            intent, offer = book.intents.get(fill.intent), book.offers.get(fill.offer)
            if intent is None:
                return reject(RejectCode.FILL_UNKNOWN_INTENT, _elsewhere(fill.intent, cleared))
            if offer is None:
                return reject(RejectCode.FILL_UNKNOWN_OFFER, _elsewhere(fill.offer, cleared))
            if fill.units < 1:
                return reject(RejectCode.FILL_UNITS_INVALID, f"{fill.units} units")
            if intent.account == offer.account:
                return reject(RejectCode.FILL_SELF_MATCH, f"{intent.account} on both sides")
            if not offer.tick <= cleared.tick <= intent.tick:
                return reject(
                    RejectCode.FILL_PRICE_OUTSIDE_LIMITS,
                    f"tick {cleared.tick} is outside {offer.tick} to {intent.tick}",
                )
    return None


def _elsewhere(order: str, cleared: ClearedBook) -> str:
    return f"{order} is not in the book of {cleared.resource}"


def _fault_in_quality(solution: Solution, terms: _Terms) -> Reject | None:
    for fill in _fills(solution) if terms.floors else ():
        floor, rating = terms.floors.get(fill.intent), terms.ratings.get(fill.offer)
        if floor is not None and (rating is None or not rating.meets(floor)):
            return reject(
                RejectCode.FILL_BELOW_QUALITY,
                f"the key of {fill.offer} is below the floor of {fill.intent}",
            )
    return None


def _fault_in_sums(
    solution: Solution, terms: _Terms, units_open: Mapping[str, int]
) -> Reject | None:
    totals, lines = dict[str, int](), dict[str, int]()
    for fill in _fills(solution):
        intent, offer, units = fill.intent, fill.offer, fill.units
        totals[intent] = totals.get(intent, 0) + units
        totals[offer] = totals.get(offer, 0) + units
        lines[intent] = lines.get(intent, 0) + 1
    if max(lines.values()) > MATCHES_MAX:
        return reject(RejectCode.SOLUTION_LIMIT, f"at most {MATCHES_MAX} fills of one intent")
    for name, units in totals.items():
        most = units_open[name]
        if units > most:
            return reject(RejectCode.FILL_OVERFILL, f"{units} units of {name}, open {most}")
        if name in lines and units < min(terms.minimums[name], most):
            return reject(
                RejectCode.FILL_BELOW_MINIMUM, f"{units} of at least {terms.minimums[name]} units"
            )
    return None


def _fault_in_bundles(solution: Solution, terms: _Terms) -> Reject | None:
    if not terms.bundles:
        return None
    filled = {fill.intent for fill in _fills(solution)}
    for bundle in _bundles(solution, terms):
        count = len(filled.intersection(bundle.legs))
        if count != (1 if bundle.any_of else len(bundle.legs)):
            return reject(
                RejectCode.BUNDLE_SPLIT, f"{count} of {len(bundle.legs)} legs of {bundle.id}"
            )
    return None


def _bundles(solution: Solution, terms: _Terms) -> Iterable[SnapshotBundle]:
    """Those of which a leg is filled, each once."""
    if not terms.bundles:
        return ()
    found = (terms.bundles.get(fill.intent) for fill in _fills(solution))
    return {bundle.id: bundle for bundle in found if bundle is not None}.values()


def _fills(solution: Solution) -> Iterable[SolutionFill]:
    return chain.from_iterable([book.fills for book in solution.books])
