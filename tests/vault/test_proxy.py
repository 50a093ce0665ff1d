"""One call: the right key, one honest end, and nothing of the key in the answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from intents.reject import Reject, RejectCode, reject
from solver.core.command import Outcome
from solver.vault import Answer, Catalogue, StartedCall, round_robin
from solver.vault.fault import AnswerCut, SealFault, UpstreamBroken, UpstreamTimeout
from solver.vault.template import Sharing, Timeouts
from tests.patience import until
from tests.vault.fixture import (
    CHAT,
    INTENT,
    KEY,
    OTHER_KEY,
    OWNER,
    QUICK,
    SEARCH,
    World,
    a_chat,
    a_provider,
    a_search,
    a_world,
    read,
)

DELIVERED = (Outcome.DELIVERED, 1)
FAILED = (Outcome.FAILED, 0)
UNKNOWN = Outcome.UNKNOWN


def answering(
    status: int, text: str = "", **headers: str
) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    """A handler that always answers the same."""

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return handler


async def refused(world: World, request: object = None) -> Reject:
    """The refusal of a call that must not be answered."""
    answer = await world.call(request)  # type: ignore[arg-type]
    assert isinstance(answer, Reject), answer
    return answer


async def test_a_call_is_delivered_and_counted(tmp_path: Path) -> None:
    """The body comes through, and the end is known when it has."""
    async with a_world(tmp_path) as world:
        await world.pool()
        answer = await world.call()
        assert isinstance(answer, Answer)
        assert (answer.outcome, answer.units, answer.resource) == (None, None, SEARCH)
        assert await read(answer) == b"hello"
        assert (answer.status, answer.outcome, answer.units) == (200, Outcome.DELIVERED, 1)
        assert world.engine.ends == [DELIVERED]
        assert world.upstream.authorizations == [f"Bearer {KEY.decode()}"]


async def test_the_call_is_journaled_before_the_upstream_hears_of_it(tmp_path: Path) -> None:
    """At the moment of the request the engine knows the call, and not yet its end."""
    async with a_world(tmp_path) as world:
        await world.pool()
        known: list[tuple[int, int]] = []

        async def look(request: web.BaseRequest) -> web.Response:
            known.append((len(world.engine.started), len(world.engine.finished)))
            return web.Response()

        world.upstream.handler = look
        await world.fetch()
        assert known == [(1, 0)]


async def test_without_a_lease_nothing_happens(tmp_path: Path) -> None:
    """No lease, no operation, or too little left: a reject and no request."""
    async with a_world(tmp_path) as world:
        assert (await refused(world)).code is RejectCode.LEASE_UNKNOWN
        await world.pool(units=0)
        assert (await refused(world)).code is RejectCode.LEASE_EXHAUSTED
        refusal = await refused(world, a_search(path="/admin"))
        assert refusal.code is RejectCode.OPERATION_FORBIDDEN
        assert world.upstream.requests == []
        assert world.engine.started == {}


async def test_one_unit_serves_one_of_many_concurrent_calls(tmp_path: Path) -> None:
    """With one unit left exactly one of twenty calls passes."""
    async with a_world(tmp_path) as world:
        await world.pool(units=1)
        answers = await asyncio.gather(*(world.call() for _ in range(20)))
        served = [answer for answer in answers if isinstance(answer, Answer)]
        for answer in served:
            await read(answer)
        assert len(served) == len(world.upstream.requests) == 1


async def test_a_full_window_moves_the_call_to_another_key(tmp_path: Path) -> None:
    """Only when every key is full does the client hear of it, with the time to wait."""
    async with a_world(tmp_path) as world:
        await world.pool(KEY)
        await world.pool(OTHER_KEY)
        full = reject(RejectCode.WINDOW_EXHAUSTED, retry_after_ms=700)
        world.engine.refusals["lease-0"] = full
        await world.fetch()
        assert world.upstream.authorizations == [f"Bearer {OTHER_KEY.decode()}"]
        world.engine.refusals["lease-1"] = full
        assert await refused(world) == full


async def test_a_busy_engine_is_not_asked_again(tmp_path: Path) -> None:
    """A refusal that every lease would meet ends the call."""
    async with a_world(tmp_path) as world:
        for key in (KEY, OTHER_KEY):
            await world.pool(key)
        busy = reject(RejectCode.BUSY)
        world.engine.refusals["lease-0"] = busy
        assert await refused(world) is busy


async def test_round_robin_spreads_calls(tmp_path: Path) -> None:
    """Two keys take turns."""
    async with a_world(tmp_path) as world:
        world.proxy = world.vault.proxy(world.engine, strategy=round_robin)
        for key in (KEY, OTHER_KEY):
            await world.pool(key)
        for _ in range(4):
            await world.fetch()
        assert len(set(world.upstream.authorizations[:2])) == 2
        assert world.upstream.authorizations[:2] == world.upstream.authorizations[2:]


async def test_a_dead_key_leaves_the_pool_and_the_client_does_not_notice(tmp_path: Path) -> None:
    """401, confirmed by the probe: reported, and the same call is served by another key."""
    async with a_world(tmp_path) as world:
        dead = await world.pool(KEY)
        await world.pool(OTHER_KEY)
        world.upstream.dead.add(KEY.decode())
        answer, body = await world.fetch()
        assert (answer.status, body) == (200, b"hello")
        assert world.engine.refused == [dead]
        assert world.engine.ends == [FAILED, DELIVERED]


async def test_the_last_dead_key_is_a_reject_without_its_text(tmp_path: Path) -> None:
    """When nobody is left the client learns that, and not what the upstream said."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.dead.add(KEY.decode())
        refusal = await refused(world)
        assert refusal.code is RejectCode.KEY_NOT_LIVE
        assert KEY.decode() not in str(refusal)


