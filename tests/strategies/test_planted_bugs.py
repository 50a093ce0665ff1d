"""Tests of the tests: each mutant of the algorithms must be caught by the same checks.

A mutant is one line of a module changed. Random books and markets from seeds are cleared
and held against what must hold; anything that raises has caught the mutant.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Final

import pytest

from solver.strategies import (
    batch,
    column,
    crossing,
    flow,
    margin,
    pairing,
    share,
    substitute,
    sweep,
    tangle,
    tatonnement,
)
from solver.strategies.share import Rule
from tests.strategies import book, market
from tests.strategies.book import (
    amounts,
    asks_of,
    best_ticks,
    bids_of,
    by_rounds,
    check_columns,
    check_priority,
    check_valid,
)

MODULES: Final = (
    share, sweep, tangle, pairing, crossing, column, batch, substitute, margin, flow,
    tatonnement,
    book, market,
)  # fmt: skip
SEEDS: Final = 600


@contextmanager
def _mutated(module: ModuleType, before: str, after: str) -> Iterator[None]:
    """The module with one piece of its source changed, wherever its names are imported."""
    source = inspect.getsource(module)
    assert source.count(before) == 1, f"{before!r} is there {source.count(before)} times"
    originals = {one: dict(vars(one)) for one in MODULES}
    old = dict(vars(module))
    try:
        exec(compile(source.replace(before, after), str(module.__file__), "exec"), vars(module))  # noqa: S102
        for one in MODULES:
            for name, value in originals[one].items():
                ours = getattr(value, "__module__", "") == module.__name__
                if one is not module and ours and old.get(name) is value:
                    setattr(one, name, vars(module)[name])
        yield
    finally:
        for one, names in originals.items():
            vars(one).clear()
            vars(one).update(names)


def _try_books(seed: int) -> None:
    """One book of sides apart, one of accounts on both; plain against brute, many at once."""
    random = Random(seed)  # noqa: S311
    picky = random.choice((0.0, 0.0, 0.4))
    bids = _small_orders(random, picky=picky, first_account=0)
    for first_account in (0, 100):
        asks = _small_orders(random, picky=0.0, first_account=first_account)
        for rule in Rule:
            check_columns([(bids, asks), (asks, bids), (asks, [])], rule)
            _try_book(bids, asks, rule, picky=picky > 0, apart=first_account > 0)


def _try_book(
    bids: list[book.Order], asks: list[book.Order], rule: Rule, *, picky: bool, apart: bool
) -> None:
    buying, selling = bids_of(bids), asks_of(asks)
    clearing = crossing.clear_book(buying, selling, rule)
    if clearing is not None:
        check_valid(buying, selling, clearing)
    if not picky:
        ticks, most = best_ticks(buying, selling, range(9))
        lines = [] if clearing is None else clearing.lines
        assert sum(line[2] for line in lines) == most
        if apart and clearing is not None:
            assert clearing.tick == (ticks[0] + ticks[-1]) // 2
            check_priority(buying, amounts(lines, 0, len(bids)), rule)
            check_priority(selling, amounts(lines, 1, len(asks)), rule)
    elif apart and rule is Rule.TIME:
        expected = by_rounds(buying, selling)
        assert (None if clearing is None else (clearing.tick, clearing.lines)) == expected


def _small_orders(random: Random, *, picky: float, first_account: int) -> list[book.Order]:
    made = []
    for _ in range(random.randint(1, 6)):
        units = random.randint(1, 5)
        minimum = random.randint(1, units) if random.random() < picky else 1
        made.append((random.randint(0, 7), units, minimum, first_account + random.randint(0, 2)))
    return made


def _try_market(seed: int) -> None:
    random = Random(seed)  # noqa: S311
    small = market.random_market(random, orders=6, units_max=2, ticks=9)
    market.check_small_market(small)
    prices = [random.randint(0, 9) for _ in market.RESOURCES]
    market.check_wrong_guess(small, prices, random.randint(0, 3))
    if seed % 60 == 0:
        _try_greater_market(random)


def _try_greater_market(random: Random) -> None:
    """The near way is near; of the exact one, what is in doubt suffices, and nothing does not."""
    greater = market.random_market(random, orders=1_000, units_max=99, ticks=10**6)
    near = tatonnement.assign_nearly(*greater)
    market.check_assignment(*greater, near)
    assert near.gap < 0.01
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "whole", None)
        quick = flow.assign_exactly(*greater)
    market.check_assignment(*greater, quick)
    assert quick.gap == 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "WIDENINGS", (1,))
        assert flow.assign_exactly(*greater).welfare == quick.welfare


Mutant = tuple[ModuleType, str, str, Callable[[int], None]]

MUTANTS: Final[dict[str, Mutant]] = {
    "share: one unit too many by time": (
        share, "shares.append(min(wanted, open_units))",
        "shares.append(min(wanted, open_units + 1))", _try_books,
    ),
    "share: round up before dividing": (
        share, "mul_div_floor(open_units, wanted, total)",
        "-(-open_units * wanted // total)", _try_books,
    ),
    "share: smallest remainder first": (
        share, "(-remainders[place], place)", "(remainders[place], place)", _try_books,
    ),
    "share: the later of equal remainders": (
        share, "(-remainders[place], place)", "(-remainders[place], -place)", _try_books,
    ),
    "share: one leftover unit is lost": (
        share, "first[: open_units - sum(shares)]", "first[: open_units - sum(shares) - 1]",
        _try_books,
    ),
    "sweep: the margin is one tick off": (
        sweep, "asks.ticks[reached - 1] > tick", "asks.ticks[reached - 1] >= tick", _try_books,
    ),
    "sweep: bids reach past their limit": (
        sweep, "asks.ticks[reached - 1] > tick", "asks.ticks[reached - 1] > tick + 1", _try_books,
    ),
    "sweep: minimums are off by one": (
        sweep, "if left >= minimum else 0", "if left >= minimum - 1 else 0", _try_books,
    ),
    "sweep: an unmet bid ends the book": (
        sweep, "        bought.append(got)\n        taken += got",
        "        bought.append(got)\n        taken += got or left", _try_books,
    ),
    "sweep: minimums count for nothing pro rata": (
        sweep, "minimum > 1 and shares", "minimum > 9 and shares", _try_books,
    ),
    "pairing: no swap": (
        pairing, "if buyer == seller", "if False", _try_books,
    ),
    "pairing: swap with a line of one's own": (
        pairing, "account not in (self._buyers[bid_line], self._sellers[ask_line])",
        "account != self._buyers[bid_line]", _try_books,
    ),
    "pairing: a swap takes too much": (
        pairing, "units = min(wanted, self._left(partner))", "units = wanted", _try_books,
    ),
    "pairing: new lines are no partners": (
        pairing, "count = len(self._units) + len(self._ends)", "count = len(self._units)",
        _try_books,
    ),
    "tangle: dominance is not seen": (
        tangle, "wanted + offered - weights.heaviest())", "wanted + offered)", _try_books,
    ),
    "tangle: nobody is capped": (
        tangle, "if units > most:", "if units > 10**9:", _try_books,
    ),
    "tangle: a bid leaves too early": (
        tangle, "bids.ticks[bid - 1] == tick:", "bids.ticks[bid - 1] <= tick + 1:", _try_books,
    ),
    "tangle: weights forget who left": (
        tangle, "-bids.units[bid])", "0)", _try_books,
    ),
    "column: sides of one tick do not meet": (
        column, "bids.ticks >= lowest[bids.books]", "bids.ticks > lowest[bids.books]", _try_books,
    ),
    "column: the later goes first": (
        column, "| np.arange(len(levels))", "| np.arange(len(levels))[::-1]", _try_books,
    ),
    "batch: bids do not reach their own tick": (
        batch, 'side="right"', 'side="left"', _try_books,
    ),
    "batch: books share their supply": (
        batch, "supply[reach] - supply[asks.starts[bids.columns.books]]", "supply[reach]",
        _try_books,
    ),
    "batch: who is passed over still counts": (
        batch, "got.append(possible if possible >= minimum else 0)", "got.append(possible)",
        _try_books,
    ),
    "batch: nobody follows an unmet bid": (
        batch, "bought[place : place + len(got)] = got", "bought[place] = 0", _try_books,
    ),
    "batch: the price is the buyers'": (
        batch, "(lowest + highest) // 2", "(lowest + highest + 1) // 2", _try_books,
    ),
    "batch: equal lines stay apart": (
        batch, "(bids[1:] != bids[:-1]) | (asks[1:] != asks[:-1])", "True", _try_books,
    ),
    "batch: a tangled book stays as it is": (
        batch, "apart=apart | tangled", "apart=apart", _try_books,
    ),
    "flow: limits are costs": (
        flow, "-network.savings(prices)", "network.savings(prices)", _try_market,
    ),
    "flow: an offer sells one more": (
        flow, "network.units[intents], asks.units))", "network.units[intents], asks.units + 1))",
        _try_market,
    ),
    "flow: what is sure is forgotten": (
        flow, "units[margin.sure] = ", "units[margin.sure] = 0 * ", _try_market,
    ),
    "flow: any margin is taken for proof": (
        flow, "if network.welfare(choices, clearings) < bound:", "if False:", _try_market,
    ),
    "margin: other choices set no price": (
        margin, "range(PROOF_ROUNDS_MAX)", "range(0)", _try_market,
    ),
    "margin: a little more is sure": (
        margin, "savings + 2 * width >= best", "savings >= best", _try_market,
    ),
    "margin: wishes in vain set no price": (
        margin, "np.flatnonzero(left[network.choosers] > 0)", "np.zeros(0, np.int64)",
        _try_market,
    ),
    "substitute: the bound forgets sellers": (
        substitute, "((best, self.units), (gains, self.asks.units))", "((best, self.units),)",
        _try_market,
    ),
    "tatonnement: everybody wants one resource": (
        tatonnement, "other = np.where(is_best, second, best)", "other = 0 * best", _try_market,
    ),
    "tatonnement: prices never move": (
        tatonnement, "* STEP_QUARTERS // 4", "* 0", _try_market,
    ),
    "tatonnement: the rest is sold twice": (
        tatonnement, "open_units[chooser] -= took", "pass", _try_market,
    ),
}  # fmt: skip


def _seeds_until_caught(check: Callable[[int], None]) -> int:
    for seed in range(SEEDS):
        try:
            check(seed)
        except Exception:  # noqa: BLE001  whatever stops the check has caught it
            return seed
    return SEEDS


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    """Within a bounded number of seeds something raises."""
    module, before, after, check = mutant
    with _mutated(module, before, after):
        assert _seeds_until_caught(check) < SEEDS


@pytest.mark.parametrize("check", [_try_books, _try_market])
def test_without_a_mutant_the_same_seeds_pass(check: Callable[[int], None]) -> None:
    """What catches the mutants is the mutants, not the checks."""
    for seed in range(SEEDS):
        check(seed)
