"""Tests of the duel: each sabotage of the exchange must show against the naive one."""

from typing import Final

import pytest

from solver.core.book import Level, Side
from solver.core.deadline import Deadlines
from solver.core.exchange import Exchange
from tests.core import duel
from tests.core.duel import a_duel
from tests.core.sabotage import Patch, all_of, edited, never, pure_only, seeds_until_caught

DUELS_MAX: Final = 20
COMMANDS: Final = 1_500

SABOTAGES: Final[dict[str, Patch]] = {
    "leave an empty level": all_of(
        never("drop", Side),
        # Or a bid that takes nothing of it would go on for ever.
        edited(Exchange, "_move", "left =", "check(units > 0, 'no_empty_fill')\n    left ="),
    ),
    "find an emptied level again": edited(Side, "drop", "del self._levels[tick]", "pass"),
    "forget the best level": edited(Side, "_add_level", "self.best = level", "pass"),
    "keep the best level that went": edited(
        Side, "drop", "self.best = ladder[-1]", "best = ladder[-1]"
    ),
    "rank levels by age": edited(
        Side, "_add_level", "place = bisect_left(ranks, rank)", "place = 0"
    ),
    "put a level on the wrong rung": edited(
        Side, "_add_level", "ladder.insert(place, level)", "ladder.insert(0, level)"
    ),
    "take the wrong rung away": edited(Side, "drop", "del ladder[place]", "del ladder[0]"),
    "leave a neighbour linked": edited(Level, "remove", "after.previous = before", "pass"),
    "cut the rest of a level off": edited(Level, "remove", "before.next = after", "pass"),
    "sell returned units from the old place": edited(
        Exchange, "resell", "ask.seq = self.seq", "pass"
    ),
    "keep the deadline of what left": edited(
        Exchange, "_leave", "self.deadlines.remove(order)", "pass"
    ),
    "keep the deadline of what ended": edited(
        Exchange, "end", "self.deadlines.remove(order)", "pass"
    ),
    "keep the deadline of what slept": edited(
        Exchange, "enter", "self.deadlines.remove(order)", "pass"
    ),
    "keep the deadline of a maker that was sold": edited(
        Exchange, "_take_asks", "self.deadlines.remove(ask)", "pass"
    ),
    "keep the deadline of a maker that was bought": edited(
        Exchange, "_sell", "self.deadlines.remove(bid)", "pass"
    ),
    "set no deadline for what waits": edited(
        Exchange, "retry_waiting", "self.deadlines.add(bid, bid.until_ms)", "pass"
    ),
    "end what came last first": edited(
        Deadlines, "entries", "in sorted(self._slots)", "in reversed(sorted(self._slots))"
    ),
    "leave a gap between deadlines": edited(
        Deadlines, "remove", "after.due_previous = before", "pass"
    ),
    "lose the deadlines after one that is removed": edited(
        Deadlines, "remove", "before.due_next = after", "before.due_next = None"
    ),
    "end one millisecond early": edited(Deadlines, "is_due", "at_ms <= now_ms", "at_ms < now_ms"),
    "never try waiting bids again": never("retry_waiting", Exchange),
    "try the worst waiting bid first": edited(
        Exchange,
        "retry_waiting",
        "in book.waiting_from(best.tick, RETRIES_MAX):",
        "in reversed(book.waiting_from(best.tick, RETRIES_MAX)):",
    ),
    "release nothing at a fill": edited(
        Exchange, "_move", "bid.money.debits_pending += cost - freed", "pass"
    ),
    "hold the whole limit on": edited(Exchange, "_move", "bid.held = keep", "pass"),
    "hold nothing for the rest": edited(
        Exchange, "_move", "pro_rata(bid.limit, bid.total, left)", "0"
    ),
    "judge a minimum over two executions": edited(
        Exchange, "_is_minimum_met", "matches == MATCHES_MAX", "matches == 2 * MATCHES_MAX"
    ),
    "count one's own asks for a minimum": edited(
        Exchange, "_is_minimum_met", "if ask.money is not bid.money:", "if ask.units:"
    ),
    "take one's own ask": edited(
        Exchange, "_take_asks", "if ask.money is not money:", "if ask.units:"
    ),
    "make every fill an execution": edited(
        Exchange, "_take_asks", "if not execution:", "if ask.units:"
    ),
    "make makers share an execution": edited(
        Exchange, "_sell", "self.seq += 1", "self.seq += not self.fills"
    ),
    "take more asks than the contract settles": edited(
        Exchange, "_take_asks", "matches == MATCHES_MAX", "matches == 2 * MATCHES_MAX"
    ),
    "pass over asks at the limit": edited(
        Exchange, "_take_asks", "if price > tick:", "if price >= tick:"
    ),
    "let a bid with a minimum rest": edited(
        Exchange, "buy", "if bid.minimum == 1:", "if bid.minimum:"
    ),
    "keep a rest below its minimum": edited(
        Exchange, "buy", "elif bid.units >= bid.minimum:", "elif bid.units:"
    ),
    "tell nobody of a rest below its minimum": edited(
        Exchange, "_buy", "self.ended.append(bid)", "pass"
    ),
    "trade before the auction": edited(
        Exchange,
        "sell",
        "best.tick >= ask.tick and book.continuous",
        "best.tick >= ask.tick",
    ),
    "offer agreed units again": edited(Exchange, "fill_together", "self._leave(ask)", "pass"),
    "offer taken units again": edited(Exchange, "take_units", "self._leave(ask)", "pass"),
    "give what was held back twice": edited(
        Exchange, "end", "release(order.money, held)", "order.money.debits_pending -= 2 * held"
    ),
}


@pure_only
@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_a_planted_bug_shows(sabotage: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within few duels with swarms of small asks something differs from the naive exchange."""
    monkeypatch.setattr(duel, "STEPS_PER_DUST", 400)
    sabotage(monkeypatch)
    assert seeds_until_caught(lambda seed: a_duel(seed, COMMANDS), DUELS_MAX) < DUELS_MAX


@pure_only
def test_without_a_sabotage_nothing_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows above is the bugs."""
    monkeypatch.setattr(duel, "STEPS_PER_DUST", 400)
    assert seeds_until_caught(lambda seed: a_duel(seed, COMMANDS), DUELS_MAX) == DUELS_MAX