@pytest.mark.parametrize("status", [401, 403])
async def test_no_client_can_disable_a_key(tmp_path: Path, status: int) -> None:
    """A refusal that the probe does not confirm goes back to the client; the key stays."""
    async with a_world(tmp_path) as world:
        await world.pool(units=50)
        world.upstream.handler = answering(status, "insufficient credit, balance, quota: banned")
        probes = world.upstream.probes
        for _ in range(20):
            answer, _ = await world.fetch()
            assert (answer.status, answer.outcome) == (status, Outcome.FAILED)
        assert world.engine.refused == []
        # Nor can it make us probe without end.
        assert world.upstream.probes == probes + 1
        world.upstream.handler = answering(200)
        answer, _ = await world.fetch()
        assert answer.outcome is Outcome.DELIVERED


async def test_a_provider_that_does_not_answer_its_probe_kills_no_key(tmp_path: Path) -> None:
    """No clear answer is no confirmation."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.probe_status = 500
        world.upstream.handler = answering(401)
        answer, _ = await world.fetch()
        assert answer.status == 401
        assert world.engine.refused == []


async def test_a_limited_key_gives_way_to_another(tmp_path: Path) -> None:
    """429 moves on; when all are limited the client hears how long to wait."""
    async with a_world(tmp_path) as world:
        for key in (KEY, OTHER_KEY):
            await world.pool(key)

        async def limit_one(request: web.BaseRequest) -> web.Response:
            limited = KEY.decode() in request.headers["Authorization"]
            return web.Response(status=429 if limited else 200, headers={"Retry-After": "7"})

        world.upstream.handler = limit_one
        await world.fetch()
        assert world.engine.ends == [FAILED, DELIVERED]
        assert world.engine.blamed == ["call-0"]
        # While it cools, the other one goes first.
        await world.fetch()
        assert world.engine.ends[2:] == [DELIVERED]
        world.upstream.handler = answering(429, **{"Retry-After": "7"})
        refusal = await refused(world)
        assert (refusal.code, refusal.retry_after_ms) == (RejectCode.RATE_LIMITED, 7_000)


@pytest.mark.parametrize("value", ["", "soon", "-1", "9" * 30, "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_an_odd_retry_after_is_bounded(tmp_path: Path, value: str) -> None:
    """Whatever the upstream writes there, the wait is between one second and one minute."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.handler = answering(429, **{"Retry-After": value})
        refusal = await refused(world)
        assert refusal.retry_after_ms is not None
        assert 1_000 <= refusal.retry_after_ms <= 60_000


