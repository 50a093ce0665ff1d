"""`python -m tests.bench.clearing`: batch auctions of 10,000 and 100,000 orders, as JSON lines.

Five rounds, each in a fresh process, ours and its peer in turn, after three runs of each
that do not count; of each the best round, in CPU milliseconds. Half of all orders are
intents, half are offers.

`clear_ms_*`: 20 resources at once, time priority, 2,000 accounts that buy and sell. Inside
the clock: from columns in order of arrival, as an auction keeps them, to the price of each
resource and all fills as columns, with nobody meeting itself; checks of all input included.
The peer is a sort and sweep in plain Python over tuples, which does not look at accounts.
Before the clock starts, both must give the same prices and the same units to each order.

`substitutes_*`: 20 resources, intents that accept three of them. Inside the clock: from
intents and offers as objects to prices and fills as objects. `substitutes_ms` is `assign`:
prices, an OR-tools flow of what they leave in doubt, proof. Its peer is OR-tools' flow of
the whole network. `substitutes_gap` is by how much `assign` misses the peer's welfare, in
percent. `substitutes_near_*` is the way without OR-tools, and `substitutes_near_gap_proven`
what it knows itself of its gap.
"""

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable
from random import Random
from time import process_time
from typing import Final, TypeVar

import msgspec
import numpy as np

from solver.strategies.assignment import assign
from solver.strategies.batch import Clearings, clear_columns
from solver.strategies.column import Columns
from solver.strategies.flow import assign_by_flow
from solver.strategies.share import Rule
from solver.strategies.substitute import SubstituteIntent, SubstituteOffer
from solver.strategies.tatonnement import assign_nearly
from tests.bench.clearing_plain import Order, clear_plainly
from tests.bench.figure import print_figure

ROUNDS: Final = 5
WARM_UPS: Final = 3
"""Runs before the one that counts: by then the process has its memory."""
RESOURCES: Final = 20
CHOICES: Final = 3
ACCOUNTS: Final = 2_000
UNITS_MAX: Final = 1_000
PRICE: Final = 10**10
"""About 0.01 USDC a unit."""

T = TypeVar("T")
Times = dict[str, float]


