"""One book cleared in plain Python: who gets how much, at which price, from whom."""

import msgspec

from solver.core.check import check
from solver.strategies.pairing import Line, pair, part
from solver.strategies.queue import Queue
from solver.strategies.share import Rule
from solver.strategies.sweep import sweep
from solver.strategies.tangle import untangle


class Clearing(msgspec.Struct, frozen=True, kw_only=True):
    """The one price, and what trades at it, in order of bids and then of asks."""

    tick: int
    lines: list[Line]


def clear_book(bids: Queue, asks: Queue, rule: Rule = Rule.TIME) -> Clearing | None:
    """The most units that can trade at one price; None if nothing can.

    Nobody meets itself, pays more than its limit or gets less than its minimum. Intents
    with a minimum are tried by priority, so with them a better choice may exist.
    """
    crossing = sweep(bids, asks, rule)
    if crossing is None:
        return None
    lines = part(pair(crossing.bought, crossing.sold), bids.accounts, asks.accounts)
    if lines is None:
        crossing = untangle(bids, asks, rule)
        if crossing is None:
            return None
        lines = part(pair(crossing.bought, crossing.sold), bids.accounts, asks.accounts)
    check(lines is not None, "untangled_lines_part")
    return Clearing(tick=crossing.tick, lines=lines or [])