@pytest.mark.parametrize("status", [500, 502, 503, 400, 404])
async def test_a_failure_goes_back_uncharged(tmp_path: Path, status: int) -> None:
    """The client sees the upstream's answer, and pays nothing for it."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.handler = answering(status, "sorry")
        answer, body = await world.fetch()
        assert (answer.status, body) == (status, b"sorry")
        assert world.engine.ends == [FAILED]
        assert len(world.engine.blamed) == (status >= 500), "what was asked badly is the buyer's"


async def test_a_redirect_is_a_failure(tmp_path: Path) -> None:
    """Nothing of it comes through."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.handler = answering(302, "moved", Location="https://evil.example")
        refusal = await refused(world)
        assert refusal.code is RejectCode.UPSTREAM_FAILED
        assert "evil" not in str(refusal)
        assert world.engine.ends == [FAILED]


async def test_silence_is_neither_used_nor_unused(tmp_path: Path) -> None:
    """No answer in time: unknown, and the call is not tried again."""
    async with a_world(tmp_path, timeouts=QUICK) as world:
        for key in (KEY, OTHER_KEY):
            await world.pool(key)

        async def hang(request: web.BaseRequest) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

        world.upstream.handler = hang
        refusal = await refused(world)
        assert refusal.code is RejectCode.UPSTREAM_TIMEOUT
        assert [outcome for outcome, _ in world.engine.ends] == [UNKNOWN]
        assert len(world.engine.blamed) == 1
        assert len(world.upstream.requests) == 1


@pytest.mark.parametrize(
    ("pause_s", "fault"), [(0.0, UpstreamBroken), (1.0, UpstreamTimeout)], ids=["reset", "stall"]
)
async def test_an_answer_that_breaks_off_is_unknown(
    tmp_path: Path, pause_s: float, fault: type[Exception]
) -> None:
    """Part of a body is neither delivered nor failed; the client sees the break."""
    changes = {"timeouts": QUICK} if pause_s else {}
    async with a_world(tmp_path, **changes) as world:
        await world.pool()

        async def break_off(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"half of it \n")
            await asyncio.sleep(pause_s)
            assert request.transport is not None
            request.transport.abort()
            return response

        world.upstream.handler = break_off
        answer = await world.call()
        assert isinstance(answer, Answer)
        got: list[bytes] = []
        with pytest.raises(fault):
            await relay(answer, got)
        assert b"".join(got) == b"half of it \n"
        assert [outcome for outcome, _ in world.engine.ends] == [UNKNOWN]
        assert len(world.engine.blamed) == 1


async def relay(answer: Answer, got: list[bytes], some: asyncio.Event | None = None) -> None:
    """Read an answer into `got`; `some` is set once it has three chunks."""
    async with answer:
        async for chunk in answer:
            got.append(chunk)
            if some is not None and len(got) == 3:
                some.set()


async def test_an_answer_over_the_bound_is_paid_for(tmp_path: Path) -> None:
    """Asking for more than the provider's published bound does not make a call free."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.handler = answering(200, "x" * 400_000)
        answer = await world.call()
        assert isinstance(answer, Answer)
        got: list[bytes] = []
        with pytest.raises(AnswerCut):
            await relay(answer, got)
        assert 0 < len(b"".join(got)) <= 300_000
        assert world.engine.ends == [DELIVERED]


async def test_an_upstream_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    """Nothing was sent, so the next key may be tried, and nobody pays."""
    async with a_world(tmp_path) as world:
        for key in (KEY, OTHER_KEY):
            await world.pool(key)
        await world.upstream.stop()
        refusal = await refused(world)
        assert refusal.code is RejectCode.UPSTREAM_FAILED
        assert world.engine.ends == [FAILED, FAILED]
        assert len(world.engine.blamed) == 2


async def test_an_upstream_that_hangs_up_is_unknown(tmp_path: Path) -> None:
    """Accepted, read, and closed without a word: the request may have counted."""
    async with a_world(tmp_path) as world:
        for key in (KEY, OTHER_KEY):
            await world.pool(key)

        async def hang_up(request: web.BaseRequest) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        world.upstream.handler = hang_up
        assert (await refused(world)).code is RejectCode.UPSTREAM_FAILED
        assert [outcome for outcome, _ in world.engine.ends] == [UNKNOWN]
        assert len(world.upstream.requests) == 1


async def test_a_lease_that_moved_to_another_resource_serves_nothing(tmp_path: Path) -> None:
    """What was planned for one resource is not sent under another."""
    async with a_world(tmp_path) as world:
        key = await world.pool()
        world.engine.may_start.clear()
        task = asyncio.create_task(world.call())
        await world.engine.starting.wait()
        moved = StartedCall(call="call-0", lease="lease-0", key=key, resource=CHAT)
        world.engine.started["call-0"] = moved
        world.engine.may_start.set()
        assert isinstance(await task, Reject)
        assert world.engine.ends == [FAILED]
        assert world.upstream.requests == []


# Disconnects.


async def test_a_client_that_leaves_while_the_call_is_opened_leaves_no_call(
    tmp_path: Path,
) -> None:
    """The reservation that was on its way is given back, and nothing is sent."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.engine.may_start.clear()
        task = asyncio.create_task(world.call())
        await world.engine.starting.wait()
        task.cancel()
        await asyncio.sleep(0)
        world.engine.may_start.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.proxy.drain()
        assert world.engine.ends == [FAILED]
        assert world.upstream.requests == []


