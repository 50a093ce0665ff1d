"""One run of one engine, in a process of its own: `python -m tests.bench.lap --help`.

Needs the standard library alone, as a peer's interpreter has nothing else installed. Peers
too get the garbage collector's settings of our serving process. Prints one JSON object;
fills go to a file, which the caller compares with those expected.
"""

import argparse
import gc
import importlib
import json
import resource
import sys
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter_ns, process_time

import tests.bench
from solver.engine.collector import settle
from tests.bench.engine import Engine
from tests.bench.flow import ASK, BID, Event, Flow, save_numbers

Answer = dict[str, float | str]


def load(name: str) -> Callable[[Flow], Engine]:
    """What makes the engine that a module is about.

    A module beside this one is taken from the first folder of the path that has it, as
    others are, though this package was found in another: from the build, if it is compiled.
    """
    tests.bench.__path__[:] = [str(Path(folder, "tests", "bench")) for folder in sys.path]
    made: Callable[[Flow], Engine] = importlib.import_module(name).engine
    return made


def speed(engine: Engine, flow: Flow) -> Answer:
    """CPU seconds of all events after the preload, in the state of a process that serves."""
    _run(engine, scaled(flow, engine, 0, flow.preload))
    events = list(scaled(flow, engine, flow.preload, len(flow)))
    settle()
    return {"seconds": _run(engine, events), "operations": len(events)}


def times(engine: Engine, flow: Flow) -> "array[int]":
    """Nanoseconds of each operation after the preload, by the wall clock."""
    _run(engine, scaled(flow, engine, 0, flow.preload))
    settle()
    events = scaled(flow, engine, flow.preload, len(flow))
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


def memory(engine: Engine, flow: Flow) -> Answer:
    """Bytes by which the process grows for each order at rest after the preload."""
    gc.collect()
    before = _resident_bytes()
    _run(engine, scaled(flow, engine, 0, flow.preload))
    gc.collect()
    grown = _resident_bytes() - before
    return {"bytes_per_order": grown / flow.preload}


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


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1_024


def _told(engine: Engine) -> "array[int]":
    scale = engine.tick_scale
    numbers = array("q")
    for taker, maker, tick, units in engine.fills():
        numbers.extend((taker, maker, tick // scale, units))
    return numbers


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", help="a module with engine(flow)")
    parser.add_argument("mode", choices=("speed", "times", "memory"))
    parser.add_argument("flow", type=Path, help="a file")
    parser.add_argument("into", type=Path, help="a folder, for `fills` and `times`")
    options = parser.parse_args()
    flow = Flow.load(options.flow)
    engine = load(options.engine)(flow)
    answer: Answer = {"source": engine.source}
    if options.mode == "times":
        save_numbers(times(engine, flow), options.into / "times")
    else:
        answer |= speed(engine, flow) if options.mode == "speed" else memory(engine, flow)
    save_numbers(_told(engine), options.into / "fills")
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
