"""`keyfill solver`: a strategy, of ours or of your own, as a competitor like anybody's."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.markup import escape

from intents.signature import SigningKey
from solver.cli import bond
from solver.cli.context import ERR, Context, stored_key
from solver.cli.stop import until_stopped
from solver.cli.strategy import Name, Seed, strategy_of, tell
from solver.client.competitor import Competitor
from solver.client.fault import MarketFault

app = App(name="solver", help="Compete in auctions with a strategy, or watch them.")
app.command(bond.app)


@app.command
async def run(
    *,
    strategy: Name,
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
    seed: Seed = 0,
    data_dir: Annotated[
        Path, Parameter(env_var="KEYFILL_DATA_DIR", help="Folder of the local market.")
    ] = Path(".keyfill"),
    json: Annotated[bool, Parameter(help="Print a JSON object an auction.")] = False,
) -> None:
    """Compete in every auction until Ctrl-C; one line for each says what came of it.

    It connects again by itself. Score, reference and reward are surplus in micro-atoms; the
    reward is what others could not have had. Every auction is judged again from its record.
    """
    competitor = Competitor(
        Context(data_dir=data_dir, url=market).market_url(),
        stored_key(key) if key else SigningKey.generate(),
        strategy_of(strategy, seed),
        tell=partial(tell, as_json=json, shadow=shadow),
        tell_fault=_tell_fault,
        shadow=shadow,
    )
    await until_stopped(competitor.run())


def _tell_fault(fault: MarketFault) -> None:
    ERR.print(f"[yellow]{escape(str(fault))}[/]; trying again", soft_wrap=True, highlight=False)
