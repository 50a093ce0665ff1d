"""Clear books so that they have the most surplus: bundles and minimums, exactly, over all books.

Books that bundles join are one integer program. How many units each order trades is
decided, not with whom: at one price everybody may meet everybody but itself, which `part` can
arrange exactly where no account has more units on its two sides together than trade. Only of
intents that ask for a quality it is decided from which of the good offers they get how much. The
price is an offer's, as no other lets more trade. It needs OR-tools:
`pip install keyfill[substitutes]`.

What comes out is not believed: it is judged as the market will, beside what `uniform_price`
finds, and the winners of that are proposed. So a search that ends early costs surplus, never a
refusal, and never more than all of what it would have gained.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import gcd
from types import ModuleType
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from solver.core.auction import (
    FILLS_MAX,
    Auction,
    Proposed,
    Snapshot,
    SnapshotBook,
    SnapshotBundle,
    SnapshotOrder,
    Solution,
)
from solver.core.book import MATCHES_MAX
from solver.core.command import ClearedBook, SolutionFill
from solver.core.judge import judge
from solver.core.quality import Floor
from solver.strategies.clearing import lasting
from solver.strategies.flow import NotSolvable
from solver.strategies.pairing import pair, part, within_bounds
from solver.strategies.uniform_price import uniform_price

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, CpSolver, IntVar, LinearExpr

SECONDS_MAX: Final = 0.1
"""Half of the shortest usual epoch."""
ORDERS_MAX: Final = 2_000
"""Of books that are solved together; beyond, `uniform_price` clears them."""
PAIRS_MAX: Final = 20_000
"""Of intents that ask for a quality with offers, in the same."""
SURPLUS_MAX: Final = 2**60
"""What the search can add up without its 64 bits; beyond, `uniform_price` clears the books."""
Pair = tuple[str, str]
"""An intent and an offer."""
_SEED: Final = "00" * 32
"""Ties between our own proposals: whichever."""


def milp(snapshot: Snapshot, seconds_max: float = SECONDS_MAX) -> list[Solution]:
    """Solutions of the most surplus together, or the best found in time.

    One is a bid of the books that its bundles join, the others of one book each.

    Raises:
        NotSolvable: OR-tools is not installed.
    """
    cp_sat, groups, found = _cp_sat(), _groups(lasting(snapshot)), list[Solution]()
    for books, bundles in groups:
        program = _Program(books, bundles)
        if program.is_solvable():
            solver = cp_sat.CpSolver()
            solver.parameters.max_time_in_seconds = seconds_max / len(groups)
            solver.parameters.num_workers = 1
            found += _apart(program.solve(cp_sat.CpModel(), solver), bundles)
    return _best_of(snapshot, {"found": found, "plain": uniform_price(snapshot)})


class _Program:
    """Books and the bundles that join them, as an integer program."""

    def __init__(self, books: Sequence[SnapshotBook], bundles: Sequence[SnapshotBundle]) -> None:
        self._books = [crossing for book in books if (crossing := _crossing(book)) is not None]
        self._bundles = bundles
        self._floors = {
            leg: bundle.floor for bundle in bundles if bundle.floor.asks for leg in bundle.legs
        }
        self._unit = gcd(*(order.tick for order in self._orders())) or 1

    def is_solvable(self) -> bool:
        """Whether there is something to solve, within the bounds."""
        worth = sum(order.tick // self._unit * order.units for order in self._orders())
        count = sum(1 for _ in self._orders())
        pairs = sum(
            len(book.offers) * sum(1 for intent in book.intents if intent.id in self._floors)
            for book in self._books
        )
        return 0 < count <= ORDERS_MAX and pairs <= PAIRS_MAX and worth <= SURPLUS_MAX

    def solve(self, model: "CpModel", solver: "CpSolver") -> list[ClearedBook]:
        """The best found in the solver's time."""
        units: dict[str, IntVar] = {}
        used: dict[str, IntVar] = {}
        joined: dict[Pair, IntVar] = {}
        for book in self._books:
            _add_orders(model, book, units, used)
            pairs = _add_floors(model, book, self._floors, units)
            _add_sums(model, book, self._floors, units, pairs)
            joined |= pairs
        for bundle in self._bundles:
            _add_bundle(model, bundle, used)
        model.maximize(
            sum(
                order.tick // self._unit * sign * units[order.id]
                for book in self._books
                for sign, side in ((1, book.intents), (-1, book.offers))
                for order in side
            )
        )
        solver.solve(model)
        if not solver.response_proto.solution:
            return []
        traded = {name: int(solver.value(one)) for name, one in units.items()}
        parted = {name: int(solver.value(one)) for name, one in joined.items()}
        cleared = (_cleared(book, traded, parted) for book in self._books)
        return [one for one in cleared if one is not None]

    def _orders(self) -> Iterator[SnapshotOrder]:
        return (order for book in self._books for order in (*book.intents, *book.offers))


