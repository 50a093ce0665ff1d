"""What holds against clients that are slow, many or greedy, and what the log may say."""

import asyncio
import gzip
import io
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import msgspec
import pytest
import structlog
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from intents.reject import RejectCode, reject
from solver.client import Market, Rejected, Unreachable
from solver.client.model import Now, Result
from solver.gateway import Limits, access
from solver.gateway.auth import Nonces
from solver.gateway.gateway import sender_of
from solver.gateway.grant import Grants
from solver.gateway.limit import Buckets, Places
from solver.runtime.log import configure_log
from tests.builder import alice, bob
from tests.gateway.test_http import Line, a_line
from tests.gateway.world import DOCS, GENEROUS, World, a_world
from tests.patience import impatient, patiently, until


async def test_a_connection_that_says_nothing_is_dropped() -> None:
    """Neither silence nor a head that never ends holds a connection."""
    hasty = msgspec.structs.replace(GENEROUS, head_seconds_max=0.2)
    async with a_world(limits=hasty) as world:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nA: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(said)
            async with patiently():
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
        assert (await world.raw("GET", "/healthz"))[0] == 200


async def test_connections_are_limited() -> None:
    """Beyond the bound a connection is refused at once; the others go on."""
    few = msgspec.structs.replace(GENEROUS, connections_max=4)
    async with a_world(limits=few) as world:
        held = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(6)]
        served = [await _is_served(Line(*one)) for one in held]
        assert 0 < sum(served) <= 4
        for _, writer in held:
            writer.close()


async def check_connections_of_a_network_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """One network fills its places and no others; a place is free again when its holder leaves."""
    few = msgspec.structs.replace(GENEROUS, connections_max=10, connections_of_network_max=2)
    networks = iter(["10.0.0.1"] * 3 + ["10.0.0.2"] * 3 + ["10.0.0.1"] * 100)
    async with a_world(limits=few) as world, AsyncExitStack() as stack:
        monkeypatch.setattr("solver.gateway.connection.network_of", lambda _: next(networks))
        places = world.gateway.load.connections

        async def come() -> Line:
            return await stack.enter_async_context(a_line(world, b""))

        held = [await come() for _ in range(6)]
        assert [await _is_served(one) for one in held] == [True, True, False] * 2
        taken = len(places)
        for one in held[:2]:
            one.writer.close()
        await until(lambda: len(places) == taken - 2)
        assert await _is_served(await come())


async def test_connections_of_a_network_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """One network fills its places and no others; a place is free again when its holder leaves."""
    await check_connections_of_a_network_are_limited(monkeypatch)


