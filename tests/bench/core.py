"""`make bench-core`: the matching core beside its peers, as JSON lines. See README.md."""

import argparse
import sys
import tempfile
from array import array
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.environment import WORK, Environment, EnvironmentFault, compiled, peers, pure
from tests.bench.figure import print_figure
from tests.bench.lap import Answer
from tests.bench.race import Course, Entrant, FillFault, best_rate, least, race, timed

OURS: Final = "tests.bench.ours"
RESTING: Final = "tests.bench.resting"
MARKET: Final = "tests.bench.market"
LIQUIBOOK: Final = "tests.bench.peer.liquibook"
AKHIL4N: Final = "tests.bench.peer.akhil4n"
CYTHON: Final = "tests.bench.peer.cython_orderbook"
COMPILED_SUFFIXES: Final = (".so",)
PURE_SUFFIXES: Final = (".py",)
RATE: Final = "operations/s"


def bench(course: Course, rounds: int) -> None:
    """All figures: first those with a peer, then those that stand alone."""
    fast, plain, other = compiled(), pure(), peers()
    answers = race(course, _speed(fast, plain, other), rounds)
    _print_ratios(answers)
    _print_latency(timed(course, _ours(fast, "mixed", "times"), rounds))
    _print_stall(timed(course, _ours(fast, "stall", "times"), rounds))
    _print_rest(race(course, _rest(fast), rounds))


def _ours(environment: Environment, flow: str, mode: str = "speed") -> Entrant:
    suffixes = COMPILED_SUFFIXES if len(environment.path) > 1 else PURE_SUFFIXES
    return Entrant(engine=OURS, environment=environment, flow=flow, mode=mode, suffixes=suffixes)


def _speed(fast: Environment, plain: Environment, other: Environment) -> dict[str, Entrant]:
    """Whoever is compared runs next to each other in every round."""
    return {
        "mixed": _ours(fast, "mixed"),
        "mixed_liquibook": Entrant(engine=LIQUIBOOK, environment=other, flow="mixed"),
        "pure": _ours(plain, "mixed"),
        "mixed_akhil4n": Entrant(engine=AKHIL4N, environment=other, flow="mixed"),
        "deep": _ours(fast, "deep"),
        "deep_cython": Entrant(engine=CYTHON, environment=other, flow="deep"),
        "burst": _ours(fast, "burst"),
        "burst_liquibook": Entrant(engine=LIQUIBOOK, environment=other, flow="burst"),
    }


def _rest(fast: Environment) -> dict[str, Entrant]:
    """Bytes of an order at rest; and for information the whole market, command by command."""
    resting = _ours(fast, "stall", "memory")
    market = _ours(fast, "brief")
    return {
        "memory": msgspec.structs.replace(resting, engine=RESTING),
        "market": msgspec.structs.replace(market, engine=MARKET),
    }


def _print_ratios(answers: dict[str, list[Answer]]) -> None:
    rates = {name: best_rate(found) for name, found in answers.items()}
    for figure, ours, peer, title in (
        ("engine_mixed", "mixed", "mixed_liquibook", "liquibook"),
        ("engine_mixed_pure", "pure", "mixed_akhil4n", "akhil4n-orderbook"),
        ("engine_deep", "deep", "deep_cython", "cython-orderbook"),
        ("engine_burst", "burst", "burst_liquibook", "liquibook"),
    ):
        print_figure(figure, rates[ours], RATE, title, rates[peer])
    print_figure("deep_over_mixed", rates["deep"] / rates["mixed"], "of mixed", "mixed", 1)


def _print_latency(rounds: "list[array[int]]") -> None:
    """The best round's percentiles."""
    for name, part in (("op_us_p50", 0.5), ("op_us_p99", 0.99), ("op_us_p999", 0.999)):
        print_figure(name, min(_percentile(taken, part) for taken in rounds) / 1_000, "us")


def _print_stall(rounds: "list[array[int]]") -> None:
    """The slowest operation, each one's time being the best of its rounds.

    Every round does the same, so what an operation costs comes back in each of them; what
    the machine did meanwhile does not. The other figure is the best round's slowest.
    """
    best = map(min, zip(*rounds, strict=True))
    print_figure("stall_ms_max", max(best) / 1e6, "ms")
    print_figure("stall_ms_max_of_round", min(map(max, rounds)) / 1e6, "ms")


def _percentile(taken: "array[int]", part: float) -> int:
    return sorted(taken)[int(part * (len(taken) - 1))]


def _print_rest(answers: dict[str, list[Answer]]) -> None:
    print_figure("bytes_per_order", least(answers["memory"], "bytes_per_order"), "bytes")
    print_figure("market_mixed", best_rate(answers["market"]), RATE)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            bench(Course(Path(folder)), options.rounds)
    except (EnvironmentFault, FillFault) as fault:
        sys.exit(f"bench-core: {fault}")


if __name__ == "__main__":
    main()
