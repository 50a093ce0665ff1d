"""A solver that comes right after the market's start."""

import pytest

from intents.reject import Reject
from solver.client import Rejected
from solver.core.command import OpenAuction
from tests.builder import USDC, alice, bob, carol
from tests.gateway.world import EPOCHS, a_world
from tests.judging import SEED
from tests.patience import patiently


async def test_a_solver_that_is_early_signs_again_by_itself() -> None:
    """Refused because it may be older than the server: connected anew, and in."""
    async with a_world() as world:
        await world.offering(bob, resource=EPOCHS)
        await world.agent(alice).intent(EPOCHS, units=5, limit=100)
        world.gateway.authenticator._started_at_s = world.sequencer.now_ms() // 1_000
        closes = world.sequencer.now_ms() + 600_000
        await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
        async with patiently(), world.solver(carol).connect() as desk:
            assert (await anext(aiter(desk))).snapshot.books[0].resource == EPOCHS


async def test_a_solver_gives_up_after_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A market that refuses again and again is asked five times, then believed."""
    monkeypatch.setattr("solver.client.solver.pause_seconds", lambda *_: 0)
    async with a_world() as world:
        world.gateway.authenticator._started_at_s = world.sequencer.now_ms() // 1_000 + 600
        authenticator, asked = world.gateway.authenticator, list[int]()
        refuse = authenticator._maybe_older

        def counted(expires_at: int) -> Reject:
            asked.append(expires_at)
            return refuse(expires_at)

        monkeypatch.setattr(authenticator, "_maybe_older", counted)
        async with world.solver(carol).connect() as desk:
            with pytest.raises(Rejected, match="older than the server"):
                await anext(aiter(desk))
        assert len(asked) == 5


async def test_who_sent_nothing_waits_for_no_verdict() -> None:
    """An auction that a solver passes over ends its wait at once, and its loop goes on."""
    async with a_world() as world:
        await world.offering(bob, resource=EPOCHS)
        await world.agent(alice).intent(EPOCHS, units=5, limit=100)
        closes = world.sequencer.now_ms() + 600_000
        await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
        async with patiently(), world.solver(carol).connect() as desk:
            auction = await anext(aiter(desk))
            assert await desk.verdicts(auction, timeout_seconds=5) == []
