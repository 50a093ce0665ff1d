"""`keyfill solver`: one of our strategies as a competitor like anybody's."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter
from rich.markup import escape

from intents.signature import SigningKey
from solver.cli import bond
from solver.cli.context import ERR, OUT, Context, stored_key
from solver.cli.stop import until_stopped
from solver.client.competitor import Competitor, Outcome, TimedStrategy
from solver.client.fault import MarketFault
from solver.core.auction import Snapshot
from solver.strategies import price_time, uniform_price
from solver.strategies.chance import by_chance
from solver.strategies.milp import milp

Name = Literal["book", "batch", "milp", "random"]
_NOTHING: Final = Snapshot(auction=0, asset="", closes_at_ms=0, seed_hash="", books=())

app = App(name="solver", help="Compete in auctions with a strategy, or watch them.")
app.command(bond.app)


@app.command
async def run(
    *,
    strategy: Annotated[
        Name,
        Parameter(
            help="book: price, then time. batch: one price, minimums by priority. milp: the most "
            "surplus, with bundles and minimums; needs the extra keyfill[substitutes]. "
            "random: some sound solution, for tests."
        ),
    ],
    market: Annotated[
        str | None,
        Parameter(
            name=("--market", "--url"),
            env_var="KEYFILL_URL",
            help="Its address. Default: the data folder's.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        Parameter(
            name=("--key", "--key-file"),
            help="File with the secret key that bids. Default: a new key.",
        ),
    ] = None,
    shadow: Annotated[
        bool, Parameter(help="Send nothing: judge what you would have sent, beside what won.")
    ] = False,
    seed: Annotated[int, Parameter(help="What random draws by.")] = 0,
    data_dir: Annotated[
        Path, Parameter(env_var="KEYFILL_DATA_DIR", help="Folder of the local market.")
    ] = Path(".keyfill"),
    json: Annotated[bool, Parameter(help="Print a JSON object an auction.")] = False,
) -> None:
    """Compete in every auction until Ctrl-C; one line for each says what came of it.

    It connects again by itself. Score, reference and reward are surplus in micro-atoms; the
    reward is what others could not have had. Every auction is judged again from its record.
    """
    timed = _strategy(strategy, seed)
    # Loads what the strategy needs now, or says what is missing.
    timed(_NOTHING, 0.0)
    competitor = Competitor(
        Context(data_dir=data_dir, url=market).market_url(),
        stored_key(key) if key else SigningKey.generate(),
        timed,
        tell=partial(_tell, as_json=json, shadow=shadow),
        tell_fault=_tell_fault,
        shadow=shadow,
    )
    await until_stopped(competitor.run())


def _strategy(name: Name, seed: int) -> TimedStrategy:
    match name:
        case "book":
            return lambda snapshot, _: price_time(snapshot)
        case "batch":
            return lambda snapshot, _: uniform_price(snapshot)
        case "milp":
            return milp
        case "random":
            return lambda snapshot, _: by_chance(snapshot, seed)


def _tell(outcome: Outcome, *, as_json: bool, shadow: bool) -> None:
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


def _tell_fault(fault: MarketFault) -> None:
    ERR.print(f"[yellow]{escape(str(fault))}[/]; trying again", soft_wrap=True, highlight=False)
