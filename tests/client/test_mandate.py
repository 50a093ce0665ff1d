"""A mandate goes on with another secret, and with no earlier one."""

import asyncio

import pytest

from solver.client import MandateSession, Purchase, Rejected
from tests.builder import alice, bob, carol
from tests.gateway.world import DOCS, World, a_world

ONE = Purchase(resource=DOCS, units=1, limit=1)


async def accepted(mandate: MandateSession, count: int = 1) -> bool:
    """Whether as many purchases are taken as are made."""
    return all(one.refused is None for one in await mandate.buy_many([ONE] * count))


async def refused(mandate: MandateSession) -> str:
    """The code of a refusal to take any."""
    with pytest.raises(Rejected) as caught:
        await mandate.buy_many([ONE])
    return caught.value.code


async def a_mandate(world: World) -> MandateSession:
    """One of alice's, which takes a thousand times `ONE`."""
    return await world.agent(alice).mandate(limit=1_000, tick_max=10**9)


async def test_a_session_goes_on_with_another_secret() -> None:
    """So does who keeps it anew; who kept the old one, or knows none, buys nothing."""
    async with a_world() as world:
        agent, mandate = world.agent(alice), await a_mandate(world)
        seen = mandate.kept
        assert await accepted(mandate)
        await mandate.replace_secret()
        assert mandate.kept.secret != seen.secret
        assert mandate.kept.secret not in repr(mandate)
        assert mandate.state.committed == 1
        assert await accepted(mandate)
        assert await accepted(agent.resume(mandate.kept))
        assert await refused(agent.resume(seen)) == "unauthenticated"
        assert await refused(await agent.find_mandate(mandate.digest)) == "unauthenticated"


async def test_a_lost_secret_is_replaced() -> None:
    """Its digest and the account's key are enough, and nobody else's key is."""
    async with a_world() as world:
        mandate = await a_mandate(world)
        found = await world.agent(alice).find_mandate(mandate.digest)
        anothers = await world.agent(carol).find_mandate(mandate.digest)
        with pytest.raises(Rejected, match="not_authorized"):
            await anothers.replace_secret()
        assert await accepted(mandate)
        await found.replace_secret()
        assert await accepted(found)
        assert await refused(mandate) == "unauthenticated"
        await found.end()
        with pytest.raises(Rejected, match="mandate_ended"):
            await found.replace_secret()
        assert await refused(found) == "mandate_ended"


async def test_a_secret_is_replaced_between_two_bodies() -> None:
    """What a session is buying is not refused because it replaces its secret meanwhile."""
    async with a_world() as world:
        await world.offering(bob)
        mandate = await a_mandate(world)
        *bought, _ = await asyncio.gather(
            *(accepted(mandate, 130) for _ in range(3)), mandate.replace_secret()
        )
        assert bought == [True] * 3