def _milliseconds(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives, and how long it takes once it has been done a few times."""
    for _ in range(WARM_UPS):
        work()
    gc.collect()
    gc.freeze()
    started = process_time()
    result = work()
    return result, (process_time() - started) * 1_000


# -- one price a resource


def _columns(count: int, seed: int, mean: float) -> Columns:
    """Orders around a mean price, to the tick, in order of arrival."""
    random = np.random.default_rng(seed)
    prices = random.normal(mean, 0.1, count) * PRICE
    return Columns(
        books=random.integers(0, RESOURCES, count),
        ticks=np.maximum(prices, 1).astype(np.int64),
        units=random.integers(1, UNITS_MAX, count),
        minimums=np.ones(count, np.int64),
        accounts=random.integers(0, ACCOUNTS, count),
    )


def _orders(side: Columns) -> list[Order]:
    return list(zip(side.books.tolist(), side.ticks.tolist(), side.units.tolist(), strict=True))


def clearing(orders: int) -> Times:
    """Milliseconds of ours and of the plain sweep, once their results agree."""
    bids, asks = _columns(orders // 2, 1, 1.02), _columns(orders // 2, 2, 0.98)
    plain_bids, plain_asks = _orders(bids), _orders(asks)
    cleared, ours = _milliseconds(lambda: clear_columns(bids, asks, book_count=RESOURCES))
    plain, peer = _milliseconds(lambda: clear_plainly(plain_bids, plain_asks, RESOURCES))
    _, shared = _milliseconds(
        lambda: clear_columns(bids, asks, book_count=RESOURCES, rule=Rule.PRO_RATA)
    )
    _agree(cleared, *plain, orders // 2)
    return {"ours": ours, "peer": peer, "pro_rata": shared}


def _agree(
    cleared: Clearings, ticks: list[int], fills: list[tuple[int, int, int]], count: int
) -> None:
    """The same prices, and the same units for everybody: only who meets whom may differ."""
    table = np.array(fills, np.int64)
    if cleared.ticks.tolist() != ticks:
        sys.exit("prices differ from the plain sweep")
    for side, rows in ((0, cleared.bids), (1, cleared.asks)):
        mine, theirs = np.zeros(count, np.int64), np.zeros(count, np.int64)
        np.add.at(mine, rows, cleared.units)
        np.add.at(theirs, table[:, side], table[:, 2])
        if not np.array_equal(mine, theirs):
            sys.exit("units differ from the plain sweep")


# -- any of several resources


def _market(orders: int) -> tuple[list[SubstituteIntent], list[SubstituteOffer]]:
    """Intents value three resources alike, each near its usual price."""
    random = Random(1)  # noqa: S311
    prices = {f"provider-{n}/call": PRICE * random.uniform(0.8, 1.2) for n in range(RESOURCES)}
    intents = []
    for number in range(orders // 2):
        value = random.gauss(1.02, 0.1)
        choices = {
            name: max(1, int(prices[name] * value * random.gauss(1, 0.03)))
            for name in random.sample(list(prices), CHOICES)
        }
        units = random.randint(1, UNITS_MAX)
        intents.append(SubstituteIntent(id=f"i{number}", choices=choices, units=units))
    offers = []
    for number in range(orders // 2):
        name = random.choice(list(prices))
        tick = max(1, int(prices[name] * random.gauss(0.98, 0.1)))
        units = random.randint(1, UNITS_MAX)
        offers.append(SubstituteOffer(id=f"o{number}", resource=name, tick=tick, units=units))
    return intents, offers


def substitutes(orders: int) -> Times:
    """Milliseconds of each way, and by how much it misses the most welfare, in percent."""
    market = _market(orders)
    ours, ours_ms = _milliseconds(lambda: assign(*market))
    peer, peer_ms = _milliseconds(lambda: assign_by_flow(*market))
    near, near_ms = _milliseconds(lambda: assign_nearly(*market))
    return {
        "ours": ours_ms,
        "peer": peer_ms,
        "near": near_ms,
        "gap": 100 * (peer.welfare - ours.welfare) / peer.welfare,
        "near_gap": 100 * (peer.welfare - near.welfare) / peer.welfare,
        "near_gap_proven": 100 * near.gap,
    }


MODES: Final[dict[str, Callable[[int], Times]]] = {
    "clearing": clearing,
    "substitutes": substitutes,
}


def _best(mode: str, orders: int) -> Times:
    """The least of each time over fresh processes; a gap is the same in all."""
    command = [sys.executable, "-m", "tests.bench.clearing", "--mode", mode]
    rounds: list[Times] = []
    for _ in range(ROUNDS):
        run = subprocess.run(
            [*command, "--orders", str(orders)], check=True, capture_output=True, timeout=120
        )
        rounds.append(msgspec.json.decode(run.stdout, type=Times))
    return {name: min(times[name] for times in rounds) for name in rounds[0]}


def race() -> None:
    """Print every figure."""
    for orders, name in ((10_000, "10k"), (100_000, "100k")):
        best = _best("clearing", orders)
        print_figure(f"clear_ms_{name}", best["ours"], "ms", "plain Python sweep", best["peer"])
        print_figure(f"clear_pro_rata_ms_{name}", best["pro_rata"], "ms")
    best = _best("substitutes", 10_000)
    print_figure("substitutes_gap", best["gap"], "%")
    print_figure("substitutes_ms", best["ours"], "ms", "OR-tools min-cost flow", best["peer"])
    print_figure("substitutes_near_ms", best["near"], "ms")
    print_figure("substitutes_near_gap", best["near_gap"], "%")
    print_figure("substitutes_near_gap_proven", best["near_gap_proven"], "%")


def main() -> None:
    """Race, or be one round of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--orders", type=int, default=10_000)
    options = parser.parse_args()
    if options.mode is None:
        race()
    else:
        times = MODES[options.mode](options.orders)
        sys.stdout.write(msgspec.json.encode(times).decode())


if __name__ == "__main__":
    main()
