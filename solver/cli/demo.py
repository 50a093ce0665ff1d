"""`keyfill demo`: the whole way once, on real parts."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from solver.demo.report import print_report, summary
from solver.demo.scenario import Scenario
from solver.demo.stage import SEARCH, Stage, stage

FOLDER = Path(".keyfill") / "demo"


async def demo(
    *,
    keep: Annotated[bool, Parameter(help="Leave everything running afterwards.")] = False,
    folder: Annotated[Path, Parameter(help="Where it keeps its files; emptied first.")] = FOLDER,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Signed intents, calls through pooled keys, settlement on Anvil, and the books compared.

    Exit code 0 only if chain, book and fills agree to the atom.
    """
    console = Console(stderr=json)
    async with stage(folder.absolute()) as built:
        story = await Scenario(built, console).run()
        if json:
            sys.stdout.write(summary(story) + "\n")
        else:
            print_report(story, console)
        if keep:
            _say_how_to_try(built, console)
            await built.wait_for_processes()
    if not story.agrees:
        sys.exit(1)


def _say_how_to_try(built: Stage, console: Console) -> None:
    folder = built.data_dir
    console.print(
        f"\nEverything is still running; Ctrl-C stops it. In another terminal:\n"
        f"  . .venv/bin/activate && export KEYFILL_DATA_DIR={folder}\n"
        f"  keyfill account new && keyfill account fund 5 && keyfill account deposit 5\n"
        f"  keyfill balance            # a few seconds later, once the deposit is final\n"
        f"  keyfill book {SEARCH}\n"
        f"  keyfill intent create {SEARCH} --units 5 --limit 0.01 --wait\n"
        f"  keyfill call DIGEST GET '/docs/pages.json?_search=asyncio&_size=1'\n"
        f"  keyfill intent done DIGEST\n"
        f"  curl {built.market.url}/openapi.json"
    )
