"""`python -m tests.bench.intake`: from bytes to a durable answer, as JSON lines.

Every round is a fresh process, ours and its peer in turn; of five rounds the best of each
counts. Signing is done once, before. What is printed:

`digest`         EIP-712 digests a CPU second; peer: eth_account, of the same documents.
`verify_pipe`    documents a CPU second through decoding, form, digest, recovery and encoding
                 for the market; peer: bare recoveries of libsecp256k1, in turn with it.
`durable_ecdsa`  intents a second of the clock, each with a signature, in JSON batches of 64
                 through two verifiers, a real market and a synced journal; peer: twice the
                 bare recoveries, as two cores could at most.
`durable_bulk`, `durable_session`  the same with one signature for 64, and under a mandate;
                 peer: durable_ecdsa.
`durable_single`  the same one by one, 512 at a time; peer: durable_ecdsa.
`single_post`    requests a second of one signed intent each, through the whole gateway;
                 peer: an aiohttp handler on uvloop that only reads the body.
`ack_ms_p99`     milliseconds from when a single intent was due to its durable answer, at half of
                 what the same round found for durable_single, just before; arrivals at random
                 times; the least of five rounds.
`ack_ms_p50`, `ack_load`  the same round's median, and its intents a second.
`ack_ms_p99_median`  the median round's.
`ack_ecdsa_ms_p99`, …  the same at half of durable_ecdsa, which comes in batches: more than half
                 of what single intents can have.
`sync_ms_p50`, `sync_ms_p99`  of a write and a sync alone on this disk, in the same round.

Verifiers have started before anything is timed, as those of a market that runs.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from solver.runtime.loop import run
from tests.bench import environment, intake_hash, intake_market, intake_post
from tests.bench.environment import WORK, Environment
from tests.bench.figure import print_figure
from tests.bench.intake_bodies import Bodies, make

MODULE: Final = "tests.bench.intake"
ROUNDS: Final = 5
BATCHES: Final = 500
BULKS: Final = 2_000
TAKEN_SECONDS_MAX: Final = 300
KINDS: Final = ("bare", "ecdsa", "single", "bulk", "session")
HALVED: Final = ("ecdsa", "single")
"""Kinds of which half is the load that acknowledgements are timed at."""
DURABLE: Final = ("durable_ecdsa", "durable_single", "durable_bulk", "durable_session")


def main() -> None:
    """Print the figures; with `--round`, carry out one round and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="names of figures")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pure", action="store_true", help="the source, not what was compiled")
    parser.add_argument("--round", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.round:
        found = _round(*options.round)
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    WORK.mkdir(parents=True, exist_ok=True)
    bodies = WORK / "intake.bodies"
    make(bodies, BATCHES, BULKS)
    _Bench(_environment(pure=options.pure), bodies, options.rounds, options.only).run()
    bodies.unlink()


def _environment(*, pure: bool) -> Environment:
    if pure or not environment.COMPILED.is_dir():
        return environment.pure()
    return environment.compiled()


class _Bench:
    """Rounds in processes of their own, and what they add up to."""

    def __init__(self, where: Environment, bodies: Path, rounds: int, only: list[str]) -> None:
        self._where = where
        self._bodies = bodies
        self._rounds = rounds
        self._only = only

    def run(self) -> None:
        """Every figure that is wanted."""
        if self._wants("digest"):
            self._print_rates("digest", "digests/CPU-s", "eth_account")
        if self._wants("verify_pipe"):
            self._print_rates("verify_pipe", "documents/CPU-s", "libsecp256k1")
        if self._wants(*DURABLE, "ack_ms_p99"):
            self._durable()
        if self._wants("single_post"):
            self._single_post()

    def _wants(self, *names: str) -> bool:
        return not self._only or any(name in self._only for name in names)

    def _print_rates(self, name: str, unit: str, peer: str) -> None:
        found = [self._found(intake_hash.Rates, name) for _ in range(self._rounds)]
        best = max(found, key=lambda one: one.ours / one.peer)
        print_figure(name, best.ours, unit, peer, best.peer)

    def _durable(self) -> None:
        rounds = [self._durable_round() for _ in range(self._rounds)]
        best = {kind: max(one.rates[kind] for one in rounds) for kind in KINDS}
        ecdsa = best["ecdsa"]
        print_figure("durable_ecdsa", ecdsa, "intents/s", "2 x libsecp256k1", 2 * best["bare"])
        for kind in ("single", "bulk", "session"):
            print_figure(f"durable_{kind}", best[kind], "intents/s", "durable_ecdsa", ecdsa)
        if self._wants("ack_ms_p99"):
            acks = _print_acks("ack", [one.acks["single"] for one in rounds])
            _print_acks("ack_ecdsa", [one.acks["ecdsa"] for one in rounds])
            print_figure("sync_ms_p50", acks.sync_p50_ms, "ms")
            print_figure("sync_ms_p99", acks.sync_p99_ms, "ms")

    def _durable_round(self) -> "_DurableRound":
        """A rate of each kind, and right after it, as a machine changes its pace, half of it."""
        found = _DurableRound()
        for kind in KINDS:
            found.rates[kind] = self._found(float, kind)
            if kind in HALVED and self._wants("ack_ms_p99"):
                half = found.rates[kind] / 2
                found.acks[kind] = self._found(intake_market.Latency, "latency", str(half))
        return found

    def _single_post(self) -> None:
        found = [[self._posted(kind) for kind in ("ours", "bare")] for _ in range(self._rounds)]
        ours, bare = (max(one) for one in zip(*found, strict=True))
        print_figure("single_post", ours, "requests/s", "aiohttp on uvloop", bare)

    def _posted(self, kind: str) -> float:
        """What a fresh client gets of a fresh server."""
        with subprocess.Popen(
            self._command(f"serve_{kind}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._where.variables(),
            cwd=environment.ROOT,
        ) as server:
            assert server.stdout is not None
            try:
                port = server.stdout.readline().strip()
                found: float = self._found(float, "client", port)
            finally:
                server.terminate()
        return found

    def _found(self, kind: type[Any], *words: str) -> Any:
        """What a round in a fresh process found."""
        done = subprocess.run(
            self._command(*words),
            stdout=subprocess.PIPE,
            check=True,
            timeout=TAKEN_SECONDS_MAX,
            env=self._where.variables(),
            cwd=environment.ROOT,
        )
        return msgspec.json.decode(done.stdout, type=kind)

    def _command(self, *words: str) -> list[str]:
        return self._where.command(MODULE, "--round", words[0], str(self._bodies), *words[1:])


class _DurableRound:
    """What one round found of each kind."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.acks: dict[str, intake_market.Latency] = {}


def _print_acks(name: str, rounds: list[intake_market.Latency]) -> intake_market.Latency:
    """The round whose p99 is least, and the median round's p99 beside it."""
    rounds = sorted(rounds, key=lambda one: one.p99_ms)
    best, median = rounds[0], rounds[len(rounds) // 2]
    print_figure(f"{name}_ms_p99", best.p99_ms, "ms")
    print_figure(f"{name}_ms_p99_median", median.p99_ms, "ms")
    print_figure(f"{name}_ms_p50", best.p50_ms, "ms")
    print_figure(f"{name}_load", best.per_second, "intents/s")
    return best


def _round(name: str, bodies: str, *words: str) -> Any:
    loaded = Bodies.load(Path(bodies))
    rounds: dict[str, Callable[[], Any]] = {
        "digest": lambda: intake_hash.digests(loaded.singles),
        "verify_pipe": lambda: intake_hash.pipe(loaded.singles),
        "bare": lambda: intake_hash.bare_rate(loaded.singles),
        "latency": lambda: intake_market.latency(float(words[0]), loaded),
        "client": lambda: intake_post.client(int(words[0]), loaded),
        "serve_bare": lambda: run(intake_post.serve_bare()),
        "serve_ours": lambda: run(intake_post.serve_ours()),
    }
    rounds |= {
        kind: lambda kind=kind: intake_market.rate(kind, loaded)  # type: ignore[misc]
        for kind in intake_market.RATES
    }
    return rounds[name]()


if __name__ == "__main__":
    main()
