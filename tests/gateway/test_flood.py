"""More than verifiers can do, and verifiers that die: the gateway as its users see it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from solver.verifier.pool import Bounds, Verifiers
from tests.builder import alice
from tests.gateway.test_intake import BATCH, encoded, signed
from tests.gateway.world import RULES, World, a_world
from tests.patience import PATIENCE_S, patience_s, until
from tests.verifier.test_pool import pids

Reply = tuple[int, dict[str, Any], dict[str, str]]


@asynccontextmanager
async def a_busy_world(processes: int, bounds: Bounds) -> AsyncIterator[World]:
    """A market whose verifiers are processes, with these bounds."""
    bounds = msgspec.structs.replace(bounds, seconds_max=PATIENCE_S)
    async with (
        Verifiers(RULES, processes=processes, bounds=bounds).running() as verifiers,
        a_world(verifiers=verifiers) as world,
    ):
        yield world


async def while_stopped(world: World, posts: Sequence[Coroutine[Any, Any, Reply]]) -> list[Reply]:
    """Post all of them; the one verifier does nothing until somebody is refused."""
    verifiers = world.gateway.verifiers
    await until(lambda: verifiers._verifiers)
    (pid,) = pids(verifiers)
    os.kill(pid, signal.SIGSTOP)
    tasks = [asyncio.create_task(post) for post in posts]
    try:
        await until(lambda: any(task.done() for task in tasks))
    finally:
        os.kill(pid, signal.SIGCONT)
    return await asyncio.gather(*tasks)


async def posted(world: World, path: str, body: object) -> Reply:
    """A post of the test's own."""
    return await world.raw("POST", path, encoded(body))


async def test_a_flood_is_refused_with_a_time_to_come_back() -> None:
    """429, busy, a hint and Retry-After; what was accepted is there, once, and nothing waits."""
    async with a_busy_world(1, Bounds(weight_max=20, bytes_max=20_000)) as world:
        sent = [signed(world, alice) for _ in range(300)]
        told = await while_stopped(world, [posted(world, "/v1/intents", one) for one in sent])
        accepted = [body["digest"] for status, body, _ in told if status == 201]
        refused = [(status, body, headers) for status, body, headers in told if status != 201]
        assert accepted
        assert {(status, body["code"]) for status, body, _ in refused} == {(429, "busy")}
        for _, body, headers in refused:
            assert body["hint"]
            assert body["retryAfterMs"] == 1_000
            assert headers["retry-after"] == "1"
        assert set(world.gateway.state.intents) == set(accepted)
        assert world.gateway.verifiers.waiting == (0, 0)


async def test_a_batch_that_finds_no_room_is_refused_as_a_whole() -> None:
    """Nothing of it is taken; the same batch is, once there is room."""
    async with a_busy_world(1, Bounds(weight_max=100, bytes_max=100_000)) as world:
        batches = [[signed(world) for _ in range(60)] for _ in range(5)]
        told = await while_stopped(world, [posted(world, BATCH, one) for one in batches])
        assert {status for status, _, _ in told} == {200, 429}
        taken = sum(len(body["outcomes"]) for status, body, _ in told if status == 200)
        assert len(world.gateway.state.intents) == taken
        for batch, (status, _, _) in zip(batches, told, strict=True):
            if status == 429:
                assert (await posted(world, BATCH, batch))[0] == 200
        assert len(world.gateway.state.intents) == 300


async def test_the_socket_is_not_read_while_there_is_no_room() -> None:
    """A sender on the intake socket is never refused for load: it is kept waiting."""
    async with a_busy_world(1, Bounds(weight_max=40)) as world:
        sent = [encoded([signed(world) for _ in range(15)]) for _ in range(20)]
        async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
            for number, body in enumerate(sent):
                await socket.send_bytes(encoded({"id": number, "take": "batch"}) + b"\n" + body)
            told = [await socket.receive_json(timeout=patience_s()) for _ in sent]
        assert [one["id"] for one in told] == list(range(20))
        assert len(world.gateway.state.intents) == 300


async def test_a_verifier_killed_under_load_loses_and_doubles_nothing() -> None:
    """Every intent is answered once; what was told accepted is there, and nothing else."""
    async with a_busy_world(2, Bounds()) as world:
        verifiers = world.gateway.verifiers
        await until(lambda: len(verifiers._verifiers) == 2)
        batches = [[signed(world) for _ in range(40)] for _ in range(25)]
        posts = [asyncio.create_task(posted(world, BATCH, one)) for one in batches]
        for _ in range(3):
            await until(lambda: verifiers._taken() or all(post.done() for post in posts))
            for pid in pids(verifiers)[:1]:
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.03)
        told = await asyncio.gather(*posts)
        accepted: list[str] = []
        for status, body, _ in told:
            assert status == 200 or (status, body["code"]) == (429, "busy")
            assert len(body.get("outcomes", ())) == (40 if status == 200 else 0)
            accepted += [one["digest"] for one in body.get("outcomes", ()) if one["status"] == 201]
        assert len(accepted) == len(set(accepted))
        assert set(world.gateway.state.intents) == set(accepted)
        await until(lambda: len(verifiers._verifiers) == 2)
        assert (await posted(world, BATCH, [signed(world)]))[0] == 200
