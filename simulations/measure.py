"""Numbers that say what runs showed, beside what theory expects of them. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from simulations.scenario import Parameters
from simulations.theory import crash_money_per_agent, equilibrium, served_share
from simulations.world import Row, Run

END_PERIODS: Final = 10
"""Periods that count as "the end" of a run."""
CRASHED_BELOW: Final = 0.5
"""Served share of a period in which the market counts as crashed."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number for the bench and the README."""

    name: str
    value: float
    unit: str


def figures_of(runs: list[Run]) -> list[Figure]:
    """What the runs showed, beside what theory expects of them; the same on every machine."""
    figures = [figure for run in runs for figure in _figures_of_run(run)]
    predicted = crash_money_per_agent(runs[0].parameters.preference)
    residual = sum(abs(run.residual) for run in runs)
    return [
        *figures,
        _figure("crash_money_per_agent_predicted", predicted, "credits"),
        _figure("conservation_residual", residual, "atoms"),
    ]


def _figures_of_run(run: Run) -> list[Figure]:
    """Served shares count the second half, when the first learning is over, and the end."""
    parameters, rows = run.parameters, run.rows
    variant = parameters.variant
    if not rows:
        return []
    figures = [
        _figure(f"served_share_{variant}", share_served(rows[len(rows) // 2 :]), "share"),
        _figure(f"served_share_{variant}_end", share_served(rows[-END_PERIODS:]), "share"),
        _figure(f"money_per_agent_{variant}_end", money_per_agent(rows[-1], parameters), "credits"),
    ]
    crashed = [row for row in rows if share_served((row,)) < CRASHED_BELOW]
    if crashed:
        money = money_per_agent(crashed[0], parameters)
        figures.append(_figure(f"crash_money_per_agent_{variant}", money, "credits"))
    elif not parameters.issuance.uptime_atoms:
        expected = expected_share(parameters)
        figures.append(_figure(f"served_share_{variant}_predicted", expected, "share"))
    return figures


def expected_share(parameters: Parameters) -> float:
    """What theory expects of a closed loop in equilibrium, with the calls that fail taken off."""
    money = parameters.issuance.starter_atoms / parameters.price_atoms
    threshold = parameters.threshold or equilibrium(money, parameters.preference)
    if threshold <= money:
        return 0.0
    return served_share(money, threshold) * (1 - parameters.failed_calls_per_thousand / 1_000)


def speed_of(runs: list[Run], seconds: float) -> list[Figure]:
    """Measured on this machine; not part of the manifest, which two machines must share."""
    rounds = sum(run.parameters.rounds for run in runs)
    commands = sum(run.commands for run in runs)
    return [
        _figure("rounds_per_s", rounds / seconds, "1/s"),
        _figure("commands_per_s", commands / seconds, "1/s"),
    ]


def _figure(name: str, value: float, unit: str) -> Figure:
    return Figure(name=name, value=round(value, 4), unit=unit)


def share_served(rows: Sequence[Row]) -> float:
    """Of all requests, those of the broke included."""
    return sum(row.served for row in rows) / sum(row.requests for row in rows)


def money_per_agent(row: Row, parameters: Parameters) -> float:
    """In units of the going price."""
    return row.money_atoms / parameters.price_atoms / parameters.agents
