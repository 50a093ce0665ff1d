"""The flows are what they are said to be, and the reference that judges engines is right."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import lap, market, ours
from tests.bench.engine import Engine, Fill, by_four
from tests.bench.flow import ASK, BID, CANCEL, Event, Flow
from tests.bench.reference import Reference
from tests.bench.traffic import FLOWS, Traffic, burst, deep, mixed


def the_fills(drawn: Traffic) -> list[Fill]:
    """What the reference filled."""
    return list(by_four(drawn.reference.fills))


def test_mixed_traffic_has_its_shares() -> None:
    """Once it has built up: 53 % rest, 37 % cancel, 10 % take; about 1,800 are at rest."""
    drawn = mixed(30_000)
    takers = len({taker for taker, *_ in the_fills(drawn)})
    kinds = Counter(drawn.flow.kinds[10_000:])
    assert takers / 30_000 == pytest.approx(0.10, abs=0.01)
    assert kinds[CANCEL] / 20_000 == pytest.approx(0.37, abs=0.02)
    assert kinds[BID] / kinds[ASK] == pytest.approx(1, abs=0.05)
    assert 1_200 < len(drawn.reference.resting) < 2_400


def test_a_deep_flow_starts_with_orders_at_rest_only() -> None:
    """Its preload fills nothing, and half of what rests is at the two best prices."""
    drawn = deep(0, 5_000)
    reference = drawn.reference
    best = {(side, reference.best(side)) for side in (BID, ASK)}
    at_best = sum(place in best for place in reference.resting.values())
    assert (drawn.flow.preload, len(drawn.flow), the_fills(drawn)) == (5_000, 5_000, [])
    assert at_best > 1_000


def test_a_burst_sweeps_between_50_and_300_makers() -> None:
    """Each taker of a burst fills that many, but for what is left over at its price."""
    sizes = Counter(taker for taker, *_ in the_fills(burst(20_000)))
    assert len(sizes) > 50
    assert min(sizes.values()) >= 49
    assert max(sizes.values()) <= 300


def test_a_flow_is_the_same_every_time() -> None:
    """The seed alone decides."""
    assert list(mixed(2_000).flow.events(0, 2_000)) == list(mixed(2_000).flow.events(0, 2_000))
    assert set(FLOWS) == {"mixed", "deep", "burst", "stall", "brief"}


def naive_fills(events: list[Event]) -> list[Fill]:
    """Matching by looking through one list of all orders at rest."""
    resting: list[list[int]] = []
    fills: list[Fill] = []
    for kind, order, tick, wanted in events:
        if kind == CANCEL:
            resting = [row for row in resting if row[1] != order]
            continue
        units, sign = wanted, 1 if kind == BID else -1
        while units:
            others = [row for row in resting if row[0] != kind and sign * (tick - row[2]) >= 0]
            if not others:
                resting.append([kind, order, tick, units])
                break
            maker = min(others, key=lambda row: (sign * row[2], row[1]))
            filled = min(units, maker[3])
            fills.append((order, maker[1], maker[2], filled))
            units -= filled
            maker[3] -= filled
            resting = [row for row in resting if row[3]]
    return fills


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6), st.integers(1, 5)), max_size=60))
def test_the_reference_fills_as_a_search_through_all_orders(
    drawn: list[tuple[int, int, int]],
) -> None:
    """On any events the reference gives the fills of the plainest matcher there is."""
    reference, events = Reference(), list[Event]()
    for kind, tick, units in drawn:
        order = sum(event[0] != CANCEL for event in events)
        if kind == CANCEL:
            if not reference.resting:
                continue
            event = (CANCEL, sorted(reference.resting)[tick % len(reference.resting)], 0, 0)
        else:
            event = (kind, order, tick, units)
        reference.apply(event)
        events.append(event)
    assert list(by_four(reference.fills)) == naive_fills(events)


@pytest.mark.parametrize("engine", [ours.engine, market.engine])
@pytest.mark.parametrize("draw", [lambda: mixed(3_000), lambda: deep(1_000, 1_000)])
def test_our_engines_fill_as_the_reference(
    engine: Callable[[Flow], Engine], draw: Callable[[], Traffic]
) -> None:
    """Through the benchmark's own loop the exchange and the market give its fills."""
    drawn = draw()
    made = engine(drawn.flow)
    lap._run(made, lap.scaled(drawn.flow, made, 0, len(drawn.flow)))
    scale = made.tick_scale
    fills = [(taker, maker, tick // scale, units) for taker, maker, tick, units in made.fills()]
    assert fills == the_fills(drawn)
