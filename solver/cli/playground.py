"""`keyfill playground`: a busy market with solvers to beat."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console

from solver.cli.stop import until_stopped
from solver.demo.playground import RESOURCES, Entry, Playground
from solver.demo.stage import Stage, stage

FOLDER: Final = Path(".keyfill") / "playground"


async def playground(
    *,
    seconds: Annotated[int | None, Parameter(help="Stop after so many seconds of traffic.")] = None,
    folder: Annotated[Path, Parameter(help="Where it keeps its files; emptied first.")] = FOLDER,
    json: Annotated[bool, Parameter(help="Print how to join as one JSON line.")] = False,
) -> None:
    """A chain, a market, three solvers and live traffic, until Ctrl-C.

    Prints the line with which a solver of your own joins. It needs the extras demo and
    substitutes.
    """
    console = Console(stderr=json)
    await until_stopped(_play(folder.absolute(), console, seconds, as_json=json))


async def _play(folder: Path, console: Console, seconds: int | None, *, as_json: bool) -> None:
    async with stage(folder, epoch_resources=RESOURCES) as built:
        playground = Playground(built, console)
        entry = await playground.open()
        if as_json:
            sys.stdout.write(msgspec.json.encode(entry).decode() + "\n")
            sys.stdout.flush()
        else:
            _say_how_to_join(entry, built, console)
        try:
            async with asyncio.timeout(seconds):
                await playground.trade()
        except TimeoutError:
            console.print(f"{seconds} s are over")


def _say_how_to_join(entry: Entry, built: Stage, console: Console) -> None:
    console.print(
        f"\n  market    {entry.url}\n"
        f"  key       {entry.key_file}  (an account with money)\n"
        f"  capacity  {entry.capacity_file}  (an API key that nobody else sells from)\n"
        f"  rivals    {built.folder}/solver-*.log\n\n"
        f"Join, in another terminal, with a solver that you then make your own:\n"
        f"  {entry.join}\n"
        f"or with a function of your own, from a snapshot to solutions:\n"
        f"  keyfill solver run --strategy module:function --market {entry.url} "
        f"--key {entry.key_file}\n"
        f"A reward is what others could not have had, in micro-atoms (10¹² are one USDC): who\n"
        f"only ties with a rival is paid 0. milp finds all there is in what all see; the first of\n"
        f"these two lines brings capacity that the others do not have.\n\n"
        f"Watch without bidding:\n"
        f"  keyfill solver run --strategy milp --shadow --market {entry.url}\n"
        f"Look back, judge an auction again, try another strategy on it:\n"
        f"  keyfill auction list --url {entry.url}\n"
        f"  keyfill auction replay NUMBER --url {entry.url}\n"
        f"  keyfill auction shadow NUMBER --strategy book --url {entry.url}\n\n"
        f"Ctrl-C stops everything.",
        soft_wrap=True,
        highlight=False,
    )
