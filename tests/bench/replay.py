"""How fast a market comes back from its journal: `python -m tests.bench.replay`.

The mixed flow of the matching benchmark, as signed intents, offers and cancels, is written
to a journal on disk, by a market that then ends without a word. A fresh process does what a
restart after a crash does: it reads every group, verifies its link of the chain, decodes it,
applies its commands, and compares what they led to. An event of the figure is one command of
the flow; seconds are the CPU's, as everywhere in this folder, and once the wall clock's.

What costs by what stands in the end, and not by what happened, is a figure of its own: the
invariants that a restart checks last, and the state's hash. That is compared after a clean stop,
and here, to see that the same state came out.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import msgspec
from msgspec.structs import replace

from intents.reject import Reject
from solver.core.command import ApplyBlocks, Command, OpenResource, SubmitIntent, SubmitOffer
from solver.core.event import Event
from solver.core.fact import Deposited
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.core.state import State
from solver.engine.collector import uncollected
from solver.engine.feed import Feed
from solver.engine.group import Group
from solver.engine.outcome import NOTHING_YET, outcome_after
from solver.engine.payload import encode
from solver.engine.recovery import Recovered, apply_group
from solver.journal import Genesis, Journal
from solver.journal.reader import JournalReader
from solver.journal.recovery import JOURNAL, Source
from tests.bench.environment import WORK, Environment, compiled, pure
from tests.bench.figure import print_figure
from tests.bench.flow import Flow
from tests.bench.market import MONEY, NOW_S, RESOURCE, TRADERS, USDC, _key_of, buyer, commands
from tests.bench.traffic import FLOWS

GROUP: Final = 512
ROUNDS: Final = 3
GENESIS: Final = Genesis(chain_id=31_337, settlement="0x" + "5e" * 20, usdc=USDC)
LAP_SECONDS_MAX: Final = 600
STATE_HASH: Final = "state_hash"


class Lap(msgspec.Struct, frozen=True):
    """One recovery: CPU seconds of the whole, the same by the wall clock, and of parts alone."""

    source: str
    commands: int
    events: int
    seconds: float
    wall_seconds: float
    chain_seconds: float
    hash_seconds: float
    check_seconds: float


def write(folder: Path, flow: Flow) -> None:
    """Have a market write the flow to a new journal, and note its state's hash beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    journal = Journal.open(folder / JOURNAL, GENESIS)
    market, outcome = Market(USDC), NOTHING_YET
    for accepted, told in _groups(market, flow):
        outcome = outcome_after(outcome, told)
        payload = encode(accepted)
        journal.append(Group(commands=len(accepted), payload=payload, outcome=outcome))
    journal.close()
    (folder / STATE_HASH).write_text(market.state.hash())


def lap(folder: Path) -> Lap:
    """Recover once, in this process."""
    reader = JournalReader.open(folder / JOURNAL)
    chain_seconds = _timed(lambda: sum(1 for _ in reader.read()))
    wall_started, started = perf_counter(), process_time()
    with uncollected():
        recovered = _recovered(reader)
        wall_ended, ended = perf_counter(), process_time()
        started_hash = process_time()
        hashed = recovered.market.state.hash()
        hash_seconds = process_time() - started_hash
        check_seconds = _timed(lambda: check_all(recovered.market.state))
    if hashed != (folder / STATE_HASH).read_text():
        raise SystemExit("replay came to another state")
    return Lap(
        source=str(sys.modules[State.__module__].__file__),
        commands=recovered.seq,
        events=recovered.feed.seq,
        seconds=ended - started,
        wall_seconds=wall_ended - wall_started,
        chain_seconds=chain_seconds,
        hash_seconds=hash_seconds,
        check_seconds=check_seconds,
    )


def _recovered(reader: Source) -> Recovered:
    """As `solver.journal.recovery.restore` does without a snapshot, but for the invariants."""
    recovered = Recovered(market=Market(reader.genesis.usdc), feed=Feed(), last_seq=reader.seq)
    for record in reader.read():
        apply_group(recovered, record)
    return recovered


def _groups(market: Market, flow: Flow) -> Iterator[tuple[list[Command], list[list[Event]]]]:
    """What the market accepts of the flow, in groups, with what it led to."""
    accepted: list[Command] = []
    told: list[list[Event]] = []
    for command in _with_signatures(chain(_opening(), commands(flow))):
        events = market.apply(command)
        if isinstance(events, Reject):
            continue
        accepted.append(command)
        told.append(events)
        if len(accepted) == GROUP:
            yield accepted, told
            accepted, told = [], []
    if accepted:
        yield accepted, told


def _opening() -> Iterator[Command]:
    """What `a_market` starts with, as commands."""
    at_ms = NOW_S * 1_000
    yield OpenResource(at_ms=at_ms, resource=RESOURCE)
    facts = tuple(Deposited(account=buyer(number), amount=MONEY) for number in range(TRADERS))
    yield ApplyBlocks(at_ms=at_ms, number=1, block_hash="0x01", facts=facts)
    for number in range(TRADERS):
        yield _key_of(number)


def _with_signatures(unsigned: Iterator[Command]) -> Iterator[Command]:
    """Documents as long as they are with signatures of their own; replay does not look at them."""
    for command in unsigned:
        if isinstance(command, SubmitIntent | SubmitOffer):
            yield replace(command, signature=f"0x{command.digest[2:] * 2}1b")
        else:
            yield command


def _timed(work: Callable[[], object]) -> float:
    started = process_time()
    work()
    return process_time() - started


def _lap_in(environment: Environment, folder: Path) -> Lap:
    ended = subprocess.run(
        environment.command("tests.bench.replay", "--lap", str(folder)),
        env=environment.variables(),
        capture_output=True,
        timeout=LAP_SECONDS_MAX,
        check=True,
    )
    return msgspec.json.decode(ended.stdout, type=Lap)


def _best(environment: Environment, folder: Path, rounds: int) -> Lap:
    laps = [_lap_in(environment, folder) for _ in range(rounds)]
    return min(laps, key=lambda one: one.seconds)


def main() -> None:
    """Write the journal, recover it in fresh processes, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flow", default="mixed", choices=sorted(FLOWS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--lap", type=Path, help="recover this journal once, print how it went")
    chosen = parser.parse_args()
    if chosen.lap:
        sys.stdout.buffer.write(msgspec.json.encode(lap(chosen.lap)))
        return
    folder = WORK / "replay"
    write(folder, FLOWS[chosen.flow]().flow)
    try:
        fast = _best(compiled(), folder, chosen.rounds)
        plain = _best(pure(), folder, 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not fast.source.endswith((".so", ".pyd")):
        raise SystemExit(f"{fast.source} is not compiled: run `make compile`")
    print_figure("replay_events_per_s", fast.commands / fast.seconds, "commands/s")
    print_figure("replay_told_per_s", fast.events / fast.seconds, "market events/s")
    print_figure("replay_wall_per_s", fast.commands / fast.wall_seconds, "commands/s")
    print_figure("replay_pure_per_s", plain.commands / plain.seconds, "commands/s")
    print_figure("replay_chain_us", 10**6 * fast.chain_seconds / fast.commands, "us a command")
    print_figure("replay_hash_ms", 10**3 * fast.hash_seconds, "ms")
    print_figure("replay_check_ms", 10**3 * fast.check_seconds, "ms")


if __name__ == "__main__":
    main()
