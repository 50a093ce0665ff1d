"""One line of JSON per figure: what every benchmark of this folder prints."""

import sys

import msgspec


class Figure(msgspec.Struct, kw_only=True, frozen=True):
    """What was measured and, if it was measured beside something, the same of that peer.

    `ratio` is `value` over `peer_value`: for rates, how many times the peer's. A figure
    with a bound of its own (a latency, a size) has no peer, and no ratio.
    """

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None


def figure(
    name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> Figure:
    """A figure with its ratio, rounded to what the measurement can tell apart."""
    ratio = value / peer_value if peer_value else None
    return Figure(
        name=name,
        value=_rounded(value),
        unit=unit,
        peer=peer,
        peer_value=None if peer_value is None else _rounded(peer_value),
        ratio=None if ratio is None else _rounded(ratio),
    )


def print_figure(
    name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> Figure:
    """Print a figure as one line of JSON, at once, and return it."""
    measured = figure(name, value, unit, peer, peer_value)
    sys.stdout.write(msgspec.json.encode(measured).decode() + "\n")
    sys.stdout.flush()
    return measured


def _rounded(value: float) -> float:
    """Four significant digits; integers from 1,000 up stay whole."""
    if abs(value) >= 1_000:
        return round(value)
    return float(f"{value:.4g}")