async def test_a_client_that_leaves_before_the_answer_leaves_an_unknown_call(
    tmp_path: Path,
) -> None:
    """The request may have been served; nobody waits to find out."""
    async with a_world(tmp_path) as world:
        await world.pool()
        asked = asyncio.Event()

        async def hang(request: web.BaseRequest) -> web.Response:
            asked.set()
            await asyncio.Event().wait()
            return web.Response()

        world.upstream.handler = hang
        task = asyncio.create_task(world.call())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.proxy.drain()
        assert [outcome for outcome, _ in world.engine.ends] == [UNKNOWN]
        assert not world.engine.blamed, "nobody knows whose fault it is"


async def test_a_client_that_never_reads_pays_for_the_call(tmp_path: Path) -> None:
    """Closing without reading is the client's choice; the upstream did its part."""
    async with a_world(tmp_path) as world:
        await world.pool()
        answer = await world.call()
        assert isinstance(answer, Answer)
        await answer.aclose()
        await answer.aclose()
        assert world.engine.ends == [DELIVERED]


async def test_closing_while_another_task_reads_ends_both(tmp_path: Path) -> None:
    """A reader that waits for a chunk gets the break, and nothing unscrubbed."""
    async with a_world(tmp_path) as world:
        await world.pool(resource=CHAT, units=5_000)
        world.upstream.handler = streaming(["word"] * 500)
        answer = await world.call(a_chat(stream=True))
        assert isinstance(answer, Answer)
        await anext(aiter(answer))
        reader = asyncio.ensure_future(anext(aiter(answer)))
        await asyncio.sleep(0)
        await answer.aclose()
        with suppress(UpstreamBroken, StopAsyncIteration):
            assert b"content" in await reader
        await world.proxy.drain()
        assert [outcome for outcome, _ in world.engine.ends] == [Outcome.DELIVERED]


async def test_an_answer_that_is_forgotten_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither read nor closed: the timer finishes the call."""
    monkeypatch.setattr("solver.vault.answer.GRACE_SECONDS", 0)
    quick = Timeouts(connect_ms=1_000, headers_ms=1_000, idle_ms=1_000, total_ms=1_000)
    async with a_world(tmp_path, timeouts=quick) as world:
        await world.pool()
        answer = await world.call()
        assert isinstance(answer, Answer)
        await until(lambda: world.engine.finished)
        await world.proxy.drain()
        assert world.engine.ends == [DELIVERED]


def streaming(words: list[str]) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """A chat completion stream, one event a write, with usage at the end."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in words:
            event = json.dumps({"choices": [{"delta": {"content": word}}]})
            await response.write(f"data: {event}\n\n".encode())
            await asyncio.sleep(0.001)
        usage = json.dumps({"choices": [], "usage": {"total_tokens": 41}})
        await response.write(f"data: {usage}\n\ndata: [DONE]\n\n".encode())
        return response

    return handler


async def test_a_stream_is_metered_by_its_usage(tmp_path: Path) -> None:
    """Tokens are what the last chunk reports, which we asked for."""
    async with a_world(tmp_path) as world:
        await world.pool(resource=CHAT, units=5_000)
        world.upstream.handler = streaming(["a", "b", "c"])
        _, body = await world.fetch(a_chat(stream=True))
        assert body.endswith(b"data: [DONE]\n\n")
        assert body.count(b"data:") == 5
        assert world.engine.ends == [(Outcome.DELIVERED, 41)]
        sent = json.loads(world.upstream.requests[0][3])
        assert sent["stream_options"] == {"include_usage": True}


