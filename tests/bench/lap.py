"""One run of one engine, in a process of its own: `python -m tests.bench.lap --help`.

Needs the standard library alone, as a peer's interpreter has nothing else of ours. Prints
one JSON object; `--fills` names the file to which the fills go, which the caller compares.
"""

import argparse
import gc
import importlib
import json
import resource
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter_ns, process_time

from tests.bench.engine import Engine
from tests.bench.flow import ASK, BID, Event, Flow

Answer = dict[str, float | str]


def speed(engine: Engine, flow: Flow) -> Answer:
    """CPU seconds of all events after the preload, in the interpreter's usual state."""
    _run(engine, scaled(flow, engine, 0, flow.preload))
    events = list(scaled(flow, engine, flow.preload, len(flow)))
    _settle()
    return {"seconds": _run(engine, events), "operations": len(events)}


def latency(engine: Engine, flow: Flow) -> Answer:
    """The slowest of every hundred and of every thousand operations, in microseconds."""
    _run(engine, scaled(flow, engine, 0, flow.preload))
    events = list(scaled(flow, engine, flow.preload, len(flow)))
    _settle()
    taken = sorted(_run_each(engine, events))
    last = len(taken) - 1
    return {
        "us_p50": taken[last // 2] / 1_000,
        "us_p99": taken[last * 99 // 100] / 1_000,
        "us_p999": taken[last * 999 // 1_000] / 1_000,
    }


def stall(engine: Engine, flow: Flow) -> Answer:
    """The slowest single operation, in milliseconds, and how many took over one."""
    _run(engine, scaled(flow, engine, 0, flow.preload))
    _settle()
    taken = _run_each(engine, scaled(flow, engine, flow.preload, len(flow)))
    return {"ms_max": max(taken) / 1e6, "over_1_ms": sum(ns > 1_000_000 for ns in taken)}


def memory(engine: Engine, flow: Flow) -> Answer:
    """Bytes by which the process grows for each order at rest after the preload."""
    gc.collect()
    before = _resident_bytes()
    _run(engine, scaled(flow, engine, 0, flow.preload))
    gc.collect()
    grown = _resident_bytes() - before
    return {"bytes_per_order": grown / flow.preload}


MODES = {"speed": speed, "latency": latency, "stall": stall, "memory": memory}


def scaled(flow: Flow, engine: Engine, first: int, last: int) -> Iterable[Event]:
    """The flow's events at the engine's scale of prices; each integer an object of its own."""
    events = flow.events(first, last)
    scale = engine.tick_scale
    if scale == 1:
        return events
    return ((kind, order, tick * scale, units) for kind, order, tick, units in events)


def _run(engine: Engine, events: Iterable[Event]) -> float:
    bid, ask, cancel = engine.bid, engine.ask, engine.cancel
    started = process_time()
    for kind, order, tick, units in events:
        if kind == BID:
            bid(order, tick, units)
        elif kind == ASK:
            ask(order, tick, units)
        else:
            cancel(order)
    return process_time() - started


def _run_each(engine: Engine, events: Iterable[Event]) -> "array[int]":
    """Nanoseconds of each operation, by the wall clock."""
    bid, ask, cancel, clock = engine.bid, engine.ask, engine.cancel, perf_counter_ns
    taken = array("q")
    for kind, order, tick, units in events:
        started = clock()
        if kind == BID:
            bid(order, tick, units)
        elif kind == ASK:
            ask(order, tick, units)
        else:
            cancel(order)
        taken.append(clock() - started)
    return taken


def _settle() -> None:
    """What is loaded is no garbage: a process that serves freezes it."""
    gc.collect()
    gc.freeze()


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1_024


def _save_fills(engine: Engine, path: Path) -> None:
    scale = engine.tick_scale
    numbers = array("q")
    for taker, maker, tick, units in engine.fills():
        numbers.extend((taker, maker, tick // scale, units))
    path.write_bytes(numbers.tobytes())


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", help="a module with engine(flow)")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("flow", type=Path)
    parser.add_argument("--fills", type=Path, required=True)
    options = parser.parse_args()
    flow = Flow.load(options.flow)
    engine: Engine = importlib.import_module(options.engine).engine(flow)
    answer = MODES[options.mode](engine, flow) | {"source": engine.source}
    _save_fills(engine, options.fills)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
