"""Answers have a bound, whoever sends them."""

import pytest

from solver.client import Unexpected
from tests.builder import alice, bob
from tests.gateway.world import DOCS, a_world


async def test_an_answer_beyond_the_bound_is_not_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body that is too large no more than the bound is kept, ours or an upstream's."""
    async with a_world() as world:
        await world.offering(bob)
        intent = await world.agent(alice).intent(DOCS, units=2, limit=100)
        await intent.grant()
        monkeypatch.setattr("solver.client.market.ANSWER_BYTES_MAX", 100_000)
        with pytest.raises(Unexpected, match="more than 100000 bytes"):
            await intent.call("GET", "/large")
        async with intent.stream("GET", "/large") as stream:
            assert sum([len(chunk) async for chunk in stream]) == 300_000
        monkeypatch.setattr("solver.client.market.ANSWER_BYTES_MAX", 10)
        with pytest.raises(Unexpected, match="more than 10 bytes"):
            await world.market.now()
