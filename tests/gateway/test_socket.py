"""The two WebSockets: what they tell, to whom, and how they end."""

import asyncio
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType

from solver.client import Agent, Market, Rejected
from solver.client.market import Identity
from solver.engine.feed import Feed
from solver.gateway import gateway
from solver.gateway.channel import CLOSE_SLOW, CLOSE_TOO_OLD
from solver.gateway.feed import accounts_of
from solver.gateway.limit import Places
from tests.builder import alice, bob, carol
from tests.gateway.world import DOCS, GENEROUS, World, a_world
from tests.patience import patience_s, patiently, until


async def lines_of(world: World, query: str, until: int) -> list[dict[str, Any]]:
    """Lines of the feed up to this number."""
    lines: list[dict[str, Any]] = []
    async with world.http.ws_connect(f"{world.url}/v1/feed{query}") as socket:
        while not lines or lines[-1]["seq"] < until:
            lines.append(await socket.receive_json(timeout=patience_s()))
    return lines


async def test_an_account_hears_what_concerns_it_and_nothing_else(world: World) -> None:
    """Buyer and seller hear of the fill and of calls; a third party hears of neither."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=2, limit=200)
    await intent.call("GET", "/a")
    last = world.gateway.feed.seq
    everything = await lines_of(world, "", last)
    entries = {entry.seq: entry for entry in world.gateway.feed.after(0, last)}
    for who in (alice, bob, carol):
        heard = await lines_of(world, f"?account={who.address}", last)
        mine = [line for line in heard if line["event"] != "Cursor"]
        expected = [
            line
            for line in everything
            if who.address in accounts_of(world.gateway.state, entries[line["seq"]].event)
        ]
        assert mine == expected
        kinds = {line["event"] for line in mine}
        assert ({"Filled", "CallFinished"} <= kinds) == (who is not carol)


async def test_a_quiet_feed_says_where_it_is(world: World) -> None:
    """With nothing to tell, a Cursor line comes; following from it misses nothing."""
    last = world.gateway.feed.seq
    async with world.http.ws_connect(f"{world.url}/v1/feed?cursor={last}") as socket:
        line = await socket.receive_json(timeout=patience_s())
    assert (line["event"], line["seq"]) == ("Cursor", last)


async def test_a_cursor_that_is_too_old_is_told_so() -> None:
    """Instead of a gap: the error, and a close code of its own. The SDK raises it."""
    async with a_world(feed=Feed(kept_max=3)) as world:
        async with world.http.ws_connect(f"{world.url}/v1/feed?cursor=0") as socket:
            told = await socket.receive_json(timeout=patience_s())
            assert told["code"] == "cursor_too_old"
            assert (await socket.receive()).type is WSMsgType.CLOSE
            assert socket.close_code == CLOSE_TOO_OLD
        with pytest.raises(Rejected) as caught:
            async with world.market.feed(0) as events:
                await anext(events)
        assert caught.value.code == "cursor_too_old"


async def test_waiting_survives_a_feed_that_moved_on() -> None:
    """With a feed that forgets at once, a waiting agent still hears of its fill."""
    async with a_world(feed=Feed(kept_max=1)) as world:
        intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
        waiting = asyncio.create_task(intent.filled(timeout_seconds=patience_s()))
        await until(lambda: len(world.gateway.load.feeds))
        await world.offering(bob)
        assert (await waiting).filled_units == 1


async def test_a_reader_that_does_not_read_is_closed() -> None:
    """What a slow reader costs is bounded in time and memory."""
    slow = msgspec.structs.replace(GENEROUS, send_seconds_max=0.1, heartbeat_seconds=20)
    async with a_world(limits=slow) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, limit=1_024)
        writer.write(
            b"GET /v1/feed HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        entry = world.gateway.feed.after(0, 1)[0]
        events = [entry.event] * 100_000
        world.gateway.feed.append(entry.at_ms, events)
        await until(lambda: not len(world.gateway.load.feeds))
        received = b""
        with suppress(ConnectionError):
            while chunk := await reader.read(1 << 20):
                received += chunk
        assert len(received) < 100_000 * 50, "it was not all kept for the reader"
        assert received.endswith(CLOSE_SLOW.to_bytes(2, "big") + b"read faster")
        writer.close()


async def test_a_reader_that_talks_is_closed(world: World) -> None:
    """A feed's reader has nothing to say, and not much of it."""
    last = world.gateway.feed.seq
    for said in ("hello", "x" * 2_000):
        async with world.http.ws_connect(f"{world.url}/v1/feed?cursor={last}") as socket:
            await socket.send_str(said)
            while (message := await socket.receive(timeout=patience_s())).type is WSMsgType.TEXT:
                assert msgspec.json.decode(message.data)["event"] == "Cursor"
            assert socket.close_code in (1_008, 1_009)


