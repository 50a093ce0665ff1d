"""The index of fills follows the market: what that forgets is not told, and not kept for ever."""

import pytest

from solver.core import state as state_module
from solver.core.command import EndLeases
from solver.engine.feed import Feed
from solver.gateway import fill_index
from solver.gateway.fill_index import FillIndex
from tests.builder import Bench, a_bench, alice, an_intent, an_offer, bob, carol
from tests.core.sabotage import Patch, edited, pure_only

pytestmark = pure_only


def _trade(bench: Bench, feed: Feed) -> str:
    """A fill of alice's from bob, over at once; its id."""
    intent = an_intent().signed_by(alice)
    for command in (
        an_offer().signed_by(bob),
        intent,
    ):
        feed.append(bench.now_ms, bench.do(command))
    fill = bench.lease(intent).id
    feed.append(bench.now_ms, bench.do(EndLeases(account=alice.address, intent=intent.digest)))
    return fill


def test_fills_are_told_newest_first_to_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the market remembers, whether they came before the index or after."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 2)
    bench, feed = a_bench(watched=False), Feed()
    early = _trade(bench, feed)
    index = FillIndex(bench.market.state, feed)
    assert index.newest(bob.address, 9) == [early]
    fills = [_trade(bench, feed) for _ in range(6)]
    known = [fill for fill in reversed(fills) if fill in bench.market.state.leases]
    assert 0 < len(known) < len(fills)
    assert index.newest(alice.address, 9) == index.newest(bob.address, 9) == known
    assert index.newest(alice.address, 1) == known[:1]
    assert index.newest(carol.address, 9) == []


def test_forgotten_fills_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there were, and whoever never asks."""
    monkeypatch.setattr(state_module, "FINISHED_KEPT_MAX", 0)
    monkeypatch.setattr(fill_index, "SPARE_MAX", 4)
    bench, feed = a_bench(watched=False), Feed()
    index = FillIndex(bench.market.state, feed)
    for _ in range(20):
        _trade(bench, feed)
        index.newest(carol.address, 1)
        kept = {fill for fills in index._fills.values() for fill in fills}
        assert len(kept) <= 2 * len(bench.market.state.leases) + 4


@pytest.mark.parametrize(
    "sabotage",
    [
        edited(FillIndex, "newest", "if fill in leases", ""),
        edited(FillIndex, "_rebuild", "self._fills, self._count = {}, 0", "pass"),
        edited(FillIndex, "_catch_up", "2 * len(self._state.leases) + SPARE_MAX", "10**9"),
    ],
    ids=["tell what is forgotten", "keep what is forgotten", "never look"],
)
def test_an_index_that_forgets_nothing_shows(
    sabotage: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one of the two."""
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        _both(monkeypatch)


def _both(monkeypatch: pytest.MonkeyPatch) -> None:
    test_fills_are_told_newest_first_to_both_sides(monkeypatch)
    test_forgotten_fills_are_not_kept(monkeypatch)
