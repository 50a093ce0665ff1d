"""One picture per scenario: money per agent above, served share below, over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simulations.measure import expected_share, money_per_agent, share_served
from simulations.scenario import Parameters
from simulations.theory import crash_money_per_agent
from simulations.world import Row

Series = Sequence[tuple[Parameters, list[Row]]]

STYLES: Final = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
"""Colours of Okabe & Ito, told apart by the colour-blind; line styles for print in grey."""
GREY: Final = "#555555"
DOTTED: Final = (0, (1, 2))


def draw(series: Series, path: Path) -> None:
    """Draw all variants into one PNG."""
    figure = Figure(figsize=(9.0, 6.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for (colour, line), (parameters, rows) in zip(STYLES, series, strict=False):
        periods = [row.period for row in rows]
        money = [money_per_agent(row, parameters) for row in rows]
        share = [100 * share_served((row,)) for row in rows]
        above.plot(periods, money, line, color=colour, lw=2.2, label=_label(parameters))
        below.plot(periods, share, line, color=colour, lw=1.6)
    if any(parameters.issuance.uptime_atoms for parameters, _ in series):
        _mark_crash(above, below, series)
    _mark_expected(below, series[0][0])
    _dress(above, below, series[0][0])
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=10)
    figure.savefig(path, metadata={"Software": None})


def _mark_crash(above: Axes, below: Axes, series: Series) -> None:
    """Where theory says that nobody serves any more, and when each variant gets there."""
    predicted = crash_money_per_agent(series[0][0].preference)
    above.axhline(predicted, color=GREY, lw=1.2, ls=DOTTED)
    _note(above, predicted, f"theory: above {predicted:.1f} nobody serves")
    for parameters, rows in series:
        reached = [row.period for row in rows if money_per_agent(row, parameters) > predicted]
        for axes in (above, below) if reached else ():
            axes.axvline(reached[0], color=GREY, lw=1.2, ls=DOTTED)


def _mark_expected(below: Axes, first: Parameters) -> None:
    """The closed loop's served share in equilibrium."""
    expected = 100 * expected_share(first)
    below.axhline(expected, color=GREY, lw=1.2, ls=DOTTED)
    _note(below, expected - 14, f"theory: {expected:.0f} % in the closed loop")


def _note(axes: Axes, height: float, text: str) -> None:
    axes.text(0.01, height, text, transform=axes.get_yaxis_transform(), va="bottom", color=GREY)


def _dress(above: Axes, below: Axes, first: Parameters) -> None:
    above.set_title(
        f"{first.agents} agents, {first.rounds:,} requests a variant, seed {first.seed}; "
        "all through the production core",
        fontsize=10,
        color=GREY,
    )
    above.set_ylabel("Money per agent\n(in calls that it buys)")
    above.set_ylim(bottom=0)
    below.set_ylabel("Requests served (%)")
    below.set_ylim(-3, 103)
    below.set_xlabel(f"Period (of {first.agents} requests: one per agent on average)")
    for axes in (above, below):
        axes.grid(visible=True, color="#DDDDDD", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
        axes.margins(x=0.01)


def _label(parameters: Parameters) -> str:
    uptime = parameters.issuance.uptime_atoms / parameters.price_atoms
    issued = f"+{uptime:g} a period for being online" if uptime else "none issued after the start"
    return f"{parameters.variant} ({parameters.money.upper()}): {issued}"
