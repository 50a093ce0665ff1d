"""`keyfill demo`: the whole way once, on real parts."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console

from solver.demo.report import print_report, summary
from solver.demo.scenario import Scenario
from solver.demo.stage import SEARCH, Stage, stage

FOLDER = Path(".keyfill") / "demo"
TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of who was told to end, as shells show it."""


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
    with _ended_by_sigterm():
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


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have the signal end what runs inside as Ctrl-C does, with all that it started."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    terminated = False

    def end() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if terminated:
            sys.exit(TERMINATED)
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


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