# -- the program


def _crossing(book: SnapshotBook) -> SnapshotBook | None:
    """The orders of a book that can trade at all, if any can."""
    dearest = max((order.tick for order in book.intents), default=-1)
    offers = tuple(order for order in book.offers if order.tick <= dearest)
    cheapest = min((order.tick for order in offers), default=dearest + 1)
    intents = tuple(order for order in book.intents if order.tick >= cheapest)
    if not intents:
        return None
    return replace(book, intents=intents, offers=offers)


def _add_orders(
    model: "CpModel", book: SnapshotBook, units: dict[str, "IntVar"], used: dict[str, "IntVar"]
) -> None:
    """One price, and of each order nothing, or as much as it wants at least."""
    prices = sorted({offer.tick for offer in book.offers})
    price = model.new_int_var(0, len(prices) - 1, "")
    for order in (*book.intents, *book.offers):
        units[order.id] = model.new_int_var(0, order.units, "")
        used[order.id] = model.new_bool_var("")
        least = min(order.minimum, order.units)
        model.add(units[order.id] >= least * used[order.id])
        model.add(units[order.id] <= order.units * used[order.id])
    for intent in book.intents:
        most = bisect_right(prices, intent.tick) - 1
        model.add(price <= most).only_enforce_if(used[intent.id])
    for offer in book.offers:
        least = bisect_left(prices, offer.tick)
        model.add(price >= least).only_enforce_if(used[offer.id])


def _add_floors(
    model: "CpModel",
    book: SnapshotBook,
    floors: Mapping[str, Floor],
    units: dict[str, "IntVar"],
) -> dict[Pair, "IntVar"]:
    """Who asks for a quality gets all from good offers of others: from which, how much."""
    found: dict[Pair, IntVar] = {}
    for intent in book.intents:
        if intent.id in floors:
            pairs = [
                (intent.id, offer.id)
                for offer in book.offers
                if offer.account != intent.account
                and (rating := book.ratings.get(offer.id)) is not None
                and rating.meets(floors[intent.id])
            ]
            found |= {pair: model.new_int_var(0, intent.units, "") for pair in pairs}
            model.add(units[intent.id] == sum(found[pair] for pair in pairs))
    return found


def _add_sums(
    model: "CpModel",
    book: SnapshotBook,
    floors: Mapping[str, Floor],
    units: dict[str, "IntVar"],
    pairs: Mapping[Pair, "IntVar"],
) -> None:
    """As much bought as sold, and of the rest nobody more than the others can take or give."""
    model.add(_sum(units, book.intents) == _sum(units, book.offers))
    rest: dict[str, IntVar | LinearExpr | int] = {
        intent.id: units[intent.id] for intent in book.intents if intent.id not in floors
    }
    bought = sum(rest.values())
    taken: dict[str, list[IntVar]] = {offer.id: [] for offer in book.offers}
    for (_, offer), one in pairs.items():
        taken[offer].append(one)
    for name, some in taken.items():
        rest[name] = units[name] - sum(some)
        if some:
            model.add(rest[name] >= 0)
    for account in _on_both_sides(book):
        own = [o.id for o in (*book.intents, *book.offers) if o.account == account]
        model.add(sum(rest.get(name, 0) for name in own) <= bought)


def _add_bundle(model: "CpModel", bundle: SnapshotBundle, used: dict[str, "IntVar"]) -> None:
    legs = [used[leg] for leg in bundle.legs if leg in used]
    if bundle.any_of:
        model.add_at_most_one(legs)
    elif len(legs) < len(bundle.legs):
        # One of them cannot trade, so none does.
        model.add(sum(legs) == 0)
    else:
        for one in legs[1:]:
            model.add(one == legs[0])