async def test_a_plain_completion_is_metered_by_its_usage(tmp_path: Path) -> None:
    """Tokens are what the body reports."""
    async with a_world(tmp_path) as world:
        await world.pool(resource=CHAT, units=5_000)
        world.upstream.handler = answering(200, '{"usage": {"total_tokens": 17}}')
        await world.fetch(a_chat())
        assert world.engine.ends == [(Outcome.DELIVERED, 17)]


@pytest.mark.parametrize("events", range(8))
async def test_giving_up_a_stream_anywhere_pays_for_what_was_relayed(
    tmp_path: Path, events: int
) -> None:
    """After each event the client leaves: metered is never less than what it got."""
    async with a_world(tmp_path) as world:
        await world.pool(resource=CHAT, units=5_000)
        world.upstream.handler = streaming(["word"] * 8)
        answer = await world.call(a_chat(stream=True))
        assert isinstance(answer, Answer)
        got = b""
        async with answer:
            while got.count(b"\n\n") < events:
                got += await anext(aiter(answer))
        [(outcome, units)] = world.engine.ends
        assert outcome is Outcome.DELIVERED
        assert units >= got.count(b"content")


async def test_a_cancelled_reader_pays_for_what_was_relayed(tmp_path: Path) -> None:
    """The connection to the client drops in the middle of a stream."""
    async with a_world(tmp_path) as world:
        await world.pool(resource=CHAT, units=5_000)
        world.upstream.handler = streaming(["word"] * 500)
        answer = await world.call(a_chat(stream=True))
        assert isinstance(answer, Answer)
        got: list[bytes] = []
        some = asyncio.Event()
        task = asyncio.create_task(relay(answer, got, some))
        await some.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.proxy.drain()
        [(outcome, units)] = world.engine.ends
        assert outcome is Outcome.DELIVERED
        assert units >= b"".join(got).count(b"content") >= 3


# Custody.


async def test_a_tampered_row_serves_nobody(tmp_path: Path) -> None:
    """A key under another owner's name does not open, and the call says so loudly."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.vault._keyring._store._database.execute("UPDATE sealed_key SET owner = 'thief'")
        with pytest.raises(SealFault):
            await world.call()
        assert world.engine.ends == [FAILED]
        assert world.upstream.requests == []


async def test_a_key_whose_provider_moved_is_not_sent_there(tmp_path: Path) -> None:
    """A changed base URL does not get the keys that were given for the old one."""
    async with a_world(tmp_path) as world:
        await world.pool()
        world.vault._keyring._store._database.execute("UPDATE sealed_key SET host = 'old:1'")
        assert (await refused(world)).code is RejectCode.KEY_NOT_LIVE
        assert world.engine.started == {}


async def test_after_revoke_no_request_carries_the_key(tmp_path: Path) -> None:
    """Once it returned, the upstream hears nothing any more."""
    async with a_world(tmp_path) as world:
        key = await world.pool()
        await world.fetch()
        assert world.vault.revoke(key)
        assert (await refused(world)).code is RejectCode.KEY_NOT_LIVE
        assert len(world.upstream.requests) == 1


async def test_revoke_does_not_break_a_call_that_is_under_way(tmp_path: Path) -> None:
    """What began before runs to its end, and is counted."""
    async with a_world(tmp_path) as world:
        key = await world.pool()
        answer = await world.call()
        assert isinstance(answer, Answer)
        world.vault.revoke(key)
        assert await read(answer) == b"hello"
        assert world.engine.ends == [DELIVERED]


@pytest.mark.parametrize("policy", [Sharing.FORBIDDEN, Sharing.UNKNOWN, Sharing.OWN_ORG])
async def test_a_key_that_must_no_longer_be_shared_serves_its_owner_only(
    tmp_path: Path, policy: Sharing
) -> None:
    """Terms that changed since the contribution hold at the next call, whatever was matched."""
    async with a_world(tmp_path) as world:
        await world.pool()
        provider = a_provider(world.upstream.base_url, sharing=policy)
        world.vault.catalogue = Catalogue({"echo": provider})
        world.proxy = world.vault.proxy(world.engine)
        assert (await refused(world)).code is RejectCode.SHARING_FORBIDDEN
        assert world.engine.started == {}
        own = await world.proxy.call(INTENT, a_search(), buyer=OWNER)
        assert isinstance(own, Answer)
        await read(own)