async def test_sockets_are_limited() -> None:
    """Beyond the bound the upgrade is refused, with a time to come back."""
    few = msgspec.structs.replace(GENEROUS, feed_connections_max=1, solver_connections_max=1)
    async with a_world(limits=few) as world:
        for path in ("/v1/feed", "/v1/solve"):
            async with world.http.ws_connect(world.url + path):
                status, told, headers = await world.raw("GET", path)
                assert (status, told["code"]) == (429, "busy")
                assert "retry-after" in headers


@pytest.mark.parametrize("path", ["/v1/feed", "/v1/solve", "/v1/intake"])
async def test_one_network_cannot_take_every_socket(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its own bound it is refused with a hint, and another still gets in; places come free."""
    network = ["192.0.2.1"]
    monkeypatch.setattr(gateway, "network_of", lambda _: network[0])
    few = msgspec.structs.replace(
        GENEROUS,
        feed_connections_of_network_max=2,
        solver_connections_of_network_max=2,
        intake_connections_of_network_max=2,
    )
    async with a_world(limits=few) as world:
        url = world.url + path
        held = [await world.http.ws_connect(url) for _ in range(2)]
        status, told, headers = await world.raw("GET", path)
        assert (status, told["code"], headers["retry-after"]) == (429, "busy", "5")
        assert "your network" in told["message"]
        assert told["hint"].startswith("Close one")
        network[0] = "192.0.2.2"
        held.append(await world.http.ws_connect(url))
        for socket in held:
            await socket.close()
        network[0] = "192.0.2.1"
        async with patiently():
            while (await world.raw("GET", path))[0] == 429:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def test_places_are_counted_in_all_and_for_each_network() -> None:
    """Neither bound lets more in; what is given back can be taken, by whoever comes."""
    places = Places(3, 2)
    assert [places.take(name) for name in ("a", "a", "b")] == [None] * 3
    assert all(places.take(name) for name in ("a", "b", "c"))
    places.give_back("a")
    assert places.take("c") is None
    assert places.take("a") is not None
    for name in ("a", "b", "c"):
        places.give_back(name)
    assert len(places) == 0


async def test_a_solver_must_say_who_it_is(world: World) -> None:
    """The first message is a signed request for this socket, good once."""
    market, identity = world.market, Identity.of(carol.key, None)
    good = market.credentials(identity, "GET", "/v1/solve", b"")
    wrong = market.credentials(identity, "GET", "/v1/feed", b"")
    attempts = [
        ("hello", "unauthenticated"),
        (encoded(wrong), "not_authorized"),
        (encoded({**good, "account": alice.address}), "not_authorized"),
        (encoded(good), ""),
        (encoded(good), "replayed"),
    ]
    for first, code in attempts:
        async with world.http.ws_connect(f"{world.url}/v1/solve") as socket:
            await socket.send_str(first)
            if not code:
                await socket.send_str("{}")
            told = await socket.receive_json(timeout=patience_s())
            assert told["code"] == (code or "malformed")


async def test_a_solver_that_talks_nonsense_is_answered(world: World) -> None:
    """Every message gets an answer, whatever it is; none of them ends the server."""
    async with world.http.ws_connect(f"{world.url}/v1/solve") as socket:
        hello = world.market.credentials(Identity.of(carol.key, None), "GET", "/v1/solve", b"")
        await socket.send_str(encoded(hello))
        for said in ("", "[]", "{}", '{"type":"solution"}', "[" * 10_000, '{"a":1,"a":2}'):
            await socket.send_str(said)
            told = await socket.receive_json(timeout=patience_s())
            assert (told["type"], told["code"]) == ("rejected", "malformed")
        await socket.send_bytes(b"\x00")
        assert (await socket.receive_json(timeout=patience_s()))["code"] == "malformed"


async def test_stopping_says_goodbye() -> None:
    """When the server stops, subscribers are told that it goes away."""
    async with aiohttp.ClientSession() as http:
        async with a_world() as world:
            last = world.gateway.feed.seq
            socket = await http.ws_connect(f"{world.url}/v1/feed?cursor={last}")
        while (message := await socket.receive(timeout=patience_s())).type is WSMsgType.TEXT:
            pass
        assert message.type is WSMsgType.CLOSE
        assert message.data == 1_001


async def test_the_sdk_comes_back_after_a_lost_connection(world: World) -> None:
    """A feed that breaks is followed again from where it broke."""
    async with Market(world.url) as market:
        intent = await Agent(market, alice.key).intent(DOCS, units=1, limit=100)
        waiting = asyncio.create_task(intent.filled(timeout_seconds=patience_s()))
        await until(lambda: world.gateway.load.sockets)
        for socket in list(world.gateway.load.sockets):
            await socket.close()
        await world.offering(bob)
        assert (await waiting).filled_units == 1


def encoded(message: object) -> str:
    """As JSON text."""
    return msgspec.json.encode(message).decode()