def _sum(units: dict[str, "IntVar"], orders: Iterable[SnapshotOrder]) -> "LinearExpr | int":
    return sum(units[order.id] for order in orders)


def _on_both_sides(book: SnapshotBook) -> list[str]:
    sellers = {offer.account for offer in book.offers}
    return sorted({intent.account for intent in book.intents} & sellers)


# -- from and to what the auction speaks of


def _cleared(
    book: SnapshotBook, traded: Mapping[str, int], parted: Mapping[Pair, int]
) -> ClearedBook | None:
    """Who trades with whom, at the middle of all prices that allow it."""
    intents = [order for order in book.intents if traded[order.id]]
    offers = [order for order in book.offers if traded[order.id]]
    given = [
        (bid, ask, units)
        for bid, intent in enumerate(intents)
        for ask, offer in enumerate(offers)
        if (units := parted.get((intent.id, offer.id), 0))
    ]
    bought, sold = [traded[order.id] for order in intents], [traded[order.id] for order in offers]
    for bid, ask, units in given:
        bought[bid] -= units
        sold[ask] -= units
    lines = part(
        pair(bought, sold), [one.account for one in intents], [one.account for one in offers]
    )
    kept = within_bounds(
        sorted([*given, *(lines or [])]),
        [order.minimum for order in intents],
        lines_max=FILLS_MAX,
        lines_per_bid_max=MATCHES_MAX,
    )
    if not kept:
        return None
    lowest = min(intents[bid].tick for bid, _, _ in kept)
    highest = max(offers[ask].tick for _, ask, _ in kept)
    fills = tuple(
        SolutionFill(intent=intents[bid].id, offer=offers[ask].id, units=units)
        for bid, ask, units in kept
    )
    return ClearedBook(resource=book.resource, tick=(lowest + highest) // 2, fills=fills)


def _apart(books: Sequence[ClearedBook], bundles: Sequence[SnapshotBundle]) -> list[Solution]:
    """A solution of each book, but one of those in which a bundle is filled as a whole."""
    home = {fill.intent: book.resource for book in books for fill in book.fills}
    links = [[home[leg] for leg in b.legs if leg in home] for b in bundles if not b.any_of]
    by_name = {book.resource: book for book in books}
    return [
        Solution(books=tuple(by_name[name] for name in group)) for group in _joined(by_name, links)
    ]


def _groups(snapshot: Snapshot) -> list[tuple[list[SnapshotBook], list[SnapshotBundle]]]:
    """Books that bundles join, directly or through others, with these bundles."""
    home = {leg.id: book.resource for book in snapshot.books for leg in book.intents}
    links = [[home[leg] for leg in bundle.legs if leg in home] for bundle in snapshot.bundles]
    by_name = {book.resource: book for book in snapshot.books}
    return [
        (
            [by_name[name] for name in group],
            [b for b, link in zip(snapshot.bundles, links, strict=True) if {*link} & {*group}],
        )
        for group in _joined(by_name, links)
    ]


def _joined(names: Iterable[str], links: Iterable[Sequence[str]]) -> list[list[str]]:
    """The names in groups: those of a link are in the same one."""
    group_of = {name: [name] for name in names}
    for link in links:
        together = sorted({name for one in link for name in group_of[one]})
        group_of |= dict.fromkeys(together, together)
    return [group for name, group in group_of.items() if group[0] == name]


def _best_of(snapshot: Snapshot, found: Mapping[str, Sequence[Solution]]) -> list[Solution]:
    """Of the solutions of several ways those that win, as the market judges."""
    auction = Auction(
        snapshot=snapshot,
        snapshot_digest=snapshot.digest(),
        seed=_SEED,
        proposed=[
            Proposed(solver=way, seq=0, bid=solution.digest(way), solution=solution)
            for way, solutions in found.items()
            for solution in solutions
        ],
    )
    return [win.solution for win in judge(auction).wins]


# -- the optional extra


def _cp_sat() -> ModuleType:
    try:
        from ortools.sat.python import cp_model  # noqa: PLC0415  an optional extra
    except ImportError as missing:
        raise NotSolvable(
            "exact bundles need OR-tools: install the extra keyfill[substitutes]"
        ) from missing
    return cp_model
