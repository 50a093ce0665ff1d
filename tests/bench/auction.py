"""Winners and rewards of an auction: how long they take, and what a greedy rule would do.

    python -m tests.bench.auction [--auctions 100] [--large 20] [--rewards 5] [--table 200]
                                  [--hostile 20]

Inside the clock: everything from sealed bids to winners with their proof, and then each
winner's reference; CPU time of one process. The peer chooses among the same bids: HiGHS (of
OR-tools, in C++) is asked for the best selection without a gap; its model is built outside
the clock, and it gives no proof. The table's auctions have 8 buckets and 24 bids. CoW's rule
there: highest score first, and rewards against what is greedily left without the winner's
bids. `close_delay_ms_max` is by the wall clock, in a running market: from an auction's deadline
to when the best of 20 solvers, of which 14 hang, talk junk or come late, hears that it won.
"""

import argparse
import asyncio
import logging
from collections.abc import Callable, Sequence
from time import process_time_ns
from typing import Final, TypeVar

import structlog
from msgspec.structs import replace
from ortools.math_opt.python import mathopt

from solver.core.bid import Bid, second_scores
from solver.core.proof import holds
from solver.core.reward import rewards
from solver.core.winner import Competition
from tests.auction.bidding import LARGE, LARGEST, SMALL, Scenario, draw_bids, draw_seed, seeded
from tests.auction.ground import gain, misreports
from tests.auction.oracle import greedy, highs_model
from tests.bench.figure import print_figure
from tests.gateway.hostile import compete
from tests.gateway.world import GENEROUS, World, a_world

EPOCH_MS: Final = 2_000
"""Time for 20 solvers to connect and bid."""
MILLION: Final = 10**6
Result = TypeVar("Result")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--auctions", type=int, default=100, help="of 300 bids")
    parser.add_argument("--large", type=int, default=20, help="of 1,000 bids")
    parser.add_argument("--rewards", type=int, default=5, help="of 300 bids, with references")
    parser.add_argument("--table", type=int, default=200, help="beside the greedy rule")
    parser.add_argument("--hostile", type=int, default=20, help="with 14 hostile solvers of 20")
    options = parser.parse_args()
    _winners("300", LARGE, options.auctions, 0.99)
    _winners("1000", LARGEST, options.large, 1.0)
    _rewards(options.rewards)
    _table(options.table)
    asyncio.run(_close_delays(options.hostile))


def _winners(name: str, scenario: Scenario, count: int, part: float) -> None:
    """Milliseconds to the winners, beside HiGHS; the largest gap; the time of a check."""
    ours, peer, gaps, checks = [], [], [], []
    for seed in range(count):
        bids, ties = draw_bids(scenario, seed), draw_seed(seed)
        taken, winners = _timed(lambda: Competition(bids, ties).best())  # noqa: B023  at once
        ours.append(taken)
        peer.append(_highs_ms(bids))
        gaps.append(winners.gap / winners.score)
        taken, proven = _timed(lambda: holds(winners.proof, bids, ties))  # noqa: B023  at once
        assert proven
        checks.append(taken)
    label = "p99" if part < 1 else "max"
    for kind, figures in (("mean", _mean), (label, lambda times: _quantile(times, part))):
        print_figure(f"winner_ms_{kind}_{name}", figures(ours), "ms", "HiGHS", figures(peer))
    print_figure(f"winner_gap_max_{name}", max(gaps) * 100, "%")
    print_figure(f"winner_gaps_{name}", sum(gap > 0 for gap in gaps), "auctions")
    print_figure(f"proof_ms_max_{name}", max(checks), "ms")


def _rewards(count: int) -> None:
    """Milliseconds for all winners' references, after the winners are known."""
    times, each = [], []
    for seed in range(count):
        bids = draw_bids(LARGE, seed)
        competition = Competition(bids, draw_seed(seed))
        winners = competition.best()
        taken, paid = _timed(lambda: rewards(competition, winners, bids))  # noqa: B023  at once
        times.append(taken)
        each.append(taken / len(paid))
    print_figure("rewards_ms_mean_300", _mean(times), "ms")
    print_figure("reference_ms_mean_300", _mean(each), "ms")


