"""Strategies by name, ours and yours; what came of one, in a line."""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.markup import escape

from solver.cli.context import OUT, CommandFailed
from solver.client.competitor import Outcome, TimedStrategy
from solver.core.auction import Snapshot, Solution
from solver.strategies import price_time, uniform_price
from solver.strategies.chance import by_chance
from solver.strategies.milp import milp

_NOTHING: Final = Snapshot(auction=0, asset="", closes_at_ms=0, seed_hash="", books=())

Name = Annotated[
    str,
    Parameter(
        help="book: price, then time. batch: one price, minimums by priority. milp: the most "
        "surplus, with bundles and minimums; needs the extra keyfill[substitutes]. "
        "random: some sound solution, for tests. module:function: your own, of this folder; "
        "it is given a snapshot and returns solutions."
    ),
]
Seed = Annotated[int, Parameter(help="What random draws by.")]


def strategy_of(name: str, seed: int) -> TimedStrategy:
    """The strategy of a name; raises CommandFailed if it is none, or something is missing."""
    timed = _named(name, seed)
    # Loads what the strategy needs now, or says what is missing.
    timed(_NOTHING, 0.0)
    return timed


def _named(name: str, seed: int) -> TimedStrategy:
    match name:
        case "book":
            return lambda snapshot, _: price_time(snapshot)
        case "batch":
            return lambda snapshot, _: uniform_price(snapshot)
        case "milp":
            return milp
        case "random":
            return lambda snapshot, _: by_chance(snapshot, seed)
    own = _own(name)
    return lambda snapshot, _: own(snapshot)


def _own(name: str) -> Callable[[Snapshot], Sequence[Solution]]:
    module, _, function = name.partition(":")
    if not function:
        raise CommandFailed(
            f"no strategy {name}: book, batch, milp, random, or module:function of your own"
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise CommandFailed(f"no strategy {name} in this folder: {error}") from error
    finally:
        sys.path.pop(0)
    own: Callable[[Snapshot], Sequence[Solution]] = found
    return own


def tell(outcome: Outcome, *, as_json: bool, shadow: bool) -> None:
    """Print what came of an auction."""
    if as_json:
        facts = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
        sys.stdout.write(json.dumps(facts | {"reward": outcome.reward, "shadow": shadow}) + "\n")
        sys.stdout.flush()
        return
    OUT.print(escape(_line(outcome, shadow=shadow)), soft_wrap=True, highlight=False)


def _line(outcome: Outcome, *, shadow: bool) -> str:
    parts = [f"auction {outcome.auction}:"]
    if outcome.won:
        won = "would have won" if shadow else "won"
        parts.append(
            f"{won} {outcome.won} of {outcome.proposed}, score {outcome.score:,}, "
            f"reference {outcome.reference:,}, reward {outcome.reward:,}, "
            f"charged {outcome.charged:,}"
        )
    else:
        parts.append(f"{outcome.reason}; score {outcome.score:,}")
    if outcome.rank:
        parts.append(f"(rank {outcome.rank} of {outcome.ranked})")
    parts.append(f"market {outcome.market_score:,}")
    if outcome.differs:
        parts.append(f"PUBLISHED OTHERWISE THAN JUDGED: {', '.join(outcome.differs)}")
    return " ".join(parts)