@pytest.mark.parametrize("planted", ["take", "give_back"])
async def test_a_planted_bug_in_the_places_is_noticed(
    monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """Who is not counted, or never counted out, is noticed."""
    monkeypatch.setattr(Places, planted, lambda *_: None)
    with impatient(), pytest.raises((AssertionError, TimeoutError)):
        await check_connections_of_a_network_are_limited(monkeypatch)


async def _is_served(line: Line) -> bool:
    try:
        line.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        return (await line.answer())[0] == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_rates_hold_per_address_and_say_when_to_return() -> None:
    """The burst passes, the next one waits; a valid grant's calls are not counted."""
    slow = msgspec.structs.replace(GENEROUS, address_per_second=1, address_burst=40)
    async with a_world(limits=slow) as world:
        world.stop_clock()
        await world.offering(bob)
        intent = await world.agent(alice).intent(DOCS, units=5, limit=500)
        bearer = f"Bearer {await intent.grant()}"
        for _ in range(60):
            status, told, headers = await world.raw("GET", "/healthz")
            if status != 200:
                break
        assert (status, told["code"], headers["retry-after"]) == (429, "rate_limited", "1")
        assert 0 < told["retryAfterMs"] <= 1_000
        call = await world.raw("GET", "/v1/proxy/datasette/a", Authorization=bearer)
        assert call[0] == 200
        forged = await world.raw("GET", "/v1/proxy/datasette/a", Authorization="Bearer x")
        assert forged[1]["code"] == "rate_limited"


async def test_refusals_on_a_grant_are_bounded_and_service_is_not() -> None:
    """Calls that cost nothing are held to a rate; those that cost a unit are not counted."""
    slow = msgspec.structs.replace(GENEROUS, refusals_per_second=1, refusals_burst=3)
    async with a_world(limits=slow) as world:
        world.stop_clock()
        await world.offering(bob, units=20, limit=20)
        intent = await world.agent(alice).intent(DOCS, units=20, limit=20)
        for _ in range(10):
            assert (await intent.call("GET", "/a")).status == 200
        world.vault.refusing = reject(RejectCode.OPERATION_FORBIDDEN)
        codes = []
        for _ in range(4):
            with pytest.raises(Rejected) as caught:
                await intent.call("GET", "/b")
            codes.append(caught.value.code)
        assert codes == ["operation_forbidden"] * 3 + ["rate_limited"]


@pytest.mark.parametrize(
    ("remote", "sender"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_a_host_is_one_sender_whatever_address_it_picks(remote: str, sender: str) -> None:
    """An IPv6 host owns a /64; a mapped IPv4 address is that address."""
    assert sender_of(make_mocked_request("GET", "/").clone(remote=remote)) == sender


async def test_rates_hold_per_account() -> None:
    """An account is held to its own rate, wherever it comes from."""
    slow = msgspec.structs.replace(GENEROUS, account_per_second=1, account_burst=3)
    async with a_world(limits=slow) as world:
        world.stop_clock()
        codes = [(await world.signed(alice, "GET", "/v1/balance"))[0] for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        assert (await world.signed(bob, "GET", "/v1/balance"))[0] == 200


def test_buckets_refill_and_are_bounded() -> None:
    """A token a second; a clock that goes back gives nothing; the table does not grow."""
    buckets = Buckets(per_second=1, burst=2, entries_max=10)
    assert [buckets.take("a", 0) for _ in range(3)] == [0, 0, 1_000]
    assert buckets.take("a", 999) == 1
    assert buckets.take("a", 1_000) == 0
    assert buckets.take("a", 0) > 0
    for number in range(100):
        buckets.take(str(number), 0)
    assert len(buckets) == 10


def test_nonces_are_bounded_and_forgotten_only_once_expired() -> None:
    """Full means wait, never forget; what expired makes room."""
    nonces = Nonces(entries_max=2)
    assert nonces.take("a", 1, 10, 0) is None
    assert nonces.take("a", 2, 20, 0) is None
    full = nonces.take("a", 3, 20, 9)
    assert full is not None
    assert full.code is RejectCode.BUSY
    assert nonces.take("a", 3, 20, 10) is None
    again = nonces.take("a", 2, 20, 10)
    assert again is not None
    assert again.code is RejectCode.REPLAYED
    assert len(nonces) == 2


def test_a_weak_grant_secret_is_refused() -> None:
    """31 bytes are too few, and no secret is shown."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Grants(b"x" * 31)
    assert "xxx" not in repr(Grants(b"x" * 32))


async def test_bodies_are_not_unpacked(world: World) -> None:
    """A gzip bomb is refused for being encoded; it is never unpacked."""
    bomb = gzip.compress(b"0" * 10_000_000)
    status, told, _ = await world.raw("POST", "/v1/intents", bomb, Content_Encoding="gzip")
    assert (status, told["code"]) == (415, "unsupported_media_type")


async def test_chunked_bodies_are_bounded_too(world: World) -> None:
    """A body that does not say its size is cut off at the bound."""

    async def endless() -> object:
        for _ in range(100):
            yield b" " * 10_000

    headers = {"Content-Type": "application/json"}
    async with world.http.post(
        f"{world.url}/v1/intents", data=endless(), headers=headers
    ) as response:
        assert (response.status, (await response.json())["code"]) == (413, "too_large")


async def test_no_answer_names_the_software_or_invites_browsers(world: World) -> None:
    """No Server header, no CORS, nothing cached."""
    for target in ("/healthz", "/v1/nothing", "/openapi.json"):
        _, _, headers = await world.raw("GET", target, Origin="https://evil.example")
        assert "server" not in headers
        assert not any(name.startswith("access-control") for name in headers)
        assert headers["cache-control"] == "no-store"
    status, _, _ = await world.raw("OPTIONS", "/v1/intents", Origin="https://evil.example")
    assert status == 405


async def test_the_log_has_no_secrets(world: World) -> None:
    """Neither keys, grants, signatures nor queries are logged, whatever the outcome."""
    structlog.reset_defaults()
    with capture_logs() as logs:
        body = {"provider": "datasette", "secret": "sk-canary"}
        header = world.header(alice, "POST", "/v1/keys/contribute", msgspec.json.encode(body))
        world.vault.refusing = reject(RejectCode.HEALTH_CHECK_FAILED)
        await world.raw(
            "POST", "/v1/keys/contribute", msgspec.json.encode(body), Keyfill_Request=header
        )
        await world.raw("GET", "/v1/proxy/datasette/a?q=canary", Authorization="Bearer canary")
        world.vault.breaking = RuntimeError("boom")
        await world.raw("GET", "/v1/market?canary=1")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    assert len([line for line in logs if line["event"] == "request"]) == 3
    assert {line["route"] for line in logs} == {
        "/v1/keys/contribute",
        "/v1/proxy/{provider}/{path}",
        "/v1/market",
    }
    assert "canary" not in str(logs)
    assert header not in str(logs)


# -- what the SDK repeats, and what it does not


async def test_the_sdk_waits_out_a_restart(world: World) -> None:
    """Refused because it may be older than the server: signed anew, and through."""
    authenticator = world.gateway.authenticator
    authenticator._started_at_s = world.sequencer.now_ms() // 1_000
    assert (await world.agent(alice).balance()).account == alice.address


async def test_the_sdk_repeats_only_what_is_safe() -> None:
    """A lost answer: a GET is asked again, a contribution is not."""
    seen: list[str] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readline()).split(b" ")[0].decode())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    market = Market(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    market._session = aiohttp.ClientSession()
    with pytest.raises(Unreachable):
        await market.get("/v1/market", Now)
    # aiohttp itself may try a GET on a fresh connection once more.
    assert 5 <= len(seen) <= 10
    seen.clear()
    with pytest.raises(Unreachable):
        await market.request("POST", "/x", Result, body={}, repeatable=False)
    assert seen == ["POST"]
    await market._session.close()
    server.close()
    await server.wait_closed()


async def test_the_sdk_repeats_what_was_refused_for_load() -> None:
    """Busy and rate limits are waited for; other refusals are final."""
    slow = msgspec.structs.replace(GENEROUS, account_per_second=10, account_burst=1)
    async with a_world(limits=slow) as world:
        agent = world.agent(alice)
        for _ in range(3):
            await agent.balance()
        with pytest.raises(Rejected) as caught:
            await agent.intent("datasette/nothing:call", units=1, limit=1)
        assert caught.value.code == "resource_unknown"


async def test_nobody_there_is_unreachable() -> None:
    """A market that is not there is Unreachable, and nothing stays open."""
    with pytest.raises(Unreachable):
        async with Market("http://127.0.0.1:9", timeout_seconds=1):
            pass


def test_limits_have_defaults_that_bound_everything() -> None:
    """No default is unbounded."""
    assert all(0 < value < 10**8 for value in msgspec.structs.astuple(Limits()))


async def test_the_log_is_bounded_and_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flood has so many lines a second; the next line counts the others, and none is lost."""
    now_s = [100.0]
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    quiet = msgspec.structs.replace(GENEROUS, log_lines_per_second=3)
    async with a_world(limits=quiet) as world:
        now_s[0] += 1
        structlog.reset_defaults()
        with capture_logs() as logs:
            for _ in range(40):
                await world.raw("GET", "/healthz")
            now_s[0] += 1
            await world.raw("GET", "/healthz")
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    lines = [line for line in logs if line["event"] == "request"]
    assert [line.get("unlogged", 0) for line in lines] == [0, 0, 0, 37]


async def test_a_failure_of_ours_is_always_logged() -> None:
    """However many lines there were."""
    quiet = msgspec.structs.replace(GENEROUS, log_lines_per_second=1)
    async with a_world(limits=quiet) as world:
        await world.offering(bob)
        intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
        bearer = f"Bearer {await intent.grant()}"
        world.vault.breaking = RuntimeError("boom")
        structlog.reset_defaults()
        with capture_logs() as logs:
            for _ in range(5):
                await world.raw("GET", "/v1/proxy/datasette/a", Authorization=bearer)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    assert [line["status"] for line in logs if line["event"] == "request"] == [500] * 5


def test_what_json_cannot_say_is_logged_all_the_same() -> None:
    """A line with any object in it is written, not lost in an exception."""
    stream, standard = io.StringIO(), sys.stderr
    try:
        sys.stderr = stream
        configure_log(plain=False)
        structlog.get_logger("x").warning("odd", what=object(), where=Path("/a"), n=2**80)
    finally:
        sys.stderr = standard
        structlog.reset_defaults()
    line = msgspec.json.decode(stream.getvalue())
    assert (line["event"], line["level"]) == ("odd", "warning")
    assert "object" in line["what"]