def _table(count: int) -> None:
    """What the greedy rule loses, in parts of all auctions, and what ours does."""
    welfare, counts = (
        0.0,
        dict.fromkeys(("gaps", "worse", "negative", "lies", "our_negative", "our_lies"), 0),
    )
    below: list[bool] = []
    for seed in range(count):
        bids, ties = draw_bids(SMALL, seed), draw_seed(seed)
        competition = Competition(bids, ties)
        winners = competition.best()
        below += _below_second(bids, winners.bids)
        found = _greedy_rewards(bids)
        score = sum(bid.score for bid in greedy(bids))
        welfare += score / winners.score
        counts["gaps"] += winners.gap > 0
        counts["worse"] += score < winners.score
        counts["negative"] += min(found.values()) < 0
        paid = {reward.solver: reward.amount for reward in rewards(competition, winners, bids)}
        counts["our_negative"] += min(paid.values()) < 0
        counts["lies"] += _pays_to_lie(bids, seed, _greedy_gain)
        counts["our_lies"] += _pays_to_lie(
            bids,
            seed,
            lambda said, solver, truth: gain(said, solver, truth, ties),  # noqa: B023
        )
    print_figure("won_buckets_below_second", sum(below) / len(below) * 100, "%")
    print_figure("welfare_mean", 100.0, "% of the best", "greedy", welfare / count * 100)
    for name, ours, theirs in (
        ("auctions_not_proven_best", counts["gaps"], counts["worse"]),
        ("auctions_with_negative_reward", counts["our_negative"], counts["negative"]),
        ("auctions_where_lying_pays", counts["our_lies"], counts["lies"]),
    ):
        print_figure(name, ours / count * 100, "%", "greedy", theirs / count * 100)


def _below_second(bids: Sequence[Bid], won: Sequence[str]) -> list[bool]:
    """Of each bucket that was won, whether its users have less than the second price there."""
    second = second_scores(bids)
    wins = [bid for bid in bids if bid.id in won]
    return [part < second[bucket] for bid in wins for bucket, part in bid.surplus.items()]


async def _close_delays(count: int) -> None:
    """How late an auction is over among hostile solvers."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    delays, patient = [], replace(GENEROUS, heartbeat_seconds=20)
    for _ in range(count):
        async with a_world(limits=patient) as world:
            outcome = await compete(world, _deadline, hostile=True, open_ms=EPOCH_MS)
        assert outcome.won
        delays.append(outcome.delay_ms)
    print_figure("close_delay_ms_max", max(delays), "ms")


async def _deadline(_: World) -> None:
    """Whoever waits for its verdict waits for the deadline."""


def _greedy_rewards(bids: Sequence[Bid]) -> dict[str, int]:
    """CoW's rule: the greedy total, less what is greedily left without the winner's bids."""
    chosen = greedy(bids)
    total = sum(bid.score for bid in chosen)
    return {
        solver: total - sum(b.score for b in greedy([b for b in bids if b.solver != solver]))
        for solver in {bid.solver for bid in chosen}
    }


def _greedy_gain(bids: Sequence[Bid], solver: str, truth: dict[str, int]) -> int:
    kept = sum(truth[bid.id] - bid.score for bid in greedy(bids) if bid.solver == solver)
    return kept + _greedy_rewards(bids).get(solver, 0)


def _pays_to_lie(
    bids: Sequence[Bid], seed: int, gain_of: Callable[[Sequence[Bid], str, dict[str, int]], int]
) -> bool:
    """Whether any solver gains by any of the misreports."""
    truth = {bid.id: bid.score for bid in bids}
    random = seeded(f"liars {seed}")
    return any(
        gain_of(said, solver, truth) > gain_of(bids, solver, truth)
        for solver in sorted({bid.solver for bid in bids})
        for said in misreports(bids, solver, random)
    )


def _timed(run: Callable[[], Result]) -> tuple[float, Result]:
    started = process_time_ns()
    result = run()
    return (process_time_ns() - started) / MILLION, result


def _highs_ms(bids: Sequence[Bid]) -> float:
    model, _ = highs_model(bids)
    parameters = mathopt.SolveParameters(relative_gap_tolerance=0.0)
    taken, _ = _timed(lambda: mathopt.solve(model, mathopt.SolverType.HIGHS, params=parameters))
    return taken


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


if __name__ == "__main__":
    main()
