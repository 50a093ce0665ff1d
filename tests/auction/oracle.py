"""The best selection by other ways than ours: brute force, CoW's greedy rule, two solvers."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from ortools.math_opt.python import mathopt
from ortools.sat.python import cp_model

from solver.core.bid import Bid, weight

SECONDS_MAX: Final = 30.0


def brute_force(bids: Sequence[Bid], seed: bytes) -> int:
    """The most that a selection weighs: every way to cover the lowest bucket that is left."""
    buckets = sorted({bucket for bid in bids for bucket in bid.surplus})
    by_lowest: dict[int, list[tuple[int, int]]] = {bucket: [] for bucket in buckets}
    for bid in bids:
        by_lowest[min(bid.surplus)].append((bid.mask, weight(bid, seed)))

    @cache
    def best(free: int) -> int:
        if not free:
            return 0
        lowest = free & -free
        covered = [
            their + best(free & ~mask)
            for mask, their in by_lowest[lowest.bit_length() - 1]
            if mask & free == mask
        ]
        return max([best(free ^ lowest), *covered])

    return best(sum(1 << bucket for bucket in buckets))


def greedy(bids: Sequence[Bid]) -> list[Bid]:
    """CoW's rule: the highest score first, whatever does not overlap; ties by place."""
    taken, chosen = 0, list[Bid]()
    for bid in sorted(bids, key=lambda bid: -bid.score):
        if not bid.mask & taken:
            taken |= bid.mask
            chosen.append(bid)
    return chosen


def score_by_cp_sat(bids: Sequence[Bid]) -> int:
    """By OR-tools' CP-SAT, which counts in integers; scores have to fit 64 bits together."""
    model = cp_model.CpModel()
    taken = [model.new_bool_var(bid.id) for bid in bids]
    for bucket in {bucket for bid in bids for bucket in bid.surplus}:
        model.add_at_most_one(
            var for var, bid in zip(taken, bids, strict=True) if bucket in bid.surplus
        )
    model.maximize(sum(var * bid.score for var, bid in zip(taken, bids, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = SECONDS_MAX
    solver.parameters.relative_gap_limit = 0.0
    assert solver.solve(model) == cp_model.OPTIMAL
    return sum(bid.score for var, bid in zip(taken, bids, strict=True) if solver.value(var))


def highs_model(bids: Sequence[Bid]) -> tuple[mathopt.Model, list[mathopt.Variable]]:
    """The same as a mixed integer program."""
    model = mathopt.Model()
    taken = [model.add_binary_variable() for _ in bids]
    for bucket in sorted({bucket for bid in bids for bucket in bid.surplus}):
        inside = (var for var, bid in zip(taken, bids, strict=True) if bucket in bid.surplus)
        model.add_linear_constraint(mathopt.fast_sum(inside) <= 1)
    unit = max(bid.score for bid in bids)
    model.maximize(
        mathopt.fast_sum(var * (bid.score / unit) for var, bid in zip(taken, bids, strict=True))
    )
    return model, taken


def score_by_highs(bids: Sequence[Bid]) -> int:
    """By HiGHS, told to leave no gap; what it chose is added up again in integers."""
    model, taken = highs_model(bids)
    parameters = mathopt.SolveParameters(relative_gap_tolerance=0.0, absolute_gap_tolerance=0.0)
    result = mathopt.solve(model, mathopt.SolverType.HIGHS, params=parameters)
    values = result.variable_values(taken)
    return sum(bid.score for value, bid in zip(values, bids, strict=True) if value > 0.5)
