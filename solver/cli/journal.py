"""`keyfill journal`: read a market's journal, running or stopped, and prove what it says.

Exit codes: 0 all is well; 1 there is nothing to read, or it is another's; 65 the journal
is damaged, with the place; 70 replay does not lead to what the market noted.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter
from rich.markup import escape

from solver.cli.context import ERR, Context
from solver.core.market import Market
from solver.engine.collector import uncollected
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, apply_group
from solver.journal import JournalCorrupt, snapshot
from solver.journal.beancount import beancount
from solver.journal.reader import JournalReader
from solver.journal.recovery import JOURNAL, SNAPSHOTS, restore, take_snapshot
from solver.journal.statistics import statistics

DAMAGED: Final = 65
"""Exit code of a journal that is not what was written (EX_DATAERR)."""
TOLD_SECONDS: Final = 1.0

DataDir = Annotated[
    Path, Parameter(env_var="KEYFILL_DATA_DIR", help="Folder of the market, running or stopped.")
]
Json = Annotated[bool, Parameter(help="Print one JSON object.")]
HERE: Final = Path(".keyfill")

app = App(name="journal", help="Verify, replay and export a market's journal.")


class Format(StrEnum):
    """What `export` writes."""

    JSONL = "jsonl"
    BEANCOUNT = "beancount"


@app.command
def verify(*, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Recompute the hash chain over every byte; damage is named with its place."""
    with opened(data_dir) as reader:
        tell = _progress(reader.seq)
        groups = 0
        for record in reader.read():
            groups += 1 if record.commands else 0
            tell(record.last)
        _show("journal", json, commands=reader.seq, groups=groups, chain=reader.chain.hex())


@app.command
def replay(
    *,
    data_dir: DataDir = HERE,
    from_snapshot: Annotated[
        bool, Parameter(help="Start from the newest snapshot, as a restart does.")
    ] = False,
    json: Json = False,
) -> None:
    """Apply every command again and compare with what the market noted, group by group."""
    with opened(data_dir) as reader, uncollected():
        snapshots = data_dir / SNAPSHOTS if from_snapshot else None
        start_s = time.monotonic()
        found = restore(reader, snapshots, _progress(reader.seq))
        recovered = found.recovered
        _show(
            "replay",
            json,
            commands=recovered.seq,
            events=recovered.feed.seq,
            snapshot=found.snapshot_seq,
            passed_over=list(found.passed_over),
            state_hash=recovered.market.state.hash(),
            outcome=recovered.outcome.hex(),
            seconds=round(time.monotonic() - start_s, 3),
        )


@app.command
def stats(*, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Count what the journal is made of, and name its snapshots."""
    with opened(data_dir) as reader:
        counted = msgspec.to_builtins(statistics(reader, _progress(reader.seq)))
        kept = [int(path.stem) for path in snapshot.newest_first(data_dir / SNAPSHOTS)]
        _show("journal", json, **counted, snapshots=kept)


@app.command(name="snapshot")
def take(*, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Replay beside the market and keep the state, for the next start."""
    with _told():
        header = take_snapshot(data_dir, _progress(0))
    if header is None:
        _show("snapshot", json, taken=False, reason="nothing is new since the last one")
    else:
        _show("snapshot", json, taken=True, seq=header.seq, state_hash=header.state_hash)


@app.command
def export(
    *,
    data_dir: DataDir = HERE,
    form: Annotated[
        Format, Parameter(name="--format", help="beancount is the ledger, for bean-check.")
    ] = Format.JSONL,
    output: Annotated[Path | None, Parameter(help="A file instead of standard output.")] = None,
) -> None:
    """Write every command with its events, or the ledger as Beancount text."""
    with opened(data_dir) as reader:
        lines = _lines(reader) if form is Format.JSONL else beancount(reader)
        if output is None:
            for line in lines:
                sys.stdout.write(line + "\n")
            return
        with output.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(line + "\n")


def _lines(reader: JournalReader) -> Iterator[str]:
    """A JSON object for each command: number, command, events."""
    encoder = msgspec.json.Encoder()
    recovered = Recovered(market=Market(reader.genesis.usdc), feed=Feed(kept_max=1))
    for record in reader.read():
        told = apply_group(recovered, record)
        numbered = zip(record.decoded(), told, strict=True)
        for seq, (command, events) in enumerate(numbered, record.seq):
            yield encoder.encode({"seq": seq, "command": command, "events": events}).decode()


@contextmanager
def opened(data_dir: Path) -> Iterator[JournalReader]:
    """A market's journal; damage to it ends the process, with its place."""
    with _told():
        reader = JournalReader.open(data_dir / JOURNAL)
        try:
            yield reader
        finally:
            reader.close()


@contextmanager
def _told() -> Iterator[None]:
    """Name the place of any damage, with an exit code of its own."""
    try:
        yield
    except JournalCorrupt as error:
        ERR.print(f"[bold red]damaged[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(DAMAGED)


def _progress(commands: int) -> Callable[[int], None]:
    """Say now and then how far it is, where somebody is looking."""
    told_s = time.monotonic()

    def tell(seq: int) -> None:
        nonlocal told_s
        if ERR.is_terminal and time.monotonic() - told_s >= TOLD_SECONDS:
            told_s = time.monotonic()
            ERR.print(f"{seq:,} of {commands:,} commands" if commands else f"{seq:,} commands")

    return tell


def _show(title: str, json: bool, /, **facts: Any) -> None:  # noqa: ANN401, FBT001  as it is told
    Context(json=json).show(title, facts)
