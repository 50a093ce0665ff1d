"""What asks a provider about a key is slow for strangers, and what is known is told."""

import msgspec

from solver.gateway import Limits
from solver.gateway.health import Healths
from solver.gateway.port import KeyHealth
from tests.builder import alice, bob, carol
from tests.gateway.world import GENEROUS, World, a_world

HEALTHY = KeyHealth(key="0x1", provider="p", status="healthy")


async def test_a_network_has_few_probes_whatever_accounts_it_makes() -> None:
    """Contributions and health checks share one bucket per network, not one per account."""
    slow = msgspec.structs.replace(GENEROUS, probes_per_second=1, probes_burst=2)
    async with a_world(limits=slow) as world:
        world.stop_clock()
        key = await world.key(bob)
        assert (await world.contributor(bob).health(key)).status == "healthy"
        body = {"provider": "datasette", "secret": "another"}
        for who in (alice, carol):
            status, told, headers = await world.signed(who, "POST", "/v1/keys/contribute", body)
            assert (status, told["code"]) == (429, "rate_limited")
            assert headers["retry-after"] == "1"
        assert list(world.vault.secrets) == [key]
        told_again = await world.signed(bob, "GET", f"/v1/keys/health?key={key}")
        assert told_again[0] == 200, "what is remembered costs nothing"


async def test_health_is_asked_once_in_a_while(world: World) -> None:
    """Within five seconds an answer is told again; then, the provider is asked again."""
    key = await world.key(bob)
    asked: list[str] = []
    ask = world.vault.health

    async def counted(owner: str, key: str) -> object:
        asked.append(key)
        return await ask(owner, key)

    world.vault.health = counted  # type: ignore[assignment, method-assign]
    for _ in range(3):
        await world.contributor(bob).health(key)
    assert len(asked) == 1
    world.clock.ahead_ms += 5_001
    await world.signed(bob, "GET", f"/v1/keys/health?key={key}", account=bob.address)
    assert len(world.gateway.healths) == 1
    await world.contributor(bob).revoke(key)
    assert len(world.gateway.healths) == 0


def test_remembered_health_expires_and_is_bounded() -> None:
    """The least recent goes first; nothing is told for longer than it is fresh."""
    healths = Healths(cached_ms=5_000, entries_max=2)
    for key in ("a", "b", "c"):
        healths.put(key, HEALTHY, 1_000)
    assert [healths.get(key, 5_999) for key in "abc"] == [None, HEALTHY, HEALTHY]
    assert healths.get("c", 6_000) is None


def test_the_demo_fits_the_default_burst() -> None:
    """Seven keys from one address at once are no attack."""
    assert Limits().probes_burst >= 7


async def test_health_tells_of_alarms() -> None:
    """What the operator's own watch says is told as it is now, and the server still answers."""
    alarms: list[str] = []
    async with a_world(alarms=lambda: alarms) as world:
        assert (await world.raw("GET", "/healthz"))[:2] == (200, {"status": "ok", "alarms": []})
        alarms.append("the submitter is short of gas")
        told = {"status": "degraded", "alarms": alarms}
        assert (await world.raw("GET", "/healthz"))[:2] == (200, told)
